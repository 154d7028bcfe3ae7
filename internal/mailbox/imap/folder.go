package imap

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"postern/internal/fault"
)

// Folder is one folder of the mailbox. It is opened read-only until a change is
// asked for, and opened anew when a change was made before. Every method that
// takes a UIDVALIDITY answers fault.Conflict when the folder has another by now,
// for the UIDs then mean other messages.
//
// Changes skip messages that are no longer there.
type Folder struct {
	c    *Client
	name string
}

// Folder names a folder to work on; the server is not asked yet.
func (c *Client) Folder(name string) *Folder { return &Folder{c: c, name: name} }

// chunk bounds UID sets: Exchange refuses over-long commands.
const chunk = 100

// Search returns the folder's UIDVALIDITY and, in ascending order, the UIDs of the
// messages in it now: all, or those without \Seen, or those that arrived since a
// day. Servers compare days in their own zone, so since is a rough lower bound.
func (f *Folder) Search(ctx context.Context, unread bool, since time.Time) (uint32, []uint32, error) {
	defer f.c.begin(ctx)()
	st, err := f.c.enter(ctx, f.name, false) // anew: only this updates the view
	if err != nil || st.Messages == 0 {
		return st.UIDValidity, nil, err
	}
	criteria := &imap.SearchCriteria{Since: since}
	if unread {
		criteria.NotFlag = []imap.Flag{imap.FlagSeen}
	}
	data, err := f.c.c.UIDSearch(criteria, nil).Wait()
	if err == nil {
		return st.UIDValidity, ascending(data.AllUIDs()), nil
	}
	failure := f.c.failed(ctx, "SEARCH", err)
	if status := new(imap.Error); !errors.As(err, &status) || fault.KindOf(failure) == fault.Throttled {
		return 0, nil, failure
	}
	uids, err := f.scan(ctx, unread, since)
	return st.UIDValidity, uids, err
}

// scan does the server's work when it refuses to search.
func (f *Folder) scan(ctx context.Context, unread bool, since time.Time) ([]uint32, error) {
	var found []imap.UID
	every := imap.UIDSet{imap.UIDRange{Start: 1, Stop: 0}} // 1:*
	err := f.fetch(ctx, every, &imap.FetchOptions{UID: true, Flags: true, InternalDate: true}, func(m *imapclient.FetchMessageBuffer) {
		if unread && slices.Contains(m.Flags, imap.FlagSeen) || m.InternalDate.Before(since) {
			return
		}
		found = append(found, m.UID)
	})
	return ascending(found), err
}

func ascending(uids []imap.UID) []uint32 {
	out := make([]uint32, 0, len(uids))
	for _, u := range uids {
		out = append(out, uint32(u))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Describe reports size in octets (Exchange's is an estimate) and time of arrival
// of those of the messages that are still there.
func (f *Folder) Describe(ctx context.Context, uidValidity uint32, uids []uint32, each func(uid uint32, size int64, arrived time.Time)) error {
	defer f.c.begin(ctx)()
	if err := f.ensure(ctx, uidValidity, false); err != nil {
		return err
	}
	for part := range slices.Chunk(uids, chunk) {
		err := f.fetch(ctx, set(part), &imap.FetchOptions{UID: true, RFC822Size: true, InternalDate: true}, func(m *imapclient.FetchMessageBuffer) {
			each(uint32(m.UID), m.RFC822Size, m.InternalDate)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (f *Folder) fetch(ctx context.Context, uids imap.UIDSet, want *imap.FetchOptions, each func(*imapclient.FetchMessageBuffer)) error {
	cmd := f.c.c.Fetch(uids, want)
	for m := cmd.Next(); m != nil; m = cmd.Next() {
		buf, err := m.Collect()
		if err != nil {
			break // Close says why
		}
		if buf.UID != 0 {
			each(buf)
		}
	}
	if err := cmd.Close(); err != nil {
		return f.c.failed(ctx, "FETCH", err)
	}
	return nil
}

// Body streams one whole message to read, without marking it as read
// (BODY.PEEK[]). Only when Body returns nil was the message complete, whatever read
// saw. A message that is gone is fault.NotFound. When read fails the connection is
// closed, rather than taking in the rest of the message; its error is returned as
// it is.
func (f *Folder) Body(ctx context.Context, uidValidity, uid uint32, read func(io.Reader) error) error {
	defer f.c.begin(ctx)()
	if err := f.ensure(ctx, uidValidity, false); err != nil {
		return err
	}
	want := &imap.FetchOptions{UID: true, BodySection: []*imap.FetchItemBodySection{{Peek: true}}}
	cmd := f.c.c.Fetch(set([]uint32{uid}), want)
	found, err := f.body(cmd, read)
	if err != nil {
		return err
	}
	if err := cmd.Close(); err != nil {
		return f.c.failed(ctx, "FETCH", err)
	}
	if !found {
		return fault.New(fault.NotFound, "imap FETCH", "message %d is no longer there", uid)
	}
	return nil
}

func (f *Folder) body(cmd *imapclient.FetchCommand, read func(io.Reader) error) (found bool, err error) {
	for m := cmd.Next(); m != nil; m = cmd.Next() {
		for item := m.Next(); item != nil; item = m.Next() {
			section, ok := item.(imapclient.FetchItemDataBodySection)
			if !ok || section.Literal == nil || found {
				continue
			}
			found = true
			w := &whole{r: section.Literal, left: section.Literal.Size()}
			if err = read(w); err == nil {
				_, err = io.Copy(io.Discard, w) // what read did not care for
			}
			if err != nil {
				f.abandon(w)
				return true, err
			}
		}
	}
	return found, nil
}

// abandon ends the connection in the middle of a message. The command is not
// closed: that would read the literal once more, while go-imap's own goroutine has
// gone on reading behind its error.
func (f *Folder) abandon(w *whole) {
	_ = f.c.conn.Close()
	_, _ = io.Copy(io.Discard, w) // fails at once, and lets that goroutine go on to its end
	_ = f.c.c.Close()             // waits for it
}

// whole tells a message that was cut off from one that ended: the literal's reader
// says io.EOF to both. It never reads behind an error.
type whole struct {
	r    io.Reader
	left int64
	err  error
}

func (w *whole) Read(p []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	n, err := w.r.Read(p)
	w.left -= int64(n)
	if errors.Is(err, io.EOF) && w.left > 0 {
		err = fault.Wrap(fault.Temporary, "imap FETCH", fmt.Errorf("%w: %d octets short", io.ErrUnexpectedEOF, w.left))
	}
	w.err = err
	return n, err
}

// MarkRead sets \Seen.
func (f *Folder) MarkRead(ctx context.Context, uidValidity uint32, uids []uint32) error {
	defer f.c.begin(ctx)()
	return f.change(ctx, uidValidity, uids, func(part []uint32) error { return f.flag(ctx, part, imap.FlagSeen) })
}

// Move puts messages into another folder of the mailbox, by MOVE (RFC 6851) where
// the server can. Elsewhere they are copied first and only then deleted; cut in
// between, a repetition copies again.
func (f *Folder) Move(ctx context.Context, uidValidity uint32, uids []uint32, target string) error {
	defer f.c.begin(ctx)()
	return f.change(ctx, uidValidity, uids, func(part []uint32) error {
		if f.c.c.Caps().Has(imap.CapMove) {
			if _, err := f.c.c.Move(set(part), target).Wait(); err != nil {
				return f.c.failed(ctx, "MOVE", err)
			}
			return nil
		}
		if _, err := f.c.c.Copy(set(part), target).Wait(); err != nil {
			return f.c.failed(ctx, "COPY", err)
		}
		return f.remove(ctx, part)
	})
}

// Delete removes messages. A server without UIDPLUS (RFC 4315) only marks them
// \Deleted: its EXPUNGE would take along what others have marked.
func (f *Folder) Delete(ctx context.Context, uidValidity uint32, uids []uint32) error {
	defer f.c.begin(ctx)()
	return f.change(ctx, uidValidity, uids, func(part []uint32) error { return f.remove(ctx, part) })
}

func (f *Folder) remove(ctx context.Context, uids []uint32) error {
	if err := f.flag(ctx, uids, imap.FlagDeleted); err != nil {
		return err
	}
	if !f.c.c.Caps().Has(imap.CapUIDPlus) {
		return nil
	}
	if err := f.c.c.UIDExpunge(set(uids)).Close(); err != nil {
		return f.c.failed(ctx, "EXPUNGE", err)
	}
	return nil
}

func (f *Folder) flag(ctx context.Context, uids []uint32, flag imap.Flag) error {
	store := &imap.StoreFlags{Op: imap.StoreFlagsAdd, Silent: true, Flags: []imap.Flag{flag}}
	if err := f.c.c.Store(set(uids), store, nil).Close(); err != nil {
		return f.c.failed(ctx, "STORE", err)
	}
	return nil
}

func (f *Folder) change(ctx context.Context, uidValidity uint32, uids []uint32, do func([]uint32) error) error {
	if err := f.ensure(ctx, uidValidity, true); err != nil {
		return err
	}
	for part := range slices.Chunk(uids, chunk) {
		there, err := f.present(ctx, part)
		if err != nil {
			return err
		}
		if len(there) == 0 {
			continue
		}
		if err := do(there); err != nil {
			return err
		}
	}
	return nil
}

// present keeps the messages that are still there. Servers should skip the others,
// but some answer a change of nothing with a COPYUID that cannot be read.
func (f *Folder) present(ctx context.Context, uids []uint32) ([]uint32, error) {
	var there []imap.UID
	err := f.fetch(ctx, set(uids), &imap.FetchOptions{UID: true}, func(m *imapclient.FetchMessageBuffer) {
		there = append(there, m.UID)
	})
	return ascending(there), err
}

// ensure has the folder open as wanted, and still the same one.
func (f *Folder) ensure(ctx context.Context, uidValidity uint32, writable bool) error {
	if f.c.open.name != f.name || f.c.open.writable != writable {
		if _, err := f.c.enter(ctx, f.name, writable); err != nil {
			return err
		}
	}
	if f.c.open.validity != uidValidity {
		return fault.New(fault.Conflict, "imap open folder", "folder %q was replaced: its UIDVALIDITY is %d, not %d", f.name, f.c.open.validity, uidValidity)
	}
	return nil
}

// HasFolder reports whether a folder of that name, a target for Move, can be opened.
func (f *Folder) HasFolder(ctx context.Context, name string) (bool, error) {
	return f.c.HasFolder(ctx, name)
}

// Close drops the connection.
func (f *Folder) Close() error { return f.c.Close() }

func set(uids []uint32) imap.UIDSet {
	var s imap.UIDSet
	for _, u := range uids {
		s.AddNum(imap.UID(u))
	}
	return s
}
