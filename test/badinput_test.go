package test

import (
	"context"
	"crypto/tls"
	"database/sql"
	"encoding/json"
	"io"
	"net"
	"net/smtp"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	_ "modernc.org/sqlite" // to hold a lock as another program would

	"postern/internal/relay"
	"postern/internal/sim365/visitor"
	"postern/internal/sim365/world"
)

// refuses runs `postern serve` and wants it to end by itself with one clear line.
func refuses(t *testing.T, g *gate, want ...string) {
	t.Helper()
	_, errOut, code := g.try("", "serve")
	if code == 0 {
		t.Errorf("serve ended with 0")
	}
	for _, w := range want {
		if !strings.Contains(errOut, w) {
			t.Errorf("it does not say %q:\n%s", w, errOut)
		}
	}
	if strings.Contains(errOut, "goroutine ") {
		t.Errorf("a stack trace is no explanation:\n%s", errOut)
	}
}

// bare is a gate whose server has run once, so that its files are there.
func bare(t *testing.T) *gate {
	t.Helper()
	g := newGate(t)
	g.start()
	g.stop()
	return g
}

func TestRefusesToStart(t *testing.T) {
	t.Parallel()
	key := func(g *gate) string { return filepath.Join(g.dataDir(), "master.key") }
	db := func(g *gate) string { return filepath.Join(g.dataDir(), "postern.db") }
	for name, c := range map[string]struct {
		spoil func(t *testing.T, g *gate)
		want  []string
	}{
		"another master key": {func(t *testing.T, g *gate) {
			other := bare(t)
			b, err := os.ReadFile(key(other))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(key(g), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}, []string{"master key"}},
		"no master key any more": {func(t *testing.T, g *gate) { remove(t, key(g)) }, []string{"master.key is missing", "put the file back"}},
		"a key others can read": {func(t *testing.T, g *gate) {
			if err := os.Chmod(key(g), 0o644); err != nil {
				t.Fatal(err)
			}
		}, []string{"chmod 600"}},
		"garbage for a database": {func(t *testing.T, g *gate) { writeFile(t, db(g), []byte(strings.Repeat("garbage ", 1000))) }, []string{"database", "backup"}},
		"web port in use":        {func(t *testing.T, g *gate) { hold(t, g.web) }, []string{"web_listen", "in use", "--web-listen"}},
		"smtp port in use":       {func(t *testing.T, g *gate) { hold(t, g.smtp) }, []string{"smtp_listen", "in use", "--smtp-listen"}},
		"data_dir is a file": {func(t *testing.T, g *gate) {
			g.env = append(g.env, "POSTERN_DATA_DIR="+key(g))
		}, []string{"data_dir"}},
		"unknown level": {func(_ *testing.T, g *gate) { g.env = append(g.env, "POSTERN_LOG_LEVEL=loud") }, []string{"POSTERN_LOG_LEVEL", "debug, info, warn, error"}},
		"unknown key": {func(t *testing.T, g *gate) {
			writeFile(t, filepath.Join(g.dir, "postern.toml"), []byte("hostname = \"x\"\nsmpt_listen = \":1\"\n"))
		}, []string{"postern.toml:2:", "smpt_listen", "smtp_listen"}},
		"no PostgreSQL": {func(t *testing.T, g *gate) {
			g.env = append(g.env, "POSTERN_DATABASE=postgres://nobody:pg-Pa55word@"+freeAddress(t)+"/x?connect_timeout=2")
		}, []string{"PostgreSQL"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := bare(t)
			c.spoil(t, g)
			before, _ := os.ReadFile(key(g))
			refuses(t, g, c.want...)
			after, _ := os.ReadFile(key(g))
			if string(before) != string(after) {
				t.Error("the key file was changed")
			}
		})
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func hold(t *testing.T, addr string) {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
}

// TestDatabaseLockedByAnother holds the write lock as a backup program might: the
// door must not answer 250 meanwhile, and goes on by itself afterwards.
func TestDatabaseLockedByAnother(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	g.unlimited("scan@contoso.com")
	g.setUp("")
	other, err := sql.Open("sqlite", "file:"+filepath.Join(g.dataDir(), "postern.db")+"?_pragma=busy_timeout(5000)")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	conn, err := other.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.ExecContext(t.Context(), "BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	c, err := g.login(g.doorTLS())
	if err != nil {
		t.Fatal(err)
	}
	err = submit(c, "scan@contoso.com", "x@elsewhere.example", simpleMail("scan@contoso.com", "x@elsewhere.example", "locked", "<locked@test.example>"))
	_ = c.Close()
	if err == nil || !strings.HasPrefix(err.Error(), "45") {
		t.Errorf("with the database locked the door answered %v", err)
	}
	if _, err := conn.ExecContext(context.WithoutCancel(t.Context()), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	sendOne(t, g, "after the lock")
	if sentWith(g, "locked") != 0 {
		t.Error("what was refused was sent")
	}
	g.stop()
}

// TestFullDisk fills the disk under a running server.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		skipOrFail(t, "mounting a small disk needs root")
	}
	g := newGate(t)
	g.unlimited("scan@contoso.com")
	if err := os.MkdirAll(g.dataDir(), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", g.dataDir(), "tmpfs", 0, "size=48m"); err != nil {
		t.Skip("no small disk can be mounted here: " + err.Error()) // a container without the privilege
	}
	t.Cleanup(func() { _ = syscall.Unmount(g.dataDir(), syscall.MNT_DETACH) })
	t.Cleanup(func() {
		if g.cmd != nil {
			g.kill()
		}
	})
	g.setUp("")
	sendOne(t, g, "before it is full")
	filler := filepath.Join(g.dataDir(), "filler")
	if out, err := exec.Command("sh", "-c", "dd if=/dev/zero of="+filler+" bs=4096 2>&1; true").CombinedOutput(); err != nil || !strings.Contains(string(out), "No space") {
		t.Fatalf("the disk does not fill: %v %s", err, out)
	}
	refused := 0
	for i := range 5 {
		c, err := g.login(g.doorTLS())
		if err != nil {
			t.Fatal(err)
		}
		err = submit(c, "scan@contoso.com", "x@elsewhere.example", append(simpleMail("scan@contoso.com", "x@elsewhere.example", "full", "<full@test.example>"), strings.Repeat("filling line\r\n", 20000*(i+1))...))
		_ = c.Close()
		if err != nil {
			if !strings.HasPrefix(err.Error(), "45") {
				t.Errorf("the door answered %v", err)
			}
			refused++
		}
	}
	if refused == 0 {
		t.Error("nothing was refused on a full disk")
	}
	accepted := 5 - refused
	remove(t, filler)
	sendOne(t, g, "after there is room")
	waitFor(t, "what was accepted", func() bool { return sentWith(g, "full") == accepted })
	g.stop()
}

// TestRefusedForGoodIsKept has Microsoft refuse a recipient: the message stays,
// with the reason, and can be looked at, tried again and deleted.
func TestRefusedForGoodIsKept(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	g.unlimited("scan@contoso.com")
	g.setUp("")
	const words = "550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup"
	refusal := g.sim.World.Arm(world.Fault{Where: "smtp", Stage: "rcpt", Kind: world.FaultReply, Code: words, Times: -1})
	c, err := g.login(g.doorTLS())
	if err != nil {
		t.Fatal(err)
	}
	raw := simpleMail("scan@contoso.com", "gone@elsewhere.example", "refused for good", "<refused@test.example>")
	if err := submit(c, "scan@contoso.com", "gone@elsewhere.example", raw); err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	var failed []relay.Message
	waitFor(t, "the refusal", func() bool {
		failed = slices.DeleteFunc(g.queue("--state", "failed"), func(m relay.Message) bool { return m.About != "" }) // the report to the sender is refused too
		return len(failed) == 1
	})
	if !strings.Contains(failed[0].Reason, "5.1.10") || !strings.Contains(failed[0].Reason, "RecipientNotFound") {
		t.Errorf("the reason is %q", failed[0].Reason)
	}
	if show := g.postern("queue", "show", failed[0].ID); !strings.Contains(show, "gone@elsewhere.example") || !strings.Contains(show, "5.1.10") {
		t.Errorf("show says:\n%s", show)
	}
	if body := g.postern("queue", "download", failed[0].ID); !strings.HasSuffix(body, string(raw)) {
		t.Errorf("the body is not what was sent:\n%s", body)
	}
	g.sim.World.Disarm(refusal)
	g.postern("queue", "retry", failed[0].ID)
	waitFor(t, "the message to arrive", func() bool { return sentWith(g, "refused for good") == 1 })
	waitFor(t, "the outcome", func() bool { return strings.Contains(g.postern("queue", "show", failed[0].ID), "delivered") })
	g.postern("queue", "delete", failed[0].ID)
	if _, _, code := g.try("", "queue", "show", failed[0].ID); code != 4 {
		t.Errorf("a deleted message: exit %d, not 4", code)
	}
	g.stop()
}

func TestExitCodes(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	g.setUp("")
	for _, c := range []struct {
		args []string
		code int
	}{
		{[]string{"--version"}, 0}, {[]string{"--help"}, 0}, {[]string{"config", "check"}, 0}, {[]string{"check", "scan"}, 0},
		{[]string{"check", "noauth"}, 3}, {[]string{"check", "nobody"}, 4}, {[]string{"fetch", "run", "nothing"}, 4}, {[]string{"signin", "nobody"}, 4},
		{[]string{"queue", "show", "none"}, 4}, {[]string{"frob"}, 2}, {[]string{"queue", "frob"}, 2}, {[]string{"serve", "--frob"}, 2},
		{[]string{"check"}, 2}, {[]string{"apply"}, 2}, {[]string{"apply", "-f", "/nope"}, 2}, {[]string{"queue", "list", "--state", "lost"}, 2},
		{[]string{"check", "scan", "--for", "graph"}, 2}, {[]string{"accounts", "list", "--log-level", "loud"}, 2},
	} {
		out, errOut, code := g.try("", c.args...)
		if code != c.code {
			t.Errorf("postern %s: exit %d, not %d\n%s%s", strings.Join(c.args, " "), code, c.code, out, errOut)
		}
		if code == 2 && !strings.Contains(errOut, "postern:") {
			t.Errorf("postern %s says nothing: %q", strings.Join(c.args, " "), errOut)
		}
	}
	for _, args := range [][]string{{"accounts", "list"}, {"devices", "list"}, {"queue", "list"}, {"fetch", "list"}, {"check", "scan"}} {
		out := g.postern(append(args, "--json")...)
		if !json.Valid([]byte(out)) || strings.TrimSpace(out) == "null" {
			t.Errorf("postern %s --json prints %q", strings.Join(args, " "), out)
		}
	}
	doc := g.postern("export")
	if out := g.apply(doc); strings.Contains(out, "created") || strings.Contains(strings.ReplaceAll(out, "unchanged", ""), "changed") {
		t.Errorf("applying an export changes:\n%s", out)
	}
	g.stop()
}

// TestCapHoldsAcrossDoors begins messages in several sessions at two doors at once: as many
// are taken as the device may send in a minute.
func TestCapHoldsAcrossDoors(t *testing.T) {
	t.Parallel()
	g := bareGate(t)
	g.visitor = visitor.New("")
	g.openLog()
	implicit := freeAddress(t)
	g.env = append(g.env, "POSTERN_SMTPS_LISTEN="+implicit)
	g.apply(strings.Replace(bareDocument, "name: scanner,", "name: scanner, per_minute: 2,", 1))
	g.start()
	var begun []*smtp.Client
	begin := func(c *smtp.Client, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		for _, step := range []error{c.Mail("scan@contoso.com"), c.Rcpt("them@elsewhere.example")} {
			if step != nil {
				t.Fatal(step)
			}
		}
		begun = append(begun, c)
	}
	for range 2 {
		begin(g.login(g.doorTLS()))
		conn, err := tls.Dial("tcp", implicit, g.doorTLS())
		if err != nil {
			t.Fatal(err)
		}
		c, err := smtp.NewClient(conn, "localhost")
		if err != nil {
			t.Fatal(err)
		}
		begin(c, c.Auth(smtp.PlainAuth("", "scanner", devicePassword, "localhost")))
	}
	taken := 0
	for _, c := range begun {
		w, err := c.Data()
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(w, "Subject: capped\r\n\r\nx\r\n")
		switch err := w.Close(); {
		case err == nil:
			taken++
		case !strings.Contains(err.Error(), "may send 2 messages a minute"):
			t.Error(err)
		}
	}
	if n := len(g.queue()); taken != 2 || n != 2 {
		t.Errorf("%d were answered 250 and %d are in the queue, where 2 a minute are allowed", taken, n)
	}
	g.stop()
}
