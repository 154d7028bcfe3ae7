// Package smtp submits mail to an upstream server: STARTTLS before credentials,
// SASL in one line or two steps, pipelined envelopes, one connection for many
// messages. What the server answers is classified by its codes into fault kinds.
//
// It stores nothing, retries nothing, keeps no pool and obtains no tokens. It
// receives no mail either; that is door's work.
//
// The dialogue is spoken here and not through go-smtp's client, because every
// failure must name its stage, a refused AUTH must not be followed by a stray
// "*", and the trace must know which side spoke to redact it.
package smtp

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"time"

	"postern/internal/mail"
)

// Stages of a session, as they stand in fault.Reply.Stage.
const (
	StageConnect  = "connect"
	StageGreeting = "greeting"
	StageEHLO     = "EHLO"
	StageSTARTTLS = "STARTTLS"
	StageTLS      = "TLS"
	StageAUTH     = "AUTH"
	StageMAIL     = "MAIL FROM"
	StageRCPT     = "RCPT TO"
	StageDATA     = "DATA"
	StageBody     = "message"
	StageRSET     = "RSET"
	StageNOOP     = "NOOP"
	StageQUIT     = "QUIT"
)

// Config says where and how to connect.
type Config struct {
	Server    mail.Server
	RootCAs   *x509.CertPool // nil: the system's
	HelloName string         // for EHLO; "" is localhost
	Timeouts  Timeouts

	// Dialer opens the TCP connection; nil is a net.Dialer.
	Dialer interface {
		DialContext(ctx context.Context, network, address string) (net.Conn, error)
	}
	// Trace, when set, gets the dialogue line by line without line ends: "C: " and
	// "S: " say who spoke, "* " is a remark. Credentials and message text are never
	// in it.
	Trace func(line string)
}

// Timeouts bound the waits of one session; zero fields get the defaults. The
// context of a call bounds all of them.
type Timeouts struct {
	Connect time.Duration // TCP and TLS; 30 s
	Command time.Duration // the reply to a command; 2 min
	Auth    time.Duration // a reply during AUTH; 90 s: refusals come late on purpose
	Write   time.Duration // one write of the message; 2 min
	Final   time.Duration // the reply after the final dot; 10 min (RFC 5321 §4.5.3.2.6)
}

func (t Timeouts) withDefaults() Timeouts {
	for _, f := range []struct {
		at  *time.Duration
		def time.Duration
	}{
		{&t.Connect, 30 * time.Second}, {&t.Command, 2 * time.Minute}, {&t.Auth, 90 * time.Second},
		{&t.Write, 2 * time.Minute}, {&t.Final, 10 * time.Minute},
	} {
		if *f.at <= 0 {
			*f.at = f.def
		}
	}
	return t
}

func (c Config) tls() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.Server.Host, RootCAs: c.RootCAs}
}
