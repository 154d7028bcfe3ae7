package bridge

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
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
	quiet atomic.Int64  // until then nobody signs in or says more, unix ns
}

// seat is a session's place at a mailbox.
type seat struct {
	*box
	leave func()
}

// maxQuiet is how long a command is held back at a time: longer than that few programs
// wait for an answer.
const maxQuiet = 20 * time.Second

// until is when the next command may go out; a time past when it may go now.
func (s seat) until(now time.Time) time.Time {
	quiet := time.Unix(0, s.quiet.Load())
	if most := now.Add(maxQuiet); quiet.After(most) {
		return most
	}
	return quiet
}

// seatWait is how long a login waits for a seat: many clients open a connection just
// before they close another.
const seatWait = 3 * time.Second

func seatOf(m mail.Address) string { return strings.ToLower(m.String()) }

// take waits for a seat at a mailbox.
func (s *seats) take(ctx context.Context, m mail.Address) (seat, error) {
	name := seatOf(m)
	ctx, cancel := context.WithTimeout(ctx, seatWait)
	defer cancel()
	for {
		box, freed, err := s.try(name)
		if err != nil {
			return seat{}, err
		}
		if freed == nil {
			return seat{box, sync.OnceFunc(func() { s.leave(name) })}, nil
		}
		select {
		case <-freed:
		case <-ctx.Done():
			return seat{}, fault.New(fault.Throttled, "open the mailbox", "%d connections to %s are in use already", s.most, name).
				WithHint("close other programs that read this mailbox, or raise bridge_per_mailbox")
		}
	}
}

// try takes a seat, or says what to wait for.
func (s *seats) try(name string) (b *box, freed <-chan struct{}, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b = s.box(name)
	if left := time.Until(time.Unix(0, b.quiet.Load())); left > 0 {
		return nil, nil, &fault.Error{Kind: fault.Throttled, Op: "open the mailbox", Err: errQuiet, RetryAfter: left}
	}
	if b.taken < s.most {
		b.taken++
		return b, nil, nil
	}
	if b.freed == nil {
		b.freed = make(chan struct{})
	}
	return nil, b.freed, nil
}

func (s *seats) box(name string) *box {
	if s.boxes[name] == nil {
		s.boxes[name] = &box{}
	}
	return s.boxes[name]
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
	if b.taken == 0 && time.Now().UnixNano() >= b.quiet.Load() {
		delete(s.boxes, name)
	}
}

// hush keeps everybody away from a mailbox for a while, and those who are there still.
func (s *seats) hush(m mail.Address, d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.box(seatOf(m))
	b.quiet.Store(max(b.quiet.Load(), time.Now().Add(d).UnixNano()))
}
