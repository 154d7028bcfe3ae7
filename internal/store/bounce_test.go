package store_test

import (
	"strings"
	"testing"
	"time"

	"postern/internal/fault"
	"postern/internal/relay"
	"postern/internal/store"
)

// A report and the end of what was owed are one commit, and only the first one counts.
func TestReportSettlesWhatIsOwed(t *testing.T) {
	t.Parallel()
	eachOpen(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		for n := range 2 {
			put(t, s, message(n, "scan"))
		}
		due, err := s.ClaimMessages(ctx, relay.Claim{Holder: "me", Now: t0, Until: after(1), Most: 9, PerAccount: 9})
		ok(t, err)
		for _, m := range due {
			m.State, m.Bounce = relay.Failed, relay.BounceDue
			ok(t, s.FinishMessage(ctx, "me", m, relay.Spent{}))
		}
		owed, err := s.DueBounces(ctx, t0)
		ok(t, err)
		got(t, []string{"m00000", "m00001"})(ids(owed), nil)

		report := message(7, "office")
		report.About = "m00000"
		ok(t, s.PutMessage(ctx, &report, strings.NewReader("body")))
		again := message(8, "office")
		again.About = "m00000"
		failed(t, s.PutMessage(ctx, &again, strings.NewReader("body")), fault.Conflict, "m00000")
		failed(t, second(s.Message(ctx, "m00008")), fault.NotFound)
		have, err := s.Message(ctx, "m00000")
		ok(t, err)
		if have.Bounce != relay.BounceSent {
			t.Errorf("bounce %q", have.Bounce)
		}
		got(t, report)(s.Message(ctx, "m00007"))

		ok(t, s.DropBounce(ctx, "m00001"))
		failed(t, s.DropBounce(ctx, "m00001"), fault.Conflict)
		got(t, []relay.Message(nil))(s.DueBounces(ctx, t0))

		ok(t, s.RequeueMessage(ctx, "m00000", t0)) // tried again by hand: what comes of it is new
		have, err = s.Message(ctx, "m00000")
		ok(t, err)
		if have.Bounce != "" {
			t.Errorf("bounce %q", have.Bounce)
		}
	})
}

// A late message owes one report, while it waits; not before its time, not while it is
// being delivered, and not when it is late no more.
func TestLateMessageOwesAReport(t *testing.T) {
	t.Parallel()
	eachOpen(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		for n := range 2 {
			put(t, s, message(n, "scan"))
		}
		got(t, []relay.Message(nil))(s.DueBounces(ctx, after(4*time.Hour-1e6)))
		late, err := s.DueBounces(ctx, after(4*time.Hour))
		ok(t, err)
		got(t, []string{"m00000", "m00001"})(ids(late), nil)
		tell := func(n int, about string) error {
			report := message(n, "office")
			report.About, report.Late, report.TellBy = about, true, time.Time{}
			return s.PutMessage(ctx, &report, strings.NewReader("body"))
		}
		due := claim(t, s, "me")
		failed(t, tell(7, "m00000"), fault.Conflict, "m00000")
		due[0].State, due[1].State, due[1].TellBy = relay.Queued, relay.Delivered, time.Time{}
		for _, m := range due {
			ok(t, s.FinishMessage(ctx, "me", m, relay.Spent{}))
		}
		ok(t, tell(7, "m00000"))
		failed(t, tell(8, "m00000"), fault.Conflict)
		failed(t, tell(8, "m00001"), fault.Conflict)
		got(t, []relay.Message(nil))(s.DueBounces(ctx, after(5*time.Hour)))
	})
}
