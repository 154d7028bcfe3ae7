package test

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/internal/entra"
	"postern/internal/sim365"
	"postern/internal/sim365/world"
)

// checked is what `postern check --json` says of one purpose.
type checked struct {
	Account, Purpose, Headline string
	OK                         bool
	Stages                     []checkedStage
}

type checkedStage struct{ Name, Status, Summary, Next, Who, Command, Link string }

func (c checked) stage(t *testing.T, name string) (status, summary string) {
	t.Helper()
	for _, s := range c.Stages {
		if s.Name == name {
			return s.Status, s.Summary
		}
	}
	t.Fatalf("the check of %s for %s has no stage %s: %+v", c.Account, c.Purpose, name, c.Stages)
	return "", ""
}

// failed is the stage that did.
func (c checked) failed(t *testing.T) checkedStage {
	t.Helper()
	for _, s := range c.Stages {
		if s.Status == "fail" {
			return s
		}
	}
	t.Fatalf("nothing failed: %+v", c)
	return checkedStage{}
}

// check runs it and wants an exit code that fits what it says.
func (g *gate) check(account, purpose string) checked {
	g.t.Helper()
	out, errOut, code := g.try("", "check", account, "--for", purpose, "--json")
	var reports []checked
	if err := json.Unmarshal([]byte(out), &reports); err != nil || len(reports) != 1 {
		g.t.Fatalf("check %s --for %s: exit %d, %v\n%s%s", account, purpose, code, err, out, errOut)
	}
	if want := map[bool]int{true: 0, false: 3}[reports[0].OK]; code != want {
		g.t.Errorf("check %s --for %s: exit %d, want %d\n%s", account, purpose, code, want, out)
	}
	g.silent("check "+account, out+errOut)
	return reports[0]
}

// certified adds an app that proves itself by a certificate, with an account.
func (g *gate) certified(doc string) string {
	g.t.Helper()
	c, err := entra.NewCertificate("Postern", time.Now(), 90*24*time.Hour)
	if err != nil {
		g.t.Fatal(err)
	}
	leaf, key := c.PEM()
	writeFile(g.t, filepath.Join(g.dir, "app.pem"), []byte(leaf))
	if err := os.WriteFile(filepath.Join(g.dir, "app.key"), []byte(key.Reveal()), 0o600); err != nil {
		g.t.Fatal(err)
	}
	g.sim.World.UpdateApp(g.contoso.App.ClientID, func(a *world.App) { a.Certificate = c.Leaf.Raw })
	head, accounts, _ := strings.Cut(doc, "accounts:\n")
	_, second, _ := strings.Cut(head, "apps:\n")
	second = strings.Replace(second, "name: contoso\n", "name: certified\n", 1)
	second = strings.Replace(second, "secret: {env: CONTOSO_SECRET}", "certificate: {file: app.pem}\n    certificate_key: {file: app.key}", 1)
	return head + second + "accounts:\n  - {name: signed, app: certified, mailbox: invoices@contoso.com, purposes: [send], sign_in: application}\n" +
		"  - {name: modern, app: contoso, mailbox: scan@contoso.com, purposes: [graph], sign_in: delegated}\n" + accounts
}

// TestCheckEveryMethod checks an account of each, before and after it can work.
func TestCheckEveryMethod(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	g.consented()
	g.start()
	g.apply(g.certified(g.identities()))
	for account, want := range map[string]string{"scan send": "token", "bulk hve": "token", "modern graph": "token"} {
		name, purpose, _ := strings.Cut(account, " ")
		if r := g.check(name, purpose); r.OK || !strings.HasPrefix(r.Headline, want+" failed: ") {
			t.Errorf("%s, before anybody signed in: %s", account, r.Headline)
		}
	}
	const appPassword = "abcd-efgh-ijkl-mnop"
	g.sim.World.UpdateUser("noauth@contoso.com", func(u *world.User) { u.AppPassword = appPassword })
	g.sim.World.UpdateTenant("contoso.com", func(x *world.Tenant) { x.Policy.AppPasswords = true })
	for account, password := range map[string]string{"bulk": sim365.Password, "old": appPassword} {
		if _, errOut, code := g.try(password+"\n", "accounts", "password", account); code != 0 {
			t.Fatalf("password of %s: %s", account, errOut)
		}
	}
	g.signIn("scan", "scan@contoso.com")
	g.signIn("modern", "scan@contoso.com")

	for _, c := range []struct{ account, purpose, stage, says string }{
		{"scan", "send", "token", "with the client secret"}, {"scan", "imap", "mailbox", "INBOX of scan@contoso.com opens"}, {"scan", "pop3", "mailbox", "opens"},
		{"machine", "send", "token", "with the client secret"}, {"machine", "imap", "mailbox", "INBOX of invoices@contoso.com"},
		{"signed", "send", "token", "with the certificate "}, {"bulk", "hve", "sender", "takes hve@contoso.com as the sender"},
		{"modern", "graph", "token content", "for this service, tenant, app and mailbox"},
	} {
		r := g.check(c.account, c.purpose)
		if _, says := r.stage(t, c.stage); !r.OK || !strings.Contains(says, c.says) {
			t.Errorf("check %s --for %s: %s\n%s: %s", c.account, c.purpose, r.Headline, c.stage, says)
		}
		if status, says := r.stage(t, "clock"); status != "ok" || !strings.Contains(says, "agrees with localhost") {
			t.Errorf("check %s: clock: %s %s", c.account, status, says)
		}
	}
	_, until := g.check("signed", "send").stage(t, "token")
	if end := time.Now().UTC().AddDate(0, 0, 90).Format("2006-01"); !strings.Contains(until, "which ends on "+end) {
		t.Errorf("the certificate's end: %s", until)
	}
	if status, says := g.check("modern", "graph").stage(t, "mailbox"); status != "skipped" || !strings.Contains(says, "after a first message") {
		t.Errorf("Graph's mailbox: %s %s", status, says)
	}
	r := g.check("old", "send") // its mailbox has SMTP AUTH switched off
	if r.OK || !strings.HasPrefix(r.Headline, "sign-in failed: ") {
		t.Errorf("app password, switched off: %s", r.Headline)
	}
	if s := r.failed(t); s.Who != "tenant_admin" || !strings.Contains(s.Command, "'noauth@contoso.com'") {
		t.Errorf("what is to be done: %+v", s)
	}
	g.sim.World.SetPolicy("noauth@contoso.com", func(p *world.MailboxPolicy) { p.SMTPAuthDisabled = new(false) })
	r = g.check("old", "send")
	if status, _ := r.stage(t, "token content"); !r.OK || status != "skipped" {
		t.Errorf("app password: %s %+v", r.Headline, r.Stages)
	}
	if out := g.postern("check", "old"); strings.Contains(out, appPassword) || !strings.Contains(out, "Connection successful") {
		t.Errorf("check old:\n%s", out)
	}
	g.stop()
}

// TestCheckAsksThoughPaused wants a person's check to find out that what was wrong is
// mended, at once.
func TestCheckAsksThoughPaused(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	g.consented()
	g.apply(g.identities())
	g.sim.World.UpdateApp(g.contoso.App.ClientID, func(a *world.App) { a.SecretExpired = true })
	r := g.check("machine", "send")
	if s := r.failed(t); s.Name != "token" || s.Who != "operator" || !strings.Contains(s.Link, g.contoso.App.ClientID) {
		t.Errorf("an expired secret: %+v", s)
	}
	g.sim.World.UpdateApp(g.contoso.App.ClientID, func(a *world.App) { a.SecretExpired = false })
	if r := g.check("machine", "send"); !r.OK {
		t.Errorf("after it was mended: %s", r.Headline)
	}
}

// TestACheckLiftsWhatAServerPaused has mail wait for a switch, and go on when a person
// has flipped it and checks.
func TestACheckLiftsWhatAServerPaused(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	g.unlimited("noauth@contoso.com")
	g.setUp("  - {name: fax, account: noauth, password: {env: DEVICE_PASSWORD}}\n")
	c, err := g.loginAs("fax", g.doorTLS())
	if err != nil {
		t.Fatal(err)
	}
	raw := simpleMail("noauth@contoso.com", "them@elsewhere.example", "waits", "<waits@test.example>")
	if err := submit(c, "noauth@contoso.com", "them@elsewhere.example", raw); err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	state := func() any {
		rows := g.list(3, "accounts", "list")
		return rows[slices.IndexFunc(rows, func(r map[string]any) bool { return r["name"] == "noauth" })]["state"]
	}
	waitFor(t, "the pause", func() bool { return state() == "needs_admin" })
	if r := g.check("noauth", "send"); r.OK || state() != "needs_admin" {
		t.Errorf("nothing was mended yet: %s, %v", r.Headline, state())
	}
	g.sim.World.SetPolicy("noauth@contoso.com", func(p *world.MailboxPolicy) { p.SMTPAuthDisabled = new(false) })
	if r := g.check("noauth", "send"); !r.OK || state() != "active" {
		t.Errorf("after it was mended: %s, %v", r.Headline, state())
	}
	waitFor(t, "the message that waited", func() bool { return len(g.queue("--state", "delivered")) == 1 })
	g.stop()
}

// networked is what `postern check --network --json` says of one cloud.
type networked struct {
	Cloud, Headline string
	OK              bool
	Clock           struct{ Status, Summary string }
	Hosts           []networkedHost
}

type networkedHost struct {
	Host, For, Status, Summary, Next string
	Port                             int
	Required                         bool
	NeededBy                         string `json:"needed_by"`
	Stages                           []checkedStage
}

// network runs the check of one custom cloud.
func (g *gate) network(code int, args ...string) networked {
	g.t.Helper()
	out, errOut, got := g.try("", append([]string{"check", "--network", "--json"}, args...)...)
	var reports []networked
	if err := json.Unmarshal([]byte(out), &reports); err != nil || len(reports) != 1 {
		g.t.Fatalf("check --network: exit %d, %v\n%s%s", got, err, out, errOut)
	}
	if r := reports[0]; got != code || r.OK != (code == 0) {
		g.t.Fatalf("check --network: exit %d, want %d: %s\n%s", got, code, r.Headline, out)
	}
	return reports[0]
}

// TestCheckTheNetwork tries the simulator's hosts: all there, one down, one with another
// authority's certificate.
func TestCheckTheNetwork(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	g.apply(g.document(""))
	r := g.network(0)
	if r.Cloud != "custom, app contoso" || r.Clock.Status != "ok" || len(r.Hosts) != 5 {
		t.Errorf("%+v", r)
	}
	for _, h := range r.Hosts {
		if h.Host != "localhost" || h.Status != "ok" || h.NeededBy != "machine" || len(h.Stages) != 4 || h.Required == (h.For == "Graph") {
			t.Errorf("%+v", h)
		}
	}
	out := g.postern("check", "--network", "contoso")
	if strings.Count(out, "ok       required") != 4 || strings.Count(out, "ok       optional") != 1 || !strings.Contains(out, "Every host that is needed works") {
		t.Errorf("in words:\n%s", out)
	}

	doc := strings.Replace(g.document(""), fmt.Sprintf("pop3: {host: localhost, port: %d", g.sim.POP3().Port), "pop3: {host: localhost, port: "+port(freeAddress(t)), 1)
	g.apply(doc)
	r = g.network(3, "contoso")
	for _, h := range r.Hosts {
		down := strings.Contains(h.For, "POP3")
		if (h.Status == "fail") != down || down && (!strings.HasPrefix(h.Summary, "tcp: ") || !strings.Contains(h.Next, "firewall") || !strings.Contains(r.Headline, fmt.Sprintf("localhost:%d", h.Port))) {
			t.Errorf("one that is down: %s: %+v", r.Headline, h)
		}
	}
	if out, _, code := g.try("", "check", "--network"); code != 3 || !strings.Contains(out, "fail     required  localhost:") {
		t.Errorf("one that is down, in words: exit %d\n%s", code, out)
	}

	writeFile(t, filepath.Join(g.dir, "other.pem"), newTestCA(t).root)
	g.apply(strings.Replace(g.document(""), filepath.Join(g.dir, "ca.pem"), filepath.Join(g.dir, "other.pem"), 1))
	for _, h := range g.network(3).Hosts {
		if h.Status != "fail" || !strings.Contains(h.Summary, "issued by Postern simulator CA, which is not trusted here") {
			t.Errorf("another authority's certificate: %+v", h)
		}
	}
}

// TestCheckTheNetworkClock measures a sign-in host whose clock is seven minutes on.
func TestCheckTheNetworkClock(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	ahead := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Date", time.Now().Add(7*time.Minute).UTC().Format(http.TimeFormat))
		_, _ = io.WriteString(w, `{"token_endpoint":"https://example.com/token"}`)
	}))
	t.Cleanup(ahead.Close)
	writeFile(t, filepath.Join(g.dir, "ahead.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ahead.Certificate().Raw}))
	doc := fmt.Sprintf("apps:\n  - {name: lab, tenant: contoso.com, client_id: %s, cloud: custom, custom: {authority: %q, ca: {file: ahead.pem}}}\n", g.contoso.App.ClientID, ahead.URL)
	g.apply(doc)
	if r := g.network(3); r.Clock.Status != "fail" || !strings.Contains(r.Headline, "clock is 7 minutes behind that of 127.0.0.1") {
		t.Errorf("%+v", r)
	}
}

// TestCheckTheNetworkThroughAProxy has one that refuses; the names behind it are known
// to nobody else.
func TestCheckTheNetworkThroughAProxy(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	t.Cleanup(refusing.Close)
	const password = "proxy-Pa55word"
	g.env = append(g.env, "POSTERN_PROXY="+strings.Replace(refusing.URL, "http://", "http://postern:"+password+"@", 1))
	g.apply(fmt.Sprintf("apps:\n  - {name: lab, tenant: contoso.com, client_id: %s, cloud: custom, custom: {authority: \"https://login.test\", smtp: {host: localhost, port: %d, tls: starttls}, ca: {file: %s}}}\n",
		g.contoso.App.ClientID, g.sim.SMTP().Port, g.caFile()))
	out, errOut, code := g.try("", "check", "--network", "lab")
	for _, want := range []string{
		"fail     required  login.test:443", "proxy: The proxy " + refusing.URL + " does not let this machine through to login.test:443", "ask whoever keeps the proxy " + refusing.URL,
		fmt.Sprintf("ok       required  localhost:%d", g.sim.SMTP().Port), "do not work: login.test:443",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("it does not say %q:\n%s", want, out)
		}
	}
	if code != 3 || strings.Contains(out+errOut, password) {
		t.Errorf("exit %d\n%s%s", code, out, errOut)
	}
}

// TestCheckTheNetworkRefusesNonsense, and makes no database to look for apps in.
func TestCheckTheNetworkRefusesNonsense(t *testing.T) {
	t.Parallel()
	g := bareGate(t)
	for _, c := range []struct {
		code  int
		args  []string
		words string
	}{
		{2, []string{"check", "--network", "--cloud", "mars"}, "allowed: global, usgov, dod, china"},
		{2, []string{"check", "--network", "--cloud", "usgov", "contoso"}, "not both"},
		{2, []string{"check", "--network", "--for", "send"}, "--for goes with an account"},
		{2, []string{"check", "scan", "--cloud", "usgov"}, "--cloud goes with --network"},
		{2, []string{"check", "--network", "one", "two"}, "accepts at most 1 arg"},
		{4, []string{"check", "--network", "nobody"}, `no app "nobody"`},
	} {
		out, errOut, code := g.try("", c.args...)
		if code != c.code || out != "" || !strings.Contains(errOut, c.words) {
			t.Errorf("postern %s: exit %d, want %d; printed %q\n%s", strings.Join(c.args, " "), code, c.code, out, errOut)
		}
	}
	if _, err := os.Stat(g.dataDir()); err == nil {
		t.Error("a check of the network made a data directory")
	}
}

// TestCheckTheNetworkWithoutAKey needs the stored apps, and nothing that is sealed.
func TestCheckTheNetworkWithoutAKey(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	g.apply(g.document(""))
	remove(t, filepath.Join(g.dataDir(), "master.key"))
	g.network(0, "contoso")
	if _, _, code := g.try("", "check", "scan"); code == 0 {
		t.Error("an account was checked without the key")
	}
	writeFile(t, filepath.Join(g.dataDir(), "postern.db"), []byte(strings.Repeat("garbage ", 1000)))
	if _, errOut, code := g.try("", "check", "--network", "contoso"); code == 0 || !strings.Contains(errOut, "database") {
		t.Errorf("a named app of a broken database: exit %d\n%s", code, errOut)
	}
}
