package test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"postern/internal/relay"
	"postern/internal/sim365/world"
)

// TestRefusalIsReportedAtOnce hands in a message of which upstream refuses one recipient
// for good and defers another: the sender hears of the first while the second waits, once,
// whatever is killed, and in the end of the second alone.
func TestRefusalIsReportedAtOnce(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	g.unlimited("scan@contoso.com")
	g.setUp("")
	answer := func(code string) {
		g.sim.World.Arm(world.Fault{Where: "smtp", Stage: "rcpt", Mailbox: "scan@contoso.com", Kind: world.FaultReply, Code: code})
	}
	answer("550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found")
	answer("450 4.2.1 Mailbox busy")
	c, err := g.login(g.doorTLS())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	to := []string{"gone@elsewhere.example", "busy@elsewhere.example", "there@elsewhere.example"}
	if err := submitTo(c, "scan@contoso.com", to, simpleMail("scan@contoso.com", to[0], "partly", "<partly@test.example>")); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the sender to be told", func() bool { return len(reportsTo(g, "scan@contoso.com")) == 1 })
	m := g.bySubject("partly")
	if m.State != relay.Queued || m.Bounce != relay.BounceSent || !m.Recipients[0].Told || m.Recipients[1].State != relay.Waiting || m.Recipients[2].State != relay.Accepted {
		t.Errorf("meanwhile %+v", m)
	}
	if out := g.postern("queue", "show", m.ID); !strings.Contains(out, "refused") || strings.Count(out, "told       the sender, in a report") != 1 || !strings.Contains(out, "sender told  sent") {
		t.Errorf("show says\n%s", out)
	}
	wantFailed(t, reportsTo(g, "scan@contoso.com")[0], "gone@elsewhere.example")

	g.kill()
	answer("550 5.2.2 Mailbox full for good")
	g.start()
	within(t, 2*time.Minute, "the other one to be refused", func() bool { return g.bySubject("partly").State == relay.Failed })
	waitFor(t, "the sender to be told of it", func() bool { return len(reportsTo(g, "scan@contoso.com")) >= 2 })
	reports := reportsTo(g, "scan@contoso.com")
	if len(reports) != 2 {
		t.Fatalf("%d reports", len(reports))
	}
	slices.SortFunc(reports, func(a, b world.Stored) int { return strings.Compare(failedIn(a), failedIn(b)) })
	wantFailed(t, reports[0], "busy@elsewhere.example")
	wantFailed(t, reports[1], "gone@elsewhere.example")
	if n := sentWith(g, "partly"); n != 1 {
		t.Errorf("it was sent %d times", n)
	}
	g.stop()
}

// bySubject finds one message in the queue.
func (g *gate) bySubject(subject string) relay.Message {
	g.t.Helper()
	all := g.queue()
	i := slices.IndexFunc(all, func(m relay.Message) bool { return m.Subject == subject })
	if i < 0 {
		g.t.Fatalf("no message has the subject %q", subject)
	}
	return all[i]
}

// failedIn are the recipients a report names, with what it says of them.
func failedIn(report world.Stored) string {
	var named []string
	for line := range strings.SplitSeq(string(report.Raw), "\r\n") {
		if who, ok := strings.CutPrefix(line, "Final-Recipient: rfc822; "); ok {
			named = append(named, who)
		} else if what, ok := strings.CutPrefix(line, "Action: "); ok {
			named = append(named, what)
		}
	}
	return strings.Join(named, " ")
}

func wantFailed(t *testing.T, report world.Stored, who string) {
	t.Helper()
	if got := failedIn(report); got != who+" failed" {
		t.Errorf("the report says %q, want %s failed", got, who)
	}
}
