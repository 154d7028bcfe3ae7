package store_test

import (
	"testing"
	"time"

	"postern/internal/relay"
	"postern/internal/store"
)

func TestInFlight(t *testing.T) {
	t.Parallel()
	eachOpen(t, func(t *testing.T, s *store.Store) {
		for i := range 5 {
			put(t, s, message(i, []string{"scan", "fax"}[min(i, 1)]))
		}
		_, err := s.ClaimMessages(t.Context(), relay.Claim{Holder: "h", Now: after(time.Minute), Until: after(time.Hour), Most: 3, PerAccount: 2})
		ok(t, err)
		flying, err := s.InFlight(t.Context())
		ok(t, err)
		if len(flying) != 2 || flying["scan"] != 1 || flying["fax"] != 2 {
			t.Errorf("in flight: %v", flying)
		}
		n, err := s.CountUpTo(t.Context(), relay.Queued, 1)
		ok(t, err)
		if n != 1 {
			t.Errorf("counted %d, up to 1", n)
		}
	})
}
