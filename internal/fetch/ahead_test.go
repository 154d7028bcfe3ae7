package fetch

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"postern/internal/fault"
)

// crowded is a task with one message more than are described at once.
func crowded(t *testing.T) *bench {
	t.Helper()
	raws := make([]string, 0, describedAtOnce+1)
	for i := range describedAtOnce + 1 {
		n := strconv.Itoa(i)
		raws = append(raws, message(n, n+".pdf", "content "+n))
	}
	return newBench(t, newPost(raws...), nil)
}

// atStep calls do at the n-th step of a name.
func (b *bench) atStep(name string, n int32, do func()) {
	var seen atomic.Int32
	before := b.step
	b.step = func(step string) {
		before(step)
		if step == name && seen.Add(1) == n {
			do()
		}
	}
}

// whole checks that each message of a crowded task was saved, and once.
func (b *bench) whole(t *testing.T) {
	t.Helper()
	done := b.ledger.find(func(e Entry) bool { return e.State == Done })
	files := slices.DeleteFunc(snapshot(t, b.task.Handover.Directory), func(name string) bool { return !strings.HasSuffix(name, ".pdf") })
	if len(done) != describedAtOnce+1 || len(files) != len(done) {
		t.Errorf("%d entries are done and %d files there, of %d messages", len(done), len(files), describedAtOnce+1)
	}
}

const groupsOfAThousand = describedAtOnce / groupMessages

func TestAGroupIsCommittedAndToldOfWhileTheNextIsRead(t *testing.T) {
	t.Parallel()
	b := crowded(t)
	read, told := 0, 0
	next := make(chan struct{})
	b.post.fail = func(op, _ string) error {
		if op == "body" {
			if read++; read == groupMessages+1 {
				close(next)
			}
		}
		return nil
	}
	b.atStep("staging durable", 1, func() {
		select {
		case <-next:
		case <-time.After(10 * time.Second):
			t.Error("the mailbox waits for the commit")
		}
	})
	b.atStep("staging durable", 2, func() {
		runs, err := b.ledger.Runs(t.Context(), b.task.Name, 1)
		if err != nil || len(runs) != 1 {
			t.Errorf("%v, %v", runs, err)
			return
		}
		told = runs[0].Saved
	})
	if r := b.run(t); r.Saved != describedAtOnce+1 || r.Left != 0 || told != groupMessages {
		t.Errorf("%d were told of before the second commit: %+v", told, r)
	}
	b.whole(t)
}

func TestACommitThatFailsLaterEndsTheRun(t *testing.T) {
	t.Parallel()
	b := crowded(t)
	away := errors.New("the ledger is away")
	b.atStep("staging durable", groupsOfAThousand, func() { b.ledger.breakWith(away) })
	if _, err := b.RunTask(t.Context(), b.task.Name, Options{}); !errors.Is(err, away) {
		t.Fatalf("the run ended with %v", err)
	}
	if b.post.bodies != describedAtOnce {
		t.Errorf("%d messages were read", b.post.bodies)
	}
	b.ledger.breakWith(nil)
	b.revive()
	b.run(t)
	b.whole(t)
}

func TestAConnectionThatBreaksLeavesTheCommitAlone(t *testing.T) {
	t.Parallel()
	b := crowded(t)
	asked := 0
	b.post.fail = func(op, _ string) error {
		if op == "describe" {
			if asked++; asked == 2 {
				return fault.New(fault.Temporary, "describe", "connection reset")
			}
		}
		return nil
	}
	if r := b.run(t); r.Saved != describedAtOnce+1 || b.post.bodies != describedAtOnce+1 {
		t.Errorf("%d bodies were read: %+v", b.post.bodies, r)
	}
	b.whole(t)
}
