package store_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"postern/internal/alert"
	"postern/internal/fault"
	"postern/internal/mail"
	"postern/internal/relay"
	"postern/internal/store"
)

func TestAlerts(t *testing.T) {
	t.Parallel()
	eachOpen(t, func(t *testing.T, s *store.Store) {
		ctx, now := t.Context(), time.UnixMilli(1_800_000_000_000).UTC()
		made := func(id, route, occasion string) alert.Alert {
			return alert.Alert{ID: id, Route: route, Occasion: occasion, State: alert.Waiting, NotBefore: now, News: alert.News{Event: alert.DiskLow, What: "what " + id, At: now}}
		}
		got(t, false)(s.NoteState(ctx, "account/a_b", "", now, []alert.Alert{made("00", "ops", "well")}))
		n := winners(20, func(i int) bool {
			id := fmt.Sprintf("1%02d", i)
			changed, err := s.NoteState(ctx, "account/a_b", "bad", now, []alert.Alert{made(id, "ops", id)})
			ok(t, err)
			return changed
		})
		if n != 1 {
			t.Errorf("%d noticed first", n)
		}
		got(t, false)(s.NoteState(ctx, "account/aXb", "", now, nil))
		got(t, true)(s.NoteState(ctx, "account/aXb", "bad", now, nil))
		got(t, []string{"account/a_b"})(s.StateKeys(ctx, "account/a_"))
		got(t, true)(s.NoteState(ctx, "account/a_b", "worse", now, nil))
		got(t, true)(s.NoteState(ctx, "account/a_b", "", now, nil))
		ok(t, s.ForgetState(ctx, "account/aXb"))
		got(t, []string(nil))(s.StateKeys(ctx, "account/"))

		ok(t, s.PutAlerts(ctx, []alert.Alert{made("200", "ops", "x"), made("201", "ops", "x"), made("202", "mail", "x")}))
		got(t, []string{"mail", "ops"})(s.WaitingRoutes(ctx, now))
		got(t, []string(nil))(s.WaitingRoutes(ctx, now.Add(-time.Second)))
		due, err := s.WaitingAlerts(ctx, "ops", now, 10)
		ok(t, err)
		if len(due) != 2 || due[1].ID != "200" {
			t.Fatalf("due is %+v", due)
		}
		ok(t, s.JoinAlerts(ctx, "ops", []string{due[0].ID, due[1].ID}, due[0].ID))
		done := due[0]
		done.State, done.Tries, done.Outcome, done.Message, done.Done, done.NotBefore = alert.Told, 2, "queued", "m", now, time.Time{}
		ok(t, s.FinishAlerts(ctx, due[0].ID, done))
		got(t, 1)(s.ToldSince(ctx, "ops", now.Add(-time.Hour)))
		got(t, 0)(s.ToldSince(ctx, "ops", now))
		told, err := s.Alerts(ctx, alert.Filter{Route: "ops", State: alert.Told})
		ok(t, err)
		if len(told) != 2 || told[0].ID != "200" || told[0].Outcome != "queued" || told[0].Message != "m" || told[0].Tries != 2 || told[0].Batch != due[0].ID || told[0].News.What != "what 200" {
			t.Errorf("told %+v", told)
		}
		ok(t, s.ForgetAlerts(ctx, now.Add(time.Second)))
		left, err := s.Alerts(ctx, alert.Filter{})
		ok(t, err)
		if len(left) != 1 || left[0].Route != "mail" {
			t.Errorf("left are %+v", left)
		}
	})
}

func TestTurns(t *testing.T) {
	t.Parallel()
	eachOpen(t, func(t *testing.T, s *store.Store) {
		ctx, now := t.Context(), time.UnixMilli(1_800_000_000_000)
		n := winners(20, func(i int) bool {
			mine, err := s.TakeTurn(ctx, "turn", fmt.Sprint("holder ", i), now, now.Add(time.Minute))
			ok(t, err)
			return mine
		})
		if n != 1 {
			t.Errorf("%d have it", n)
		}
		got(t, true)(s.TakeTurn(ctx, "turn", "late", now.Add(time.Minute), now.Add(2*time.Minute)))
		got(t, true)(s.TakeTurn(ctx, "turn", "late", now.Add(time.Minute), now.Add(3*time.Minute)))
		got(t, false)(s.TakeTurn(ctx, "turn", "other", now.Add(2*time.Minute), now.Add(4*time.Minute)))
		got(t, true)(s.TakeTurn(ctx, "turn", "late", now.Add(2*time.Minute), now.Add(2*time.Minute))) // given back
		got(t, true)(s.TakeTurn(ctx, "turn", "other", now.Add(2*time.Minute), now.Add(4*time.Minute)))
	})
}

func TestAlertRoutes(t *testing.T) {
	t.Parallel()
	eachOpen(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		r := alert.Route{Name: "ops", Webhook: "https://ops.example/", Events: []alert.Event{alert.QueueOld}, To: []mail.Address{{Local: "a", Domain: "b"}}}
		ok(t, s.PutAlertRoute(ctx, r))
		got(t, r)(s.AlertRoute(ctx, "ops"))
		got(t, []alert.Route{r})(s.Routes(ctx))
		r.Account = "nobody"
		failed(t, s.PutAlertRoute(ctx, r), fault.Invalid, `"nobody"`)
		ok(t, s.DeleteAlertRoute(ctx, "ops"))
		failed(t, s.DeleteAlertRoute(ctx, "ops"), fault.NotFound)
		failed(t, second(s.AlertRoute(ctx, "ops")), fault.NotFound)
	})
}

// What alerts look at in the queue: what waits, and what failed and is no report.
func TestWhatAlertsSeeOfTheQueue(t *testing.T) {
	t.Parallel()
	eachOpen(t, func(t *testing.T, s *store.Store) {
		ctx, now := t.Context(), time.UnixMilli(1_800_000_000_000)
		var ids []string
		for i, m := range []relay.Message{{Account: "a", Device: "d"}, {Account: "a", Device: "d"}, {Account: "b", Device: "d"}, {Account: "a", Device: "except"}} {
			m.ID, m.State, m.Accepted, m.NotBefore = mail.NewID(now.Add(time.Duration(i)*time.Second)), relay.Queued, now, now
			m.From, m.Recipients = mail.Address{Local: "x", Domain: "y"}, []relay.Recipient{{Address: mail.Address{Local: "z", Domain: "y"}, State: relay.Waiting}}
			ok(t, s.PutMessage(ctx, &m, strings.NewReader("x")))
			ids = append(ids, m.ID)
		}
		got(t, []store.Backlog{{Account: "a", Messages: 3, Oldest: ids[0]}, {Account: "b", Messages: 1, Oldest: ids[2]}})(s.Backlogs(ctx))
		claimed, err := s.ClaimMessages(ctx, relay.Claim{Holder: "h", Now: now, Until: now.Add(time.Minute), Most: 10, PerAccount: 10, Limits: func(string) mail.Limits { return mail.Limits{} }})
		ok(t, err)
		for i, m := range claimed {
			m.State, m.Reason, m.Done = relay.Failed, "no", now.Add(time.Duration(i)*time.Second)
			ok(t, s.FinishMessage(ctx, "h", m, relay.Spent{At: now}))
		}
		var seen []string
		for last := (store.FailedMessage{}); ; {
			page, err := s.FailedSince(ctx, now, "except", last, 2)
			ok(t, err)
			if len(page) == 0 {
				break
			}
			for _, m := range page {
				seen = append(seen, m.ID)
			}
			last = page[len(page)-1]
		}
		if len(seen) != 3 || len(claimed) != 4 {
			t.Errorf("%d claimed, seen %q", len(claimed), seen)
		}
		got(t, []store.FailedMessage(nil))(s.FailedSince(ctx, now.Add(time.Hour), "except", store.FailedMessage{}, 2))
	})
}
