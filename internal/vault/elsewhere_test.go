package vault_test

import (
	"errors"
	"strings"
	"testing"

	"postern/internal/entra"
	"postern/internal/fault"
	"postern/internal/mail"
	"postern/internal/secret"
	"postern/internal/vault"
)

// moved is the stand's app with other hosts.
func (s *stand) moved(change func(*entra.Cloud)) vault.App {
	a := vault.App{Name: "m365", Tenant: "contoso.com", ClientID: s.app.ClientID, Cloud: s.cloud}
	change(&a.Cloud)
	return a
}

// Whoever may change an app must not have its secret sent to a host of their own.
func TestAKeptSecretGoesNowhereElse(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	evil := s.moved(func(c *entra.Cloud) { c.Authority = "https://login.evil.example" })
	err := s.vault.PutApp(t.Context(), evil, vault.Proof{})
	if !errors.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "login.evil.example") || fault.HintOf(err) == "" {
		t.Fatalf("it would go to another host: %v", err)
	}
	if have, err := s.vault.App(t.Context(), "m365"); err != nil || have.Cloud.Authority != s.cloud.Authority {
		t.Errorf("now it is %q, %v", have.Cloud.Authority, err)
	}
	s.must(s.vault.PutApp(t.Context(), s.moved(func(c *entra.Cloud) { c.Graph, c.Authority = "https://graph.example", c.Authority+"/" }), vault.Proof{}))
	clear := secret.New("entered again")
	s.must(s.vault.PutApp(t.Context(), evil, vault.Proof{Secret: &clear}))
}

// Nor the refresh tokens of its accounts.
func TestASignInGoesNowhereElse(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.signIn()
	s.must(s.vault.PutApp(t.Context(), s.moved(func(c *entra.Cloud) { c.SMTP.Host = "smtp.contoso.com" }), vault.Proof{}))
	s.wantState(vault.Active)
	none := secret.New("")
	s.must(s.vault.PutApp(t.Context(), s.moved(func(c *entra.Cloud) { c.Authority = "https://login.evil.example" }), vault.Proof{Secret: &none}))
	s.wantState(vault.New)
	if d, err := s.vault.Describe(t.Context(), "scan"); err != nil || d.SignedInAs != "" {
		t.Errorf("%+v, %v", d, err)
	}
	_, err := s.credential(vault.Send, vault.Fresh)
	s.wantKind(err, fault.NeedsSignIn)
}

// Nor the passwords that mail servers take, be it that the app has other servers, or the
// account another app.
func TestAKeptPasswordGoesNowhereElse(t *testing.T) {
	t.Parallel()
	at := mail.Server{Host: "mail.contoso.com", Port: 587, TLS: mail.STARTTLS}
	for name, c := range map[string]struct {
		change func(s *stand, app vault.App) error
		keeps  bool
	}{
		"another server": {func(s *stand, app vault.App) error {
			app.Cloud.SMTP.Host = "mail.evil.example"
			return s.vault.PutApp(s.Context(), app, vault.Proof{})
		}, false},
		"one server more": {func(s *stand, app vault.App) error {
			app.Cloud.IMAP = mail.Server{Host: "mail.evil.example", Port: 993, TLS: mail.Implicit}
			return s.vault.PutApp(s.Context(), app, vault.Proof{})
		}, false},
		"another port": {func(s *stand, app vault.App) error {
			app.Cloud.SMTP.Port = 465
			return s.vault.PutApp(s.Context(), app, vault.Proof{})
		}, true},
		"an app with another server": {func(s *stand, app vault.App) error {
			app.Name, app.Cloud.SMTP.Host = "other", "mail.evil.example"
			return errors.Join(s.vault.PutApp(s.Context(), app, vault.Proof{}), s.repoint("other"))
		}, false},
		"an app with the same server": {func(s *stand, app vault.App) error {
			app.Name = "other"
			return errors.Join(s.vault.PutApp(s.Context(), app, vault.Proof{}), s.repoint("other"))
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStand(t)
			app := vault.App{Name: "own", Cloud: entra.Cloud{Name: entra.Custom, SMTP: at}}
			s.must(s.vault.PutApp(t.Context(), app, vault.Proof{}))
			clear := secret.New("app-password")
			fax := vault.Account{Name: "fax", App: "own", Mailbox: mail.Address{Local: "fax", Domain: "contoso.com"}, Method: vault.AppPassword, Purposes: []vault.Purpose{vault.Send}}
			s.must(s.vault.PutAccount(t.Context(), fax, &clear))
			s.must(c.change(s, app))
			have, err := s.vault.Account(t.Context(), "fax")
			s.must(err)
			if s.vault.PasswordIs(have, clear) != c.keeps {
				t.Errorf("it is kept: %t", !c.keeps)
			}
		})
	}
}

// repoint gives fax another app.
func (s *stand) repoint(app string) error {
	have, err := s.vault.Account(s.Context(), "fax")
	if err != nil {
		return err
	}
	have.App = app
	return s.vault.PutAccount(s.Context(), have, nil)
}
