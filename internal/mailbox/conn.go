package mailbox

import (
	"bufio"
	"context"
	"net"
	"sync"
	"time"
)

// Conn is a connection whose deadlines belong to the operation under way: its
// context closes it, and the peer may be silent for the timeout only. Between
// operations it waits without limit.
//
// Deadlines set by others are ignored: go-imap sets its own, which know no
// context and would undo these.
type Conn struct {
	net.Conn
	timeout time.Duration
	trace   *tracer // nil: nobody listens

	mu    sync.Mutex
	busy  bool
	armed time.Time // when the read deadline was set last
}

// Begin binds the connection to ctx until the returned function is called. When
// ctx ends first the connection is closed, for what was half said cannot be taken
// back.
func (c *Conn) Begin(ctx context.Context) (end func()) {
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	c.setBusy(true)
	return func() {
		stop()
		c.setBusy(false)
	}
}

func (c *Conn) setBusy(busy bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy = busy
	c.arm(time.Now())
}

// arm sets the read deadline anew; c.mu is held.
func (c *Conn) arm(now time.Time) {
	var until time.Time
	if c.busy {
		until = now.Add(c.timeout)
	}
	c.armed = now
	_ = c.Conn.SetReadDeadline(until) // fails on closed connections only, and so will the read
}

// Read waits for the peer no longer than the timeout while an operation is under way.
// A deadline that has hardly aged is left alone: to set one takes longer than many a read.
func (c *Conn) Read(p []byte) (int, error) {
	c.mu.Lock()
	if now := time.Now(); now.Sub(c.armed) > c.timeout/16 {
		c.arm(now)
	}
	c.mu.Unlock()
	n, err := c.Conn.Read(p)
	if c.trace != nil {
		c.trace.heard(p[:n])
	}
	return n, err
}

// Write waits for the peer to take the bytes no longer than the timeout.
func (c *Conn) Write(p []byte) (int, error) {
	if err := c.Conn.SetWriteDeadline(time.Now().Add(c.timeout)); err != nil {
		return 0, err
	}
	if c.trace != nil {
		c.trace.sent(p)
	}
	return c.Conn.Write(p)
}

// SetDeadline does nothing; see [Conn].
func (c *Conn) SetDeadline(time.Time) error { return nil }

// SetReadDeadline does nothing; see [Conn].
func (c *Conn) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline does nothing; see [Conn].
func (c *Conn) SetWriteDeadline(time.Time) error { return nil }

// wide reads as much as has arrived, however little is asked for: TLS asks for one
// record after the other.
type wide struct {
	net.Conn
	r *bufio.Reader
}

func widen(c net.Conn) wide { return wide{c, bufio.NewReaderSize(c, 32<<10)} }

// Read is the connection's, by way of the buffer.
func (w wide) Read(p []byte) (int, error) { return w.r.Read(p) }
