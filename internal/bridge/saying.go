package bridge

import (
	"bytes"
	"errors"
	"io"
	"time"
)

// saying is where in a command the client is.
type saying struct {
	order   *order // nil between commands
	literal int64  // octets of a literal still to come
	waits   bool   // the client waits to be asked for it, and none of it has come
	long    bool   // the line's beginning was passed on already
	heeded  bool   // it was held back, because the server wanted to be left alone
	tail    tail
}

// commandsUp passes what the client says, until it ends its side.
func (s *imapSession) commandsUp() error {
	var b basin
	defer b.empty()
	read := s.ahead
	s.ahead = nil
	for {
		b.keep(s.forward(read), len(read) == len(b.bytes()))
		n, err := s.listen(&b)
		if errors.Is(err, io.EOF) {
			s.locked(func() { s.last = true })
			_ = s.arm(s.current().SetReadDeadline, time.Unix(1, 0)) // or it has ended
			time.AfterFunc(lastCall, s.cut)
			return nil
		}
		if err != nil {
			return err
		}
		if read = nil; n > 0 {
			read = b.take(n)
		}
		if n == 0 && b.held > 0 {
			read = b.take(0)
		}
	}
}

// forward passes commands on and follows them. rest is the beginning of a command, to
// come again with more behind it. A server that does not take them any more is no error
// here: answersDown hears of it, and may say all of them again to another one.
func (s *imapSession) forward(p []byte) (rest []byte) {
	if len(p) == 0 {
		return nil
	}
	s.locked(func() { s.busy = true })
	defer s.locked(func() { s.busy = false })
	if s.said.waits && s.refusedLiteral() {
		s.said = saying{}
	}
	from, at := 0, 0
	for at < len(p) {
		if s.said.literal > 0 {
			n := int(min(s.said.literal, int64(len(p)-at)))
			s.said.literal -= int64(n)
			s.said.waits = false
			s.keep(p[at : at+n])
			at += n
			continue
		}
		n := bytes.IndexByte(p[at:], '\n') + 1
		if n == 0 && len(p)-at < maxHeld && !s.said.long {
			s.put(p[from:at])
			return p[at:]
		}
		line := p[at:]
		if n > 0 {
			line = p[at : at+n]
		}
		if s.said.order != nil {
			s.keep(line)
			s.endLine(line, n > 0)
			at += len(line)
			continue
		}
		instead, is := compresses(line)
		for !s.begin(sent(line, instead)) {
			s.put(p[from:at])
			from = at
			s.wait()
		}
		if is {
			s.put(p[from:at])
			s.put(instead)
			from = at + len(line)
		}
		s.endLine(line, n > 0)
		at += len(line)
	}
	s.put(p[from:])
	return nil
}

// refusedLiteral reports whether the server has answered in place of asking for the
// literal: then the client does not send it.
func (s *imapSession) refusedLiteral() bool {
	s.turn.Lock()
	defer s.turn.Unlock()
	return s.said.order.whole
}

// waiting reports whether the next command may not go out yet.
func (s *imapSession) waiting() bool {
	return (s.held || s.quiet || len(s.orders) >= maxOrders) && !s.done
}

// heed holds a command back, once, while the server wants to be left alone.
func (s *imapSession) heed() {
	now := time.Now()
	until := s.seat.until(now)
	if s.said.heeded || !until.After(now) {
		return
	}
	s.said.heeded, s.quiet = true, true
	time.AfterFunc(until.Sub(now), func() { s.locked(func() { s.quiet = false }) })
}

// wait is until the next command may go out.
func (s *imapSession) wait() {
	s.turn.Lock()
	defer s.turn.Unlock()
	s.busy = false
	s.changed.Broadcast()
	for s.waiting() {
		s.changed.Wait()
	}
	s.busy = true
}

// begin notes a command, or DONE, which is the end of one; false when it may not go out
// yet.
func (s *imapSession) begin(line []byte) bool {
	s.turn.Lock()
	defer s.turn.Unlock()
	n := len(s.orders)
	ends := n > 0 && s.orders[n-1].nature == waits && !s.orders[n-1].done
	if !ends {
		s.heed()
	}
	if s.waiting() {
		return false
	}
	if ends {
		s.orders[n-1].done, s.idling = true, false
		s.said.order = s.orders[n-1]
		return true
	}
	o := newOrder(line)
	o.add(line, true)
	s.orders = append(s.orders, o)
	s.said.order = o
	if len(s.orders) == 1 {
		s.upNext()
	}
	return true
}

// keep keeps more of a command.
func (s *imapSession) keep(p []byte) {
	s.turn.Lock()
	defer s.turn.Unlock()
	s.said.order.add(p, false)
}

// endLine is the end of a line, or of a piece of one: the command is whole, or goes on.
func (s *imapSession) endLine(line []byte, ended bool) {
	if s.said.long || !ended {
		s.said.tail.add(line)
		line = s.said.tail[:]
	}
	if s.said.long = !ended; !ended {
		return
	}
	size, waits, is := announced(line)
	if is {
		s.said.literal, s.said.waits = size, waits
		return
	}
	s.turn.Lock()
	defer s.turn.Unlock()
	s.said.order.whole = true
	s.said = saying{}
}

// put writes to the server. It says nothing when that fails: see forward.
func (s *imapSession) put(run []byte) {
	if len(run) > 0 {
		_ = s.ask(s.current(), run)
	}
}

// sent is what goes out for a line.
func sent(line, instead []byte) []byte {
	if instead != nil {
		return instead
	}
	return line
}
