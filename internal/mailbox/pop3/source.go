package pop3

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"postern/internal/fault"
	"postern/internal/mailbox"
)

// Source is a mailbox as fetch tasks use it. Its ids are the server's UIDLs, which last;
// the numbers that POP3 works with are those of one session. Deleting ends the session,
// because only the end makes it true (RFC 1939 §6), and the next method begins another.
//
// Servers may give copies of a message the same UIDL (RFC 1939 §7), and some give it to
// others by mistake. Each has an id of its own here, the second of them "UIDL 2"; none is
// deleted, for nobody could say later which of them that was.
//
// POP3 has no folders and no flags: what needs them is fault.NeedsAdmin.
type Source struct {
	address string
	dial    func(ctx context.Context) (*Client, error)

	c     *Client  // nil between sessions
	there *listing // nil until it is asked for in a session
}

// listing is what a session has, in some octets for each message beside its id.
type listing struct {
	ids     mailbox.IDs
	numbers []int           // of those at the same positions
	sizes   []int64         // likewise
	shared  map[string]bool // ids of messages that the server does not tell apart
}

// Open signs in by dial, which must do so once more whenever the source asks.
func Open(ctx context.Context, address string, dial func(ctx context.Context) (*Client, error)) (*Source, error) {
	s := &Source{address: address, dial: dial}
	var err error
	s.c, err = dial(ctx)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Mailbox is the address of the mailbox.
func (s *Source) Mailbox() string { return s.address }

// Use is ignored: there is one folder only.
func (s *Source) Use(string) {}

// Can tells that POP3 offers nothing beyond reading and deleting.
func (s *Source) Can() mailbox.Abilities { return mailbox.Abilities{} }

// Folders names the only one.
func (s *Source) Folders(context.Context) ([]mailbox.Folder, error) {
	return []mailbox.Folder{{Name: "INBOX"}}, nil
}

// session lists what is there, once in each session: the server shows nothing else
// until it ends.
func (s *Source) session(ctx context.Context) error {
	if s.c == nil {
		c, err := s.dial(ctx)
		if err != nil {
			return err
		}
		s.c, s.there = c, nil
	}
	if s.there != nil {
		return nil
	}
	all, err := s.c.Messages(ctx)
	if errors.Is(err, fault.Permanent) && fault.ReplyOf(err) != nil {
		return (&fault.Error{Kind: fault.NeedsAdmin, Op: "list messages", Err: err}).
			WithHint("this server gives messages no lasting names (UIDL), so what was fetched could not be remembered: use IMAP")
	}
	if err != nil {
		return err
	}
	s.there = identify(all)
	return nil
}

// identify gives every message an id: its UIDL, if no other had it before.
func identify(all []Message) *listing {
	l := &listing{numbers: make([]int, 0, len(all)), sizes: make([]int64, 0, len(all)), shared: make(map[string]bool)}
	times := make(map[string]int, len(all))
	for i, m := range all {
		uidl := m.UID
		if times[uidl]++; times[uidl] > 1 {
			all[i].UID = fmt.Sprintf("%s %d", uidl, times[uidl]) // no UIDL has a space
			l.shared[uidl], l.shared[all[i].UID] = true, true
		}
		l.numbers, l.sizes = append(l.numbers, m.Number), append(l.sizes, m.Size)
	}
	l.ids = mailbox.NewIDs(func(yield func(string) bool) {
		for _, m := range all {
			if !yield(m.UID) {
				return
			}
		}
	})
	return l
}

// Search returns the ids of all messages: POP3 has nothing to search by. It does not
// tell when messages arrived, either.
func (s *Source) Search(ctx context.Context, q mailbox.Query) (uint32, mailbox.IDs, error) {
	if q.Unread || q.Unflagged || q.Untagged != "" || q.Raw != "" {
		return 0, mailbox.IDs{}, cannot("search")
	}
	if err := s.session(ctx); err != nil {
		return 0, mailbox.IDs{}, err
	}
	return 0, s.there.ids, nil
}

func cannot(op string) error {
	return fault.New(fault.NeedsAdmin, op, "POP3 has no folders, no flags and no search").
		WithHint("let the task take all messages, and leave or delete them; or use IMAP")
}

// choose finds the messages that are there.
func (s *Source) choose(ctx context.Context, uidValidity uint32, ids []string) (found []Message, missing []string, err error) {
	if uidValidity != 0 {
		return nil, nil, fault.New(fault.Conflict, "pop3 open mailbox", "over POP3 messages have other names")
	}
	if err := s.session(ctx); err != nil {
		return nil, nil, err
	}
	l := s.there
	for _, id := range ids {
		if i, there := l.ids.Find(id); there {
			found = append(found, Message{Number: l.numbers[i], UID: id, Size: l.sizes[i]})
		} else {
			missing = append(missing, id)
		}
	}
	return found, missing, nil
}

func numbersOf(messages []Message) []int {
	numbers := make([]int, 0, len(messages))
	for _, m := range messages {
		numbers = append(numbers, m.Number)
	}
	return numbers
}

// maxHeader bounds what is kept of a header block.
const maxHeader = 256 << 10

// Describe tells the size of those of the messages that are still there, and their
// headers by TOP, or from the whole message where the server has no TOP.
func (s *Source) Describe(ctx context.Context, uidValidity uint32, ids []string, headers bool, each func(mailbox.Brief)) error {
	found, _, err := s.choose(ctx, uidValidity, ids)
	if err != nil {
		return err
	}
	if !headers {
		for _, m := range found {
			each(mailbox.Brief{ID: m.UID, Size: m.Size})
		}
		return nil
	}
	read := s.c.Top
	for len(found) > 0 {
		done, noTop := 0, false
		err := read(ctx, numbersOf(found), func(i int, message io.Reader, refused error) error {
			if noTop = noTop || refused != nil && errors.Is(refused, fault.Permanent); noTop {
				return nil
			}
			done++
			if refused != nil {
				return nil //nolint:nilerr // Bodies will say why
			}
			header, err := header(message)
			if err == nil {
				each(mailbox.Brief{ID: found[i].UID, Size: found[i].Size, Header: header})
			}
			return err
		})
		if err != nil {
			return err
		}
		found, read = found[done:], s.c.Retr
	}
	return nil
}

// header keeps the header block of a message.
func header(message io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(message, maxHeader))
	if err != nil {
		return nil, err
	}
	if end := strings.Index(string(b), "\r\n\r\n"); end >= 0 {
		b = b[:end+4]
	}
	return b, nil
}

// Bodies streams messages, one after the other; many are asked for ahead where the
// server lets us. A server that refuses each of several is at fault itself: then the
// messages are left undecided.
func (s *Source) Bodies(ctx context.Context, uidValidity uint32, ids []string, each func(id string, body io.Reader, err error) error) error {
	found, missing, err := s.choose(ctx, uidValidity, ids)
	if err != nil {
		return err
	}
	for _, id := range missing {
		if err := each(id, nil, fault.New(fault.NotFound, "pop3 RETR", "the message is no longer there")); err != nil {
			return err
		}
	}
	var refused []Message
	var reasons []error
	err = s.c.Retr(ctx, numbersOf(found), func(i int, message io.Reader, refusal error) error {
		if refusal != nil {
			refused, reasons = append(refused, found[i]), append(reasons, refusal)
			return nil
		}
		return each(found[i].UID, message, nil)
	})
	if err != nil {
		return err
	}
	if len(refused) == len(found) && len(refused) > 1 {
		return reasons[0]
	}
	for i, m := range refused {
		if err := each(m.UID, nil, reasons[i]); err != nil {
			return err
		}
	}
	return nil
}

// HasFolder reports that there is no folder to move to.
func (s *Source) HasFolder(context.Context, string) (bool, error) { return false, nil }

// MakeFolder cannot.
func (s *Source) MakeFolder(context.Context, string) error { return cannot("make folder") }

// MarkRead cannot.
func (s *Source) MarkRead(context.Context, uint32, []string) error { return cannot("mark as read") }

// Flag cannot.
func (s *Source) Flag(context.Context, uint32, []string) error { return cannot("flag") }

// Tag cannot.
func (s *Source) Tag(context.Context, uint32, []string, string) error { return cannot("tag") }

// Move cannot.
func (s *Source) Move(context.Context, uint32, []string, string) error { return cannot("move") }

// Delete removes messages and ends the session: it returns nil only when the server has
// answered to the end, for whatever was only marked comes back. One message that it will
// not delete keeps no other from it.
func (s *Source) Delete(ctx context.Context, uidValidity uint32, ids []string) error {
	found, _, err := s.choose(ctx, uidValidity, ids)
	if err != nil {
		return err
	}
	marked := 0
	var kept error
	for _, m := range found {
		if s.there.shared[m.UID] {
			kept = fault.New(fault.Permanent, "pop3 DELE", "the server gives several messages the same name (UIDL): %s", m.UID).
				WithHint("delete them by hand, or read this mailbox over IMAP")
			continue
		}
		switch err := s.c.Dele(ctx, m.Number); {
		case errors.Is(err, fault.Permanent):
			kept = err
		case err != nil && !errors.Is(err, fault.NotFound):
			return err
		default:
			marked++
		}
	}
	if marked == 0 {
		return kept
	}
	err = s.c.Quit(ctx)
	s.c = nil
	return cmp.Or(err, kept)
}

// farewell is how long the end of a session may take.
const farewell = 5 * time.Second

// Close ends the session in form: a server whose client just went away may keep the
// mailbox locked for minutes. What a Delete that failed halfway had marked goes with it,
// as it was to.
func (s *Source) Close() error {
	if s.c == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), farewell)
	defer cancel()
	err := s.c.Quit(ctx)
	s.c = nil
	return err
}
