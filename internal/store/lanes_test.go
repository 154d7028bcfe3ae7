package store_test

import (
	"testing"
	"time"

	"postern/internal/relay"
	"postern/internal/store"
)

// An account whose server limits its connections is delivered for by one holder at a
// time, until that one goes or lets go; others are shared.
func TestOneHolderHasALimitedAccount(t *testing.T) {
	t.Parallel()
	eachOpen(t, func(t *testing.T, s *store.Store) {
		for n, account := range []string{"limited", "limited", "limited", "free", "free", "free"} {
			put(t, s, message(n, account))
		}
		claims := func(holder string, now time.Duration) []string {
			t.Helper()
			ms, err := s.ClaimMessages(t.Context(), relay.Claim{Holder: holder, Now: after(now), Until: after(now + 2*time.Minute), Most: 2, PerAccount: 1, Caps: map[string]int{"limited": 1}})
			ok(t, err)
			var accounts []string
			for _, m := range ms {
				accounts = append(accounts, m.Account)
				m.State = relay.Delivered
				ok(t, s.FinishMessage(t.Context(), holder, m, relay.Spent{}))
			}
			return accounts
		}
		has := func(why string, got []string, want int) {
			t.Helper()
			if len(got) != want {
				t.Errorf("%s: claimed for %q, want %d", why, got, want)
			}
		}
		has("the first", claims("one", time.Hour), 2)
		has("another, while the first has its connections", claims("two", time.Hour), 1)
		ok(t, s.ReleaseLeases(t.Context(), "one"))
		has("another, when the first let go", claims("two", time.Hour), 2)
		has("the first, now late", claims("one", time.Hour), 0)
		has("the first, when the other's time is over", claims("one", time.Hour+3*time.Minute), 1)
	})
}

// A holder that cannot reach an account's server leaves the account to others, but not
// while it is at another message of it.
func TestHolderLetsGoOfWhatItCannotReach(t *testing.T) {
	t.Parallel()
	eachOpen(t, func(t *testing.T, s *store.Store) {
		for n := range 3 {
			put(t, s, message(n, "limited"))
		}
		claim := func(holder string) []relay.Message {
			t.Helper()
			ms, err := s.ClaimMessages(t.Context(), relay.Claim{Holder: holder, Now: after(time.Hour), Until: after(time.Hour + 2*time.Minute), Most: 2, PerAccount: 3, Caps: map[string]int{"limited": 3}})
			ok(t, err)
			return ms
		}
		for i, m := range claim("one") {
			if got := claim("two"); len(got) != 0 {
				t.Fatalf("%d are left: the other got %+v", 2-i, got)
			}
			m.State, m.NotBefore = relay.Queued, after(2*time.Hour)
			ok(t, s.FinishMessage(t.Context(), "one", m, relay.Spent{Yields: true}))
		}
		if got := claim("two"); len(got) != 1 {
			t.Errorf("when it has let go the other got %+v", got)
		}
	})
}
