package fetch

import (
	"context"
	"io"

	"postern/internal/mailbox"
)

// Sources signs in to mailboxes.
type Sources interface {
	// Open connects to the account's mailbox over the protocol and signs in, with a
	// token that has some life left. NeedsSignIn and NeedsAdmin end the run, Temporary
	// is tried again.
	Open(ctx context.Context, account string, protocol Protocol) (Source, error)
}

// Protocol is how a mailbox is read.
type Protocol string

// The protocols.
const (
	IMAP Protocol = "imap"
	POP3 Protocol = "pop3"
)

// Source is a mailbox over one connection, of which one folder is in use at a time;
// INBOX until Use says otherwise. It is used by one goroutine. After an error of kind
// Temporary or Unknown it is closed and another one opened.
//
// A message is named by an id that lives as long as its folder's UIDVALIDITY: over
// IMAP the UID in decimal, over POP3 the UIDL (and the UIDVALIDITY is 0).
//
// Methods that take a UIDVALIDITY answer fault.Conflict when the folder has
// another by now. Methods that change tolerate messages that are gone, and may be
// repeated. Everything else leaves the folder as it is, unread messages unread.
// What the protocol or the server cannot do is fault.NeedsAdmin, with the way out.
type Source interface {
	// Mailbox is the address of the mailbox that was signed in to, whatever the
	// account is called.
	Mailbox() string
	// Can tells what this server offers.
	Can() mailbox.Abilities
	// Folders lists the mailbox's folders.
	Folders(ctx context.Context) ([]mailbox.Folder, error)
	// Use names the folder the other methods work on; the server is not asked yet.
	Use(folder string)
	// Search returns the folder's UIDVALIDITY and the ids of the messages in it that
	// the query finds, each once, the oldest first. fault.NotFound when there is no such folder.
	Search(ctx context.Context, q mailbox.Query) (uidValidity uint32, ids mailbox.IDs, err error)
	// Describe tells about those of the messages that are still there, with their
	// headers or without, in any order.
	Describe(ctx context.Context, uidValidity uint32, ids []string, headers bool, each func(mailbox.Brief)) error
	// Bodies streams messages, several of them in flight where the protocol allows, and
	// calls each once for every id, in any order, one at a time. The reader gives io.EOF
	// only when the message was whole, and what each leaves of it is skipped. A message that is gone is fault.NotFound, one the
	// server cannot give is what the server said; the reader is nil then, and the others
	// go on. Bodies ends with each's first error, as it is, or with what broke the
	// connection; what each was not told of by then is undecided.
	Bodies(ctx context.Context, uidValidity uint32, ids []string, each func(id string, body io.Reader, err error) error) error
	// HasFolder tells whether Move could put messages there; MakeFolder sees to it.
	HasFolder(ctx context.Context, name string) (bool, error)
	MakeFolder(ctx context.Context, name string) error
	MarkRead(ctx context.Context, uidValidity uint32, ids []string) error
	Flag(ctx context.Context, uidValidity uint32, ids []string) error
	Tag(ctx context.Context, uidValidity uint32, ids []string, keyword string) error
	Move(ctx context.Context, uidValidity uint32, ids []string, target string) error
	Delete(ctx context.Context, uidValidity uint32, ids []string) error
	Close() error
}

// Watcher is a Source that need not be asked again and again.
type Watcher interface {
	// Watch returns nil when something may have changed in the folder in use, at the
	// latest when the server's patience ends; what ctx says when that ends first.
	Watch(ctx context.Context) error
}
