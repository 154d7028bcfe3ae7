package bridge

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Door is one listener's way of speaking.
type Door struct {
	Protocol Protocol
	Implicit bool // TLS from the first octet; else STARTTLS or STLS
}

// lobby counts those who have not signed in yet. Who has leaves it, so that an office
// behind one address is not counted against itself.
type lobby struct {
	most, perHost int

	mu    sync.Mutex
	all   int
	hosts map[netip.Addr]int
}

func (l *lobby) enter(host netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all >= l.most || l.hosts[host] >= l.perHost {
		return false
	}
	l.all++
	l.hosts[host]++
	return true
}

func (l *lobby) leave(host netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all--
	if l.hosts[host]--; l.hosts[host] == 0 {
		delete(l.hosts, host)
	}
}

// Serve takes connections until ctx ends; then it ends the sessions, and waits for them.
func (b *Bridge) Serve(ctx context.Context, l net.Listener, d Door) error {
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	var all sync.WaitGroup
	defer all.Wait()
	for {
		conn, err := l.Accept()
		if ctx.Err() != nil {
			if err == nil {
				_ = conn.Close()
			}
			return nil
		}
		if wait, passing := passes(err); passing { // out of descriptors, say
			if err := pause(ctx, wait); err != nil {
				return nil //nolint:nilerr // told to stop
			}
			continue
		}
		if err != nil {
			return err
		}
		v := &visitor{b: b, door: d, raw: conn, conn: conn, remote: addrPort(conn.RemoteAddr()), protocol: d.Protocol}
		if !b.lobby.enter(v.remote.Addr()) {
			b.turnAway(v)
			continue
		}
		all.Go(func() { v.serve(ctx, &all) })
	}
}

// turnAway says why, where that can be said at once, and never waits.
func (b *Bridge) turnAway(v *visitor) {
	b.stats.turnedAway.Add(1)
	if !v.door.Implicit {
		_ = v.raw.SetWriteDeadline(time.Now().Add(time.Second))
		_, _ = io.WriteString(v.raw, v.protocol.farewell(tooMany))
	}
	_ = v.raw.Close()
}

// passes says how long to wait after an error of Accept that may pass.
func passes(err error) (time.Duration, bool) {
	var e net.Error
	if err == nil || errors.Is(err, net.ErrClosed) || !errors.As(err, &e) {
		return 0, false
	}
	return 100 * time.Millisecond, true
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func addrPort(a net.Addr) netip.AddrPort {
	if tcp, ok := a.(*net.TCPAddr); ok {
		at := tcp.AddrPort()
		return netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
	}
	at, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.AddrPort{}
	}
	return at
}

// visitor is a connection until its login.
type visitor struct {
	b        *Bridge
	door     Door
	protocol Protocol
	raw      net.Conn
	conn     net.Conn // what is spoken over: raw, or TLS
	safe     bool     // it is TLS
	wire     *bulk    // under it
	remote   netip.AddrPort
	in       *input
	failed   int  // logins
	strange  int  // commands that led nowhere
	broken   bool // where the next command begins is not known any more
}

// The patience with one visitor.
const (
	maxFailed  = 3
	maxStrange = 20
)

// serve speaks with a visitor until it signs in. Its session then has a goroutine of its
// own: this one's stack has grown with TLS's handshakes, and sessions idle for hours.
func (v *visitor) serve(ctx context.Context, all *sync.WaitGroup) {
	_ = v.raw.SetDeadline(time.Now().Add(v.b.limits.SignIn))
	stop := context.AfterFunc(ctx, func() { _ = v.raw.SetDeadline(time.Unix(1, 0)) })
	s := v.admit(ctx)
	v.b.lobby.leave(v.remote.Addr())
	if !stop() && s != nil { // no time to begin
		s.discard()
		s = nil
	}
	if s == nil {
		v.bye()
		return
	}
	_ = v.raw.SetDeadline(time.Time{})
	all.Go(func() {
		s.run(ctx)
		v.linger()
	})
}

// linger ends the connection when the client has heard our last words: what it still
// says would reset the connection, and they would be lost.
func (v *visitor) linger() {
	v.lastWords()
	_ = v.raw.SetReadDeadline(time.Now().Add(mannered))
	_, _ = io.CopyN(io.Discard, v.raw, 1<<20) // for as long as that, and no longer
	_ = v.raw.Close()
}

// bye ends the connection, without waiting long for somebody who does not listen.
func (v *visitor) bye() {
	v.lastWords()
	_ = v.raw.Close()
}

func (v *visitor) lastWords() {
	if half, ok := v.conn.(*tls.Conn); ok {
		_ = v.raw.SetWriteDeadline(time.Now().Add(time.Second))
		_ = v.wire.push(false)
		_ = half.CloseWrite()
	}
}

// admit is everything up to the login; nil when there was none.
func (v *visitor) admit(ctx context.Context) *session {
	v.in = newInput(v.raw)
	defer func() { v.in.release() }()
	if v.door.Implicit && v.secure(ctx) != nil {
		return nil
	}
	if v.protocol == POP3 {
		return v.admitPOP3(ctx)
	}
	return v.admitIMAP(ctx)
}

// secure begins TLS. What somebody has put behind the command in the clear is not
// read any more: see startTLS.
func (v *visitor) secure(ctx context.Context) error {
	v.wire = &bulk{Conn: v.raw}
	conn := tls.Server(v.wire, v.b.cfg.TLS)
	if err := conn.HandshakeContext(ctx); err != nil {
		return err
	}
	v.conn, v.safe = conn, true
	v.in.release()
	v.in = newInput(conn)
	return nil
}

// say answers; a client that does not take it is gone.
func (v *visitor) say(text string) bool {
	_, err := io.WriteString(v.conn, text)
	return err == nil
}

// odd counts a command that led nowhere, and says whether to go on.
func (v *visitor) odd() bool {
	v.strange++
	return v.strange < maxStrange
}
