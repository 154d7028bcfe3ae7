package declare_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postern/internal/alert"
	"postern/internal/declare"
	"postern/internal/door"
	"postern/internal/fault"
	"postern/internal/fetch"
	"postern/internal/mail"
	"postern/internal/secret"
	"postern/internal/vault"
)

// memory stands in for vault, devices and tasks. Only what declaring calls is
// there; the embedded interface panics on the rest.
type memory struct {
	fetch.Ledger
	apps     map[string]vault.App
	secrets  map[string]string // of apps
	words    map[string]string // passwords of accounts
	accounts map[string]vault.Account
	devices  map[string]door.Device
	tasks    map[string]fetch.Task
	routes   map[string]alert.Route
	kept     map[string]secret.Text // of webhooks
	dirs     []string
	writes   int
}

func newMemory() *memory {
	return &memory{apps: map[string]vault.App{}, secrets: map[string]string{}, words: map[string]string{}, accounts: map[string]vault.Account{},
		devices: map[string]door.Device{}, tasks: map[string]fetch.Task{}, routes: map[string]alert.Route{}, kept: map[string]secret.Text{}}
}

func get[T any](m map[string]T, name string) (T, error) {
	v, ok := m[name]
	if !ok {
		return v, fault.New(fault.NotFound, "look up", "%q is not there", name)
	}
	return v, nil
}

func values[T any](m map[string]T) ([]T, error) {
	var out []T
	for _, v := range m {
		out = append(out, v)
	}
	return out, nil
}

func (m *memory) Apps(context.Context) ([]vault.App, error) { return values(m.apps) }
func (m *memory) App(_ context.Context, n string) (vault.App, error) {
	return get(m.apps, n)
}
func (m *memory) PutApp(_ context.Context, a vault.App, proof vault.Proof) error {
	m.writes++
	old := m.apps[a.Name]
	a.Secret, a.Certificate, a.Key = old.Secret, old.Certificate, old.Key
	if proof.Secret != nil {
		m.secrets[a.Name] = proof.Secret.Reveal()
		a.Secret = vault.Sealed("sealed")
	}
	if proof.Certificate != nil {
		a.Certificate, a.Key = proof.Certificate.Leaf.Raw, vault.Sealed("sealed key")
	}
	m.apps[a.Name] = a
	return nil
}
func (m *memory) SecretIs(a vault.App, clear secret.Text) bool {
	return m.secrets[a.Name] == clear.Reveal()
}
func (m *memory) Accounts(context.Context) ([]vault.Account, error) { return values(m.accounts) }
func (m *memory) Account(_ context.Context, n string) (vault.Account, error) {
	return get(m.accounts, n)
}
func (m *memory) PutAccount(_ context.Context, a vault.Account, clear *secret.Text) error {
	m.writes++
	a.Password = m.accounts[a.Name].Password
	if clear != nil {
		m.words[a.Name] = clear.Reveal()
		a.Password, a.PasswordSet = vault.Sealed("sealed"), time.Unix(2, 0)
	}
	a.State = vault.Active // as if somebody had signed in meanwhile
	m.accounts[a.Name] = a
	return nil
}
func (m *memory) PasswordIs(a vault.Account, clear secret.Text) bool {
	return m.words[a.Name] == clear.Reveal()
}
func (m *memory) Devices(context.Context) ([]door.Device, error) { return values(m.devices) }
func (m *memory) Device(_ context.Context, n string) (door.Device, error) {
	return get(m.devices, n)
}
func (m *memory) PutDevice(_ context.Context, d door.Device) error {
	m.writes++
	d.Created = time.Unix(1, 0)
	m.devices[d.Name] = d
	return nil
}
func (m *memory) DeleteDevice(context.Context, string) error  { return errors.New("not asked for") }
func (m *memory) Tasks(context.Context) ([]fetch.Task, error) { return values(m.tasks) }
func (m *memory) Task(_ context.Context, n string) (fetch.Task, error) {
	return get(m.tasks, n)
}
func (m *memory) PutTask(_ context.Context, t fetch.Task) error {
	m.writes++
	t.Created = time.Unix(1, 0)
	m.tasks[t.Name] = t
	return nil
}

func (m *memory) applier(env map[string]string) declare.Applier {
	return declare.Applier{Vault: m, Devices: m, Tasks: m, Alerts: m, Secrets: m,
		Passwords: declare.Passwords{
			New:    func() secret.Text { return secret.New("made-for-you") },
			Hash:   func(s secret.Text) (string, error) { return "hash:" + s.Reveal(), nil },
			Verify: func(h string, s secret.Text) bool { return h == "hash:"+s.Reveal() },
		},
		Getenv:        func(k string) (string, bool) { v, ok := env[k]; return v, ok },
		MakeDirectory: func(dir string) error { m.dirs = append(m.dirs, dir); return nil },
	}
}

const whole = `
apps:
  - name: contoso
    tenant: contoso.onmicrosoft.com
    client_id: 11111111-2222-3333-4444-555555555555
    secret: {env: CLIENT_SECRET}
    secret_expires: 2027-05-01
    cloud: custom
    custom:
      authority: https://localhost:1234
      smtp: {host: localhost, port: 587, tls: starttls}
      imap: {host: localhost, port: 993, tls: implicit}
      ca: {value: "PEM"}
accounts:
  - name: scan
    app: contoso
    mailbox: scan@contoso.com
    purposes: [send, imap]
devices:
  - name: printer
    account: scan
    password: {file: FILE}
  - name: erp
    account: scan
    senders: [invoices@contoso.com]
tasks:
  - name: invoices
    account: scan
    directory: /srv/invoices
    every: 5m
    after: move
    move_to: Archive
`

func document(t *testing.T, text string) declare.Document {
	t.Helper()
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("printer-password\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	doc, err := declare.Parse("test.yaml", strings.NewReader(strings.Replace(text, "FILE", file, 1)))
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func apply(t *testing.T, a declare.Applier, doc declare.Document) string {
	t.Helper()
	changes, err := a.Apply(t.Context(), doc)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, c := range changes {
		lines = append(lines, c.Kind+" "+c.Name+" "+c.Action)
	}
	return strings.Join(lines, "\n")
}

func TestApplyIsIdempotent(t *testing.T) {
	t.Parallel()
	m := newMemory()
	a := m.applier(map[string]string{"CLIENT_SECRET": "s3cret"})
	doc := document(t, whole)
	want := "app contoso created\naccount scan created\ndevice printer created\ndevice erp created\ntask invoices created"
	if got := apply(t, a, doc); got != want {
		t.Fatalf("first:\n%s", got)
	}
	if got := apply(t, a, doc); got != strings.ReplaceAll(want, "created", "unchanged") || m.writes != 5 {
		t.Errorf("second (%d writes):\n%s", m.writes, got)
	}
	if len(m.dirs) != 1 || m.dirs[0] != "/srv/invoices" {
		t.Errorf("directories made: %v", m.dirs)
	}
	if m.secrets["contoso"] != "s3cret" || m.devices["printer"].PasswordHash != "hash:printer-password" || m.devices["erp"].PasswordHash != "hash:made-for-you" {
		t.Errorf("secrets went astray: %v %v", m.secrets, m.devices)
	}
	app := m.apps["contoso"]
	if app.Cloud.Outlook != "https://outlook.office.com" || app.Cloud.SMTP.Port != 587 || app.Cloud.CA != "PEM" {
		t.Errorf("cloud: %+v", app.Cloud)
	}
	if tk := m.tasks["invoices"]; time.Duration(tk.Schedule.Every) != 5*time.Minute || tk.Handover.Directory != "/srv/invoices" || tk.After != (fetch.Action{Do: fetch.Move, To: "Archive"}) {
		t.Errorf("task: %+v", tk)
	}
	if m.accounts["scan"].Mailbox != (mail.Address{Local: "scan", Domain: "contoso.com"}) || m.accounts["scan"].Method != vault.Delegated {
		t.Errorf("account: %+v", m.accounts["scan"])
	}
}

func TestApplyNoticesAChangedSecretAndField(t *testing.T) {
	t.Parallel()
	m := newMemory()
	apply(t, m.applier(map[string]string{"CLIENT_SECRET": "one-secret"}), document(t, whole))
	got := apply(t, m.applier(map[string]string{"CLIENT_SECRET": "two-secret"}), document(t, strings.Replace(whole, "5m", "1h", 1)))
	if !strings.Contains(got, "app contoso changed") || !strings.Contains(got, "task invoices changed") || !strings.Contains(got, "account scan unchanged") {
		t.Errorf("got:\n%s", got)
	}
}

func TestExportAppliesToTheSame(t *testing.T) {
	t.Parallel()
	m := newMemory()
	a := m.applier(map[string]string{"CLIENT_SECRET": "s3cret-value"})
	apply(t, a, document(t, whole))
	doc, err := a.Export(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := doc.Write(&b); err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{"s3cret-value", "printer-password", "made-for-you", "hash:"} {
		if strings.Contains(b.String(), s) {
			t.Errorf("the export shows %q:\n%s", s, b.String())
		}
	}
	again, err := declare.Parse("export", &b)
	if err != nil {
		t.Fatal(err)
	}
	if got := apply(t, a, again); strings.Contains(got, "changed\n") && strings.Contains(got, " changed") || m.writes != 5 {
		t.Errorf("an export is not its own fixed point:\n%s", got)
	}
}

func TestBadDocumentsNameLineKeyAndWhatIsAllowed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"empty":         {"", []string{"empty", "apps, accounts, devices, tasks"}},
		"unknown key":   {"apps:\n  - name: x\n    tennant: y\n", []string{"test.yaml", "line 3", `"tennant"`, "allowed: name, tenant"}},
		"unknown top":   {"app:\n  - name: x\n", []string{"line 1", "allowed: apps"}},
		"not a list":    {"apps:\n  name: x\n", []string{"line 2", "list"}},
		"secret shape":  {"apps:\n  - name: x\n    secret: hunter2hunter2\n", []string{"line 3", "{env: NAME}"}},
		"two secrets":   {"apps:\n  - name: x\n    secret: {env: A, value: B}\n", []string{"line 3", "{file: PATH}"}},
		"after":         {"tasks:\n  - name: x\n    after: burn\n", []string{"line 3", "nothing, read, flag, tag KEYWORD, move FOLDER, delete"}},
		"pattern":       {"tasks:\n  - name: x\n    rules: [{match: {from: ['/(/']}}]\n", []string{"line 3", "missing closing )"}},
		"within a task": {"tasks:\n  - name: x\n    handover: {webhook: {uri: x}}\n", []string{"line 3", "uri", "allowed: url"}},
		"duration":      {"tasks:\n  - name: x\n    every: often\n", []string{"line 3", "5m"}},
		"tls mode":      {"apps:\n  - name: x\n    custom:\n      smtp: {host: h, port: 1, tls: ssl}\n", []string{"starttls, implicit"}},
		"yaml syntax":   {"apps: [\n", []string{"test.yaml", "line"}},
		"port is words": {"apps:\n  - name: x\n    custom:\n      smtp: {host: h, port: many, tls: starttls}\n", []string{"line 4"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := declare.Parse("test.yaml", strings.NewReader(c.text))
			if !errors.Is(err, fault.Invalid) {
				t.Fatalf("got %v", err)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%q shows a secret", err)
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q does not say %q", err, w)
				}
			}
		})
	}
}

func TestRefusedBeforeAnythingIsWritten(t *testing.T) {
	t.Parallel()
	good := "accounts:\n  - {name: a, app: x, mailbox: a@b.example, purposes: [send]}\n"
	for name, c := range map[string]struct{ text, want string }{
		"env missing":     {good + "apps:\n  - {name: x, tenant: t, client_id: c, secret: {env: NOPE}}\n", "NOPE is not set"},
		"file missing":    {good + "apps:\n  - {name: x, tenant: t, client_id: c, secret: {file: /nope/nope}}\n", "/nope/nope"},
		"cloud":           {"apps:\n  - {name: x, cloud: mars}\n", "global, usgov, dod, china, custom"},
		"custom alone":    {"apps:\n  - {name: x, custom: {authority: \"https://x\"}}\n", "cloud: custom"},
		"plain authority": {"apps:\n  - {name: x, cloud: custom, custom: {authority: \"http://x\"}}\n", "https://"},
		"plain tls":       {"apps:\n  - {name: x, cloud: custom, custom: {authority: \"https://x\", smtp: {host: h, port: 25, tls: plain}}}\n", "in the clear"},
		"date":            {"apps:\n  - {name: x, secret_expires: soon}\n", "2027-05-01"},
		"mailbox":         {"accounts:\n  - {name: a, app: x, mailbox: nobody, purposes: [send]}\n", "no @"},
		"purpose":         {"accounts:\n  - {name: a, app: x, mailbox: a@b, purposes: [fly]}\n", "send, imap, pop3, graph, hve"},
		"no purpose":      {"accounts:\n  - {name: a, app: x, mailbox: a@b}\n", "at least one"},
		"method":          {"accounts:\n  - {name: a, app: x, mailbox: a@b, purposes: [send], sign_in: magic}\n", "delegated, application, password, app_password"},
		"name":            {good + "devices:\n  - {name: \"../x\", account: a}\n", "letters, digits"},
		"twice":           {good + "devices:\n  - {name: d, account: a}\n  - {name: d, account: a}\n", "twice"},
		"short password":  {"devices:\n  - {name: d, account: a, password: {value: short}}\n", "8 characters"},
		"sender":          {"devices:\n  - {name: d, account: a, senders: [x]}\n", "no @"},
		"no directory":    {"tasks:\n  - {name: t, account: a}\n", "directory"},
		"start":           {"tasks:\n  - {name: t, account: a, directory: /x, start: later}\n", "source.start: \"later\" is not known; allowed: new, all"},
		"move nowhere":    {"tasks:\n  - {name: t, account: a, directory: /x, after: move}\n", "move needs a folder"},
		"move_to alone":   {"tasks:\n  - {name: t, account: a, directory: /x, move_to: Y}\n", "after: move"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMemory()
			_, err := m.applier(nil).Apply(t.Context(), document(t, c.text))
			if !errors.Is(err, fault.Invalid) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if m.writes != 0 {
				t.Errorf("%d writes were made", m.writes)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add(whole)
	f.Add("apps: [{name: x, secret: {value: \"a\"}}]")
	f.Add("tasks:\n- every: 5m")
	f.Fuzz(func(t *testing.T, s string) {
		_, err := declare.Parse("fuzz", strings.NewReader(s))
		if err != nil && !errors.Is(err, fault.Invalid) {
			t.Errorf("unclassified: %v", err)
		}
	})
}
