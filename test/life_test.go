package test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// lifeFor is how long the test below sends and fetches: long enough for a dozen
// tokens here, ten minutes where POSTERN_TEST_LIFE=10m asks for the whole run.
func lifeFor(t *testing.T) time.Duration {
	t.Helper()
	text := os.Getenv("POSTERN_TEST_LIFE")
	if text == "" {
		return 40 * time.Second
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestTokensThatLiveFiveSeconds sends and fetches with access tokens that end all
// the time. Nobody signs in again, no delivery fails, no account pauses.
func TestTokensThatLiveFiveSeconds(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	g.unlimited("scan@contoso.com", "invoices@contoso.com")
	_, refresh := g.sim.World.Lives()
	g.sim.World.SetLives(5*time.Second, refresh)
	g.setUp(fmt.Sprintf("tasks:\n  - {name: invoices, account: invoices, directory: %s, every: 1s, start: all, after: read}\n", g.inbox()))
	codes := g.sim.World.Count("code")

	conf, began, sent := g.doorTLS(), time.Now(), 0
	life := lifeFor(t)
	pace := time.NewTicker(250 * time.Millisecond)
	defer pace.Stop()
	for ; time.Since(began) < life; sent++ {
		c, err := g.login(conf)
		if err != nil {
			t.Fatal(err)
		}
		id := fmt.Sprintf("<life-%d@test.example>", sent)
		if err := submit(c, "scan@contoso.com", "them@elsewhere.example", simpleMail("scan@contoso.com", "them@elsewhere.example", "life", id)); err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
		in := mailWith("life", fmt.Sprintf("<life-in-%d@fabrikam.example>", sent), map[string]string{fmt.Sprintf("%06d.txt", sent): fmt.Sprint(sent)})
		if err := g.sim.Deliver("invoices@contoso.com", in); err != nil {
			t.Fatal(err)
		}
		<-pace.C
	}
	files := func() int {
		found, _ := filepath.Glob(filepath.Join(g.inbox(), "*.txt"))
		return len(found)
	}
	waitFor(t, "every message to be delivered", func() bool { return len(g.queue("--state", "delivered", "--limit", "100000")) == sent })
	waitFor(t, "every attachment", func() bool { return files() == sent })

	for _, m := range g.queue("--limit", "100000") {
		if m.Attempts != 1 || m.Reason != "" {
			t.Errorf("%s took %d attempts: %s", m.MessageID, m.Attempts, m.Reason)
		}
	}
	if n := g.sim.World.Count("code") - codes; n != 0 {
		t.Errorf("%d further sign-ins", n)
	}
	least := int(life / (10 * time.Second))
	if n := g.sim.World.Count("refresh"); n < least {
		t.Errorf("only %d refreshes: the tokens did not end", n)
	}
	log, err := os.ReadFile(g.log.Name())
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(log) {
		if bytes.Contains(line, []byte("account paused")) || bytes.Contains(line, []byte(`"level":"ERROR"`)) {
			t.Errorf("the log says %s", strings.TrimSpace(string(line)))
		}
	}
	t.Logf("%s: %d messages out, %d in, %d refreshes", time.Since(began).Round(time.Second), sent, files(), g.sim.World.Count("refresh"))
	g.stop()
}
