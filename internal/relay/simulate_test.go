package relay_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"postern/internal/relay"
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
