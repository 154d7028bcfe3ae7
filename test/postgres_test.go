package test

import (
	"context"
	"crypto/rand"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"

	"postern/internal/sim365/world"
)

// emptyDatabase makes a database on the server that POSTERN_TEST_POSTGRES names,
// for this test alone, and returns its URL.
func emptyDatabase(t *testing.T) string {
	t.Helper()
	base := os.Getenv("POSTERN_TEST_POSTGRES")
	if base == "" {
		skipOrFail(t, "POSTERN_TEST_POSTGRES is not set: run scripts/test, or scripts/postgres start DIR")
	}
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	name := "postern_" + strings.ToLower(rand.Text())
	admin := openDatabase(t, base)
	do := func(query string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if _, err := admin.ExecContext(ctx, query); err != nil {
			t.Error(err)
		}
	}
	do("CREATE DATABASE " + name)
	t.Cleanup(func() { do("DROP DATABASE " + name + " WITH (FORCE)") })
	u.Path = "/" + name
	return u.String()
}

func openDatabase(t *testing.T, at string) *sql.DB {
	t.Helper()
	db, err := sql.Open("pgx", at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// TestWholeJobOnPostgres signs in, sends, fetches and checks with everything kept
// in PostgreSQL, and goes on after a restart with what is there.
func TestWholeJobOnPostgres(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	g.env = append(g.env, "POSTERN_DATABASE="+emptyDatabase(t))
	g.unlimited("scan@contoso.com")
	g.setUp(fmt.Sprintf("tasks:\n  - {name: invoices, account: invoices, directory: %s, start: all, after: delete}\n", g.inbox()))
	conf := g.doorTLS()
	large := strings.Repeat("0123456789abcdef\r\n", 100_000)
	for _, body := range []string{"small", large} {
		c, err := g.login(conf)
		if err != nil {
			t.Fatal(err)
		}
		raw := append(simpleMail("scan@contoso.com", "someone@elsewhere.example", "kept in PostgreSQL", fmt.Sprintf("<pg-%d@test.example>", len(body))), body...)
		if err := submit(c, "scan@contoso.com", "someone@elsewhere.example", raw); err != nil {
			t.Fatal(err)
		}
		_ = c.Quit()
	}
	waitFor(t, "both messages", func() bool { return sentWith(g, "kept in PostgreSQL") == 2 })
	for _, m := range g.sim.World.Messages("scan@contoso.com", "Sent Items") {
		if headerOf(m.Raw, "Message-ID") != "<pg-5@test.example>" && !strings.Contains(string(m.Raw), large) {
			t.Errorf("the large message arrived as %d octets, otherwise than it was sent", len(m.Raw))
		}
	}

	if err := g.sim.Deliver("invoices@contoso.com", mailWith("bill", "<bill@fabrikam.example>", map[string]string{"bill.pdf": "%PDF"})); err != nil {
		t.Fatal(err)
	}
	if out := g.postern("fetch", "run", "invoices"); !strings.HasSuffix(out, "1 taken, 1 files, 0 failed\n") {
		t.Errorf("fetch: %s", out)
	}
	if out := g.postern("check", "scan"); strings.Count(out, "\nConnection successful") != 3 {
		t.Errorf("check: %s", out)
	}
	g.stop()
	g.start()
	if out := g.postern("fetch", "run", "invoices"); !strings.HasSuffix(out, "0 taken, 0 files, 0 failed\n") {
		t.Errorf("fetch after the restart: %s", out)
	}
	waitFor(t, "both messages to be known as delivered", func() bool {
		return strings.Count(g.postern("queue", "list", "--json", "--state", "delivered"), `"id"`) == 2
	})
	g.stop()
}

// cluster is two nodes on one database, in front of one simulated Microsoft.
type cluster struct {
	a, b *gate
	db   *sql.DB
}

func newCluster(t *testing.T, more func(g *gate) string) cluster {
	t.Helper()
	at := emptyDatabase(t)
	a := newGate(t)
	a.env = append(a.env, "POSTERN_DATABASE="+at, "POSTERN_MASTER_KEY_FILE="+filepath.Join(a.dir, "master.key"))
	a.unlimited("scan@contoso.com", "invoices@contoso.com")
	a.setUp(more(a))
	b := a.sibling()
	b.start()
	return cluster{a: a, b: b, db: openDatabase(t, at)}
}

// sibling is a second node with a data directory and addresses of its own. Both
// have one public URL, as behind a balancer.
func (g *gate) sibling() *gate {
	g.t.Helper()
	b := &gate{t: g.t, sim: g.sim, contoso: g.contoso, dir: g.t.TempDir(), web: freeAddress(g.t), smtp: freeAddress(g.t), visitor: g.visitor}
	b.openLog()
	b.env = append(append([]string{}, g.env...), "POSTERN_DATA_DIR="+b.dataDir(), "POSTERN_WEB_LISTEN="+b.web, "POSTERN_SMTP_LISTEN="+b.smtp)
	return b
}

func (c cluster) stop() {
	c.a.stop()
	c.b.stop()
}

// burst sends n messages from each of several clients at both nodes, all at once,
// and returns the Message-IDs.
func (c cluster) burst(t *testing.T, name string, clients, n int) []string {
	t.Helper()
	var wg sync.WaitGroup
	var mu sync.Mutex
	var ids []string
	for i := range clients {
		node := []*gate{c.a, c.b}[i%2]
		conf := node.doorTLS()
		wg.Go(func() {
			s, err := node.login(conf)
			if err != nil {
				t.Errorf("client %d: %v", i, err)
				return
			}
			defer s.Close()
			for j := range n {
				id := fmt.Sprintf("<%s-%d-%d@test.example>", name, i, j)
				if err := submit(s, "scan@contoso.com", "someone@elsewhere.example", simpleMail("scan@contoso.com", "someone@elsewhere.example", name, id)); err != nil {
					t.Errorf("%s: %v", id, err)
					return
				}
				mu.Lock()
				ids = append(ids, id)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return ids
}

// arriveOnce wants each message in Sent Items, once.
func (c cluster) arriveOnce(t *testing.T, ids []string) {
	t.Helper()
	waitFor(t, "all messages to be delivered", func() bool {
		return strings.Count(c.b.postern("queue", "list", "--json", "--state", "delivered", "--limit", "5000"), `"id"`) >= len(ids)
	})
	times := map[string]int{}
	for _, m := range c.a.sim.World.Messages("scan@contoso.com", "Sent Items") {
		times[headerOf(m.Raw, "Message-ID")]++
	}
	for _, id := range ids {
		if times[id] != 1 {
			t.Errorf("%s arrived %d times", id, times[id])
		}
	}
}

// delivered counts what a node's own log says it delivered.
func (g *gate) delivered(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile(g.log.Name())
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(b), `"event":"delivered"`)
}

// TestTwoNodesShareTheWork lets two nodes accept, deliver, fetch and refresh on one
// database: everything happens, and nothing happens twice.
func TestTwoNodesShareTheWork(t *testing.T) {
	t.Parallel()
	c := newCluster(t, func(g *gate) string {
		return fmt.Sprintf("tasks:\n  - {name: invoices, account: invoices, directory: %s, every: 1s, start: all, after: read}\n", g.inbox())
	})
	all := c.a.sim.World.Tokens()
	waitFor(t, "the tokens to be a few seconds old", func() bool { return time.Since(all[len(all)-1].Issued) > 3*time.Second })
	before := c.a.sim.World.Count("refresh")
	c.a.sim.World.ExpireTokens() // the servers refuse them now; both nodes notice at once
	const letters = 10
	for i := range letters {
		raw := mailWith("bill", fmt.Sprintf("<bill-%d@fabrikam.example>", i), map[string]string{fmt.Sprintf("bill %d.pdf", i): fmt.Sprint("bill ", i)})
		if err := c.a.sim.Deliver("invoices@contoso.com", raw); err != nil {
			t.Fatal(err)
		}
	}
	c.arriveOnce(t, c.burst(t, "shared", 8, 40))
	var a, b int
	waitFor(t, "the last line of the log", func() bool {
		a, b = c.a.delivered(t), c.b.delivered(t)
		return a+b >= 8*40
	})
	t.Logf("delivered by node: %d and %d", a, b)
	if a == 0 || b == 0 || a+b != 8*40 {
		t.Errorf("the nodes delivered %d and %d messages", a, b)
	}
	waitFor(t, "all attachments", func() bool {
		files, _ := filepath.Glob(filepath.Join(c.a.inbox(), "*.manifest.json"))
		return len(files) >= letters
	})
	if files, _ := filepath.Glob(filepath.Join(c.a.inbox(), "*.pdf")); len(files) != letters {
		t.Errorf("%d attachments of %d: %v", len(files), letters, files)
	}
	if n := c.a.sim.World.Count("refresh") - before; n != 2 {
		t.Errorf("%d refreshes for two accounts", n)
	}
	c.stop()
}

// TestNodeKilledWithLeasedWork kills a node in the middle of a delivery. Its
// message goes out once all the same: at once when a process starts on that host
// again, and otherwise from the other node, when the lease has ended.
func TestNodeKilledWithLeasedWork(t *testing.T) {
	t.Parallel()
	for name, goOn := range map[string]func(t *testing.T, c cluster){
		"the host comes back": func(t *testing.T, c cluster) { c.a.start() },
		"the lease ends": func(t *testing.T, c cluster) {
			c.leasesEnd(t)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, func(*gate) string { return "" })
			id := c.hang(t, time.Hour)
			c.b.start()
			ids := append(c.burstAt(t, c.b), id)
			if pid := c.holder(t); pid != c.a.cmd.Process.Pid {
				t.Errorf("process %d has the message of a living node", pid)
			}
			c.a.kill()
			goOn(t, c)
			deadline := time.Now().Add(time.Minute) // leases are looked over every half minute
			for c.left(t) > 0 {
				if time.Now().After(deadline) {
					t.Fatal("the message of the node that died is still there after a minute")
				}
				time.Sleep(100 * time.Millisecond)
			}
			c.arriveOnce(t, ids)
			c.b.stop()
		})
	}
}

// leasesEnd lets the two minutes of a lease go by.
func (c cluster) leasesEnd(t *testing.T) {
	t.Helper()
	for _, query := range []string{`UPDATE messages SET lease_until = 1 WHERE state = 'delivering'`, `UPDATE held_lanes SET until = 1`} {
		if _, err := c.db.ExecContext(t.Context(), query); err != nil {
			t.Fatal(err)
		}
	}
}

// burstAt sends a few messages at one node.
func (c cluster) burstAt(t *testing.T, node *gate) []string {
	t.Helper()
	return cluster{a: node, b: node}.burst(t, "meanwhile", 2, 5)
}

// hang lets node a hang in the delivery of one message for a while, with node b at rest,
// and returns the message's id.
func (c cluster) hang(t *testing.T, long time.Duration) (id string) {
	t.Helper()
	c.b.stop() // so that a has the message for sure
	c.a.sim.World.Arm(world.Fault{Where: "smtp", Stage: "mail", Mailbox: "scan@contoso.com", Kind: world.FaultSlow, Delay: long})
	s, err := c.a.login(c.a.doorTLS())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	id = "<leased@test.example>"
	if err := submit(s, "scan@contoso.com", "someone@elsewhere.example", simpleMail("scan@contoso.com", "someone@elsewhere.example", "leased", id)); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "node a to hang in the delivery", func() bool { return c.holder(t) == c.a.cmd.Process.Pid && len(c.a.sim.World.Faults()) == 0 })
	return id
}

// holder is the process that has leased a message, 0 when none has.
func (c cluster) holder(t *testing.T) int {
	t.Helper()
	var holder string
	err := c.db.QueryRowContext(t.Context(), `SELECT coalesce(max(holder), '') FROM messages WHERE state = 'delivering' AND message_id = '<leased@test.example>'`).Scan(&holder)
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(holder, "/") // host, process, random
	if len(parts) != 3 {
		return 0
	}
	pid, err := strconv.Atoi(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// left counts the messages that are not yet done with.
func (c cluster) left(t *testing.T) int {
	t.Helper()
	var n int
	if err := c.db.QueryRowContext(t.Context(), `SELECT count(*) FROM messages WHERE state IN ('queued', 'delivering')`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}
