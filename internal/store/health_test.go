package store_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"postern/internal/fault"
	"postern/internal/fetch"
	"postern/internal/store"
)

func TestHealth(t *testing.T) {
	t.Parallel()
	eachOpen(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		found := func(purpose string, good bool, at time.Time) store.Health {
			return store.Health{Account: "scan", Purpose: purpose, At: at, Good: good, Headline: "said at " + at.String(), Report: json.RawMessage(`{"ok":true}`)}
		}
		failed(t, s.PutHealth(ctx, found("send", true, t0)), fault.NotFound, `account "scan"`)
		furnished(t, s)
		for i := range 3 {
			ok(t, s.PutHealth(ctx, found("send", false, after(time.Duration(i)*time.Hour))))
		}
		ok(t, s.PutHealth(ctx, found("imap", true, t0)))
		send, imap := found("send", false, after(2*time.Hour)), found("imap", true, t0)
		send.Failures = 3
		got(t, []store.Health{imap, send})(s.HealthOf(ctx, "scan"))
		got(t, []store.Health(nil))(s.HealthOf(ctx, "other"))
		ok(t, s.PutHealth(ctx, found("send", true, after(3*time.Hour))))
		all, err := s.Healths(ctx)
		ok(t, err)
		if len(all) != 2 || all[1].Failures != 0 || !all[1].Good || all[1].Report != nil {
			t.Errorf("%+v", all)
		}
		ok(t, s.DeleteTask(ctx, "invoices"))
		ok(t, s.DeleteDevice(ctx, "printer"))
		ok(t, s.DeleteAccount(ctx, "scan"))
		got(t, []store.Health(nil))(s.Healths(ctx))
	})
}

// TestTurnsOfChecks gives each account one turn in a period, to one node.
func TestTurnsOfChecks(t *testing.T) {
	t.Parallel()
	eachOpen(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		claim := func(holder string, now time.Time) (string, error) {
			return s.ClaimTurn(ctx, store.Turn{
				Holder: holder, Now: now, Before: now.Add(-24 * time.Hour), Until: now.Add(10 * time.Minute),
				First: func(account string) time.Time {
					return t0.Add(-24*time.Hour + map[string]time.Duration{"b": time.Hour}[account])
				},
			})
		}
		failed(t, second(claim("me", t0)), fault.NotFound)
		ok(t, s.PutApp(ctx, contoso()))
		for _, name := range []string{"a", "b"} {
			acct := scanAccount()
			acct.Name = name
			ok(t, s.PutAccount(ctx, acct))
		}
		n := winners(20, func(i int) bool {
			name, err := claim(fmt.Sprint("node ", i), t0)
			if err != nil {
				failed(t, err, fault.NotFound)
				return false
			}
			return name == "a"
		})
		if n != 1 {
			t.Errorf("%d nodes have the turn of a", n)
		}
		got(t, "a")(claim("another", after(10*time.Minute))) // the first one died
		ok(t, s.PutHealth(ctx, store.Health{Account: "a", Purpose: "pop3", At: t0, Report: json.RawMessage(`{}`)}))
		ok(t, s.EndTurn(ctx, "a", "the first one", t0, nil)) // and ends nothing any more
		failed(t, second(claim("third", after(20*time.Minute-1))), fault.NotFound)
		if known, err := s.HealthOf(ctx, "a"); err != nil || len(known) != 1 {
			t.Errorf("%v, %v", known, err)
		}
		ok(t, s.EndTurn(ctx, "a", "another", after(15*time.Minute), []string{"send"}))
		got(t, []store.Health(nil))(s.HealthOf(ctx, "a"))
		got(t, "b")(claim("me", after(time.Hour)))
		ok(t, s.EndTurn(ctx, "b", "me", after(time.Hour), nil))
		failed(t, second(claim("me", after(24*time.Hour))), fault.NotFound)
		got(t, "a")(claim("me", after(24*time.Hour+15*time.Minute)))
	})
}

func TestPolls(t *testing.T) {
	t.Parallel()
	eachOpen(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		furnished(t, s)
		got(t, []store.Poll{{Task: "invoices"}})(s.Polls(ctx))
		for i, r := range []fetch.Run{
			{ID: "a", Ended: after(time.Second)}, {ID: "b", Started: after(time.Hour), Ended: after(2 * time.Hour), Error: "no"}, {ID: "c", Started: after(3 * time.Hour)},
		} {
			r.Task = "invoices"
			if i == 0 {
				r.Started = t0
			}
			ok(t, s.PutRun(ctx, r))
			want := []store.Poll{{Task: "invoices", Good: t0}, {Task: "invoices", Good: t0, Error: "no"}, {Task: "invoices", Good: t0, Running: true}}[i]
			got(t, []store.Poll{want})(s.Polls(ctx))
		}
	})
}
