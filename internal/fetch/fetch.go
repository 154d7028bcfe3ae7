// Package fetch takes mail out of mailboxes and hands attachments on, exactly
// once: tasks, rules, the ledger, extraction and the hand-over.
//
// It speaks no protocol (it reads from a [Source]), obtains no token, and keeps
// nothing itself (a [Ledger] does). The mailbox is opened read-only and changed
// only after the files are durably in place.
//
// # The states of a message
//
//	             nothing wanted
//	(unknown) ──────────────────▶ no_match
//	   │  ▲
//	   │  └── failed ◀── an attempt that did not get as far as staged;
//	   │        │        the message's own fault, or its connection's twice in a run
//	   │        └── third attempt, or out of bounds ──▶ parked (waits for a person)
//	   │
//	   │ 1 every file and the manifest written under staging names, synced
//	   │ 2 directory synced
//	   │ 3 ledger: staged, with staging names and promised final names
//	   ▼
//	 staged
//	   │ 4 each file renamed to its final name, never over another file
//	   │ 5 directory synced, then the manifest renamed, directory synced again
//	   │ 6 ledger: saved
//	   ▼
//	 saved
//	   │ 7 the mailbox action
//	   │ 8 ledger: done
//	   ▼
//	 done
//
// Cut before 3, the staging files are orphans: they are swept an hour later, and
// the message is taken from the start. Cut after 3, the next run goes on from the
// ledger without the mailbox: a staging name that is gone was renamed, whether or
// not somebody has since taken the file away. A foreign file under a promised name
// makes the run promise another name first (3 again, for that file and the
// manifest). Cut after 6, only the action is made; a message that is gone counts
// as acted upon. When the server renumbers a folder, a message that was saved under
// the old numbers is recognised by Message-ID and digest, and not saved again.
package fetch

import (
	"context"
	"strings"
	"time"
)

// Task is a scheduled fetch (product C1–C6, thin).
type Task struct {
	Name      string        `json:"name"`
	Account   string        `json:"account"`   // whose mailbox
	Folder    string        `json:"folder"`    // as the server names it; INBOX by default
	Directory string        `json:"directory"` // absolute; where files go
	Every     time.Duration `json:"every_ns"`  // 0: manual only
	Start     Start         `json:"start"`
	Unread    bool          `json:"unread"`            // only messages without \Seen
	Inline    bool          `json:"inline"`            // also parts with Content-Disposition: inline
	After     After         `json:"after"`             // what happens to the message
	MoveTo    string        `json:"move_to,omitempty"` // for AfterMove
	Disabled  bool          `json:"disabled"`
	Created   time.Time     `json:"created"` // set by the store when the task is first put
}

// Start says which messages the first run looks at.
type Start string

// The starts.
const (
	StartNew Start = "new" // those that arrived after the task was made
	StartAll Start = "all" // whatever is in the folder
)

// After is the mailbox action once the hand-over is durable.
type After string

// The actions.
const (
	AfterNothing After = "nothing"
	AfterRead    After = "read"
	AfterMove    After = "move"
	AfterDelete  After = "delete"
)

// EntryState is how far one message came; docs/way-of-a-message.md draws the edges.
type EntryState string

// The states. A run resumes an entry from the state it finds.
const (
	Staged      EntryState = "staged"   // files lie synced under temporary names, final names are promised
	Saved       EntryState = "saved"    // every file has its final name
	Done        EntryState = "done"     // the mailbox action is made too
	NoMatch     EntryState = "no_match" // nothing to take; never looked at again
	EntryFailed EntryState = "failed"   // will be tried again
	Parked      EntryState = "parked"   // tried too often; waits for a person
)

// Place is what the ledger knows a folder by. Mailboxes share UIDVALIDITY values, so
// the folder's name alone, or with that of an account that may be given another
// mailbox, would let one mailbox pass for another: its messages would count as
// known, and actions still owed to the old one would be made on it.
func Place(mailbox, folder string) string { return strings.ToLower(mailbox) + "/" + folder }

// Key is a message's place in a mailbox (RFC 9051 §2.3.1.1). UIDValidity is part
// of it: a new one makes new keys.
type Key struct {
	Task        string `json:"task"`
	Folder      string `json:"folder"` // [Place]: mailbox and folder
	UIDValidity uint32 `json:"uid_validity"`
	UID         string `json:"uid"` // IMAP: the UID in decimal; POP3: the UIDL
}

// Entry is one line of the ledger.
type Entry struct {
	Key
	MessageID string     `json:"message_id,omitempty"` // second guard; may be empty
	Digest    string     `json:"sha256,omitempty"`     // SHA-256 of the whole message as it came, hex; with MessageID guards against a UIDVALIDITY change
	State     EntryState `json:"state"`
	Files     []File     `json:"files,omitempty"` // in the order of the parts; the manifest is the last
	Attempts  int        `json:"attempts"`
	Reason    string     `json:"reason,omitempty"`
	Run       string     `json:"run"`
	Updated   time.Time  `json:"updated"`
}

// File is one handed-over file.
type File struct {
	Name        string `json:"name"`     // final name in Task.Directory, no separators
	Staging     string `json:"-"`        // absolute path it was staged under; its directory is where Name will be
	Original    string `json:"original"` // as the message called it
	ContentType string `json:"content_type"`
	Size        int64  `json:"size"`
	SHA256      string `json:"sha256"` // hex
}

// Run is the history of one run.
type Run struct {
	ID      string    `json:"id"`
	Task    string    `json:"task"`
	Started time.Time `json:"started"`
	Ended   time.Time `json:"ended,omitzero"`
	Looked  int       `json:"looked"` // messages considered
	Saved   int       `json:"saved"`  // messages handed over
	Files   int       `json:"files"`  // files handed over, manifests not counted
	Failed  int       `json:"failed"`
	Error   string    `json:"error,omitempty"`
}

// Ledger is the durable memory of tasks. Missing is fault.NotFound, a lost race
// fault.Conflict. A write that returned nil survives a power cut.
type Ledger interface {
	Tasks(ctx context.Context) ([]Task, error)
	Task(ctx context.Context, name string) (Task, error)
	PutTask(ctx context.Context, t Task) error // insert or replace; Created is kept
	DeleteTask(ctx context.Context, name string) error

	// LockTask gives holder the sole right to run the task until the given time;
	// Conflict while another has it. The same holder may lock again to extend.
	LockTask(ctx context.Context, task, holder string, now, until time.Time) error
	UnlockTask(ctx context.Context, task, holder string) error

	// Known returns the state of every ledger entry under (task, folder, uidvalidity).
	Known(ctx context.Context, task, folder string, uidValidity uint32) (map[string]EntryState, error)
	// Unfinished returns the task's entries in Staged, Saved or EntryFailed, whatever their UIDVALIDITY.
	Unfinished(ctx context.Context, task string) ([]Entry, error)
	Entry(ctx context.Context, k Key) (Entry, error)
	// Twin finds a Saved or Done entry of the task and folder under another UIDVALIDITY
	// with the same message id and digest; NotFound when there is none.
	Twin(ctx context.Context, k Key, messageID, digest string) (Entry, error)
	PutEntries(ctx context.Context, e ...Entry) error                     // insert or replace, all or none
	Entries(ctx context.Context, task string, limit int) ([]Entry, error) // newest first

	PutRun(ctx context.Context, r Run) error                         // insert or replace
	Runs(ctx context.Context, task string, limit int) ([]Run, error) // newest first
}
