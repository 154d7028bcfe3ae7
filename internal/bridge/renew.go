package bridge

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"postern/internal/fault"
)

// A session outlives its token. Some time before the token ends, new commands are held
// back; when those under way have their answers, the mailbox is opened on a second
// connection with a new token, the folder is selected there, and if it provably holds
// the same messages under the same numbers, the session goes on there. Where the token
// ended early, the same is tried with what went unanswered.

// earliest is how long before its end a token is replaced that lives for long; Exchange
// still takes it then, and the vault has a new one.
const earliest = 5 * time.Minute

// renewal is when a session has to have another token: before a sixth of what is left
// is left, at the latest.
func renewal(expires, now time.Time) time.Time {
	left := expires.Sub(now)
	if expires.IsZero() || left < time.Second {
		return time.Time{} // the server says when it is enough
	}
	return expires.Add(-min(left/6, earliest))
}

// ended reports whether the token has ended, as far as clocks agree.
func (u *upstream) ended(now time.Time) bool {
	const clocks = 2 * time.Second
	return !u.expires.IsZero() && now.After(u.expires.Add(-clocks))
}

// due reports whether it is time to sign in again by then.
func (s *imapSession) due(by time.Time) bool {
	if s.renewAt.IsZero() || s.renewAt.After(by) {
		return false
	}
	s.turn.Lock()
	defer s.turn.Unlock()
	return !s.held // else the end of an answer is waited for
}

// mayRenew signs in again when it is time to, and nothing is under way.
func (s *imapSession) mayRenew(ctx context.Context, nothingHeld bool) error {
	now := time.Now()
	if s.renewAt.IsZero() || now.Before(s.renewAt) {
		return nil
	}
	s.turn.Lock()
	s.held = !s.lasting && !s.last && !s.farewell
	quiet := s.held && (len(s.orders) == 0 || s.idling) && nothingHeld && s.answers.between()
	if !s.held {
		s.renewAt = time.Time{}
	}
	s.turn.Unlock()
	if !quiet {
		return nil
	}
	torn, err := s.move(ctx, true)
	if err != nil && torn {
		s.b.stats.unrenewed.Add(1)
		s.log.WarnContext(ctx, "session could not go on with a new token", "error", err)
		return err
	}
	if err != nil {
		s.log.WarnContext(ctx, "no new token for the session yet", "error", err)
		s.renewAt = retry(s.current().expires, time.Now())
	}
	s.locked(func() { s.held = false })
	return nil
}

// retryAfter is how long after a failure the next try comes, while the token lives.
const retryAfter = 15 * time.Second

func retry(expires, now time.Time) time.Time {
	at := now.Add(min(retryAfter, expires.Sub(now)/2))
	if expires.Sub(now) < time.Second {
		return time.Time{}
	}
	return at
}

var (
	errMoved   = errors.New("the folder is not the same any more")
	errPartial = errors.New("the token ended in the middle of an answer")
)

// resume goes on after the server has said that the token has ended.
func (s *imapSession) resume(ctx context.Context) error {
	s.expired = false
	_ = s.current().Close() // who still writes to it is done now
	err := s.resumable()
	if err == nil {
		_, err = s.move(ctx, false)
	}
	if err != nil {
		s.b.stats.unrenewed.Add(1)
		s.log.InfoContext(ctx, "the token ended, and the session with it", "error", err)
		return err
	}
	s.locked(func() { s.held = false })
	return nil
}

// resumable waits for commandsUp, and says whether all that is unanswered can be said
// again.
func (s *imapSession) resumable() error {
	s.turn.Lock()
	defer s.turn.Unlock()
	for s.busy {
		s.changed.Wait()
	}
	idle := len(s.orders) > 0 && s.orders[0].nature == waits
	switch {
	case s.lasting:
		return errors.New("something was said that cannot be said again")
	case s.begun && !idle, !s.answers.between():
		return errPartial
	case s.view.selects != nil && !s.view.bounded && s.view.total > 0:
		return errMoved // new messages came whose UIDs nobody knows
	}
	for _, o := range s.orders {
		if !o.again() {
			return errPartial
		}
	}
	return nil
}

// move opens the mailbox a second time and goes on there. torn says that the session
// cannot go on where it was.
func (s *imapSession) move(ctx context.Context, oldLives bool) (torn bool, err error) {
	up, err := s.b.signIn(ctx, s.who, IMAP)
	if err != nil {
		return !oldLives, err
	}
	old := s.current()
	if oldLives && !up.expires.After(old.expires) {
		_ = up.Close()
		return false, fault.New(fault.Temporary, "sign in again", "the token is no newer")
	}
	err = s.settle(old, oldLives)
	if err == nil {
		err = s.restore(up)
	}
	if err == nil {
		err = s.swap(up)
	}
	if err != nil {
		_ = up.Close()
		return true, err
	}
	_ = old.Close()
	s.b.stats.renewed.Add(1)
	s.log.DebugContext(ctx, "signed in again")
	s.renewAt = renewal(up.expires, time.Now())
	return false, nil
}

// aside begins a dialogue of our own on one of the connections.
func aside(up *upstream) *talk {
	_ = up.SetDeadline(time.Now().Add(signInPatience))
	return &talk{Conn: up.Conn, in: newInput(up.Conn), protocol: IMAP}
}

// settle ends what goes on at the old connection, and learns what the client knows.
func (s *imapSession) settle(old *upstream, lives bool) error {
	s.turn.Lock()
	idling, ask, total := s.idling, s.view.selects != nil && !s.view.bounded && s.view.total > 0, s.view.total
	s.turn.Unlock()
	if !lives || !idling && !ask {
		return nil
	}
	t := aside(old)
	defer t.in.release()
	if idling {
		if err := t.send("DONE"); err != nil {
			return err
		}
		if _, err := t.answer(s.orders[0].tag, "IDLE", s.passOn); err != nil {
			return err
		}
	}
	if !ask {
		return nil
	}
	_, err := t.command("FETCH "+strconv.FormatInt(total, 10)+" (UID)", s.passOn)
	return err
}

// passOn gives the client an untagged line that came while we talked ourselves.
func (s *imapSession) passOn(line string) {
	s.turn.Lock()
	s.view.see([]byte(line))
	s.turn.Unlock()
	_ = s.tell([]byte(line + "\r\n")) // a client that is gone is noticed soon
}

// restore brings the new connection where the old one was.
func (s *imapSession) restore(up *upstream) error {
	t := aside(up)
	defer t.in.release()
	ignore := func(string) {}
	s.turn.Lock()
	enabled, was := s.enabled, s.view
	s.turn.Unlock()
	for _, e := range enabled {
		if _, err := t.command(strings.TrimRight(string(e), "\r\n"), ignore); err != nil {
			return err
		}
	}
	if was.selects != nil {
		now, err := t.reopen(was)
		if err != nil {
			return err
		}
		s.locked(func() { s.view = now })
		if now.total != was.total {
			if err := s.tell(fmt.Appendf(nil, "* %d EXISTS\r\n", now.total)); err != nil {
				return err
			}
		}
	}
	if err := s.sayAgain(t); err != nil {
		return err
	}
	up.rest = t.in.ahead()
	return nil
}

// reopen selects the folder, and proves that it holds what the client knows under the
// same numbers, and perhaps new messages behind it: see view.
func (t *talk) reopen(was view) (view, error) {
	now := view{selects: was.selects, opening: true}
	see := func(line string) { now.see([]byte(line)) }
	if err := t.whole(append([]byte(ourTag+" "), was.selects...)); err != nil {
		return now, err
	}
	if _, err := t.answer(ourTag, "SELECT", see); err != nil {
		return now, err
	}
	now.opening = false
	if now.validity != was.validity || now.validity == 0 {
		return now, errMoved
	}
	total, newer := now.total, int64(0)
	if was.bound < math.MaxUint32 && total > 0 {
		_, err := t.command(fmt.Sprintf("UID SEARCH UID %d:*", was.bound+1), func(line string) {
			see(line)
			newer += above(line, was.bound)
		})
		if err != nil {
			return now, err
		}
	}
	if now.total != total || total-newer != was.total {
		return now, errMoved
	}
	return now, nil
}

// above counts the UIDs of a SEARCH answer that are above a bound: "n:*" always finds
// the last message, whatever n is.
func above(line string, bound uint32) (n int64) {
	if !hasPrefix(line, "* SEARCH") {
		return 0
	}
	for _, f := range strings.Fields(line)[2:] {
		if uid, err := strconv.ParseUint(f, 10, 32); err == nil && uint32(uid) > bound {
			n++
		}
	}
	return n
}

// sayAgain says what went unanswered again; of IDLE the client has had the go-ahead.
func (s *imapSession) sayAgain(t *talk) error {
	s.turn.Lock()
	defer s.turn.Unlock()
	if len(s.orders) > 0 && s.orders[0].nature == waits && s.orders[0].done {
		o := s.orders[0]
		s.orders = s.orders[1:]
		s.turn.Unlock()
		err := s.tell([]byte(o.tag + " OK Done\r\n"))
		s.turn.Lock()
		if err != nil {
			return err
		}
	}
	for i, o := range s.orders {
		if i == 0 && s.idling {
			if err := t.idle(o); err != nil {
				return err
			}
			continue
		}
		if _, err := t.Write(o.text); err != nil {
			return err
		}
	}
	s.begun = false
	return nil
}

// idle says IDLE and waits for the go-ahead.
func (t *talk) idle(o *order) error {
	if _, err := t.Write(o.text); err != nil {
		return err
	}
	return t.goAhead()
}

// goAhead waits until the server asks for more.
func (t *talk) goAhead() error {
	for range maxUntagged {
		line, err := t.in.long(maxAnswer)
		if err != nil {
			return err
		}
		if strings.HasPrefix(line, "+") {
			return nil
		}
		if !strings.HasPrefix(line, "* ") || hasPrefix(line, "* BYE") {
			break
		}
	}
	return fault.New(fault.Temporary, "imap sign-in", "the server did not go on")
}

// whole sends a command with its literals, asking for leave where the client had to.
func (t *talk) whole(text []byte) error {
	for len(text) > 0 {
		end := len(text)
		if i := strings.IndexByte(string(text), '\n'); i >= 0 {
			end = i + 1
		}
		if _, err := t.Write(text[:end]); err != nil {
			return err
		}
		size, waits, is := announced(text[:end])
		if text = text[end:]; !is {
			continue
		}
		if waits {
			if err := t.goAhead(); err != nil {
				return err
			}
		}
		n := min(int(size), len(text))
		if _, err := t.Write(text[:n]); err != nil {
			return err
		}
		text = text[n:]
	}
	return nil
}

// swap makes the new connection the session's.
func (s *imapSession) swap(up *upstream) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return errors.New("the session has ended")
	}
	_ = up.SetDeadline(time.Time{})
	s.up = up
	if s.ending != "" {
		_ = up.SetReadDeadline(time.Unix(1, 0))
	}
	return nil
}
