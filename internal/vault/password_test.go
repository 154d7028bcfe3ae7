package vault_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/internal/entra"
	"postern/internal/fault"
	"postern/internal/mail"
	"postern/internal/secret"
	"postern/internal/sim365/world"
	"postern/internal/vault"
)

// newHVE is a stand whose account sends through High Volume Email with its own
// password, which the app may exchange.
func newHVE(t *testing.T, clear string) *stand {
	t.Helper()
	s := newStand(t).explained()
	s.world.UpdateApp(s.app.ClientID, func(a *world.App) { a.AdminConsent[a.HomeTenant] = true })
	s.must(s.put(vault.Password, clear, vault.HVE))
	return s
}

func (s *stand) wantGrants(types ...string) {
	s.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Equal(s.grants, types) {
		s.Fatalf("asked with %q, want %q", s.grants, types)
	}
}

func TestThePasswordIsExchangedOnce(t *testing.T) {
	t.Parallel()
	s := newHVE(t, " "+password+"\n")
	s.wantState(vault.New)
	for range 4 {
		c, err := s.credential(vault.HVE, vault.Cached)
		s.must(err)
		tok, err := s.world.CheckToken(c.Token.Reveal())
		if err != nil || tok.UPN != "scan@contoso.com" || tok.Resource != world.ExchangeResource || !slices.Contains(tok.Scopes, "SMTP.Send") {
			t.Errorf("%+v, %v", tok, err)
		}
		if c.User != "scan@contoso.com" || !c.Password.Empty() || !c.Expires.Equal(tok.Expires) || !slices.Equal(c.Scopes, []string{s.cloud.Outlook + "/SMTP.Send"}) {
			t.Errorf("credential %+v", c)
		}
		s.pass(2 * time.Hour)
	}
	s.wantState(vault.Active)
	s.wantGrants("password", "refresh_token", "refresh_token", "refresh_token")
	if strings.Contains(s.store.dump(), password) {
		t.Error("the password lies open in the database")
	}
	if d, err := s.vault.Describe(t.Context(), "scan"); err != nil || d.SignedInAs != "scan@contoso.com" || d.Until.IsZero() {
		t.Errorf("%+v, %v", d, err)
	}
	s.wantNoSecret("the log", s.log.String())
}

// The password comes out again only when the refresh token is gone, and then once.
func TestThePasswordReplacesALostGrant(t *testing.T) {
	t.Parallel()
	s := newHVE(t, password)
	_, err := s.credential(vault.HVE, vault.Cached)
	s.must(err)
	s.pass(2 * time.Hour)
	s.world.RevokeSessions("scan@contoso.com")
	_, err = s.credential(vault.HVE, vault.Cached)
	s.must(err)
	s.wantGrants("password", "refresh_token", "password")
	s.wantState(vault.Active)

	s.pass(2 * time.Hour)
	s.answer(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) })
	_, err = s.credential(vault.HVE, vault.Cached)
	s.wantKind(err, fault.Temporary)
	s.wantGrants("password", "refresh_token", "password", "refresh_token") // an outage is no reason
	s.wantAlerts()
}

// A refused password is never tried again by machine, whatever time passes.
func TestARefusedPasswordIsNeverRetried(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil  func(*world.User)
		number string
	}{
		"wrong":  {func(u *world.User) { u.Password = "Another-Horse-8" }, "AADSTS50126"},
		"locked": {func(u *world.User) { u.Locked = true }, "AADSTS50053"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newHVE(t, password)
			s.world.UpdateUser("scan@contoso.com", c.spoil)
			nodes := []*vault.Vault{s.vault, s.node("node-b")}
			for range 50 {
				for _, v := range nodes {
					for _, w := range []vault.Want{vault.Cached, vault.Fresh} {
						_, err := v.Credential(t.Context(), "scan", vault.HVE, w)
						s.wantKind(err, fault.NeedsSignIn)
					}
					v.Pass(t.Context())
				}
				s.pass(24 * time.Hour)
			}
			s.wantGrants("password")
			if a := s.wantState(vault.NeedsSignIn); !strings.Contains(a.Reason, c.number) {
				t.Errorf("reason %q", a.Reason)
			}
			s.wantAlerts("account_paused")

			s.world.UpdateUser("scan@contoso.com", func(u *world.User) { u.Password, u.Locked = "Another-Horse-8", false })
			s.must(s.put(vault.Password, "Another-Horse-8", vault.HVE))
			s.wantState(vault.New)
			_, err := s.credential(vault.HVE, vault.Cached)
			s.must(err)
			s.wantState(vault.Active)
			s.wantAlerts("account_paused", "account_works")
			s.wantNoSecret("the log", s.log.String())
		})
	}
}

// What else can be wrong with the user is an administrator's, and probed.
func TestAPasswordBlockedByPolicy(t *testing.T) {
	t.Parallel()
	s := newHVE(t, password)
	s.world.UpdateTenant("contoso.com", func(t *world.Tenant) { t.Policy.SecurityDefaults = true })
	_, err := s.credential(vault.HVE, vault.Cached)
	s.wantKind(err, fault.NeedsAdmin)
	s.wantState(vault.NeedsAdmin)
	s.world.UpdateTenant("contoso.com", func(t *world.Tenant) { t.Policy.SecurityDefaults = false })
	s.pass(15 * time.Minute)
	s.vault.Pass(t.Context())
	s.wantState(vault.Active)
}

func TestNobodyEnteredThePassword(t *testing.T) {
	t.Parallel()
	s := newHVE(t, "")
	_, err := s.credential(vault.HVE, vault.Cached)
	s.wantKind(err, fault.NeedsSignIn)
	if !strings.Contains(fault.HintOf(err), "password") {
		t.Errorf("hint %q", fault.HintOf(err))
	}
	s.wantAsked(0)
	s.must(s.put(vault.Password, password, vault.HVE))
	_, err = s.credential(vault.HVE, vault.Cached)
	s.must(err)
	s.must(s.vault.PutAccount(t.Context(), func() vault.Account {
		a := s.scan()
		a.Method, a.Purposes = vault.Password, []vault.Purpose{vault.HVE}
		return a
	}(), new(secret.New("")))) // takes it away
	_, err = s.credential(vault.HVE, vault.Fresh)
	s.wantKind(err, fault.NeedsSignIn)
}

func TestAnAppPasswordIsHandedOut(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	hosts := vault.App{Name: "hosts", Cloud: entra.Cloud{Name: entra.Custom, SMTP: mail.Server{Host: "smtp.contoso.com", Port: 587, TLS: mail.STARTTLS}}}
	s.must(s.vault.PutApp(t.Context(), hosts, vault.Proof{}))
	a := s.scan()
	a.App, a.Method = "hosts", vault.AppPassword
	s.must(s.vault.PutAccount(t.Context(), a, new(secret.New("abcd efgh ijkl mnop "))))
	c, err := s.credential(vault.Send, vault.Cached)
	s.must(err)
	if c.User != "scan@contoso.com" || c.Password.Reveal() != "abcd efgh ijkl mnop" || !c.Token.Empty() || len(c.Scopes) > 0 {
		t.Errorf("credential of %s with %d scopes", c.User, len(c.Scopes))
	}
	for _, fresh := range []bool{false, true} {
		_, err = s.vault.Token(t.Context(), "scan", vault.Send, fresh)
		s.wantKind(err, fault.Invalid)
		if fault.HintOf(err) == "" {
			t.Error("no hint")
		}
	}
	s.vault.Pass(t.Context())
	s.wantAsked(0)

	a.GiveTokens = true // declared anew without the password: it stays
	s.must(s.vault.PutAccount(t.Context(), a, nil))
	_, err = s.credential(vault.Send, vault.Cached)
	s.must(err)

	s.must(s.vault.Refused(t.Context(), "scan", fault.NeedsSignIn, "smtp AUTH: 535 5.7.3 Authentication unsuccessful"))
	for _, w := range []vault.Want{vault.Cached, vault.Fresh} {
		_, err = s.credential(vault.IMAP, w) // one refusal is enough for all servers: they count together
		s.wantKind(err, fault.NeedsSignIn)
	}
	s.pass(365 * 24 * time.Hour)
	_, err = s.credential(vault.Send, vault.Cached)
	s.wantKind(err, fault.NeedsSignIn)
	_, err = s.credential(vault.Send, vault.Asked)
	s.must(err)
	s.must(s.vault.PutAccount(t.Context(), a, new(secret.New("qrst uvwx yzab cdef"))))
	c, err = s.credential(vault.Send, vault.Cached)
	s.must(err)
	s.must(s.vault.Worked(t.Context(), "scan"))
	s.wantState(vault.Active)
	s.wantAlerts("account_paused", "account_works")
	if text := s.store.dump(); strings.Contains(text, c.Password.Reveal()) || strings.Contains(s.log.String(), "qrst") {
		t.Error("the app password lies open")
	}
}

func TestAccountsThatCannotWork(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.must(s.vault.PutApp(t.Context(), vault.App{Name: "hosts", Cloud: s.cloud}, vault.Proof{}))
	s.must(s.vault.PutApp(t.Context(), vault.App{Name: "many", Tenant: "organizations", ClientID: "x", Cloud: s.cloud}, vault.Proof{}))
	clear := new(secret.New("abcdefgh"))
	for name, c := range map[string]struct {
		app      string
		mailbox  string
		method   vault.Method
		purposes []vault.Purpose
		clear    *secret.Text
		says     string
	}{
		"no such method":                {"m365", "scan@contoso.com", "magic", []vault.Purpose{vault.Send}, nil, "app_password"},
		"no such purpose":               {"m365", "scan@contoso.com", vault.Delegated, []vault.Purpose{"fly"}, nil, "hve"},
		"no purpose":                    {"m365", "scan@contoso.com", vault.Delegated, nil, nil, "no purpose"},
		"no app":                        {"none", "scan@contoso.com", vault.Delegated, []vault.Purpose{vault.Send}, nil, `"none"`},
		"app password for Graph":        {"hosts", "scan@contoso.com", vault.AppPassword, []vault.Purpose{vault.Graph}, clear, "send, imap and pop3"},
		"app password for HVE":          {"hosts", "scan@contoso.com", vault.AppPassword, []vault.Purpose{vault.HVE}, clear, "send, imap and pop3"},
		"personal app password":         {"hosts", "eve@outlook.com", vault.AppPassword, []vault.Purpose{vault.Send}, clear, "no longer work with SMTP, IMAP or POP for personal accounts"},
		"token without a client id":     {"hosts", "scan@contoso.com", vault.Delegated, []vault.Purpose{vault.Send}, nil, "no client id"},
		"application in many tenants":   {"many", "scan@contoso.com", vault.Application, []vault.Purpose{vault.Send}, nil, "one tenant"},
		"password in many tenants":      {"many", "scan@contoso.com", vault.Password, []vault.Purpose{vault.HVE}, clear, "one tenant"},
		"a password where none is used": {"m365", "scan@contoso.com", vault.Delegated, []vault.Purpose{vault.Send}, clear, "takes no password"},
		"two ways to send":              {"m365", "scan@contoso.com", vault.Delegated, []vault.Purpose{vault.Send, vault.HVE}, nil, "either"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mailbox, err := mail.ParseAddress(c.mailbox)
			if err != nil {
				t.Fatal(err)
			}
			err = s.vault.PutAccount(t.Context(), vault.Account{Name: "new", App: c.app, Mailbox: mailbox, Method: c.method, Purposes: c.purposes}, c.clear)
			if fault.KindOf(err) != fault.Invalid || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "abcdefgh") {
				t.Errorf("got %v", err)
			}
			if _, err := s.vault.Account(t.Context(), "new"); fault.KindOf(err) != fault.NotFound {
				t.Error("something was kept")
			}
		})
	}
}

func TestPersonalAddresses(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	for domain, personal := range map[string]bool{
		"outlook.com": true, "OUTLOOK.de": true, "outlook.com.br": true, "hotmail.co.uk": true, "hotmail.fr": true,
		"live.com": true, "live.nl": true, "live.com.mx": true, "msn.com": true,
		"contoso.com": false, "live.contoso.com": false, "outlook.contoso.co.uk": false, "msn.contoso.com": false,
		"mail.outlook.com": false, "myoutlook.com": false,
	} {
		a := vault.Account{Name: domain, App: "m365", Mailbox: mail.Address{Local: "eve", Domain: domain}, Method: vault.AppPassword, Purposes: []vault.Purpose{vault.Send}}
		err := s.vault.PutAccount(t.Context(), a, new(secret.New("abcdefgh")))
		if (fault.KindOf(err) == fault.Invalid) != personal || (err == nil) == personal {
			t.Errorf("%s: %v", domain, err)
		}
		if personal && !strings.Contains(err.Error(), "sign in with Microsoft instead") {
			t.Errorf("%s: %v", domain, err)
		}
	}
}

// A password goes no further than the mailbox and the use it was entered for.
func TestAPasswordIsOfOneMailbox(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*vault.Account){
		"another mailbox": func(a *vault.Account) { a.Mailbox.Local = "eve" },
		"another method":  func(a *vault.Account) { a.Method = vault.Delegated },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newHVE(t, password)
			_, err := s.credential(vault.HVE, vault.Cached)
			s.must(err)
			a, err := s.vault.Account(t.Context(), "scan")
			s.must(err)
			change(&a)
			s.must(s.vault.PutAccount(t.Context(), a, nil))
			if a := s.wantState(vault.New); len(a.Password) > 0 || !a.PasswordSet.IsZero() {
				t.Error("the password was kept")
			}
			_, err = s.credential(vault.HVE, vault.Cached)
			s.wantKind(err, fault.NeedsSignIn)
			s.wantGrants("password")
		})
	}
}

func TestAppsThatAreHostsOnly(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	server := mail.Server{Host: "mail.contoso.com", Port: 993, TLS: mail.Implicit}
	s.must(s.vault.PutApp(t.Context(), vault.App{Name: "hosts", Cloud: entra.Cloud{Name: entra.Custom, IMAP: server}}, vault.Proof{}))
	for name, c := range map[string]struct {
		app   vault.App
		proof vault.Proof
	}{
		"neither hosts nor app":    {vault.App{Name: "x", Cloud: entra.Cloud{Name: entra.Custom}}, vault.Proof{}},
		"a tenant without an app":  {vault.App{Name: "x", Tenant: "contoso.com", Cloud: s.cloud}, vault.Proof{}},
		"a secret without an app":  {vault.App{Name: "x", Cloud: s.cloud}, vault.Proof{Secret: new(secret.New("xyz8Q~abcdef"))}},
		"the Secret ID":            {vault.App{Name: "x", Tenant: "contoso.com", ClientID: "y", Cloud: s.cloud}, vault.Proof{Secret: new(secret.New("11111111-2222-3333-4444-555555555555"))}},
		"half a certificate":       {vault.App{Name: "x", Tenant: "contoso.com", ClientID: "y", Cloud: s.cloud}, vault.Proof{Certificate: &entra.Certificate{Key: s.certificate().Key}}},
		"an app that keeps secret": {vault.App{Name: "m365", Cloud: s.cloud}, vault.Proof{}},
	} {
		if err := s.vault.PutApp(t.Context(), c.app, c.proof); fault.KindOf(err) != fault.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func (s *stand) certificate() entra.Certificate {
	s.Helper()
	c, err := entra.NewCertificate("postern", s.clock(), 90*24*time.Hour)
	s.must(err)
	return c
}

// An app's certificate stands in for the secret, and goes when it is taken away.
func TestAnAppWithACertificate(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	c := s.certificate()
	s.world.UpdateApp(s.app.ClientID, func(a *world.App) { a.Certificate, a.Secret = c.Leaf.Raw, "" })
	app, err := s.vault.App(t.Context(), "m365")
	s.must(err)
	s.must(s.vault.PutApp(t.Context(), app, vault.Proof{Secret: new(secret.New("")), Certificate: &c}))
	s.must(s.put(vault.Application, "", vault.Send))
	s.token(vault.Send, false)
	if kept, err := s.vault.App(t.Context(), "m365"); err != nil || len(kept.Secret) > 0 || len(kept.Key) == 0 || strings.Contains(string(kept.Key), "PRIVATE KEY") {
		t.Errorf("kept %d octets of secret and %d of key: %v", len(kept.Secret), len(kept.Key), err)
	}
	app.Key, app.Certificate = vault.Sealed("nonsense"), nil // what comes from outside is ignored
	s.must(s.vault.PutApp(t.Context(), app, vault.Proof{}))
	s.pass(2 * time.Hour)
	s.token(vault.Send, false)
	s.must(s.vault.PutApp(t.Context(), app, vault.Proof{Certificate: &entra.Certificate{}}))
	s.pass(2 * time.Hour)
	_, err = s.credential(vault.Send, vault.Cached)
	s.wantKind(err, fault.NeedsAdmin)
	s.wantNoSecret("an error", err.Error())
}

// An app whose credential cannot even be read is an administrator's matter. It must
// not look like the caller's mistake: the queue would give its messages up.
func TestABrokenCertificatePauses(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	c := s.certificate()
	app, err := s.vault.App(t.Context(), "m365")
	s.must(err)
	s.must(s.vault.PutApp(t.Context(), app, vault.Proof{Certificate: &c}))
	s.must(s.put(vault.Application, "", vault.Send))
	app, err = s.store.App(t.Context(), "m365")
	s.must(err)
	app.Certificate = []byte("no certificate")
	s.must(s.store.PutApp(t.Context(), app))
	_, err = s.credential(vault.Send, vault.Cached)
	s.wantKind(err, fault.NeedsAdmin)
	s.wantState(vault.NeedsAdmin)
	s.wantAsked(0)
}

// An application's High Volume Email tokens are for another resource than its mail's.
func TestAppOnlyHighVolumeEmail(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.must(s.put(vault.Application, "", vault.HVE, vault.IMAP, vault.Graph))
	for p, want := range map[vault.Purpose]string{vault.HVE: world.ExchangeResource, vault.IMAP: world.Exchange365Resource, vault.Graph: world.GraphResource} {
		c, err := s.credential(p, vault.Cached)
		s.must(err)
		if tok, err := s.world.CheckToken(c.Token.Reveal()); err != nil || tok.Resource != want || !slices.Equal(c.Scopes, []string{want + "/.default"}) {
			t.Errorf("%s: resource %s, scopes %q, %v", p, tok.Resource, c.Scopes, err)
		}
	}
}

// An export holds no passwords, and must be fit for an empty database all the same.
func TestAppPasswordAccountWithoutOneSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.must(s.vault.PutApp(t.Context(), vault.App{Name: "hosts", Cloud: s.cloud}, vault.Proof{}))
	a := s.scan()
	a.Name, a.App, a.Method, a.Purposes = "printer", "hosts", vault.AppPassword, []vault.Purpose{vault.Send}
	for _, given := range []*secret.Text{nil, new(secret.New("  "))} {
		s.must(s.vault.PutAccount(t.Context(), a, given))
		_, err := s.vault.Credential(t.Context(), "printer", vault.Send, vault.Cached)
		s.wantKind(err, fault.NeedsSignIn)
		if !strings.Contains(fault.HintOf(err), "postern accounts password printer") {
			t.Errorf("hint %q", fault.HintOf(err))
		}
	}
	s.must(s.vault.PutAccount(t.Context(), a, new(secret.New("abcd efgh"))))
	c, err := s.vault.Credential(t.Context(), "printer", vault.Send, vault.Cached)
	s.must(err)
	if c.Password.Reveal() != "abcd efgh" {
		t.Error("another password came back")
	}
}
