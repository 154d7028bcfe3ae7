package store_test

import (
	"testing"
	"time"

	"postern/internal/bridge"
	"postern/internal/fault"
	"postern/internal/store"
)

// TestSessions writes sessions down, ends one, and forgets those of a dead process.
func TestSessions(t *testing.T) {
	t.Parallel()
	eachOpen(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		one := bridge.Session{ID: "a", Protocol: bridge.IMAP, Device: "tickets", Account: "scan", Mailbox: address("scan@contoso.com"), Remote: "192.0.2.7:1", Since: t0, Seen: t0}
		two := one
		two.ID, two.Protocol, two.Since = "b", bridge.POP3, after(time.Second)
		ok(t, s.PutSessions(ctx, "here/1", []bridge.Session{one}, nil))
		ok(t, s.PutSessions(ctx, "gone/2", []bridge.Session{two}, nil))
		one.In, one.Out, one.Seen = 10, 5<<32, after(time.Second)
		ok(t, s.PutSessions(ctx, "here/1", []bridge.Session{one}, []string{"b"})) // which is not its own
		got(t, []bridge.Session{one, two})(s.Sessions(ctx))

		ok(t, s.EndSession(ctx, "a", "cli:root"))
		failed(t, s.EndSession(ctx, "none", "cli:root"), fault.NotFound, `no session "none"`)
		got(t, []string{"a"})(s.SessionsToEnd(ctx, "here/1"))
		ok(t, s.PutSessions(ctx, "here/1", nil, []string{"a"}))
		got(t, []bridge.Session{two})(s.Sessions(ctx))
		for _, now := range []time.Duration{0, time.Minute} { // PostgreSQL gives a node the time to come back
			_, err := s.ReleaseDead(ctx, after(now), nobody)
			ok(t, err)
		}
		left, err := s.Sessions(ctx)
		if ok(t, err); len(left) > 0 {
			t.Errorf("of a process that is gone: %+v", left)
		}
	})
}
