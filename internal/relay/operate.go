package relay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"postern/internal/fault"
	"postern/internal/mail"
)

// Action is what somebody does to messages by hand.
type Action string

// The actions.
const (
	Retry   Action = "retry"   // due at once; refused recipients wait again
	Hold    Action = "hold"    // kept back until it is released
	Release Action = "release" // no longer kept back, and due at once
	Delete  Action = "delete"  // gone for good, body and all
)

// Deed is an action as the audit log keeps it.
type Deed struct {
	Who     string // cli:root, web:admin, api:NAME
	What    Action
	Subject string // a message's id
	Detail  string
	// Before and After are how the message stood; After is nil when it is gone.
	Before, After any
}

// standing is what an action may change of a message.
type standing struct {
	State      State          `json:"state"`
	NotBefore  time.Time      `json:"not_before,omitzero"`
	Reason     string         `json:"reason,omitempty"`
	Recipients map[string]int `json:"recipients,omitempty"` // how many in each state
}

func standingOf(m Message) standing {
	s := standing{State: m.State, NotBefore: m.NotBefore, Reason: m.Reason, Recipients: map[string]int{}}
	for _, r := range m.Recipients {
		s.Recipients[string(r.State)]++
	}
	return s
}

// Operator does what people ask of the queue, and writes it down. Page, command line
// and API share it, so that they cannot drift apart.
type Operator struct {
	Relay *Relay
	Audit func(ctx context.Context, d Deed) error
}

// Do acts on one message. It is fault.Conflict while the message is being delivered,
// and where the action has no meaning for its state.
func (o Operator) Do(ctx context.Context, who string, act Action, id string) error {
	store, now := o.Relay.cfg.Store, o.Relay.cfg.Now()
	before, err := store.Message(ctx, id)
	if err != nil {
		return err
	}
	switch act {
	case Retry:
		err = store.RequeueMessage(ctx, id, now)
	case Hold:
		err = store.HoldMessage(ctx, id)
	case Release:
		err = store.ReleaseMessage(ctx, id, now)
	case Delete:
		err = store.DeleteMessage(ctx, id)
	default:
		err = fault.New(fault.Invalid, "change the queue", "%q is not an action; allowed: %s, %s, %s, %s", act, Retry, Hold, Release, Delete)
	}
	if err != nil {
		return err
	}
	o.Relay.event(ctx, string(act), before)
	o.Relay.Wake()
	var after any
	if act != Delete {
		now, err := store.Message(context.WithoutCancel(ctx), id)
		if err != nil && !errors.Is(err, fault.NotFound) {
			return err
		}
		after = standingOf(now)
	}
	return o.Audit(ctx, Deed{Who: who, What: act, Subject: id, Before: standingOf(before), After: after,
		Detail: fmt.Sprintf("%s from %s to %s, was %s", before.MessageID, before.From, mail.Count(len(before.Recipients), "recipient"), before.State)})
}

// Done is what a bulk action came to.
type Done struct {
	Changed int
	Skipped int   // messages that were being delivered, or in no state for it
	First   error // why the first of them was skipped
}

// DoAll acts on every message the filter finds, a page at a time, but on none that comes
// meanwhile: nobody has seen those. tell hears of each; it may be nil.
func (o Operator) DoAll(ctx context.Context, who string, act Action, f Filter, tell func(Done)) (done Done, err error) {
	newest := f
	newest.Newest, newest.After, newest.Limit = true, "", 1
	page, err := o.Relay.cfg.Store.Messages(ctx, newest)
	if err != nil || len(page) == 0 {
		return done, err
	}
	last := page[0].ID
	f.Limit = 500
	for f.Newest || f.After < last {
		page, err := o.Relay.cfg.Store.Messages(ctx, f)
		if err != nil || len(page) == 0 {
			return done, err
		}
		for _, m := range page {
			if f.After = m.ID; m.ID > last {
				continue
			}
			if err := o.attempt(ctx, who, act, f.State, m, &done); err != nil {
				return done, err
			}
			if tell != nil {
				tell(done)
			}
		}
	}
	return done, nil
}

// DoThese acts on messages that somebody has chosen, by a state or by none.
func (o Operator) DoThese(ctx context.Context, who string, act Action, state State, chosen []Message) (done Done, err error) {
	for _, m := range chosen {
		if err := o.attempt(ctx, who, act, state, m, &done); err != nil {
			return done, err
		}
	}
	return done, nil
}

// attempt acts on one of many, and counts it. A message that cannot be changed is passed
// over. So is a simulated one when it was not asked for: a trial is not to be sent to
// people because somebody tries all again that failed.
func (o Operator) attempt(ctx context.Context, who string, act Action, state State, m Message, done *Done) error {
	var err error
	if act == Retry && m.State == Simulated && state != Simulated {
		err = fault.New(fault.Conflict, "try messages again", "message %s was simulated", m.ID).
			WithHint("choose it by its id or by the state %q to send it after all", Simulated)
	} else {
		err = o.Do(ctx, who, act, m.ID)
	}
	switch {
	case err == nil:
		done.Changed++
	case errors.Is(err, fault.Conflict), errors.Is(err, fault.NotFound):
		done.Skipped++
		if done.First == nil {
			done.First = err
		}
	default:
		return err
	}
	return nil
}
