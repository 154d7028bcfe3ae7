package declare_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"postern/internal/alert"
	"postern/internal/declare"
	"postern/internal/fault"
	"postern/internal/secret"
)

func (m *memory) Routes(context.Context) ([]alert.Route, error) { return values(m.routes) }

func (m *memory) AlertRoute(_ context.Context, name string) (alert.Route, error) {
	return get(m.routes, name)
}

func (m *memory) PutAlertRoute(_ context.Context, r alert.Route) error {
	m.writes++
	m.routes[r.Name] = r
	return nil
}

func (m *memory) KeptSecret(_ context.Context, name string) (secret.Text, error) {
	return m.kept[name], nil
}

func (m *memory) KeepSecret(_ context.Context, name string, clear secret.Text) error {
	m.kept[name] = clear
	return nil
}

const mailRoute = `alerts:
  - name: admins
    events: [account_needs_sign_in, queue_old]
    account: scan
    to: [admin@contoso.com]
    subject: "{{if .Account}}{{.Account}}: {{end}}{{.What}}"
    per_hour: 4
`

const webhookRoute = `alerts:
  - name: ops
    webhook: https://ops.example/hook
    secret: {env: OPS_SECRET}
`

func TestAlertRoutesGoInAndOut(t *testing.T) {
	t.Parallel()
	for name, doc := range map[string]string{"mail": mailRoute, "webhook": webhookRoute} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMemory()
			a := m.applier(map[string]string{"OPS_SECRET": "at least sixteen octets"})
			if got := apply(t, a, document(t, doc)); !strings.Contains(got, "created") {
				t.Errorf("first: %s", got)
			}
			if got := apply(t, a, document(t, doc)); !strings.Contains(got, "unchanged") {
				t.Errorf("again: %s", got)
			}
			out := exported(t, a)
			if strings.Contains(out, "sixteen") {
				t.Errorf("the export shows the secret:\n%s", out)
			}
			if got := apply(t, a, document(t, out)); !strings.Contains(got, "unchanged") {
				t.Errorf("exported and applied: %s\n%s", got, out)
			}
		})
	}
}

func TestAWebhookGetsASecretOnce(t *testing.T) {
	t.Parallel()
	m := newMemory()
	doc := document(t, "alerts:\n  - {name: ops, webhook: \"https://ops.example/hook\"}\n")
	done, err := m.applier(nil).Apply(t.Context(), doc)
	if err != nil || len(done[0].Password.Reveal()) < 32 || m.kept["alert/ops"].Reveal() != done[0].Password.Reveal() {
		t.Fatalf("got %+v, %v", done, err)
	}
	if done, err = m.applier(nil).Apply(t.Context(), doc); err != nil || done[0].Action != "unchanged" || !done[0].Password.Empty() {
		t.Errorf("again: %+v, %v", done, err)
	}
}

func TestAlertRoutesThatCannotBe(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		`account: scan`:          "to: at least one",
		`to: [a@b.example]`:      "either account and to, or webhook",
		`account: scan, to: [a]`: "no @",
		`account: scan, to: [a@b.example], events: [all]`:          "account_needs_sign_in",
		`account: scan, to: [a@b.example], subject: "{{.Whatt}}"`:  ".NextStep",
		`account: scan, to: [a@b.example], text: "{{range .}}"`:    "unexpected EOF",
		`account: scan, to: [a@b.example], secret: {value: abcde}`: "signs a webhook",
		`account: scan, to: [a@b.example], per_hour: -1`:           "below 0",
		`webhook: "http://ops.example/"`:                           "https://",
		`webhook: "https://a:b@ops.example/"`:                      "secret instead",
		`webhook: "https://ops.example/", to: [a@b.example]`:       "are for mail",
		`webhook: "https://ops.example/", secret: {value: short}`:  "at least 16",
	} {
		d, err := declare.Parse("test.yaml", strings.NewReader("alerts:\n  - {name: ops, "+line+"}\n"))
		if err != nil {
			t.Fatal(err)
		}
		m := newMemory()
		_, err = m.applier(nil).Apply(t.Context(), d)
		if !errors.Is(err, fault.Invalid) || !strings.Contains(err.Error(), want) || m.writes != 0 {
			t.Errorf("%s: %v", line, err)
		}
	}
}
