package test

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// bridged is a gate with its IMAP and POP3 doors open.
type bridged struct {
	*gate
	imap, imaps, pop3, pop3s string
}

const readers = `
  - {name: reader, account: scan, password: {env: DEVICE_PASSWORD}, doors: [imap, pop3, smtp]}
  - {name: poller, account: invoices, password: {env: DEVICE_PASSWORD}, doors: [imap], mailboxes: [shared@contoso.com]}
`

func newBridged(t testing.TB) *bridged {
	t.Helper()
	b := &bridged{gate: newGate(t), imap: freeAddress(t), imaps: freeAddress(t), pop3: freeAddress(t), pop3s: freeAddress(t)}
	b.env = append(b.env, "POSTERN_IMAP_LISTEN="+b.imap, "POSTERN_IMAPS_LISTEN="+b.imaps, "POSTERN_POP3_LISTEN="+b.pop3, "POSTERN_POP3S_LISTEN="+b.pop3s)
	b.unlimited("scan@contoso.com", "invoices@contoso.com", "shared@contoso.com")
	return b
}

// wireClient speaks a line protocol by hand.
type wireClient struct {
	net.Conn
	t testing.TB
	r *bufio.Reader
}

func (b *bridged) dial(addr string, over bool) *wireClient {
	b.t.Helper()
	conn, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		b.t.Fatal(err)
	}
	if over {
		conn = tls.Client(conn, b.doorTLS())
	}
	b.t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(60 * time.Second))
	return &wireClient{conn, b.t, bufio.NewReader(conn)}
}

func (c *wireClient) upgrade(b *bridged) {
	c.Conn = tls.Client(c.Conn, b.doorTLS())
	c.r.Reset(c.Conn)
}

func (c *wireClient) send(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c.Conn, text); err != nil {
		c.t.Fatal(err)
	}
}

func (c *wireClient) line() string {
	c.t.Helper()
	line, err := c.r.ReadString('\n')
	if err != nil {
		c.t.Fatalf("reading: %v (%q)", err, line)
	}
	return strings.TrimRight(line, "\r\n")
}

// until reads to a line with a prefix, and returns all of it.
func (c *wireClient) until(prefix string) string {
	c.t.Helper()
	var all strings.Builder
	for {
		line := c.line()
		all.WriteString(line + "\n")
		if strings.HasPrefix(line, prefix) {
			return all.String()
		}
	}
}

// do sends a command and reads to its tagged answer, which must be OK.
func (c *wireClient) do(tag, command string) string {
	c.t.Helper()
	c.send(tag + " " + command + "\r\n")
	all := c.until(tag + " ")
	if !strings.Contains(all, tag+" OK") {
		c.t.Fatalf("%s: %s", command, all)
	}
	return all
}

// reads reports whether the other side ends the connection.
func (c *wireClient) ends() bool {
	_, err := io.Copy(io.Discard, c.r)
	return err == nil || !strings.Contains(err.Error(), "timeout")
}

func (b *bridged) reader() *wireClient {
	b.t.Helper()
	c := b.dial(b.imaps, true)
	c.until("* OK")
	c.do("a", "LOGIN reader "+devicePassword)
	return c
}

// TestBridgeIMAP signs in in all the ways there are, and reads.
func TestBridgeIMAP(t *testing.T) {
	t.Parallel()
	b := newBridged(t)
	b.setUp(readers)
	if err := b.sim.Deliver("scan@contoso.com", simpleMail("x@y.example", "scan@contoso.com", "first", "<b1@x.example>")); err != nil {
		t.Fatal(err)
	}
	plain := "AHJlYWRlcgBkZXZpY2UtUGE1NXdvcmQtZm9yLXRlc3Rz" // \0reader\0…
	for name, login := range map[string]func(c *wireClient){
		"LOGIN":          func(c *wireClient) { c.do("a", "LOGIN reader "+devicePassword) },
		"quoted":         func(c *wireClient) { c.do("a", `LOGIN "reader" "`+devicePassword+`"`) },
		"mailbox":        func(c *wireClient) { c.do("a", "LOGIN scan@contoso.com "+devicePassword) },
		"device+mailbox": func(c *wireClient) { c.do("a", "LOGIN reader+scan@contoso.com "+devicePassword) },
		"literal+": func(c *wireClient) {
			c.do("a", fmt.Sprintf("LOGIN {6+}\r\nreader {%d+}\r\n%s", len(devicePassword), devicePassword))
		},
		"PLAIN inline": func(c *wireClient) { c.do("a", "AUTHENTICATE PLAIN "+plain) },
		"PLAIN": func(c *wireClient) {
			c.send("a AUTHENTICATE PLAIN\r\n")
			c.until("+")
			c.send(plain + "\r\n")
			c.until("a OK")
		},
		"LOGIN mechanism": func(c *wireClient) {
			c.send("a AUTHENTICATE LOGIN\r\n")
			c.until("+")
			c.send("cmVhZGVy\r\n")
			c.until("+")
			c.send("ZGV2aWNlLVBhNTV3b3JkLWZvci10ZXN0cw==\r\n")
			c.until("a OK")
		},
		"literal": func(c *wireClient) {
			c.send("a LOGIN {6}\r\n")
			c.until("+")
			c.send("reader " + devicePassword + "\r\n")
			c.until("a OK")
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := b.dial(b.imaps, true)
			c.t = t
			if greeting := c.line(); !strings.Contains(greeting, "AUTH=PLAIN") || strings.Contains(greeting, "LOGINDISABLED") {
				t.Errorf("the greeting: %s", greeting)
			}
			login(c)
			if caps := c.do("b", "CAPABILITY"); !strings.Contains(caps, "UIDPLUS") || strings.Contains(caps, "AUTH=") {
				t.Errorf("the capabilities: %s", caps)
			}
			if got := c.do("c", "SELECT INBOX"); !strings.Contains(got, "* 1 EXISTS") {
				t.Errorf("SELECT: %s", got)
			}
			if got := c.do("d", "UID FETCH 1:* (FLAGS BODY.PEEK[])"); !strings.Contains(got, "Subject: first") {
				t.Errorf("FETCH: %s", got)
			}
			c.do("e", "LOGOUT")
			if !c.ends() {
				t.Error("it goes on after LOGOUT")
			}
		})
	}
	t.Run("STARTTLS", func(t *testing.T) {
		c := b.dial(b.imap, false)
		c.t = t
		if greeting := c.line(); !strings.Contains(greeting, "STARTTLS LOGINDISABLED") || strings.Contains(greeting, "AUTH=") {
			t.Errorf("the greeting: %s", greeting)
		}
		c.send("a LOGIN reader " + devicePassword + "\r\n")
		if got := c.line(); !strings.HasPrefix(got, "a NO [PRIVACYREQUIRED]") {
			t.Errorf("a login in the clear: %s", got)
		}
		c.do("b", "STARTTLS")
		c.upgrade(b)
		if got := c.do("c", "LOGIN reader "+devicePassword); strings.Contains(got, "STARTTLS") || !strings.Contains(got, "[CAPABILITY IMAP4") {
			t.Errorf("after the login: %s", got)
		}
		c.do("d", "NOOP")
	})
	t.Run("injected", func(t *testing.T) {
		c := b.dial(b.imap, false)
		c.t = t
		c.line()
		c.send("a STARTTLS\r\nb NOOP\r\n")
		if got := c.line(); !strings.HasPrefix(got, "a BAD") || !c.ends() {
			t.Errorf("a command behind STARTTLS: %s", got)
		}
	})
	t.Run("wrong", func(t *testing.T) {
		c := b.dial(b.imaps, true)
		c.t = t
		c.line()
		for _, login := range []string{"reader wrong", "scanner " + devicePassword, "poller+scan@contoso.com " + devicePassword} {
			c.send("a LOGIN " + login + "\r\n")
			if got := c.line(); !strings.HasPrefix(got, "a NO [AUTHENTICATIONFAILED]") {
				t.Errorf("%s: %s", login, got)
			}
		}
		if !c.ends() {
			t.Error("three wrong logins do not end the connection")
		}
	})
	b.stop()
}

// TestBridgePOP3 reads by POP3.
func TestBridgePOP3(t *testing.T) {
	t.Parallel()
	b := newBridged(t)
	b.setUp(readers)
	if err := b.sim.Deliver("scan@contoso.com", simpleMail("x@y.example", "scan@contoso.com", "first", "<b1@x.example>")); err != nil {
		t.Fatal(err)
	}
	c := b.dial(b.pop3, false)
	c.until("+OK")
	c.send("CAPA\r\n")
	if capa := c.until("."); !strings.Contains(capa, "STLS") || strings.Contains(capa, "SASL") {
		t.Errorf("CAPA: %s", capa)
	}
	c.send("USER reader\r\n")
	c.until("-ERR Begin with STLS")
	c.send("STLS\r\n")
	c.until("+OK")
	c.upgrade(b)
	c.send("USER reader\r\nPASS " + devicePassword + "\r\nSTAT\r\nRETR 1\r\n")
	if got := c.until("."); !strings.Contains(got, "Subject: first") {
		t.Errorf("RETR: %s", got)
	}
	c.send("QUIT\r\n")
	c.until("+OK")
	if !c.ends() {
		t.Error("it goes on after QUIT")
	}
	c = b.dial(b.pop3s, true)
	c.until("+OK")
	c.send("AUTH PLAIN AHJlYWRlcgBkZXZpY2UtUGE1NXdvcmQtZm9yLXRlc3Rz\r\nUIDL\r\n")
	c.until(".")
	c = b.dial(b.pop3s, true)
	c.until("+OK")
	c.send("USER poller\r\nPASS " + devicePassword + "\r\n")
	if got := c.until("-ERR"); !strings.Contains(got, "-ERR [AUTH]") {
		t.Errorf("a device without the door: %s", got)
	}
	b.stop()
}

// TestBridgeSessions lists sessions, ends one, and sees revocation end another.
func TestBridgeSessions(t *testing.T) {
	t.Parallel()
	b := newBridged(t)
	b.setUp(readers)
	first, second := b.reader(), b.reader()
	var rows []struct{ ID, Device, Mailbox, Protocol string }
	list := func() int {
		rows = nil
		if err := json.Unmarshal([]byte(b.postern("sessions", "list", "--json")), &rows); err != nil {
			t.Fatal(err)
		}
		return len(rows)
	}
	waitFor(t, "two sessions", func() bool { return list() == 2 })
	if r := rows[0]; r.Device != "reader" || r.Mailbox != "scan@contoso.com" || r.Protocol != "imap" {
		t.Errorf("the list: %+v", rows)
	}
	b.postern("sessions", "end", rows[0].ID)
	if got := first.until("* BYE"); !strings.Contains(got, "* BYE [UNAVAILABLE]") || !first.ends() {
		t.Errorf("ended by hand: %s", got)
	}
	second.do("b", "NOOP")
	b.apply("devices:\n  - {name: reader, account: scan, password: {env: DEVICE_PASSWORD}, doors: [imap], disabled: true}\n")
	if got := second.until("* BYE"); !second.ends() {
		t.Errorf("revoked: %s", got)
	}
	waitFor(t, "no sessions", func() bool { return list() == 0 })
	b.stop()
}

// TestBridgeOutlivesToken has a token end while a client waits, and while another works.
func TestBridgeOutlivesToken(t *testing.T) {
	t.Parallel()
	b := newBridged(t)
	b.sim.World.SetLives(6*time.Second, 90*24*time.Hour)
	b.setUp(readers)
	deliver := func(n int) {
		if err := b.sim.Deliver("scan@contoso.com", simpleMail("x@y.example", "scan@contoso.com", fmt.Sprint("mail ", n), fmt.Sprintf("<t%d@x.example>", n))); err != nil {
			t.Fatal(err)
		}
	}
	for n := range 50 {
		deliver(n)
	}
	waiting, working := b.reader(), b.reader()
	waiting.do("b", "SELECT INBOX")
	waiting.send("c IDLE\r\n")
	waiting.until("+")
	working.do("b", "EXAMINE INBOX")
	until := time.Now().Add(15 * time.Second)
	rounds := 0
	for ; time.Now().Before(until); rounds++ {
		if got := working.do(fmt.Sprint("w", rounds), fmt.Sprintf("UID FETCH %d (BODY.PEEK[])", rounds%50+1)); !strings.Contains(got, fmt.Sprintf("Subject: mail %d", rounds%50)) {
			t.Fatalf("round %d: %s", rounds, got)
		}
	}
	deliver(50)
	waiting.until("* 51 EXISTS")
	waiting.send("DONE\r\n")
	waiting.until("c OK")
	if got := waiting.do("d", "FETCH 51 (UID BODY.PEEK[])"); !strings.Contains(got, "mail 50") {
		t.Errorf("the new message: %s", got)
	}
	t.Logf("%d rounds", rounds)
	b.stop()
}
