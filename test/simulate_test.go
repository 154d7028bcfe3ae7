package test

import (
	"net/http"
	"strings"
	"testing"

	"postern/internal/relay"
)

// TestSimulate takes mail for nobody: of one account, and, started so, of all. What was
// simulated goes out once somebody wants it to.
func TestSimulate(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	g.start()
	g.apply(strings.Replace(g.document(""), "mailbox: scan@contoso.com,", "mailbox: scan@contoso.com, simulate: true,", 1))
	send := func(subject string) {
		t.Helper()
		c, err := g.login(g.doorTLS())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := submit(c, "scan@contoso.com", "them@elsewhere.example", simpleMail("scan@contoso.com", "them@elsewhere.example", subject, "<"+subject+"@test.example>")); err != nil {
			t.Fatal(err)
		}
	}
	simulated := func(n int) []relay.Message {
		t.Helper()
		var all []relay.Message
		waitFor(t, "a simulated message", func() bool {
			all = g.queue("--state", "simulated")
			return len(all) == n
		})
		return all
	}
	send("one") // nobody has signed in, and nobody need
	m := simulated(1)[0]
	if r := m.Recipients[0]; r.State != relay.Spared || !strings.Contains(m.Reason, "over SMTP at localhost:") || !strings.Contains(m.Reason, "as scan@contoso.com") {
		t.Errorf("it reads %+v", m)
	}
	if _, errOut, _ := g.try("", "queue", "show", m.ID); !strings.Contains(errOut, "mail of account scan is accepted and goes to nobody") {
		t.Errorf("queue says %q", errOut)
	}
	if out := g.postern("queue", "download", m.ID); !strings.Contains(out, "Subject: one") {
		t.Errorf("downloaded %q", out)
	}
	if out := g.postern("export"); strings.Count(out, "simulate: true") != 1 {
		t.Errorf("exported\n%s", out)
	}
	if _, body := g.page(http.DefaultClient, "/healthz"); body != "ok\nsimulate: on\n" {
		t.Errorf("/healthz says %q", body)
	}
	if _, body := g.page(g.logIn("admin", g.adminPassword()), "/accounts"); !strings.Contains(body, "Mail of account scan is accepted and goes to nobody.") {
		t.Errorf("the page says\n%s", body)
	}

	g.postern("accounts", "simulate", "scan", "off")
	if _, body := g.page(http.DefaultClient, "/healthz"); body != "ok\n" {
		t.Errorf("/healthz says %q", body)
	}
	g.signIn("scan", "scan@contoso.com")
	g.postern("queue", "retry", m.ID)
	waitFor(t, "the message to go after all", func() bool { return sentWith(g, "one") == 1 })

	g.stop()
	g.env = append(g.env, "POSTERN_SIMULATE=on")
	g.start()
	send("two")
	if all := simulated(1); all[0].Subject != "two" || sentWith(g, "two") != 0 {
		t.Errorf("queue %+v", all)
	}
	g.stop()
}
