package bridge

import (
	"errors"
	"io"
	"net"
	"os"
	"time"
)

// restAfter is how long a direction may be silent before it gives its buffer back.
const restAfter = time.Second

// lastCall is how long one direction may go on when the other has ended.
const lastCall = 30 * time.Second

// runPOP3 passes everything as it is: a POP3 session is short, and nothing in it can be
// begun again.
func (s *session) runPOP3() error {
	up := s.current()
	if err := s.tell(up.rest); err != nil {
		return err
	}
	up.rest = nil
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := s.upwards(up); err != nil {
			s.cut()
		}
	}()
	err := s.downwards(up)
	s.cut()
	<-done
	return err
}

// upwards passes what the client says. When it has ended its side, so do we: the server
// may still have something to say.
func (s *session) upwards(up *upstream) error {
	var b basin
	defer b.empty()
	if err := s.ask(up, s.ahead); err != nil {
		return err
	}
	s.ahead = nil
	for {
		n, err := s.listen(&b)
		if errors.Is(err, io.EOF) {
			return s.lastWord(up)
		}
		if err != nil {
			return err
		}
		if n > 0 {
			if err := s.ask(up, b.take(n)); err != nil {
				return err
			}
			b.keep(nil, n == len(b.room()))
		}
	}
}

// lastWord ends our side upstream.
func (s *session) lastWord(up *upstream) error {
	half, ok := up.Conn.(interface{ CloseWrite() error })
	if !ok {
		return io.EOF
	}
	time.AfterFunc(lastCall, s.cut)
	return half.CloseWrite()
}

// downwards passes what the server says.
func (s *session) downwards(up *upstream) error {
	var b basin
	defer b.empty()
	for {
		if err := s.armUp(up, s.nextLook(b.big != nil, s.b.limits.IdlePOP3)); err != nil {
			return err
		}
		n, err := up.Read(b.room())
		if n > 0 {
			s.hear()
			if err := s.tell(b.take(n)); err != nil {
				return err
			}
			b.keep(nil, n == len(b.room()))
		}
		if err := s.forth(up); err != nil {
			return err
		}
		switch {
		case err == nil:
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return err
		case s.mustEnd() != "":
			return net.ErrClosed
		case s.idle() >= s.b.limits.IdlePOP3:
			s.end(endedIdle)
		default:
			b.rest()
		}
	}
}

// nextLook is when somebody has to look, though nothing is said: soon while there is a
// buffer to give back.
func (s *session) nextLook(busy bool, idle time.Duration) time.Time {
	if busy {
		return time.Now().Add(restAfter)
	}
	return time.Unix(0, s.heard.Load()).Add(idle + time.Second)
}
