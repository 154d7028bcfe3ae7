package app

import (
	"testing"

	"postern/internal/declare"
	"postern/internal/mail"
	"postern/internal/vault"
)

// Trying another server must not send it the password that is kept for the one before.
func TestADraftTakesNoPasswordElsewhere(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.put("hosts", "invoices", vault.AppPassword, appPassword, vault.Send)
	for host, keeps := range map[string]bool{s.sim.SMTP().Host: true, "mail.evil.example": false} {
		d, err := s.Draft(t.Context(), declare.Document{
			Apps:     []declare.App{{Name: "hosts", Cloud: "custom", Custom: &declare.Custom{SMTP: &mail.Server{Host: host, Port: 587, TLS: mail.STARTTLS}}}},
			Accounts: []declare.Account{{Name: "invoices", App: "hosts", Mailbox: "invoices@contoso.com", SignIn: "app_password", Purposes: []string{"send"}}},
		}, func(string) (string, bool) { return "", false })
		s.must(err)
		if acct, err := d.Account(t.Context(), "invoices"); err != nil || len(acct.Password) > 0 != keeps {
			t.Errorf("%s gets the password: %t, %v", host, !keeps, err)
		}
	}
	if acct, err := s.Vault.Account(t.Context(), "invoices"); err != nil || len(acct.Password) == 0 {
		t.Errorf("a trial has cost the saved account its password: %v", err)
	}
}
