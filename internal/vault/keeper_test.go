package vault_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"postern/internal/fault"
	"postern/internal/mail"
	"postern/internal/vault"
)

func TestKeeperRefreshesWhatIsDue(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.world.TokenLife = time.Hour
	s.signIn()
	s.vault.Pass(t.Context())
	s.wantAsked(0)
	s.pass(49 * time.Minute)
	s.vault.Pass(t.Context())
	s.wantAsked(1)
	s.token(vault.Send, false)
	s.wantAsked(1)
}

func TestKeeperNeverLetsAGrantLapse(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.world.TokenLife = 60 * 24 * time.Hour // never due before the grant is idle
	s.signIn()
	s.pass(29 * 24 * time.Hour)
	s.vault.Pass(t.Context())
	s.wantAsked(0)
	s.pass(24 * time.Hour)
	s.vault.Pass(t.Context())
	s.vault.Pass(t.Context())
	s.wantAsked(1)
}

func TestASickAccountIsInNobodysWay(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.signIn()
	sick := s.scan()
	sick.Name, sick.App = "a-sick-one", "broken"
	s.must(s.vault.PutApp(t.Context(), vault.App{Name: "broken", Tenant: "contoso.com", ClientID: "none", Cloud: s.cloud}, vault.Proof{}))
	sick.Mailbox = mail.Address{Local: "eve", Domain: "contoso.com"}
	s.must(s.vault.PutAccount(t.Context(), sick, nil))
	g, err := s.store.Grant(t.Context(), "scan")
	s.must(err)
	g.Account = "a-sick-one" // its seals are bound to scan, so they will not open
	s.must(s.store.CommitGrant(t.Context(), g, ""))
	_, err = s.store.SetState(t.Context(), "a-sick-one", vault.Transition{To: vault.Active, At: s.clock()})
	s.must(err)

	s.pass(2 * time.Hour)
	s.vault.Pass(t.Context())
	s.wantAsked(1)
	s.wantState(vault.Active)
	a, err := s.vault.Account(t.Context(), "a-sick-one")
	s.must(err)
	if a.State != vault.NeedsAdmin {
		t.Errorf("state %s", a.State)
	}
	_, err = s.vault.Token(t.Context(), "a-sick-one", vault.Send, false)
	s.wantKind(err, fault.NeedsAdmin)
}

func TestKeeperLeavesPausedAccountsAlone(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.signIn()
	s.pass(2 * time.Hour)
	s.answer(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = w.Write([]byte(`{"error":"invalid_client"}`))
	})
	for range 3 {
		s.vault.Pass(t.Context())
	}
	s.wantAsked(1)
	s.wantState(vault.NeedsAdmin)
	s.pass(15 * time.Minute) // one attempt may be made again
	s.answer(nil)
	s.vault.Pass(t.Context())
	s.wantState(vault.Active)
	if n := strings.Count(s.log.String(), "account paused"); n != 1 {
		t.Errorf("the pause was told %d times", n)
	}
}

func TestRunStopsAtOnce(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.signIn()
	ctx, cancel := context.WithCancel(t.Context())
	s.pass(2 * time.Hour)
	s.answer(func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	})
	done := make(chan error, 1)
	go func() { done <- s.vault.Run(ctx) }()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("Run goes on after its context ended")
	}
	s.wantState(vault.Active)
}

// Accounts come apart within 75 to 80 % of a token's life, always at the same place,
// and none lets a token come closer than ten minutes to its end.
func TestTheKeeperScattersRefreshes(t *testing.T) {
	t.Parallel()
	issued := time.Date(2026, 10, 1, 8, 0, 0, 0, time.UTC)
	for _, life := range []time.Duration{5 * time.Second, 10 * time.Minute, 21 * time.Minute, time.Hour, 75 * time.Minute, 28 * time.Hour} {
		a := vault.Access{Issued: issued, Expires: issued.Add(life)}
		places := map[time.Duration]bool{}
		for i := range 500 {
			name := fmt.Sprintf("account-%d", i)
			at := vault.KeeperDue(name, a)
			if !at.Equal(vault.KeeperDue(name, a)) || at.After(vault.Due(a)) {
				t.Fatalf("%s, life %s: due at %s", name, life, at.Sub(issued))
			}
			early := a.Expires.Add(-10 * time.Minute)
			if share := at.Sub(issued).Seconds() / life.Seconds(); share > 0.8 || (share < 0.75 && !at.Equal(early)) {
				t.Errorf("%s, life %s: due at %.3f of it", name, life, share)
			}
			if life > 20*time.Minute && at.After(early) {
				t.Errorf("%s, life %s: only %s left", name, life, a.Expires.Sub(at))
			}
			places[at.Sub(issued)] = true
		}
		if life > time.Hour && len(places) < 30 {
			t.Errorf("life %s: 500 accounts at %d places", life, len(places))
		}
	}
}

// Idle grants are used within the thirtieth day, each account at its own hour.
func TestIdleGrantsComeApart(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	rotated := s.clock()
	g := vault.Grant{Refresh: vault.Sealed("x"), RotatedAt: rotated}
	hours := map[int]bool{}
	s.pass(29 * 24 * time.Hour)
	for i := range 200 {
		if a := (vault.Account{Name: fmt.Sprintf("account-%d", i)}); s.vault.Idle(a, g) {
			t.Errorf("%s is idle after 29 days", a.Name)
		}
	}
	for hour := range 24 {
		s.pass(time.Hour)
		for i := range 200 {
			if s.vault.Idle(vault.Account{Name: fmt.Sprintf("account-%d", i)}, g) {
				hours[i] = hours[i] || hour < 23
			}
		}
	}
	early := 0
	for i := range 200 {
		if _, idle := hours[i]; !idle {
			t.Errorf("account-%d is not idle after 30 days", i)
		}
		if hours[i] {
			early++
		}
	}
	if early < 100 {
		t.Errorf("only %d of 200 come before the last hour", early)
	}
}

// What a server paused keeps its grant alive; nothing else of it is refreshed.
func TestAServersPauseLetsNoGrantLapse(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.signIn()
	s.must(s.vault.Refused(t.Context(), "scan", fault.NeedsSignIn, "smtp AUTH: 535 5.7.3"))
	for range 95 { // days: the grant would have lapsed
		s.pass(24 * time.Hour)
		s.vault.Pass(t.Context())
	}
	s.wantAsked(3)
	s.token(vault.Send, false)
	s.wantState(vault.NeedsSignIn)
}

// The keeper sleeps until the next token is due, a second at least and a minute at most.
func TestTheKeeperWakesInTime(t *testing.T) {
	t.Parallel()
	for life, c := range map[time.Duration]struct{ least, most time.Duration }{
		time.Hour:        {time.Minute, time.Minute},
		20 * time.Second: {15 * time.Second, 16 * time.Second},
		5 * time.Second:  {3750 * time.Millisecond, 4 * time.Second},
		time.Second:      {time.Second, time.Second},
	} {
		t.Run(life.String(), func(t *testing.T) {
			t.Parallel()
			s := newStand(t)
			s.world.TokenLife = life
			if got := s.vault.Pass(t.Context()); got != time.Minute {
				t.Errorf("with nothing to do it waits %s", got)
			}
			s.signIn()
			for range 3 {
				got := s.vault.Pass(t.Context())
				if got < c.least || got > c.most {
					t.Errorf("waits %s, want %s to %s", got, c.least, c.most)
				}
				s.pass(got)
			}
		})
	}
}

// In an outage the keeper asks ever less often, at least every ten minutes, and does
// not spin.
func TestTheKeeperBacksOff(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.world.TokenLife = 10 * time.Hour
	s.signIn()
	s.pass(9 * time.Hour)
	s.answer(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) })
	var asked []time.Duration
	began, seen := s.clock(), int64(0)
	for s.clock().Sub(began) < 2*time.Hour { // the token ends within
		wait := s.vault.Pass(t.Context())
		if n := s.asked.Load(); n > seen {
			seen = n
			asked = append(asked, s.clock().Sub(began))
		}
		if wait < 10*time.Second {
			t.Fatalf("waits only %s", wait)
		}
		s.pass(wait)
	}
	if len(asked) < 12 || len(asked) > 20 {
		t.Errorf("asked %d times: %s", len(asked), asked)
	}
	for i := 1; i < len(asked); i++ {
		if gap := asked[i] - asked[i-1]; gap > 11*time.Minute || (i > 6 && gap < 8*time.Minute) {
			t.Errorf("asked after %s and %s", asked[i-1], asked[i])
		}
	}
	s.wantState(vault.Active)
	s.wantAlerts()
	s.answer(nil)
	for range 11 {
		s.pass(s.vault.Pass(t.Context()))
	}
	s.wantAsked(seen + 1)
	if n := strings.Count(s.log.String(), "token not refreshed"); int64(n) > seen {
		t.Errorf("%d lines in the log", n)
	}
}
