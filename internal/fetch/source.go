package fetch

import (
	"context"
	"io"
	"time"
)

// Sources signs in to mailboxes.
type Sources interface {
	// Open connects to the account's mailbox and signs in, with a token that has
	// some life left. The folder need not be opened yet. NeedsSignIn and NeedsAdmin
	// end the run, Temporary is tried again.
	Open(ctx context.Context, account, folder string) (Source, error)
}

// Source is one folder of a mailbox over one connection; internal/mailbox/imap's
// Folder is one. It is used by one goroutine. After an error of kind Temporary or
// Unknown it is closed and another one opened.
//
// Methods that take a UIDVALIDITY answer fault.Conflict when the folder has
// another by now. Methods that change tolerate messages that are gone, and may be
// repeated. Everything else leaves the folder as it is, unread messages unread.
type Source interface {
	// Mailbox is the address of the mailbox that was signed in to, whatever the
	// account is called.
	Mailbox() string
	// Search returns the folder's UIDVALIDITY and the ascending UIDs in it, perhaps
	// only of those unread, perhaps only of those that arrived after since (a rough
	// lower bound; zero for all).
	Search(ctx context.Context, unread bool, since time.Time) (uidValidity uint32, uids []uint32, err error)
	// Describe tells size and arrival of those messages that are still there.
	Describe(ctx context.Context, uidValidity uint32, uids []uint32, each func(uid uint32, size int64, arrived time.Time)) error
	// Body streams a message; only a nil error means that read saw all of it.
	// fault.NotFound when it is gone. An error of read's is returned as it is.
	Body(ctx context.Context, uidValidity, uid uint32, read func(io.Reader) error) error
	// HasFolder tells whether Move could put messages there.
	HasFolder(ctx context.Context, name string) (bool, error)
	MarkRead(ctx context.Context, uidValidity uint32, uids []uint32) error
	Move(ctx context.Context, uidValidity uint32, uids []uint32, target string) error
	Delete(ctx context.Context, uidValidity uint32, uids []uint32) error
	Close() error
}
