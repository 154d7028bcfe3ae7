package test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"postern/internal/relay"
)

// TestQueueByHand holds, finds, releases and deletes through the command line, one by
// one and all at once, and reads in the audit log who did it.
func TestQueueByHand(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	g.unlimited("scan@contoso.com")
	g.start()
	g.apply(g.document("")) // nobody has signed in: mail waits
	c, err := g.login(g.doorTLS())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, subject := range []string{"invoice 1", "invoice 2", "scan", "scrap"} {
		if err := submit(c, "scan@contoso.com", "them@elsewhere.example", simpleMail("scan@contoso.com", "them@elsewhere.example", subject, "<"+strings.ReplaceAll(subject, " ", "-")+"@test.example>")); err != nil {
			t.Fatal(err)
		}
	}
	id := func(subject string) string {
		i := slices.IndexFunc(g.queue(), func(m relay.Message) bool { return m.Subject == subject })
		return g.queue()[i].ID
	}
	if out := g.postern("queue", "hold", "--all", "--text", "INVOICE"); !strings.Contains(out, "2 held, 0 passed over") {
		t.Errorf("hold said %q", out)
	}
	g.refused(2, []string{"queue", "delete", "--all"}, "whole queue")
	g.refused(2, []string{"queue", "hold", "--all", "--state", "lost"}, "allowed: queued, held")
	g.refused(1, []string{"queue", "release", id("scan")}, "is queued, not held")
	g.postern("queue", "delete", id("scrap"))
	g.signIn("scan", "scan@contoso.com")
	waitFor(t, "what is not held to go", func() bool { return sentWith(g, "scan") == 1 })
	if n := len(g.queue("--state", "held")); n != 2 || sentWith(g, "invoice 1") != 0 {
		t.Errorf("%d are held", n)
	}
	g.postern("queue", "release", id("invoice 2"))
	waitFor(t, "the released one to go", func() bool { return sentWith(g, "invoice 2") == 1 })
	if sentWith(g, "invoice 1") != 0 || sentWith(g, "scrap") != 0 {
		t.Error("what was held or deleted went out")
	}
	var log []struct{ Who, What, Subject, Detail string }
	if err := json.Unmarshal([]byte(g.postern("audit", "--json")), &log); err != nil {
		t.Fatal(err)
	}
	var did []string
	for _, e := range log {
		if strings.HasPrefix(e.What, "create ") || e.What == "sign in account" || strings.HasSuffix(e.What, " sign-in link") {
			continue // of what went before
		}
		if !strings.HasPrefix(e.Who, "cli:") || e.Subject == "" || !strings.Contains(e.Detail, "@test.example>") {
			t.Errorf("entry %+v", e)
		}
		did = append(did, e.What)
	}
	if want := []string{"release", "delete", "hold", "hold"}; !slices.Equal(did, want) {
		t.Errorf("the audit log says %q", did)
	}
	g.stop()
}
