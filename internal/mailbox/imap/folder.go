package imap

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"postern/internal/fault"
	"postern/internal/mailbox"
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
// messages in it now that the query finds. Servers compare days in their own zone.
func (f *Folder) Search(ctx context.Context, q mailbox.Query) (uint32, []string, error) {
	defer f.c.begin(ctx)()
	st, err := f.c.enter(ctx, f.name, false) // anew: only this updates the view
	if err != nil || st.Messages == 0 {
		return st.UIDValidity, nil, err
	}
	if q.Raw != "" {
		return 0, nil, fault.New(fault.Invalid, "imap SEARCH", "search expressions are not understood").WithHint("use the filters of the task")
	}
	criteria := &imap.SearchCriteria{Since: q.Since, NotFlag: without(q)}
	data, err := f.c.c.UIDSearch(criteria, nil).Wait()
	if err == nil {
		return st.UIDValidity, decimal(ascending(data.AllUIDs())), nil
	}
	failure := f.c.failed(ctx, "SEARCH", err)
	if status := new(imap.Error); !errors.As(err, &status) || fault.KindOf(failure) == fault.Throttled {
		return 0, nil, failure
	}
	uids, err := f.scan(ctx, q)
	return st.UIDValidity, decimal(uids), err
}

// without lists the flags that a message must not have.
func without(q mailbox.Query) []imap.Flag {
	var flags []imap.Flag
	if q.Unread {
		flags = append(flags, imap.FlagSeen)
	}
	if q.Unflagged {
		flags = append(flags, imap.FlagFlagged)
	}
	if q.Untagged != "" {
		flags = append(flags, imap.Flag(q.Untagged))
	}
	return flags
}

// scan does the server's work when it refuses to search.
func (f *Folder) scan(ctx context.Context, q mailbox.Query) ([]uint32, error) {
	var found []imap.UID
	every := imap.UIDSet{imap.UIDRange{Start: 1, Stop: 0}} // 1:*
	err := f.fetch(ctx, every, &imap.FetchOptions{UID: true, Flags: true, InternalDate: true}, func(m *imapclient.FetchMessageBuffer) {
		unwanted := func(flag imap.Flag) bool { return slices.Contains(m.Flags, flag) }
		if slices.ContainsFunc(without(q), unwanted) || m.InternalDate.Before(q.Since) {
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

// decimal writes UIDs as ids, numbers reads them back. What is no UID is none of ours,
// and as good as gone.
func decimal(uids []uint32) []string {
	ids := make([]string, 0, len(uids))
	for _, u := range uids {
		ids = append(ids, strconv.FormatUint(uint64(u), 10))
	}
	return ids
}

func numbers(ids []string) []uint32 {
	uids := make([]uint32, 0, len(ids))
	for _, id := range ids {
		if u, err := strconv.ParseUint(id, 10, 32); err == nil && u > 0 {
			uids = append(uids, uint32(u))
		}
	}
	return uids
}

// Describe tells about those of the messages that are still there.
func (f *Folder) Describe(ctx context.Context, uidValidity uint32, ids []string, headers bool, each func(mailbox.Brief)) error {
	defer f.c.begin(ctx)()
	if err := f.ensure(ctx, uidValidity, false); err != nil {
		return err
	}
	want := &imap.FetchOptions{UID: true, RFC822Size: true, InternalDate: true}
	if headers {
		want.BodySection = []*imap.FetchItemBodySection{{Specifier: imap.PartSpecifierHeader, Peek: true}}
	}
	for part := range slices.Chunk(numbers(ids), chunk) {
		err := f.fetch(ctx, set(part), want, func(m *imapclient.FetchMessageBuffer) {
			b := mailbox.Brief{ID: strconv.FormatUint(uint64(m.UID), 10), Size: m.RFC822Size, Arrived: m.InternalDate}
			if len(m.BodySection) > 0 {
				b.Header = m.BodySection[0].Bytes
			}
			each(b)
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

// Bodies streams whole messages, one after the other, without marking them as read
// (BODY.PEEK[]). When each fails while it reads, the connection is closed, rather than
// taking in the rest of the message.
func (f *Folder) Bodies(ctx context.Context, uidValidity uint32, ids []string, each func(id string, body io.Reader, err error) error) error {
	for _, id := range ids {
		if err := f.one(ctx, uidValidity, id, each); err != nil {
			return err
		}
	}
	return nil
}

func (f *Folder) one(ctx context.Context, uidValidity uint32, id string, each func(string, io.Reader, error) error) error {
	defer f.c.begin(ctx)()
	if err := f.ensure(ctx, uidValidity, false); err != nil {
		return err
	}
	want := &imap.FetchOptions{UID: true, BodySection: []*imap.FetchItemBodySection{{Peek: true}}}
	cmd := f.c.c.Fetch(set(numbers([]string{id})), want)
	found, err := f.body(cmd, func(r io.Reader) error { return each(id, r, nil) })
	if err != nil {
		return err
	}
	if err := cmd.Close(); err != nil {
		err = f.c.failed(ctx, "FETCH", err)
		if status := new(imap.Error); found || !errors.As(err, &status) || fault.KindOf(err) == fault.Throttled {
			return err
		}
		return each(id, nil, err)
	}
	if !found {
		return each(id, nil, fault.New(fault.NotFound, "imap FETCH", "message %s is no longer there", id))
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
func (f *Folder) MarkRead(ctx context.Context, uidValidity uint32, ids []string) error {
	return f.mark(ctx, uidValidity, ids, imap.FlagSeen)
}

// Flag sets \Flagged.
func (f *Folder) Flag(ctx context.Context, uidValidity uint32, ids []string) error {
	return f.mark(ctx, uidValidity, ids, imap.FlagFlagged)
}

// Tag sets a keyword.
func (f *Folder) Tag(ctx context.Context, uidValidity uint32, ids []string, keyword string) error {
	return f.mark(ctx, uidValidity, ids, imap.Flag(keyword))
}

func (f *Folder) mark(ctx context.Context, uidValidity uint32, ids []string, flag imap.Flag) error {
	defer f.c.begin(ctx)()
	return f.change(ctx, uidValidity, ids, func(part []uint32) error { return f.flag(ctx, part, flag) })
}

// Move puts messages into another folder of the mailbox, by MOVE (RFC 6851) where
// the server can. Elsewhere they are copied first and only then deleted; cut in
// between, a repetition copies again.
func (f *Folder) Move(ctx context.Context, uidValidity uint32, ids []string, target string) error {
	defer f.c.begin(ctx)()
	return f.change(ctx, uidValidity, ids, func(part []uint32) error {
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
func (f *Folder) Delete(ctx context.Context, uidValidity uint32, ids []string) error {
	defer f.c.begin(ctx)()
	return f.change(ctx, uidValidity, ids, func(part []uint32) error { return f.remove(ctx, part) })
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

func (f *Folder) change(ctx context.Context, uidValidity uint32, ids []string, do func([]uint32) error) error {
	if err := f.ensure(ctx, uidValidity, true); err != nil {
		return err
	}
	for part := range slices.Chunk(numbers(ids), chunk) {
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

// MakeFolder makes a folder, unless it is there.
func (f *Folder) MakeFolder(ctx context.Context, name string) error {
	if there, err := f.HasFolder(ctx, name); err != nil || there {
		return err
	}
	defer f.c.begin(ctx)()
	if err := f.c.c.Create(name, nil).Wait(); err != nil {
		return f.c.failed(ctx, "CREATE", err)
	}
	return nil
}

// Use names another folder to work on; the server is not asked yet.
func (f *Folder) Use(name string) { f.name = name }

// Can tells what the server offers.
func (f *Folder) Can() mailbox.Abilities {
	return mailbox.Abilities{Folders: true, Flags: true, Tags: true}
}

// Folders lists the mailbox's folders.
func (f *Folder) Folders(ctx context.Context) ([]mailbox.Folder, error) {
	names, err := f.c.Folders(ctx)
	all := make([]mailbox.Folder, 0, len(names))
	for _, name := range names {
		all = append(all, mailbox.Folder{Name: name})
	}
	return all, err
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
