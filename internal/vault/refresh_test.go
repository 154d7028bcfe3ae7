package vault_test

import (
	"context"
	"io"
	"net/http"
	"testing"
	"time"

	"postern/internal/vault"
)

// A caller leaves while the answer with the new refresh token is on its way: it is
// kept all the same, even where the old one is dead from now on.
func TestACallerThatLeavesLosesNoRotation(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.signIn()
	s.pass(2 * time.Hour)
	before, err := s.store.Grant(t.Context(), "scan")
	s.must(err)
	ctx, leave := context.WithCancel(t.Context())
	s.answer(func(w http.ResponseWriter, r *http.Request) {
		leave()
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"token_type":"Bearer","access_token":"opaque","expires_in":3600,"refresh_token":"the-new-one"}`)
	})
	if _, err := s.vault.Credential(ctx, "scan", vault.Send, vault.Cached); err != nil {
		t.Errorf("the answer came in time, and yet: %v", err)
	}
	after, err := s.store.Grant(t.Context(), "scan")
	s.must(err)
	if after.Generation != before.Generation+1 {
		t.Fatal("the rotation was lost")
	}
	clear, err := s.sealer.Open(after.Refresh, "refresh token", "scan")
	s.must(err)
	if clear.Reveal() != "the-new-one" {
		t.Error("another refresh token was kept")
	}
	s.token(vault.Send, false)
	s.wantAsked(1)
}

// Both resources' scopes are known, each by its own answer.
func TestScopesAreThoseOfTheResource(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	a := s.scan()
	a.Purposes = append(a.Purposes, vault.Graph)
	s.must(s.vault.PutAccount(t.Context(), a, nil))
	s.signIn()
	for range 2 {
		for p, want := range map[vault.Purpose]int{vault.Send: 2, vault.IMAP: 2, vault.Graph: 2} {
			c, err := s.credential(p, vault.Cached)
			s.must(err)
			if len(c.Scopes) != want {
				t.Errorf("%s has the scopes %q", p, c.Scopes)
			}
		}
		s.pass(2 * time.Hour)
	}
	d, err := s.vault.Describe(t.Context(), "scan")
	s.must(err)
	if len(d.Scopes) != 4 {
		t.Errorf("scopes %q", d.Scopes)
	}
}
