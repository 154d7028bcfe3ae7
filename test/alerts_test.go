package test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/internal/alert"
	"postern/internal/check"
	"postern/internal/secret"
	"postern/internal/webhook"
)

// receiver is somebody's webhook that is down for its first calls.
type receiver struct {
	*httptest.Server
	mu   sync.Mutex
	down int
	got  []call
}

type call struct{ id, signature, body string }

func newReceiver(t *testing.T, down int) *receiver {
	r := &receiver{down: down}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		b, _ := io.ReadAll(q.Body)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.got = append(r.got, call{q.Header.Get(webhook.HeaderID), q.Header.Get(webhook.HeaderSignature), string(b)})
		if len(r.got) <= r.down {
			http.Error(w, "not today", http.StatusInternalServerError)
		}
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) calls() []call {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]call(nil), r.got...)
}

func (g *gate) alerts(args ...string) (all []alert.Alert) {
	g.t.Helper()
	if err := json.Unmarshal([]byte(g.postern(append([]string{"alerts", "history", "--json"}, args...)...)), &all); err != nil {
		g.t.Fatal(err)
	}
	return all
}

// TestAlerts lets an account lose its sign-in and get it back, and reads what an
// administrator hears of it by mail, through another account, and by webhook.
func TestAlerts(t *testing.T) {
	t.Parallel()
	g, ops := newGate(t), newReceiver(t, 1)
	g.unlimited("scan@contoso.com", "invoices@contoso.com")
	g.env = append(g.env, "OPS_SECRET=a secret of enough octets")
	g.setUp(`alerts:
  - name: admins
    account: scan
    to: [invoices@contoso.com]
    subject: "ALERT {{.Event}} {{.Account}}"
    text: "{{.What}} / {{.Why}} / {{.NextStep}}"
  - {name: ops, webhook: "` + ops.URL + `/hook", secret: {env: OPS_SECRET}, events: [account_needs_admin, account_needs_sign_in]}
`)
	if out := g.apply(g.postern("export")); strings.Contains(out, "changed") && !strings.Contains(out, "unchanged") {
		t.Errorf("the export changes something: %s", out)
	}

	g.sim.World.RevokeSessions("scan@contoso.com")
	newest := time.Now()
	waitFor(t, "the tokens to be a few seconds old", func() bool { return time.Since(newest) > 3*time.Second })
	if _, _, code := g.try("", "check", "scan"); code != 3 {
		t.Errorf("the check of a revoked sign-in ended with %d", code)
	}
	var told []alert.Alert
	waitFor(t, "the alert in the history", func() bool {
		told = g.alerts("--route", "admins")
		return len(told) > 0 && told[0].State == alert.Told && strings.HasSuffix(told[0].Outcome, "delivered")
	})
	if a := told[0]; !strings.HasPrefix(a.Outcome, "queued through account invoices") {
		t.Errorf("the alert about %s: %s", a.News.Account, a.Outcome)
	}
	sent := g.sim.World.Messages("invoices@contoso.com", "Sent Items")
	if len(sent) != 1 || headerOf(sent[0].Raw, "Subject") != "ALERT account_needs_sign_in scan" || !strings.Contains(string(sent[0].Raw), "postern signin scan") {
		t.Errorf("sent %d: %v", len(sent), sent)
	}
	waitFor(t, "the webhook's first call", func() bool { return len(ops.calls()) > 0 })
	first := ops.calls()[0]
	at, _, _ := strings.Cut(strings.TrimPrefix(first.signature, "t="), ",")
	seconds, err := time.ParseDuration(at + "s")
	if err != nil || webhook.Sign(secret.New("a secret of enough octets"), time.Unix(int64(seconds/time.Second), 0), []byte(first.body)) != first.signature {
		t.Errorf("signed %q", first.signature)
	}
	if a := g.alerts("--route", "ops"); a[0].State != alert.Waiting || !strings.Contains(a[0].Outcome, "not today") || a[0].Batch != first.id {
		t.Errorf("history has %+v", a[0])
	}
	g.signIn("scan", "scan@contoso.com")
	waitFor(t, "the good news", func() bool { return g.alerts("--route", "admins")[0].News.Event == alert.AccountWorks })
	g.stop()
}

// TestAlertTests really sends tests, by values that are saved nowhere.
func TestAlertTests(t *testing.T) {
	t.Parallel()
	g, ops := newGate(t), newReceiver(t, 0)
	g.unlimited("scan@contoso.com")
	g.setUp("")
	out := g.postern("alerts", "test", "--account", "scan", "--to", "invoices@contoso.com", "--subject", "trial of {{.Route}}")
	for _, want := range []string{"ok       template", "ok       tcp", "ok       message", "The server took the message from scan@contoso.com", "The test was sent"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if sentWith(g, "trial of unsaved") != 1 {
		t.Error("it did not arrive")
	}
	g.refused(2, []string{"alerts", "test", "--account", "scan", "--to", "x@contoso.com", "--subject", "{{.Whom}}"}, ".Whom is not known", ".NextStep")
	g.refused(2, []string{"alerts", "test"}, "either account and to, or webhook")

	var r check.Report
	token := g.token("admin", "", "admin")
	answer := g.call(token, http.MethodPost, "/alerts/test", "application/json", `{"webhook":"`+ops.URL+`","secret":"another secret of octets"}`, &r)
	if answer.StatusCode != http.StatusOK || !r.OK || len(ops.calls()) != 1 || !strings.Contains(ops.calls()[0].body, `"event":"test"`) {
		t.Errorf("%s: %+v", answer.Status, r)
	}
	ops.Close()
	stdout, _, code := g.try("", "alerts", "test", "--webhook", ops.URL)
	if code != 3 || !strings.Contains(stdout, "answer failed") {
		t.Errorf("exit %d\n%s", code, stdout)
	}
	if refused := g.call(g.token("reader", "", "queue:read"), http.MethodPost, "/alerts/test", "application/json", `{}`, nil); refused.StatusCode != http.StatusForbidden {
		t.Errorf("a token without the scope: %s", refused.Status)
	}
	g.stop()
}
