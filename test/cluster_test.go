package test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/smtp"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"postern/internal/relay"
	"postern/internal/sim365/world"
)

// postgres is a server of this test alone, which may be killed.
type postgres struct {
	t   *testing.T
	dir string
	url string
}

func startPostgres(t *testing.T) *postgres {
	t.Helper()
	if found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb"); len(found) == 0 {
		need(t, "initdb")
	}
	p := &postgres{t: t, dir: filepath.Join(rootDir(t), "postgres")}
	p.url = strings.TrimSpace(p.script("start"))
	t.Cleanup(func() { p.script("stop") })
	return p
}

func (p *postgres) script(action string) string {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "../scripts/postgres", action, p.dir)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		p.t.Errorf("scripts/postgres %s: %v: %s", action, err, errs.String())
	}
	return string(out)
}

// crash kills the postmaster, whose children end when they notice.
func (p *postgres) crash() {
	p.t.Helper()
	b, err := os.ReadFile(filepath.Join(p.dir, "data", "postmaster.pid"))
	if err != nil {
		p.t.Error(err)
		return
	}
	first, _, _ := strings.Cut(string(b), "\n")
	pid, err := strconv.Atoi(first)
	if err == nil && pid > 1 {
		err = syscall.Kill(pid, syscall.SIGKILL)
	}
	if err != nil {
		p.t.Errorf("kill postmaster %q: %v", first, err)
	}
}

// guarded is a node that is started again whenever it ends, as a service is.
type guarded struct {
	*gate
	pid     atomic.Int64
	stopped atomic.Bool
	ended   chan error // how it ended at last
}

func guard(g *gate) *guarded {
	s := &guarded{gate: g, ended: make(chan error, 1)}
	go func() {
		for {
			cmd := exec.Command(binary(g.t), "serve")
			cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = g.env, g.dir, g.log, g.log
			cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			err := cmd.Start()
			if err == nil {
				s.pid.Store(int64(cmd.Process.Pid))
				err = cmd.Wait()
			}
			if s.stopped.Load() {
				s.ended <- err
				return
			}
			time.Sleep(100 * time.Millisecond) // as a service manager waits
		}
	}()
	g.t.Cleanup(func() {
		if !s.stopped.Swap(true) {
			s.signal(syscall.SIGKILL)
			<-s.ended
		}
	})
	return s
}

// signal reaches the process that runs now; one that has just ended is no error.
func (s *guarded) signal(sig syscall.Signal) {
	if pid := int(s.pid.Load()); pid > 1 {
		if err := syscall.Kill(pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
			s.t.Errorf("signal node: %v", err)
		}
	}
}

// end stops the node for good and wants exit code 0.
func (s *guarded) end(t *testing.T) {
	t.Helper()
	waitFor(t, "the node to be ready", s.ready)
	s.stopped.Store(true)
	s.signal(syscall.SIGTERM)
	select {
	case err := <-s.ended:
		if err != nil {
			t.Errorf("serve ended with %v", err)
		}
	case <-time.After(time.Minute):
		t.Error("serve did not stop within a minute")
		s.signal(syscall.SIGKILL)
		<-s.ended
	}
}

// storm is the load of clients that send again what was not answered, and what of it
// was.
type storm struct {
	nodes    []*guarded
	clients  int
	each     int // messages of a client
	rounds   int64
	round    atomic.Int64 // kills so far
	accepted atomic.Int64
	resent   atomic.Int64
}

// TestNodesAndDatabaseKilled kills two nodes and their database in turn, at moments
// that the load decides, while clients send and send again what got no 250. Nothing
// is lost, and nothing arrives again that Postern could know had arrived.
// POSTERN_TEST_CLUSTER names another number of messages; 10000 is the whole proof.
func TestNodesAndDatabaseKilled(t *testing.T) {
	t.Parallel()
	s := &storm{clients: 20, each: 30, rounds: 8}
	if text := os.Getenv("POSTERN_TEST_CLUSTER"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1000 {
			t.Fatalf("POSTERN_TEST_CLUSTER=%q: a number from 1000 on is needed", text)
		}
		s.each, s.rounds = n/s.clients, int64(n/100)
	}
	pg := startPostgres(t)
	g := newGate(t)
	g.env = append(g.env, "POSTERN_DATABASE="+pg.url, "POSTERN_MASTER_KEY_FILE="+filepath.Join(g.dir, "master.key"))
	g.unlimited("scan@contoso.com")
	g.setUp("")
	g.stop()
	other := g.sibling()
	s.nodes = []*guarded{guard(g), guard(other)}
	for _, node := range s.nodes {
		waitFor(t, "both nodes", node.ready)
	}
	db := openDatabase(t, pg.url)
	var clients sync.WaitGroup
	for i := range s.clients {
		clients.Go(func() { s.send(t, i) })
	}
	s.kill(t, pg)
	clients.Wait()
	s.settle(t, db)
	s.judge(t, db)
	for _, node := range s.nodes {
		node.end(t)
	}
}

// send hands in one client's messages, in turn at either node. It keeps to the rounds
// of kills, so that the load lasts as long as they do.
func (s *storm) send(t *testing.T, client int) {
	deadline := time.Now().Add(time.Duration(s.rounds)*20*time.Second + 2*time.Minute)
	var c *smtp.Client
	for n, at := 0, client; n < s.each; {
		if time.Now().After(deadline) {
			t.Errorf("client %d got rid of only %d of %d messages", client, n, s.each)
			return
		}
		if n >= (int(s.round.Load())+1)*s.each/int(s.rounds) && s.round.Load() < s.rounds {
			time.Sleep(10 * time.Millisecond) // until the next kill
			continue
		}
		err := errNoSession
		if c != nil {
			err = submit(c, "scan@contoso.com", "them@elsewhere.example", simpleMail("scan@contoso.com", "them@elsewhere.example", "storm", stormID(client, n)))
		}
		switch {
		case err == nil:
			n++
			s.accepted.Add(1)
		case c != nil:
			s.resent.Add(1)
		}
		if err != nil || n%7 == 6 {
			c = s.session(c, &at)
		}
	}
	if c != nil {
		_ = c.Quit()
	}
}

var errNoSession = errors.New("no session yet")

func stormID(client, n int) string { return fmt.Sprintf("<storm-%d-%d@test.example>", client, n) }

// session ends one session and begins another at the next node; nil when that is away.
func (s *storm) session(old *smtp.Client, at *int) *smtp.Client {
	if old != nil {
		_ = old.Close()
	}
	*at++
	node := s.nodes[*at%len(s.nodes)]
	c, err := node.login(node.doorTLS())
	if err != nil {
		time.Sleep(50 * time.Millisecond) // as a device does, try again
		return nil
	}
	return c
}

// kill cuts nodes and database off in turn, each time somewhere within the round's
// share of the messages.
func (s *storm) kill(t *testing.T, pg *postgres) {
	t.Helper()
	share := int64(s.clients*s.each) / s.rounds
	for ; s.round.Load() < s.rounds; s.round.Add(1) {
		r := s.round.Load()
		deadline := time.Now().Add(time.Minute)
		for at := r*share + rand.Int64N(share/2+1); s.accepted.Load() < at; {
			if time.Now().After(deadline) {
				t.Errorf("after kill %d the load stood still for a minute at %d messages", r, s.accepted.Load())
				s.round.Store(s.rounds)
				return
			}
			time.Sleep(time.Millisecond)
		}
		switch r % 4 {
		case 0:
			s.nodes[0].signal(syscall.SIGKILL)
		case 2:
			s.nodes[1].signal(syscall.SIGKILL)
		case 3:
			pg.crash()
			fallthrough
		default:
			pg.script("restart")
		}
	}
}

// settle waits until nothing is left to deliver.
func (s *storm) settle(t *testing.T, db *sql.DB) {
	t.Helper()
	deadline := time.Now().Add(4 * time.Minute)
	for {
		var left int
		err := db.QueryRowContext(t.Context(), `SELECT count(*) FROM messages WHERE state IN ('queued', 'delivering')`).Scan(&left)
		if err == nil && left == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("%d messages are left after four minutes; %v", left, err)
			return
		}
		time.Sleep(200 * time.Millisecond)
	}
}

func (s *storm) judge(t *testing.T, db *sql.DB) {
	t.Helper()
	arrivals := map[string][]world.Stored{}
	for _, m := range s.nodes[0].sim.World.Messages("scan@contoso.com", "Sent Items") {
		id := headerOf(m.Raw, "Message-ID")
		arrivals[id] = append(arrivals[id], m)
	}
	lost, doubled := 0, 0
	for client := range s.clients {
		for n := range s.each {
			copies := arrivals[stormID(client, n)]
			if len(copies) == 0 {
				lost++
				t.Errorf("%s was answered 250 and never arrived", stormID(client, n))
			}
			if len(copies) > 1 {
				doubled++
			}
			for i := range max(len(copies)-1, 0) {
				if copies[i].Confirmed {
					t.Errorf("%s arrived %d times, though Postern had recorded that it was delivered", stormID(client, n), len(copies))
				}
			}
		}
	}
	var twice int
	if err := db.QueryRowContext(t.Context(), `SELECT count(*) - count(DISTINCT message_id) FROM messages WHERE about = ''`).Scan(&twice); err != nil {
		t.Error(err)
	}
	if twice > 0 {
		t.Errorf("%d messages are in the queue twice, though a client that sends again must be known", twice)
	}
	t.Logf("%d kills: %d messages of %d clients, %d tries to hand in without a 250, %d lost, %d accepted twice, %d arrived more than once because upstream's answer was cut off",
		s.round.Load(), s.accepted.Load(), s.clients, s.resent.Load(), lost, twice, doubled)
}

// TestWorkOfADeadNodeIsTakenOver kills a node in the middle of a delivery, and does
// not bring it back: the other one has sent the message within 30 seconds.
func TestWorkOfADeadNodeIsTakenOver(t *testing.T) {
	t.Parallel()
	c := newCluster(t, func(*gate) string { return "" })
	id := c.hang(t, time.Hour)
	c.b.start()
	c.a.kill()
	killed := time.Now()
	for c.left(t) > 0 {
		if time.Since(killed) > 30*time.Second {
			t.Fatal("nobody has taken over within 30 seconds")
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Logf("sent by the other node %s after the kill", time.Since(killed).Round(100*time.Millisecond))
	c.arriveOnce(t, []string{id})
	c.b.stop()
}

// TestFrozenNodeSendsNothingTwice stops a node in the middle of a delivery, as a machine
// that is moved is stopped, for longer than its lease. The other one sends the message;
// when the first goes on, at the very command it was at, it finds that out in time.
func TestFrozenNodeSendsNothingTwice(t *testing.T) {
	t.Parallel()
	c := newCluster(t, func(*gate) string { return "" })
	began := time.Now()
	id := c.hang(t, 5*time.Second) // then the answer is there, and nobody to read it
	frozen := c.a.cmd.Process.Pid
	if err := syscall.Kill(frozen, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(frozen, syscall.SIGCONT) })
	c.b.start()
	c.leasesEnd(t)
	within(t, time.Minute, "the other node to send it", func() bool { return c.left(t) == 0 && time.Since(began) > 10*time.Second })
	if err := syscall.Kill(frozen, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the frozen node to notice", func() bool {
		log, err := os.ReadFile(c.a.log.Name())
		return err == nil && strings.Contains(string(log), "stood still for too long")
	})
	c.arriveOnce(t, append(c.burst(t, "afterwards", 4, 3), id))
	c.stop()
}

// TestDatabaseAwayForAWhile stops the database for longer than other nodes would wait for
// a sign of life, with a message under way that upstream takes meanwhile. The door says
// later, the process goes on by itself, and nothing is lost or sent twice.
func TestDatabaseAwayForAWhile(t *testing.T) {
	t.Parallel()
	pg := startPostgres(t)
	g := newGate(t)
	g.env = append(g.env, "POSTERN_DATABASE="+pg.url)
	g.unlimited("scan@contoso.com")
	g.setUp("")
	process := g.cmd.Process.Pid
	g.sim.World.Arm(world.Fault{Where: "smtp", Stage: "dot", Mailbox: "scan@contoso.com", Kind: world.FaultSlow, Delay: 2 * time.Second})
	c, err := g.login(g.doorTLS())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	offer := func(subject string) error {
		return submit(c, "scan@contoso.com", "them@elsewhere.example", simpleMail("scan@contoso.com", "them@elsewhere.example", subject, "<"+strings.ReplaceAll(subject, " ", "-")+"@test.example>"))
	}
	if err := offer("under way"); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the message to be under way", func() bool { return len(g.sim.World.Faults()) == 0 })
	pg.script("stop")
	gone := time.Now()
	waitFor(t, "upstream to take it", func() bool { return sentWith(g, "under way") == 1 })
	if err := offer("refused"); err == nil {
		t.Error("a message was accepted that cannot have been stored")
	} else {
		later(t, err)
	}
	_ = c.Reset()
	within(t, time.Minute, "a quarter of a minute", func() bool { return time.Since(gone) > 15*time.Second })
	pg.script("restart")
	within(t, time.Minute, "the door to take mail again", func() bool {
		if c.Noop() != nil { // the door had ended the session
			if c, err = g.login(g.doorTLS()); err != nil {
				return false
			}
		}
		err := offer("afterwards")
		_ = c.Reset()
		return err == nil
	})
	for _, subject := range []string{"under way", "afterwards"} {
		within(t, time.Minute, subject+" to be recorded as delivered", func() bool {
			return slices.ContainsFunc(g.queue("--state", "delivered"), func(m relay.Message) bool { return m.Subject == subject })
		})
		if n := sentWith(g, subject); n != 1 {
			t.Errorf("%s arrived %d times", subject, n)
		}
	}
	if n := sentWith(g, "refused"); n != 0 || g.cmd.Process.Pid != process {
		t.Errorf("what was refused arrived %d times", n)
	}
	g.stop()
}
