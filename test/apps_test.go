package test

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postern/internal/sim365"
	"postern/internal/sim365/visitor"
	"postern/internal/sim365/world"
)

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
	waitFor(t, "a token by the certificate", func() bool { // callers that ask within two seconds share one
		known, err := g.sim.World.CheckToken(strings.TrimSpace(g.postern("token", "machine", "--for", "smtp", "--fresh")))
		return err == nil && known.AppAuth == "2"
	})
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
