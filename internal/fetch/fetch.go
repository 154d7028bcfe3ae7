// Package fetch takes mail out of mailboxes and hands on what tasks want of it, exactly
// once: tasks, rules, the ledger, the hand-over, the schedule.
//
// It speaks no protocol (it reads from a [Source]), obtains no token, and keeps nothing
// itself (a [Ledger] does). The mailbox is opened read-only and changed only after the
// files are durably in place.
//
// # The states of a message
//
//	             before the cut-off: seen; no rule takes it: no_match
//	(unknown) ──────────────────────────────────────────────────────▶
//	   │  ▲
//	   │  └── failed ◀── an attempt that did not get as far as staged;
//	   │        │        the message's own fault, or its connection's twice in a run
//	   │        └── last attempt, or out of bounds ──▶ parked (waits for a person)
//	   │
//	   │ 1 every file and the manifest written under staging names, synced
//	   │ 2 directory synced
//	   │ 3 ledger: staged, with staging names and promised final names
//	   ▼
//	 staged ── no directory, only a target: its staging names are all it needs ──┐
//	   │ 4 each file renamed to its final name                                   │
//	   │ 5 directories synced, then the manifest renamed, synced again           │
//	   │ 6 ledger: saved                                                         │
//	   ▼                                                                         │
//	 saved ── 7 the target has it; ledger: handed_over ◀─────────────────────────┘
//	   │ 8 the mailbox action
//	   │ 9 ledger: done; or action_failed, when the server refuses: 8 again each run;
//	   │   or parked, when the message is a note that the server gave in its place
//	   ▼
//	 done
//
// Cut before 3, the staging files are orphans: they are swept an hour later, and the
// message is taken from the start. Cut after 3, the next run goes on from the ledger
// without the mailbox: a staging name that is gone was renamed, whether or not somebody
// has since taken the file away (in the private spool it was lost, and the message starts
// over). A foreign file under a promised name makes the run promise another name first (3
// again, for that file and the manifest). Cut in 7, the target gets the same delivery
// again, under the same ID. Cut after that, only the action is made; a message that is
// gone counts as acted upon.
//
// Steps 1 to 3, 4 to 6 and 8 to 9 are made for a group of messages at once: that is what
// makes durable fetching fast. Where no target waits and no action is wanted, step 6
// enters done at once, and the next group is read meanwhile.
package fetch

import (
	"context"
	"strings"
	"time"
)

// EntryState is how far one message came; docs/way-of-a-message.md draws the edges.
type EntryState string

// The states. A run resumes an entry from the state it finds.
const (
	Seen         EntryState = "seen"          // was there before the task's cut-off; never looked at
	NoMatch      EntryState = "no_match"      // nothing to take; never looked at again
	Staged       EntryState = "staged"        // files lie synced under temporary names, final names are promised
	Saved        EntryState = "saved"         // every file has its final name
	HandedOver   EntryState = "handed_over"   // the target has them too
	ActionFailed EntryState = "action_failed" // dealt with, but the server will not do the mailbox action; asked again each run
	Done         EntryState = "done"          // the mailbox action is made too
	EntryFailed  EntryState = "failed"        // will be tried again
	Parked       EntryState = "parked"        // tried too often; waits for a person
)

// States lists them in the order a message goes through them.
func States() []EntryState {
	return []EntryState{Seen, NoMatch, Staged, Saved, HandedOver, ActionFailed, Done, EntryFailed, Parked}
}

// Unfinished reports whether a run comes back to the message by itself.
func (s EntryState) Unfinished() bool {
	switch s {
	case Staged, Saved, HandedOver, ActionFailed, EntryFailed:
		return true
	}
	return false
}

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
	Files     []File     `json:"files,omitempty"` // in the order of the parts; a manifest is the last
	Attempts  int        `json:"attempts"`
	Reason    string     `json:"reason,omitempty"`
	Run       string     `json:"run"`
	Updated   time.Time  `json:"updated"`
	About
}

// About is what people know a message by, and what its hand-over needs to go on with.
type About struct {
	From    string    `json:"from,omitempty"`
	Subject string    `json:"subject,omitempty"`
	Arrived time.Time `json:"arrived,omitzero"`
	Size    int64     `json:"size,omitempty"`
	Rule    string    `json:"rule,omitempty"`
	Again   int       `json:"again,omitempty"`    // how often somebody asked for it to be taken again
	Acted   bool      `json:"acted,omitempty"`    // the mailbox action is made, the target still wants it
	Receipt string    `json:"receipt,omitempty"`  // what the target said when it had everything
	TakenBy string    `json:"taken_by,omitempty"` // the run that took it: every try of its delivery names that one

	Owed *Owed `json:"owed,omitempty"` // what the server will not do to a message that was not taken

	Unconverted bool `json:"unconverted,omitempty"` // it is a note that the server gave in the message's place

	FromName    string    `json:"from_name,omitempty"`
	FromAddress string    `json:"from_address,omitempty"`
	Senders     []string  `json:"senders,omitempty"`
	To          []string  `json:"to,omitempty"`
	Cc          []string  `json:"cc,omitempty"`
	ReplyTo     []string  `json:"reply_to,omitempty"`
	Sent        time.Time `json:"sent,omitzero"`
	Warnings    []string  `json:"warnings,omitempty"`
	Body        string    `json:"body,omitempty"` // how it begins
}

// brief is what is kept of a message that was not taken.
func (a About) brief() About {
	return About{From: a.From, Subject: a.Subject, Arrived: a.Arrived, Size: a.Size, Again: a.Again, Owed: a.Owed}
}

// File is one handed-over file.
type File struct {
	Name        string `json:"name"`               // final name under Handover.Directory, with slashes
	Kind        Kind   `json:"kind,omitempty"`     // "" is attachments
	Staging     string `json:"-"`                  // absolute path it was staged under; Name is relative to its directory
	Original    string `json:"original,omitempty"` // as the message called it
	ContentType string `json:"content_type,omitempty"`
	Size        int64  `json:"size"`
	SHA256      string `json:"sha256"`            // hex
	Index       int    `json:"index,omitempty"`   // its place among the files, from 1
	Receipt     string `json:"receipt,omitempty"` // what the target said when it had it
	Dropped     bool   `json:"dropped,omitempty"` // not kept: a file of that name was there
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
	Counts
}

// Counts are what else a run tells of itself.
type Counts struct {
	Total   int    `json:"total"`             // messages that were to be looked at
	NoMatch int    `json:"no_match"`          // of those looked at
	Acted   int    `json:"acted"`             // messages whose mailbox action was made
	Bytes   int64  `json:"bytes"`             // read
	Left    int    `json:"left,omitempty"`    // for the next run, because of a limit
	Stopped string `json:"stopped,omitempty"` // who stopped it
}

// Line is a line of a run's log.
type Line struct {
	At   time.Time `json:"at"`
	Text string    `json:"text"`
}

// Filter chooses entries; the zero values choose all.
type Filter struct {
	Task   string
	Folder string // INBOX, or with its mailbox: a [Place]
	UID    string
	States []EntryState
	Text   string // in sender, subject, Message-ID or a file's name
	Run    string
	Limit  int    // 0: 100
	After  string // the [Mark] of the last one seen, for paging
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
	// StopTask asks whoever has the lock to give it up, and says who asked; Conflict
	// when nobody has it. StopWanted is how the holder hears of it: "" is no.
	StopTask(ctx context.Context, task, who string, now time.Time) error
	StopWanted(ctx context.Context, task string) (who string, err error)

	// Known tells the state of every ledger entry under (task, folder, uidvalidity), in
	// any order.
	Known(ctx context.Context, task, folder string, uidValidity uint32, each func(uid string, state EntryState)) error
	// Unfinished returns the task's entries in an unfinished state, whatever their UIDVALIDITY.
	Unfinished(ctx context.Context, task string) ([]Entry, error)
	Entry(ctx context.Context, k Key) (Entry, error)
	// Twins finds entries of the task and folder that were saved or more and have one of
	// the digests; a thousand at most, the newest.
	Twins(ctx context.Context, task, folder string, digests ...string) ([]Entry, error)
	PutEntries(ctx context.Context, e ...Entry) error // insert or replace, all or none
	// Advance enters a state that messages have come to, whatever else is known of them;
	// all or none. NotFound when one is not in the ledger.
	Advance(ctx context.Context, state EntryState, run string, at time.Time, keys ...Key) error
	DropEntries(ctx context.Context, keys ...Key) error
	Entries(ctx context.Context, f Filter) ([]Entry, error) // newest first

	PutRun(ctx context.Context, r Run) error // insert or replace; the oldest are forgotten
	PutLines(ctx context.Context, run string, first int, lines ...Line) error
	Lines(ctx context.Context, run string) ([]Line, error)
	Runs(ctx context.Context, task string, limit int) ([]Run, error) // newest first
}
