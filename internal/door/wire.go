package door

import (
	"net"
	"net/netip"
	"os"
	"sync"
	"time"
)

// wire is a device's connection. go-smtp sets one read deadline for a whole
// message; here every read has its own, the session has an end, and a stop
// interrupts sessions that wait for a command but not one that sends a message.
type wire struct {
	net.Conn
	from   netip.Addr
	forget func(*wire)

	mu       sync.Mutex
	patience time.Duration
	end      time.Time
	busy     int     // messages coming in; one that was given up may still end
	leaving  bool    // no further command is wanted
	device   *Device // whose login it is; nil before
	clear    bool    // without TLS
}

// via is how a message came in (RFC 3848).
func (w *wire) via() string {
	if w.clear {
		return "ESMTP"
	}
	return "ESMTPSA"
}

// loggedIn is the device of this connection, nil before the login.
func (w *wire) loggedIn() *Device {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.device
}

func (w *wire) Read(p []byte) (int, error) {
	if err := w.arm(); err != nil {
		return 0, err
	}
	return w.Conn.Read(p)
}

// arm sets the deadline under the lock, so that a stop either finds it set and
// overrides it, or is seen here. The error looks like a time-out, to which
// go-smtp answers 421.
func (w *wire) arm() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.leaving && w.busy == 0 {
		return os.ErrDeadlineExceeded
	}
	at := time.Now().Add(w.patience)
	if w.end.Before(at) {
		at = w.end
	}
	return w.Conn.SetReadDeadline(at)
}

// SetDeadline and SetReadDeadline of others do not count.
func (w *wire) SetDeadline(t time.Time) error { return w.SetWriteDeadline(t) }

// SetReadDeadline does nothing: see wire.
func (w *wire) SetReadDeadline(time.Time) error { return nil }

// known is told when the device has signed in: from then on it has more time.
func (w *wire) known(device *Device, patience, session time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.device, w.patience, w.end = device, patience, time.Now().Add(session)
}

func (w *wire) setBusy(busy bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if busy {
		w.busy++
	} else {
		w.busy--
	}
}

// leave ends the session before its next command.
func (w *wire) leave() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.leaving = true
	if w.busy == 0 {
		_ = w.Conn.SetReadDeadline(time.Unix(1, 0))
	}
}

// Close forgets the connection.
func (w *wire) Close() error {
	w.forget(w)
	return w.Conn.Close()
}

// wires is a listener that keeps track of its connections.
type wires struct {
	net.Listener
	patience time.Duration // before the login
	signIn   time.Duration // all the time there is for it
	most     int
	perHost  int // of one address

	mu    sync.Mutex
	open  map[*wire]struct{}
	hosts map[netip.Addr]int // how many each has
}

// Accept turns connections away while there are too many.
func (l *wires) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		w := &wire{Conn: conn, from: addrOf(conn.RemoteAddr()), forget: l.forget, patience: l.patience, end: time.Now().Add(l.signIn)}
		if l.admit(w) {
			return w, nil
		}
		_ = conn.SetWriteDeadline(time.Now().Add(time.Second))
		_, _ = conn.Write([]byte("421 4.3.2 Too many connections, try again later\r\n"))
		_ = conn.Close()
	}
}

func (l *wires) admit(w *wire) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.open) >= l.most {
		return false
	}
	if l.hosts[w.from] >= l.perHost {
		return false
	}
	l.hosts[w.from]++
	l.open[w] = struct{}{}
	return true
}

func (l *wires) forget(w *wire) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, open := l.open[w]; !open {
		return
	}
	delete(l.open, w)
	if l.hosts[w.from]--; l.hosts[w.from] == 0 {
		delete(l.hosts, w.from)
	}
}

func (l *wires) each(do func(*wire)) {
	l.mu.Lock()
	all := make([]*wire, 0, len(l.open))
	for w := range l.open {
		all = append(all, w)
	}
	l.mu.Unlock()
	for _, w := range all {
		do(w)
	}
}

// addrOf is the address without its port; one that is none is in no network.
func addrOf(remote net.Addr) netip.Addr {
	at, err := netip.ParseAddrPort(remote.String())
	if tcp, ok := remote.(*net.TCPAddr); ok {
		at, err = tcp.AddrPort(), nil
	}
	if err != nil {
		return netip.Addr{}
	}
	return at.Addr().Unmap()
}
