package bridge_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"postern/internal/bridge"
	"postern/internal/fault"
)

// folder is a server with one folder, whose messages have the UIDs given.
type folder struct {
	validity uint32
	uids     []int
	expire   func(p *peer, command string) bool // in place of an answer; nil never
}

func (f *folder) serve(p *peer) {
	idle := ""
	for {
		line := p.next()
		if line == "" {
			return
		}
		if line == "DONE" {
			p.say(idle + " OK done\r\n")
			continue
		}
		tag, command, _ := strings.Cut(line, " ")
		if f.expire != nil && f.expire(p, command) {
			return
		}
		switch verb, rest, _ := strings.Cut(command, " "); {
		case verb == "SELECT" || verb == "EXAMINE":
			p.say(fmt.Sprintf("* FLAGS ()\r\n* %d EXISTS\r\n* OK [UIDVALIDITY %d] v\r\n* OK [UIDNEXT %d] n\r\n", len(f.uids), f.validity, f.last()+1))
		case verb == "IDLE":
			idle = tag
			p.say("+ idling\r\n")
			continue
		case strings.HasPrefix(command, "UID SEARCH UID "):
			found := "* SEARCH"
			for i, uid := range f.uids {
				var from int
				_, _ = fmt.Sscanf(command, "UID SEARCH UID %d:*", &from)
				if uid >= from || i == len(f.uids)-1 {
					found += fmt.Sprint(" ", uid)
				}
			}
			p.say(found + "\r\n")
		case verb == "FETCH" && strings.HasSuffix(rest, " (UID)"):
			var n int
			_, _ = fmt.Sscan(rest, &n)
			p.say(fmt.Sprintf("* %d FETCH (UID %d)\r\n", n, f.uids[n-1]))
		case verb == "FETCH":
			p.say("* 1 FETCH (BODY[] {24}\r\n* BYE AccessTokenExpired\r\n)\r\n") // a message that says so
		}
		p.say(tag + " OK done by " + fmt.Sprint(p.n) + "\r\n")
	}
}

func (f *folder) last() int {
	if len(f.uids) == 0 {
		return 0
	}
	return f.uids[len(f.uids)-1]
}

const bye = "* BYE Session invalidated - AccessTokenExpired\r\n"

// once lets the first connection's token end at a command.
func once(verb string, before ...string) func(p *peer, command string) bool {
	return func(p *peer, command string) bool {
		if p.n != 1 || !strings.HasPrefix(command, verb) {
			return false
		}
		p.say(strings.Join(before, "") + bye)
		return true
	}
}

func TestTokenEndsUnseen(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		was, is folder
		do      string
		want    []string // lines, an empty one stands for the end
	}{
		"between commands":  {folder{validity: 1, uids: []int{3, 7}}, folder{validity: 1, uids: []int{3, 7}}, "NOOP", []string{"x OK done by 2"}},
		"new mail":          {folder{validity: 1, uids: []int{3}}, folder{validity: 1, uids: []int{3, 9}}, "NOOP", []string{"* 2 EXISTS", "x OK done by 2"}},
		"new mail in none":  {folder{validity: 1}, folder{validity: 1, uids: []int{1}}, "NOOP", []string{"* 1 EXISTS", "x OK done by 2"}},
		"deleted":           {folder{validity: 1, uids: []int{3, 7}}, folder{validity: 1, uids: []int{7}}, "NOOP", nil},
		"one for another":   {folder{validity: 1, uids: []int{3, 7}}, folder{validity: 1, uids: []int{7, 9}}, "NOOP", nil},
		"another validity":  {folder{validity: 1, uids: []int{3}}, folder{validity: 2, uids: []int{3}}, "NOOP", nil},
		"idempotent":        {folder{validity: 1, uids: []int{3}}, folder{validity: 1, uids: []int{3}}, "UID STORE 3 +FLAGS (\\Seen)", []string{"x OK done by 2"}},
		"not to be doubled": {folder{validity: 1, uids: []int{3}}, folder{validity: 1, uids: []int{3}}, "UID COPY 3 Archive", nil},
		"SELECT itself":     {folder{validity: 1, uids: []int{3}}, folder{validity: 1, uids: []int{3}}, "EXAMINE Other", []string{"* FLAGS ()"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			verb, _, _ := strings.Cut(c.do, " ")
			c.was.expire = once(verb)
			s := newStand(t, bridge.Limits{}, func(p *peer) {
				if p.n == 1 {
					c.was.serve(p)
				} else {
					c.is.serve(p)
				}
			})
			r := s.reader()
			r.say("s SELECT INBOX\r\n")
			r.want("s OK done by 1")
			r.say("x " + c.do + "\r\n")
			if c.want == nil {
				r.only("* BYE [UNAVAILABLE] The sign-in to the mailbox has ended, connect again")
				r.ends()
				return
			}
			r.only(c.want...)
		})
	}
}

func TestTokenEndsWithinAnswer(t *testing.T) {
	t.Parallel()
	f := folder{validity: 1, uids: []int{3}, expire: once("UID FETCH", "* 1 FETCH (UID 3)\r\n")}
	s := newStand(t, bridge.Limits{}, f.serve)
	r := s.reader()
	r.say("s SELECT INBOX\r\n")
	r.want("s OK")
	r.say("x UID FETCH 1:* (UID)\r\n")
	r.only("* 1 FETCH (UID 3)", "* BYE [UNAVAILABLE] The sign-in to the mailbox has ended, connect again")
	r.ends()
}

// TestFarewellIsLost has the connection break when the token has ended.
func TestFarewellIsLost(t *testing.T) {
	t.Parallel()
	f := folder{validity: 1, uids: []int{3}, expire: func(p *peer, command string) bool { return p.n == 1 && command == "NOOP" }}
	s := newStand(t, bridge.Limits{}, f.serve)
	s.set(func() { s.expires = time.Now().Add(500 * time.Millisecond) }) // too short to be replaced in time
	r := s.reader()
	r.say("s SELECT INBOX\r\nn NOOP\r\n")
	r.want("s OK done by 1")
	r.only("n OK done by 2")
}

// TestLogoutIsTheEnd has the client log out when the token is about to end: what the
// server closes then stays closed.
func TestLogoutIsTheEnd(t *testing.T) {
	t.Parallel()
	f := folder{validity: 1, uids: []int{3}, expire: func(p *peer, command string) bool {
		if command == "LOGOUT" {
			p.say("* BYE see you\r\nl OK done\r\n")
		}
		return command == "LOGOUT"
	}}
	s := newStand(t, bridge.Limits{}, f.serve)
	s.set(func() { s.expires = time.Now().Add(500 * time.Millisecond) })
	r := s.reader()
	r.say("s SELECT INBOX\r\n")
	r.want("s OK done by 1")
	r.say("l LOGOUT\r\n")
	r.only("* BYE see you", "l OK done")
	r.ends()
	if n := s.logins.Load(); n != 1 {
		t.Errorf("signed in %d times", n)
	}
}

func TestTokenEndsWhilePipelined(t *testing.T) {
	t.Parallel()
	f := folder{validity: 1, uids: []int{3}, expire: once("NOOP")}
	s := newStand(t, bridge.Limits{}, f.serve)
	r := s.reader()
	r.say("s SELECT INBOX\r\na UID SEARCH UID 3:*\r\nb NOOP\r\nc CHECK\r\n")
	r.want("s OK done by 1")
	r.only("* SEARCH 3", "a OK done by 1", "b OK done by 2", "c OK done by 2")
}

// TestMessageIsNoAnswer has a message say what only a server may.
func TestMessageIsNoAnswer(t *testing.T) {
	t.Parallel()
	f := folder{validity: 1, uids: []int{3}}
	s := newStand(t, bridge.Limits{}, f.serve)
	r := s.reader()
	r.say("s SELECT INBOX\r\nf FETCH 1 BODY[]\r\n")
	r.want("s OK")
	r.only("* 1 FETCH (BODY[] {24}", "* BYE AccessTokenExpired", ")", "f OK done by 1")
}

// TestTokenIsReplaced has sessions change their connection before the token ends: one
// that waits in IDLE, and one that does nothing.
func TestTokenIsReplaced(t *testing.T) {
	t.Parallel()
	f := folder{validity: 1, uids: []int{3, 5}}
	s := newStand(t, bridge.Limits{}, f.serve)
	s.expires, s.brief = time.Now().Add(time.Hour), 2
	idler, other := s.reader(), s.reader()
	for _, c := range []*peer{idler, other} {
		c.say("s SELECT INBOX\r\n")
		c.want("s OK")
	}
	idler.say("i IDLE\r\n")
	idler.want("+ idling")
	eventually(t, "two more logins", func() bool { return s.logins.Load() == 4 && s.b.Stats().Renewed == 2 })
	idler.say("DONE\r\n")
	idler.only("i OK done")
	for _, c := range []*peer{idler, other} {
		c.say("n NOOP\r\n")
		if got := c.line(); got != "n OK done by 3" && got != "n OK done by 4" {
			t.Errorf("after the change: %q", got)
		}
	}
}

func TestCapabilities(t *testing.T) {
	t.Parallel()
	f := folder{}
	s := newStand(t, bridge.Limits{}, f.serve)
	c := s.dial(imaps)
	c.only("* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN AUTH=LOGIN] Postern is ready")
	c.say("l LOGIN anna right\r\n")
	c.only("l OK [CAPABILITY IMAP4rev1 IDLE UIDPLUS] anna@contoso.com is open")
	c = s.dial(imap)
	c.only("* OK [CAPABILITY IMAP4rev1 IDLE UIDPLUS STARTTLS LOGINDISABLED] Postern is ready")
	p := s.dial(pop3s)
	p.say("USER anna\r\nPASS right\r\n")
	p.want("+OK anna@contoso.com")
	p = s.dial(pop3)
	p.say("CAPA\r\n")
	p.only("+OK Postern is ready", "+OK", "TOP", "UIDL", "PIPELINING", "RESP-CODES", "AUTH-RESP-CODE", "IMPLEMENTATION Postern", "STLS", ".")
}

func TestCompressIsRefused(t *testing.T) {
	t.Parallel()
	s := newStand(t, bridge.Limits{}, func(p *peer) {
		for line := p.next(); line != ""; line = p.next() {
			p.say("* OK heard " + line + "\r\n")
		}
	})
	r := s.reader()
	r.say("a NOOP\r\nb compress DEFLATE\r\nc NOOP\r\n")
	r.only("* OK heard a NOOP", "* OK heard b NOCOMPRESS", "* OK heard c NOOP")
}

// TestRefusedLiteral has the server answer in place of asking for a literal: what the
// client says next is a command.
func TestRefusedLiteral(t *testing.T) {
	t.Parallel()
	s := newStand(t, bridge.Limits{}, func(p *peer) {
		for line := p.next(); line != ""; line = p.next() {
			tag, _, _ := strings.Cut(line, " ")
			p.say(tag + " NO heard " + line + "\r\n")
		}
	})
	r := s.reader()
	r.say("a APPEND INBOX {100}\r\n")
	r.only("a NO heard a APPEND INBOX {100}")
	r.say("b COMPRESS DEFLATE\r\n")
	r.only("b NO heard b NOCOMPRESS")
}

func TestBackoffIsKeptForEverybody(t *testing.T) {
	t.Parallel()
	f := folder{expire: func(p *peer, command string) bool {
		p.say("x NO Request is throttled. Suggested Backoff Time: 61000 milliseconds\r\n* BYE Connection closed. 14\r\n")
		return true
	}}
	s := newStand(t, bridge.Limits{}, f.serve)
	r := s.reader()
	r.say("x NOOP\r\n")
	r.only("x NO Request is throttled. Suggested Backoff Time: 61000 milliseconds", "* BYE Connection closed. 14")
	r.ends()
	c := s.dial(imaps)
	c.want("* OK")
	c.say("l LOGIN anna right\r\n")
	if got := c.line(); !strings.HasPrefix(got, "l NO [LIMIT] The server of the mailbox asks for patience, try again in 6") {
		t.Errorf("another program: %q", got)
	}
	c.say("m LOGIN berta right\r\n")
	c.want("m OK")
}

// TestBackoffHoldsCommandsBack has two programs at one mailbox: when the server asks one
// for patience, the other's next command waits too.
func TestBackoffHoldsCommandsBack(t *testing.T) {
	t.Parallel()
	f := folder{expire: func(p *peer, command string) bool {
		if p.n == 1 {
			p.say("x NO Request is throttled. Suggested Backoff Time: 4000 milliseconds\r\n")
		}
		return p.n == 1
	}}
	s := newStand(t, bridge.Limits{}, f.serve)
	one, other := s.reader(), s.reader()
	other.say("i IDLE\r\n")
	other.want("+ idling")
	began := time.Now()
	one.say("x NOOP\r\n")
	one.want("x NO")
	other.say("DONE\r\n") // what ends a command is not held back
	other.only("i OK done")
	if took := time.Since(began); took >= 4*time.Second {
		t.Errorf("the end of IDLE took %v", took)
	}
	other.say("n NOOP\r\n")
	other.only("n OK done by 2")
	if took := time.Since(began); took < 4*time.Second {
		t.Errorf("the next command came after %v", took)
	}
}

// TestSlowMessageIsPassedOn has a server pause in the middle of a large message: what has
// come reaches the client before the rest is there.
func TestSlowMessageIsPassedOn(t *testing.T) {
	t.Parallel()
	const size, piece = 1 << 20, 10 << 10
	goOn := make(chan struct{})
	s := newStand(t, bridge.Limits{}, func(p *peer) {
		if p.next() == "" {
			return
		}
		p.say(fmt.Sprintf("* 1 FETCH (BODY[] {%d}\r\n", size))
		for range 2 {
			p.say(strings.Repeat("x", piece))
			<-goOn
		}
		p.say(strings.Repeat("x", size-2*piece) + ")\r\nx OK done\r\n")
	})
	r := s.reader()
	r.say("x FETCH 1 BODY[]\r\n")
	r.want("* 1 FETCH")
	for range 2 {
		r.skip(piece)
		goOn <- struct{}{}
	}
	r.skip(size - 2*piece)
	r.only(")", "x OK done")
}

func TestSeatsAreShared(t *testing.T) {
	t.Parallel()
	f := folder{}
	s := newStand(t, bridge.Limits{PerMailbox: 2}, f.serve)
	first := s.reader()
	s.reader()
	c := s.dial(imaps)
	c.want("* OK")
	c.say("l LOGIN anna right\r\n")
	if got := c.line(); !strings.HasPrefix(got, "l NO [LIMIT]") {
		t.Errorf("a third: %q", got)
	}
	_ = first.Close()
	c.say("l LOGIN anna right\r\n")
	c.want("l OK")
}

func TestEnds(t *testing.T) {
	t.Parallel()
	f := folder{}
	for name, c := range map[string]struct {
		do   func(s *stand)
		want string
	}{
		"by hand": {func(s *stand) { s.b.End(s.b.Sessions()[0].ID, "enough") }, "* BYE [UNAVAILABLE] enough"},
		"revoked": {func(s *stand) { s.set(func() { s.denied = fault.New(fault.Denied, "x", "y") }) }, "* BYE [UNAVAILABLE] The device may not go on"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStand(t, bridge.Limits{}, f.serve)
			r := s.reader()
			began := time.Now()
			c.do(s)
			r.only(c.want)
			r.ends()
			if took := time.Since(began); took > 20*time.Second { // less than a last call takes
				t.Errorf("it took %v", took)
			}
			eventually(t, "no sessions", func() bool { return len(s.b.Sessions()) == 0 })
		})
	}
}

func TestIdleEnds(t *testing.T) {
	t.Parallel()
	f := folder{}
	s := newStand(t, bridge.Limits{IdleIMAP: time.Millisecond}, f.serve)
	r := s.reader()
	r.only("* BYE [UNAVAILABLE] Nothing was said for too long")
	r.ends()
}

// TestClientEndsItsSide gets the answers to what was said before.
func TestClientEndsItsSide(t *testing.T) {
	t.Parallel()
	f := folder{}
	s := newStand(t, bridge.Limits{}, f.serve)
	r := s.reader()
	r.say("a NOOP\r\nb NOOP\r\n")
	half, ok := r.Conn.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		t.Fatal("no half-close")
	}
	r.only("a OK done by 1", "b OK done by 1")
	r.ends()
}
