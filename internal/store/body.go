package store

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"postern/internal/fault"
	"postern/internal/relay"
)

const (
	inlineMax = 64 << 10  // octets of a body that is kept in its row
	chunkSize = 256 << 10 // octets of one piece of a larger body on PostgreSQL
	orphanAge = time.Hour // a body file this old without a message is nobody's
)

// incoming is a body on its way to the disk. SQLite keeps a large one as a file
// that is synced before its message is committed; PostgreSQL streams it as chunks
// within the message's own transaction.
type incoming struct {
	store *Store
	id    string
	small []byte    // the whole, or what was read of a large one
	rest  io.Reader // PostgreSQL: what is still to come; nil for a small one
	file  string    // SQLite: where a large one lies
	size  int64
}

// takeBody reads enough to know whether the body is small, and brings a large one
// to the disk as far as that can be done before the commit.
func (s *Store) takeBody(id string, body io.Reader) (*incoming, error) {
	in := &incoming{store: s, id: id}
	var head bytes.Buffer
	n, err := io.CopyN(&head, body, inlineMax+1)
	in.small, in.size = head.Bytes(), n
	if errors.Is(err, io.EOF) {
		return in, nil
	}
	if err != nil {
		return nil, err
	}
	whole := io.MultiReader(bytes.NewReader(in.small), body)
	if s.bodies == "" {
		in.rest = whole
		return in, nil
	}
	in.file = filepath.Join(s.bodies, id)
	in.size, err = writeSynced(in.file, whole)
	if err != nil {
		in.undo()
		return nil, err
	}
	return in, nil
}

// writeSynced brings r to path durably: temporary name, sync, rename, sync of the directory.
func writeSynced(path string, r io.Reader) (size int64, err error) {
	f, err := os.OpenFile(path+".part", os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(path+".part"))
		}
	}()
	size, err = io.Copy(f, r)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return size, err
	}
	if err = os.Rename(path+".part", path); err != nil {
		return size, err
	}
	return size, syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, fs.ErrInvalid) || errors.Is(err, fs.ErrPermission) {
		err = nil // Windows has no such thing
	}
	return errors.Join(err, d.Close())
}

// commit writes message and body in the given transaction.
func (in *incoming) commit(ctx context.Context, q querier, m *relay.Message, insert func() error) error {
	m.Size = in.size
	if err := insert(); err != nil {
		return err
	}
	switch {
	case in.file != "":
		return nil
	case in.rest == nil:
		_, err := q.ExecContext(ctx, `INSERT INTO message_body (id, data) VALUES ($1, $2)`, in.id, in.small)
		return err
	}
	size, err := putChunks(ctx, q, in.id, in.rest)
	if err != nil {
		return err
	}
	m.Size = size
	doc, err := encode(m)
	if err != nil {
		return err
	}
	_, err = q.ExecContext(ctx, `UPDATE message SET doc = $2 WHERE id = $1`, in.id, doc)
	return err
}

func putChunks(ctx context.Context, q querier, id string, r io.Reader) (size int64, err error) {
	buf := make([]byte, chunkSize)
	for seq := 0; ; seq++ {
		n, err := io.ReadFull(r, buf)
		if n > 0 {
			size += int64(n)
			if _, err := q.ExecContext(ctx, `INSERT INTO message_chunk (id, seq, data) VALUES ($1, $2, $3)`, id, seq, buf[:n]); err != nil {
				return size, err
			}
		}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return size, nil
		case err != nil:
			return size, &readError{err}
		}
	}
}

// readError keeps a failing sender apart from a failing database: it must not be
// tried again, because what was read is gone.
type readError struct{ error }

func (e *readError) Unwrap() error { return e.error }

// undo removes what a failed store left on the disk.
func (in *incoming) undo() {
	if in.file != "" {
		in.store.removeBodyFile(in.id)
	}
}

// dropBody removes a delivered message's body from the database.
func (s *Store) dropBody(ctx context.Context, q querier, id string) error {
	_, err := q.ExecContext(ctx, `DELETE FROM message_body WHERE id = $1`, id)
	if err == nil && s.bodies == "" {
		_, err = q.ExecContext(ctx, `DELETE FROM message_chunk WHERE id = $1`, id)
	}
	return err
}

// removeBodyFile forgets a large body after its message is gone. What cannot be
// removed now is swept at a later start.
func (s *Store) removeBodyFile(id string) {
	if s.bodies == "" {
		return
	}
	if err := os.Remove(filepath.Join(s.bodies, id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.log.Warn("a body could not be removed; it is swept later", "message", id, "error", err)
	}
}

// Body opens a message's body for one reading.
func (s *Store) Body(ctx context.Context, id string) (io.ReadCloser, error) {
	var small []byte
	found := false
	err := rows(ctx, s.db, func(r *sql.Rows) error {
		found = true
		return r.Scan(&small)
	}, `SELECT data FROM message_body WHERE id = $1`, id)
	switch {
	case err != nil:
		return nil, classify("read the body of message "+id, err)
	case found:
		return io.NopCloser(bytes.NewReader(small)), nil
	case s.bodies == "":
		return s.chunks(ctx, id)
	}
	f, err := os.Open(filepath.Join(s.bodies, filepath.Base(id)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, notFound("body of message", id)
	}
	return f, classify("read the body of message "+id, err)
}

func (s *Store) chunks(ctx context.Context, id string) (io.ReadCloser, error) {
	c := &chunkReader{ctx: ctx, db: s.db, id: id}
	if err := c.next(); errors.Is(err, io.EOF) {
		return nil, notFound("body of message", id)
	} else if err != nil {
		return nil, classify("read the body of message "+id, err)
	}
	return c, nil
}

// chunkReader reads a body from PostgreSQL, one piece at a time.
type chunkReader struct {
	ctx  context.Context //nolint:containedctx // an io.Reader has no other way to be cancelled
	db   querier
	id   string
	seq  int
	have []byte
}

func (c *chunkReader) next() error {
	c.have = nil
	err := c.db.QueryRowContext(c.ctx, `SELECT data FROM message_chunk WHERE id = $1 AND seq = $2`, c.id, c.seq).Scan(&c.have)
	if errors.Is(err, sql.ErrNoRows) {
		return io.EOF
	}
	c.seq++
	return err
}

// Read gives the next octets.
func (c *chunkReader) Read(p []byte) (int, error) {
	for len(c.have) == 0 {
		if err := c.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, c.have)
	c.have = c.have[n:]
	return n, nil
}

// Close does nothing: no connection is held between pieces.
func (c *chunkReader) Close() error { return nil }

// sweepBodies removes body files that no message has, left by a crash between the
// file and the commit. Young ones are left: another process may be about to commit.
func (s *Store) sweepBodies(ctx context.Context) error {
	files, err := os.ReadDir(s.bodies)
	if err != nil {
		return classify("sweep bodies", err)
	}
	for _, f := range files {
		info, err := f.Info()
		if err != nil || time.Since(info.ModTime()) < orphanAge {
			continue
		}
		m, err := s.Message(ctx, strings.TrimSuffix(f.Name(), ".part"))
		switch {
		case errors.Is(err, fault.NotFound), err == nil && (m.State == relay.Delivered || strings.HasSuffix(f.Name(), ".part")):
			s.removeBodyFile(f.Name())
		case err != nil:
			return err
		}
	}
	return nil
}
