package fetch

import (
	"context"
	"fmt"
)

// Owed is what is still to become, in the mailbox, of a message that was not taken: the
// server has refused it. It is asked again by as many runs as a message is tried by; then
// the message is left where it is, for nobody waits for it.
type Owed struct {
	State   EntryState `json:"state"`            // what the message is otherwise: no_match, parked
	Reason  string     `json:"reason,omitempty"` // why it is that
	Refused int        `json:"refused"`          // by how many runs' servers
}

// became is what a message came to, whatever the mailbox says to it.
func (e Entry) became() EntryState {
	if e.Owed != nil {
		return e.Owed.State
	}
	return e.State
}

// owe enters a refusal into an entry. The digest goes: it would have the message pass for
// one that was saved.
func (p *parcel) owe(why string, tries int) {
	if p.Owed == nil {
		p.Owed = &Owed{State: p.State, Reason: p.Reason}
	}
	p.Owed.Refused++
	p.State, p.Reason, p.Digest = ActionFailed, why, ""
	if p.Owed.Refused >= tries {
		p.State, p.Reason = p.Owed.State, together(p.Owed.Reason, why)
		p.Owed = nil
	}
}

// together are both reasons.
func together(first, second string) string {
	if first == "" || second == "" {
		return first + second
	}
	return first + "; " + second
}

// dismissals are what becomes of messages that were not taken, by what they are.
func (r *run) dismissals() []dismissal {
	return []dismissal{{NoMatch, r.task.Unmatched}, {Parked, r.task.Failure.Do}}
}

type dismissal struct {
	state EntryState
	do    Action
}

// dismiss makes the action for those that are in that state. What is refused the next
// runs ask again.
func (r *run) dismiss(ctx context.Context, src Source, list []*parcel, d dismissal) error {
	var ids []string
	for _, p := range list {
		if p.State == d.state {
			ids = append(ids, p.UID)
		}
	}
	if d.do.None() || len(ids) == 0 || r.opts.DryRun {
		return nil
	}
	err := r.do(ctx, src, d.do, ids)
	if !r.refusal(err) {
		return err
	}
	why := r.refusedTo(d.do, notTaken, err)
	for _, p := range list {
		if p.State == d.state {
			p.owe(why, r.tries())
		}
	}
	return nil
}

const notTaken = "messages that were not taken are left where they are"

// refusedTo notes that the server refuses an action, and returns the words for it.
func (r *run) refusedTo(do Action, so string, err error) string {
	err = fmt.Errorf("%s (%s): %w", so, do, err)
	r.troubled(err)
	return oneLine(err.Error())
}
