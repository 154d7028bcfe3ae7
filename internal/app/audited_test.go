package app

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/internal/alert"
	"postern/internal/declare"
	"postern/internal/door"
	"postern/internal/fault"
	"postern/internal/fetch"
	"postern/internal/mail"
	"postern/internal/people"
	"postern/internal/relay"
	"postern/internal/secret"
	"postern/internal/vault"
)

// furnish gives the stand one of everything.
func (s *stand) furnish() {
	s.Helper()
	ctx := s.Context()
	s.put("hosts", "invoices", vault.AppPassword, appPassword, vault.Send)
	s.put("hosts", "spare", vault.AppPassword, appPassword, vault.Send)
	s.must(s.Store.PutDevice(ctx, door.Device{Name: "printer", Account: "invoices", PasswordHash: "a-hash"}))
	s.must(s.Store.PutTask(ctx, fetch.Task{Name: "bills", Account: "invoices"}))
	s.must(s.Store.PutAlertRoute(ctx, alert.Route{Name: "admins", Account: "invoices", To: []mail.Address{{Local: "a", Domain: "contoso.com"}}}))
}

// queue puts a message of the account invoices there.
func (s *stand) queue() string {
	s.Helper()
	box := mail.Address{Local: "invoices", Domain: "contoso.com"}
	id, err := s.Relay.Accept(s.Context(), relay.Submission{Device: "printer", Account: "invoices", From: box, To: []mail.Address{box}, Senders: []mail.Address{box}}, strings.NewReader("Subject: s\r\n\r\nx\r\n"))
	s.must(err)
	return id
}

// TestEveryChangeIsWrittenDown with who made it and what was before and after, and without
// a secret.
func TestEveryChangeIsWrittenDown(t *testing.T) {
	t.Parallel()
	const who, fresh = "cli:jane", "zyxwvutsrqponmlk"
	ignore := func(_ any, err error) error { return err }
	for name, c := range map[string]struct {
		do            func(s *stand) error
		before, after string // part of them; "-" is that there is none
	}{
		"pause":    {func(s *stand) error { return s.HoldAccount(s.Context(), who, "invoices", true) }, `"held":false`, `"held":true`},
		"rename":   {func(s *stand) error { return s.RenameAccount(s.Context(), who, "invoices", "bills") }, `"name":"invoices"`, `"name":"bills"`},
		"password": {func(s *stand) error { return s.EnterPassword(s.Context(), who, "invoices", secret.New(fresh)) }, `"password":"[redacted]"`, `"password":"[redacted]"`},
		"secret": {func(s *stand) error {
			return s.EnterSecret(s.Context(), who, "contoso", secret.New("abc8Q~not-a-real-secret-000000000000000"), time.Time{})
		}, `"secret":"[redacted]"`, `"secret":"[redacted]"`},
		"sign-in": {func(s *stand) error {
			return s.SignedIn(s.Context(), who, vault.Result{SignedInAs: "jane@contoso.com"})
		}, "-", `"signed_in_as":"jane@contoso.com"`},
		"disconnect":      {func(s *stand) error { return s.Disconnect(s.Context(), who, "invoices") }, `"password":"[redacted]"`, `"password":`},
		"delete account":  {func(s *stand) error { return s.DeleteAccount(s.Context(), who, "spare") }, `"mailbox":"spare@contoso.com"`, "-"},
		"delete app":      {func(s *stand) error { return s.DeleteApp(s.Context(), who, "contoso") }, `"name":"contoso"`, "-"},
		"simulate":        {func(s *stand) error { return s.Simulate(s.Context(), who, "invoices", true) }, "-", `"simulate":true`},
		"device password": {func(s *stand) error { return ignore(s.NewDevicePassword(s.Context(), who, "printer")) }, `"password":"[redacted]"`, `"password":"[redacted]"`},
		"switch device":   {func(s *stand) error { return s.SwitchDevice(s.Context(), who, "printer", false) }, "-", `"disabled":true`},
		"delete device":   {func(s *stand) error { return s.DeleteDevice(s.Context(), who, "printer") }, `"account":"invoices"`, "-"},
		"delete route":    {func(s *stand) error { return s.DeleteAlertRoute(s.Context(), who, "admins") }, `"account":"invoices"`, "-"},
		"new token": {func(s *stand) error {
			return ignore(s.NewToken(s.Context(), who, "erp", "printer", []door.Scope{door.MaySend}))
		}, "-", `"scopes":["send"]`},
		"revoke token": {func(s *stand) error {
			_, err := s.NewToken(s.Context(), "somebody", "erp", "printer", []door.Scope{door.MaySend})
			s.must(err)
			return s.RevokeToken(s.Context(), who, "erp")
		}, `"scopes":["send"]`, "-"},
		"apply": {func(s *stand) error {
			return ignore(s.ApplyAs(s.Context(), who, declare.Document{Devices: []declare.Device{{Name: "printer", Account: "spare"}}}))
		}, `"account":"invoices"`, `"account":"spare"`},
		"hold":        {func(s *stand) error { return s.Operator().Do(s.Context(), who, relay.Hold, s.queue()) }, `"state":"queued"`, `"state":"held"`},
		"delete mail": {func(s *stand) error { return s.Operator().Do(s.Context(), who, relay.Delete, s.queue()) }, `"state":"queued"`, "-"},
		"run task":    {func(s *stand) error { return s.FetchOperator().Run(s.Context(), who, "bills") }, "-", `"run"`},
		"delete task": {func(s *stand) error { return s.FetchOperator().Delete(s.Context(), who, "bills") }, `"account":"invoices"`, "-"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStand(t)
			s.furnish()
			s.must(c.do(s))
			lines, err := s.Store.Audits(t.Context(), people.Lines{Who: who})
			s.must(err)
			if len(lines) != 1 {
				t.Fatalf("%d lines of %s", len(lines), who)
			}
			for _, side := range []struct{ name, want, got string }{{"before", c.before, string(lines[0].Before)}, {"after", c.after, string(lines[0].After)}} {
				if side.want == "-" && side.got != "" || side.want != "-" && !strings.Contains(side.got, side.want) {
					t.Errorf("%s it was %q, want %q", side.name, side.got, side.want)
				}
				for _, hidden := range []string{appPassword, fresh, "a-hash", "not-a-real-secret"} {
					if strings.Contains(side.got, hidden) {
						t.Errorf("%s tells the secret %q", side.name, hidden)
					}
				}
			}
		})
	}
}

// TestLinksAreWrittenDown with who made and who used them, and without what opens them.
func TestLinksAreWrittenDown(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	ctx := t.Context()
	s.put("contoso", "scan", vault.Delegated, "", vault.Send)
	var wrote, keys []string
	for _, consent := range []bool{false, true} {
		address, err := s.NewLink(ctx, "cli:jane", "scan", consent)
		s.must(err)
		key := address[strings.LastIndex(address, "/")+1:]
		_, err = s.OpenLink(ctx, "browser:192.0.2.7", key)
		s.must(err)
		if _, err := s.OpenLink(ctx, "browser:192.0.2.8", key); !errors.Is(err, fault.NotFound) {
			t.Errorf("twice: %v", err)
		}
		keys = append(keys, key)
	}
	if _, err := s.NewLink(ctx, "cli:jane", "nobody", false); !errors.Is(err, fault.NotFound) {
		t.Errorf("of nobody: %v", err)
	}
	lines, err := s.Store.Audits(ctx, people.Lines{})
	s.must(err)
	for _, l := range lines {
		wrote = append(wrote, l.Who+" "+l.What+" "+l.Subject)
		for _, key := range keys {
			if text := fmt.Sprintf("%+v", l); strings.Contains(text, key) {
				t.Errorf("%s tells the key", text)
			}
		}
	}
	slices.Sort(wrote)
	if want := []string{
		"browser:192.0.2.7 use consent link scan", "browser:192.0.2.7 use sign-in link scan",
		"cli:jane make consent link scan", "cli:jane make sign-in link scan",
	}; !slices.Equal(wrote, want) {
		t.Errorf("written down: %q", wrote)
	}
}

// TestRenamedAccount works on with its sealed password and tokens, and so do those who
// name it; nobody else gets its old name.
func TestRenamedAccount(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	ctx := t.Context()
	s.furnish()
	s.put("contoso", "scan", vault.Application, "", vault.Send)
	s.must(s.send("scan"))
	s.must(s.send("invoices"))
	id, asked := s.queue(), s.sim.World.Count("token")
	s.must(s.RenameAccount(ctx, "cli:jane", "invoices", "bills"))
	s.must(s.RenameAccount(ctx, "cli:jane", "scan", "scanner"))
	s.must(s.send("bills"))
	s.must(s.send("scanner"))
	if n := s.sim.World.Count("token"); n != asked {
		t.Errorf("the kept token was not good any more: %d were asked for", n-asked)
	}
	d, err := s.Store.Device(ctx, "printer")
	s.must(err)
	task, err := s.Store.Task(ctx, "bills")
	s.must(err)
	route, err := s.Store.AlertRoute(ctx, "admins")
	s.must(err)
	m, err := s.Store.Message(ctx, id)
	s.must(err)
	for what, account := range map[string]string{"device": d.Account, "task": task.Account, "route": route.Account, "message": m.Account} {
		if account != "bills" {
			t.Errorf("the %s names %q", what, account)
		}
	}
	again := declare.Document{Accounts: []declare.Account{{Name: "invoices", App: "hosts", Mailbox: "invoices@contoso.com", SignIn: "app_password", Purposes: []string{"send"}}}}
	if _, err := s.ApplyAs(ctx, "cli:jane", again); err == nil || !strings.Contains(err.Error(), `called "bills" now`) {
		t.Errorf("a file with the old name: %v", err)
	}
	if err := s.RenameAccount(ctx, "cli:jane", "spare", "invoices"); err == nil {
		t.Error("another account got the old name")
	}
	s.must(s.RenameAccount(ctx, "cli:jane", "bills", "invoices"))
	s.must(s.send("invoices"))
}

// TestPausedByHand gives nothing to those who send and fetch, and all to a check; a file
// does not lift it.
func TestPausedByHand(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	ctx := t.Context()
	s.put("hosts", "invoices", vault.AppPassword, appPassword, vault.Send)
	s.must(s.HoldAccount(ctx, "cli:jane", "invoices", true))
	if err := s.send("invoices"); err == nil || !strings.Contains(err.Error(), "paused") {
		t.Errorf("it sends: %v", err)
	}
	if paused, err := (accounts{s.App}).Paused(ctx); err != nil || len(paused) != 1 {
		t.Errorf("the queue goes on: %v, %v", paused, err)
	}
	if r, err := s.CheckAccount(ctx, "invoices", "", mail.Address{}); err != nil || !r.OK {
		t.Errorf("the check: %s, %v", r.Headline, err)
	}
	s.put("hosts", "invoices", vault.AppPassword, appPassword, vault.Send)
	if acct, err := s.Vault.Account(ctx, "invoices"); err != nil || !acct.Held {
		t.Errorf("a change of settings lifted it: %v", err)
	}
	s.must(s.HoldAccount(ctx, "cli:jane", "invoices", false))
	s.must(s.send("invoices"))
}
