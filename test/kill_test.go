package test

import (
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"postern/internal/sim365/world"
)

// kills is how often the process is killed; with -short fewer, for the race detector's sake.
func kills() int {
	if testing.Short() {
		return 20
	}
	return 200
}

// TestKilledAtRandomInstants kills `postern serve` while 20 clients send and a
// task fetches. Every message that was answered 250 must arrive; it may arrive
// more than once only if upstream could not see that its answer had been recorded.
// No attachment may be missing or there twice.
func TestKilledAtRandomInstants(t *testing.T) {
	g := newGate(t)
	g.unlimited("scan@contoso.com", "invoices@contoso.com")
	g.setUp(fmt.Sprintf("tasks:\n  - {name: invoices, account: invoices, directory: %s, every: 1s, start: all, after: read}\n", g.inbox()))

	load := &killLoad{g: g, stop: make(chan struct{}), accepted: map[string]bool{}}
	conf := g.doorTLS()
	for i := range 20 {
		load.wg.Go(func() { load.send(conf, i) })
	}
	load.wg.Go(load.arrive)
	n := kills()
	for i := range n {
		time.Sleep(time.Duration(rand.IntN(600)) * time.Millisecond) // the random instant is the point
		g.kill()
		g.launch()
		if i%10 == 9 { // now and then let it come up whole, so that work gets done
			waitFor(t, "postern to come back", g.ready)
			time.Sleep(time.Duration(rand.IntN(1500)) * time.Millisecond)
		}
	}
	close(load.stop)
	load.wg.Wait()
	waitFor(t, "postern to come back", g.ready)
	load.settle(t)
	load.judgeMail(t, n)
	load.judgeFiles(t)
	g.stop()
}

type killLoad struct {
	g    *gate
	stop chan struct{}
	wg   sync.WaitGroup

	mu       sync.Mutex
	accepted map[string]bool // Message-ID: answered 250
	unsure   atomic.Int64    // sent, answer cut off
	arrived  atomic.Int64    // messages put into the fetched mailbox
}

func (l *killLoad) stopped() bool {
	select {
	case <-l.stop:
		return true
	default:
		return false
	}
}

// send submits messages until told to stop, a few a session, each with an identity
// of its own that is never used again.
func (l *killLoad) send(conf *tls.Config, client int) {
	for seq := 0; !l.stopped(); {
		c, err := l.g.login(conf)
		if err != nil {
			time.Sleep(20 * time.Millisecond) // the door is away: as a device does, try again
			continue
		}
		for range 5 {
			seq++
			id := fmt.Sprintf("<kill-%d-%d@test.example>", client, seq)
			if err := submit(c, "scan@contoso.com", "invoices@elsewhere.example", simpleMail("scan@contoso.com", "invoices@elsewhere.example", "kill", id)); err != nil {
				l.unsure.Add(1)
				break
			}
			l.mu.Lock()
			l.accepted[id] = true
			l.mu.Unlock()
			time.Sleep(50 * time.Millisecond) // a load the single mailbox can carry, so that the queue drains
		}
		_ = c.Close()
	}
}

// arrive puts mail with two attachments into the fetched mailbox.
func (l *killLoad) arrive() {
	for !l.stopped() {
		n := l.arrived.Add(1)
		raw := mailWith("attachments", fmt.Sprintf("<in-%d@fabrikam.example>", n), map[string]string{
			fmt.Sprintf("a-%05d.bin", n): strings.Repeat(fmt.Sprintf("first %d ", n), 200),
			fmt.Sprintf("b-%05d.bin", n): strings.Repeat(fmt.Sprintf("second %d ", n), 2000),
		})
		if err := l.g.sim.Deliver("invoices@contoso.com", raw); err != nil {
			l.g.t.Error(err)
			return
		}
		time.Sleep(150 * time.Millisecond)
	}
}

// settle waits until queue and mailbox are empty of work.
func (l *killLoad) settle(t *testing.T) {
	t.Helper()
	deadline := time.Now().Add(4 * time.Minute)
	for time.Now().Before(deadline) {
		waiting := strings.Count(l.g.postern("queue", "list", "--json", "--state", "queued", "--limit", "5000"), `"id"`) +
			strings.Count(l.g.postern("queue", "list", "--json", "--state", "delivering", "--limit", "5000"), `"id"`)
		files, _ := filepath.Glob(filepath.Join(l.g.inbox(), "*.bin"))
		if waiting == 0 && len(files) >= 2*int(l.arrived.Load()) {
			return
		}
		time.Sleep(300 * time.Millisecond)
	}
	t.Error("work is left after four minutes")
}

func (l *killLoad) judgeMail(t *testing.T, kills int) {
	t.Helper()
	arrivals := map[string][]world.Stored{}
	for _, m := range l.g.sim.World.AllMessages() {
		if m.Folder != "Sent Items" || m.Mailbox != "scan@contoso.com" {
			continue // one copy of each submission
		}
		id := headerOf(m.Raw, "Message-ID")
		arrivals[id] = append(arrivals[id], m)
	}
	lost, doubled := 0, 0
	for id := range l.accepted {
		if len(arrivals[id]) == 0 {
			lost++
			t.Errorf("%s was answered 250 and never arrived", id)
		}
	}
	for id, copies := range arrivals {
		confirmed := false
		for i, m := range copies {
			if confirmed {
				t.Errorf("%s arrived again (%d of %d) after Postern had surely recorded that it was delivered", id, i+1, len(copies))
			}
			confirmed = confirmed || m.Confirmed
		}
		if len(copies) > 1 {
			doubled++
		}
	}
	if len(l.accepted) < kills {
		t.Errorf("only %d messages were accepted: the load was too small to prove anything", len(l.accepted))
	}
	t.Logf("%d kills: %d messages answered 250, %d lost, %d unsure at the client, %d arrived more than once, each time because upstream's answer was cut off",
		kills, len(l.accepted), lost, l.unsure.Load(), doubled)
}

func (l *killLoad) judgeFiles(t *testing.T) {
	t.Helper()
	files, err := os.ReadDir(l.g.inbox())
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	manifests := 0
	for _, f := range files {
		switch {
		case strings.HasSuffix(f.Name(), ".bin"):
			b, err := os.ReadFile(filepath.Join(l.g.inbox(), f.Name()))
			if err != nil {
				t.Fatal(err)
			}
			seen[string(b)]++
		case strings.HasSuffix(f.Name(), ".json"):
			manifests++
		case strings.HasPrefix(f.Name(), ".postern-"): // staging and marks, which no consumer looks at
		default:
			t.Errorf("what is %s?", f.Name())
		}
	}
	want := int(l.arrived.Load())
	for content, n := range seen {
		if n != 1 {
			t.Errorf("the attachment %.20q is there %d times", content, n)
		}
	}
	if len(seen) != 2*want || manifests != want {
		t.Errorf("%d attachments and %d manifests of %d messages with two each", len(seen), manifests, want)
	}
	t.Logf("%d messages fetched: %d attachments, each exactly once", want, len(seen))
}

func headerOf(raw []byte, name string) string {
	for line := range strings.Lines(string(raw)) {
		if v, ok := strings.CutPrefix(line, name+": "); ok {
			return strings.TrimSpace(v)
		}
		if strings.TrimSpace(line) == "" {
			return ""
		}
	}
	return ""
}
