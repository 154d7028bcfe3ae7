package relay

import (
	"context"
	"errors"
	"io"
	"time"

	"postern/internal/fault"
)

// sureFor is how long after a claim nobody else can have the message: a process whose
// sign of life is gone keeps its leases for longer than this.
const sureFor = 5 * time.Second

// errLost is in the chain when a message has gone to another process while it was sent.
var errLost = errors.New("another process has taken the message over")

// Ours is an error when a message is, or may be, another process's by now.
type Ours func(ctx context.Context) error

// Unqueued is [Ours] of a message that is in no queue: nobody else can have it.
func Unqueued(context.Context) error { return nil }

// lease is a claim on one message. A process can be stopped for minutes (a virtual
// machine that is moved, a disk that hangs, a cut-off database), and others take its
// messages over; when it goes on it must not send what they have sent.
type lease struct {
	relay *Relay
	m     Message
	taken time.Time // before it was claimed
}

// holds is the lease's [Ours].
func (l lease) holds(ctx context.Context) error {
	if l.age() < sureFor {
		return nil
	}
	ours, err := l.relay.cfg.Store.HoldsLease(ctx, l.relay.cfg.Holder, l.m.ID)
	if err != nil {
		return fault.Wrap(fault.Temporary, "see whether the message is still ours", err)
	}
	if !ours {
		return fault.Wrap(fault.Conflict, "deliver", errLost)
	}
	return nil
}

// age goes by both clocks: the monotonic one stands still while the machine is suspended.
func (l lease) age() time.Duration {
	now := l.relay.cfg.Now()
	return max(now.Sub(l.taken), now.Round(0).Sub(l.taken.Round(0)))
}

// leasedBody is a body that ends only while the message is ours: over SMTP its end is
// what makes the server take it.
type leasedBody struct {
	io.Reader
	ours func() error
}

// Read is for io.Reader.
func (b *leasedBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if errors.Is(err, io.EOF) {
		if lost := b.ours(); lost != nil {
			err = lost
		}
	}
	return n, err
}
