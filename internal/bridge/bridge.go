// Package bridge lets programs that know a name and a password read a mailbox that
// wants a token: an IMAP and a POP3 door. It checks the local login, signs in upstream
// with XOAUTH2, and then passes bytes both ways.
//
// It parses no message and serves no mailbox of its own. Of what passes it follows as
// much as it needs to know where an answer ends: there, and only there, it may sign in
// again upstream when the token has ended. It stores nothing; logins, tokens and the
// list of sessions are given to it.
package bridge

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"postern/internal/fault"
	"postern/internal/mail"
	"postern/internal/mailbox"
	"postern/internal/secret"
)

// Protocol is what a door speaks.
type Protocol string

// The protocols.
const (
	IMAP Protocol = "imap"
	POP3 Protocol = "pop3"
)

// Who is reading what.
type Who struct {
	Device  string
	Account string // whose sign-in opens the mailbox
	Mailbox mail.Address
	// Still is asked every second while the session lasts; fault.Denied ends it.
	Still func(ctx context.Context) error
}

// Logins checks local logins. A wrong one is fault.Denied, a host that guesses is
// fault.Throttled, somebody who may not come from there fault.Denied with a hint.
type Logins interface {
	Enter(ctx context.Context, p Protocol, user string, password secret.Text, remote netip.Addr) (Who, error)
}

// Way is how a mailbox is reached now.
type Way struct {
	Server  mailbox.Config
	Login   mailbox.Login
	Expires time.Time // of the token; zero for a password
}

// Mailboxes finds the way to a mailbox. fresh asks for another token, because a server
// refused the last one; where there is none, that is fault.NeedsSignIn. Refused is told
// when the server refused the fresh one too.
type Mailboxes interface {
	Way(ctx context.Context, w Who, p Protocol, fresh bool) (Way, error)
	Refused(ctx context.Context, w Who, reason error) error
}

// Session is one line of the list of sessions.
type Session struct {
	ID       string
	Protocol Protocol
	Device   string
	Account  string
	Mailbox  mail.Address
	Remote   string // host:port
	Since    time.Time
	Seen     time.Time // when the figures were written down
	In, Out  int64     // octets from and to the client
}

// Register shows the sessions to other processes, and says which of them somebody
// wants ended.
type Register interface {
	PutSessions(ctx context.Context, holder string, changed []Session, gone []string) error
	SessionsToEnd(ctx context.Context, holder string) (ids []string, err error)
}

// Limits bound what clients may take. Zero values have defaults.
type Limits struct {
	Sessions   int           // signed in, at all doors together
	PerMailbox int           // upstream connections to one mailbox
	Strangers  int           // connections that have not signed in yet
	PerHost    int           // of one address
	SignIn     time.Duration // all the time there is for it
	IdleIMAP   time.Duration
	IdlePOP3   time.Duration
	Stalled    time.Duration // for how long a client may take nothing of what it asked for
}

func (l Limits) filled() Limits {
	number := func(n *int, most int) {
		if *n <= 0 {
			*n = most
		}
	}
	span := func(d *time.Duration, most time.Duration) {
		if *d <= 0 {
			*d = most
		}
	}
	number(&l.Sessions, 4000)
	number(&l.PerMailbox, 10)
	number(&l.Strangers, 1000)
	number(&l.PerHost, 100)
	span(&l.SignIn, time.Minute)
	span(&l.IdleIMAP, 30*time.Minute) // RFC 9051 §5.4
	span(&l.IdlePOP3, 10*time.Minute) // RFC 1939 §3
	span(&l.Stalled, 3*time.Minute)
	return l
}

// Config builds a bridge. Logins, Mailboxes, TLS and Log are required.
type Config struct {
	Logins    Logins
	Mailboxes Mailboxes
	Register  Register // nil: nobody is shown the sessions
	Holder    string   // of this process, in the register
	TLS       *tls.Config
	Limits    Limits
	Log       *slog.Logger
}

// Bridge is all doors of one process.
type Bridge struct {
	cfg    Config
	limits Limits
	seats  seats
	learnt learnt
	lobby  lobby
	stats  stats

	mu   sync.Mutex
	open map[string]*session
}

// New builds a bridge.
func New(cfg Config) (*Bridge, error) {
	if cfg.Logins == nil || cfg.Mailboxes == nil || cfg.TLS == nil || cfg.Log == nil {
		return nil, fault.New(fault.Invalid, "build the bridge", "Logins, Mailboxes, TLS and Log are required")
	}
	over := cfg.TLS.Clone()
	over.DynamicRecordSizingDisabled = true // small first records only cost system calls here
	cfg.TLS = over
	limits := cfg.Limits.filled()
	return &Bridge{
		cfg: cfg, limits: limits, open: map[string]*session{},
		seats:  seats{most: limits.PerMailbox, boxes: map[string]*box{}},
		learnt: learnt{after: map[key]offer{}, before: map[string]offer{}},
		lobby:  lobby{most: limits.Strangers, perHost: limits.PerHost, hosts: map[netip.Addr]int{}},
	}, nil
}
