package relay_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/internal/fault"
	"postern/internal/relay"
	"postern/internal/store"
)

// operated is a queue over a real store, with what the audit log was told.
func operated(t *testing.T) (*relay.Operator, *store.Store, *[]relay.Deed) {
	t.Helper()
	s, err := store.OpenSQLite(t.Context(), t.TempDir(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	var deeds []relay.Deed
	return &relay.Operator{
		Relay: relay.New(relay.Config{Store: s}),
		Audit: func(_ context.Context, d relay.Deed) error { deeds = append(deeds, d); return nil },
	}, s, &deeds
}

func queued(t *testing.T, o *relay.Operator, n int) (ids []string) {
	t.Helper()
	for range n {
		id, err := o.Relay.Accept(t.Context(), submission(), strings.NewReader("Subject: s\n\nx\n"))
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	return ids
}

func TestWhatIsDoneByHandIsWrittenDown(t *testing.T) {
	t.Parallel()
	o, s, deeds := operated(t)
	id := queued(t, o, 1)[0]
	for _, step := range []struct {
		act  relay.Action
		want relay.State
		fail error
	}{
		{relay.Release, relay.Queued, fault.Conflict}, {relay.Hold, relay.Held, nil}, {relay.Hold, relay.Held, fault.Conflict},
		{relay.Release, relay.Queued, nil}, {"burn", relay.Queued, fault.Invalid}, {relay.Retry, relay.Queued, nil},
	} {
		err := o.Do(t.Context(), "cli:root", step.act, id)
		if step.fail == nil && err != nil || step.fail != nil && !errors.Is(err, step.fail) {
			t.Errorf("%s: %v", step.act, err)
		}
		if m, err := s.Message(t.Context(), id); err != nil || m.State != step.want {
			t.Errorf("after %s it is %s, %v", step.act, m.State, err)
		}
	}
	if err := o.Do(t.Context(), "web:admin", relay.Delete, id); err != nil {
		t.Fatal(err)
	}
	if err := o.Do(t.Context(), "web:admin", relay.Delete, id); !errors.Is(err, fault.NotFound) {
		t.Errorf("twice: %v", err)
	}
	var done []string
	for _, d := range *deeds {
		if d.Subject != id || !strings.Contains(d.Detail, " to 1 recipient, was ") {
			t.Errorf("deed %+v", d)
		}
		done = append(done, d.Who+" "+string(d.What))
	}
	if want := []string{"cli:root hold", "cli:root release", "cli:root retry", "web:admin delete"}; !slices.Equal(done, want) {
		t.Errorf("written down: %q", done)
	}
}

func TestBulkActionsGoOnAfterWhatCannotBeDone(t *testing.T) {
	t.Parallel()
	o, s, _ := operated(t)
	ids := queued(t, o, 1203) // more than two pages
	if err := s.HoldMessage(t.Context(), ids[700]); err != nil {
		t.Fatal(err)
	}
	told := 0
	done, err := o.DoAll(t.Context(), "cli:root", relay.Hold, relay.Filter{Account: "office"}, func(relay.Done) { told++ })
	if err != nil || done.Changed != 1202 || done.Skipped != 1 || !errors.Is(done.First, fault.Conflict) || told != 1203 {
		t.Errorf("done %+v, told %d, %v", done, told, err)
	}
	counts, err := s.Counts(t.Context())
	if err != nil || counts[relay.Held] != 1203 {
		t.Errorf("counts %v %v", counts, err)
	}
}

// Whoever tries all mail again does not mean what was sent to nobody on purpose.
func TestWhatWasSimulatedIsNotSentUnasked(t *testing.T) {
	t.Parallel()
	o, s, _ := operated(t)
	queued(t, o, 2)
	now := time.Now().Add(time.Second)
	claimed, err := s.ClaimMessages(t.Context(), relay.Claim{Holder: "node", Now: now, Until: now.Add(time.Minute), Most: 2, PerAccount: 2})
	if err != nil || len(claimed) != 2 {
		t.Fatalf("%d claimed, %v", len(claimed), err)
	}
	for i, state := range []relay.State{relay.Simulated, relay.Failed} {
		claimed[i].State, claimed[i].Done = state, now
		if err := s.FinishMessage(t.Context(), "node", claimed[i], relay.Spent{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, step := range []struct {
		filter          relay.Filter
		changed, passed int
	}{{relay.Filter{}, 1, 1}, {relay.Filter{State: relay.Simulated}, 1, 0}} {
		done, err := o.DoAll(t.Context(), "cli:root", relay.Retry, step.filter, nil)
		if err != nil || done.Changed != step.changed || done.Skipped != step.passed {
			t.Errorf("%+v: done %+v, %v", step.filter, done, err)
		}
	}
}

// Whoever deletes all there is has not seen what comes meanwhile.
func TestBulkActionsLeaveWhatComesMeanwhile(t *testing.T) {
	t.Parallel()
	o, s, _ := operated(t)
	now := time.Now()
	o.Relay = relay.New(relay.Config{Store: s, Now: func() time.Time {
		now = now.Add(time.Millisecond) // so that ids are in the order in which they were made
		return now
	}})
	queued(t, o, 3)
	var late []string
	done, err := o.DoAll(t.Context(), "cli:root", relay.Delete, relay.Filter{}, func(relay.Done) {
		if len(late) < 9 {
			late = append(late, queued(t, o, 1)...)
		}
	})
	if err != nil || done.Changed != 3 {
		t.Errorf("done %+v, %v", done, err)
	}
	left, err := s.Messages(t.Context(), relay.Filter{})
	if err != nil || len(left) != len(late) || len(late) != 3 {
		t.Errorf("%d of %d that came meanwhile are left, %v", len(left), len(late), err)
	}
}
