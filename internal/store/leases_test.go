package store_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"postern/internal/fault"
	"postern/internal/mail"
	"postern/internal/relay"
	"postern/internal/store"
	"postern/internal/vault"
)

// nobody limits any account.
func nobody(string) mail.Limits { return mail.Limits{} }

func ids(ms []relay.Message) []string {
	all := []string{}
	for _, m := range ms {
		all = append(all, m.ID)
	}
	return all
}

func TestClaimOrder(t *testing.T) {
	t.Parallel()
	eachOpen(t, func(t *testing.T, s *store.Store) {
		for n, at := range []time.Duration{3, 1, 2, 4, 1} {
			m := message(n, []string{"a", "b"}[n%2])
			m.NotBefore = after(at * time.Minute)
			put(t, s, m)
		}
		take := func(now time.Duration, limit, perAccount int, skip ...string) []string {
			ms, err := s.ClaimMessages(t.Context(), relay.Claim{Holder: "me", Now: after(now * time.Minute), Until: after(time.Hour), Most: limit, PerAccount: perAccount, Skip: skip})
			ok(t, err)
			for _, m := range ms {
				if m.State != relay.Delivering || len(m.Recipients) != 2 || m.Size == 0 {
					t.Errorf("claimed %+v", m)
				}
			}
			ok(t, s.ReleaseLeases(t.Context(), "me"))
			return ids(ms)
		}
		for _, c := range []struct {
			why  string
			have []string
			want []string
		}{
			{"nothing is due", take(0, 9, 9), []string{}},
			{"oldest first, then by id", take(9, 9, 9), []string{"m00001", "m00004", "m00002", "m00000", "m00003"}},
			{"due now is due", take(1, 9, 9), []string{"m00001", "m00004"}},
			{"limit", take(9, 3, 9), []string{"m00001", "m00004", "m00002"}},
			{"per account", take(9, 9, 1), []string{"m00001", "m00004"}},
			{"per account and limit", take(9, 2, 2), []string{"m00001", "m00004"}},
			{"skip", take(9, 9, 9, "a", "\x00"), []string{"m00001", "m00003"}},
			{"skip all", take(9, 9, 9, "a", "b"), []string{}},
			{"no room", take(9, 0, 9), []string{}},
			{"no lanes", take(9, 9, 0), []string{}},
		} {
			if !slices.Equal(c.have, c.want) {
				t.Errorf("%s: have %v, want %v", c.why, c.have, c.want)
			}
		}
	})
}

// A long queue of one account neither hides nor delays another's.
func TestClaimIsFair(t *testing.T) {
	t.Parallel()
	eachOpen(t, func(t *testing.T, s *store.Store) {
		for n := range 60 {
			put(t, s, message(n, "busy"))
		}
		late := message(60, "quiet")
		late.NotBefore = after(time.Second)
		put(t, s, late)
		first, err := s.ClaimMessages(t.Context(), relay.Claim{Holder: "me", Now: after(time.Minute), Until: after(time.Hour), Most: 10, PerAccount: 3})
		ok(t, err)
		if have := ids(first); !slices.Equal(have, []string{"m00000", "m00001", "m00002", "m00060"}) {
			t.Fatalf("claimed %v", have)
		}
		more, err := s.ClaimMessages(t.Context(), relay.Claim{Holder: "you", Now: after(time.Minute), Until: after(time.Hour), Most: 10, PerAccount: 3})
		ok(t, err)
		if len(more) != 0 {
			t.Fatalf("what another holder has in flight was not counted: %v", ids(more))
		}
		first[0].State = relay.Delivered
		ok(t, s.FinishMessage(t.Context(), "me", first[0], relay.Spent{}))
		more, err = s.ClaimMessages(t.Context(), relay.Claim{Holder: "you", Now: after(time.Minute), Until: after(time.Hour), Most: 10, PerAccount: 3})
		ok(t, err)
		if have := ids(more); !slices.Equal(have, []string{"m00003"}) {
			t.Fatalf("claimed %v", have)
		}
	})
}

func TestLeases(t *testing.T) {
	t.Parallel()
	eachOpen(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		m := put(t, s, message(1, "scan"))
		got(t, 0)(s.ExpireLeases(ctx, after(time.Hour), nobody))
		got(t, false)(s.HoldsLease(ctx, "me", m.ID))
		claim(t, s, "me")
		got(t, true)(s.HoldsLease(ctx, "me", m.ID))
		got(t, false)(s.HoldsLease(ctx, "you", m.ID))
		got(t, false)(s.HoldsLease(ctx, "me", "another"))
		got(t, 0)(s.ExpireLeases(ctx, after(time.Minute), nobody)) // ends now, has not ended before now
		ok(t, s.ExtendLeases(ctx, "me", nil, after(time.Hour)))
		ok(t, s.ExtendLeases(ctx, "you", []string{m.ID}, after(time.Hour)))
		ok(t, s.ExtendLeases(ctx, "me", []string{"another", m.ID}, after(2*time.Minute)))
		got(t, 0)(s.ExpireLeases(ctx, after(2*time.Minute), nobody))
		got(t, 1)(s.ExpireLeases(ctx, after(2*time.Minute+time.Millisecond), nobody))
		got(t, m)(s.Message(ctx, m.ID))
		got(t, false)(s.HoldsLease(ctx, "me", m.ID))
		late := m
		late.State = relay.Delivered
		failed(t, s.FinishMessage(ctx, "me", late, relay.Spent{}), fault.Conflict)

		claim(t, s, "you")
		ok(t, s.ReleaseLeases(ctx, "me"))
		failed(t, s.DeleteMessage(ctx, m.ID), fault.Conflict)
		ok(t, s.ReleaseLeases(ctx, "you"))
		got(t, m)(s.Message(ctx, m.ID))

		c := relay.Claim{Holder: "you", Now: t0, Until: after(time.Minute), Most: 9, PerAccount: 9, Leave: []string{m.ID}}
		got(t, []relay.Message(nil))(s.ClaimMessages(ctx, c))
		got(t, m)(s.Message(ctx, m.ID))
		got(t, false)(s.HoldsLease(ctx, "you", m.ID))
	})
}

// What a process held comes back when its sign is gone, and not before.
func TestReleaseDead(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, d database) {
		ctx := t.Context()
		s := opened(t, d)
		furnished(t, s)
		put(t, s, message(1, "scan"))
		put(t, s, message(2, "scan"))
		living, err := d.open(ctx, store.Options{Holder: "host/1/ALIVE"})
		ok(t, err)
		ok(t, second(s.ClaimMessages(ctx, relay.Claim{Holder: "host/1/DEAD", Now: t0, Until: after(time.Hour), Most: 1, PerAccount: 9})))
		ok(t, second(s.ClaimMessages(ctx, relay.Claim{Holder: "host/1/ALIVE", Now: t0, Until: after(time.Hour), Most: 1, PerAccount: 9})))
		ok(t, s.LockTask(ctx, "invoices", "host/1/DEAD/run", t0, after(time.Hour)))
		ok(t, second(s.ClaimRefresh(ctx, "scan", "host/1/DEAD", t0, after(time.Hour))))

		release := func(want int) { // at once, or on the second look when signs may be interrupted
			t.Helper()
			first, err := s.ReleaseDead(ctx, t0, nobody)
			ok(t, err)
			then, err := s.ReleaseDead(ctx, after(time.Minute), nobody)
			ok(t, err)
			if first+then != want {
				t.Errorf("released %d and %d, want %d", first, then, want)
			}
		}
		release(3)
		got(t, map[relay.State]int{relay.Queued: 1, relay.Delivering: 1})(s.Counts(ctx))
		ok(t, s.LockTask(ctx, "invoices", "host/2/ME", t0, after(time.Hour)))
		got(t, vault.Grant{Account: "scan"})(s.ClaimRefresh(ctx, "scan", "host/2/ME", t0, after(time.Hour)))
		ok(t, s.ReleaseLeases(ctx, "host/2/ME"))
		ok(t, s.UnlockTask(ctx, "invoices", "host/2/ME"))
		ok(t, s.DropClaim(ctx, "scan", "host/2/ME"))

		release(0)
		ok(t, living.Close())
		release(1)
		got(t, map[relay.State]int{relay.Queued: 2})(s.Counts(ctx))
	})
}

// A killed process closes nothing by itself.
func TestReleaseOfAKilledProcess(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := opened(t, sqliteIn(dir))
	furnished(t, s)
	put(t, s, message(1, "scan"))
	cmd, _, lines := start(t, "claim", dir)
	if !lines.Scan() || lines.Text() != "m00001" {
		t.Fatalf("the child claimed %q", lines.Text())
	}
	got(t, 0)(s.ReleaseDead(t.Context(), t0, nobody))
	ok(t, cmd.Process.Kill())
	_ = cmd.Wait()
	got(t, 1)(s.ReleaseDead(t.Context(), t0, nobody))
}

// What killed processes leave behind is swept, and what living ones need is not.
func TestSignsOfTheDeadAreSwept(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	living, err := store.OpenSQLite(t.Context(), dir, store.Options{Holder: "host/1/ALIVE"})
	ok(t, err)
	defer living.Close()
	signs := filepath.Join(dir, "holders")
	old := time.Now().Add(-time.Hour)
	for _, name := range []string{"host%2F2%2FDEAD", "host%2F3%2FSTARTING"} {
		ok(t, os.WriteFile(filepath.Join(signs, name), nil, 0o600))
	}
	for _, name := range []string{"host%2F1%2FALIVE", "host%2F2%2FDEAD"} {
		ok(t, os.Chtimes(filepath.Join(signs, name), old, old))
	}
	next, err := store.OpenSQLite(t.Context(), dir, store.Options{Holder: "host/4/NEXT"})
	ok(t, err)
	defer next.Close()
	var left []string
	files, err := os.ReadDir(signs)
	ok(t, err)
	for _, f := range files {
		left = append(left, f.Name())
	}
	if want := []string{"host%2F1%2FALIVE", "host%2F3%2FSTARTING", "host%2F4%2FNEXT"}; !slices.Equal(left, want) {
		t.Errorf("left are %q", left)
	}
}

// Holders of two processes claim and finish until nothing is left. No message may
// be leased twice, and no account may ever have more in flight than allowed.
func TestClaimsNeverOverlap(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, d database) {
		stores := []*store.Store{opened(t, d), opened(t, d)}
		const accounts, each, perAccount = 4, 40, 3
		for n := range accounts * each {
			put(t, stores[0], message(n, fmt.Sprint("account", n%accounts)))
		}
		watch := &inFlight{t: t, max: perAccount, now: map[string]int{}, seen: map[string]bool{}}
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				for watch.count() < accounts*each {
					if err := watch.round(stores[i%2], fmt.Sprint("holder", i)); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		got(t, map[relay.State]int{relay.Delivered: accounts * each})(stores[0].Counts(t.Context()))
	})
}

// inFlight watches what is leased, from after the claim to before the finish.
type inFlight struct {
	t    *testing.T
	max  int
	mu   sync.Mutex
	now  map[string]int
	seen map[string]bool
}

func (w *inFlight) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.seen)
}

func (w *inFlight) round(s *store.Store, holder string) error {
	ms, err := s.ClaimMessages(w.t.Context(), relay.Claim{Holder: holder, Now: t0, Until: after(time.Hour), Most: 5, PerAccount: w.max})
	if err != nil {
		return err
	}
	w.mu.Lock()
	for _, m := range ms {
		if w.seen[m.ID] {
			w.t.Errorf("%s was leased twice", m.ID)
		}
		w.seen[m.ID] = true
		if w.now[m.Account]++; w.now[m.Account] > w.max {
			w.t.Errorf("%d of %s in flight", w.now[m.Account], m.Account)
		}
	}
	w.mu.Unlock()
	for _, m := range ms {
		w.mu.Lock()
		w.now[m.Account]--
		w.mu.Unlock()
		m.State = relay.Delivered
		if err := s.FinishMessage(w.t.Context(), holder, m, relay.Spent{}); err != nil {
			return err
		}
	}
	return nil
}
