package fetch

import (
	"context"
	"errors"
	"strings"
	"testing"

	"postern/internal/fault"
)

// notTakenBench is a task with three messages: 1 has nothing to take, 2 is taken and 3 is
// too large. The server moves none of 1 and 3 that refuse names.
func notTakenBench(t *testing.T, refuse map[string]bool, change func(*Task)) (*bench, *post) {
	t.Helper()
	p := newPost(message("1"), message("2", "a.pdf", "x"), message("3", "big.pdf", strings.Repeat("y", 5000)))
	p.fail = func(op, uid string) error {
		if op != "move" || !refuse[uid] {
			return nil
		}
		return &fault.Error{Kind: fault.Permanent, Op: "imap MOVE", Reply: &fault.Reply{Protocol: "imap", Code: "NO", Text: "over quota"}}
	}
	return newBench(t, p, func(task *Task) {
		task.Unmatched, task.Failure.Do, task.Limits.Message = Action{Move, "Other"}, Action{Move, "Failed"}, 4000
		if change != nil {
			change(task)
		}
	}), p
}

// entry is what the ledger says of a message.
func (b *bench) entry(t *testing.T, validity uint32, uid string) Entry {
	t.Helper()
	e, err := b.ledger.Entry(t.Context(), Key{b.task.Name, Place(b.post.address, "INBOX"), validity, uid})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// refused runs the task, which must end with what the server refused.
func (b *bench) refused(t *testing.T) {
	t.Helper()
	if _, err := b.RunTask(t.Context(), b.task.Name, Options{}); !errors.Is(err, fault.Permanent) || fault.ReplyOf(err) == nil {
		t.Errorf("the run ends with %v", err)
	}
}

// TestRefusedDismissalIsAskedAgain by the next run, and is no failure once it is made.
func TestRefusedDismissalIsAskedAgain(t *testing.T) {
	t.Parallel()
	refuse := map[string]bool{"1": true, "3": true}
	b, p := notTakenBench(t, refuse, nil)
	b.refused(t)
	for uid, was := range map[string]EntryState{"1": NoMatch, "3": Parked} {
		if e := b.entry(t, 14, uid); e.State != ActionFailed || e.became() != was || !strings.Contains(e.Reason, "over quota") || e.Digest != "" {
			t.Errorf("%s: %+v", uid, e)
		}
	}
	bodies := p.bodies
	clear(refuse)
	if r := b.run(t); r.Acted != 2 || r.Failed+r.NoMatch != 0 || p.bodies != bodies || len(p.moved["Other"]) != 1 || len(p.moved["Failed"]) != 1 {
		t.Errorf("%+v, moved %v", r, p.moved)
	}
	for uid, want := range map[string]struct {
		state EntryState
		why   string
	}{"1": {NoMatch, ""}, "3": {Parked, "more than 4000"}} {
		if e := b.entry(t, 14, uid); e.State != want.state || e.Owed != nil || !strings.Contains(e.Reason, want.why) || strings.Contains(e.Reason, "quota") {
			t.Errorf("%s: %+v", uid, e)
		}
	}
}

// TestRefusedDismissalIsGivenUp after as many runs as a message is tried by; one that is
// refused keeps no other from it.
func TestRefusedDismissalIsGivenUp(t *testing.T) {
	t.Parallel()
	for _, tries := range []int{1, 3} {
		refuse := map[string]bool{"1": true, "3": true, "4": true}
		b, p := notTakenBench(t, refuse, func(task *Task) { task.Failure.Tries = tries })
		p.deliver(message("4"), epoch)
		b.refused(t)
		delete(refuse, "4")
		for range tries - 1 {
			b.refused(t)
		}
		if r := b.run(t); r.Acted != 0 {
			t.Errorf("%d tries: %+v", tries, r)
		}
		for uid, want := range map[string]EntryState{"1": NoMatch, "3": Parked} {
			if e := b.entry(t, 14, uid); e.State != want || e.Owed != nil || !strings.Contains(e.Reason, "over quota") || p.inbox[uid] == nil {
				t.Errorf("%d tries, %s: %+v", tries, uid, e)
			}
		}
		if e := b.entry(t, 14, "3"); !strings.Contains(e.Reason, "more than 4000; ") {
			t.Errorf("the first reason is lost: %q", e.Reason)
		}
		if gone := p.inbox["4"] == nil; gone != (tries > 1) {
			t.Errorf("%d tries: 4 is gone: %v", tries, gone)
		}
	}
}

// TestRefusedDismissalWithinARun is asked once by it, however often its connection breaks.
func TestRefusedDismissalWithinARun(t *testing.T) {
	t.Parallel()
	b, p := notTakenBench(t, map[string]bool{"1": true, "3": true}, nil)
	refuse, breaks := p.fail, 2
	p.fail = func(op, uid string) error {
		if op == "body" && breaks > 0 {
			breaks--
			return fault.New(fault.Temporary, "imap FETCH", "connection reset")
		}
		return refuse(op, uid)
	}
	b.refused(t)
	for _, uid := range []string{"1", "3"} {
		if e := b.entry(t, 14, uid); e.Owed == nil || e.Owed.Refused != 1 {
			t.Errorf("%s: %+v", uid, e)
		}
	}
	if p.opens < 2 {
		t.Errorf("the connection did not break: %d", p.opens)
	}
}

// TestRefusedDismissalElsewhere ends where the message is not to be found any more, and
// where somebody has it taken again.
func TestRefusedDismissalElsewhere(t *testing.T) {
	t.Parallel()
	for _, uid := range []string{"1", "3"} {
		refuse := map[string]bool{"1": true, "3": true}
		b, p := notTakenBench(t, refuse, nil)
		b.refused(t)
		was := b.entry(t, 14, uid).Owed.State
		if n, err := (Operator{b.Fetcher, func(context.Context, ByHand) error { return nil }}).Do(t.Context(), "anna", Reprocess, Filter{Task: b.task.Name, UID: uid}, nil); n != 1 || err != nil {
			t.Fatalf("%d, %v", n, err)
		}
		if e := b.entry(t, 14, uid); e.State != EntryFailed || e.Owed != nil {
			t.Errorf("taken again: %+v", e)
		}
		other := map[string]string{"1": "3", "3": "1"}[uid]
		clear(refuse)
		p.validity++
		b.run(t)
		if e := b.entry(t, 14, other); e.State == was || e.State == ActionFailed || e.Owed != nil || !strings.Contains(e.Reason, "renumbered") {
			t.Errorf("renumbered: %+v", e)
		}
	}
}
