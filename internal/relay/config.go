package relay

import (
	"context"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"postern/internal/fault"
	"postern/internal/mail"
	"postern/internal/smtp"
)

// Sender opens signed-in upstream connections. Errors are [fault.Error]s: with
// NeedsSignIn or NeedsAdmin the account pauses. Safe for concurrent use; the
// relay opens one connection per account at a time.
type Sender interface {
	Open(ctx context.Context, account string) (Upstream, error)
}

// Upstream carries one message after another. It is used by one goroutine at a time.
// After a Send whose Result is Accepted the relay sends nothing on it before the outcome
// is committed.
type Upstream interface {
	// Send hands a message over. The body ends in an error when the message is not ours
	// any more; who reads it long before it is handed over asks ours once more right then.
	Send(ctx context.Context, env mail.Envelope, size int64, body io.Reader, ours Ours) (smtp.Result, error)
	Usable() bool
	Close(ctx context.Context) error // with a farewell
	Abort()                          // without any further octet
}

// Accounts is what the relay must know of accounts, and what it tells of them.
// Safe for concurrent use.
type Accounts interface {
	// Paused lists the accounts whose messages must wait.
	Paused(ctx context.Context) ([]string, error)
	// Pause stops an account until somebody acts. Pausing a paused one is no error.
	Pause(ctx context.Context, account string, kind fault.Kind, reason string) error
	// Working is told after each successful sign-in.
	Working(ctx context.Context, account string) error
}

// Config builds a [Relay]. Store, Sender and Accounts are required.
type Config struct {
	Store    Store
	Sender   Sender
	Accounts Accounts

	// Limits of an account's mailbox; nil is none. It is asked inside a transaction
	// and must answer from memory.
	Limits func(account string) mail.Limits
	// Caps are the accounts that may have another number of messages in flight than
	// PerAccount; nil is none. It must answer from memory.
	Caps func() map[string]int

	// Room says why no more mail can be taken, with ErrFull in it; nil is that there is
	// always room.
	Room func() error

	// Reporter chooses the account that tells the sender of a failed message, and its
	// mailbox: another one than failed, where there is one. ok is false while there is
	// none. nil: nobody is told.
	Reporter func(ctx context.Context, failed Message) (account string, from mail.Address, ok bool)

	Log    *slog.Logger // what goes wrong; nil discards
	Events *slog.Logger // one line per change of a message's state; nil discards
	Now    func() time.Time

	Hostname   string        // in Received and Message-ID headers; "" is localhost
	Holder     string        // owner of the leases, unlike that of any other process; "" makes one up
	Workers    int           // messages sent at once in all; 32
	PerAccount int           // and per account whose Limits name no number of connections; 3
	Lease      time.Duration // after a crash, messages come back after this; 2 min
	Poll       time.Duration // how often work put there by others is looked for; 1 s
	Idle       time.Duration // an unused upstream connection is kept for this; 20 s
	Grace      time.Duration // a stop lets sends in flight take this; 30 s
	GiveUp     time.Duration // a message is tried for this; 48 h
	Late       time.Duration // a message that waits this long is late, for senders who want to hear of it; 4 h
	Resend     time.Duration // a message that a client hands in again within this is not queued again; 0: it is
}

func (c Config) withDefaults() Config {
	discard := slog.New(slog.DiscardHandler)
	setDefault(&c.Log, discard)
	setDefault(&c.Events, discard)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Limits == nil {
		c.Limits = func(string) mail.Limits { return mail.Limits{} }
	}
	if c.Room == nil {
		c.Room = func() error { return nil }
	}
	if c.Caps == nil {
		c.Caps = func() map[string]int { return nil }
	}
	setDefault(&c.Hostname, "localhost")
	setDefault(&c.Holder, "relay-"+mail.NewID(c.Now()))
	setDefault(&c.Workers, 32)
	setDefault(&c.PerAccount, 3)
	setDefault(&c.Lease, 2*time.Minute)
	setDefault(&c.Poll, time.Second)
	setDefault(&c.Idle, 20*time.Second)
	setDefault(&c.Grace, 30*time.Second)
	setDefault(&c.GiveUp, 48*time.Hour)
	setDefault(&c.Late, 4*time.Hour)
	return c
}

func setDefault[T comparable](at *T, value T) {
	var zero T
	if *at == zero {
		*at = value
	}
}

// Relay accepts and delivers. Accept may be called before, during and after Run.
type Relay struct {
	cfg   Config
	plan  schedule
	lanes *lanes
	wake  chan struct{} // holds one token: there may be work
	sends sync.WaitGroup
	busy  atomic.Int64
	held  leases
	rush  rush
	pool  intakes
	stats counters

	debtors string // the last message looked at that owes a report; of Run alone
}

// New builds a relay; [Relay.Run] starts it.
func New(cfg Config) *Relay {
	cfg = cfg.withDefaults()
	r := &Relay{
		cfg:  cfg,
		plan: schedule{giveUp: cfg.GiveUp, random: rand.Float64},
		wake: make(chan struct{}, 1),
	}
	r.lanes = newLanes(cfg, &r.stats)
	return r
}

// Wake tells the deliverer that there may be work.
func (r *Relay) Wake() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Stats are counts since the process started.
type Stats struct {
	Accepted  uint64 // messages committed to the queue
	Delivered uint64 // messages every recipient of which upstream took
	Deferred  uint64 // tries that ended in another one to come
	Failed    uint64 // messages given up for at least one recipient
	Simulated uint64 // messages that would have been delivered
	Paused    uint64 // times an account was paused
	Opened    uint64 // upstream connections opened and signed in
	Reused    uint64 // messages sent on a connection that had carried one before
	InFlight  int64  // messages being sent now
}

type counters struct {
	accepted, delivered, deferred, failed, simulated, paused, opened, reused atomic.Uint64
}

// Stats may be called at any time.
func (r *Relay) Stats() Stats {
	c := &r.stats
	return Stats{
		Accepted: c.accepted.Load(), Delivered: c.delivered.Load(), Deferred: c.deferred.Load(), Failed: c.failed.Load(), Simulated: c.simulated.Load(),
		Paused: c.paused.Load(), Opened: c.opened.Load(), Reused: c.reused.Load(), InFlight: r.busy.Load(),
	}
}
