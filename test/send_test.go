package test

import (
	"fmt"
	"net/smtp"
	"strings"
	"testing"

	"postern/internal/relay"
	"postern/internal/sim365/world"
)

// submitTo is submit for several recipients.
func submitTo(c *smtp.Client, from string, to []string, raw []byte) error {
	if err := c.Mail(from); err != nil {
		return err
	}
	for _, a := range to {
		if err := c.Rcpt(a); err != nil {
			return err
		}
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write(raw); err != nil {
		return err
	}
	return w.Close()
}

// TestResentAndSplit hands the same message in three times, a kill in between, as a
// client does that never read the 250: it is queued once. It has more recipients than
// its mailbox may name at once: each of them gets it once.
func TestResentAndSplit(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	g.unlimited("scan@contoso.com")
	g.sim.World.SetPolicy("scan@contoso.com", func(p *world.MailboxPolicy) { p.Limits.RecipientsPerMessage = 3 })
	g.start()
	g.apply(strings.Replace(g.document(""), "name: scan,", "name: scan, limits: {recipients_per_message: 3},", 1))
	var to []string
	for n := range 8 {
		to = append(to, fmt.Sprintf("them%d@elsewhere.example", n))
	}
	raw := simpleMail("scan@contoso.com", to[0], "once", "<once@test.example>")
	for try := range 3 {
		if try == 2 {
			g.kill()
			g.start()
		}
		c, err := g.login(g.doorTLS())
		if err != nil {
			t.Fatal(err)
		}
		if err := submitTo(c, "scan@contoso.com", to, raw); err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
	}
	queued := g.queue()
	if len(queued) != 1 || len(queued[0].Recipients) != len(to) {
		t.Fatalf("queued: %+v", queued)
	}
	id := queued[0].ID
	shown := g.postern("queue", "show", id)
	for _, want := range []string{"goes by      smtp\n", "why          nobody has signed in to scan yet\n", "\nSubject: once\n", "to           them7@elsewhere.example  waiting\n"} {
		if !strings.Contains(shown, want) {
			t.Errorf("show does not say %q:\n%s", want, shown)
		}
	}
	if body := g.postern("queue", "download", id); !strings.HasSuffix(body, string(raw)) {
		t.Errorf("downloaded %q", body)
	}
	g.signIn("scan", "scan@contoso.com")
	waitFor(t, "all parts to go", func() bool {
		return g.queue("--state", "delivered") != nil && len(g.queue("--state", "delivered")) == 1
	})
	got := map[string]int{}
	for _, m := range g.sim.World.Messages("scan@contoso.com", "Sent Items") {
		for _, a := range m.To {
			got[a]++
		}
	}
	for _, a := range to {
		if got[a] != 1 {
			t.Errorf("%s got it %d times", a, got[a])
		}
	}
	if n := sentWith(g, "once"); n != 3 {
		t.Errorf("it went in %d parts", n)
	}
	if m := g.queue()[0]; m.State != relay.Delivered || m.Over != relay.OverSMTP {
		t.Errorf("in the end %+v", m)
	}
	g.stop()
}
