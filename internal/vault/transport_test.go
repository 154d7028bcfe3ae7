package vault_test

import (
	"errors"
	"testing"

	"postern/internal/fault"
	"postern/internal/vault"
)

// A transport needs the purpose that its scopes come from.
func TestTransportNeedsItsPurpose(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	for _, c := range []struct {
		transport string
		purposes  []vault.Purpose
		good      bool
	}{
		{"", []vault.Purpose{vault.IMAP}, true},
		{vault.OverSMTP, []vault.Purpose{vault.Send, vault.Graph}, true},
		{vault.OverGraph, []vault.Purpose{vault.Send, vault.Graph}, true},
		{vault.OverHVE, []vault.Purpose{vault.HVE}, true},
		{vault.OverGraph, []vault.Purpose{vault.Send}, false},
		{vault.OverSMTP, []vault.Purpose{vault.HVE}, false},
		{vault.OverHVE, []vault.Purpose{vault.Send}, false},
		{"pigeon", []vault.Purpose{vault.Send}, false},
	} {
		a := s.scan()
		a.Transport, a.Purposes = c.transport, c.purposes
		err := s.vault.PutAccount(t.Context(), a, nil)
		if c.good && err != nil || !c.good && !errors.Is(err, fault.Invalid) {
			t.Errorf("%q for %v: %v", c.transport, c.purposes, err)
		}
	}
}
