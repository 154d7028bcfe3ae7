package exchange

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"postern/internal/sim365/world"
)

// imapGate is the connection that go-imap's server sees. It reads the client's
// commands first and answers itself what the library cannot say in Exchange's
// words: an expired token, CAPABILITY, ID, LOGOUT, unknown commands, faults. What
// passes, passes unchanged, literals included.
//
// On the way out it swallows the library's greeting (the client has had one) and
// rewrites tagged lines: BAD becomes Exchange's numbered errors, "completed" gets
// its full stop. A tagged line is known by being one Write of its own, which is
// how the library flushes them.
type imapGate struct {
	net.Conn
	servers *Servers
	w       *wire
	mailbox string
	token   string
	wait    func(time.Duration) bool

	cleared  []byte // for the library to read
	literal  int64  // octets of a literal still to pass
	within   bool   // the command goes on behind a literal
	idling   bool
	lastWord bool // of this command nothing is answered, and then comes the end

	out     sync.Mutex
	greeted bool
	mute    bool
	tag     string

	gone sync.Once
	done chan struct{}
}

func newIMAPGate(ctx context.Context, f *imapFront) *imapGate {
	return &imapGate{
		Conn: f.w.conn, servers: f.Servers, w: f.w, mailbox: f.mailbox, token: f.token,
		wait: func(d time.Duration) bool { return pause(ctx, d) },
		done: make(chan struct{}),
	}
}

// Read lets the library have what it may see.
func (g *imapGate) Read(p []byte) (int, error) {
	for len(g.cleared) == 0 {
		switch {
		case g.literal > 0:
			return g.readLiteral(p)
		case g.lastWord && !g.within:
			return 0, io.EOF
		}
		if err := g.next(); errors.Is(err, errHangUp) {
			g.silence()
			return 0, io.EOF
		} else if err != nil {
			return 0, err
		}
	}
	n := copy(p, g.cleared)
	g.cleared = g.cleared[n:]
	return n, nil
}

func (g *imapGate) readLiteral(p []byte) (int, error) {
	n, err := g.w.br.Read(p[:min(int64(len(p)), g.literal)])
	g.w.taken += int64(n)
	g.literal -= int64(n)
	return n, err
}

// next reads one line and decides about it.
func (g *imapGate) next() error {
	line, err := g.w.rawLine(maxIMAPLine)
	switch {
	case errors.Is(err, errTooLong):
		tag, _, _ := imapWords(string(line))
		return g.say(imapTagged(tag, imapCommandError))
	case err != nil:
		return err
	case g.within:
		g.pass(line)
		return nil
	}
	if _, err := g.servers.world.CheckToken(g.token); err != nil {
		return g.farewell(imapByeExpired)
	}
	if g.idling {
		g.idling = false
		g.pass(line)
		return nil
	}
	return g.command(line)
}

// pass gives a line to the library and follows the literal it may announce.
func (g *imapGate) pass(line []byte) {
	n, _, ok := imapLiteral(strings.TrimRight(string(line), "\r\n"))
	g.cleared, g.literal, g.within = line, 0, ok
	if ok {
		g.literal = n
	} else if g.lastWord {
		g.silence()
	}
}

// silence drops whatever the library still says.
func (g *imapGate) silence() {
	g.out.Lock()
	defer g.out.Unlock()
	g.mute = true
}

func (g *imapGate) command(line []byte) error {
	tag, name, _ := imapWords(string(line))
	g.setTag(tag)
	stage := imapStage(name)
	if f, ok := g.servers.world.Strike("imap", stage, g.mailbox); ok {
		if done, err := g.struck(f, line, name); done || err != nil {
			return err
		}
	}
	switch name {
	case "CAPABILITY":
		return g.say(imapCapAfter + "\n" + tag + " " + imapCapOK)
	case "ID":
		return g.say(imapID + "\n" + tag + " " + imapIDOK)
	case "LOGOUT":
		return g.farewell(imapByeLogout + "\n" + tag + " " + imapLogoutOK)
	case "AUTHENTICATE", "LOGIN", "STARTTLS":
		return g.refuse(line, tag+" "+imapStateError)
	}
	if stage == "" {
		return g.refuse(line, imapTagged(tag, imapCommandError))
	}
	g.idling = name == "IDLE"
	g.pass(line)
	return nil
}

// struck does what a fault says; done means the command goes no further.
func (g *imapGate) struck(f world.Fault, line []byte, name string) (done bool, err error) {
	g.servers.cfg.Log.Info("fault", "where", "imap", "command", name, "kind", string(f.Kind), "id", f.ID)
	switch f.Kind {
	case world.FaultReply:
		return true, g.refuse(line, imapTagged(g.tag, f.Code))
	case world.FaultGarbage:
		return true, g.refuse(line, garbage)
	case world.FaultSlow:
		if !g.wait(f.Delay) {
			return true, errHangUp
		}
		return false, nil
	case world.FaultDropAfter:
		if name == "IDLE" { // has no end to wait for
			return true, errHangUp
		}
		g.lastWord = true
		return false, nil
	case world.FaultDrop:
		return true, errHangUp
	case world.FaultHalfClose:
		g.w.halfClose()
		return true, errHangUp
	case world.FaultTokenExpired:
		return true, g.farewell(imapByeExpired)
	case world.FaultBackoff:
		return true, g.farewell(g.tag + " " + imapThrottled(f.Delay) + "\n" + imapByeClosed)
	}
	return false, nil
}

// refuse answers in place of the library. A literal that comes without being
// asked for (RFC 7888) is skipped, with what follows it.
func (g *imapGate) refuse(line []byte, answer string) error {
	for {
		n, sync, ok := imapLiteral(strings.TrimRight(string(line), "\r\n"))
		if !ok || sync {
			return g.say(answer)
		}
		if err := g.w.counted(&content{tooBig: true}, n, 1); err != nil {
			return err
		}
		var err error
		if line, err = g.w.rawLine(maxIMAPLine); err != nil && !errors.Is(err, errTooLong) {
			return err
		}
	}
}

func (g *imapGate) say(text string) error {
	g.out.Lock()
	defer g.out.Unlock()
	return g.w.say(text)
}

func (g *imapGate) farewell(text string) error {
	if err := g.say(text); err != nil {
		return err
	}
	return errHangUp
}

func (g *imapGate) setTag(tag string) {
	g.out.Lock()
	defer g.out.Unlock()
	g.tag = tag
}

// Write passes the library's answers on.
func (g *imapGate) Write(p []byte) (int, error) {
	g.out.Lock()
	defer g.out.Unlock()
	rest := p
	if !g.greeted {
		i := bytes.IndexByte(p, '\n')
		g.greeted, rest = i >= 0, p[i+1:]
		if i < 0 {
			return len(p), nil
		}
	}
	if g.mute || len(rest) == 0 {
		return len(p), nil
	}
	if _, err := g.Conn.Write(exchangeWords(g.tag, rest)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// exchangeWords rewrites one tagged line; anything else is left alone.
func exchangeWords(tag string, p []byte) []byte {
	line, ok := strings.CutPrefix(string(p[:min(len(p), 300)]), tag+" ")
	if tag == "" || !ok || strings.IndexByte(line, '\n') != len(line)-1 {
		return p
	}
	line = strings.TrimRight(line, "\r\n")
	switch {
	case strings.HasPrefix(line, "OK ") && strings.HasSuffix(line, " completed"):
		line += "."
	case strings.Contains(line, "is only valid in the"):
		line = imapStateError
	case strings.HasPrefix(line, "BAD [CLIENTBUG]"):
		line = imapArgumentError
	default:
		return p
	}
	return []byte(tag + " " + line + "\r\n")
}

// Close ends the session; the library calls it last.
func (g *imapGate) Close() error {
	g.gone.Do(func() { close(g.done) })
	return g.Conn.Close()
}
