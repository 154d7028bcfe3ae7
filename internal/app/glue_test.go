package app

import (
	"context"
	"log/slog"
	"strings"
	"testing"

	"postern/internal/config"
	"postern/internal/entra"
	"postern/internal/fault"
	"postern/internal/fetch"
	"postern/internal/mail"
	"postern/internal/relay"
	"postern/internal/secret"
	"postern/internal/sim365"
	"postern/internal/sim365/world"
	"postern/internal/vault"
)

const appPassword = "abcdefghijklmnop"

// stand is Postern, not serving, in front of the simulated Microsoft 365.
type stand struct {
	*testing.T
	*App
	sim *sim365.Sim
}

func newStand(t *testing.T) *stand {
	t.Helper()
	sim, err := sim365.Start(t.Context(), sim365.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sim.Stop)
	contoso := sim.Contoso("http://localhost:9090/register_microsoft_graph_api/")
	sim.World.UpdateApp(contoso.App.ClientID, func(a *world.App) { a.AdminConsent[contoso.Tenant.ID] = true })
	sim.World.UpdateTenant("contoso.com", func(t *world.Tenant) { t.Policy.AppPasswords = true })
	sim.World.UpdateUser("invoices@contoso.com", func(u *world.User) { u.AppPassword = appPassword })

	cfg, err := config.Load("", func(string) (string, bool) { return "", false }, map[string]string{"data_dir": t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	a, err := Open(t.Context(), cfg, Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close() })
	s := &stand{t, a, sim}
	cloud, err := entra.CloudByName("global")
	s.must(err)
	cloud.Name, cloud.Authority, cloud.CA = entra.Custom, sim.Authority(), sim.CAPEM()
	cloud.SMTP, cloud.HVE, cloud.IMAP = sim.SMTP(), sim.HVE(), sim.IMAP()
	s.must(a.Vault.PutApp(t.Context(), vault.App{Name: "contoso", Tenant: "contoso.com", ClientID: contoso.App.ClientID, Cloud: cloud},
		vault.Proof{Secret: new(secret.New(contoso.App.Secret))}))
	s.must(a.Vault.PutApp(t.Context(), vault.App{Name: "hosts", Cloud: cloud}, vault.Proof{}))
	return s
}

func (s *stand) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// offerPOP3 lets accounts be read over POP3 too.
func (s *stand) offerPOP3() {
	s.Helper()
	reg, err := s.Vault.App(s.Context(), "contoso")
	s.must(err)
	reg.Cloud.POP3 = s.sim.POP3()
	s.must(s.Vault.PutApp(s.Context(), reg, vault.Proof{}))
}

// put makes an account; a password of "" is none.
func (s *stand) put(app, mailbox string, m vault.Method, clear string, purposes ...vault.Purpose) {
	s.Helper()
	address, err := mail.ParseAddress(mailbox + "@contoso.com")
	s.must(err)
	var password *secret.Text
	if clear != "" {
		password = new(secret.New(clear))
	}
	s.must(s.Vault.PutAccount(s.Context(), vault.Account{Name: mailbox, App: app, Mailbox: address, Method: m, Purposes: purposes}, password))
}

// send signs in as the relay would.
func (s *stand) send(account string) error {
	sender := &relay.SMTP{Routes: routes{s.App}, Tokens: tokens{s.Vault}, HelloName: "gate.example"}
	up, err := sender.Open(s.Context(), account)
	if err == nil {
		return up.Close(s.Context())
	}
	return err
}

func (s *stand) fetch(account string) error {
	source, err := sources{s.App, &seats{}}.Open(s.Context(), account, fetch.IMAP)
	if err == nil {
		return source.Close()
	}
	return err
}

func (s *stand) wantLogins(want map[string]int) {
	s.Helper()
	for what, n := range want {
		if got := s.sim.World.Count(what); got != n {
			s.Errorf("%s: %d, want %d", what, got, n)
		}
	}
}

func TestEveryMethodSigns(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.put("contoso", "scan", vault.Application, "", vault.Send, vault.IMAP)
	s.put("contoso", "hve", vault.Password, sim365.Password, vault.HVE)
	s.put("hosts", "invoices", vault.AppPassword, appPassword, vault.Send)
	for _, account := range []string{"scan", "hve", "invoices"} {
		if err := s.send(account); err != nil {
			t.Errorf("%s: %v", account, err)
		}
	}
	s.must(s.fetch("scan"))
	s.wantLogins(map[string]int{"smtp_auth": 2, "hve_auth": 1, "imap_auth": 1})
	for _, account := range []string{"hve", "invoices"} {
		if err := s.fetch(account); fault.KindOf(err) != fault.NeedsAdmin || fault.HintOf(err) == "" {
			t.Errorf("%s fetches: %v", account, err)
		}
	}
}

// One server's refusal of a password keeps it from every server.
func TestARefusedAppPasswordIsTriedOnce(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.put("hosts", "invoices", vault.AppPassword, "not-the-password", vault.Send, vault.IMAP)
	for round := range 3 {
		err := s.fetch("invoices")
		if fault.KindOf(err) != fault.NeedsSignIn || strings.Contains(err.Error(), "not-the-password") {
			t.Errorf("fetch: %v", err)
		}
		if asked := fault.ReplyOf(err) != nil; asked != (round == 0) {
			t.Errorf("round %d: the server was asked: %t", round, asked)
		}
		if err := s.send("invoices"); fault.KindOf(err) != fault.NeedsSignIn {
			t.Errorf("send: %v", err)
		}
	}
	s.wantLogins(map[string]int{"smtp_auth": 0, "smtp_auth_refused": 0})
	if a, err := s.Vault.Account(t.Context(), "invoices"); err != nil || a.State != vault.NeedsSignIn || a.By != vault.Server {
		t.Errorf("state %s by %s, %v", a.State, a.By, err)
	}
}

// A token that IMAP refuses is replaced once; then the tasks stay away for a while,
// and the account goes on sending.
func TestARefusedTokenKeepsTasksAway(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.put("contoso", "scan", vault.Application, "", vault.Send, vault.IMAP)
	s.must(s.send("scan"))
	s.sim.World.Arm(world.Fault{Where: "imap", Stage: "auth", Kind: world.FaultReply, Code: "NO AUTHENTICATE failed.", Times: 2})
	err := s.fetch("scan")
	if e := fault.As(err); e == nil || e.Kind != fault.NeedsSignIn || e.RetryAfter != leaveAlone {
		t.Errorf("fetch: %v", err)
	}
	s.must(s.send("scan"))
	s.must(s.fetch("scan"))
}

// What the relay hears and says of accounts.
func TestTheRelaysView(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.put("contoso", "scan", vault.Delegated, "", vault.Send)
	s.put("contoso", "hve", vault.Password, sim365.Password, vault.HVE)
	view := accounts{s.App}
	paused := func(want ...string) {
		t.Helper()
		got, err := view.Paused(context.Background())
		if err != nil || strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("paused are %q, %v; want %q", got, err, want)
		}
	}
	paused("scan") // nobody has signed in
	s.must(view.Pause(t.Context(), "hve", fault.NeedsAdmin, "smtp AUTH: 535 5.7.139"))
	paused("hve", "scan")
	s.must(view.Working(t.Context(), "hve"))
	paused("scan")
	if a, err := s.Vault.Account(t.Context(), "hve"); err != nil || a.State != vault.Active || a.By != vault.Server {
		t.Errorf("state %s by %s, %v", a.State, a.By, err)
	}
}
