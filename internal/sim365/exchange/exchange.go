// Package exchange is the simulated Exchange Online: SMTP submission, High Volume
// Email, IMAP and POP3, with the replies, policies and limits of the real one as
// far as they are known. Who may come in, and what goes wrong, is written in a
// [world.World].
//
// It issues no tokens (package login does), sends nothing anywhere, filters and
// bounces nothing, and forgets all mail when it is closed. Where Microsoft's
// behaviour is not documented it does the simplest thing that a client could meet.
package exchange

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"postern/internal/sim365/world"
)

// Config is what Start needs beside the world. Listeners are plain TCP: SMTP and
// HVE offer STARTTLS, IMAP and POP3 begin with TLS. A nil listener is not served.
type Config struct {
	TLS                   *tls.Config
	SMTP, HVE, IMAP, POP3 net.Listener
	Log                   *slog.Logger // nil discards
	Host                  string       // in greetings; "" is outlook.office365.com

	// RejectOverRate answers 432 to messages above Limits.PerMinute. Microsoft
	// documents that they are delayed; older texts, that they are refused.
	RejectOverRate bool

	minute time.Duration // what Limits.PerMinute counts in; tests shorten it
}

// Servers are the running servers and the mailboxes behind them. Methods are safe
// for concurrent use.
type Servers struct {
	world *world.World
	cfg   Config
	store *store
	meter *meter
	imap  *imapBackend

	stop      context.CancelFunc
	listeners []net.Listener
	running   sync.WaitGroup
}

var errNoTLS = errors.New("exchange: a TLS configuration with a certificate is needed")

// Start serves every listener of the config until Close.
func Start(w *world.World, cfg Config) (*Servers, error) {
	if cfg.TLS == nil {
		return nil, errNoTLS
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Host == "" {
		cfg.Host = "outlook.office365.com"
	}
	if cfg.minute == 0 {
		cfg.minute = time.Minute
	}
	ctx, stop := context.WithCancel(context.Background())
	s := &Servers{world: w, cfg: cfg, store: newStore(w.Now), meter: newMeter(), stop: stop}
	s.imap = newIMAPBackend(s)
	s.running.Go(s.imap.serve)
	s.listen(ctx, cfg.SMTP, s.serveSMTP(submission()))
	s.listen(ctx, cfg.HVE, s.serveSMTP(highVolume()))
	s.listen(ctx, cfg.IMAP, s.overTLS(s.serveIMAP))
	s.listen(ctx, cfg.POP3, s.overTLS(s.servePOP3))
	return s, nil
}

// Close hangs up on everybody and waits until nothing runs any more.
func (s *Servers) Close() {
	s.stop()
	for _, l := range s.listeners {
		_ = l.Close()
	}
	s.imap.close()
	s.running.Wait()
}

type handler func(context.Context, net.Conn)

func (s *Servers) listen(ctx context.Context, l net.Listener, handle handler) {
	if l == nil {
		return
	}
	s.listeners = append(s.listeners, l)
	s.running.Go(func() {
		for {
			c, err := l.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				s.cfg.Log.Warn("accept", "addr", l.Addr().String(), "err", err)
				if !pause(ctx, 50*time.Millisecond) {
					return
				}
				continue
			}
			s.running.Go(func() { s.serve(ctx, c, handle) })
		}
	})
}

func (s *Servers) serve(ctx context.Context, c net.Conn, handle handler) {
	defer func() { _ = c.Close() }()
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	handle(ctx, c)
}

// overTLS shakes hands before the protocol begins.
func (s *Servers) overTLS(handle handler) handler {
	return func(ctx context.Context, c net.Conn) {
		t, err := s.handshake(ctx, c)
		if err != nil {
			s.cfg.Log.DebugContext(ctx, "handshake", "err", err)
			return
		}
		defer func() { _ = t.Close() }()
		handle(ctx, t)
	}
}

const handshakePatience = 30 * time.Second

func (s *Servers) handshake(ctx context.Context, c net.Conn) (*tls.Conn, error) {
	limited, cancel := context.WithTimeout(ctx, handshakePatience)
	defer cancel()
	t := tls.Server(c, s.cfg.TLS)
	return t, t.HandshakeContext(limited)
}

// pause waits; false means the servers close.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
