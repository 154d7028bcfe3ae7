package vault_test

import (
	"strings"
	"testing"

	"postern/internal/secret"
)

func TestKeptSecrets(t *testing.T) {
	t.Parallel()
	s := newSafe(t)
	want := func(clear string) {
		t.Helper()
		have, err := s.vault.KeptSecret(t.Context(), "acme/account")
		s.must(err)
		if have.Reveal() != clear {
			t.Errorf("it opens as %q, want %q", have.Reveal(), clear)
		}
	}
	want("")
	for _, clear := range []string{"one", "two", "", "three"} {
		s.must(s.vault.KeepSecret(t.Context(), "acme/account", secret.New(clear)))
		want(clear)
	}
	if strings.Contains(string(s.store.settings["sealed.acme/account"]), "three") {
		t.Error("it lies in the clear")
	}
}
