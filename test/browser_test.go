package test

import (
	"context"
	"database/sql"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	_ "modernc.org/sqlite" // the driver "sqlite"

	"postern/internal/sim365/world"
)

// link makes a one-time address for an account.
func (g *gate) link(account string) string {
	g.t.Helper()
	_, rest, ok := strings.Cut(g.postern("signin", account, "--no-wait"), g.url())
	if !ok {
		g.t.Fatal("signin printed no address")
	}
	path, _, _ := strings.Cut(rest, "\n")
	return g.url() + strings.TrimSpace(path)
}

// begins goes from a one-time link to Microsoft's pages.
func (b *browser) begins(link string) {
	b.t.Helper()
	b.open(link)
	b.sees("Sign in a mailbox")
	b.press("form button")
	b.sees("Enter password")
}

// TestBrowser goes every way a sign-in can go, in a real browser.
func TestBrowser(t *testing.T) {
	t.Parallel()
	chrome := chromium(t)
	g := newGate(t)
	g.start()
	g.apply(g.document("  - {name: fax, account: noauth, password: {env: DEVICE_PASSWORD}}\n"))

	t.Run("one-time link", func(t *testing.T) {
		b := newBrowser(t, chrome)
		link := g.link("scan")
		b.open(link)
		b.says("Sign in a mailbox", "scan@contoso.com", "send mail", "60 minutes from now", "Continue to Microsoft")
		b.look("link")
		b.press("details summary")
		b.says("Sign in a mailbox", "AADSTS50011", g.url()+"/register_microsoft_graph_api/")
		b.look("link-help")
		b.press("form button")
		b.sees("Enter password")
		b.look("microsoft-password")
		b.identify()
		b.says("Permissions requested", "Postern", "SMTP AUTH", "IMAP", "POP")
		b.look("microsoft-consent")
		b.press("#idSIButton9")
		b.says("Signed in", "scan@contoso.com", "postern check scan")
		b.look("signed-in")
		tokens := g.sim.World.Count("token")
		b.do(chromedp.Reload())
		b.says("Signed in", "scan@contoso.com")
		if n := g.sim.World.Count("token"); n != tokens {
			t.Errorf("a reload asked for %d tokens", n-tokens)
		}
		b.content()

		other := newBrowser(t, chrome)
		other.open(link)
		other.says("This link is over", "used already")
		other.look("link-over")
		other.content()
	})

	t.Run("cancelled at consent", func(t *testing.T) {
		b := newBrowser(t, chrome)
		b.begins(g.link("invoices"))
		b.identify()
		b.sees("Permissions requested")
		b.press("#idBtn_Back")
		b.says("Permission was not given", "Nothing was changed.", "AADSTS65004")
		b.look("refused")
		b.press("a.button") // try again
		b.says("Sign in a mailbox", "invoices@contoso.com")
		b.content()
		g.has(t, "invoices", "new")
	})

	t.Run("wrong account", func(t *testing.T) {
		b := newBrowser(t, chrome)
		b.begins(g.link("invoices"))
		b.identifyAs("noauth@contoso.com")
		b.sees("Permissions requested")
		b.press("#idSIButton9")
		b.says("Another account signed in", "noauth@contoso.com", "invoices@contoso.com", "Nothing was changed.", "private window", "shared: true")
		b.look("wrong-account")
		b.do(chromedp.Reload())
		b.says("This sign-in is over")
		b.content()
		g.has(t, "invoices", "new")
	})

	t.Run("unknown state", func(t *testing.T) {
		b := newBrowser(t, chrome)
		b.open(g.url() + "/register_microsoft_graph_api/?code=made-up&state=made-up")
		b.says("This sign-in is over", "Begin again")
		b.look("over")
		b.open(g.url() + "/register_microsoft_graph_api/?code=made-up")
		b.says("Half of this address is missing")
		b.open(g.url() + "/signin/made-up")
		b.says("This link is over")
		b.content()
	})

	t.Run("stolen callback", func(t *testing.T) {
		b := newBrowser(t, chrome)
		b.begins(g.link("invoices"))
		at := result(b, chromedp.Location())
		u, err := url.Parse(at)
		if err != nil || u.Query().Get("state") == "" {
			t.Fatalf("no state in %s: %v", at, err)
		}
		thief := newBrowser(t, chrome)
		thief.open(g.url() + "/register_microsoft_graph_api/?code=made-up&state=" + url.QueryEscape(u.Query().Get("state")))
		thief.says("Another browser began this sign-in", "Nothing was changed.")
		thief.look("other-browser")
		thief.content()
		g.has(t, "invoices", "new")
	})

	t.Run("expired state", func(t *testing.T) {
		b := newBrowser(t, chrome)
		b.begins(g.link("invoices"))
		g.agePendingSignIns(t)
		b.identify()
		b.sees("Permissions requested")
		b.press("#idSIButton9")
		b.says("This sign-in took too long", "Nothing was changed.", "Try again")
		b.look("too-late")
		b.content()
		g.has(t, "invoices", "new")
	})

	t.Run("Microsoft is ill", func(t *testing.T) { microsoftIll(t, g, chrome) })
	t.Run("an administrator must agree", func(t *testing.T) { mustAgree(t, g, chrome) })
	t.Run("device code", func(t *testing.T) { byCode(t, g, chrome) })

	t.Run("accounts page", func(t *testing.T) {
		g.trouble(t)
		if p, err := g.visitor.Get(t.Context(), g.url()+"/accounts"); err != nil || p.Status != http.StatusUnauthorized || strings.Contains(p.HTML, "contoso.com") {
			t.Errorf("without a password: %d %v\n%s", p.Status, err, p.HTML)
		}
		b := g.home(t, chrome)
		b.says("Accounts", "scan@contoso.com", "active", "needs sign-in", "needs an administrator")
		b.look("accounts")
		b.open(g.url() + "/accounts/noauth")
		b.says("noauth", "needs an administrator", "5.7.139")
		b.look("account-needs-admin")
		b.open(g.url() + "/accounts/invoices")
		b.says("invoices", "needs sign-in", "AADSTS50173", "Get refresh token")
		b.look("account-needs-sign-in")
		b.press(`button[data-here]`)
		b.identify()
		waitFor(t, "the browser to come back to the check", func() bool {
			return strings.HasSuffix(result(b, chromedp.Location()), "/check?account=invoices&purpose=send")
		})
		b.open(g.url() + "/accounts/invoices")
		b.says("invoices", "active", "Works.")
		b.content()
		g.has(t, "invoices", "active")
	})
	g.stop()
}

// microsoftIll lets the provider fail at each step where it can.
func microsoftIll(t *testing.T, g *gate, chrome context.Context) {
	g.consented()
	defer g.sim.World.UpdateApp(g.contoso.App.ClientID, func(a *world.App) { clear(a.AdminConsent) })
	for _, c := range []struct {
		name, heading, words string
		fault                world.Fault
	}{
		{"provider-error", "Microsoft has trouble of its own", "AADSTS90033", world.Fault{Where: "authorize", Kind: world.FaultReply, Code: "90033"}},
		{"token-endpoint-ill", "Microsoft has trouble of its own", "503", world.Fault{Where: "token", Kind: world.FaultStatus, Code: "503"}},
		{"token-endpoint-down", "Microsoft could not be reached", "Nothing was changed.", world.Fault{Where: "token", Kind: world.FaultDrop}},
		{"redeemed-twice", "This sign-in was finished already", "AADSTS54005", world.Fault{Where: "token", Kind: world.FaultReply, Code: "54005"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBrowser(t, chrome)
			b.open(g.link("invoices"))
			c.fault.Times = -1
			id := g.sim.World.Arm(c.fault)
			defer g.sim.World.Disarm(id)
			b.press("form button")
			if c.fault.Where == "token" {
				b.identify()
			}
			b.says(c.heading, c.words, "Try again")
			b.look(c.name)
			g.has(t, "invoices", "new")
		})
	}
}

// mustAgree is a tenant whose users may not agree for themselves: one tries, an
// administrator gets a link, and then the user needs nobody any more.
func mustAgree(t *testing.T, g *gate, chrome context.Context) {
	rule := func(on bool) {
		g.sim.World.UpdateTenant(g.contoso.Tenant.ID, func(tenant *world.Tenant) { tenant.Policy.AdminConsentNeeded = on })
	}
	rule(true)
	defer rule(false)
	g.sim.World.UpdateApp(g.contoso.App.ClientID, func(a *world.App) { clear(a.UserConsent) })
	user := newBrowser(t, chrome)
	user.begins(g.link("noauth"))
	user.identify()
	user.sees("Need admin approval")
	user.press(`button[name="answer"]`)
	user.says("An administrator must agree first", "AADSTS90094", "postern consent", "Nothing was changed.")
	user.look("approval")
	g.has(t, "noauth", "new")

	b := g.home(t, chrome)
	b.open(g.url() + "/accounts/noauth")
	b.press(`section[aria-labelledby="signin"] details summary`)
	b.look("account-ways")
	b.press(`form[action="/accounts/noauth/link"] button`)
	b.says("A link for somebody else", "noauth@contoso.com", g.url()+"/signin/")
	b.look("invitation")
	b.open(g.url() + "/accounts/noauth")
	b.press(`section[aria-labelledby="signin"] details summary`)
	b.press(`form[action="/accounts/noauth/consent"] button`)
	b.says("Ask an administrator to agree", "contoso.onmicrosoft.com")
	b.look("invitation-consent")
	link := result(b, chromedp.Text(chromedp.CSS("code.copy")))

	for _, who := range []string{"scan@contoso.com", "admin@contoso.com"} {
		admin := newBrowser(t, chrome)
		admin.open(link)
		admin.says("Agree for your organisation", "An administrator of contoso.onmicrosoft.com", "noauth@contoso.com")
		admin.look("link-consent")
		admin.press("form button")
		admin.sees("Sign in")
		admin.fill("#i0116", who)
		admin.press("#idSIButton9")
		admin.identify()
		if who != "admin@contoso.com" {
			admin.sees("Need admin approval")
			admin.press(`button[name="answer"]`)
			admin.says("An administrator must agree first")
			link = result(admin, chromedp.AttributeValue(chromedp.CSS("a.button"), "href")).Value
			continue
		}
		admin.sees("Permissions requested")
		admin.press("#idSIButton9")
		admin.says("Agreed for the organisation", "noauth", "postern signin noauth")
		admin.look("consented")
		admin.do(chromedp.Reload())
		admin.says("Agreed for the organisation")
		admin.content()
	}
	user.press("a.button")
	user.sees("Sign in a mailbox")
	user.press("form button")
	user.says("Signed in", "noauth@contoso.com")
	b.content()
	user.content()
}

// byCode signs in with one browser that shows a code and another that it is typed in.
func byCode(t *testing.T, g *gate, chrome context.Context) {
	b := g.home(t, chrome)
	code := func() (page, typed string) {
		b.open(g.url() + "/accounts/invoices")
		b.press(`section[aria-labelledby="signin"] details summary`)
		b.press(`form[action="/accounts/invoices/device"] button`)
		b.says("Sign in by code", "invoices@contoso.com", "15 minutes")
		return result(b, chromedp.Text(chromedp.CSS(".steps a"))), result(b, chromedp.Text(chromedp.CSS(".code")))
	}
	answers := func(who, button string) {
		page, typed := code()
		other := newBrowser(t, chrome)
		other.open(page)
		other.fill("#otc", typed)
		other.press("#idSIButton9")
		other.sees("Sign in")
		other.fill("#i0116", who)
		other.press("#idSIButton9")
		other.identify()
		other.sees("Are you trying to sign in to Postern?")
		other.press(chromedp.CSS(button))
		other.sees("Postern") // the end of it
		other.content()
	}
	code()
	b.press(`p.small a`)
	b.says("Sign in by code", "This page stands still.")
	b.press("details summary")
	b.look("device")
	b.press("form button")
	b.says("invoices", "given up")

	answers("invoices@contoso.com", "#idBtn_Back")
	b.says("Permission was not given", "Nothing was changed.", "Back")
	b.look("device-declined")
	answers("scan@contoso.com", "#idSIButton9")
	b.says("Another account signed in", "scan@contoso.com", "Nothing was changed.")
	g.has(t, "invoices", "new")
	answers("invoices@contoso.com", "#idSIButton9")
	b.says("Signed in", "invoices@contoso.com", "Check the connection")
	b.look("device-done")
	b.do(chromedp.Reload())
	b.says("Signed in")
	b.content()
}

// home opens the accounts page with a new password.
func (g *gate) home(t *testing.T, chrome context.Context) *browser {
	t.Helper()
	password := g.adminPassword() // without a user, the login leads to the set-up
	b := newBrowser(t, chrome)
	b.open(g.url() + "/login?back=%2Faccounts")
	b.fill("#f-name", "admin")
	b.fill("#f-password", password)
	b.press("main button")
	b.sees("Accounts")
	return b
}

// has wants an account to be in a state, and nothing stored for a new one.
func (g *gate) has(t *testing.T, account, state string) {
	t.Helper()
	list := g.postern("accounts", "list")
	for line := range strings.Lines(list) {
		if f := strings.Fields(line); len(f) > 3 && f[0] == account {
			if f[3] != state {
				t.Errorf("%s is %s, want %s", account, f[3], state)
			}
			var grants int
			if err := g.database(t).QueryRowContext(t.Context(), `SELECT count(*) FROM grants WHERE account = ?`, account).Scan(&grants); err != nil {
				t.Fatal(err)
			}
			if state == "new" && grants != 0 {
				t.Errorf("%s has a grant although no sign-in was good", account)
			}
			return
		}
	}
	t.Errorf("no account %s:\n%s", account, list)
}

// agePendingSignIns lets the time of all sign-ins under way run out.
func (g *gate) agePendingSignIns(t *testing.T) {
	t.Helper()
	if _, err := g.database(t).ExecContext(t.Context(), `UPDATE sign_ins SET expires = ?`, time.Now().Add(-time.Second).UnixMilli()); err != nil {
		t.Fatal(err)
	}
}

// database opens the gate's SQLite file beside it.
func (g *gate) database(t *testing.T) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(g.dataDir(), "postern.db")+"?_pragma=busy_timeout(5000)")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// trouble brings one account to where it needs a sign-in and one to where it needs
// an administrator.
func (g *gate) trouble(t *testing.T) {
	t.Helper()
	g.signIn("invoices", "invoices@contoso.com")
	g.signIn("noauth", "noauth@contoso.com")
	g.sim.World.RevokeSessions("invoices@contoso.com")
	newest := time.Now()
	waitFor(t, "the tokens to be a few seconds old", func() bool { return time.Since(newest) > 3*time.Second })
	if _, _, code := g.try("", "check", "invoices", "--for", "imap"); code != 3 {
		t.Errorf("the check of a revoked sign-in ended with %d", code)
	}
	c, err := g.loginAs("fax", g.doorTLS())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := submit(c, "noauth@contoso.com", "a@elsewhere.example", simpleMail("noauth@contoso.com", "a@elsewhere.example", "fax", "<fax@test.example>")); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "noauth to be paused", func() bool { return strings.Contains(g.postern("accounts", "list"), "needs_admin") })
}
