package vault_test

import (
	"context"
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
