package door_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"postern/internal/door"
	"postern/internal/relay"
)

// taker keeps what it is handed whole.
type taker struct {
	mu    sync.Mutex
	taken []string
}

func (k *taker) Accept(_ context.Context, _ relay.Submission, body io.Reader) (string, error) {
	text, err := io.ReadAll(body)
	if err != nil {
		return "", err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.taken = append(k.taken, string(text))
	return "one", nil
}

func (k *taker) empty() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	all := k.taken
	k.taken = nil
	return all
}

// alarm keeps the log line of a panic. One is go-smtp's own: what it starts for BDAT may
// find the session gone that was cut at once, and says so; nothing is taken then.
type alarm struct{ heard atomic.Pointer[string] }

func (a *alarm) Write(p []byte) (int, error) {
	if line := string(p); strings.Contains(line, "panic") && !strings.Contains(line, "handleBdat.func1()") {
		a.heard.Store(&line)
	}
	return len(p), nil
}

// How a fuzzed device comes in.
const (
	asListed   = iota
	insideData // listed, its message begun
	asStranger
	behindTLS // a stranger too
	waysIn
)

var (
	beginsData = regexp.MustCompile(`(?i)DATA`)
	lastChunk  = regexp.MustCompile(`(?is)BDAT.*LAST`)
)

var aReply = regexp.MustCompile(`^[2-5][0-9][0-9][ -][^\r\n]*\r\n$`)

// A whole session through the real door, then the end of the line. Whatever is said: every
// answer is a reply; a message is taken only when its end came, and exactly as it came; a
// stranger gets none in without the password; and the session ends.
func FuzzSession(f *testing.F) {
	const begin, rcpt = "MAIL FROM:<office@contoso.com>\r\n", "RCPT TO:<a@example.net>\r\n"
	f.Add(asListed, []byte("EHLO x\r\n"+begin+rcpt+"DATA\r\nx\r\n..\r\n.\r\n"+begin+rcpt+"BDAT 3\r\nabcBDAT 2 LAST\r\nde"))
	f.Add(asListed, []byte("helo x\n"+begin+"RCPT TO:a@b NOTIFY=NEVER\r\nRSET\r\nNOOP\r\nVRFY x\r\nQUIT\r\n"))
	f.Add(asListed, []byte("EHLO x\r\nMAIL FROM:<office@contoso.com> SIZE=99999999999999999999\r\nMAIL FROM:<> SIZE=4294967296 RET=HDRS\r\n"))
	f.Add(insideData, []byte("a\r\r\n.\r\nMAIL\r\n\n.\n.\r.\r\n.\r\n"))
	f.Add(asStranger, []byte("EHLO x\r\nAUTH PLAIN AHNjYW5uZXIAcGFzcyB3b3Jk\r\n"+begin+rcpt+"DATA\r\nx\r\n.\r\n"))
	f.Add(behindTLS, []byte("EHLO x\r\nAUTH LOGIN\r\n*\r\n"+begin+rcpt+"BDAT 1 LAST\r\nx"))
	f.Add(behindTLS, []byte("EHLO x\r\nAUTH PLAIN AHNjYW5uZXIAcGFzcyB3b3Jk\r\n"+begin+rcpt+"DATA\r\nx\r\n.\r\n"))
	behind := &taker{}
	gates := map[bool]*gate{}
	var log alarm
	for _, listed := range []bool{true, false} {
		gates[listed] = open(f, func(cfg *door.SMTPConfig, _ *shelf) {
			cfg.Listed, cfg.Relay, cfg.Idle, cfg.Log = listed, behind, 2*time.Second, slog.New(slog.NewTextHandler(&log, nil))
		})
	}
	gates[true].change(func(d *door.Device) { d.Policy = door.Policy{NoLogin: true, Networks: networks("127.0.0.1/32")} })
	f.Fuzz(func(t *testing.T, way int, said []byte) {
		way = max(way, -way) % waysIn
		if way < 0 {
			t.Skip() // the smallest int
		}
		if way == insideData {
			said = append([]byte("EHLO x\r\n"+begin+rcpt+"DATA\r\n"), said...)
		}
		replies := gates[way < asStranger].tell(t, way == behindTLS, said)
		taken, queued := behind.empty(), 0
		stranger := way >= asStranger
		for line := range strings.Lines(replies) {
			if !aReply.MatchString(line) {
				t.Fatalf("%q is no reply", line)
			}
			if strings.HasPrefix(line, "250 2.0.0 Ok: queued as ") {
				queued++
			}
			if strings.HasPrefix(line, "235 ") { // the password may be guessed from the words above
				stranger = false
			}
		}
		if queued > len(taken) || stranger && len(taken) > 0 {
			t.Fatalf("%d taken, %d answered so", len(taken), queued)
		}
		for _, body := range taken {
			if !wasSent(said, body) {
				t.Fatalf("%q was taken from %q", body, said)
			}
		}
		if line := log.heard.Swap(nil); line != nil {
			t.Fatal(*line)
		}
	})
}

// tell says everything, hangs up and returns the answers.
func (g *gate) tell(t *testing.T, secure bool, said []byte) string {
	t.Helper()
	c := g.dial(t)
	if secure {
		c.play("S: 220\nC: STARTTLS\nS: 220\n")
		c.startTLS()
	}
	go func() { // the door may stop listening
		_, _ = c.conn.Write(said)
		_ = c.conn.(interface{ CloseWrite() error }).CloseWrite()
	}()
	replies, err := io.ReadAll(c.br)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("the session does not end; replies %q", replies)
	}
	return string(replies)
}

// wasSent reports whether a message was sent so: behind DATA up to its end, or in chunks.
func wasSent(said []byte, body string) bool {
	for _, at := range beginsData.FindAllIndex(said, -1) {
		_, behind, _ := bytes.Cut(said[at[1]:], []byte("\n"))
		text, _, ended := strings.Cut("\r\n"+string(behind), "\r\n.\r\n")
		if ended && strings.ReplaceAll(text+"\r\n", "\r\n.", "\r\n") == "\r\n"+body {
			return true
		}
	}
	return lastChunk.Match(said)
}
