package test

import (
	"encoding/base64"
	"fmt"
	"hash/crc64"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postern/internal/fetch"
)

// TestLargestMessageIsFetched takes 150 MB over every protocol, saves the attachment and
// the whole message, and never has 80 MB in memory.
func TestLargestMessageIsFetched(t *testing.T) {
	t.Parallel()
	g, box := newGate(t), realDovecot(t)
	g.unlimited("scan@contoso.com", "invoices@contoso.com")
	g.setUp("")
	imapUser, pop3User := box.user(t), box.user(t)
	raw, err := io.ReadAll(largeMail("them@fabrikam.example", "<large@fabrikam.example>", largestOctets))
	if err != nil {
		t.Fatal(err)
	}
	exchange := func(mailbox string) func() {
		return func() { g.sim.Exchange.Append(mailbox, "INBOX", raw, time.Now()) }
	}
	dovecot := func(user string) func() { return func() { box.append(t, user, string(raw)) } }
	accounts := dovecotApp(t, g, box) + "accounts:\n" + dovecotAccount("real-imap", imapUser) + dovecotAccount("real-pop3", pop3User)
	for _, way := range []struct {
		account, protocol string
		arrive            func()
	}{
		{"invoices", "imap", exchange("invoices@contoso.com")},
		{"scan", "pop3", exchange("scan@contoso.com")},
		{"real-imap", "imap", dovecot(imapUser)},
		{"real-pop3", "pop3", dovecot(pop3User)},
	} {
		way.arrive()
		dir, began := filepath.Join(g.dir, way.account), time.Now()
		g.apply(accounts + fmt.Sprintf("tasks:\n  - {name: %s, account: %[1]s, source: {protocol: %s, start: all}, rules: [{take: {save: [attachments, eml]}}], handover: {directory: %s}, after: delete, every: 1h}\n",
			way.account, way.protocol, dir))
		g.finished(t, way.account, 3*time.Minute)
		peak := g.peakMemory()
		t.Logf("%s from %s: %d octets in %s, peak memory %d MB", way.protocol, way.account, len(raw), time.Since(began).Round(time.Millisecond), peak>>20)
		if peak > largestPeak {
			t.Errorf("peak memory was %d MB", peak>>20)
		}
		if crcOf(t, filepath.Join(dir, "large.eml")) != crc64.Checksum(raw, crc64.MakeTable(crc64.ECMA)) {
			t.Error("the saved message is not the one that was sent")
		}
		_, text, _ := strings.Cut(string(raw), "filename=scan.pdf\r\n\r\n")
		text, _, _ = strings.Cut(text, "--sep")
		content, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		if crcOf(t, filepath.Join(dir, "scan.pdf")) != crc(string(content)) {
			t.Error("the attachment is not the one that was sent")
		}
	}
	g.stop()
}

// finished waits until everything that a task has looked at is done.
func (g *gate) finished(t *testing.T, task string, patience time.Duration) {
	t.Helper()
	var seen []fetch.Entry
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if seen = g.entries(task); len(seen) > 0 && len(unfinished(seen)) == 0 {
			return
		}
	}
	t.Fatalf("task %s is not done within %s: %+v", task, patience, seen)
}

func crcOf(t *testing.T, path string) uint64 {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := crc64.New(crc64.MakeTable(crc64.ECMA))
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return h.Sum64()
}
