package web_test

import (
	"context"
	"sync"

	"postern/internal/alert"
	"postern/internal/check"
	"postern/internal/fault"
	"postern/internal/mail"
	"postern/internal/secret"
)

// fakeAlerts keeps routes in memory.
type fakeAlerts struct {
	mu      sync.Mutex
	routes  []alert.Route
	secrets map[string]secret.Text
	history []alert.Alert
	tested  []alert.Route
	signed  secret.Text
	deleted []string
	broken  error
	report  check.Report
}

func newFakeAlerts() *fakeAlerts {
	return &fakeAlerts{secrets: map[string]secret.Text{}, routes: []alert.Route{
		{Name: "admins", Account: "scan", To: []mail.Address{{Local: "admin", Domain: "contoso.com"}}, Events: []alert.Event{alert.NeedsSignIn}, Subject: "Gate: {{.What}}"},
		{Name: "ops", Webhook: "https://ops.contoso.com/postern"},
	}, report: check.Report{OK: true, Headline: "The test was sent", Stages: []check.Stage{{Name: "message", Status: check.OK, Summary: "The server took the message.", Reply: "250 2.0.0 OK <b>queued</b>"}}}}
}

func (f *fakeAlerts) Routes(context.Context) ([]alert.Route, error) { return f.routes, f.broken }

func (f *fakeAlerts) AlertRoute(_ context.Context, name string) (alert.Route, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.routes {
		if r.Name == name {
			return r, f.broken
		}
	}
	return alert.Route{}, fault.New(fault.NotFound, "look up", "there is no alert route %q", name)
}

func (f *fakeAlerts) PutAlertRoute(_ context.Context, r alert.Route) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.routes {
		if f.routes[i].Name == r.Name {
			f.routes[i] = r
			return nil
		}
	}
	f.routes = append(f.routes, r)
	return nil
}

func (f *fakeAlerts) DeleteAlertRoute(_ context.Context, who, name string) error {
	f.deleted = append(f.deleted, who+" "+name)
	return nil
}

func (f *fakeAlerts) AlertHistory(context.Context, alert.Filter) ([]alert.Alert, error) {
	return f.history, f.broken
}

func (f *fakeAlerts) TestAlert(_ context.Context, _ string, given alert.Route, signWith secret.Text) (check.Report, error) {
	f.tested, f.signed = append(f.tested, given), signWith
	return f.report, nil
}

func (f *fakeAlerts) KeptSecret(_ context.Context, name string) (secret.Text, error) {
	return f.secrets[name], nil
}

func (f *fakeAlerts) KeepSecret(_ context.Context, name string, clear secret.Text) error {
	f.secrets[name] = clear
	return nil
}
