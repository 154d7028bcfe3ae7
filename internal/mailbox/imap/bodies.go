package imap

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"postern/internal/fault"
)

// Bodies streams whole messages without marking them as read (BODY.PEEK[]), as many
// in one command as a command may name: while one is read the server already sends the
// next, and nothing is held but what is being read.
//
// When each fails the connection is closed, rather than taking in the rest of the
// message. each must not call the source.
func (s *Source) Bodies(ctx context.Context, uidValidity uint32, ids []string, each func(id string, body io.Reader, err error) error) error {
	defer s.c.begin(ctx)()
	if err := s.ensure(ctx, uidValidity, false); err != nil {
		return err
	}
	for _, id := range ids {
		if number(id) == 0 {
			if err := each(id, nil, gone(id)); err != nil {
				return err
			}
		}
	}
	for part := range slices.Chunk(numbers(ids), chunk) {
		b := &bodies{c: s.c, each: each}
		if err := b.all(ctx, part); err != nil {
			return err
		}
	}
	return nil
}

func gone(id string) error {
	return fault.New(fault.NotFound, "imap FETCH", "message %s is no longer there", id)
}

// bodies takes one chunk of messages.
type bodies struct {
	c     *Client
	each  func(id string, body io.Reader, err error) error
	given bool // a message came whole
}

type refusal struct {
	uid uint32
	err error
}

// all asks again for what did not come until it is known which messages the server
// will not give. One that refuses each of several is at fault itself: then the messages
// are left undecided.
func (b *bodies) all(ctx context.Context, left []uint32) error {
	var refused []refusal
	for len(left) > 0 {
		missing, why, err := b.take(ctx, left)
		if err != nil {
			return err
		}
		if why == nil {
			for _, uid := range missing {
				refused = append(refused, refusal{uid, gone(decimal(uid))})
			}
			break
		}
		if len(missing) < len(left) { // one of those that did not come is to blame
			left = missing
			continue
		}
		first := left[:1]
		if len(left) > 1 {
			if first, why, err = b.take(ctx, first); err != nil {
				return err
			}
		}
		if len(first) > 0 {
			if why == nil {
				why = gone(decimal(left[0]))
			}
			refused = append(refused, refusal{left[0], why})
		}
		left = left[1:]
	}
	return b.tell(refused)
}

func (b *bodies) tell(refused []refusal) error {
	isGone := func(r refusal) bool { return errors.Is(r.err, fault.NotFound) }
	if !b.given && len(refused) > 1 && !slices.ContainsFunc(refused, isGone) {
		return refused[0].err
	}
	for _, r := range refused {
		if err := b.each(decimal(r.uid), nil, r.err); err != nil {
			return err
		}
	}
	return nil
}

var errNoText = errors.New("the server gave the message no text")

// take asks for messages once. It returns those that did not come, and why when the
// server said so; err is what ends everything.
func (b *bodies) take(ctx context.Context, uids []uint32) (missing []uint32, why, err error) {
	pending := make(map[uint32]bool, len(uids))
	for _, uid := range uids {
		pending[uid] = true
	}
	want := &imap.FetchOptions{UID: true, BodySection: []*imap.FetchItemBodySection{{Peek: true}}}
	cmd := b.c.c.Fetch(set(uids), want)
	for m := cmd.Next(); m != nil; m = cmd.Next() {
		uid, came, err := b.message(ctx, cmd, m, pending)
		if err != nil {
			return nil, nil, err
		}
		if came {
			delete(pending, uid)
			b.given = true
		} else if pending[uid] {
			why = fault.Wrap(fault.Temporary, "imap FETCH", errNoText)
		}
	}
	if err := cmd.Close(); err != nil {
		why = b.c.failed(ctx, "FETCH", err)
		if status := new(imap.Error); !errors.As(err, &status) || fault.KindOf(why) == fault.Throttled {
			return nil, nil, why
		}
	}
	for _, uid := range uids {
		if pending[uid] {
			missing = append(missing, uid)
		}
	}
	return missing, why, nil
}

// message hands one message on, if this answer has its text: flags that somebody
// changed come as such answers too.
func (b *bodies) message(ctx context.Context, cmd *imapclient.FetchCommand, m *imapclient.FetchMessageData, pending map[uint32]bool) (uid uint32, came bool, err error) {
	for item := m.Next(); item != nil; item = m.Next() {
		switch item := item.(type) {
		case imapclient.FetchItemDataUID:
			uid = uint32(item.UID)
		case imapclient.FetchItemDataBodySection:
			if item.Literal == nil || came || !pending[uid] {
				continue
			}
			w := &whole{r: item.Literal, left: item.Literal.Size(), broken: func(err error) error { return b.c.failed(ctx, "FETCH", err) }}
			if err = b.each(decimal(uid), w, nil); err == nil {
				_, err = io.Copy(io.Discard, w) // what each did not care for
			}
			if err != nil {
				b.abandon(cmd, w)
				return uid, false, err
			}
			came = true
		}
	}
	return uid, came, nil
}

// abandon ends the connection in the middle of a message, and sees go-imap's own
// goroutine to its end: that one waits for a reader of every message which had already
// arrived. The one that broke off must not be read again, for behind its error the
// goroutine has gone on reading.
func (b *bodies) abandon(cmd *imapclient.FetchCommand, w *whole) {
	_ = b.c.conn.Close()
	_, err := io.Copy(io.Discard, w)
	for err == nil {
		m := cmd.Next()
		if m == nil {
			break
		}
		for item := m.Next(); item != nil && err == nil; item = m.Next() {
			if section, ok := item.(imapclient.FetchItemDataBodySection); ok && section.Literal != nil {
				_, err = io.Copy(io.Discard, &whole{r: section.Literal, left: section.Literal.Size(), broken: w.broken})
			}
		}
	}
	_ = b.c.c.Close() // waits for it
}

// whole tells a message that was cut off from one that ended: the literal's reader
// says io.EOF to both. It never reads behind an error.
type whole struct {
	r      io.Reader
	left   int64
	broken func(error) error // classifies
	err    error
}

// Read implements io.Reader.
func (w *whole) Read(p []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	n, err := w.r.Read(p)
	w.left -= int64(n)
	switch {
	case errors.Is(err, io.EOF) && w.left > 0:
		err = w.broken(fmt.Errorf("%w: %d octets short", io.ErrUnexpectedEOF, w.left))
	case err != nil && !errors.Is(err, io.EOF):
		err = w.broken(err)
	}
	w.err = err
	return n, err
}
