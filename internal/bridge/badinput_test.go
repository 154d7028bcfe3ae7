package bridge_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"postern/internal/bridge"
)

// TestBadInput is what strangers may say without effect on others.
func TestBadInput(t *testing.T) {
	t.Parallel()
	f := folder{validity: 1, uids: []int{3}}
	s := newStand(t, bridge.Limits{}, f.serve)
	good := s.reader()
	for name, c := range map[string]struct {
		door bridge.Door
		say  string
		want string // the beginning of the last line before the end
	}{
		"4 GB literal":         {imaps, "a LOGIN {4294967296}\r\n", "* BYE [TOOBIG]"},
		"4 GB literal at once": {imaps, "a LOGIN {4294967296+}\r\nxxxx", "* BYE [TOOBIG]"},
		"many literals":        {imaps, "a LOGIN" + strings.Repeat(" {100+}\r\n"+strings.Repeat("x", 100), 50), "* BYE [TOOBIG]"},
		"line without end":     {imaps, strings.Repeat("x", 10_000), "* BYE [TOOBIG]"},
		"long SASL answer":     {imaps, "a AUTHENTICATE PLAIN\r\n" + strings.Repeat("x", 10_000), "a BAD"},
		"nothing of use":       {imaps, strings.Repeat("a NOOP\r\n", 30), "a OK"},
		"not IMAP":             {imaps, strings.Repeat("GET / HTTP/1.1\r\n", 30), "GET BAD"},
		"POP3 line":            {pop3s, "USER " + strings.Repeat("x", 10_000), "-ERR That is too long"},
		"POP3 lines":           {pop3s, strings.Repeat("RETR 1\r\n", 30), "-ERR Not before"},
		"behind STARTTLS":      {imap, "a STARTTLS\r\nb LOGIN anna right\r\nc NOOP\r\n", "a BAD Something came"},
		"behind STLS":          {pop3, "STLS\r\nUSER anna\r\nPASS right\r\n", "-ERR Something came"},
		"no TLS":               {imaps, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if c.say == "" { // what is no handshake
				conn, err := net.Dial("tcp", s.addr[c.door])
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				_, _ = io.WriteString(conn, "a LOGIN anna right\r\n")
				_, _ = io.Copy(io.Discard, conn)
				return
			}
			p := s.dial(c.door)
			p.t = t
			p.say(c.say)
			got, _ := io.ReadAll(p.r) // a reset is an end too
			lines := strings.Split(strings.TrimSpace(string(got)), "\r\n")
			if last := lines[len(lines)-1]; !strings.HasPrefix(last, c.want) {
				t.Errorf("it ended with %q", last)
			}
		})
	}
	t.Cleanup(func() {
		if n := s.logins.Load(); n != 1 {
			t.Errorf("%d connections upstream, want the good one's", n)
		}
	})
	good.say("n NOOP\r\n")
	good.only("n OK done by 1")
}

// TestBehindLogin passes what came with the login, once that was right.
func TestBehindLogin(t *testing.T) {
	t.Parallel()
	f := folder{validity: 1, uids: []int{3}}
	s := newStand(t, bridge.Limits{}, f.serve)
	c := s.dial(imaps)
	c.want("* OK")
	c.say("a LOGIN anna wrong\r\nb NOOP\r\nc LOGIN anna right\r\nd SELECT INBOX\r\n")
	c.want("a NO [AUTHENTICATIONFAILED]")
	c.only("b OK Done")
	c.want("c OK")
	c.want("d OK done by 1")
}

// TestStrangersAreCounted turns some away, and lets the session be.
func TestStrangersAreCounted(t *testing.T) {
	t.Parallel()
	f := folder{}
	s := newStand(t, bridge.Limits{Strangers: 3}, f.serve)
	good := s.reader()
	eventually(t, "the lobby to be empty", func() bool { return s.b.Stats().Strangers == 0 })
	strangers := []*peer{s.dial(imap), s.dial(imap), s.dial(imap)}
	for _, c := range strangers {
		c.want("* OK")
	}
	late := s.dial(imap)
	late.only("* BYE [UNAVAILABLE] Too many connections, try again later")
	late.ends()
	good.say("n NOOP\r\n")
	good.only("n OK done by 1")
	for _, c := range strangers {
		_ = c.Close()
	}
	eventually(t, "the lobby to be empty", func() bool { return s.b.Stats().Strangers == 0 })
	s.dial(imap).want("* OK")
}

// TestStrangersHaveTheirTime has one say nothing.
func TestStrangersHaveTheirTime(t *testing.T) {
	t.Parallel()
	s := newStand(t, bridge.Limits{SignIn: 200 * time.Millisecond}, nil)
	if said, err := io.ReadAll(s.dial(imap).r); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("said %q and went on waiting", said)
	}
	eventually(t, "the lobby to be empty", func() bool { return s.b.Stats().Strangers == 0 })
}

// TestSlowReader asks for much and takes nothing: it is given up, and others are served.
func TestSlowReader(t *testing.T) {
	t.Parallel()
	const much = 8 << 20 // more than what a system sends ahead
	s := newStand(t, bridge.Limits{Stalled: time.Second}, func(p *peer) {
		for line := p.next(); line != ""; line = p.next() {
			if line == "f FETCH 1 BODY[]" {
				p.say(fmt.Sprintf("* 1 FETCH (BODY[] {%d}\r\n%s)\r\n", much, strings.Repeat("x", much)))
			}
			p.say("n OK done\r\n")
		}
	})
	slow, quick := s.reader(), s.reader()
	if err := slow.Conn.(*tls.Conn).NetConn().(*net.TCPConn).SetReadBuffer(4 << 10); err != nil { //nolint:forcetypeassert // imaps it is
		t.Fatal(err)
	}
	slow.say("f FETCH 1 BODY[]\r\n")
	for range 100 {
		quick.say("n NOOP\r\n")
		quick.only("n OK done")
	}
	eventually(t, "the slow one to be given up", func() bool { return len(s.b.Sessions()) == 1 })
}

// What was said in the clear may be anybody's, and is forgotten with STLS (RFC 2595 §4).
func TestNothingSaidInTheClearIsRemembered(t *testing.T) {
	t.Parallel()
	s := newStand(t, bridge.Limits{}, func(*peer) {})
	p := s.dial(pop3)
	p.want("+OK")
	p.say("USER anna\r\n")
	p.want("-ERR Begin with STLS")
	p.say("STLS\r\n")
	p.want("+OK")
	p = newPeer(t, tls.Client(p.Conn, s.trusts()))
	p.say("PASS " + password + "\r\n")
	p.only("-ERR USER comes first")
}
