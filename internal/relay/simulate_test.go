package relay_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"postern/internal/mail"
	"postern/internal/relay"
	"postern/internal/smtp"
)

// An account that begins to pretend, or ends it, is followed at once: also on a
// connection that is kept.
func TestSimulation(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, s *setting) {
		var on atomic.Bool
		s.relay = s.buildWith("holder-1", &relay.Simulation{
			Real: s, Pretends: func(account string) bool { return on.Load() && account == "office" },
			Would: func(_ context.Context, account string) string { return "over SMTP as " + account },
		})
		s.run()
		send := func(want relay.State, reply string) {
			t.Helper()
			id := s.accept("office", "a@example.net", "b@example.net")
			s.after(time.Second)
			m := s.message(id)
			if m.State != want || m.Attempts != 1 || m.Done.IsZero() {
				t.Fatalf("got %+v, want %s", m, want)
			}
			for _, r := range m.Recipients {
				if !strings.Contains(r.Reply, reply) || (r.State == relay.Spared) != (want == relay.Simulated) {
					t.Errorf("recipient %+v", r)
				}
			}
		}
		send(relay.Delivered, "250 2.0.0 OK")
		on.Store(true)
		send(relay.Simulated, "it would have gone over SMTP as office") // on the connection that is kept
		s.after(time.Minute)
		send(relay.Simulated, "it would have gone over SMTP as office") // on none
		if n := s.history.count("send"); n != 1 {
			t.Errorf("%d messages were sent", n)
		}
		if n := s.history.count("open office"); n != 1 {
			t.Errorf("%d connections were opened", n)
		}
		on.Store(false)
		send(relay.Delivered, "250 2.0.0 OK")
		s.end()
		if got := s.relay.Stats(); got.Simulated != 2 || got.Delivered != 2 {
			t.Errorf("stats %+v", got)
		}
		if e := s.events.String(); !strings.Contains(e, "event=simulated") || !strings.Contains(e, "b@example.net") {
			t.Errorf("events %s", e)
		}
	})
}

// A message half of which went out before the simulation began owes no report: the rest
// of it may still be sent.
func TestSimulatedHalfwayOwesNoReport(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, s *setting) {
		var on atomic.Bool
		s.limits = mail.Limits{RecipientsPerMessage: 1}
		s.sendAs = func(context.Context, int, mail.Envelope) (smtp.Result, error) {
			on.Store(true)
			return taken(), nil
		}
		s.reporter = func(relay.Message) (string, mail.Address, bool) {
			return "other", mail.Address{Local: "other", Domain: "contoso.com"}, true
		}
		s.relay = s.buildWith("holder-1", &relay.Simulation{
			Real: s, Pretends: func(string) bool { return on.Load() }, Would: func(context.Context, string) string { return "" },
		})
		s.run()
		sub := s.submission("office", "a@example.net", "b@example.net")
		sub.Notices = []mail.RecipientNotice{{Notify: mail.NotifySuccess}, {Notify: mail.NotifySuccess}}
		id := s.submit(sub, "text\n")
		s.after(time.Minute)
		m := s.message(id)
		if m.State != relay.Simulated || m.Recipients[0].State != relay.Accepted || m.Recipients[1].State != relay.Spared {
			t.Fatalf("got %+v", m)
		}
		if m.Bounce != "" || len(s.store.about(id)) != 0 {
			t.Errorf("bounce %q, %d reports", m.Bounce, len(s.store.about(id)))
		}
	})
}
