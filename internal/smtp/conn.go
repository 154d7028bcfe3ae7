package smtp

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"postern/internal/fault"
	"postern/internal/mail"
)

// Conn is a session with an upstream server. It is for one goroutine at a time.
// Errors are [fault.Error]s; after one without a reply, or with a 421, the
// connection is of no more use: see [Conn.Usable].
type Conn struct {
	cfg   Config
	times Timeouts
	wire  *deadlineConn
	conn  net.Conn // wire, or TLS above it
	br    *bufio.Reader
	bw    *bufio.Writer
	text  CanonicalReader // of the message being sent

	ext    map[string]string // what EHLO offered, upper case
	secure *tls.ConnectionState
	dirty  bool // a transaction was begun and not completed
	broken bool
}

// Dial connects, greets and, as the server's mode asks, turns TLS on. A server
// that does not offer STARTTLS when the mode asks for it is fault.NeedsAdmin.
func Dial(ctx context.Context, cfg Config) (*Conn, error) {
	c := &Conn{cfg: cfg, times: cfg.Timeouts.withDefaults()}
	if err := c.connect(ctx); err != nil {
		return nil, err
	}
	defer c.wire.use(ctx)()
	if err := c.open(ctx); err != nil {
		c.Abort()
		return nil, err
	}
	return c, nil
}

func (c *Conn) connect(ctx context.Context) error {
	dialer := c.cfg.Dialer
	if dialer == nil {
		dialer = &net.Dialer{}
	}
	limited, cancel := context.WithTimeout(ctx, c.times.Connect)
	defer cancel()
	c.trace("* connect to " + c.cfg.Server.Address())
	conn, err := dialer.DialContext(limited, "tcp", c.cfg.Server.Address())
	if err != nil {
		return &fault.Error{Kind: fault.Temporary, Op: "smtp " + StageConnect, Err: err,
			Hint: fmt.Sprintf("check that the firewall lets this machine reach %s", c.cfg.Server.Address())}
	}
	c.wire = &deadlineConn{Conn: conn, patience: c.times.Command}
	c.carry(c.wire)
	return nil
}

// carry moves the session onto conn. Whatever stood unread in the old buffer is
// dropped: before TLS it may have been put there by somebody else (RFC 3207 §6).
func (c *Conn) carry(conn net.Conn) {
	c.conn = conn
	c.br = bufio.NewReaderSize(conn, maxReplyLine)
	c.bw = bufio.NewWriterSize(conn, 32<<10)
}

func (c *Conn) open(ctx context.Context) error {
	if c.cfg.Server.TLS == mail.Implicit {
		if err := c.handshake(ctx); err != nil {
			return err
		}
	}
	if _, err := c.expect(StageGreeting, 2); err != nil {
		return err
	}
	if err := c.hello(); err != nil {
		return err
	}
	if c.cfg.Server.TLS != mail.STARTTLS {
		return nil
	}
	if !c.Offers("STARTTLS") {
		return fault.New(fault.NeedsAdmin, "smtp "+StageSTARTTLS, "%s does not offer STARTTLS", c.cfg.Server.Address()).
			WithHint("check host and port, and that no firewall inspects SMTP on the way")
	}
	if _, err := c.command(StageSTARTTLS, 2, "STARTTLS"); err != nil {
		return err
	}
	if err := c.handshake(ctx); err != nil {
		return err
	}
	return c.hello()
}

func (c *Conn) handshake(ctx context.Context) error {
	c.wire.setPatience(c.times.Connect)
	t := tls.Client(c.wire, c.cfg.tls())
	if err := t.HandshakeContext(ctx); err != nil {
		return c.lost(StageTLS, err)
	}
	state := t.ConnectionState()
	c.secure = &state
	c.carry(t)
	c.trace("* " + tls.VersionName(state.Version) + " " + tls.CipherSuiteName(state.CipherSuite))
	return nil
}

func (c *Conn) hello() error {
	name := c.cfg.HelloName
	if name == "" {
		name = "localhost"
	}
	r, err := c.command(StageEHLO, 2, "EHLO "+name)
	if err != nil {
		return err
	}
	c.ext = make(map[string]string, len(r.lines))
	for _, line := range r.lines[1:] {
		keyword, params, _ := strings.Cut(line, " ")
		c.ext[strings.ToUpper(keyword)] = params
	}
	return nil
}

// Offers reports whether the last EHLO named the extension.
func (c *Conn) Offers(extension string) bool {
	_, ok := c.ext[strings.ToUpper(extension)]
	return ok
}

// Mechanisms are the SASL mechanisms of the last EHLO, upper case.
func (c *Conn) Mechanisms() []string { return strings.Fields(strings.ToUpper(c.ext["AUTH"])) }

// TLS is the state of the encrypted connection, nil when there is none.
func (c *Conn) TLS() *tls.ConnectionState { return c.secure }

// Usable reports whether another command makes sense.
func (c *Conn) Usable() bool { return !c.broken }

// Reset drops a transaction that was begun.
func (c *Conn) Reset(ctx context.Context) error {
	defer c.wire.use(ctx)()
	return c.reset()
}

func (c *Conn) reset() error {
	_, err := c.command(StageRSET, 2, "RSET")
	c.dirty = c.dirty && err != nil
	return err
}

// Noop asks whether the server is still there.
func (c *Conn) Noop(ctx context.Context) error {
	defer c.wire.use(ctx)()
	_, err := c.command(StageNOOP, 2, "NOOP")
	return err
}

// quitPatience is how long a farewell may take.
const quitPatience = 5 * time.Second

// Close says QUIT, waits shortly for the answer, and closes.
func (c *Conn) Close(ctx context.Context) error {
	defer c.Abort()
	if c.broken {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, quitPatience)
	defer cancel()
	defer c.wire.use(ctx)()
	_, err := c.command(StageQUIT, 2, "QUIT")
	return err
}

// Abort closes without a word, so that the server cannot take anything for an
// acknowledgement.
func (c *Conn) Abort() {
	c.broken = true
	_ = c.wire.Close()
}

// command sends one line and reads its reply; a reply of another class than
// want is the error.
func (c *Conn) command(stage string, want int, line string) (reply, error) {
	c.wire.setPatience(c.times.Command)
	if err := c.say(stage, line, line); err != nil {
		return reply{}, err
	}
	if err := c.flush(stage); err != nil {
		return reply{}, err
	}
	return c.expect(stage, want)
}

// say queues a line; shown stands in the trace instead of it.
func (c *Conn) say(stage, line, shown string) error {
	if c.broken {
		return c.lost(stage, net.ErrClosed)
	}
	c.trace("C: " + shown)
	if _, err := c.bw.WriteString(line + "\r\n"); err != nil {
		return c.lost(stage, err)
	}
	return nil
}

func (c *Conn) flush(stage string) error {
	if err := c.bw.Flush(); err != nil {
		return c.lost(stage, err)
	}
	return nil
}

func (c *Conn) expect(stage string, want int) (reply, error) {
	r, err := readReply(c.br, c.trace)
	if err != nil {
		return reply{}, c.lost(stage, err)
	}
	return r, c.judge(stage, want, r)
}

// judge turns a reply of another class than want into a fault.
func (c *Conn) judge(stage string, want int, r reply) error {
	if r.code == 421 { // RFC 5321 §3.8: the server closes the channel
		c.broken = true
	}
	if r.code/100 == want {
		return nil
	}
	return r.fault(stage)
}

// lost classifies a failure of the connection itself.
func (c *Conn) lost(stage string, err error) error {
	c.broken = true
	if ctx := c.wire.context(); ctx != nil && ctx.Err() != nil {
		err = fmt.Errorf("%w: %w", context.Cause(ctx), err)
	}
	f := &fault.Error{Kind: fault.Temporary, Op: "smtp " + stage, Err: err}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		f.Hint = "if something on the way inspects TLS, add its certificate authority to the CA bundle"
	}
	c.trace("* " + f.Error())
	return f
}

func (c *Conn) trace(line string) {
	if c.cfg.Trace != nil {
		c.cfg.Trace(line)
	}
}
