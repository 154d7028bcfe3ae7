package test

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"postern/internal/people"
	"postern/internal/sim365"
	"postern/internal/sim365/visitor"
	"postern/internal/sim365/world"
)

// setupCode reads the code of the first run from the log.
func (g *gate) setupCode() string {
	g.t.Helper()
	log, err := os.ReadFile(g.log.Name())
	if err != nil {
		g.t.Fatal(err)
	}
	found := regexp.MustCompile(`"setup_code":"([^"]+)"`).FindSubmatch(log)
	if found == nil {
		g.t.Fatalf("the log has no set-up code:\n%s", log)
	}
	return string(found[1])
}

// TestFirstRun goes from nothing to an administrator who is logged in, and on to the
// others, through pages and commands.
func TestFirstRun(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	g.start()
	const password = "correct horse battery staple"
	jane := g.browserless()
	if status, to, _ := g.form(jane, "/login", "name", "admin", "password", password); status != http.StatusSeeOther || to != "/setup" {
		t.Errorf("before the set-up a login leads to %q (%d)", to, status)
	}
	code := g.setupCode()
	if printed := strings.TrimSpace(g.postern("admin", "code")); printed != code {
		t.Errorf("the command prints another code")
	}
	if status, _, body := g.form(jane, "/setup", "code", "wrong", "name", "jane", "password", password, "again", password); status != http.StatusForbidden || !strings.Contains(body, "This is not the code") {
		t.Errorf("a wrong code: %d", status)
	}
	fresh := strings.TrimSpace(g.postern("admin", "code", "--new"))
	if status, _, _ := g.form(jane, "/setup", "code", code, "name", "jane", "password", password, "again", password); status != http.StatusForbidden {
		t.Errorf("a code that was replaced: %d", status)
	}
	if status, to, body := g.form(jane, "/setup", "code", fresh, "name", "jane", "mail", "jane@contoso.com", "password", password, "again", password); status != http.StatusSeeOther || to != "/" {
		t.Fatalf("set up: %d to %q\n%s", status, to, body)
	}
	if status, body := g.page(jane, "/users"); status != http.StatusOK || !strings.Contains(body, "jane@contoso.com") {
		t.Errorf("the first user at /users: %d", status)
	}
	if _, errOut, exit := g.try("", "admin", "code"); exit != 1 || !strings.Contains(errOut, "postern admin password") {
		t.Errorf("a code after the set-up: exit %d %s", exit, errOut)
	}

	g.stop()
	g.start() // a login outlives the process
	if status, _ := g.page(jane, "/me"); status != http.StatusOK {
		t.Errorf("after a restart: %d", status)
	}
	link := strings.TrimSpace(g.postern("users", "add", "bob", "--role", "operator"))
	bob := g.browserless()
	if status, to, _ := g.form(bob, strings.TrimPrefix(link, g.url()), "password", password, "again", password); status != http.StatusSeeOther || to != "/" {
		t.Errorf("bob with his link: %d to %q", status, to)
	}
	if status, _ := g.page(bob, "/users"); status != http.StatusForbidden {
		t.Errorf("an operator at /users: %d", status)
	}
	g.postern("users", "role", "bob", "admin")
	if status, _ := g.page(bob, "/users"); status != http.StatusOK {
		t.Errorf("an administrator at /users: %d", status)
	}
	var sessions []people.Session
	if err := json.Unmarshal([]byte(g.postern("users", "sessions", "bob", "--json")), &sessions); err != nil || len(sessions) != 1 {
		t.Errorf("sessions of bob: %+v, %v", sessions, err)
	}
	g.postern("users", "sessions", "bob", "--end")
	if status, _ := g.page(bob, "/me"); status != http.StatusUnauthorized {
		t.Errorf("after his sessions were ended: %d", status)
	}
	g.postern("users", "disable", "bob")
	if status, _ := g.tryLogin("bob", password); status != http.StatusForbidden {
		t.Errorf("a disabled user: %d", status)
	}
	if _, errOut, exit := g.try("", "users", "disable", "jane"); exit != 1 || !strings.Contains(errOut, "only administrator") {
		t.Errorf("the last administrator: exit %d %s", exit, errOut)
	}
	if _, errOut, exit := g.try("shortish\n", "admin", "password", "--ask"); exit != 2 || !strings.Contains(errOut, "12 characters") {
		t.Errorf("a short password: exit %d %s", exit, errOut)
	}
	if _, errOut, exit := g.try("another horse battery\n", "admin", "password", "--ask"); exit != 0 {
		t.Errorf("a password from standard input: exit %d %s", exit, errOut)
	}
	g.logIn("admin", "another horse battery")
	g.whoDidWhat(t, password)
	g.stop()
}

// whoDidWhat reads the audit log by command and API, and wants no password in it or in
// the log.
func (g *gate) whoDidWhat(t *testing.T, password string) {
	t.Helper()
	var lines []people.Line
	if err := json.Unmarshal([]byte(g.postern("audit", "--json")), &lines); err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, l := range lines {
		_, _ = all.WriteString(l.Who + " " + l.What + " " + l.Subject + " " + string(l.Before) + "→" + string(l.After) + "\n")
	}
	for _, want := range []string{"web:jane set Postern up jane", "web:bob take an invitation bob", "change a role bob {\n      \"role\": \"operator\"", "disable a user bob", "reset the administrator admin", "cli:"} {
		if !strings.Contains(all.String(), want) {
			t.Errorf("nobody wrote %q:\n%s", want, all.String())
		}
	}
	var page struct {
		Lines []struct {
			Who   string         `json:"who"`
			After map[string]any `json:"after"`
		} `json:"lines"`
		Next string `json:"next"`
	}
	g.call(g.token("auditor", "", "admin"), http.MethodGet, "/audit?what=set+Postern&limit=1", "", "", &page)
	if len(page.Lines) != 1 || page.Lines[0].Who != "web:jane" || page.Lines[0].After["role"] != "admin" || page.Next != "" {
		t.Errorf("the API says %+v", page)
	}
	log, err := os.ReadFile(g.log.Name())
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(log)+all.String(), password) {
		t.Error("a password was written down")
	}
}

// comesIn goes from the login page to the provider and back, as somebody.
func (g *gate) comesIn(v *visitor.Visitor, who string) (visitor.Page, error) {
	g.t.Helper()
	p, err := v.Get(g.t.Context(), g.url()+"/login?back=%2Fme")
	if err != nil || len(p.Forms) != 2 {
		g.t.Fatalf("the login page has %d forms: %v\n%s", len(p.Forms), err, p.Text)
	}
	p, err = v.Submit(g.t.Context(), p, p.Forms[1], nil, "")
	for range 10 {
		if err != nil || p.URL.Port() == port(g.web) {
			return p, err
		}
		if len(p.Forms) == 0 {
			return p, errors.New("the provider's page leads nowhere: " + p.Text)
		}
		p, err = v.Submit(g.t.Context(), p, p.Forms[0], map[string]string{"loginfmt": who, "passwd": sim365.Password}, "")
	}
	return p, errors.New("no end of it")
}

// TestPeopleSignInWithEntra lets people in whom the simulator knows.
func TestPeopleSignInWithEntra(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	g.sim.World.UpdateApp(g.contoso.App.ClientID, func(a *world.App) { a.RedirectURIs = append(a.RedirectURIs, g.url()+"/login/callback") })
	ca := filepath.Join(g.dir, "ca.pem")
	writeFile(t, ca, []byte(g.sim.CAPEM()))
	g.env = append(g.env, "POSTERN_CA_FILE="+ca, "POSTERN_OIDC_AUTHORITY="+g.sim.Authority(), "POSTERN_OIDC_TENANT="+g.contoso.Tenant.Domains[0],
		"POSTERN_OIDC_CLIENT_ID="+g.contoso.App.ClientID, "POSTERN_OIDC_CLIENT_SECRET="+g.contoso.App.Secret, "POSTERN_OIDC_ALLOW=user:scan@contoso.com=operator")
	g.postern("admin", "password")
	g.start()
	p, err := g.comesIn(visitor.New(g.sim.CAPEM()), "scan@contoso.com")
	if err != nil || p.Status != http.StatusOK || p.URL.Path != "/me" || !strings.Contains(p.Text, "operator, by a rule") {
		t.Errorf("%v: %d at %s\n%s", err, p.Status, p.URL, p.Text)
	}
	p, err = g.comesIn(visitor.New(g.sim.CAPEM()), "invoices@contoso.com")
	if err != nil || p.Status != http.StatusForbidden || !strings.Contains(p.Text, "You are not let in") || !strings.Contains(p.Text, "Ask an administrator of Postern: admin") {
		t.Errorf("a stranger: %v: %d\n%s", err, p.Status, p.Text)
	}
	g.postern("users", "add", "invoices@contoso.com", "--mail", "invoices@contoso.com", "--by", "provider", "--role", "viewer")
	p, err = g.comesIn(visitor.New(g.sim.CAPEM()), "invoices@contoso.com")
	if err != nil || p.URL.Path != "/me" || !strings.Contains(p.Text, "viewer") {
		t.Errorf("after an administrator let them in: %v: %d\n%s", err, p.Status, p.Text)
	}
	g.stop()
}

// TestPeopleSignInWithOpenID does so with a provider that is not ours.
func TestPeopleSignInWithOpenID(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	o := &openid{T: t, back: g.url() + "/login/callback"}
	o.open()
	ca := filepath.Join(g.dir, "ca.pem")
	writeFile(t, ca, []byte(o.ca))
	file := filepath.Join(g.dir, "secret")
	writeFile(t, file, []byte(o.bySecret.Secret.Reveal()+"\n"))
	g.env = append(g.env, "POSTERN_CA_FILE="+ca, "POSTERN_OIDC_AUTHORITY="+o.bySecret.Cloud.Authority, "POSTERN_OIDC_TENANT="+o.bySecret.Tenant,
		"POSTERN_OIDC_CLIENT_ID="+o.bySecret.ClientID, "POSTERN_OIDC_CLIENT_SECRET_FILE="+file, "POSTERN_OIDC_ALLOW=domain:contoso.com=admin")
	g.postern("admin", "password")
	g.start()
	v := visitor.New(o.ca)
	p, err := g.comesIn(v, openidPerson)
	if err != nil || p.URL.Path != "/me" || !strings.Contains(p.Text, openidPerson) || !strings.Contains(p.Text, "admin, by a rule") {
		t.Fatalf("%v: %d at %s\n%s", err, p.Status, p.URL, p.Text)
	}
	again, err := visitor.New(o.ca).Get(t.Context(), g.url()+"/login/callback?code=made-up&state=made-up")
	if err != nil || again.Status != http.StatusForbidden || !strings.Contains(again.Text, "Another browser began this sign-in") {
		t.Errorf("a callback that nobody began: %v: %d\n%s", err, again.Status, again.Text)
	}
	g.stop()
}
