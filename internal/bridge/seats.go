package bridge

import (
	"context"
	"strings"
	"sync"
	"time"

	"postern/internal/fault"
	"postern/internal/mail"
)

// seats shares each mailbox's connections among its clients, and keeps the pause that a
// server asked for.
type seats struct {
	most int

	mu    sync.Mutex
	boxes map[string]*box
}

type box struct {
	taken int
	freed chan struct{} // closed when somebody leaves; nil when nobody waits
	quiet time.Time     // until then nobody signs in
}

// seatWait is how long a login waits for a seat: many clients open a connection just
// before they close another.
const seatWait = 3 * time.Second

func seatOf(m mail.Address) string { return strings.ToLower(m.String()) }

// take waits for a seat at a mailbox.
func (s *seats) take(ctx context.Context, m mail.Address) (leave func(), err error) {
	name := seatOf(m)
	ctx, cancel := context.WithTimeout(ctx, seatWait)
	defer cancel()
	for {
		freed, err := s.try(name)
		if err != nil {
			return nil, err
		}
		if freed == nil {
			return sync.OnceFunc(func() { s.leave(name) }), nil
		}
		select {
		case <-freed:
		case <-ctx.Done():
			return nil, fault.New(fault.Throttled, "open the mailbox", "%d connections to %s are in use already", s.most, name).
				WithHint("close other programs that read this mailbox, or raise bridge_per_mailbox")
		}
	}
}

// try takes a seat, or says what to wait for.
func (s *seats) try(name string) (freed <-chan struct{}, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.boxes[name]
	if b == nil {
		b = &box{}
		s.boxes[name] = b
	}
	if left := time.Until(b.quiet); left > 0 {
		return nil, &fault.Error{Kind: fault.Throttled, Op: "open the mailbox", Err: errQuiet, RetryAfter: left}
	}
	if b.taken < s.most {
		b.taken++
		return nil, nil //nolint:nilnil // a seat, and nothing to wait for
	}
	if b.freed == nil {
		b.freed = make(chan struct{})
	}
	return b.freed, nil
}

func (s *seats) leave(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.boxes[name]
	b.taken--
	if b.freed != nil {
		close(b.freed)
		b.freed = nil
	}
	if b.taken == 0 && !time.Now().Before(b.quiet) {
		delete(s.boxes, name)
	}
}

// hush keeps everybody away from a mailbox for a while.
func (s *seats) hush(m mail.Address, d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := seatOf(m)
	if s.boxes[name] == nil {
		s.boxes[name] = &box{}
	}
	if until := time.Now().Add(d); until.After(s.boxes[name].quiet) {
		s.boxes[name].quiet = until
	}
}
