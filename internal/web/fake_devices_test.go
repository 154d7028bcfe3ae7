package web_test

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"postern/internal/check"
	"postern/internal/declare"
	"postern/internal/door"
	"postern/internal/fault"
	"postern/internal/mail"
	"postern/internal/secret"
	"postern/internal/vault"
	"postern/internal/web"
)

// fakeDevices keeps devices in memory.
type fakeDevices struct {
	mu     sync.Mutex
	all    map[string]door.Device
	doors  []web.Door
	old    map[string]string
	broken error
	did    []string // who did what to whom
	tested []string // door and password
	report check.Report
}

func newFakeDevices() *fakeDevices {
	return &fakeDevices{
		all: map[string]door.Device{
			"printer": {Name: "printer", Account: "scan", PasswordHash: "h", Senders: []mail.Address{{Local: "copier", Domain: "contoso.com"}}},
			"scanner": {Name: "scanner", Account: "scan", PasswordHash: "h", Policy: door.Policy{NoLogin: true, PerMinute: 10, MaxSize: 10 << 20,
				Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.7/32")}}},
		},
		doors: []web.Door{{Key: "smtp_listen", Host: "gate.contoso.com", Port: 587}, {Key: "listed_listen", Host: "gate.contoso.com", Port: 25}, {Key: "imaps_listen", Host: "gate.contoso.com", Port: 993}},
		old:   map[string]string{"printer": "TLS 1.0"},
		report: check.Report{OK: true, Headline: "This device may send", Stages: []check.Stage{
			{Name: "encryption", Status: check.Warn, Summary: "TLS 1.3. Its certificate is not one that machines know by themselves.", Next: "set acme_hosts"},
			{Name: "login", Status: check.OK, Summary: "Name and password are right."},
			{Name: "recipient", Status: check.Fail, Summary: "The door refused.", Reply: "550 5.7.1 <b>no</b>"},
		}},
	}
}

func (f *fakeDevices) Devices(context.Context) ([]door.Device, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := slices.Collect(maps.Values(f.all))
	slices.SortFunc(all, func(a, b door.Device) int { return strings.Compare(a.Name, b.Name) })
	return all, f.broken
}

func (f *fakeDevices) Device(_ context.Context, name string) (door.Device, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	d, ok := f.all[name]
	if !ok {
		return d, fault.New(fault.NotFound, "look up", "there is no device %q", name)
	}
	return d, f.broken
}

func (f *fakeDevices) do(who, what, name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.all[name]; !ok {
		return fault.New(fault.NotFound, "look up", "there is no device %q", name)
	}
	f.did = append(f.did, who+" "+what+" "+name)
	return nil
}

func (f *fakeDevices) DeleteDevice(_ context.Context, who, name string) error {
	return f.do(who, "deletes", name)
}

func (f *fakeDevices) SwitchDevice(_ context.Context, who, name string, on bool) error {
	return f.do(who, map[bool]string{true: "switches on", false: "switches off"}[on], name)
}

func (f *fakeDevices) NewDevicePassword(_ context.Context, who, name string) (secret.Text, error) {
	return secret.New("fresh-pass-word"), f.do(who, "replaces the password of", name)
}

func (f *fakeDevices) TestDevice(_ context.Context, name, at string, password secret.Text) (check.Report, error) {
	f.tested = append(f.tested, at+" "+password.Reveal())
	return f.report, f.do("test", "tests", name)
}

func (f *fakeDevices) Doors() []web.Door { return f.doors }

func (f *fakeDevices) OldTLS() map[string]string { return f.old }

// apply does what a document says of devices by the real checks, and keeps the rest.
func (s *site) apply(ctx context.Context, who string, doc declare.Document) ([]declare.Change, error) {
	s.applied = append(s.applied, doc)
	s.appliers = append(s.appliers, who)
	if s.refuse != nil {
		return nil, s.refuse
	}
	a := declare.Applier{
		Vault: declaredVault{s.vault}, Devices: declaredDevices{s.devices}, Alerts: s.alerts, Secrets: s.alerts,
		Tasks: declaredTasks{s.mail.store}, MakeDirectory: func(string) error { return nil },
		Getenv: func(string) (string, bool) { return "", false },
		Passwords: declare.Passwords{
			New:    func() secret.Text { return secret.New("made-pass-word") },
			Hash:   func(secret.Text) (string, error) { return "hash", nil },
			Verify: func(string, secret.Text) bool { return false },
		},
	}
	return a.Apply(ctx, doc)
}

// declaredDevices lets documents be applied to the fake.
type declaredDevices struct{ *fakeDevices }

func (f declaredDevices) PutDevice(_ context.Context, d door.Device) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all[d.Name] = d
	return nil
}

func (f declaredDevices) DeleteDevice(context.Context, string) error { return nil }

// declaredVault takes what documents say of apps and accounts.
type declaredVault struct{ *fakeVault }

func (f declaredVault) PutApp(context.Context, vault.App, vault.Proof) error { return nil }

func (f declaredVault) SecretIs(vault.App, secret.Text) bool { return false }

func (f declaredVault) Account(ctx context.Context, name string) (vault.Account, error) {
	d, err := f.Describe(ctx, name)
	return d.Account, err
}

func (f declaredVault) PutAccount(context.Context, vault.Account, *secret.Text) error { return nil }

func (f declaredVault) PasswordIs(vault.Account, secret.Text) bool { return false }
