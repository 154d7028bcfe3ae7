package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"postern/internal/fault"
	"postern/internal/mail"
	"postern/internal/relay"
)

const (
	inlineMax = 64 << 10  // bodies up to here are committed with their message
	chunkSize = 256 << 10 // of larger ones on PostgreSQL
	orphanAge = time.Hour // after which a body without a message belongs to nobody alive
)

// bodies keeps the large ones. Names are made by the store and never repeat.
type bodies interface {
	// save stores what r yields, durably, and says how many octets that were. It
	// leaves nothing when it fails.
	save(ctx context.Context, name string, r io.Reader) (int64, error)
	// inFile is what the message's row says about bodies that save stored.
	inFile() bool
	// whole fails unless all of a body is there. The transaction that adds the row
	// asks: a body that took longer than orphanAge to arrive may have been swept.
	whole(ctx context.Context, tx querier, name string, size int64) error
	// remove deletes a body; it is no error if there is none.
	remove(ctx context.Context, name string) error
	// sweep deletes bodies that were stored before a time and that no message has.
	sweep(ctx context.Context, before time.Time) error
}

// PutMessage is part of [relay.Store]. An error that body returns comes back with
// its own kind.
func (s *Store) PutMessage(ctx context.Context, m *relay.Message, body io.Reader) error {
	const op = "queue message"
	if m.ID == "" || m.Account == "" {
		return fault.New(fault.Invalid, op, "a message needs an id and an account")
	}
	src := &source{r: body}
	buf := s.heads.take()
	defer s.heads.give(buf)
	n, _ := io.ReadFull(src, buf[:]) // that the body is short, as most are, is no error; others are in src
	head := buf[:n]
	if src.err != nil {
		return fmt.Errorf("%s: read its body: %w", op, src.err)
	}
	queued := *m
	queued.State = relay.Queued
	var err error
	if len(head) <= inlineMax {
		err = s.putInline(ctx, op, &queued, head)
	} else {
		err = s.putLarge(ctx, op, &queued, src, io.MultiReader(bytes.NewReader(head), src))
	}
	if err == nil {
		m.State, m.Size = queued.State, queued.Size
	}
	return err
}

// heads are buffers for bodies that are committed with their message, used again and
// again.
type heads struct{ idle sync.Pool }

func (p *heads) take() *[inlineMax + 1]byte {
	if buf, ok := p.idle.Get().(*[inlineMax + 1]byte); ok {
		return buf
	}
	return new([inlineMax + 1]byte)
}

// give takes a buffer back that no change uses any more.
func (p *heads) give(buf *[inlineMax + 1]byte) { p.idle.Put(buf) }

func (s *Store) putInline(ctx context.Context, op string, m *relay.Message, body []byte) error {
	name := mail.NewID(time.Now()) // sorts by time, so that rows are appended
	m.Size = int64(len(body))
	sum := twinSum(m) // here, where nobody waits for it
	return s.writes.do(ctx, op, func(ctx context.Context, tx querier) error {
		if err := s.insertMessage(ctx, tx, *m, sum, name, false); err != nil {
			return err
		}
		return insertChunk(ctx, tx, name, 0, s.Now(), body)
	})
}

// putLarge stores the body first and the row after it, so that a row never lacks
// its body.
func (s *Store) putLarge(ctx context.Context, op string, m *relay.Message, src *source, r io.Reader) (err error) {
	name := mail.NewID(time.Now()) // sorts by time, so that rows are appended
	m.Size, err = s.bodies.save(ctx, name, r)
	if err != nil {
		if src.err != nil {
			return fmt.Errorf("%s: read its body: %w", op, src.err)
		}
		return err
	}
	sum := twinSum(m)
	err = s.writes.do(ctx, op, func(ctx context.Context, tx querier) error {
		if err := s.bodies.whole(ctx, tx, name, m.Size); err != nil {
			return err
		}
		return s.insertMessage(ctx, tx, *m, sum, name, s.bodies.inFile())
	})
	if e := fault.As(err); err != nil && (e == nil || !e.Ambiguous) { // an ambiguous row may exist: it keeps its body
		s.removeFile(ctx, name)
	}
	return err
}

// errSwept is what whole says.
func errSwept() error {
	return fault.New(fault.Temporary, "queue message", "its body took too long to arrive")
}

// source remembers that reading failed: io.Copy does not tell a failing reader from
// a failing writer.
type source struct {
	r   io.Reader
	err error
}

// Read is that of the reader inside.
func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}

// Body is part of [relay.Store]. A body that was dropped is fault.NotFound.
func (s *Store) Body(ctx context.Context, id string) (io.ReadCloser, error) {
	type place struct {
		name   string
		inFile bool
		size   int64
		first  []byte // chunk; nil when there is none
	}
	at, err := one(ctx, s.often, subject{"message", id}, func(row scanner) (p place, err error) {
		err = row.Scan(&p.name, &p.inFile, &p.size, &p.first)
		return p, err
	}, `SELECT body, in_file, size, (SELECT data FROM chunks WHERE body = m.body AND part = 0) FROM messages m WHERE id = $1`, id)
	switch {
	case err != nil:
		return nil, err
	case at.name == "":
		return nil, fault.New(fault.NotFound, "read body", "the body of message %s was dropped when it was delivered", id)
	}
	if f, here := s.bodies.(files); here && at.inFile {
		return f.open(at.name)
	}
	return openChunks(ctx, s.db, at.name, at.size, at.first)
}
