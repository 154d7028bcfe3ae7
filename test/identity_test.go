package test

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postern/internal/sim365"
	"postern/internal/sim365/visitor"
	"postern/internal/sim365/world"
)

// identities declares an account of each way to sign in.
func (g *gate) identities() string {
	doc := strings.Replace(g.document(`  - {name: machine, app: contoso, mailbox: invoices@contoso.com, purposes: [send, imap], sign_in: application, give_tokens: true}
  - {name: bulk, app: contoso, mailbox: hve@contoso.com, purposes: [hve], sign_in: password, give_tokens: true}
  - {name: old, app: contoso, mailbox: noauth@contoso.com, purposes: [send], sign_in: app_password}
`), "devices:\n  - {name: scanner, account: scan, password: {env: DEVICE_PASSWORD}}\n", "", 1)
	doc = strings.Replace(doc, "purposes: [send, imap, pop3]}", "purposes: [send, imap, pop3], give_tokens: true}", 1)
	return strings.Replace(doc, "      imap:", fmt.Sprintf("      hve: {host: localhost, port: %d, tls: starttls}\n      imap:", g.sim.HVE().Port), 1)
}

// consented lets every user and the app itself do what the app asks for.
func (g *gate) consented() {
	g.sim.World.UpdateApp(g.contoso.App.ClientID, func(a *world.App) { a.AdminConsent = map[string]bool{g.contoso.Tenant.ID: true} })
}

// silent fails when words hold one of Microsoft's or our secrets in any form.
func (g *gate) silent(what, words string) {
	g.t.Helper()
	for _, s := range append(g.sim.World.Secrets(), sim365.Password, g.contoso.App.Secret) {
		if len(s) < 8 {
			continue
		}
		for _, f := range formsOf(s) {
			if bytes.Contains([]byte(words), f) {
				g.t.Errorf("%s shows a secret of %s…", what, s[:3])
			}
		}
	}
}

// fails runs a command that must fail like this, without a word on stdout.
func (g *gate) fails(code int, stdin string, args []string, words ...string) {
	g.t.Helper()
	out, errOut, got := g.try(stdin, args...)
	if got != code || out != "" {
		g.t.Errorf("postern %s: exit %d, want %d; printed %q\n%s", strings.Join(args, " "), got, code, out, errOut)
	}
	for _, w := range words {
		if !strings.Contains(errOut, w) {
			g.t.Errorf("postern %s does not say %q:\n%s", strings.Join(args, " "), w, errOut)
		}
	}
	if s := strings.TrimSpace(stdin); len(s) >= 8 && strings.Contains(errOut, s) {
		g.t.Errorf("postern %s repeats what it was given:\n%s", strings.Join(args, " "), errOut)
	}
	g.silent("postern "+strings.Join(args, " "), errOut)
}

// TestTokenForOtherPrograms gives tokens to a script and to msmtp, and to nobody else.
func TestTokenForOtherPrograms(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	g.unlimited("scan@contoso.com")
	g.start()
	g.apply(g.identities())
	g.fails(1, "", []string{"token", "scan", "--for", "smtp"}, "nobody has signed in", "postern signin scan")
	for _, a := range []string{"scan", "invoices"} {
		g.signIn(a, a+"@contoso.com")
	}
	g.fails(1, "", []string{"token", "invoices", "--for", "smtp"}, `"invoices" does not give its tokens away`, "give_tokens: true")
	g.fails(1, "", []string{"token", "old", "--for", "smtp"}, "has no tokens")
	g.fails(1, "", []string{"token", "scan", "--for", "graph"}, "not for graph")
	g.fails(2, "", []string{"token", "scan"}, "allowed: smtp, imap, pop3, graph, hve")
	g.fails(2, "", []string{"token", "scan", "--for", "ftp"}, `"ftp"`, "allowed: smtp")
	g.fails(2, "", []string{"token"}, "accepts 1 arg")
	g.fails(4, "", []string{"token", "nobody", "--for", "smtp"}, `"nobody"`)

	out, errOut, code := g.try("", "token", "scan", "--for", "imap")
	token := strings.TrimSuffix(out, "\n")
	if known, err := g.sim.World.CheckToken(token); code != 0 || err != nil || known.UPN != "scan@contoso.com" {
		t.Fatalf("exit %d, token of %d octets: %v", code, len(token), err)
	}
	g.silent("the log of postern token", errOut)
	for _, w := range []string{"access token given", `"account":"scan"`, `"purpose":"imap"`} {
		if !strings.Contains(errOut, w) {
			t.Errorf("the log does not say %s:\n%s", w, errOut)
		}
	}
	if again := g.postern("token", "scan", "--for", "smtp"); again != out {
		t.Error("a token that lives was not given again")
	}
	var given struct {
		Account, User, Purpose string
		Token                  string `json:"access_token"`
		Scopes                 []string
		Expires                string
	}
	fresh := g.postern("token", "scan", "--for", "smtp", "--fresh", "--json")
	if err := json.Unmarshal([]byte(fresh), &given); err != nil {
		t.Fatal(err)
	}
	until, err := time.Parse(time.RFC3339, given.Expires)
	if err != nil || time.Until(until) < 10*time.Minute || given.User != "scan@contoso.com" || given.Purpose != "send" ||
		given.Account != "scan" || given.Token == token || !strings.Contains(strings.Join(given.Scopes, " "), "SMTP.Send") {
		t.Errorf("given with --fresh --json: user %q, purpose %q, scopes %q, expires %q (%v)", given.User, given.Purpose, given.Scopes, given.Expires, err)
	}
	t.Run("msmtp", func(t *testing.T) { sendByMsmtp(t, g) })
	files := 0
	for found := range search(t, g.dir, g.sim.World.Secrets(), &files) {
		t.Error(found)
	}
	g.stop()
}

// sendByMsmtp has msmtp sign in at Microsoft itself, with a token for a password and
// the configuration that docs/accounts.md shows.
func sendByMsmtp(t *testing.T, g *gate) {
	need(t, "msmtp")
	doc, err := os.ReadFile("../docs/accounts.md")
	if err != nil {
		t.Fatal(err)
	}
	_, block, found := strings.Cut(string(doc), "in `~/.msmtprc`:\n\n")
	block, _, _ = strings.Cut(block, "\n\n")
	if !found || !strings.Contains(block, "passwordeval postern token") {
		t.Fatalf("the docs show no configuration of msmtp:\n%s", block)
	}
	conf := strings.NewReplacer("smtp.office365.com", "localhost", "port 587", "port "+fmt.Sprint(g.sim.SMTP().Port),
		"tls on", "tls on\ntls_trust_file "+g.caFile(), "postern token", binary(t)+" token").Replace(block)
	path := filepath.Join(g.dir, "msmtprc")
	if err := os.WriteFile(path, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("msmtp", "-C", path, "-a", "scan", "someone@elsewhere.example")
	cmd.Dir = g.dir
	cmd.Stdin = strings.NewReader("From: scan@contoso.com\nTo: someone@elsewhere.example\nSubject: by a token\n\nfrom msmtp\n")
	runClient(t, g, cmd)
	if n := sentWith(g, "by a token"); n != 1 {
		t.Errorf("%d messages in Sent Items", n)
	}
}

// TestSigninByDeviceCode types the code that the command shows.
func TestSigninByDeviceCode(t *testing.T) {
	t.Parallel()
	g := newGate(t) // no server runs: none is needed
	g.apply(g.identities())
	g.fails(2, "", []string{"signin", "machine", "--device"}, "nobody who could type a code")
	g.fails(2, "", []string{"signin", "scan", "--device", "--no-wait"}, "--no-wait")
	g.fails(4, "", []string{"signin", "nobody", "--device"}, `"nobody"`)
	if _, errOut, code := g.try("", "signin", "scan", "--device", "--timeout", "1s"); code != 1 || !strings.Contains(errOut, "nobody signed in within 1s") {
		t.Errorf("a code that nobody types: exit %d\n%s", code, errOut)
	}

	done := deviceSignIn(t, g, "scan", func(v *visitor.Visitor, p visitor.Page) { goOn(t, v, p, "scan@contoso.com") })
	if done.err != nil || done.SignedInAs != "scan@contoso.com" || len(done.Scopes) == 0 || done.Until.Before(time.Now()) {
		t.Errorf("the second answer is %+v", done)
	}
	if out := g.postern("token", "scan", "--for", "imap"); len(out) < 50 {
		t.Error("no token after the sign-in")
	}
	wrong := deviceSignIn(t, g, "invoices", func(v *visitor.Visitor, p visitor.Page) { goOn(t, v, p, "scan@contoso.com") })
	if wrong.err == nil || !strings.Contains(wrong.stderr, "scan@contoso.com signed in") {
		t.Errorf("another person typed the code: %+v", wrong)
	}
	if rows := g.list(6, "accounts", "list"); rows[1]["name"] != "invoices" || rows[1]["state"] != "new" {
		t.Errorf("another person's sign-in left %+v", rows[1])
	}
}

type deviceEnd struct {
	SignedInAs string   `json:"signed_in_as"`
	Scopes     []string `json:"scopes"`
	Until      time.Time
	err        error
	stderr     string
}

// deviceSignIn runs `signin --device --json`, types its code and lets person go on.
func deviceSignIn(t *testing.T, g *gate, account string, person func(*visitor.Visitor, visitor.Page)) deviceEnd {
	t.Helper()
	cmd := exec.Command(binary(t), "signin", account, "--device", "--json", "--timeout", "60s") // bounds itself
	var errOut bytes.Buffer
	cmd.Env, cmd.Dir, cmd.Stderr = g.env, g.dir, &errOut
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := json.NewDecoder(out)
	var first struct {
		Account, Page, Message string
		UserCode               string `json:"user_code"`
		Expires                time.Time
	}
	if err := lines.Decode(&first); err != nil || first.Account != account || first.UserCode == "" || !strings.Contains(first.Message, first.UserCode) || time.Until(first.Expires) > 16*time.Minute {
		t.Fatalf("the first answer is %+v, %v\n%s", first, err, errOut.String())
	}
	v := visitor.New(g.sim.CAPEM())
	p, err := v.Get(t.Context(), first.Page)
	if err == nil {
		p, err = v.Submit(t.Context(), p, p.Forms[0], map[string]string{"otc": first.UserCode}, "")
	}
	if err != nil {
		t.Fatal(err)
	}
	person(v, p)
	var end deviceEnd
	decoded := lines.Decode(&end)
	if end.err = cmd.Wait(); end.err == nil {
		end.err = decoded
	}
	end.stderr = errOut.String()
	g.silent("signin --device", end.stderr)
	return end
}

// goOn signs in on the pages that follow, agreeing to everything.
func goOn(t *testing.T, v *visitor.Visitor, p visitor.Page, who string) {
	t.Helper()
	var err error
	for range 8 {
		if len(p.Forms) == 0 {
			return
		}
		if p, err = v.Submit(t.Context(), p, p.Forms[0], map[string]string{"loginfmt": who, "passwd": sim365.Password}, ""); err != nil {
			t.Fatal(err)
		}
	}
	t.Fatalf("no end of pages: %q", p.Title)
}

// TestSigninWithoutAPerson tries the methods that need nobody.
func TestSigninWithoutAPerson(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	g.consented()
	_, errOut, code := g.try(g.identities(), "apply", "-f", "-")
	if code != 0 || !strings.Contains(errOut, "postern accounts password bulk") || !strings.Contains(errOut, "postern accounts password old") {
		t.Errorf("nobody says that passwords are missing: exit %d\n%s", code, errOut)
	}
	if out := g.postern("signin", "machine"); !strings.Contains(out, "machine needs nobody: its app permission gave a token for send, imap") {
		t.Errorf("application:\n%s", out)
	}
	g.fails(1, "", []string{"signin", "bulk"}, "postern accounts password bulk")
	g.fails(1, "", []string{"signin", "old"}, "postern accounts password old")

	g.fails(2, sim365.Password+"\n", []string{"accounts", "password", "scan"}, "sign_in: delegated", "postern signin scan")
	g.fails(2, "  \n", []string{"accounts", "password", "bulk"}, "nothing was given")
	g.fails(2, "", []string{"accounts", "password"}, "accepts 1 arg")
	g.fails(2, "", []string{"accounts", "password", "bulk", sim365.Password}, "accepts 1 arg")
	g.fails(4, "x\n", []string{"accounts", "password", "nobody"}, `"nobody"`)

	enter := func(account, password string) {
		t.Helper()
		out, errOut, code := g.try(password, "accounts", "password", account)
		if code != 0 || !strings.Contains(out, account+": password kept") {
			t.Errorf("password of %s: exit %d\n%s%s", account, code, out, errOut)
		}
		g.silent("accounts password", out+errOut)
	}
	enter("bulk", "not-the-Pa55word\n")
	g.fails(1, "", []string{"signin", "bulk"}, "AADSTS50126", "postern accounts password bulk")
	enter("bulk", "  "+sim365.Password+"  \n")
	var line struct {
		Account, Method string
		Purposes        []string
		Expires         time.Time
	}
	if err := json.Unmarshal([]byte(g.postern("signin", "bulk", "--json")), &line); err != nil || line.Account != "bulk" || line.Method != "password" || time.Until(line.Expires) < time.Minute {
		t.Errorf("password: %+v, %v", line, err)
	}
	if out := g.postern("token", "bulk", "--for", "hve"); len(out) < 50 {
		t.Error("no token for hve")
	}
	enter("old", "abcdabcdabcdabcd\n")
	if out := g.postern("signin", "old"); !strings.Contains(out, "postern check old") {
		t.Errorf("app password:\n%s", out)
	}
	for name, out := range map[string]string{"export": g.postern("export"), "accounts show": g.postern("accounts", "show", "bulk"), "apps": g.postern("apps", "list", "--json")} {
		g.silent(name, out)
		if strings.Contains(out, "abcdabcdabcdabcd") {
			t.Errorf("%s shows the app password", name)
		}
	}
}

// TestConsentOfAnAdministrator opens the link as the tenant's administrator, and as
// somebody who is none.
func TestConsentOfAnAdministrator(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	g.start()
	g.apply(g.identities())
	g.fails(4, "", []string{"consent", "nobody"}, `"nobody"`)
	g.fails(2, "", []string{"consent"}, "accepts 1 arg")
	consentsTo := func() bool {
		a, _ := g.sim.World.App(g.contoso.App.ClientID)
		return a.AdminConsent[g.contoso.Tenant.ID]
	}
	var link struct{ Account, URL string }
	if err := json.Unmarshal([]byte(g.postern("consent", "machine", "--json")), &link); err != nil || link.Account != "machine" || !strings.HasPrefix(link.URL, g.url()) {
		t.Fatalf("%+v, %v", link, err)
	}
	if p, err := visitor.New(g.sim.CAPEM()).SignIn(t.Context(), link.URL, "scan@contoso.com", sim365.Password); err != nil || consentsTo() {
		t.Errorf("somebody who is no administrator ended at %d %q, %v", p.Status, p.Title, err)
	}
	out := g.postern("consent", "machine")
	again, _, _ := strings.Cut(out[strings.Index(out, g.url()):], "\n")
	v := visitor.New(g.sim.CAPEM())
	if p, err := v.SignIn(t.Context(), strings.TrimSpace(again), "admin@contoso.com", sim365.Password); err != nil || p.Status != http.StatusOK || !consentsTo() {
		t.Errorf("the administrator ended at %d %q %s, %v", p.Status, p.Title, p.Text, err)
	}
	if p, err := v.Get(t.Context(), strings.TrimSpace(again)); err != nil || p.Status == http.StatusOK {
		t.Errorf("the link worked twice: %d %q, %v", p.Status, p.Title, err)
	}
	g.postern("signin", "machine")
	g.stop()
}

// TestAccountsShow wants everything in it that helps a person, and the Exchange
// commands with the object id that only the app's own tokens tell.
func TestAccountsShow(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	g.consented()
	g.start()
	g.apply(g.identities())
	if out := g.postern("accounts", "show", "machine"); !strings.Contains(out, "OBJECT-ID-OF-THE-ENTERPRISE-APPLICATION") {
		t.Errorf("before the first token:\n%s", out)
	}
	g.postern("signin", "machine")
	id := world.ServicePrincipalID(g.contoso.App.ClientID, g.contoso.Tenant.ID)
	out := g.postern("accounts", "show", "machine")
	for _, w := range []string{
		"New-ServicePrincipal -AppId " + g.contoso.App.ClientID + " -ObjectId " + id + " -DisplayName 'Postern contoso'",
		"Add-MailboxPermission -Identity invoices@contoso.com -User " + id + " -AccessRights FullAccess",
		"Set-CASMailbox invoices@contoso.com -SmtpClientAuthenticationDisabled $false -ImapEnabled $true",
		"state          active", "https://outlook.office365.com until",
	} {
		if !strings.Contains(out, w) {
			t.Errorf("accounts show machine does not say %q:\n%s", w, out)
		}
	}
	g.signIn("scan", "scan@contoso.com")
	var facts struct {
		SignedInAs string `json:"signed_in_as"`
		State      string
		Scopes     []string
		Until      time.Time
		Tokens     []struct{ Resource string }
		PausedBy   string `json:"paused_by"`
		Reason     string
	}
	show := func() {
		t.Helper()
		if err := json.Unmarshal([]byte(g.postern("accounts", "show", "scan", "--json")), &facts); err != nil {
			t.Fatal(err)
		}
	}
	show()
	if facts.SignedInAs != "scan@contoso.com" || facts.State != "active" || len(facts.Scopes) == 0 || len(facts.Tokens) != 1 || time.Until(facts.Until) < 24*time.Hour {
		t.Errorf("active: %+v", facts)
	}
	g.sim.World.RevokeSessions("scan@contoso.com")
	g.fails(1, "", []string{"token", "scan", "--for", "imap", "--fresh"}, "postern signin scan")
	show()
	if facts.State != "needs_sign_in" || facts.PausedBy != "provider" || facts.Reason == "" {
		t.Errorf("paused: %+v", facts)
	}
	if out := g.postern("accounts", "show", "scan"); !strings.Contains(out, "paused by      provider") || !strings.Contains(out, "why            ") {
		t.Errorf("paused:\n%s", out)
	}
	g.fails(4, "", []string{"accounts", "show", "nobody"}, `"nobody"`)
	g.stop()
}

// TestAppsSecretAndCertificate changes an app's credential twice, under accounts
// that go on.
func TestAppsSecretAndCertificate(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	g.consented()
	g.apply(g.identities())
	g.postern("signin", "machine")
	if rows := g.list(1, "apps", "list"); rows[0]["credential"] != "secret" || len(rows[0]["accounts"].([]any)) != 6 {
		t.Errorf("apps list: %+v", rows)
	}

	next := sim365.NewSecret()
	g.sim.World.UpdateApp(g.contoso.App.ClientID, func(a *world.App) { a.Secret = next })
	g.fails(1, "", []string{"signin", "machine"}, "AADSTS7000215")
	g.fails(2, "11111111-2222-3333-4444-555555555555\n", []string{"apps", "secret", "contoso"}, "Secret ID")
	g.fails(2, "\n", []string{"apps", "secret", "contoso"}, "nothing was given")
	g.fails(2, next, []string{"apps", "secret", "contoso", "--expires", "soon"}, "2027-05-01")
	g.fails(4, next, []string{"apps", "secret", "nobody"}, `"nobody"`)
	g.fails(2, "", []string{"apps", "secret"}, "accepts 1 arg")
	out, errOut, code := g.try("  "+next+" \n", "apps", "secret", "contoso", "--expires", "2030-01-31")
	if code != 0 || !strings.Contains(out, "contoso: secret kept") || strings.Contains(out+errOut, next) {
		t.Errorf("apps secret: exit %d\n%s%s", code, out, errOut)
	}
	g.postern("signin", "machine")
	if out := g.postern("apps", "show", "contoso"); !strings.Contains(out, "2030-01-31") || !strings.Contains(out, g.url()+"/register_microsoft_graph_api/") {
		t.Errorf("apps show:\n%s", out)
	}

	g.fails(2, "", []string{"apps", "certificate", "contoso"}, "accepts 2 arg")
	g.fails(2, "", []string{"apps", "certificate", "contoso", "burn"}, "allowed: new, use")
	g.fails(2, "", []string{"apps", "certificate", "contoso", "new", "--days", "0"}, "1 to 3650")
	g.fails(2, "", []string{"apps", "certificate", "contoso", "use", "--out", "x"}, "go with new")
	g.fails(4, "", []string{"apps", "certificate", "nobody", "new", "--out", "left.pem"}, `"nobody"`)
	if _, err := os.Stat(filepath.Join(g.dir, "left.pem")); err == nil {
		t.Error("a file was left of a certificate that was not made")
	}
	if _, errOut, code := g.try("", "apps", "certificate", "contoso", "use"); code == 0 {
		t.Errorf("a certificate nobody made was taken:\n%s", errOut)
	}
	_, errOut, code = g.try("", "apps", "certificate", "contoso", "new", "--days", "90", "--out", "app.pem")
	if code != 0 || !strings.Contains(errOut, "thumbprint: ") || !strings.Contains(errOut, "postern apps certificate contoso use") {
		t.Fatalf("new: exit %d\n%s", code, errOut)
	}
	g.fails(2, "", []string{"apps", "certificate", "contoso", "new", "--out", "app.pem"}, "exist")
	file, err := os.ReadFile(filepath.Join(g.dir, "app.pem"))
	if err != nil {
		t.Fatal(err)
	}
	block, rest := pem.Decode(file)
	if block == nil || block.Type != "CERTIFICATE" || len(bytes.TrimSpace(rest)) > 0 || bytes.Contains(file, []byte("PRIVATE")) {
		t.Fatalf("the file holds more or less than a certificate:\n%s", file)
	}
	g.fails(1, "", []string{"apps", "certificate", "contoso", "use"}, "AADSTS700027")
	g.postern("signin", "machine") // with the secret, as before
	g.sim.World.UpdateApp(g.contoso.App.ClientID, func(a *world.App) { a.Certificate = block.Bytes })
	out = g.postern("apps", "certificate", "contoso", "use")
	_, thumbprint, _ := strings.Cut(errOut, "thumbprint: ")
	if thumbprint, _, _ = strings.Cut(thumbprint, "\n"); len(thumbprint) != 40 || !strings.Contains(out, thumbprint) {
		t.Errorf("new says %q, use says %s", thumbprint, out)
	}
	known, err := g.sim.World.CheckToken(strings.TrimSpace(g.postern("token", "machine", "--for", "smtp", "--fresh")))
	if err != nil || known.AppAuth != "2" {
		t.Errorf("the app proved itself by %q, want a certificate; %v", known.AppAuth, err)
	}
	doc := g.postern("export")
	g.silent("export", doc)
	if out := g.apply(doc); strings.Contains(out, ": changed") || !strings.Contains(doc, "BEGIN CERTIFICATE") {
		t.Errorf("the export does not apply to the same:\n%s\n%s", out, doc)
	}
	files := 0
	for found := range search(t, g.dataDir(), append(g.sim.World.Secrets(), next), &files) {
		t.Error(found)
	}
}

// TestImportOfPackedNames takes over what CrushFTP kept in one field.
func TestImportOfPackedNames(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	g.consented()
	id, secret := g.contoso.App.ClientID, g.contoso.App.Secret
	short := id + "~" + secret + "~contoso.onmicrosoft.com"
	for name, c := range map[string]struct {
		stdin string
		args  []string
		code  int
		words []string
	}{
		"nothing":         {"\n", nil, 2, []string{"nothing was given"}},
		"not packed":      {"hello-this-is-no-packed-name\n", nil, 2, nil},
		"no mailbox":      {short, nil, 2, []string{"--mailbox"}},
		"two mailboxes":   {"scan@contoso.com~" + short, []string{"--mailbox", "boss@contoso.com"}, 2, []string{"scan@contoso.com", "boss@contoso.com"}},
		"bad mailbox":     {short, []string{"--mailbox", "boss"}, 2, []string{"boss"}},
		"bad purpose":     {"scan@contoso.com~" + short, []string{"--purposes", "fly"}, 2, []string{"fly"}},
		"bad cloud":       {"scan@contoso.com~" + short, []string{"--cloud", "mars"}, 2, []string{"mars"}},
		"bad tenant":      {id + "~" + secret + "~evil.example/..", []string{"--mailbox", "scan@contoso.com"}, 2, nil},
		"secret in argv":  {"", []string{short}, 2, nil},
		"bad name":        {"scan@contoso.com~" + short, []string{"--name", "../x"}, 2, []string{"letters, digits"}},
		"secret is an id": {"scan@contoso.com~" + id + "~" + id + "~contoso.com", nil, 2, nil},
	} {
		t.Run(name, func(t *testing.T) {
			out, errOut, code := g.try(c.stdin, append([]string{"import"}, c.args...)...)
			if code != c.code || out != "" {
				t.Errorf("exit %d, printed %q\n%s", code, out, errOut)
			}
			for _, w := range c.words {
				if !strings.Contains(errOut, w) {
					t.Errorf("it does not say %q:\n%s", w, errOut)
				}
			}
			if name != "secret in argv" { // cobra repeats an argument; that is why none may hold one
				g.silent("import", errOut)
			}
		})
	}
	g.list(0, "apps", "list")
	g.list(0, "accounts", "list")

	out, errOut, code := g.try("scan@contoso.com~"+short+"\nthe-refresh-token\n", "import", "--purposes", "send,imap")
	if code != 0 || out != "app scan: created\naccount scan: created\n" || !strings.Contains(errOut, "postern signin scan") {
		t.Errorf("import: exit %d\n%s%s", code, out, errOut)
	}
	g.silent("import", out+errOut)
	doc := g.postern("export")
	for _, w := range []string{"client_id: " + id, "tenant: contoso.onmicrosoft.com", "mailbox: scan@contoso.com", "cloud: global", "- imap"} {
		if !strings.Contains(doc, w) {
			t.Errorf("what was made has no %q:\n%s", w, doc)
		}
	}
	g.fails(1, "scan@contoso.com~"+short+"\n", []string{"import"}, `an account "scan" already`, "--name")
	g.fails(1, strings.Replace(short, id, "99999999-2222-3333-4444-555555555555", 1), []string{"import", "--mailbox", "new@contoso.com", "--app", "scan"}, "another client id", "--app")

	g.apply(g.identities()) // from now on there is an app that leads to the simulator
	out, _, code = g.try(id+"~DES:2f0b8e4c9d7a1c3e5f60718293a4b5c6~contoso.onmicrosoft.com\n", "import", "--mailbox", "admin@contoso.com", "--app", "contoso", "--name", "boss")
	if code != 0 || out != "account boss: created\n" {
		t.Errorf("into an app that is there: exit %d\n%s", code, out)
	}
	if done := deviceSignIn(t, g, "boss", func(v *visitor.Visitor, p visitor.Page) { goOn(t, v, p, "admin@contoso.com") }); done.err != nil || done.SignedInAs != "admin@contoso.com" {
		t.Errorf("the imported account: %+v", done)
	}
}

// TestExpiring looks at what ends when, and at what does not end.
func TestExpiring(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	g.list(0, "expiring")
	in := func(days int) string { return time.Now().UTC().AddDate(0, 0, days).Format(time.DateOnly) }
	app := func(name string, days int) string {
		return fmt.Sprintf("  - {name: %s, tenant: contoso.com, client_id: %s, secret: {value: some-secret-value}, secret_expires: %s}\n", name, g.contoso.App.ClientID, in(days))
	}
	g.apply("apps:\n" + app("over", -2) + app("soon", 10) + app("far", 400) + "  - {name: hosts}\n" +
		"accounts:\n  - {name: old, app: hosts, mailbox: old@contoso.com, purposes: [send], sign_in: app_password, password: {value: abcdabcdabcdabcd}}\n")
	stages := map[string]string{}
	for _, r := range g.list(4, "expiring") {
		stages[r["subject"].(string)] = r["stage"].(string)
		if r["next"] == "" || r["text"] == "" {
			t.Errorf("nobody knows what to do: %+v", r)
		}
		if r["kind"] == "app_password" && r["source"] == nil {
			t.Errorf("a date of Microsoft's without its source: %+v", r)
		}
	}
	if stages["over"] != "over" || stages["soon"] != "14_days" || stages["far"] != "far" || stages["old"] == "" {
		t.Errorf("stages: %v", stages)
	}
	g.list(2, "expiring", "--days", "30")
	out := g.postern("expiring")
	head, first, _ := strings.Cut(out, "\n")
	if !strings.HasPrefix(head, "SUBJECT") || !strings.HasPrefix(first, "over ") || !strings.Contains(out, in(10)) {
		t.Errorf("expiring:\n%s", out)
	}
	g.fails(2, "", []string{"expiring", "--days", "-1"}, "--days -1")
	g.fails(2, "", []string{"expiring", "--days", "many"}, "many")
	g.fails(2, "", []string{"expiring", "now"})
}
