// Package mailbox reaches the servers mail is read from: it dials, encrypts and
// keeps a connection obedient to its context. The protocols on top of it are in
// mailbox/imap and mailbox/pop3.
//
// It obtains no token, decides nothing about messages and stores nothing. What goes over
// the wire is written down for a connection check alone, without credentials.
package mailbox

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"time"

	"postern/internal/fault"
	"postern/internal/mail"
)

// DefaultTimeout is how long a server may stay silent. Exchange answers a
// refused sign-in only after several seconds, so it is generous.
const DefaultTimeout = 60 * time.Second

// Config says where a server is and how to reach it.
type Config struct {
	Server  mail.Server
	RootCAs *x509.CertPool // nil: the system's
	Timeout time.Duration  // longest silence during one operation; 0: DefaultTimeout

	// Dial opens the TCP connection, for instance through a proxy; nil: directly.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	// Trace, when set, gets the dialogue line by line without line ends: "C: " and "S: "
	// say who spoke. Credentials are never in it; whole messages would be, so it is for
	// those who read none.
	Trace func(line string)

	// Narrow keeps no buffer under TLS: for connections that idle by the thousand.
	Narrow bool
}

// Protocol is what differs between IMAP and POP3 before the first command.
type Protocol struct {
	Name string // as in fault.Reply and in ALPN (RFC 7301): imap, pop3
	// StartTLS speaks the clear-text dialog that ends just before the TLS
	// handshake. It must not read a byte too many: what was sent ahead of the
	// handshake would otherwise be taken for authenticated (CVE-2021-33515's kind).
	StartTLS func(ctx context.Context, c *Conn) error
}

// Connect dials the server and encrypts the connection as Config.Server.TLS says.
func Connect(ctx context.Context, cfg Config, p Protocol) (*Conn, error) {
	timeout := cfg.Timeout
	if timeout <= 0 {
		timeout = DefaultTimeout
	}
	dialCtx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	dial := cfg.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	raw, err := dial(dialCtx, "tcp", cfg.Server.Address())
	if err != nil {
		return nil, dialError(cfg.Server, err)
	}
	c := &Conn{Conn: raw, timeout: timeout}
	if cfg.Trace != nil {
		c.trace = &tracer{say: cfg.Trace}
	}
	if err := c.encrypt(dialCtx, cfg, p); err != nil {
		_ = raw.Close()
		return nil, err
	}
	return c, nil
}

func dialError(s mail.Server, err error) error {
	e := &fault.Error{Kind: fault.Temporary, Op: "connect to " + s.Address(), Err: err}
	if dns := new(net.DNSError); errors.As(err, &dns) && dns.IsNotFound {
		return e.WithHint("check the host name %s", s.Host)
	}
	return e.WithHint("check the port, and that a firewall allows %s", s.Address())
}

func (c *Conn) encrypt(ctx context.Context, cfg Config, p Protocol) error {
	switch cfg.Server.TLS {
	case mail.Implicit:
	case mail.STARTTLS:
		if err := p.StartTLS(ctx, c); err != nil {
			return err
		}
	case mail.Plain:
		return nil
	default:
		return fault.New(fault.Invalid, "connect to "+cfg.Server.Address(), "%q is not a TLS mode", cfg.Server.TLS)
	}
	under := c.Conn
	if !cfg.Narrow {
		under = widen(under)
	}
	conn := tls.Client(under, &tls.Config{
		ServerName: cfg.Server.Host,
		RootCAs:    cfg.RootCAs,
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{p.Name},
	})
	if err := conn.HandshakeContext(ctx); err != nil {
		return tlsError(cfg.Server, err)
	}
	c.Conn = conn
	return nil
}

func tlsError(s mail.Server, err error) error {
	op := "start TLS with " + s.Address()
	if bad := new(tls.CertificateVerificationError); errors.As(err, &bad) {
		return fault.New(fault.NeedsAdmin, op, "%w", err).
			WithHint("the certificate of %s is not trusted for that name: check the host name, or add the issuer to the trusted certificates", s.Host)
	}
	if wrong := new(tls.RecordHeaderError); errors.As(err, wrong) {
		return fault.New(fault.NeedsAdmin, op, "%w", err).
			WithHint("the server does not speak TLS at once on port %d: choose STARTTLS, or the port for TLS", s.Port)
	}
	return fault.Wrap(fault.Temporary, op, err)
}

// ErrClear is returned instead of sending credentials over an unencrypted connection.
var ErrClear = errors.New("credentials are never sent without TLS")

// RequireTLS refuses connections that carry clear text.
func (c *Conn) RequireTLS(op string) error {
	if _, ok := c.TLS(); !ok {
		return fault.New(fault.NeedsAdmin, op, "%w", ErrClear).WithHint("set TLS to implicit or starttls")
	}
	return nil
}

// TLS describes the encryption, if there is one.
func (c *Conn) TLS() (tls.ConnectionState, bool) {
	if t, ok := c.Conn.(*tls.Conn); ok {
		return t.ConnectionState(), true
	}
	return tls.ConnectionState{}, false
}

// ReadLine reads one clear-text line before the handshake, byte by byte so that
// nothing behind it is taken. The line end is cut off.
func (c *Conn) ReadLine(limit int) (string, error) {
	var line []byte
	var b [1]byte
	for len(line) < limit {
		if _, err := c.Read(b[:]); err != nil {
			return "", err
		}
		if b[0] == '\n' {
			if n := len(line); n > 0 && line[n-1] == '\r' {
				line = line[:n-1]
			}
			return string(line), nil
		}
		line = append(line, b[0])
	}
	return "", fmt.Errorf("line of more than %d octets", limit)
}
