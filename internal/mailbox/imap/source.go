package imap

import (
	"context"
	"slices"
	"strconv"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"postern/internal/fault"
	"postern/internal/mailbox"
)

// Source is a mailbox as fetch tasks use it: one folder at a time, opened read-only
// until a change is asked for, and opened anew when a change was made before. Every
// method that takes a UIDVALIDITY answers fault.Conflict when the folder has another
// by now, for the UIDs then mean other messages.
//
// Changes skip messages that are no longer there.
type Source struct {
	c       *Client
	address string
	name    string // of the folder in use
}

// Source reads the signed-in mailbox of that address, INBOX until Use says otherwise.
func (c *Client) Source(address string) *Source {
	return &Source{c: c, address: address, name: "INBOX"}
}

// Mailbox is the address of the mailbox.
func (s *Source) Mailbox() string { return s.address }

// Use names another folder to work on; the server is not asked yet.
func (s *Source) Use(name string) { s.name = name }

// Can tells what the server offers.
func (s *Source) Can() mailbox.Abilities {
	return mailbox.Abilities{Folders: true, Flags: true, Tags: true, Search: true, Watch: s.c.c.Caps().Has(imap.CapIdle)}
}

// Close drops the connection.
func (s *Source) Close() error { return s.c.Close() }

// chunk bounds UID sets: Exchange refuses over-long commands, of 10 KB as far as is
// known. The more messages one command asks for, the less it matters how far away the
// server is.
const chunk = 500

// maxHeader bounds what is kept of a header block.
const maxHeader = 256 << 10

// Describe tells about those of the messages that are still there.
func (s *Source) Describe(ctx context.Context, uidValidity uint32, ids []string, headers bool, each func(mailbox.Brief)) error {
	defer s.c.begin(ctx)()
	if err := s.ensure(ctx, uidValidity, false); err != nil {
		return err
	}
	want := &imap.FetchOptions{UID: true, RFC822Size: true, InternalDate: true}
	if headers {
		want.BodySection = []*imap.FetchItemBodySection{{
			Specifier: imap.PartSpecifierHeader, Peek: true, Partial: &imap.SectionPartial{Size: maxHeader},
		}}
	}
	for part := range slices.Chunk(numbers(ids), chunk) {
		err := s.c.fetch(ctx, set(part), want, func(m *imapclient.FetchMessageBuffer) {
			b := mailbox.Brief{ID: decimal(uint32(m.UID)), Size: m.RFC822Size, Arrived: m.InternalDate}
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

// fetch is for what may be held in memory.
func (c *Client) fetch(ctx context.Context, uids imap.UIDSet, want *imap.FetchOptions, each func(*imapclient.FetchMessageBuffer)) error {
	cmd := c.c.Fetch(uids, want)
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
		return c.failed(ctx, "FETCH", err)
	}
	return nil
}

// ensure has the folder open as wanted, and still the same one.
func (s *Source) ensure(ctx context.Context, uidValidity uint32, writable bool) error {
	if s.c.open.name != s.name || s.c.open.writable != writable {
		if _, err := s.c.enter(ctx, s.name, writable); err != nil {
			return err
		}
	}
	if s.c.open.validity != uidValidity {
		return fault.New(fault.Conflict, "imap open folder", "folder %q was replaced: its UIDVALIDITY is %d, not %d", s.name, s.c.open.validity, uidValidity)
	}
	return nil
}

// decimal writes a UID as an id.
func decimal(uid uint32) string { return strconv.FormatUint(uint64(uid), 10) }

// number reads an id; 0 when it is no UID, and so none of ours.
func number(id string) uint32 {
	uid, err := strconv.ParseUint(id, 10, 32)
	if err != nil {
		return 0
	}
	return uint32(uid)
}

// numbers reads ids, in ascending order: ranges make short commands.
func numbers(ids []string) []uint32 {
	uids := make([]uint32, 0, len(ids))
	for _, id := range ids {
		if uid := number(id); uid > 0 {
			uids = append(uids, uid)
		}
	}
	slices.Sort(uids)
	return slices.Compact(uids)
}

func ascending(uids []imap.UID) []uint32 {
	out := make([]uint32, 0, len(uids))
	for _, u := range uids {
		out = append(out, uint32(u))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func set(uids []uint32) imap.UIDSet {
	var s imap.UIDSet
	for _, u := range uids {
		s.AddNum(imap.UID(u))
	}
	return s
}
