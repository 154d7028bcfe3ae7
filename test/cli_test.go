package test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"postern/internal/sim365"
	"postern/internal/sim365/visitor"
)

// helpOf collects the help of every command, as help itself lists them.
func (g *gate) helpOf() map[string]string {
	g.t.Helper()
	all := map[string]string{}
	var walk func(path []string)
	walk = func(path []string) {
		help := g.postern(append(path, "--help")...)
		all[strings.Join(path, " ")] = help
		_, list, _ := strings.Cut(help, "Available Commands:\n")
		list, _, _ = strings.Cut(list, "\n\n")
		for line := range strings.Lines(list) {
			name := strings.Fields(line)[0]
			if len(strings.Fields(line)) < 3 {
				g.t.Errorf("%v %s has no description", path, name)
			}
			walk(append(slices.Clone(path), name))
		}
	}
	walk(nil)
	return all
}

// TestEveryCommandHasHelp walks the tree of commands as help shows it.
func TestEveryCommandHasHelp(t *testing.T) {
	t.Parallel()
	g := bareGate(t)
	if out := g.postern("--version"); !strings.HasPrefix(out, "postern ") || strings.Count(out, "\n") != 1 {
		t.Errorf("--version says %q", out)
	}
	all := g.helpOf()
	for path, help := range all {
		if !strings.Contains(help, "Usage:") || !strings.Contains(help, strings.TrimSpace("postern "+path)) {
			t.Errorf("help of %q is\n%s", path, help)
		}
		group := strings.Contains(help, "Available Commands:")
		if words := strings.Fields(path); !group && words[0] != "completion" && words[0] != "help" && !strings.Contains(help, "Examples:\n  postern "+path) {
			t.Errorf("help of %q has no example of it", path)
		}
	}
	if len(all) < 30 {
		t.Errorf("only %d commands were found", len(all))
	}
	t.Run("docs", func(t *testing.T) { commandsInDocs(t, all) })
	if _, err := os.Stat(g.dataDir()); err == nil {
		t.Error("asking for help made a data directory")
	}
}

var inDocs = regexp.MustCompile("(?m)^ {4,}(?:[A-Z_]+='[^']*' )?postern ([^\n]+)|`postern ([^`]+)`|\"postern (token [^\"]+)\"")

// commandsInDocs wants every command that the docs show to be there, with its flags.
func commandsInDocs(t *testing.T, all map[string]string) {
	files, err := filepath.Glob("../docs/*.md")
	if err != nil || len(files) < 5 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	seen := 0
	for _, file := range append(files, "../README.md") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range inDocs.FindAllStringSubmatch(string(text), -1) {
			shown, _, _ := strings.Cut(m[1]+m[2]+m[3], "#")
			seen++
			words := strings.FieldsFunc(shown, func(r rune) bool { return r == ' ' || r == '|' })
			n := 0
			for n < len(words) && all[strings.Join(words[:n+1], " ")] != "" {
				n++
			}
			help := all[strings.Join(words[:n], " ")]
			if rest := words[n:]; strings.Contains(help, "Available Commands:") && len(rest) > 0 && !strings.HasPrefix(rest[0], "-") {
				t.Errorf("%s: postern %s is no command", file, shown)
			}
			for _, w := range words[n:] {
				if flag, _, _ := strings.Cut(w, "="); strings.HasPrefix(flag, "--") && !strings.Contains(help, flag+" ") {
					t.Errorf("%s: postern %s has a flag it does not know, %s", file, shown, flag)
				}
			}
		}
	}
	if seen < 30 {
		t.Errorf("only %d commands were found in the docs", seen)
	}
}

// list runs a command that lists and wants a JSON array of n.
func (g *gate) list(n int, args ...string) []map[string]any {
	g.t.Helper()
	out := g.postern(append(args, "--json")...)
	var rows []map[string]any
	if err := json.Unmarshal([]byte(out), &rows); err != nil || rows == nil {
		g.t.Errorf("postern %s --json prints no array: %v\n%s", strings.Join(args, " "), err, out)
	}
	if len(rows) != n {
		g.t.Errorf("postern %s --json lists %d, want %d:\n%s", strings.Join(args, " "), len(rows), n, out)
	}
	for _, r := range rows {
		for key := range r {
			if key != strings.ToLower(key) {
				g.t.Errorf("postern %s --json has a key %q: keys are snake_case", strings.Join(args, " "), key)
			}
		}
	}
	return rows
}

// TestListsAreJSON looks at every list, empty and not.
func TestListsAreJSON(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	for _, args := range []string{"apps list", "accounts list", "devices list", "queue list", "fetch list", "expiring"} {
		g.list(0, strings.Fields(args)...)
	}
	g.unlimited("scan@contoso.com")
	g.setUp(g.invoiceTask())
	g.list(0, "fetch", "runs", "invoices")
	g.list(0, "fetch", "ledger", "invoices")
	sendOne(t, g, "listed")
	if err := g.sim.Deliver("invoices@contoso.com", mailWith("listed", "<l1@x.example>", map[string]string{"a.pdf": "a"})); err != nil {
		t.Fatal(err)
	}
	g.postern("fetch", "run", "invoices", "--json")
	g.list(1, "apps", "list")
	g.list(3, "accounts", "list")
	g.list(1, "devices", "list")
	g.list(1, "queue", "list")
	g.list(1, "fetch", "list")
	g.list(1, "fetch", "runs", "invoices")
	g.list(1, "fetch", "ledger", "invoices")
	g.list(3, "check", "scan")
	g.stop()
}

func (g *gate) invoiceTask() string {
	return "tasks:\n  - {name: invoices, account: invoices, directory: " + g.inbox() + ", start: all, after: read}\n"
}

// TestApplyIsIdempotent applies the same document twice, and then what export made
// of it; only the first changes anything.
func TestApplyIsIdempotent(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	doc := g.document("  - {name: printer, account: scan, senders: [invoices@contoso.com]}\n" + g.invoiceTask())
	first := g.apply(doc)
	_, password, made := strings.Cut(first, "password (shown this once): ")
	if !made || strings.Count(first, ": created\n") != 7 || strings.Count(first, "password") != 1 {
		t.Errorf("a new document was applied like this:\n%s", first)
	}
	for name, again := range map[string]string{"the document": doc, "its export": g.postern("export")} {
		if out := g.apply(again); strings.Count(out, ": unchanged\n") != 7 || strings.Count(out, "\n") != 7 {
			t.Errorf("applying %s again:\n%s", name, out)
		}
	}
	writeFile(t, filepath.Join(g.dir, "again.yaml"), []byte(doc))
	g.list(7, "apply", "-f", "again.yaml")
	if out := g.postern("export"); strings.Contains(out, strings.TrimSpace(password)) || strings.Contains(out, devicePassword) || strings.Contains(out, g.contoso.App.Secret) {
		t.Errorf("a secret is in the export:\n%s", out)
	}
	g.refusedDocument("accounts:\n  - {name: x, ap: contoso}\n", "line 2:", `"ap" is not a key here`, "allowed: name, app, mailbox")
	g.refusedDocument("devices:\n  - {name: x, account: scan, password: {env: NOT_SET_ANYWHERE}}\n", "line 2:", "NOT_SET_ANYWHERE is not set")
	g.refusedDocument("tasks:\n  - {name: x, account: scan, directory: /tmp, every: often}\n", "line 2:", `"often"`, "5m")
}

func (g *gate) refusedDocument(doc string, words ...string) {
	g.t.Helper()
	out, errOut, code := g.try(doc, "apply", "-f", "-")
	if code != 2 || out != "" {
		g.t.Errorf("apply of a bad document: exit %d, printed %q", code, out)
	}
	for _, w := range words {
		if !strings.Contains(errOut, w) {
			g.t.Errorf("nothing is said of %q:\n%s", w, errOut)
		}
	}
}

// TestDryRunTouchesNothing compares mailbox, directory and ledger before and after.
func TestDryRunTouchesNothing(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	g.setUp(g.invoiceTask())
	for i := range 3 {
		if err := g.sim.Deliver("invoices@contoso.com", mailWith(fmt.Sprint("invoice ", i), fmt.Sprintf("<d%d@x.example>", i), map[string]string{fmt.Sprintf("i%d.pdf", i): "x"})); err != nil {
			t.Fatal(err)
		}
	}
	before := g.sim.Exchange.Folder("invoices@contoso.com", "INBOX")
	out := g.postern("fetch", "run", "invoices", "--dry-run")
	for i := range 3 {
		if !strings.Contains(out, fmt.Sprintf("i%d.pdf", i)) || !strings.Contains(out, "would be") {
			t.Errorf("the dry run does not announce i%d.pdf:\n%s", i, out)
		}
	}
	if after := g.sim.Exchange.Folder("invoices@contoso.com", "INBOX"); !reflect.DeepEqual(before, after) {
		t.Error("the mailbox was changed")
	}
	if files, err := os.ReadDir(g.inbox()); err != nil || len(files) != 0 {
		t.Errorf("the directory has %d files, %v", len(files), err)
	}
	g.list(0, "fetch", "runs", "invoices")
	g.list(0, "fetch", "ledger", "invoices")
	if out := g.postern("fetch", "run", "invoices"); !strings.Contains(out, "3 taken") {
		t.Errorf("the run after the dry run:\n%s", out)
	}
	if after := g.sim.Exchange.Folder("invoices@contoso.com", "INBOX"); reflect.DeepEqual(before, after) {
		t.Error("a real run marks messages read, and this comparison does not see it")
	}
	g.stop()
}

// TestSigninWaits starts `postern signin`, signs in as the visitor it waits for,
// and wants it to end by itself.
func TestSigninWaits(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	g.start()
	g.apply(g.document(""))
	cmd := exec.Command(binary(t), "signin", "scan", "--json", "--timeout", "60s") // bounds itself
	cmd.Env, cmd.Dir = g.env, g.dir
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := json.NewDecoder(out)
	var link struct{ Account, URL string }
	if err := lines.Decode(&link); err != nil || link.Account != "scan" {
		t.Fatalf("the first answer is %+v, %v", link, err)
	}
	if p, err := visitor.New(g.sim.CAPEM()).SignIn(t.Context(), link.URL, "scan@contoso.com", sim365.Password); err != nil || p.Status != http.StatusOK {
		t.Fatalf("the sign-in ended at %d %q, %v", p.Status, p.Title, err)
	}
	var done struct {
		SignedInAs string   `json:"signed_in_as"`
		Scopes     []string `json:"scopes"`
	}
	if err := lines.Decode(&done); err != nil || done.SignedInAs != "scan@contoso.com" || len(done.Scopes) == 0 {
		t.Errorf("the second answer is %+v, %v", done, err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("signin ended with %v", err)
	}
	g.postern("check", "scan", "--for", "send")
	g.refused(4, []string{"signin", "nobody"}, `"nobody"`)
	if _, errOut, code := g.try("", "signin", "invoices", "--timeout", "1s"); code != 1 || !strings.Contains(errOut, "nobody signed in within 1s") {
		t.Errorf("signin to which nobody comes: exit %d\n%s", code, errOut)
	}
	g.stop()
}

// Pages and figures are for those who may see them: asked without a login, with a
// password that was replaced, with another token, and as it should be.
func TestPagesAndMetricsAskWhoItIs(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	g.unlimited("scan@contoso.com")
	g.setUp("")
	sendOne(t, g, "counted")
	waitFor(t, "the count", func() bool { return len(g.queue("--state", "delivered")) == 1 })
	old := g.adminPassword()
	before := g.logIn("admin", old)
	password := g.adminPassword()
	if status, _ := g.tryLogin("admin", old); status != http.StatusForbidden {
		t.Errorf("a replaced password: %d", status)
	}
	for name, c := range map[string]*http.Client{"nobody": http.DefaultClient, "a session that was ended": before} {
		if status, body := g.page(c, "/accounts"); status != http.StatusUnauthorized || strings.Contains(body, "contoso") {
			t.Errorf("%s: %d", name, status)
		}
	}
	expect := func(path string, status int, body string, want ...string) {
		t.Helper()
		if status != http.StatusOK {
			t.Errorf("%s: %d", path, status)
		}
		for _, w := range want {
			if !strings.Contains(body, w) {
				t.Errorf("%s does not say %s:\n%s", path, w, body)
			}
		}
	}
	status, body := g.page(g.logIn("admin", password), "/accounts/scan")
	expect("/accounts/scan", status, body, "scan@contoso.com", "/register_microsoft_graph_api/", "Works.")

	for token, want := range map[string]int{"": 401, g.token("queue", "", "queue:read"): 403} {
		if status, body := g.figures(token); status != want || strings.Contains(body, "postern_queue") {
			t.Errorf("metrics with the token %.8s: %d", token, status)
		}
	}
	status, body = g.figures(g.token("prometheus", "", "metrics"))
	expect("/metrics", status, body, `postern_queue_messages{state="delivered"} 1`, `postern_accounts{state="active"} 3`, `postern_messages_total{event="accepted"} 1`, "go_goroutines")
	for _, path := range []string{"/healthz", "/readyz"} {
		if status, _ := g.page(http.DefaultClient, path); status != http.StatusOK {
			t.Errorf("%s: %d", path, status)
		}
	}
	g.stop()
}
