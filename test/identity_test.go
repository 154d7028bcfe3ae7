package test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
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
  - {name: old, app: contoso, mailbox: noauth@contoso.com, purposes: [send], sign_in: app_password, password: {value: abcdabcdabcdabcd}}
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
		g.t.Errorf("postern %s: exit %d, want %d; printed %d octets\n%s", strings.Join(args, " "), got, code, len(out), errOut)
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
	waitFor(t, "another token", func() bool { // callers that ask within two seconds share one
		if err := json.Unmarshal([]byte(g.postern("token", "scan", "--for", "smtp", "--fresh", "--json")), &given); err != nil {
			t.Fatal(err)
		}
		return given.Token != token
	})
	until, err := time.Parse(time.RFC3339, given.Expires)
	if err != nil || time.Until(until) < 10*time.Minute || given.User != "scan@contoso.com" || given.Purpose != "send" ||
		given.Account != "scan" || !strings.Contains(strings.Join(given.Scopes, " "), "SMTP.Send") {
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
	if wrong.err == nil || !strings.Contains(wrong.stderr, "the wrong account signed in: scan@contoso.com") {
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
	if code != 0 || !strings.Contains(errOut, "postern accounts password bulk") {
		t.Errorf("nobody says that passwords are missing: exit %d\n%s", code, errOut)
	}
	if out := g.postern("signin", "machine"); !strings.Contains(out, "machine needs nobody: its app permission gave a token for send, imap") {
		t.Errorf("application:\n%s", out)
	}
	g.fails(1, "", []string{"signin", "bulk"}, "postern accounts password bulk")

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
	enter("old", "efghefghefghefgh\n")
	if out := g.postern("signin", "old"); !strings.Contains(out, "postern check old") {
		t.Errorf("app password:\n%s", out)
	}
	for name, out := range map[string]string{"export": g.postern("export"), "accounts show": g.postern("accounts", "show", "bulk"), "apps": g.postern("apps", "list", "--json")} {
		g.silent(name, out)
		if strings.Contains(out, "abcdabcdabcdabcd") || strings.Contains(out, "efghefghefghefgh") {
			t.Errorf("%s shows the app password", name)
		}
	}
}

// TestPasswordAtATerminal types a password at a real terminal, which must not show
// it, and then leaves by Ctrl-C instead.
func TestPasswordAtATerminal(t *testing.T) {
	t.Parallel()
	need(t, "script")
	g := newGate(t)
	g.consented()
	g.apply(g.identities())
	at := func(keys string) (shown string, err error) {
		t.Helper()
		cmd := exec.Command("script", "-qec", binary(t)+" accounts password bulk", "/dev/null")
		cmd.Env, cmd.Dir = g.env, g.dir
		in, _ := cmd.StdinPipe()
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		defer time.AfterFunc(30*time.Second, func() { _ = cmd.Process.Kill() }).Stop()
		var all bytes.Buffer
		for b := make([]byte, 256); !strings.Contains(all.String(), "(not shown): "); {
			n, err := out.Read(b)
			if all.Write(b[:n]); err != nil {
				t.Fatalf("no question came: %v\n%s", err, all.String())
			}
		}
		if _, err := io.WriteString(in, keys); err != nil {
			t.Fatal(err)
		}
		_, _ = all.ReadFrom(out) // a terminal that closes is an error on some systems
		return all.String(), cmd.Wait()
	}
	shown, err := at("\x03")
	if strings.Contains(shown, "password kept") {
		t.Errorf("Ctrl-C: %v\n%s", err, shown)
	}
	if err == nil {
		t.Error("Ctrl-C counts as done")
	}
	if shown, err = at(sim365.Password + "\n"); err != nil || !strings.Contains(shown, "bulk: password kept") || strings.Contains(shown, sim365.Password) {
		t.Errorf("typed: %v\n%s", err, shown)
	}
	g.postern("signin", "bulk")
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
	waitFor(t, "the refusal", func() bool { // callers that ask within two seconds of a token share it
		_, _, code := g.try("", "token", "scan", "--for", "imap", "--fresh")
		return code != 0
	})
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
