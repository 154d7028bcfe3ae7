// Package relay is the durable queue of outgoing mail: accept, pace, deliver,
// give up. A message is accepted only when the store has committed it; from then
// on it is delivered, or fails visibly and is kept.
//
// It does not listen (door does), does not know how tokens come to be (it asks a
// [Sender], which asks), and never looks into a message beyond its headers.
package relay

import (
	"context"
	"io"
	"time"

	"postern/internal/mail"
)

// State of a message in the queue; docs/way-of-a-message.md draws the edges.
type State string

// The states.
const (
	Queued     State = "queued"     // waits until NotBefore
	Held       State = "held"       // kept back by hand
	Delivering State = "delivering" // leased to a holder
	Delivered  State = "delivered"  // every recipient has an upstream 250; the body is gone
	Failed     State = "failed"     // at least one recipient failed for good; the body is kept
	Simulated  State = "simulated"  // would have been sent, and went to nobody; the body is kept
)

// RecipientState is per recipient.
type RecipientState string

// The recipient states.
const (
	Waiting  RecipientState = "waiting"
	Accepted RecipientState = "accepted"  // upstream took it: 250 after DATA
	Refused  RecipientState = "refused"   // for good
	Spared   RecipientState = "simulated" // would have got it
)

// Recipient is one envelope recipient and what became of it.
type Recipient struct {
	Address mail.Address   `json:"address"`
	State   RecipientState `json:"state"`
	Reply   string         `json:"reply,omitempty"`    // the server's words
	Blind   bool           `json:"blind,omitempty"`    // accepted by a server that tells nobody of success, as its sender asked
	InDoubt bool           `json:"in_doubt,omitempty"` // waiting, and may have got it with all others that are in doubt
	Later   bool           `json:"later,omitempty"`    // waiting, and left out of the try under way: the day has no room for it
	Told    bool           `json:"told,omitempty"`     // its sender was told of this outcome, by a report that is in the queue or gone

	mail.RecipientNotice
}

// Message is one accepted submission.
type Message struct {
	ID         string       `json:"id"`
	Account    string       `json:"account"`
	Device     string       `json:"device"`
	From       mail.Address `json:"from"`
	Recipients []Recipient  `json:"recipients"`
	EightBit   bool         `json:"eight_bit,omitempty"`
	UTF8       bool         `json:"utf8,omitempty"`
	MessageID  string       `json:"message_id"` // with angle brackets
	Subject    string       `json:"subject,omitempty"`
	Size       int64        `json:"size"` // octets of the stored body

	State     State     `json:"state"`
	Attempts  int       `json:"attempts"`         // tries that reached Finish
	Reason    string    `json:"reason,omitempty"` // why it waits or failed, the server's words included
	Kind      string    `json:"kind,omitempty"`   // fault kind of the last failure
	Accepted  time.Time `json:"accepted"`
	NotBefore time.Time `json:"not_before,omitzero"` // queued: the next try
	Done      time.Time `json:"done,omitzero"`       // delivered or failed

	About  string `json:"about,omitempty"`  // this is a report on that message, and never reported on itself
	Bounce Bounce `json:"bounce,omitempty"` // whether its sender has been told of those who failed

	Over Transport `json:"over,omitempty"` // what carried it last
	Hint string    `json:"hint,omitempty"` // what to do about Reason: a command or a page

	Notice mail.Notice `json:"notice,omitzero"`
	TellBy time.Time   `json:"-"` // when its sender is to hear that it still waits; zero: never

	// On its way in only.
	Once   *Once `json:"-"`
	Resend *Twin `json:"-"` // how to know it again; nil: it is never taken for another
	Late   bool  `json:"-"` // with About: the report says that that message is late
	// Tells are, with About and not Late, whose outcome the report tells, in the order of
	// that message's recipients.
	Tells []mail.Address `json:"-"`
}

// Once lets a message in one time, however often it is handed in under one key.
type Once struct {
	Owner string // whose keys these are
	Key   string
	For   time.Duration // how long the key is remembered
	Sum   func() []byte // digest of what was handed in; asked when the body has been read
}

// Twin knows a message that a client hands in again because the answer was lost.
type Twin struct {
	Sum func() []byte // digest of all that was handed in; asked when the body has been read
	For time.Duration // how long it is remembered
}

// Again is in the chain of what PutMessage returns for a message that is in the queue
// already.
type Again struct{ ID string }

// Error names the first one.
func (a Again) Error() string { return "it was handed in before, as message " + a.ID }

// Bounce is what a message owes its sender.
type Bounce string

// The bounces.
const (
	BounceDue  Bounce = "due"  // a report must still be queued
	BounceSent Bounce = "sent" // it is in the queue, or gone
	BounceNone Bounce = "none" // there is nobody to tell, or no way
)

// Filter narrows a listing. Zero fields match everything.
type Filter struct {
	Account string
	Device  string
	State   State
	Text    string // part of sender, recipients, subject, Message-ID or number, without case
	After   string // messages behind this ID, for paging
	Newest  bool   // the newest first, not the oldest
	Limit   int    // 0 means 100
}

// Claim asks for messages to deliver.
type Claim struct {
	Holder     string
	Now        time.Time
	Until      time.Time      // when the lease ends by itself
	Most       int            // messages in all
	PerAccount int            // messages in flight of an account, whoever holds them …
	Caps       map[string]int // … but for these
	Skip       []string       // accounts to pass over
	Leave      []string       // messages to pass over
	Limits     func(account string) mail.Limits
}

// Spent is what a try took of its account's limits.
type Spent struct {
	At         time.Time // when the server answered
	Recipients int       // that it may have taken; 0 when it got no message
	Taken      bool      // it said so, so that nothing of this try is in doubt
	Yields     bool      // this holder cannot reach the account's server: another one may
}

// Pace is a limit that an account has used up.
type Pace struct {
	Account string    `json:"account"`
	Until   time.Time `json:"until"`  // the earliest that its next message goes
	Reason  string    `json:"reason"` // which limit
}

// Store is the durable side of the queue. Implementations are safe for
// concurrent use by several processes. Missing is fault.NotFound, a lost lease
// fault.Conflict, a full disk or a read-only database fault.Temporary.
type Store interface {
	// PutMessage commits m with State Queued and its body and sets m.Size. When it
	// returns nil, both survive a power cut; when it fails, nothing is left that
	// anybody would deliver. The body is read once and never held whole in memory.
	// Of two messages with the key of one Once the second is fault.Conflict. One whose
	// twin came within its time is fault.Conflict with [Again] in its chain, unless that
	// one failed, went to nobody or was deleted meanwhile: who hands it in again wants it
	// tried again.
	PutMessage(ctx context.Context, m *Message, body io.Reader) error
	// ClaimMessages leases due messages (Queued, NotBefore <= c.Now), oldest NotBefore
	// first, never more than an account's limits allow, whoever holds them. One with more
	// recipients than are left of the day is cut to those ([Message.Cut]).
	ClaimMessages(ctx context.Context, c Claim) ([]Message, error)
	// Paces says which accounts have used up a limit just now.
	Paces(ctx context.Context, now time.Time) ([]Pace, error)
	// ForgetSends drops what limits no longer look at, and twins whose time is over.
	ForgetSends(ctx context.Context, now time.Time) error
	// ExtendLeases keeps those of holder's leases alive that it knows of. One whose
	// claim failed on its way to the holder ends by itself.
	ExtendLeases(ctx context.Context, holder string, ids []string, until time.Time) error
	// HoldsLease reports whether a message is leased to holder.
	HoldsLease(ctx context.Context, holder, id string) (bool, error)
	// ExpireLeases returns messages whose lease ended before now to Queued and says how many.
	// What their last try may have sent counts against the limits.
	ExpireLeases(ctx context.Context, now time.Time, limits func(account string) mail.Limits) (int, error)
	// ReleaseLeases returns all of holder's messages to Queued at once.
	ReleaseLeases(ctx context.Context, holder string) error
	// FinishMessage records the end of a try and what it spent. It writes m's State,
	// Recipients, Attempts, Reason, Kind, Hint, Over, NotBefore, Done and Bounce and ends
	// the lease. Delivered drops the body. When a part was taken, nothing of the message
	// is in doubt any more. A holder that yields lets go of the account when it has no
	// other message of it. Conflict when holder has no lease on it any more; nothing is
	// written then.
	FinishMessage(ctx context.Context, holder string, m Message, spent Spent) error

	// DueBounces lists messages whose report is due (Bounce), and waiting ones that are
	// late (TellBy), the oldest first, some at a time and from the one behind the given id
	// on, and none that is being delivered.
	// PutMessage of a report (About) settles it in the same commit, with [Message.Tell]
	// unless it is Late, and is Conflict when it is settled already or the message is being
	// delivered; DropBounce settles that of a finished message without one.
	DueBounces(ctx context.Context, now time.Time, behind string) ([]Message, error)
	DropBounce(ctx context.Context, id string) error

	Body(ctx context.Context, id string) (io.ReadCloser, error)
	Message(ctx context.Context, id string) (Message, error)
	Messages(ctx context.Context, f Filter) ([]Message, error)
	Counts(ctx context.Context) (map[State]int, error)
	// RequeueMessage makes a queued or failed message due at once; its waiting
	// recipients stay, refused ones wait again, as if nobody had been told of them. Conflict
	// while it is being delivered, or held.
	RequeueMessage(ctx context.Context, id string, now time.Time) error
	DeleteMessage(ctx context.Context, id string) error // Conflict while being delivered
	// HoldMessage keeps a queued message back, ReleaseMessage makes a held one due at
	// once; Conflict in any other state.
	HoldMessage(ctx context.Context, id string) error
	ReleaseMessage(ctx context.Context, id string, now time.Time) error
	// RequeueAccount makes all queued messages of an account due at once.
	RequeueAccount(ctx context.Context, account string, now time.Time) error
}
