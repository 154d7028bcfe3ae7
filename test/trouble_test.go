package test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/textproto"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"postern/internal/relay"
	"postern/internal/sim365/world"
)

// fill takes all the space that is left.
func (g *gate) fill() {
	g.t.Helper()
	f, err := os.Create(filepath.Join(g.dataDir(), "filler"))
	if err != nil {
		g.t.Fatal(err)
	}
	defer f.Close()
	for size := 64 << 10; size > 0; {
		if _, err := f.Write(make([]byte, size)); errors.Is(err, syscall.ENOSPC) {
			size /= 2
		} else if err != nil {
			g.t.Fatal(err)
		}
	}
}

// TestNoRoomForSmallMessages fills the disk under a working Postern and goes on
// with messages that would be stored in the database itself. Some still fit into
// space it had taken before. None may be accepted and lost, and room is all it needs.
func TestNoRoomForSmallMessages(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root may mount")
	}
	g := newGate(t)
	mount(t, g, 0, "size=48m") // 32 MB are never taken
	g.unlimited("scan@contoso.com")
	g.setUp("")
	g.fill()
	var accepted []string
	refusals := 0
	for i := 0; i < 200 && refusals < 5; i++ {
		subject := fmt.Sprintf("full %d", i)
		switch err := g.offer(subject, 50<<10); {
		case err == nil:
			accepted = append(accepted, subject)
		case later(t, err):
			refusals++
		}
	}
	if refusals == 0 {
		t.Error("a full disk refused nothing")
	}
	if err := os.Remove(filepath.Join(g.dataDir(), "filler")); err != nil {
		t.Fatal(err)
	}
	if err := g.offer("after", 50<<10); err != nil {
		t.Errorf("there is room again, and still: %v", err)
	}
	for _, subject := range append(accepted, "after") {
		within(t, time.Minute, subject+" to arrive", func() bool { return sentWith(g, subject) > 0 })
	}
	t.Logf("%d refused, %d accepted, all of which arrived", refusals, len(accepted))
	g.stop()
}

// lock keeps the database's write lock, as a careless backup does.
func (g *gate) lock() (release func()) {
	g.t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(g.dataDir(), "postern.db")+"?_pragma=busy_timeout(10000)")
	if err != nil {
		g.t.Fatal(err)
	}
	conn, err := db.Conn(context.Background())
	if err == nil {
		_, err = conn.ExecContext(context.Background(), "BEGIN EXCLUSIVE")
	}
	if err != nil {
		g.t.Fatal(err)
	}
	return sync.OnceFunc(func() {
		if err := errors.Join(conn.Close(), db.Close()); err != nil {
			g.t.Error(err)
		}
	})
}

// TestOutcomeWaitsForTheDatabase holds the database's lock under a working Postern, with a
// message under way whose outcome cannot be written.
func TestOutcomeWaitsForTheDatabase(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	g.unlimited("scan@contoso.com")
	g.setUp("")
	g.sim.World.Arm(world.Fault{Where: "smtp", Stage: "dot", Kind: world.FaultSlow, Delay: 2 * time.Second})
	if err := g.offer("under way", 100); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the message to be under way", func() bool { return len(g.sim.World.Faults()) == 0 })
	release := g.lock()
	defer release()
	var busy sync.WaitGroup
	for _, args := range [][]string{{"admin", "password"}, {"signin", "scan", "--no-wait"}} {
		busy.Go(func() { g.refused(1, args, "another process holds the database", "end a backup") })
	}
	busy.Go(func() {
		if err := g.offer("locked out", 100); err == nil {
			t.Error("a message was accepted that cannot have been stored")
		} else {
			later(t, err)
		}
	})
	if out := g.postern("accounts", "list"); !strings.Contains(out, "scan@contoso.com") {
		t.Errorf("reading needs no lock, but the list is\n%s", out)
	}
	time.Sleep(40 * time.Second) // the time is the point: longer than one write of the outcome may take
	busy.Wait()
	release()
	if err := g.offer("afterwards", 100); err != nil {
		t.Errorf("the lock is gone, and still: %v", err)
	}
	for _, subject := range []string{"under way", "afterwards"} {
		within(t, time.Minute, subject+" to be recorded as delivered", func() bool {
			return slices.ContainsFunc(g.queue("--state", "delivered"), func(m relay.Message) bool { return m.Subject == subject })
		})
		if n := sentWith(g, subject); n != 1 {
			t.Errorf("%s arrived %d times", subject, n)
		}
	}
	g.stop()
}

// queue lists messages as a program would.
func (g *gate) queue(args ...string) []relay.Message {
	g.t.Helper()
	var all []relay.Message
	if err := json.Unmarshal([]byte(g.postern(append([]string{"queue", "list", "--json", "--limit", "5000"}, args...)...)), &all); err != nil {
		g.t.Fatal(err)
	}
	return all
}

// TestWaitingMailSaysWhy hands mail in for accounts that are paused already, so
// that nobody tries it: the queue tells what it waits for all the same.
func TestWaitingMailSaysWhy(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	g.unlimited("scan@contoso.com")
	g.start()
	g.apply(g.document(""))
	why := func(subject, words string) {
		t.Helper()
		if err := g.offer(subject, 100); err != nil {
			t.Fatal(err)
		}
		all := g.queue("--state", "queued")
		if i := slices.IndexFunc(all, func(m relay.Message) bool { return m.Subject == subject }); i < 0 || !strings.Contains(all[i].Reason, words) {
			t.Errorf("nothing is said of %q: %+v", words, all)
		} else if out := g.postern("queue", "show", all[i].ID); !strings.Contains(out, words) {
			t.Errorf("show says nothing of %q:\n%s", words, out)
		} else if strings.Contains(out, "\nnext ") || !all[i].NotBefore.IsZero() {
			t.Errorf("it names a next try, and there is none before somebody signs in (%v):\n%s", all[i].NotBefore, out)
		}
	}
	why("before the first sign-in", "nobody has signed in to scan yet")
	g.signIn("scan", "scan@contoso.com")
	waitFor(t, "the first to arrive", func() bool { return sentWith(g, "before the first sign-in") == 1 })
	g.expire()
	g.sim.World.RevokeSessions("scan@contoso.com")
	_, _, _ = g.try("", "check", "scan", "--for", "send") // finds out
	if state, reason := stateOf(t, g, "scan"); state != "needs_sign_in" {
		t.Errorf("the account is %s: %s", state, reason)
	}
	why("while paused", "AADSTS50173")
	g.signIn("scan", "scan@contoso.com")
	waitFor(t, "the second to arrive", func() bool { return sentWith(g, "while paused") == 1 })
	g.stop()
}

// TestSendAsDeniedIsKept has Microsoft refuse a message after its last octet: it is
// kept whole, with the server's words, and can be sent again or deleted.
func TestSendAsDeniedIsKept(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	g.env = append(g.env, "POSTERN_RESEND_WINDOW=off") // the same is handed in twice
	g.unlimited("scan@contoso.com")
	g.setUp("")
	const words = "SendAsDenied; scan@contoso.com not allowed to send as scan@contoso.com"
	fault := g.sim.World.Arm(world.Fault{Where: "smtp", Stage: "dot", Mailbox: "scan@contoso.com", Kind: world.FaultReply, Code: "554 5.2.252 " + words, Times: -1})
	raw := append(simpleMail("scan@contoso.com", "someone@elsewhere.example", "denied", "<denied@test.example>"), "æøå in 8 bits\r\n.a dot\r\n\r\n\r\n"...)
	c, err := g.login(g.doorTLS())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range 2 { // one to send again, one to delete
		if err := submit(c, "scan@contoso.com", "someone@elsewhere.example", raw); err != nil {
			t.Fatal(err)
		}
	}
	within(t, 2*time.Minute, "both to fail, after one more try", func() bool { return len(g.queue("--state", "failed")) == 2 })
	failed := g.queue("--state", "failed")
	for _, m := range failed {
		if m.Subject != "denied" || m.Kind != "permanent" || !strings.Contains(m.Reason, words) || !strings.Contains(m.Recipients[0].Reply, words) {
			t.Errorf("the list says %+v", m)
		}
		for _, args := range [][]string{{"queue", "show", m.ID}, {"queue", "show", m.ID, "--json"}} {
			if out := g.postern(args...); !strings.Contains(out, words) || !strings.Contains(out, "failed") {
				t.Errorf("%v does not show the server's words:\n%s", args, out)
			}
		}
		added, whole := strings.CutSuffix(g.postern("queue", "download", m.ID), string(raw))
		if !whole || !strings.HasPrefix(added, "Received: ") || strings.Contains(added, "\r\n\r\n") {
			t.Errorf("the body is not the message that was handed in, with headers above it: %q", added)
		}
	}
	waitFor(t, "the sender to be told", func() bool { return len(reportsTo(g, "scan@contoso.com")) == 2 })
	for _, m := range reportsTo(g, "scan@contoso.com") {
		if text := string(m.Raw); headerOf(m.Raw, "From") != "Mail delivery <invoices@contoso.com>" || !strings.Contains(text, "Status: 5.2.252") || strings.Contains(text, "in 8 bits") {
			t.Errorf("the report says %s", text)
		}
	}
	g.postern("queue", "delete", failed[1].ID)
	g.refused(4, []string{"queue", "show", failed[1].ID}, failed[1].ID)
	g.sim.World.Disarm(fault)
	g.postern("queue", "retry", failed[0].ID)
	waitFor(t, "the one sent again to arrive", func() bool { return sentWith(g, "denied") == 1 })
	waitFor(t, "the queue to say so", func() bool {
		return slices.ContainsFunc(g.queue("--state", "delivered"), func(m relay.Message) bool { return m.ID == failed[0].ID })
	})
	g.refused(4, []string{"queue", "download", failed[0].ID}, "dropped when it was delivered")
	g.stop()
}

// reportsTo are the delivery reports in a mailbox.
func reportsTo(g *gate, mailbox string) []world.Stored {
	return slices.DeleteFunc(g.sim.World.Messages(mailbox, "INBOX"), func(m world.Stored) bool {
		return !strings.Contains(headerOf(m.Raw, "Content-Type"), "multipart/report")
	})
}

// TestStopUnderLoad asks Postern to end while it is busy: it goes in order, and
// whatever it had said 250 to arrives after the next start.
func TestStopUnderLoad(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	g.unlimited("scan@contoso.com")
	g.setUp("")
	conf := g.doorTLS()
	var mu sync.Mutex
	var accepted []string
	var clients sync.WaitGroup
	for client := range 8 {
		clients.Go(func() {
			c, err := g.login(conf)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			for seq := range 5000 { // until the door closes
				subject := fmt.Sprintf("load %d %d", client, seq)
				err := submit(c, "scan@contoso.com", "x@elsewhere.example", simpleMail("scan@contoso.com", "x@elsewhere.example", subject, fmt.Sprintf("<load-%d-%d@test.example>", client, seq)))
				var reply *textproto.Error
				if errors.As(err, &reply) && reply.Code/100 == 5 {
					t.Errorf("a stop made the door say %v", err)
				}
				if err != nil {
					return
				}
				mu.Lock()
				accepted = append(accepted, subject)
				mu.Unlock()
			}
		})
	}
	waitFor(t, "the load", func() bool { mu.Lock(); defer mu.Unlock(); return len(accepted) > 40 })
	began := time.Now()
	g.stop()
	if took := time.Since(began); took > 40*time.Second {
		t.Errorf("the stop took %s", took)
	}
	clients.Wait()
	g.start()
	arrived := func() map[string]int {
		n := map[string]int{}
		for _, m := range g.sim.World.Messages("scan@contoso.com", "Sent Items") {
			n[headerOf(m.Raw, "Subject")]++
		}
		return n
	}
	within(t, 2*time.Minute, "all to arrive", func() bool { return len(arrived()) >= len(accepted) })
	for subject, n := range arrived() {
		if n != 1 {
			t.Errorf("%s arrived %d times after an orderly stop", subject, n)
		}
	}
	for _, subject := range accepted {
		if arrived()[subject] == 0 {
			t.Errorf("%s was accepted and is lost", subject)
		}
	}
	g.stop()
}
