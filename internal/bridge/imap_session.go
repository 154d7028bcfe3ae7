package bridge

import (
	"bytes"
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"postern/internal/mailbox/imap"
)

// imapSession passes IMAP both ways and knows where answers end. One goroutine reads the
// client (commandsUp), the other the server (answersDown); the latter also signs in
// again, because it is the one that knows when nothing is under way.
type imapSession struct {
	*session

	// Of answersDown alone.
	answers answers
	renewAt time.Time // zero for never
	expired bool      // the server has said that the token has ended
	slow    bool      // the message that is coming comes slowly

	turn     sync.Mutex // covers what follows
	changed  *sync.Cond // with turn
	view     view
	enabled  [][]byte // ENABLE commands, from their name on
	lasting  bool     // something was said that cannot be said again
	farewell bool     // the server has said BYE
	orders   []*order // under way, the oldest first
	begun    bool     // the oldest one's answer has begun
	idling   bool     // the only one is IDLE, and the server waits for DONE
	held     bool     // no new command may go out
	quiet    bool     // nor while the server wants to be left alone
	busy     bool     // commands are on their way to the server
	last     bool     // the client has ended its side
	done     bool

	said saying // of commandsUp alone
}

// maxOrders is how many commands may be under way; who says more has to wait. They have
// to be answered before the token ends: see mayRenew.
const maxOrders = 100

func (s *imapSession) run(ctx context.Context) error {
	s.changed = sync.NewCond(&s.turn)
	s.renewAt = renewal(s.up.expires, time.Now())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := s.commandsUp(); err != nil {
			s.cut()
		}
	}()
	err := s.answersDown(ctx)
	s.cut()
	s.locked(func() { s.done = true })
	<-ended
	return err
}

// locked does something under the lock and wakes who waits for it.
func (s *imapSession) locked(do func()) {
	s.turn.Lock()
	defer s.turn.Unlock()
	do()
	s.changed.Broadcast()
}

// answersDown passes what the server says, until one side has ended.
func (s *imapSession) answersDown(ctx context.Context) error {
	var b basin
	defer b.empty()
	var read []byte
	for {
		rest, err := s.answers.follow(read, s.see, s.tell)
		if err != nil {
			return err
		}
		b.keep(rest, len(read) == len(b.bytes()))
		if err := s.forth(s.current()); err != nil {
			return err
		}
		switch {
		case s.expired:
			if err := s.resume(ctx); err != nil {
				return s.leaving(endedToken, err)
			}
			b.held = 0
		case s.finished():
			return nil
		default:
			if err := s.mayRenew(ctx, b.held == 0); err != nil {
				return s.leaving(endedToken, err)
			}
		}
		if up := s.current(); len(up.rest) > 0 { // another connection
			read, up.rest = up.rest, nil
			continue
		}
		n, err := s.readUp(&b)
		if err != nil {
			return err
		}
		read = b.take(n)
	}
}

// readUp reads from the server; nothing when somebody has to look at something else.
func (s *imapSession) readUp(b *basin) (int, error) {
	up := s.current()
	lots := up.wire.expect(s.awaited())
	until := s.nextLook(b.big != nil || lots, s.b.limits.IdleIMAP)
	if s.due(until) {
		until = s.renewAt
	}
	if err := s.armUp(up, until); err != nil {
		return 0, s.leaving(s.mustEnd(), err)
	}
	if s.finished() { // seen here, or the client's end comes after the deadline was set
		return 0, nil
	}
	n, err := up.Read(b.room())
	s.slow = s.slow || lots && errors.Is(err, os.ErrDeadlineExceeded)
	switch {
	case n > 0:
		s.hear()
		return n, nil
	case err != nil && !errors.Is(err, os.ErrDeadlineExceeded) && b.held == 0 && up.ended(time.Now()) && !s.parted():
		s.locked(func() { s.expired, s.held = true, true }) // its farewell was lost with what we said last
		return 0, nil
	case err != nil && !errors.Is(err, os.ErrDeadlineExceeded):
		return 0, s.leaving(endedGone, err)
	case s.mustEnd() != "" || s.ended():
		return 0, s.leaving(s.mustEnd(), err)
	case s.idle() >= s.b.limits.IdleIMAP:
		s.end(endedIdle)
		return 0, s.leaving(endedIdle, err)
	}
	b.rest()
	return 0, nil
}

// awaited is how many octets are to come for certain: the rest of a message, unless it
// comes slowly.
func (s *imapSession) awaited() int64 {
	s.slow = s.slow && s.answers.literal > 0
	if s.slow {
		return 0
	}
	return s.answers.literal
}

// leaving says farewell, where that would not fall into the middle of something.
func (s *imapSession) leaving(why string, err error) error {
	s.turn.Lock()
	said := s.farewell
	s.farewell = true
	s.turn.Unlock()
	if why != "" && !said && s.answers.between() {
		_ = s.tell([]byte(IMAP.farewell(why))) // whether it listens or not, it ends
		_ = s.wire.push(false)
	}
	return err
}

// finished reports whether the client has ended its side, and has all its answers.
func (s *imapSession) finished() bool {
	s.turn.Lock()
	defer s.turn.Unlock()
	return s.last && (len(s.orders) == 0 || s.idling)
}

// parted reports whether the server has said farewell: what comes then is the end, of
// which no new token makes a beginning.
func (s *imapSession) parted() bool {
	s.turn.Lock()
	defer s.turn.Unlock()
	return s.farewell
}

// see notes what a response means. It passes but for the end of the token, which is our
// affair, and capabilities, which are ours in part.
func (s *imapSession) see(line []byte) (pass bool, instead []byte) {
	s.turn.Lock()
	defer s.turn.Unlock()
	switch {
	case line[0] == '+':
		s.idling = len(s.orders) == 1 && s.orders[0].nature == waits && !s.orders[0].done
		return true, nil
	case len(line) < 2 || line[0] != '*' || line[1] != ' ':
		s.finishOrder(line)
		return true, nil
	}
	s.view.see(line)
	word := untaggedWord(line)
	if word == "BYE" && bytes.Contains(line, []byte("AccessTokenExpired")) {
		s.expired, s.held = true, true
		return false, nil
	}
	s.begun = len(s.orders) > 0
	switch word {
	case "BYE":
		s.farewell = true
		s.heedBackoff(line)
	case "CAPABILITY":
		return false, []byte("* CAPABILITY " + strings.Join(passable(strings.Fields(string(line))[2:]), " ") + "\r\n")
	case "NO", "BAD":
		s.heedBackoff(line)
	}
	return true, nil
}

func untaggedWord(line []byte) string {
	word, _, _ := bytes.Cut(bytes.TrimRight(line[2:], "\r\n"), []byte(" "))
	if len(word) > len("CAPABILITY") || len(word) > 0 && word[0] < 'A' {
		return ""
	}
	return strings.ToUpper(string(word))
}

// heedBackoff keeps everybody away from the mailbox when the server asks for it.
func (s *imapSession) heedBackoff(line []byte) {
	if wait := imap.Backoff(string(line)); wait > 0 {
		s.b.seats.hush(s.who.Mailbox, wait)
	}
}

// finishOrder ends the command whose tag a line has.
func (s *imapSession) finishOrder(line []byte) {
	tag, rest, _ := bytes.Cut(line, []byte(" "))
	i := slices.IndexFunc(s.orders, func(o *order) bool { return o.tag == string(tag) })
	if i < 0 {
		return
	}
	o := s.orders[i]
	s.orders = slices.Delete(s.orders, i, i+1)
	s.begun, s.idling = false, false
	o.whole = true // a literal that was announced does not come any more
	good := hasPrefix(string(rest[:min(len(rest), 2)]), "OK")
	if !good {
		s.heedBackoff(line)
	}
	s.afterwards(o, good)
	s.upNext()
	s.changed.Broadcast()
}

// afterwards notes what a command has left behind.
func (s *imapSession) afterwards(o *order, good bool) {
	switch {
	case o.nature == opens:
		s.view.opening = false
		if s.view.selects = nil; good {
			s.view.selects = o.body()
			s.lasting = s.lasting || o.text == nil
		}
	case o.nature == closes && good:
		s.view = view{}
	case o.nature == enables && good:
		s.enabled = append(s.enabled, o.body())
		s.lasting = s.lasting || o.text == nil || len(s.enabled) > 8
	case o.nature == unknown && good:
		s.lasting = true
	}
}

// upNext begins the answer of the command that is the oldest now.
func (s *imapSession) upNext() {
	if len(s.orders) > 0 && s.orders[0].nature == opens && !s.view.opening {
		s.view = view{opening: true}
	}
}
