package test

import (
	"bufio"
	"fmt"
	"net"
	"net/smtp"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"postern/internal/sim365/visitor"
)

// goroutines is how many the process says it has.
func (g *gate) goroutines(t *testing.T, token string) int {
	t.Helper()
	_, out := g.figures(token)
	_, after, _ := strings.Cut(out, "\ngo_goroutines ")
	line, _, _ := strings.Cut(after, "\n")
	n, err := strconv.Atoi(line)
	if err != nil {
		t.Fatalf("no goroutines in %.200s", out)
	}
	return n
}

// TestThousandConnections holds connections open that say nothing, half a greeting and
// half a message, while others send as ever. When they hang up, nothing is left of them.
func TestThousandConnections(t *testing.T) {
	t.Parallel()
	need(t, "curl")
	g := newGate(t)
	g.unlimited("scan@contoso.com")
	g.setUp("")
	token := g.token("figures", "", "metrics")
	conf := g.doorTLS()
	g.letter("scanner", "scan@contoso.com", simpleMail("scan@contoso.com", "them@elsewhere.example", "before", "<before@test.example>"), "them@elsewhere.example")
	waitFor(t, "the first message", func() bool { return sentWith(g, "before") == 1 })
	before := g.goroutines(t, token)

	var held []net.Conn
	for i := range 1000 {
		from := net.Dialer{Timeout: 5 * time.Second, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 2, byte(1+i/50))}} // one address may have 100
		c, err := from.Dial("tcp", g.smtp)
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		_ = c.SetDeadline(time.Now().Add(time.Minute))
		line, err := bufio.NewReader(c).ReadString('\n')
		if err != nil || !strings.HasPrefix(line, "220 ") {
			t.Fatalf("connection %d was greeted with %q, %v", i, line, err)
		}
		_, _ = fmt.Fprint(c, []string{"", "EHLO", "EHLO printer\r\nSTARTTLS\r\n"}[i%3])
		held = append(held, c)
	}
	var wg sync.WaitGroup
	for i := range 10 {
		wg.Go(func() {
			submitAmong(t, g, fmt.Sprintf("<among-%d@test.example>", i), func() (*smtp.Client, error) { return g.login(conf) })
		})
	}
	wg.Wait()
	waitFor(t, "messages sent among them", func() bool { return sentWith(g, "among") == 10 })
	t.Logf("%d goroutines before, %d with the connections, %d MB at most", before, g.goroutines(t, token), g.peakMemory()>>20)
	for _, c := range held {
		_ = c.Close()
	}
	after := 0
	for deadline := time.Now().Add(90 * time.Second); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		if after = g.goroutines(t, token); after <= before+5 {
			break
		}
	}
	if after > before+5 {
		t.Errorf("%d goroutines are left of %d before", after, before)
	}
	g.stop()
}

func submitAmong(t *testing.T, g *gate, id string, login func() (*smtp.Client, error)) {
	c, err := login()
	if err != nil {
		t.Error(err)
		return
	}
	defer c.Close()
	if err := submit(c, "scan@contoso.com", "them@elsewhere.example", simpleMail("scan@contoso.com", "them@elsewhere.example", "among", id)); err != nil {
		t.Error(err)
	}
}

// TestDiskFillsUp sends until a small disk is nearly full: the door says 452 while
// there is still room for the database, keeps what it took, and takes more when
// there is room again.
func TestDiskFillsUp(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		skipOrFail(t, "a small disk needs root")
	}
	g := bareGate(t)
	g.visitor = visitor.New("")
	g.openLog()
	if err := os.MkdirAll(g.dataDir(), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", g.dataDir(), "tmpfs", 0, "size=64m"); err != nil {
		t.Skipf("no small disk here: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(g.dataDir(), syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	g.apply(bareDocument)
	g.start()
	conf := g.doorTLS()
	large := strings.Repeat(strings.Repeat("x", 70)+"\r\n", 40_000) // 3 MB
	try := func(i int) error {
		c, err := g.login(conf)
		if err != nil {
			return err
		}
		defer c.Close()
		raw := append(simpleMail("scan@contoso.com", "them@elsewhere.example", "fill", fmt.Sprintf("<fill-%d@test.example>", i)), large...)
		return submit(c, "scan@contoso.com", "them@elsewhere.example", raw)
	}
	taken := 0
	var full error
	for ; taken < 40 && full == nil; taken++ {
		full = try(taken)
	}
	taken--
	if full == nil || !strings.HasPrefix(full.Error(), "452 ") {
		t.Fatalf("%d messages of 3 MB on a disk of 64 MB, and then: %v", taken, full)
	}
	var disk syscall.Statfs_t
	if err := syscall.Statfs(g.dataDir(), &disk); err != nil {
		t.Fatal(err)
	}
	left := disk.Bavail * uint64(disk.Bsize)
	t.Logf("%d messages taken; then %v; %d KB are left", taken, full, left>>10)
	if n := len(g.queue("--limit", "1000")); n != taken {
		t.Errorf("%d messages were answered 250 and %d are in the queue", taken, n)
	}
	if left < 1<<20 {
		t.Errorf("%d octets were left when it said so: too few for the database to go on", left)
	}
	g.postern("queue", "delete", g.queue()[0].ID)
	waitFor(t, "a message to be taken again", func() bool { return try(100+taken) == nil })
	g.stop()
}
