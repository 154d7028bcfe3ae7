package vault_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/internal/fault"
	"postern/internal/secret"
	"postern/internal/sim365/world"
	"postern/internal/vault"
)

func TestTokenIsCachedUntilItIsDue(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.world.TokenLife = time.Hour
	s.signIn()
	first := s.token(vault.Send, false)
	s.pass(47 * time.Minute)
	if s.token(vault.IMAP, false) != first {
		t.Error("send and imap share a resource, so they share a token")
	}
	s.wantAsked(0)
	s.pass(time.Minute) // 80 %
	if s.token(vault.Send, false) == first {
		t.Error("a token past 80 % of its life was not replaced")
	}
	s.wantAsked(1)
}

func TestATokenOfSecondsWorks(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.world.TokenLife = 3 * time.Second
	s.signIn()
	for range 5 {
		s.pass(4 * time.Second)
		raw := s.token(vault.Send, false)
		if _, err := s.world.CheckToken(raw); err != nil {
			t.Fatal(err)
		}
	}
	s.wantAsked(5)
}

func TestFreshForcesOnceForCallersThatFailedTogether(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.signIn()
	first := s.token(vault.Send, false)
	s.pass(time.Minute)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if tok, err := s.vault.Token(t.Context(), "scan", vault.Send, true); err != nil || tok.Reveal() == first {
				t.Errorf("fresh gave the old token, or %v", err)
			}
		})
	}
	wg.Wait()
	s.wantAsked(1)
}

func TestOneRefreshForAllCallersOfTwoNodes(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.signIn()
	nodes := []*vault.Vault{s.node("node-b"), s.node("node-c")}
	s.pass(2 * time.Hour)
	var wg sync.WaitGroup
	var mu sync.Mutex
	got := map[string]int{}
	for i := range 200 {
		wg.Go(func() {
			tok, err := nodes[i%2].Token(t.Context(), "scan", vault.Send, false)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			got[tok.Reveal()]++
		})
	}
	wg.Wait()
	s.wantAsked(1)
	if len(got) != 1 {
		t.Errorf("%d different tokens", len(got))
	}
}

func TestARefreshCutOffAfterRotationLeavesAnAccountThatWorks(t *testing.T) {
	t.Parallel()
	t.Run("the answer is lost", func(t *testing.T) {
		t.Parallel()
		s := newStand(t)
		s.signIn()
		s.pass(2 * time.Hour)
		s.world.Arm(world.Fault{Where: "token", Stage: "refresh_token", Kind: world.FaultDropAfter})
		_, err := s.vault.Token(t.Context(), "scan", vault.Send, false)
		s.wantKind(err, fault.Temporary)
		s.wantState(vault.Active)
		s.token(vault.Send, false)
	})
	t.Run("the commit fails", func(t *testing.T) {
		t.Parallel()
		s := newStand(t)
		s.signIn()
		s.pass(2 * time.Hour)
		s.store.failCommits = 1
		if tok, err := s.vault.Token(t.Context(), "scan", vault.Send, false); err == nil || !tok.Empty() {
			t.Fatal("a token was handed out before its refresh token was committed")
		}
		s.token(vault.Send, false)
		s.wantAsked(2)
		s.wantState(vault.Active)
	})
	t.Run("the caller goes away", func(t *testing.T) {
		t.Parallel()
		s := newStand(t)
		s.signIn()
		s.pass(2 * time.Hour)
		ctx, cancel := context.WithCancel(t.Context())
		s.answer(func(w http.ResponseWriter, r *http.Request) {
			cancel()
			<-r.Context().Done()
		})
		_, err := s.vault.Token(ctx, "scan", vault.Send, false)
		s.wantKind(err, fault.Temporary)
		s.answer(nil)
		s.token(vault.Send, false) // the claim was given back
		s.wantState(vault.Active)
	})
}

func TestTheRotatedRefreshTokenIsKept(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.signIn()
	before, err := s.store.Grant(t.Context(), "scan")
	s.must(err)
	s.pass(2 * time.Hour)
	s.token(vault.Send, false)
	after, err := s.store.Grant(t.Context(), "scan")
	s.must(err)
	open := func(g vault.Grant) string {
		clear, err := s.sealer.Open(g.Refresh, "refresh token", "scan")
		s.must(err)
		return clear.Reveal()
	}
	if open(before) == open(after) || !after.RotatedAt.After(before.RotatedAt) || after.Generation != before.Generation+1 {
		t.Error("the provider's new refresh token was not committed")
	}
	s.answer(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"token_type":"Bearer","access_token":"opaque","expires_in":"3600"}`))
	})
	s.pass(2 * time.Hour)
	s.token(vault.Send, false)
	kept, err := s.store.Grant(t.Context(), "scan")
	s.must(err)
	if open(kept) != open(after) {
		t.Error("without a new refresh token the old one must stay")
	}
}

func TestOutagesChangeNoState(t *testing.T) {
	t.Parallel()
	status := func(code int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code); _, _ = w.Write([]byte(body)) }
	}
	for name, h := range map[string]http.HandlerFunc{
		"503":                  status(503, ""),
		"503 that says grant":  status(503, `{"error":"invalid_grant"}`),
		"502 of a proxy":       status(502, "<html>bad gateway</html>"),
		"garbage as a success": status(200, "<html>please log in to the hotel</html>"),
		"empty success":        status(200, `{}`),
		"429":                  status(429, ""),
		"hang up":              func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"server_error":         status(400, `{"error":"server_error"}`),
		"a page with 403":      status(403, "<html>blocked</html>"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStand(t)
			s.world.TokenLife = time.Hour
			s.signIn()
			old := s.token(vault.Send, false)
			s.answer(h)
			s.pass(50 * time.Minute)
			if s.token(vault.Send, false) != old {
				t.Error("a token that still lives must outlast an outage")
			}
			s.token(vault.Send, false)
			s.wantAsked(1) // and the provider is left alone meanwhile
			_, err := s.vault.Token(t.Context(), "scan", vault.Send, true)
			if k := fault.KindOf(err); k != fault.Temporary && k != fault.Throttled {
				t.Errorf("fresh: %v", err)
			}
			s.pass(time.Hour)
			_, err = s.vault.Token(t.Context(), "scan", vault.Send, false)
			if k := fault.KindOf(err); k != fault.Temporary && k != fault.Throttled {
				t.Errorf("expired: %v", err)
			}
			s.wantState(vault.Active)
			s.answer(nil)
			s.pass(time.Minute)
			s.token(vault.Send, false)
		})
	}
}

func TestRetryAfterIsObeyed(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.signIn()
	s.pass(2 * time.Hour)
	s.answer(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Retry-After", "120"); w.WriteHeader(429) })
	for range 3 {
		_, err := s.vault.Token(t.Context(), "scan", vault.Send, false)
		s.wantKind(err, fault.Throttled)
	}
	s.wantAsked(1)
	s.answer(nil)
	s.pass(121 * time.Second)
	s.token(vault.Send, false)
}

func TestRefusalsPauseOnlyTheirAccount(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.signIn()
	s.world.RevokeSessions("scan@contoso.com")
	s.pass(time.Minute)
	_, err := s.vault.Token(t.Context(), "scan", vault.Send, true)
	s.wantKind(err, fault.NeedsSignIn)
	if a := s.wantState(vault.NeedsSignIn); !strings.Contains(a.Reason, "AADSTS50173") {
		t.Errorf("reason %q does not say why", a.Reason)
	}
	if fault.HintOf(err) != "postern signin scan" {
		t.Errorf("hint %q", fault.HintOf(err))
	}
	s.signIn()
	s.wantState(vault.Active)

	s.world.UpdateApp(s.app.ClientID, func(a *world.App) { a.SecretExpired = true })
	s.pass(2 * time.Hour)
	_, err = s.vault.Token(t.Context(), "scan", vault.Send, false)
	s.wantKind(err, fault.NeedsAdmin)
	if a := s.wantState(vault.NeedsAdmin); !a.ProbeAt.Equal(s.clock().Add(15 * time.Minute)) {
		t.Errorf("probe at %v", a.ProbeAt)
	}
	s.wantNoSecret("an error", err.Error())

	// A new secret may be what was missing: the next try need not wait.
	s.world.UpdateApp(s.app.ClientID, func(a *world.App) { a.SecretExpired = false })
	reg, err := s.vault.App(t.Context(), "m365")
	s.must(err)
	renewed := secret.New(s.app.Secret)
	s.must(s.vault.PutApp(t.Context(), reg, vault.Proof{Secret: &renewed}))
	if a := s.wantState(vault.NeedsAdmin); a.ProbeAt.After(s.clock()) {
		t.Errorf("probe at %v although the secret is new", a.ProbeAt)
	}
	s.token(vault.Send, false)
	if a := s.wantState(vault.Active); a.Reason != "" {
		t.Errorf("reason stays %q", a.Reason)
	}
}

func TestBeforeAnybodySignedIn(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	_, err := s.vault.Token(t.Context(), "scan", vault.Send, false)
	s.wantKind(err, fault.NeedsSignIn)
	if fault.HintOf(err) != "postern signin scan" {
		t.Errorf("hint %q", fault.HintOf(err))
	}
	s.wantState(vault.New)
	_, err = s.vault.Token(t.Context(), "scan", vault.POP3, false)
	s.wantKind(err, fault.NeedsAdmin)
	_, err = s.vault.Token(t.Context(), "nobody", vault.Send, false)
	s.wantKind(err, fault.NotFound)
	s.wantAsked(0)
}

func TestApplicationAccountsNeedNobody(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	a := s.scan()
	a.Method, a.Purposes = vault.Application, []vault.Purpose{vault.Send, vault.Graph}
	s.must(s.vault.PutAccount(t.Context(), a, nil))
	for _, c := range []struct {
		p        vault.Purpose
		resource string
	}{{vault.Send, world.Exchange365Resource}, {vault.Graph, world.GraphResource}} {
		tok, err := s.world.CheckToken(s.token(c.p, false))
		if err != nil || tok.Resource != c.resource || tok.UserID != "" {
			t.Errorf("%s: %+v, %v; want an app token for %s", c.p, tok, err, c.resource)
		}
		s.token(c.p, false)
	}
	s.wantAsked(2)
	s.wantState(vault.Active)
}

func TestTwoResourcesFromOneRefreshToken(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	a := s.scan()
	a.Purposes = append(a.Purposes, vault.Graph)
	s.must(s.vault.PutAccount(t.Context(), a, nil))
	s.signIn()
	mailToken, graphToken := s.token(vault.Send, false), s.token(vault.Graph, false)
	for raw, want := range map[string]string{mailToken: world.ExchangeResource, graphToken: world.GraphResource} {
		if tok, err := s.world.CheckToken(raw); err != nil || tok.Resource != want {
			t.Errorf("resource %q, %v; want %q", tok.Resource, err, want)
		}
	}
	if s.token(vault.Send, false) != mailToken || s.token(vault.Graph, false) != graphToken {
		t.Error("one resource's token replaced the other's")
	}
	s.wantAsked(1)
}

// Somebody signs in just while an older grant is found to be dead. The account must
// not end up paused: nobody would sign in a second time.
func TestSignInWhileTheOldGrantDies(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.world.TokenLife = time.Hour
	s.signIn()
	s.pass(2 * time.Hour)
	s.answer(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, `{"error":"invalid_grant"}`)
	})
	var once sync.Once
	s.store.beforeState = func(state vault.State) {
		if state == vault.NeedsSignIn {
			once.Do(func() { s.signIn() })
		}
	}
	s.token(vault.Send, false)
	s.wantState(vault.Active)
}
