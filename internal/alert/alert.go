// Package alert tells people what they must hear: by mail, through an account that
// works, or by a signed webhook. It compares what is so with what was last told, so that
// each change is told once, by one of the nodes, and a crash loses none of it.
//
// It finds nothing out itself (its [Source]s do), sends nothing itself (a [Messenger]
// does), and keeps nothing itself (a [Store] does).
package alert

import (
	"context"
	"time"

	"postern/internal/fault"
)

// Event is a kind of news; routes choose by it.
type Event string

// The events.
const (
	NeedsSignIn   Event = "account_needs_sign_in"
	NeedsAdmin    Event = "account_needs_admin"
	AccountWorks  Event = "account_works" // after it did not
	MessageFailed Event = "message_failed"
	Expiring      Event = "expiring" // secret, certificate, idle sign-in, app password
	QueueOld      Event = "queue_old"
	QueueMoves    Event = "queue_moves" // after it did not
	DiskLow       Event = "disk_low"
	DiskFree      Event = "disk_free"   // after it was low
	Certificate   Event = "certificate" // of the doors: near its end, or not renewed
	LegacyTLS     Event = "legacy_tls"
	CheckFailed   Event = "check_failed" // the daily connection check of an account
	CheckGood     Event = "check_good"   // after it had failed
	TaskSilent    Event = "task_silent"  // no successful run for too long
	TaskRuns      Event = "task_runs"    // after it was silent
	Test          Event = "test"         // by hand only
)

// Events are those a route may choose.
func Events() []Event {
	return []Event{NeedsSignIn, NeedsAdmin, AccountWorks, MessageFailed, Expiring, QueueOld, QueueMoves, DiskLow, DiskFree, Certificate, LegacyTLS, CheckFailed, CheckGood, TaskSilent, TaskRuns}
}

// News is something that happened.
type News struct {
	Event   Event     `json:"event"`
	Account string    `json:"account,omitempty"` // whose it is
	What    string    `json:"what"`              // one sentence
	Why     string    `json:"why,omitempty"`     // the peer's words
	Next    string    `json:"next_step,omitempty"`
	Until   time.Time `json:"until,omitzero"` // when it ends, or is tried again
	Link    string    `json:"link,omitempty"`
	At      time.Time `json:"time"`
	Host    string    `json:"host,omitempty"` // which node noticed
}

// Condition is how something is now. The first time it is otherwise than was last told,
// its news is told.
type Condition struct {
	Key   string // of what: account/scan
	State string // "" is well: that is news only after something else
	Keep  bool   // it is neither here nor there: what was told last stays
	News  News   // without an Event nobody is told
}

// Happening is something that has no state: it happened, and is told once.
type Happening struct {
	Occasion string // no two happenings share one
	News     News
}

// Source looks at one kind of condition.
type Source struct {
	Prefix string // of the keys it is about
	Whole  bool   // it lists all there are: what is not listed is forgotten
	Look   func(ctx context.Context) ([]Condition, error)
}

// State of an alert.
type State string

// The states.
const (
	Waiting State = "waiting"
	Told    State = "told" // handed over: in the queue, or taken by the webhook
	Failed  State = "failed"
)

// Alert is one piece of news for one route.
type Alert struct {
	ID        string    `json:"id"`
	Route     string    `json:"route"`
	News      News      `json:"news"`
	State     State     `json:"state"`
	Tries     int       `json:"tries"`
	NotBefore time.Time `json:"not_before,omitzero"`
	Outcome   string    `json:"outcome,omitempty"` // what came of it, the receiver's words included
	Message   string    `json:"message,omitempty"` // the one in the queue that tells it
	Done      time.Time `json:"done,omitzero"`

	Occasion string `json:"-"`
	Batch    string `json:"batch,omitempty"` // those with one batch are told together
}

// Filter narrows the history. Zero fields match everything.
type Filter struct {
	Route  string
	State  State
	Before string // alerts with ID < Before, for paging
	Limit  int    // 0 means 100
}

// Store keeps routes, what was told, and what must be. Missing is fault.NotFound. It is
// safe for concurrent use by several processes.
type Store interface {
	Routes(ctx context.Context) ([]Route, error)
	// NoteState notes how key is, and puts the alerts into the outbox in the same commit;
	// it does neither unless the state is another one than was noted. State "" is well,
	// which what was never noted is already. Of several callers one is told that it changed.
	NoteState(ctx context.Context, key, state string, at time.Time, news []Alert) (changed bool, err error)
	// StateKeys lists what is noted under a prefix, ForgetState drops one.
	StateKeys(ctx context.Context, prefix string) ([]string, error)
	ForgetState(ctx context.Context, key string) error
	// PutAlerts puts alerts into the outbox but for those whose route has one of the same
	// occasion, ever.
	PutAlerts(ctx context.Context, news []Alert) error
	// WaitingRoutes lists the routes for which something is due; WaitingAlerts lists that,
	// the oldest first.
	WaitingRoutes(ctx context.Context, now time.Time) ([]string, error)
	WaitingAlerts(ctx context.Context, route string, now time.Time, limit int) ([]Alert, error)
	// JoinAlerts lets alerts be told together from now on.
	JoinAlerts(ctx context.Context, route string, ids []string, batch string) error
	// FinishAlerts writes State, Tries, NotBefore, Outcome, Message and Done of a batch.
	FinishAlerts(ctx context.Context, batch string, a Alert) error
	// ToldSince counts the batches that a route was told since then.
	ToldSince(ctx context.Context, route string, since time.Time) (int, error)
	Alerts(ctx context.Context, f Filter) ([]Alert, error) // newest first
	// ForgetAlerts drops what was done before then.
	ForgetAlerts(ctx context.Context, before time.Time) error
	// TakeTurn lets one holder do what name says until the given time; false while it is
	// another one's.
	TakeTurn(ctx context.Context, name, holder string, now, until time.Time) (bool, error)

	Setting(ctx context.Context, key string) ([]byte, error)
	PutSetting(ctx context.Context, key string, value []byte) error
}

// Messenger carries alerts. Errors are fault.Errors: Permanent and Invalid end the
// trying.
type Messenger interface {
	// Mail queues a letter and returns the message's id. A letter whose ID was queued
	// before is not queued again.
	Mail(ctx context.Context, l Letter) (message, outcome string, err error)
	// Post hands a body to a webhook; the receiver knows a second try by its ID.
	Post(ctx context.Context, p Post) (outcome string, err error)
}

// Letter is a mail to write.
type Letter struct {
	ID      string
	Route   Route
	Event   Event
	About   []string // accounts that it is about: better not sent through them
	Subject string
	Text    string
	HTML    string // "" for none
}

// Post is a call of a webhook.
type Post struct {
	ID    string
	Route Route
	Body  []byte
}

// final reports whether another try would end as this one did.
func final(err error) bool {
	k := fault.KindOf(err)
	return k == fault.Permanent || k == fault.Invalid
}
