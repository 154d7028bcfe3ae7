package bridge

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"postern/internal/fault"
	"postern/internal/secret"
)

// session is a client that has signed in, and its connection upstream.
type session struct {
	b        *Bridge
	id       string
	who      Who
	protocol Protocol
	remote   string
	since    time.Time
	log      *slog.Logger

	client net.Conn // TLS
	wire   *bulk    // under it
	ahead  []byte   // what the client said behind its login
	seat   seat     // at the mailbox

	in, out atomic.Int64 // octets from and to the client
	heard   atomic.Int64 // when the client or the server last said something, unix ns

	mu     sync.Mutex
	up     *upstream
	ending string // why it has to end; "" while it has not
	over   bool   // both directions have ended
}

// enter checks a login and opens the mailbox.
func (v *visitor) enter(ctx context.Context, user string, password secret.Text) (*session, error) {
	b := v.b
	log := b.cfg.Log.With("protocol", string(v.protocol), "remote", v.remote.String())
	who, err := b.cfg.Logins.Enter(ctx, v.protocol, user, password, v.remote.Addr())
	if err != nil {
		b.stats.refused.Add(1)
		log.WarnContext(ctx, "login refused", "name", user, "error", err)
		return nil, err
	}
	log = log.With("device", who.Device, "account", who.Account, "mailbox", who.Mailbox.String())
	s, err := v.openMailbox(ctx, who, log)
	if err != nil {
		b.stats.unopened.Add(1)
		log.WarnContext(ctx, "mailbox not opened", "error", err)
		if fault.KindOf(err) == fault.Denied { // not the client's password
			err = fault.Wrap(fault.NeedsAdmin, "open the mailbox", err)
		}
		return nil, err
	}
	log.InfoContext(ctx, "login", "session", s.id)
	return s, nil
}

func (v *visitor) openMailbox(ctx context.Context, who Who, log *slog.Logger) (*session, error) {
	seat, err := v.b.seats.take(ctx, who.Mailbox)
	if err != nil {
		return nil, err
	}
	up, err := v.b.signIn(ctx, who, v.protocol)
	if err != nil {
		seat.leave()
		return nil, err
	}
	now := time.Now()
	s := &session{
		b: v.b, id: newID(), who: who, protocol: v.protocol, remote: v.remote.String(), since: now,
		client: v.conn, wire: v.wire, ahead: v.in.ahead(), seat: seat, up: up,
	}
	s.log = log.With("session", s.id)
	s.heard.Store(now.UnixNano())
	if !v.b.add(s) {
		s.discard()
		return nil, errFull
	}
	return s, nil
}

func newID() string {
	var raw [6]byte
	_, _ = rand.Read(raw[:]) // never fails since Go 1.24
	return hex.EncodeToString(raw[:])
}

// discard gives back what a session holds that has not run, or has ended.
func (s *session) discard() {
	_ = s.current().Close()
	s.seat.leave()
	s.b.remove(s)
}

func (s *session) current() *upstream {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.up
}

// run passes bytes until either side has ended.
func (s *session) run(ctx context.Context) {
	defer s.discard()
	stop := context.AfterFunc(ctx, func() { s.end("Postern stops, connect again") })
	defer stop()
	var err error
	if s.protocol == POP3 {
		err = s.runPOP3()
	} else {
		err = (&imapSession{session: s}).run(ctx)
	}
	s.log.InfoContext(ctx, "session ended", "reason", s.reason(err), "in", s.in.Load(), "out", s.out.Load(), "lasted", time.Since(s.since).Round(time.Millisecond))
}

func (s *session) reason(err error) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.ending != "":
		return s.ending
	case err == nil || errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed):
		return "closed"
	}
	return err.Error()
}

// mannered is how long a session that has to end may take to do it politely.
const mannered = time.Second

// end makes a session end: with a farewell where one can be said, at once where not.
func (s *session) end(why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ending != "" || s.over {
		return
	}
	s.ending = why
	_ = s.up.SetReadDeadline(time.Unix(1, 0))
	time.AfterFunc(mannered, s.cut)
}

// cut ends both directions, whatever they are doing. From then on nobody waits for
// either connection.
func (s *session) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	past := time.Unix(1, 0)
	_ = s.client.SetDeadline(past)
	_ = s.up.SetDeadline(past)
}

// arm sets a deadline, unless both directions have ended: under the lock, so that a cut
// either finds it set and overrides it, or is seen here.
func (s *session) arm(set func(time.Time) error, until time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return net.ErrClosed
	}
	return set(until)
}

// armUp is arm for reading upstream, where an end is noticed too.
func (s *session) armUp(up *upstream, until time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over || s.ending != "" {
		return os.ErrDeadlineExceeded
	}
	return up.SetReadDeadline(until)
}

// mustEnd says why the session has to end.
func (s *session) mustEnd() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ending
}

// hear notes that the session is in use.
func (s *session) hear() { s.heard.Store(time.Now().UnixNano()) }

func (s *session) idle() time.Duration { return time.Since(time.Unix(0, s.heard.Load())) }

// tell writes to the client. One that takes nothing for long is gone.
func (s *session) tell(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	if err := s.arm(s.client.SetWriteDeadline, time.Now().Add(s.b.limits.Stalled)); err != nil {
		return err
	}
	n, err := s.client.Write(p)
	s.out.Add(int64(n))
	return err
}

// forth sends the client what was kept back for it, unless there is more to come at once.
func (s *session) forth(up *upstream) error { return s.wire.push(up.wire.more()) }

// ask writes to the server.
func (s *session) ask(up *upstream, p []byte) error {
	if err := s.arm(up.SetWriteDeadline, time.Now().Add(s.b.limits.Stalled)); err != nil {
		return err
	}
	_, err := up.Write(p)
	return err
}

// listen reads what the client says; nothing when it is silent for long enough that its
// buffer may be given back.
func (s *session) listen(b *basin) (n int, err error) {
	var until time.Time
	if b.big != nil {
		until = time.Now().Add(restAfter)
	}
	if err := s.arm(s.client.SetReadDeadline, until); err != nil {
		return 0, err
	}
	n, err = s.client.Read(b.room())
	switch {
	case n > 0:
		s.hear()
		s.in.Add(int64(n))
		return n, nil
	case errors.Is(err, os.ErrDeadlineExceeded) && !s.ended():
		b.rest()
		return 0, nil
	}
	return 0, err
}

func (s *session) ended() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.over
}
