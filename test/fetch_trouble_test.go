package test

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"postern/internal/sim365/world"
)

// newErrands is the real binary without a server: its tasks are run by hand. The mailbox
// invoices@contoso.com is read without anybody signing in.
func newErrands(t *testing.T) *gate {
	t.Helper()
	g := newGate(t)
	g.unlimited("invoices@contoso.com")
	g.sim.World.UpdateApp(g.contoso.App.ClientID, func(a *world.App) { a.AdminConsent[g.contoso.Tenant.ID] = true })
	return g
}

// errand declares tasks for that mailbox.
func (g *gate) errand(tasks string) {
	g.t.Helper()
	g.apply(strings.Replace(g.document("tasks:\n"+tasks), "mailbox: invoices@contoso.com, purposes: [send, imap]",
		"mailbox: invoices@contoso.com, sign_in: application, purposes: [imap, pop3]", 1))
}

func (g *gate) inFolder(name string) int {
	return len(g.sim.Exchange.Folder("invoices@contoso.com", name))
}

// TestDirectoryTrouble runs a task whose directory is of no use: it says what to do, the
// mail stays where it is, and is taken once the directory is right again.
func TestDirectoryTrouble(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		hurt, heal func(t *testing.T, dir string)
		hint       string
		left       int // messages in the mailbox meanwhile
	}{
		"vanished": {
			func(t *testing.T, dir string) { noError(t, os.Rename(dir, dir+"-aside")) },
			func(t *testing.T, dir string) { noError(t, os.Rename(dir+"-aside", dir)) },
			"create the directory", 3,
		},
		"read-only": {
			func(t *testing.T, dir string) { mountAt(t, dir, syscall.MS_RDONLY, "") },
			func(t *testing.T, dir string) {
				noError(t, syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, ""))
			},
			"let the service write to", 3,
		},
		"full": {
			func(t *testing.T, dir string) { mountAt(t, dir, 0, "size=256k") }, // of about 340
			func(t *testing.T, dir string) {
				noError(t, syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, "size=4m"))
			},
			"make room in", 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newErrands(t)
			dir := filepath.Join(g.dir, "files")
			g.errand("  - {name: invoices, account: invoices, start: all, directory: " + dir + ", after: move Archive}\n")
			var want []string
			for i := range 3 {
				content := strings.Repeat(fmt.Sprint("line ", i, "\r\n"), 15_000)
				want = append(want, content[:len(content)-2])
				g.invoice(t, i, map[string]string{fmt.Sprint(i, ".pdf"): want[i]})
			}
			c.hurt(t, dir)
			for range 2 {
				_, errOut, code := g.try("", "fetch", "run", "invoices")
				if code == 0 || !strings.Contains(errOut, c.hint) {
					t.Errorf("exit %d: %s", code, errOut)
				}
			}
			if n := g.inFolder("INBOX"); n != c.left {
				t.Errorf("%d messages are left in the mailbox, want %d", n, c.left)
			}
			c.heal(t, dir)
			if out := g.postern("fetch", "run", "invoices"); !strings.Contains(out, " 0 failed") {
				t.Errorf("the run: %s", out)
			}
			got := contentsBelow(t, dir)
			for _, content := range want {
				if got[content] != 1 {
					t.Errorf("%.10q is there %d times", content, got[content])
				}
			}
			if len(got) != 4 || got[""] != 3 || g.inFolder("INBOX") != 0 || g.inFolder("Archive") != 3 {
				t.Errorf("%d contents, %d manifests, %d in the mailbox, %d in Archive", len(got)-1, got[""], g.inFolder("INBOX"), g.inFolder("Archive"))
			}
		})
	}
}

// mountAt puts a small file system over a directory that is there.
func mountAt(t *testing.T, dir string, flags uintptr, options string) {
	t.Helper()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", flags, options); err != nil {
		t.Skip("mount: " + err.Error()) // a container without the privilege
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

// TestCommandThatHangs ends it with what it started, keeps the message, and hands it over
// once the command works.
func TestCommandThatHangs(t *testing.T) {
	t.Parallel()
	g := newErrands(t)
	task := func(script string) {
		writeFile(t, filepath.Join(g.dir, "take"), []byte(script))
		g.errand(fmt.Sprintf("  - {name: invoices, account: invoices, start: all, after: delete, handover: {command: {path: /bin/sh, args: [take], dir: %s, timeout_seconds: 1}}}\n", g.dir))
	}
	task("sleep 1000 &\necho $! > pid\nwait\n")
	g.invoice(t, 1, map[string]string{"a.pdf": "alpha"})
	began := time.Now()
	if _, errOut, code := g.try("", "fetch", "run", "invoices"); code == 0 {
		t.Errorf("the run came to a good end: %s", errOut)
	}
	if took := time.Since(began); took > 60*time.Second {
		t.Errorf("the run took %s", took)
	}
	b, err := os.ReadFile(filepath.Join(g.dir, "pid"))
	noError(t, err)
	child, err := strconv.Atoi(strings.TrimSpace(string(b)))
	noError(t, err)
	waitFor(t, "what the command started to end", func() bool { return !running(child) })
	if staged := g.ledger("--state", "staged"); len(staged) != 1 || g.inFolder("INBOX") != 1 {
		t.Errorf("staged %+v, %d in the mailbox", staged, g.inFolder("INBOX"))
	}
	task("cat > got\n")
	if out := g.postern("fetch", "run", "invoices"); !strings.Contains(out, "0 failed") {
		t.Errorf("the run: %s", out)
	}
	if got, err := os.ReadFile(filepath.Join(g.dir, "got")); err != nil || !strings.Contains(string(got), `"a.pdf"`) || g.inFolder("INBOX") != 0 {
		t.Errorf("%v: %s; %d in the mailbox", err, got, g.inFolder("INBOX"))
	}
}

// running reports whether a process is there, and no zombie that nobody waited for.
func running(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, after, _ := strings.Cut(string(b), ") ")
	return !strings.HasPrefix(after, "Z")
}

// TestBadTasksStopNoOther has `postern serve` run a good task among bad ones, of the same
// mailbox.
func TestBadTasksStopNoOther(t *testing.T) {
	t.Parallel()
	g := newErrands(t)
	g.start()
	nobody, gone := freeAddress(t), filepath.Join(g.dir, "gone")
	g.errand("  - {name: vanished, account: invoices, start: all, every: 1s, directory: " + gone + "}\n" +
		"  - {name: refused, account: invoices, start: all, every: 1s, key: {value: " + hookKey + "}, handover: {webhook: {url: http://" + nobody + "}}}\n" +
		"  - {name: hanging, account: invoices, start: all, every: 1s, handover: {command: {path: /bin/sleep, args: [\"1000\"], timeout_seconds: 1}}}\n" +
		"  - {name: lost, account: invoices, start: all, every: 1s, folder: Nowhere, directory: " + g.inbox() + "}\n" +
		"  - {name: good, account: invoices, start: all, every: 1s, directory: " + filepath.Join(g.dir, "good") + "}\n")
	noError(t, os.RemoveAll(gone))
	for i := range 3 {
		g.invoice(t, i, map[string]string{fmt.Sprint(i, ".pdf"): fmt.Sprint("content ", i)})
		waitFor(t, "the good task", func() bool { return contentsBelow(t, filepath.Join(g.dir, "good"))[fmt.Sprint("content ", i)] == 1 })
	}
	for _, bad := range []string{"vanished", "refused", "hanging", "lost"} {
		waitFor(t, "a failed run of "+bad, func() bool { return strings.Contains(g.postern("fetch", "runs", bad, "--json"), `"error"`) })
	}
	if n := g.inFolder("INBOX"); n != 3 {
		t.Errorf("%d messages are left", n)
	}
	g.stop()
}

// TestBadMessagesStopNoOther runs a task over messages of which some cannot be taken:
// they are parked in the end, and put aside.
func TestBadMessagesStopNoOther(t *testing.T) {
	t.Parallel()
	g := newErrands(t)
	g.errand("  - {name: invoices, account: invoices, start: all, limits: {message: 20KB}, after: move Archive, failure: {do: move Bad}, make_folders: true, handover: {directory: " + g.inbox() + "}}\n")
	put := func(raw string) { g.sim.Exchange.Append("invoices@contoso.com", "INBOX", []byte(raw), time.Now()) }
	g.invoice(t, 1, map[string]string{"a.pdf": "alpha"})
	g.invoice(t, 2, map[string]string{"large.pdf": strings.Repeat("x", 30<<10)})
	put("From: Microsoft Exchange Server\r\nSubject: Retrieval using the IMAP4 protocol failed for the following message: 3\r\n\r\nThe server couldn't retrieve the following message:\r\n")
	put("Content-Type: multipart/mixed; boundary=\"\r\n\r\n--\x00\xff\r\n") // nobody can say what it is: it is kept as it is
	put("")
	g.invoice(t, 6, map[string]string{"b.pdf": "beta"})
	for range 4 {
		g.try("", "fetch", "run", "invoices")
	}
	got := contentsBelow(t, g.inbox())
	if got["alpha"] != 1 || got["beta"] != 1 || got[""] != 3 || len(got) != 4 {
		t.Errorf("taken: %v", got)
	}
	parked := g.ledger("--state", "parked")
	if len(parked) != 2 || g.inFolder("Bad") != 2 || g.inFolder("Archive") != 3 {
		t.Errorf("%d in Bad, %d in Archive, parked: %+v", g.inFolder("Bad"), g.inFolder("Archive"), parked)
	}
	for _, e := range parked {
		if e.Reason == "" {
			t.Errorf("nobody knows why %s is parked", e.UID)
		}
	}
	if out, errOut, code := g.try("", "fetch", "run", "invoices"); code != 0 || !strings.Contains(out, "0 looked at") {
		t.Errorf("at last: exit %d, %s%s", code, out, errOut)
	}
}

// crowd is how many messages are in a full mailbox.
func crowd(most int) int {
	if testing.Short() {
		return most / 20
	}
	return most
}

// TestMailWithoutAttachmentsIsReadOnce: the second run downloads nothing.
func TestMailWithoutAttachmentsIsReadOnce(t *testing.T) {
	t.Parallel()
	count := crowd(10_000)
	for _, protocol := range []string{"imap", "pop3"} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			g := newErrands(t)
			wire := g.metered(t, protocol, "  - {name: invoices, account: invoices, start: all, source: {protocol: "+protocol+"}, directory: "+g.inbox()+"}\n")
			for i := range count {
				g.sim.Exchange.Append("invoices@contoso.com", "INBOX", simpleMail("them@fabrikam.example", "invoices@contoso.com", "no file", fmt.Sprintf("<%d@fabrikam.example>", i)), time.Now())
			}
			first := wire.run(t, g, fmt.Sprint(count, " looked at, 0 taken"))
			second := wire.run(t, g, "0 looked at, 0 taken")
			t.Logf("%d messages: first run %s, second run %s", count, first, second)
			if first.received < 200*count || second.received > 8<<10+48*count || second.sent > 8<<10 {
				t.Errorf("the second run cost %s after %s", second, first)
			}
		})
	}
}

// TestSeenMailCostsNothing begins with a mailbox full of mail that is none of the task's.
func TestSeenMailCostsNothing(t *testing.T) {
	t.Parallel()
	count := crowd(38_000)
	for name, c := range map[string]struct {
		protocol, source string
		flags            []string
		perMessage       int // octets that the list of messages may take
	}{
		"imap unread":   {"imap", "start: all, which: unread", []string{`\Seen`}, 0},
		"imap new mail": {"imap", "start: new", nil, 0},
		"pop3 new mail": {"pop3", "start: new", nil, 48},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newErrands(t)
			for i := range count {
				g.sim.Exchange.Append("invoices@contoso.com", "INBOX", simpleMail("them@fabrikam.example", "invoices@contoso.com", "old", fmt.Sprintf("<%d@fabrikam.example>", i)), time.Now().AddDate(-1, 0, 0), c.flags...)
			}
			wire := g.metered(t, c.protocol, "  - {name: invoices, account: invoices, source: {protocol: "+c.protocol+", "+c.source+"}, directory: "+g.inbox()+"}\n")
			first := wire.run(t, g, "0 looked at, 0 taken")
			g.sim.Exchange.Append("invoices@contoso.com", "INBOX", mailWith("new", "<new@fabrikam.example>", map[string]string{"a.pdf": "alpha"}), time.Now().Add(time.Minute))
			second := wire.run(t, g, "1 looked at, 1 taken")
			third := wire.run(t, g, "0 looked at, 0 taken")
			t.Logf("%d messages: first run %s, with a new one %s, then %s", count, first, second, third)
			for _, run := range []cost{first, second, third} {
				if run.received > 32<<10+c.perMessage*count || run.sent > 8<<10 || run.took > time.Minute {
					t.Errorf("a run cost %s", run)
				}
			}
		})
	}
}

// metered declares tasks that reach the mailbox through a meter.
func (g *gate) metered(t *testing.T, protocol, tasks string) *meter {
	t.Helper()
	at := g.sim.IMAP().Port
	if protocol == "pop3" {
		at = g.sim.POP3().Port
	}
	m := newMeter(t, net.JoinHostPort("127.0.0.1", strconv.Itoa(at)))
	g.errand(tasks)
	entry := "%s: {host: localhost, port: %d, tls: implicit}"
	doc := strings.Replace(g.document(""), fmt.Sprintf(entry, protocol, at), fmt.Sprintf(entry, protocol, m.port), 1)
	apps, _, _ := strings.Cut(doc, "accounts:")
	g.apply(apps)
	return m
}

// meter is a way to a server that counts what passes.
type meter struct {
	port           int
	sent, received atomic.Int64
}

func newMeter(t *testing.T, to string) *meter {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	noError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	m := &meter{port: l.Addr().(*net.TCPAddr).Port}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go m.pass(c, to)
		}
	}()
	return m
}

func (m *meter) pass(near net.Conn, to string) {
	far, err := net.Dial("tcp", to)
	if err != nil {
		_ = near.Close()
		return
	}
	copied := func(dst, src net.Conn, n *atomic.Int64) {
		_, _ = io.Copy(io.MultiWriter(dst, counted{n}), src)
		_, _ = near.Close(), far.Close()
	}
	go copied(far, near, &m.sent)
	copied(near, far, &m.received)
}

type counted struct{ n *atomic.Int64 }

func (c counted) Write(p []byte) (int, error) {
	c.n.Add(int64(len(p)))
	return len(p), nil
}

// cost is that of one run.
type cost struct {
	sent, received int // octets
	took           time.Duration
}

func (c cost) String() string {
	return fmt.Sprintf("%d KB up, %d KB down, %s", c.sent>>10, c.received>>10, c.took.Round(time.Millisecond))
}

// run runs the task, which must say so, and tells what it cost.
func (m *meter) run(t *testing.T, g *gate, want string) cost {
	t.Helper()
	m.sent.Store(0)
	m.received.Store(0)
	began := time.Now()
	if out := g.postern("fetch", "run", "invoices"); !strings.Contains(out, want) {
		t.Errorf("the run says %s, want %s", out, want)
	}
	return cost{int(m.sent.Load()), int(m.received.Load()), time.Since(began)}
}

// TestRevokedMailboxIsLeftAlone: a task whose account was revoked asks nobody again until
// somebody has signed in, one alert says so, and the other account's task goes on.
func TestRevokedMailboxIsLeftAlone(t *testing.T) {
	t.Parallel()
	g, ops := newGate(t), newReceiver(t, 0)
	g.unlimited("scan@contoso.com", "invoices@contoso.com")
	good, bad := filepath.Join(g.dir, "good"), g.inbox()
	g.setUp("alerts:\n  - {name: ops, webhook: " + ops.URL + ", secret: {value: a secret of enough octets}, events: [account_needs_sign_in]}\n" +
		"tasks:\n  - {name: good, account: scan, start: all, every: 1s, directory: " + good + ", after: delete}\n" +
		"  - {name: invoices, account: invoices, start: all, every: 1s, directory: " + bad + ", after: delete}\n")
	put := func(mailbox, content string) {
		noError(t, g.sim.Deliver(mailbox, mailWith("file", "<"+content+"@x.example>", map[string]string{content + ".txt": content})))
	}
	arrives := func(dir, content string) {
		t.Helper()
		waitFor(t, content, func() bool { return contentsBelow(t, dir)[content] == 1 })
	}
	put("scan@contoso.com", "one")
	arrives(good, "one")
	put("invoices@contoso.com", "two")
	arrives(bad, "two")

	g.sim.World.RevokeSessions("invoices@contoso.com")
	g.expire()
	put("invoices@contoso.com", "three")
	waitFor(t, "the account to pause", func() bool { s, _ := stateOf(t, g, "invoices"); return s == "needs_sign_in" })
	put("scan@contoso.com", "four")
	arrives(good, "four")
	asked, refused := g.sim.World.Count("refresh"), g.sim.World.Count("imap_auth_refused")
	for _, content := range []string{"five", "six", "seven"} {
		put("scan@contoso.com", content)
		arrives(good, content)
	}
	if a, r := g.sim.World.Count("refresh"), g.sim.World.Count("imap_auth_refused"); a != asked || r != refused {
		t.Errorf("Microsoft was asked %d times more for tokens, the mailbox %d times more with one", a-asked, r-refused)
	}
	if contentsBelow(t, bad)["three"] != 0 || len(ops.calls()) != 1 {
		t.Errorf("%d alerts", len(ops.calls()))
	}
	g.signIn("invoices", "invoices@contoso.com")
	arrives(bad, "three")
	waitFor(t, "the mailbox to be empty", func() bool { return g.inFolder("INBOX") == 0 })
	if got := contentsBelow(t, bad); got["two"] != 1 || got["three"] != 1 || len(got) != 3 {
		t.Errorf("taken: %v", got)
	}
	g.stop()
}
