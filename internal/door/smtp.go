package door

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"postern/internal/fault"
	"postern/internal/relay"
)

// Acceptor takes responsibility for submissions; [relay.Relay] is one.
type Acceptor interface {
	Accept(ctx context.Context, s relay.Submission, body io.Reader) (id string, err error)
}

// SMTPConfig builds an SMTP door. Logins, Relay, Account and TLS are required.
type SMTPConfig struct {
	Logins  *Logins
	Relay   Acceptor
	Account func(ctx context.Context, name string) (Account, error) // of a device
	TLS     *tls.Config

	Implicit bool // TLS from the first octet (465) instead of STARTTLS
	Listed   bool // devices whose policy says so submit without login and TLS from their networks (25)
	// Local is the device that a program speaks for; only [SMTP.Talk] has one.
	Local *Device
	// Seen hears of every login, and with which TLS version it came; nil does not.
	Seen func(device string, version uint16)
	// TurnedAway hears of every sender, recipient and message of a device that was refused
	// for good; nil does not.
	TurnedAway func()
	Rates      *Rates // shared with the other doors of this node; nil: its own

	Hostname      string
	MaxSize       int64         // octets of a message; 150 MB
	MaxRecipients int           // of a message; 1,000
	MaxSessions   int           // at once; 2000
	MaxPerHost    int           // at once, of one address; 100
	Idle          time.Duration // a signed-in device may be silent for this; 5 min
	SignIn        time.Duration // a connection has this until its login; 3 min
	Session       time.Duration // and this from then on; 2 h
	Keep          time.Duration // an account is read again after this; 0 at each message
	Grace         time.Duration // a stop lets messages that come in take this; 30 s
	Log           *slog.Logger  // one line per login, refusal and acceptance; nil discards
}

const (
	maxLine       = 64 << 10        // go-smtp's limit, above ours: see talk
	strangerIdle  = time.Minute     // silence allowed before the login
	writePatience = 1 * time.Minute // for one reply
)

func (c SMTPConfig) withDefaults() SMTPConfig {
	for _, d := range []struct {
		at  *time.Duration
		def time.Duration
	}{{&c.Idle, 5 * time.Minute}, {&c.SignIn, 3 * time.Minute}, {&c.Session, 2 * time.Hour}, {&c.Grace, 30 * time.Second}} {
		if *d.at <= 0 {
			*d.at = d.def
		}
	}
	if c.Hostname == "" {
		c.Hostname = "localhost"
	}
	if c.MaxSize <= 0 {
		c.MaxSize = 150 << 20
	}
	if c.MaxRecipients <= 0 {
		c.MaxRecipients = 1000
	}
	if c.MaxSessions <= 0 {
		c.MaxSessions = 2000
	}
	if c.MaxPerHost <= 0 {
		c.MaxPerHost = 100
	}
	if c.Rates == nil {
		c.Rates = NewRates()
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// SMTP is a submission door (RFC 6409): TLS, then a device's login, then mail
// from the account's mailbox or a sender the device may use. 250 after a message
// means that the relay has committed it.
type SMTP struct {
	cfg      SMTPConfig
	accounts *recent[Account]
}

// NewSMTP builds the door; [SMTP.Serve] opens it.
func NewSMTP(cfg SMTPConfig) (*SMTP, error) {
	if cfg.TLS == nil || cfg.Logins == nil || cfg.Relay == nil || cfg.Account == nil {
		return nil, fault.New(fault.Invalid, "open smtp door", "TLS, logins, relay and account are needed")
	}
	return &SMTP{cfg: cfg.withDefaults(), accounts: newRecent[Account](cfg.Keep)}, nil
}

// Serve takes connections from l until ctx is done; then it closes l, ends idle
// sessions, lets messages that are coming in end within the grace, and returns
// nil. It may be called for several listeners.
func (s *SMTP) Serve(ctx context.Context, l net.Listener) error {
	tracked := &wires{Listener: l, patience: min(strangerIdle, s.cfg.Idle), signIn: min(s.cfg.SignIn, s.cfg.Session),
		most: s.cfg.MaxSessions, perHost: s.cfg.MaxPerHost, open: make(map[*wire]struct{}), hosts: make(map[netip.Addr]int)}
	// Messages that come in outlive ctx, until the grace is over.
	serving, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	server := s.server(serving)
	listener := handshakes{Listener: tracked, host: s.cfg.Hostname, config: s.cfg.TLS, implicit: s.cfg.Implicit, inputs: new(inputs)}
	switch {
	case s.cfg.Local != nil:
		listener.listed = func(netip.Addr) (Device, bool) { return *s.cfg.Local, true }
	case s.cfg.Listed:
		listener.listed = func(addr netip.Addr) (Device, bool) { return s.cfg.Logins.Listed(serving, addr) }
	}
	go s.cut(serving, tracked)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	var err error
	select {
	case err = <-served:
		s.stop(serving, server, tracked, cut)
	case <-ctx.Done():
		s.stop(serving, server, tracked, cut)
		if end := <-served; end != nil { // it ends because the listener is closed
			s.cfg.Log.Debug("smtp door closed", "error", end)
		}
	}
	if err != nil {
		return fmt.Errorf("serve smtp: %w", err)
	}
	return nil
}

func (s *SMTP) server(ctx context.Context) *gosmtp.Server {
	server := gosmtp.NewServer(gosmtp.BackendFunc(func(c *gosmtp.Conn) (gosmtp.Session, error) { return s.newSession(ctx, c) }))
	server.Domain = s.cfg.Hostname
	server.MaxRecipients = s.cfg.MaxRecipients
	server.MaxMessageBytes = s.cfg.MaxSize
	server.MaxLineLength = maxLine
	server.EnableSMTPUTF8 = true
	server.EnableBINARYMIME = true
	server.EnableDSN = true
	server.ErrorLog = complaints{s.cfg.Log}
	server.AllowInsecureAuth = true // it does not see the TLS that all it sees has come through
	return server
}

func (s *SMTP) stop(ctx context.Context, server *gosmtp.Server, tracked *wires, cut context.CancelFunc) {
	_ = tracked.Close() // not left to go-smtp, which may not know of it yet
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Shutdown(ctx) // waits for the sessions
	}()
	tracked.each((*wire).leave)
	grace := time.NewTimer(s.cfg.Grace)
	defer grace.Stop()
	select {
	case <-done:
		return
	case <-grace.C:
	}
	tracked.each(func(w *wire) { _ = w.Close() })
	cut()
	<-done
}

// cutEvery is how soon a login that was withdrawn ends the sessions that have it.
const cutEvery = 2 * time.Second

// cut ends sessions whose device was removed, disabled or given another password.
func (s *SMTP) cut(ctx context.Context, tracked *wires) {
	tick := time.NewTicker(cutEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		gone := map[string]bool{} // by device and the password it logged in with
		tracked.each(func(w *wire) {
			d := w.loggedIn()
			if d == nil {
				return
			}
			key := d.Name + "\x00" + d.PasswordHash
			if _, asked := gone[key]; !asked {
				_, err := s.cfg.Logins.Still(ctx, *d)
				gone[key] = errors.Is(err, fault.Denied)
			}
			if gone[key] {
				w.leave()
			}
		})
	}
}

// complaints brings go-smtp's own log lines into ours.
type complaints struct{ log *slog.Logger }

func (c complaints) Printf(format string, v ...any) {
	if !c.log.Enabled(context.Background(), slog.LevelInfo) {
		return
	}
	c.log.Info("smtp session ended", slog.String("reason", strings.TrimSpace(fmt.Sprintf(format, v...))))
}

func (c complaints) Println(v ...any) { c.Printf("%s", fmt.Sprintln(v...)) }
