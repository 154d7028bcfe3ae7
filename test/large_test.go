package test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"hash/crc64"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postern/internal/sim365"
	"postern/internal/sim365/world"
)

// The largest message and the memory it may take, all of the process included.
const (
	largestOctets = 150<<20 - 64<<10 // with the lines that Postern adds it stays below 150 MB
	largestPeak   = 80 << 20
)

// largeMail is a message with one attachment of so many octets in all, made as it is
// read.
func largeMail(from, id string, octets int) io.Reader {
	head := "From: " + from + "\r\nTo: scan@contoso.com\r\nSubject: large\r\nMessage-ID: " + id + "\r\nDate: Sat, 21 Nov 2026 09:00:00 +0000\r\nMIME-Version: 1.0\r\n" +
		"Content-Type: multipart/mixed; boundary=sep\r\n\r\n--sep\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\nc2VlIGF0dGFjaGVk\r\n--sep\r\n" +
		"Content-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename=scan.pdf\r\n\r\n"
	line := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("scan-0123456789-abc"), 3)) + "\r\n"
	lines := (octets - len(head)) / len(line)
	return io.MultiReader(strings.NewReader(head), io.LimitReader(&repeated{text: line}, int64(lines*len(line))), strings.NewReader("--sep--\r\n"))
}

// repeated yields a text over and over.
type repeated struct {
	text string
	at   int
}

func (r *repeated) Read(p []byte) (n int, err error) {
	for n < len(p) {
		k := copy(p[n:], r.text[r.at:])
		n, r.at = n+k, (r.at+k)%len(r.text)
	}
	return n, nil
}

// TestLargestMessage takes 150 MB in through the door and out through SMTP and Graph,
// and never has 80 MB in memory.
func TestLargestMessage(t *testing.T) {
	t.Parallel()
	for name, database := range map[string]func(t *testing.T, g *gate){
		"SQLite":     func(*testing.T, *gate) {},
		"PostgreSQL": func(t *testing.T, g *gate) { g.env = append(g.env, "POSTERN_DATABASE="+emptyDatabase(t)) },
	} {
		t.Run(name, func(t *testing.T) {
			g := newGateAt(t, sim365.Options{})
			database(t, g)
			g.unlimited("scan@contoso.com", "invoices@contoso.com")
			g.start()
			g.apply(strings.Replace(g.document("  - {name: poster, account: post, password: {env: DEVICE_PASSWORD}}\n"), "\ndevices:",
				"\n  - {name: post, app: contoso, mailbox: noauth@contoso.com, purposes: [graph]}\ndevices:", 1))
			g.signIn("scan", "scan@contoso.com")
			g.signIn("post", "noauth@contoso.com")
			g.unlimited("noauth@contoso.com")
			for _, way := range []struct{ device, from, via string }{{"scanner", "scan@contoso.com", "smtp"}, {"poster", "noauth@contoso.com", "graph"}} {
				id := fmt.Sprintf("<%s@large.example>", way.via)
				began := time.Now()
				g.submitLarge(t, way.device, way.from, id)
				taken := time.Since(began)
				m := g.sentLarge(t, way.from, id)
				t.Logf("%s: %d octets taken in %s, gone after %s, peak memory %d MB", way.via, len(m.Raw), taken.Round(time.Millisecond), time.Since(began).Round(time.Millisecond), g.peakMemory()>>20)
				if _, files := unpack(t, m.Raw); crc(base64.StdEncoding.EncodeToString([]byte(files["scan.pdf"]))) != wantedCRC(way.from, id) {
					t.Errorf("the attachment of %s arrived otherwise than it was sent: %d octets", id, len(files["scan.pdf"]))
				}
			}
			if peak := g.peakMemory(); peak > largestPeak {
				t.Errorf("peak memory was %d MB", peak>>20)
			}
			if left, _ := filepath.Glob(filepath.Join(g.dataDir(), "bodies", "*")); len(left) > 0 {
				t.Errorf("bodies are left: %v", left)
			}
			g.stop()
		})
	}
}

func crc(s string) uint64 { return crc64.Checksum([]byte(s), crc64.MakeTable(crc64.ECMA)) }

// wantedCRC is that of the attachment's base64 without line ends, as it was sent.
func wantedCRC(from, id string) uint64 {
	all, _ := io.ReadAll(largeMail(from, id, largestOctets))
	_, after, _ := strings.Cut(string(all), "filename=scan.pdf\r\n\r\n")
	text, _, _ := strings.Cut(after, "--sep--")
	return crc(strings.ReplaceAll(text, "\r\n", ""))
}

// submitLarge hands in the largest message.
func (g *gate) submitLarge(t *testing.T, device, from, id string) {
	t.Helper()
	c, err := g.loginAs(device, g.doorTLS())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Mail(from); err != nil {
		t.Fatal(err)
	}
	if err := c.Rcpt("scan@contoso.com"); err != nil {
		t.Fatal(err)
	}
	w, err := c.Data()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(w, largeMail(from, id, largestOctets)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// sentLarge waits for the large message in Sent Items.
func (g *gate) sentLarge(t *testing.T, mailbox, id string) world.Stored {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		for _, m := range g.sim.World.Messages(mailbox, "Sent Items") {
			if headerOf(m.Raw, "Message-ID") == id && g.queued(id).State == "delivered" {
				return m
			}
		}
	}
	t.Fatalf("%s was not sent within two minutes: %+v", id, g.queued(id))
	return world.Stored{}
}
