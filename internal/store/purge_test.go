package store_test

import (
	"strings"
	"testing"
	"time"

	"postern/internal/fault"
	"postern/internal/mail"
	"postern/internal/people"
	"postern/internal/relay"
	"postern/internal/store"
)

// Only what is over for long goes, and all that hangs on it; what waits, however old,
// and what is owed stay.
func TestPurge(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, d database) {
		ctx := t.Context()
		s := opened(t, d)
		old := t0.Add(-40 * 24 * time.Hour)
		put := func(at time.Time, body string) string {
			m := message(0, "scan")
			m.ID, m.Accepted, m.NotBefore = mail.NewID(at), at, at
			ok(t, s.PutMessage(ctx, &m, strings.NewReader(body)))
			return m.ID
		}
		finish := func(id string, as relay.State, bounce relay.Bounce, at time.Time) {
			t.Helper()
			for _, m := range claim(t, s, "me") {
				if m.ID == id {
					m.State, m.Bounce, m.Done = as, bounce, at
				} else {
					m.State = relay.Queued
				}
				ok(t, s.FinishMessage(ctx, "me", m, relay.Spent{}))
			}
		}
		large := strings.Repeat("x", 100<<10)
		waits := put(old, "waits")
		failedOne, owing, late := put(old, large), put(old, "x"), put(old, "x")
		finish(failedOne, relay.Failed, relay.BounceSent, old)
		finish(owing, relay.Failed, relay.BounceDue, old)
		finish(late, relay.Delivered, "", t0)
		gone := []string{}
		for range 250 { // more than go at once
			gone = append(gone, put(old, "x"))
		}
		raw, err := d.raw()
		ok(t, err)
		defer raw.Close()
		_, err = raw.ExecContext(ctx, `UPDATE messages SET state = 'delivered', done = not_before WHERE state = 'queued' AND id <> $1`, waits)
		ok(t, err)

		got(t, len(gone)+1)(s.PurgeMessages(ctx, t0.Add(-30*24*time.Hour)))
		for _, id := range append(gone, failedOne) {
			failed(t, second(s.Message(ctx, id)), fault.NotFound)
		}
		for _, id := range []string{waits, owing, late} {
			ok(t, second(s.Message(ctx, id)))
		}
		if b := body(t, s, waits); b != "waits" {
			t.Errorf("body %q", b)
		}
		got(t, 0)(s.PurgeMessages(ctx, t0.Add(-30*24*time.Hour)))
	})
}

func TestPurgeAudit(t *testing.T) {
	t.Parallel()
	eachOpen(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		for n := range 150 {
			ok(t, s.PutAudit(ctx, people.Line{At: t0.Add(time.Duration(n) * time.Hour), Who: "cli", What: "hold", Subject: "m"}))
		}
		ok(t, s.PurgeAudit(ctx, t0.Add(140*time.Hour)))
		left, err := s.Audits(ctx, people.Lines{Limit: 500})
		ok(t, err)
		if len(left) != 10 || left[9].At.Before(t0.Add(140*time.Hour)) {
			t.Errorf("%d left: %v", len(left), left)
		}
	})
}
