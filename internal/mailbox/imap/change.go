package imap

import (
	"context"
	"slices"
	"strings"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"postern/internal/fault"
)

// MarkRead sets \Seen.
func (s *Source) MarkRead(ctx context.Context, uidValidity uint32, ids []string) error {
	return s.mark(ctx, uidValidity, ids, imap.FlagSeen)
}

// Flag sets \Flagged.
func (s *Source) Flag(ctx context.Context, uidValidity uint32, ids []string) error {
	return s.mark(ctx, uidValidity, ids, imap.FlagFlagged)
}

// Tag sets a keyword. Exchange keeps none; a server that forgets them when the
// connection ends says so too, and a tag that is forgotten would be no tag.
func (s *Source) Tag(ctx context.Context, uidValidity uint32, ids []string, keyword string) error {
	if !isKeyword(keyword) {
		return fault.New(fault.Invalid, "imap STORE", "%q is no keyword", keyword).
			WithHint(`a tag is one word of ASCII letters and digits, without spaces, quotes, brackets and other marks`)
	}
	return s.mark(ctx, uidValidity, ids, imap.Flag(keyword))
}

// isKeyword is RFC 9051's flag-keyword: an atom.
func isKeyword(s string) bool {
	odd := func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune(`(){%*"\]`, r) }
	return s != "" && len(s) <= 100 && !strings.ContainsFunc(s, odd)
}

func (s *Source) mark(ctx context.Context, uidValidity uint32, ids []string, flag imap.Flag) error {
	defer s.c.begin(ctx)()
	return s.change(ctx, uidValidity, ids, func(part []uint32) error {
		if !s.c.open.keep(flag) {
			return fault.New(fault.NeedsAdmin, "imap STORE", "folder %q does not keep %s", s.name, flag).
				WithHint("choose another action: this server cannot remember that mark")
		}
		return s.c.flag(ctx, part, flag)
	})
}

// keep tells whether a keyword lasts. Nobody but the server's administrator could do
// anything about the system's own flags, and servers are not exact about those.
func (f folder) keep(flag imap.Flag) bool {
	same := func(k imap.Flag) bool { return strings.EqualFold(string(k), string(flag)) }
	system := strings.HasPrefix(string(flag), `\`)
	return system || f.keeps == nil || slices.ContainsFunc(f.keeps, same) || slices.Contains(f.keeps, imap.FlagWildcard)
}

// Move puts messages into another folder of the mailbox, by MOVE (RFC 6851) where
// the server can. Elsewhere they are copied first and only then deleted; cut in
// between, a repetition copies again.
func (s *Source) Move(ctx context.Context, uidValidity uint32, ids []string, target string) error {
	defer s.c.begin(ctx)()
	return s.change(ctx, uidValidity, ids, func(part []uint32) error {
		if s.c.c.Caps().Has(imap.CapMove) {
			if _, err := s.c.c.Move(set(part), target).Wait(); err != nil {
				return s.c.failed(ctx, "MOVE", err)
			}
			return nil
		}
		if _, err := s.c.c.Copy(set(part), target).Wait(); err != nil {
			return s.c.failed(ctx, "COPY", err)
		}
		return s.c.remove(ctx, part)
	})
}

// Delete removes messages.
func (s *Source) Delete(ctx context.Context, uidValidity uint32, ids []string) error {
	defer s.c.begin(ctx)()
	return s.change(ctx, uidValidity, ids, func(part []uint32) error { return s.c.remove(ctx, part) })
}

// remove deletes for good. A server without UIDPLUS (RFC 4315) can only expunge all
// that anybody has marked: where others have marked messages too, ours stay with theirs,
// marked.
func (c *Client) remove(ctx context.Context, uids []uint32) error {
	if err := c.flag(ctx, uids, imap.FlagDeleted); err != nil {
		return err
	}
	expunge := func() *imapclient.ExpungeCommand { return c.c.UIDExpunge(set(uids)) }
	if !c.c.Caps().Has(imap.CapUIDPlus) {
		marked, err := c.c.UIDSearch(&imap.SearchCriteria{Flag: []imap.Flag{imap.FlagDeleted}}, nil).Wait()
		if err != nil {
			return c.failed(ctx, "SEARCH", err)
		}
		others := func(uid imap.UID) bool { return !slices.Contains(uids, uint32(uid)) }
		if slices.ContainsFunc(marked.AllUIDs(), others) {
			return nil
		}
		expunge = c.c.Expunge
	}
	if err := expunge().Close(); err != nil {
		return c.failed(ctx, "EXPUNGE", err)
	}
	return nil
}

func (c *Client) flag(ctx context.Context, uids []uint32, flag imap.Flag) error {
	store := &imap.StoreFlags{Op: imap.StoreFlagsAdd, Silent: true, Flags: []imap.Flag{flag}}
	if err := c.c.Store(set(uids), store, nil).Close(); err != nil {
		return c.failed(ctx, "STORE", err)
	}
	return nil
}

func (s *Source) change(ctx context.Context, uidValidity uint32, ids []string, do func([]uint32) error) error {
	if err := s.ensure(ctx, uidValidity, true); err != nil {
		return err
	}
	for part := range slices.Chunk(numbers(ids), chunk) {
		there, err := s.present(ctx, part)
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
func (s *Source) present(ctx context.Context, uids []uint32) ([]uint32, error) {
	var there []imap.UID
	err := s.c.fetch(ctx, set(uids), &imap.FetchOptions{UID: true}, func(m *imapclient.FetchMessageBuffer) {
		there = append(there, m.UID)
	})
	return ascending(there), err
}
