package smtp

import (
	"context"
	"net"
	"sync"
	"time"
)

// deadlineConn gives every read and write its own deadline: the patience of the
// moment, or the end of the context in use, whichever comes first. A cancelled
// context interrupts what blocks. TLS sits above it, so its handshake and
// records are covered too.
type deadlineConn struct {
	net.Conn

	mu       sync.Mutex
	patience time.Duration
	limit    time.Time // the context's deadline, zero when it has none
	turn     *turn
	cut      bool // the context of this turn is done
}

// turn is one use of the connection under a context.
type turn struct{ ctx context.Context }

// use binds the connection to ctx until the returned function is called.
func (d *deadlineConn) use(ctx context.Context) (done func()) {
	now := &turn{ctx}
	d.mu.Lock()
	d.limit, _ = ctx.Deadline()
	d.turn, d.cut = now, false
	d.mu.Unlock()
	stop := context.AfterFunc(ctx, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.turn == now {
			d.cut = true
			_ = d.Conn.SetDeadline(time.Unix(1, 0))
		}
	})
	return func() {
		stop()
		d.mu.Lock()
		defer d.mu.Unlock()
		d.turn, d.cut, d.limit = nil, false, time.Time{}
	}
}

// context is the one in use, nil outside of any.
func (d *deadlineConn) context() context.Context {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.turn == nil {
		return nil
	}
	return d.turn.ctx
}

func (d *deadlineConn) setPatience(p time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.patience = p
}

// arm sets the next deadline under the lock, so that a cancellation either sees
// it set and overrides it, or is seen by it.
func (d *deadlineConn) arm(set func(time.Time) error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	at := time.Now().Add(d.patience)
	switch {
	case d.cut:
		at = time.Unix(1, 0)
	case !d.limit.IsZero() && d.limit.Before(at):
		at = d.limit
	}
	return set(at)
}

func (d *deadlineConn) Read(p []byte) (int, error) {
	if err := d.arm(d.Conn.SetReadDeadline); err != nil {
		return 0, err
	}
	return d.Conn.Read(p)
}

func (d *deadlineConn) Write(p []byte) (int, error) {
	if err := d.arm(d.Conn.SetWriteDeadline); err != nil {
		return 0, err
	}
	return d.Conn.Write(p)
}

// The deadlines of crypto/tls would undo ours.

func (d *deadlineConn) SetDeadline(time.Time) error      { return nil }
func (d *deadlineConn) SetReadDeadline(time.Time) error  { return nil }
func (d *deadlineConn) SetWriteDeadline(time.Time) error { return nil }
