// Package sim365 is Microsoft 365 in one process, on this machine only: Entra
// sign-in (package login), Exchange's SMTP, High Volume Email, IMAP and POP3
// servers (exchange), Graph's mail requests (graph), the world they share
// (world), and a small control API to change it from outside.
//
// It is for the demo and for tests. It does not keep anything on disk, is no mail
// server for anybody's mail, and must not be reachable from elsewhere: it listens
// on 127.0.0.1 and shows second factors on its pages.
package sim365

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"postern/internal/mail"
	"postern/internal/sim365/exchange"
	"postern/internal/sim365/graph"
	"postern/internal/sim365/login"
	"postern/internal/sim365/world"
)

// Options says how to start. The zero value is good: free ports, an empty world.
type Options struct {
	World          *world.World  // nil makes an empty one
	Host           string        // what clients are told to call; "" means localhost. Any other name needs a proxy that knows it
	ClockAhead     time.Duration // how far the simulator's clock is ahead of its world's
	Ports          Ports         // 0 takes a free one
	DeviceInterval time.Duration // how often device codes may be polled; 0 means 5 s
	RejectOverRate bool          // refuse messages above the limit per minute; Microsoft documents a delay
	Log            *slog.Logger  // nil discards
}

// Ports are where the servers listen on 127.0.0.1.
type Ports struct{ Authority, Graph, SMTP, HVE, IMAP, POP3, Control int }

// Sim is a running simulator.
type Sim struct {
	World    *world.World
	Exchange *exchange.Servers // the mailboxes, for tests that look at or change folders

	host      string
	ahead     atomic.Int64 // of the world's own clock, in nanoseconds
	ca        authority
	listeners listeners
	web       []*http.Server
	serving   sync.WaitGroup
	log       *slog.Logger
	stop      sync.Once
}

type listeners struct{ authority, graph, smtp, hve, imap, pop3, control net.Listener }

const localhost = "localhost"

// Start starts all servers. They run until Stop is called or ctx ends.
func Start(ctx context.Context, o Options) (*Sim, error) {
	s := &Sim{World: o.World, host: o.Host, log: o.Log}
	if s.World == nil {
		s.World = world.New()
	}
	if s.host == "" {
		s.host = localhost
	}
	now := s.World.Now
	s.World.Now = func() time.Time { return now().Add(time.Duration(s.ahead.Load())) }
	s.SetClockAhead(o.ClockAhead)
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	var err error
	if s.ca, err = newAuthority(s.host); err != nil {
		return nil, err
	}
	if err := s.listeners.open(ctx, o.Ports); err != nil {
		return nil, err
	}
	s.World.AliasResource(s.Graph(), world.GraphResource)
	l := s.listeners
	s.Exchange, err = exchange.Start(s.World, exchange.Config{
		TLS: s.ca.tls(), SMTP: l.smtp, HVE: l.hve, IMAP: l.imap, POP3: l.pop3, Log: s.log, RejectOverRate: o.RejectOverRate,
	})
	if err != nil {
		l.close()
		return nil, fmt.Errorf("start the mail servers: %w", err)
	}
	s.serve(l.authority, login.New(s.World, login.Config{Authority: s.Authority(), DeviceInterval: o.DeviceInterval, Log: s.log}), true)
	s.serve(l.graph, graph.Handler(s.World, s.Exchange), true)
	s.serve(l.control, control{s}.handler(), false)
	context.AfterFunc(ctx, s.Stop)
	return s, nil
}

// serve runs one HTTP server until Stop.
func (s *Sim) serve(l net.Listener, h http.Handler, encrypted bool) {
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug)}
	s.web = append(s.web, srv)
	s.serving.Go(func() {
		run := srv.Serve
		if encrypted {
			srv.TLSConfig = s.ca.tls()
			run = func(l net.Listener) error { return srv.ServeTLS(l, "", "") }
		}
		if err := run(l); !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("simulator stopped serving", "address", l.Addr().String(), "error", err)
		}
	})
}

// Stop ends all servers and their connections, and returns when they are gone.
func (s *Sim) Stop() {
	s.stop.Do(func() {
		for _, srv := range s.web {
			if err := srv.Close(); err != nil {
				s.log.Debug("close", "error", err)
			}
		}
		s.Exchange.Close()
		s.serving.Wait()
	})
}

// CAPEM is the certificate that clients must trust.
func (s *Sim) CAPEM() string { return s.ca.pem }

// Authority is the sign-in host, "https://localhost:PORT".
func (s *Sim) Authority() string { return "https://" + at(s.host, s.listeners.authority) }

// Graph is both the address of Graph and its resource in scopes.
func (s *Sim) Graph() string { return "https://" + at(s.host, s.listeners.graph) }

// Control is the address of the control API, "http://localhost:PORT" whatever the host.
func (s *Sim) Control() string { return "http://" + at(localhost, s.listeners.control) }

// SMTP is the submission server, for smtp.office365.com:587.
func (s *Sim) SMTP() mail.Server { return s.server(s.listeners.smtp, mail.STARTTLS) }

// HVE is the High Volume Email server, for smtp-hve.office365.com:587.
func (s *Sim) HVE() mail.Server { return s.server(s.listeners.hve, mail.STARTTLS) }

// IMAP is for outlook.office365.com:993.
func (s *Sim) IMAP() mail.Server { return s.server(s.listeners.imap, mail.Implicit) }

// POP3 is for outlook.office365.com:995.
func (s *Sim) POP3() mail.Server { return s.server(s.listeners.pop3, mail.Implicit) }

// SetClockAhead makes the simulator's clock differ from its world's: in the dates of its
// answers, in the times in tokens, and in what it finds expired. Negative is behind.
func (s *Sim) SetClockAhead(d time.Duration) { s.ahead.Store(int64(d)) }

// Deliver puts a message into a mailbox's INBOX.
func (s *Sim) Deliver(mailbox string, raw []byte) error { return s.Exchange.Deliver(mailbox, raw) }

// open listens everywhere, or nowhere.
func (l *listeners) open(ctx context.Context, p Ports) error {
	var config net.ListenConfig
	for _, want := range []struct {
		at   *net.Listener
		port int
	}{
		{&l.authority, p.Authority}, {&l.graph, p.Graph}, {&l.smtp, p.SMTP}, {&l.hve, p.HVE},
		{&l.imap, p.IMAP}, {&l.pop3, p.POP3}, {&l.control, p.Control},
	} {
		got, err := config.Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(want.port)))
		if err != nil {
			l.close()
			return fmt.Errorf("listen for the simulator: %w", err)
		}
		*want.at = got
	}
	return nil
}

func (l *listeners) close() {
	for _, one := range []net.Listener{l.authority, l.graph, l.smtp, l.hve, l.imap, l.pop3, l.control} {
		if one != nil {
			_ = one.Close() // never served: nothing can be lost
		}
	}
}

func at(host string, l net.Listener) string { return net.JoinHostPort(host, strconv.Itoa(port(l))) }

func (s *Sim) server(l net.Listener, mode mail.TLSMode) mail.Server {
	return mail.Server{Host: s.host, Port: port(l), TLS: mode}
}

// port of a listener of ours, which is always TCP.
func port(l net.Listener) int {
	if a, ok := l.Addr().(*net.TCPAddr); ok {
		return a.Port
	}
	return 0
}
