package bridge

import (
	"context"
	"net"
	"sync"
	"syscall"
)

// bulk stands under TLS, whose records are small for a system call each. While much is
// coming it reads several of them at once, and while more is at hand to be passed on it
// writes several at once. A connection that idles holds no buffer.
//
// One goroutine reads and one writes, but for what TLS says of its own accord; that it
// says while it reads (a key update), so writing is locked.
type bulk struct {
	net.Conn
	in   *lump // what was read and not taken; nil when that is nothing
	r, w int   // in.octets[r:w]
	much bool  // the last read was full
	lots bool  // more is to come than a lump holds

	mu   sync.Mutex
	out  *lump // what is to be written; nil when that is nothing
	n    int
	hold bool // until push
}

type lump struct{ octets [128 << 10]byte }

var lumps = sync.Pool{New: func() any { return new(lump) }}

// bulky makes a dialler's connection one with bulk, which it leaves in made.
func bulky(dial func(context.Context, string, string) (net.Conn, error), made **bulk) func(context.Context, string, string) (net.Conn, error) {
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		*made = &bulk{Conn: conn}
		return *made, nil
	}
}

// Read takes what is at hand first.
func (b *bulk) Read(p []byte) (int, error) {
	if b.in == nil {
		if !b.much {
			n, err := b.Conn.Read(p)
			b.much = n == len(p) && n >= 4<<10
			return n, err
		}
		b.in, _ = lumps.Get().(*lump)
		n, err := b.Conn.Read(b.in.octets[:])
		b.r, b.w, b.much = 0, n, n > len(b.in.octets)/2
		if n == 0 {
			b.drop()
			return 0, err
		}
	}
	n := copy(p, b.in.octets[b.r:b.w])
	if b.r += n; b.r == b.w {
		b.drop()
	}
	return n, nil
}

// expect says how much is to come for certain. While that is more than a lump holds,
// nobody is woken for less than half of one: a wake-up costs the sender about as much as
// a record does.
func (b *bulk) expect(octets int64) (lots bool) {
	lots = octets > int64(len(lump{}.octets))
	if lots == b.lots {
		return lots
	}
	c, ok := b.Conn.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	least := 1
	if lots {
		least = len(lump{}.octets) / 2
	}
	wakeAt(raw, least)
	b.lots = lots
	return lots
}

func (b *bulk) drop() {
	lumps.Put(b.in)
	b.in = nil
}

// more reports whether something was read and not taken.
func (b *bulk) more() bool { return b.in != nil }

// Write keeps what is said back while more is to follow.
func (b *bulk) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.hold && b.out == nil {
		return b.Conn.Write(p)
	}
	for rest := p; len(rest) > 0; {
		if b.out == nil {
			b.out, _ = lumps.Get().(*lump)
		}
		n := copy(b.out.octets[b.n:], rest)
		b.n += n
		if rest = rest[n:]; b.n == len(b.out.octets) || len(rest) == 0 && !b.hold {
			if err := b.flush(); err != nil {
				return 0, err
			}
		}
	}
	return len(p), nil
}

// push writes what was kept back. hold says whether to keep what comes next.
func (b *bulk) push(hold bool) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.hold = hold; hold || b.out == nil {
		return nil
	}
	return b.flush()
}

func (b *bulk) flush() error {
	_, err := b.Conn.Write(b.out.octets[:b.n])
	lumps.Put(b.out)
	b.out, b.n = nil, 0
	return err
}
