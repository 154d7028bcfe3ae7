package test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"io/fs"
	"net/http"
	"net/smtp"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postern/internal/sim365"
	"postern/internal/sim365/visitor"
	"postern/internal/sim365/world"
)

// TestNoSecretIsWritten does everything once at debug level, good and bad, and
// then looks into everything the run wrote: logs, database, temporary files,
// pages, what commands printed.
func TestNoSecretIsWritten(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	tmp := filepath.Join(g.dir, "tmp")
	if err := os.Mkdir(tmp, 0o700); err != nil {
		t.Fatal(err)
	}
	const appPassword, proxyPassword = "abcdefghijklmnop-app", "Proxy-Pa55word-for-tests"
	packed := sim365.NewSecret()
	g.env = append(g.env, "TMPDIR="+tmp, "APP_PASSWORD="+appPassword, "HVE_PASSWORD="+sim365.Password,
		"POSTERN_PROXY=http://somebody:"+proxyPassword+"@127.0.0.1:9", "POSTERN_NO_PROXY=localhost")
	printed := &strings.Builder{}
	say := func(args ...string) {
		out, errOut, _ := g.try("", args...)
		printed.WriteString(out + errOut)
	}

	g.setUp("tasks:\n  - {name: invoices, account: invoices, directory: " + g.inbox() + ", after: read, start: all}\n")
	_, made, _ := strings.Cut(g.apply("devices:\n  - {name: printer, account: scan}\n"), "(shown this once): ")
	refuseSignIn(t, g)
	denySignIn(t, g)
	sendOne(t, g, "no secrets")
	wrongPassword(t, g)
	if err := g.sim.Deliver("invoices@contoso.com", mailWith("x", "<s1@x.example>", map[string]string{"a.txt": "a"})); err != nil {
		t.Fatal(err)
	}
	say("fetch", "run", "invoices")
	say("check", "scan")
	say("check", "noauth")
	for _, fault := range []world.Fault{
		{Where: "smtp", Stage: "auth", Kind: world.FaultGarbage}, {Where: "imap", Stage: "auth", Kind: world.FaultDrop},
		{Where: "token", Kind: world.FaultStatus, Code: "503"}, {Where: "token", Kind: world.FaultGarbage},
		{Where: "token", Kind: world.FaultDropAfter}, {Where: "token", Kind: world.FaultReply, Code: "700082"},
	} {
		if fault.Where == "token" {
			g.expire() // or there is no refresh to go wrong
		}
		g.sim.World.Arm(fault)
		say("check", "scan")
	}
	if left := g.sim.World.Faults(); len(left) > 0 {
		t.Errorf("these never struck: %+v", left)
	}
	g.everyIdentity(t, say, printed, packed)
	for _, args := range [][]string{{"export"}, {"queue", "list", "--json"}, {"accounts", "list"}, {"devices", "list", "--json"}, {"fetch", "ledger", "invoices"}} {
		say(args...)
	}
	pages, admin := g.pages(t)
	secrets := append(g.sim.World.Secrets(), devicePassword, "wrong-Pa55word", sim365.Password, g.contoso.App.Secret, strings.TrimSpace(made), admin, appPassword, proxyPassword, packed)
	var links []string
	for _, p := range append(g.visitor.Pages, pages...) {
		if token, isLink := strings.CutPrefix(p.URL.String(), g.url()+"/signin/"); isLink {
			links = append(links, token) // its own page holds it, and nothing else may
		} else if strings.HasPrefix(p.URL.String(), g.url()) {
			printed.WriteString(p.URL.String() + "\n")
		}
		if strings.HasPrefix(p.URL.String(), g.url()) {
			printed.WriteString(p.HTML)
		}
	}
	// Twice: a stop takes the write-ahead log away.
	lookThrough := func(when string) {
		files := 0
		for found := range search(t, g.dir, append(secrets, links...), &files) {
			t.Errorf("%s: %s", when, found)
		}
	}
	lookThrough("while it runs")
	g.stop()
	lookThrough("afterwards")
	if err := os.WriteFile(filepath.Join(tmp, "printed"), []byte(printed.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if len(secrets) < 15 {
		t.Fatalf("only %d secrets are known: the run did not do what it should", len(secrets))
	}
	files := 0
	for found := range search(t, g.dir, secrets, &files) {
		t.Error(found)
	}
	if files < 8 {
		t.Errorf("only %d files were searched", files)
	}
	t.Logf("%d secrets looked for, in every form, in %d files", len(secrets), files)
}

// everyIdentity goes every other way to a credential, and prints what it may.
func (g *gate) everyIdentity(t *testing.T, say func(...string), printed *strings.Builder, packed string) {
	t.Helper()
	g.apply(`
accounts:
  - {name: scan, app: contoso, mailbox: scan@contoso.com, purposes: [send, imap, pop3], give_tokens: true}
  - {name: old, app: contoso, mailbox: mfa@contoso.com, purposes: [send], sign_in: app_password, password: {env: APP_PASSWORD}}
  - {name: bulk, app: contoso, mailbox: hve@contoso.com, purposes: [hve], sign_in: password, password: {env: HVE_PASSWORD}}
  - {name: machine, app: contoso, mailbox: invoices@contoso.com, purposes: [send, imap], sign_in: application}
`)
	token, errOut, code := g.try("", "token", "scan", "--for", "smtp", "--json")
	if code != 0 || !strings.Contains(token, "access_token") {
		t.Errorf("postern token: exit %d", code)
	}
	printed.WriteString(errOut)
	for _, stdin := range []string{"11111111-2222-3333-4444-555555555555~" + packed + "~contoso.com\n", "nonsense~" + packed + "\n"} {
		out, errOut, _ := g.try(stdin, "import", "--name", "packed")
		printed.WriteString(out + errOut)
	}
	for _, account := range []string{"old", "bulk", "machine", "noauth"} {
		say("check", account)
		say("accounts", "show", account)
		say("token", account, "--for", "smtp")
	}
	for _, args := range [][]string{
		{"apps", "list"}, {"apps", "show", "contoso"}, {"apps", "certificate", "contoso", "new"}, {"apps", "certificate", "contoso", "use"},
		{"consent", "machine"}, {"expiring"}, {"audit", "--json"}, {"check", "--network", "contoso"}, {"key", "show"}, {"key", "rotate"}, {"key", "prune"},
	} {
		say(args...)
	}
	sendOne(t, g, "after the keys were changed")
}

func TestTheSearchFindsEveryForm(t *testing.T) {
	t.Parallel()
	const s = "S3cret~value/with+signs="
	for name, text := range map[string]string{
		"plain": s, "percent": url.QueryEscape(s), "hex": hex.EncodeToString([]byte(s)),
		"base64": base64.StdEncoding.EncodeToString([]byte(s)), "base64 url": base64.RawURLEncoding.EncodeToString([]byte(s)),
		"inside, 1": base64.StdEncoding.EncodeToString([]byte("u" + s + "\x01\x01")),
		"inside, 2": base64.StdEncoding.EncodeToString([]byte("us" + s + "\x01\x01")),
		"inside, 3": base64.URLEncoding.EncodeToString([]byte("user" + s)),
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "f"), []byte("before "+text+" after"), 0o600); err != nil {
			t.Fatal(err)
		}
		n, files := 0, 0
		for range search(t, dir, []string{s}, &files) {
			n++
		}
		if n != 1 {
			t.Errorf("%s: found %d times", name, n)
		}
	}
}

// search yields one line for each file that holds a secret in any form.
func search(t *testing.T, dir string, secrets []string, files *int) func(func(string) bool) {
	t.Helper()
	forms := map[string][][]byte{}
	for _, s := range secrets {
		if len(s) >= 8 {
			forms[s] = formsOf(s)
		}
	}
	return func(yield func(string) bool) {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !d.Type().IsRegular() {
				return err
			}
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			*files++
			for s, all := range forms {
				for _, f := range all {
					if i := bytes.Index(b, f); i >= 0 {
						if !yield(filepath.Base(path) + " holds a secret of " + s[:3] + "…: " + string(bytes.ToValidUTF8(b[max(0, i-80):i], []byte("?")))) {
							return fs.SkipAll
						}
						break
					}
				}
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
}

// formsOf is how a secret could stand in a file: plain, percent-encoded, hex, and
// base64 in either alphabet at each of the three alignments.
func formsOf(s string) [][]byte {
	out := [][]byte{[]byte(s), []byte(url.QueryEscape(s)), []byte(hex.EncodeToString([]byte(s)))}
	for shift := range 3 {
		// Leave out the first and last few characters, which depend on what stands around.
		padded := append(make([]byte, shift), s...)
		whole := base64.StdEncoding.EncodeToString(padded)
		from, to := (shift*8+5)/6, len(padded)*8/6
		std := whole[from:to]
		out = append(out, []byte(std), []byte(strings.NewReplacer("+", "-", "/", "_").Replace(std)))
	}
	return out
}

// refuseSignIn begins a sign-in and cancels it at the consent page, then tries
// with a wrong password.
func refuseSignIn(t *testing.T, g *gate) {
	t.Helper()
	out := g.postern("signin", "scan", "--no-wait")
	link, _, _ := strings.Cut(out[strings.Index(out, g.url()):], "\n")
	v := visitor.New(g.sim.CAPEM())
	p, err := v.SignIn(t.Context(), strings.TrimSpace(link), "scan@contoso.com", "not-the-Pa55word")
	_ = err // the pages ask again and again; that is the point
	g.visitor.Pages = append(g.visitor.Pages, v.Pages...)
	if p.Title == "Signed in · Postern" {
		t.Error("a wrong password signed in")
	}
}

// denySignIn has Microsoft send the browser back with a refusal.
func denySignIn(t *testing.T, g *gate) {
	t.Helper()
	out := g.postern("signin", "scan", "--no-wait")
	link, _, _ := strings.Cut(out[strings.Index(out, g.url()):], "\n")
	g.sim.World.Arm(world.Fault{Where: "authorize", Kind: world.FaultReply, Code: "65004"})
	v := visitor.New(g.sim.CAPEM())
	p, err := v.SignIn(t.Context(), strings.TrimSpace(link), "scan@contoso.com", sim365.Password)
	if err != nil || p.Status != http.StatusForbidden || !strings.Contains(p.Text, "AADSTS65004") {
		t.Errorf("a refusal ended at %d %q, %v", p.Status, p.Title, err)
	}
	g.visitor.Pages = append(g.visitor.Pages, v.Pages...)
}

// pages looks at the pages behind the login, and at the figures.
func (g *gate) pages(t *testing.T) (pages []visitor.Page, admin string) {
	t.Helper()
	admin = g.adminPassword()
	c, token := g.logIn("admin", admin), g.token("figures", "", "metrics")
	for path, ask := range map[string]func() (int, string){
		"/accounts": func() (int, string) { return g.page(c, "/accounts") }, "/me": func() (int, string) { return g.page(c, "/me") },
		"/accounts/scan": func() (int, string) { return g.page(c, "/accounts/scan") }, "/accounts/scan/edit": func() (int, string) { return g.page(c, "/accounts/scan/edit") },
		"/apps": func() (int, string) { return g.page(c, "/apps") }, "/apps/contoso": func() (int, string) { return g.page(c, "/apps/contoso") },
		"/users": func() (int, string) { return g.page(c, "/users") }, "/audit": func() (int, string) { return g.page(c, "/audit") },
		"/metrics": func() (int, string) { return g.figures(token) },
	} {
		status, body := ask()
		if status != http.StatusOK {
			t.Errorf("%s: %d", path, status)
		}
		at, _ := url.Parse(g.url() + path)
		pages = append(pages, visitor.Page{URL: at, HTML: body})
	}
	return pages, admin
}

// sendOne submits a message and waits until Microsoft has it.
func sendOne(t *testing.T, g *gate, subject string) {
	t.Helper()
	before := sentWith(g, subject)
	submitOne(t, g, subject)
	waitFor(t, "the message in Sent Items", func() bool { return sentWith(g, subject) > before })
}

// submitOne hands a message over at the door and wants its 250.
func submitOne(t *testing.T, g *gate, subject string) {
	t.Helper()
	c, err := g.login(g.doorTLS())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	id := "<" + strings.ReplaceAll(subject, " ", "-") + time.Now().Format("150405.000") + "@test.example>"
	if err := submit(c, "scan@contoso.com", "someone@elsewhere.example", simpleMail("scan@contoso.com", "someone@elsewhere.example", subject, id)); err != nil {
		t.Fatal(err)
	}
}

// wrongPassword knocks at the door with a password that is not the device's.
func wrongPassword(t *testing.T, g *gate) {
	t.Helper()
	c, err := smtp.Dial(g.smtp)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.StartTLS(g.doorTLS()); err != nil {
		t.Fatal(err)
	}
	if err := c.Auth(smtp.PlainAuth("", "scanner", "wrong-Pa55word", "127.0.0.1")); err == nil {
		t.Error("a wrong password was let in")
	}
}
