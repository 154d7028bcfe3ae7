package test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/internal/relay"
	"postern/internal/sim365"
	"postern/internal/sim365/world"
)

// TestThreeNodesShareOneLimit lets three nodes send from one mailbox at a server that
// refuses whatever is above its limits: nothing is refused, and the last message
// leaves as early as the limit allows. POSTERN_TEST_PACING runs Microsoft's own
// numbers, which takes nine minutes; the short form takes one.
func TestThreeNodesShareOneLimit(t *testing.T) {
	t.Parallel()
	perMinute, messages := 12, 18
	if os.Getenv("POSTERN_TEST_PACING") != "" {
		perMinute, messages = 30, 300
	}
	nodes := newPacedNodes(t, perMinute, 3)
	var wg sync.WaitGroup
	for i, node := range nodes {
		wg.Go(func() { submitMany(t, node, fmt.Sprintf("pace-%d", i), messages/len(nodes)) })
	}
	wg.Wait()

	w := nodes[0].sim.World
	least := time.Duration((messages-1)/perMinute) * time.Minute
	arrived := func() []world.Stored { return w.Messages("scan@contoso.com", "Sent Items") }
	for deadline := time.Now().Add(least + least/10 + 20*time.Second); len(arrived()) < messages && time.Now().Before(deadline); {
		time.Sleep(50 * time.Millisecond)
	}
	all := arrived()
	if len(all) != messages {
		t.Fatalf("%d of %d messages arrived", len(all), messages)
	}
	if n := w.Count("smtp_432"); n != 0 {
		t.Errorf("the server answered 432 to %d messages", n)
	}
	slices.SortFunc(all, func(a, b world.Stored) int { return a.Received.Compare(b.Received) })
	took := all[messages-1].Received.Sub(all[0].Received)
	t.Logf("%d messages at %d a minute took %s; the limit allows %s; they came by %d nodes", messages, perMinute, took.Round(time.Millisecond), least, senders(t, nodes))
	if took > least+least/20 {
		t.Errorf("that is more than 5 %% too long")
	}
	for _, m := range nodes[0].queue("--limit", "1000") {
		if m.Attempts > 1 {
			t.Errorf("%s took %d tries: %s", m.MessageID, m.Attempts, m.Reason)
		}
	}
	for _, node := range nodes {
		node.stop()
	}
}

// newPacedNodes are so many nodes on one PostgreSQL whose mailbox scan has the limits
// that its server enforces.
func newPacedNodes(t *testing.T, perMinute, n int) []*gate {
	t.Helper()
	at := emptyDatabase(t)
	g := newGateAt(t, sim365.Options{RejectOverRate: true})
	g.env = append(g.env, "POSTERN_DATABASE="+at, "POSTERN_MASTER_KEY_FILE="+g.dir+"/master.key")
	g.sim.World.SetPolicy("scan@contoso.com", func(p *world.MailboxPolicy) {
		p.Limits = world.Limits{PerMinute: perMinute, Connections: 3, RecipientsPerDay: 10_000}
	})
	g.start()
	g.apply(strings.Replace(g.document(""), "purposes: [send, imap, pop3]}",
		fmt.Sprintf("purposes: [send, imap, pop3], limits: {connections: 3, per_minute: %d, recipients_per_day: 10000}}", perMinute), 1))
	g.signIn("scan", "scan@contoso.com")
	nodes := []*gate{g}
	for len(nodes) < n {
		s := g.sibling()
		s.start()
		nodes = append(nodes, s)
	}
	return nodes
}

// submitMany hands n messages to one node in one session.
func submitMany(t *testing.T, node *gate, name string, n int) {
	c, err := node.login(node.doorTLS())
	if err != nil {
		t.Error(err)
		return
	}
	defer c.Close()
	for i := range n {
		id := fmt.Sprintf("<%s-%d@test.example>", name, i)
		if err := submit(c, "scan@contoso.com", "them@elsewhere.example", simpleMail("scan@contoso.com", "them@elsewhere.example", name, id)); err != nil {
			t.Errorf("%s: %v", id, err)
			return
		}
	}
}

// senders counts the nodes that delivered anything.
func senders(t *testing.T, nodes []*gate) (n int) {
	for _, node := range nodes {
		if node.delivered(t) > 0 {
			n++
		}
	}
	return n
}

// TestDayIsUsedUp sends to more people than the mailbox may in a day, at a server that
// enforces it: as many as may get it do, a kill changes nothing, and what is left says
// why it waits, and until when.
func TestDayIsUsedUp(t *testing.T) {
	t.Parallel()
	const perDay = 10
	g := newGate(t)
	g.sim.World.SetPolicy("scan@contoso.com", func(p *world.MailboxPolicy) { p.Limits = world.Limits{RecipientsPerDay: perDay} })
	g.start()
	g.apply(strings.Replace(g.document(""), "purposes: [send, imap, pop3]}",
		fmt.Sprintf("purposes: [send, imap, pop3], limits: {recipients_per_day: %d}}", perDay), 1))
	g.signIn("scan", "scan@contoso.com")
	begun := time.Now()
	for i, recipients := range []int{8, 9, 2} {
		submitToMany(t, g, fmt.Sprintf("<day-%d@test.example>", i), recipients)
		if i == 0 {
			waitFor(t, "the first message", func() bool { return g.reached() == 8 })
		}
	}
	says := func() (waiting int) {
		for _, m := range g.queue() {
			if m.State == relay.Queued && strings.Contains(m.Reason, "10 recipients a day") && m.NotBefore.Sub(begun) > 23*time.Hour {
				waiting++
			}
		}
		return waiting
	}
	waitFor(t, "both others to say what they wait for", func() bool { return says() == 2 })
	g.kill()
	g.start()
	waitFor(t, "the same after a kill", func() bool { return says() == 2 })
	if n := g.reached(); n != perDay {
		t.Errorf("%d recipients got theirs, want %d", n, perDay)
	}
	if n := len(g.sim.World.Messages("scan@contoso.com", "Sent Items")); n != 2 {
		t.Errorf("the server took %d messages", n)
	}
	for _, m := range g.queue() {
		if m.State == relay.Queued && m.Attempts > 0 {
			t.Errorf("%s was refused: %s", m.MessageID, m.Reason)
		}
	}
}

// submitToMany hands in one message to so many recipients.
func submitToMany(t *testing.T, g *gate, messageID string, recipients int) {
	t.Helper()
	c, err := g.login(g.doorTLS())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var to []string
	for i := range recipients {
		to = append(to, fmt.Sprintf("r%d@elsewhere.example", i))
	}
	if err := submitTo(c, "scan@contoso.com", to, simpleMail("scan@contoso.com", "them@elsewhere.example", "day", messageID)); err != nil {
		t.Fatal(err)
	}
}

// reached counts the recipients that upstream has taken.
func (g *gate) reached() (n int) {
	g.t.Helper()
	for _, m := range g.queue() {
		for _, r := range m.Recipients {
			if r.State == relay.Accepted {
				n++
			}
		}
	}
	return n
}
