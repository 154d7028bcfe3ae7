package exchange

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapserver"

	"postern/internal/sim365/world"
)

// The folders every mailbox has.
const (
	Inbox        = "INBOX"
	SentItems    = "Sent Items"
	Drafts       = "Drafts"
	DeletedItems = "Deleted Items"
	JunkEmail    = "Junk Email"
	Archive      = "Archive"
)

// store holds the mailboxes; one comes into being when it is first asked for.
type store struct {
	now func() time.Time

	mu    sync.Mutex
	boxes map[string]*mailbox
}

// mailbox is the folders of one address. Its lock covers them and their messages.
type mailbox struct {
	mu       sync.Mutex
	folders  []*folder
	validity uint32 // given out last
}

type folder struct {
	name     string
	use      imap.MailboxAttr // "" for a folder made by the user
	validity uint32
	next     imap.UID
	messages []*message
	tracker  *imapserver.MailboxTracker
}

type message struct {
	uid      imap.UID
	raw      []byte // never changed
	received time.Time
	flags    map[imap.Flag]bool // see canonical
}

func newStore(now func() time.Time) *store {
	return &store{now: now, boxes: map[string]*mailbox{}}
}

func (s *store) mailbox(address string) *mailbox {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := strings.ToLower(address)
	b, ok := s.boxes[key]
	if !ok {
		b = newMailbox()
		s.boxes[key] = b
	}
	return b
}

func newMailbox() *mailbox {
	b := &mailbox{validity: 13} // Exchange begins low
	for _, f := range []struct {
		name string
		use  imap.MailboxAttr
	}{
		{Inbox, ""}, {SentItems, imap.MailboxAttrSent}, {Drafts, imap.MailboxAttrDrafts},
		{DeletedItems, imap.MailboxAttrTrash}, {JunkEmail, imap.MailboxAttrJunk}, {Archive, imap.MailboxAttrArchive},
	} {
		b.add(f.name, f.use)
	}
	return b
}

func (b *mailbox) add(name string, use imap.MailboxAttr) {
	b.validity++
	b.folders = append(b.folders, &folder{
		name: name, use: use, validity: b.validity, next: 1, tracker: imapserver.NewMailboxTracker(0),
	})
}

// folder finds by name, in which Exchange knows no case.
func (b *mailbox) folder(name string) (*folder, bool) {
	i := slices.IndexFunc(b.folders, func(f *folder) bool { return strings.EqualFold(f.name, name) })
	if i < 0 {
		return nil, false
	}
	return b.folders[i], true
}

func (f *folder) append(raw []byte, received time.Time, flags []imap.Flag) *message {
	m := &message{uid: f.next, raw: raw, received: received, flags: map[imap.Flag]bool{}}
	for _, flag := range flags {
		m.flags[canonical(flag)] = true
	}
	f.next++
	f.messages = append(f.messages, m)
	f.tracker.QueueNumMessages(uint32(len(f.messages)))
	return m
}

// remove takes messages out, last first, so that sequence numbers stay true.
func (f *folder) remove(gone func(*message) bool) {
	for i, m := range slices.Backward(f.messages) {
		if gone(m) {
			f.messages = slices.Delete(f.messages, i, i+1)
			f.tracker.QueueExpunge(uint32(i) + 1)
		}
	}
}

func (m *message) flagList() []imap.Flag { return slices.Sorted(maps.Keys(m.flags)) }

// canonical gives system flags one spelling; flags know no case (RFC 9051 §2.3.2).
func canonical(f imap.Flag) imap.Flag {
	for _, known := range systemFlags() {
		if strings.EqualFold(string(f), string(known)) {
			return known
		}
	}
	return imap.Flag(strings.ToLower(string(f)))
}

func systemFlags() []imap.Flag {
	return []imap.Flag{imap.FlagSeen, imap.FlagAnswered, imap.FlagFlagged, imap.FlagDeleted, imap.FlagDraft, "$MDNSent"}
}

// Message is a message of a folder as a test sees it.
type Message struct {
	UID      uint32
	Flags    []string // sorted, "\Seen"
	Received time.Time
	Raw      []byte // do not change
}

// Folder lists what a folder holds; none for a folder that does not exist.
func (s *Servers) Folder(mailbox, name string) []Message {
	b := s.store.mailbox(mailbox)
	b.mu.Lock()
	defer b.mu.Unlock()
	f, ok := b.folder(name)
	if !ok {
		return nil
	}
	out := make([]Message, 0, len(f.messages))
	for _, m := range f.messages {
		flags := make([]string, 0, len(m.flags))
		for _, flag := range m.flagList() {
			flags = append(flags, string(flag))
		}
		out = append(out, Message{UID: uint32(m.uid), Flags: flags, Received: m.received, Raw: m.raw})
	}
	return out
}

// Append puts a message into a folder, which is made when it does not exist, as
// received at a time (zero is now), and returns its UID.
func (s *Servers) Append(mailbox, name string, raw []byte, received time.Time, flags ...string) uint32 {
	if received.IsZero() {
		received = s.world.Now()
	}
	b := s.store.mailbox(mailbox)
	b.mu.Lock()
	defer b.mu.Unlock()
	f, ok := b.folder(name)
	if !ok {
		b.add(name, "")
		f = b.folders[len(b.folders)-1]
	}
	list := make([]imap.Flag, 0, len(flags))
	for _, flag := range flags {
		list = append(list, imap.Flag(flag))
	}
	return uint32(f.append(raw, received, list).uid)
}

// Expunge takes messages out of a folder, as if another client had; without UIDs
// all of them.
func (s *Servers) Expunge(mailbox, name string, uids ...uint32) {
	b := s.store.mailbox(mailbox)
	b.mu.Lock()
	defer b.mu.Unlock()
	if f, ok := b.folder(name); ok {
		f.remove(func(m *message) bool { return len(uids) == 0 || slices.Contains(uids, uint32(m.uid)) })
	}
}

// SetUIDValidity gives a folder another UIDVALIDITY and its messages new UIDs, as
// a mailbox restored or moved would have.
func (s *Servers) SetUIDValidity(mailbox, name string, validity uint32) error {
	b := s.store.mailbox(mailbox)
	b.mu.Lock()
	defer b.mu.Unlock()
	f, ok := b.folder(name)
	if !ok {
		return fmt.Errorf("exchange: %s has no folder %q", mailbox, name)
	}
	f.validity, f.next = validity, 1
	for _, m := range f.messages {
		m.uid = f.next
		f.next++
	}
	return nil
}

// Deliver puts mail that came from outside into a mailbox's INBOX, received now.
func (s *Servers) Deliver(mailbox string, raw []byte) error {
	if !s.hasMailbox(mailbox) {
		return fmt.Errorf("exchange: nobody here has the mailbox %s", mailbox)
	}
	now := s.world.Now()
	s.world.Keep(world.Stored{Mailbox: mailbox, Folder: Inbox, To: []string{mailbox}, Raw: raw, Received: now, Via: "control"})
	s.Append(mailbox, Inbox, raw, now)
	return nil
}

// Send keeps a submission: the message in Sent Items of its mailbox, when there
// is one, and the delivered form with each recipient once: in the INBOX of those
// who have a mailbox here, as gone out to the others.
func (s *Servers) Send(sent world.Stored, delivered []byte) {
	sent.Received = s.world.Now()
	if s.hasMailbox(sent.Mailbox) {
		sent.Folder = SentItems
		s.world.Keep(sent)
		s.Append(sent.Mailbox, SentItems, sent.Raw, sent.Received, string(imap.FlagSeen))
	}
	seen := map[string]bool{}
	for _, to := range sent.To {
		key := strings.ToLower(to)
		if seen[key] {
			continue
		}
		seen[key] = true
		kept := sent
		kept.Mailbox, kept.Raw, kept.Folder = to, delivered, ""
		if s.hasMailbox(to) {
			kept.Folder = Inbox
			s.Append(to, Inbox, delivered, sent.Received)
		}
		s.world.Keep(kept)
	}
}

func (s *Servers) hasMailbox(address string) bool {
	u, ok := s.world.User(address)
	return ok && !u.HVE && strings.EqualFold(u.UPN, address)
}
