package app

import (
	"testing"

	"postern/internal/mail"
	"postern/internal/vault"
)

// TestLookout finds the one message, by IMAP and by POP3, and only where an account that
// works may read.
func TestLookout(t *testing.T) {
	t.Parallel()
	box := mail.Address{Local: "scan", Domain: "contoso.com"}
	for _, p := range []vault.Purpose{vault.IMAP, vault.POP3} {
		t.Run(string(p), func(t *testing.T) {
			t.Parallel()
			s := newStand(t)
			s.offerPOP3()
			s.put("contoso", "scan", vault.Application, "", vault.Send)
			if look, err := s.lookoutFor(t.Context(), box); look != nil || err != nil {
				t.Errorf("nobody may read: %v", err)
			}
			s.put("contoso", "scan", vault.Application, "", vault.Send, p)
			look, err := s.lookoutFor(t.Context(), mail.Address{Local: "Scan", Domain: "CONTOSO.com"})
			s.must(err)
			finds := func(what string, want bool) {
				t.Helper()
				if there, err := look(t.Context(), "<m1@test.example>"); there != want || err != nil {
					t.Errorf("%s: %v, %v", what, there, err)
				}
			}
			finds("nothing came", false)
			s.must(s.sim.Deliver(box.String(), []byte("Message-ID: <m2@test.example>\r\nIn-Reply-To: <m1@test.example>\r\n\r\nx\r\n")))
			finds("an answer to it", false)
			s.must(s.sim.Deliver(box.String(), []byte("message-id:\r\n <m1@test.example>\r\n\r\nx\r\n")))
			finds("it", true)
			s.must(s.HoldAccount(t.Context(), "cli:jane", "scan", true))
			if look, err := s.lookoutFor(t.Context(), box); look != nil || err != nil {
				t.Errorf("the account is paused: %v", err)
			}
		})
	}
}
