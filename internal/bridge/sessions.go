package bridge

import (
	"context"
	"errors"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"postern/internal/fault"
)

// stats count since the start.
type stats struct {
	logins, refused, unopened, turnedAway, renewed, unrenewed, in, out atomic.Int64
}

// Stats is what the bridge has done since its start, and what is open now.
type Stats struct {
	IMAP, POP3 int   // sessions now
	Strangers  int   // connections that have not signed in
	Logins     int64 // mailboxes opened
	Refused    int64 // local logins that were wrong
	Unopened   int64 // logins that were right, for mailboxes that did not open
	TurnedAway int64 // connections, for there were too many
	Renewed    int64 // signed in again upstream within a session
	Unrenewed  int64 // sessions that ended because that could not be done
	In, Out    int64 // octets from and to clients
}

// Stats counts.
func (b *Bridge) Stats() Stats {
	s := Stats{
		Logins: b.stats.logins.Load(), Refused: b.stats.refused.Load(), Unopened: b.stats.unopened.Load(), TurnedAway: b.stats.turnedAway.Load(),
		Renewed: b.stats.renewed.Load(), Unrenewed: b.stats.unrenewed.Load(),
	}
	b.lobby.mu.Lock()
	s.Strangers = b.lobby.all
	b.lobby.mu.Unlock()
	b.mu.Lock()
	defer b.mu.Unlock()
	s.In, s.Out = b.stats.in.Load(), b.stats.out.Load()
	for _, o := range b.open {
		if o.protocol == IMAP {
			s.IMAP++
		} else {
			s.POP3++
		}
		s.In += o.in.Load()
		s.Out += o.out.Load()
	}
	return s
}

func (b *Bridge) add(s *session) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.open) >= b.limits.Sessions {
		return false
	}
	b.open[s.id] = s
	b.stats.logins.Add(1)
	return true
}

func (b *Bridge) remove(s *session) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.open[s.id] != s {
		return
	}
	delete(b.open, s.id)
	b.stats.in.Add(s.in.Load())
	b.stats.out.Add(s.out.Load())
}

// all are the open sessions.
func (b *Bridge) all() []*session {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := make([]*session, 0, len(b.open))
	for _, s := range b.open {
		all = append(all, s)
	}
	return all
}

// Sessions lists those of this process, the oldest first.
func (b *Bridge) Sessions() []Session {
	now := time.Now()
	list := []Session{}
	for _, s := range b.all() {
		list = append(list, s.line(now))
	}
	slices.SortFunc(list, func(x, y Session) int {
		if c := x.Since.Compare(y.Since); c != 0 {
			return c
		}
		return strings.Compare(x.ID, y.ID)
	})
	return list
}

func (s *session) line(now time.Time) Session {
	return Session{
		ID: s.id, Protocol: s.protocol, Device: s.who.Device, Account: s.who.Account, Mailbox: s.who.Mailbox, Remote: s.remote,
		Since: s.since, Seen: now, In: s.in.Load(), Out: s.out.Load(),
	}
}

// End ends a session of this process; false when there is none of that id.
func (b *Bridge) End(id, why string) bool {
	b.mu.Lock()
	s := b.open[id]
	b.mu.Unlock()
	if s == nil {
		return false
	}
	s.end(why)
	return true
}

// lookEvery is how soon a session ends whose right was withdrawn.
const lookEvery = time.Second

// rewriteAfter is how old the figures of a session in the register may be.
const rewriteAfter = 10 * time.Second

// Run watches over the sessions until ctx ends: it ends those whose device may not go
// on or that somebody wants ended, and keeps the register.
func (b *Bridge) Run(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	w, tidied := watch{b: b, written: map[string]Session{}}, tidying{}
	for {
		select {
		case <-ctx.Done():
			w.clear(context.WithoutCancel(ctx))
			return nil
		case <-tick.C:
		}
		b.revoke(ctx)
		b.tidy(&tidied)
		if err := w.look(ctx, time.Now()); err != nil && ctx.Err() == nil {
			b.cfg.Log.WarnContext(ctx, "the list of sessions is not up to date", "error", err)
		}
	}
}

// tidying is what was seen of logins.
type tidying struct{ seen, done int64 }

// worthTidying is how many logins leave enough behind.
const worthTidying = 50

// tidy gives back what a crowd of logins has left behind, once it is over: handshakes
// take several times what a session needs, and a process that then idles would keep it.
func (b *Bridge) tidy(t *tidying) {
	now := b.stats.logins.Load()
	if now == t.seen && now-t.done >= worthTidying {
		t.done = now
		debug.FreeOSMemory()
	}
	t.seen = now
}

// revoke ends the sessions whose device may not go on. What cannot be asked now does
// not end anybody.
func (b *Bridge) revoke(ctx context.Context) {
	for _, s := range b.all() {
		if err := s.who.Still(ctx); errors.Is(err, fault.Denied) {
			s.end("The device may not go on")
		}
	}
}

// watch is what was written into the register.
type watch struct {
	b       *Bridge
	written map[string]Session
}

// look ends what somebody wants ended and writes what has changed.
func (w *watch) look(ctx context.Context, now time.Time) error {
	reg := w.b.cfg.Register
	if reg == nil {
		return nil
	}
	changed, gone := w.changes(now)
	if len(changed)+len(gone) > 0 {
		if err := reg.PutSessions(ctx, w.b.cfg.Holder, changed, gone); err != nil {
			return err
		}
		w.note(changed, gone)
	}
	if len(w.written) == 0 {
		return nil
	}
	ids, err := reg.SessionsToEnd(ctx, w.b.cfg.Holder)
	for _, id := range ids {
		w.b.End(id, "Somebody who runs Postern ended this session")
	}
	return err
}

// changes are the sessions to write down: new ones, and those whose figures are old.
func (w *watch) changes(now time.Time) (changed []Session, gone []string) {
	open := map[string]bool{}
	for _, s := range w.b.all() {
		open[s.id] = true
		line := s.line(now)
		had, known := w.written[s.id]
		if !known || (had.In != line.In || had.Out != line.Out) && now.Sub(had.Seen) >= rewriteAfter {
			changed = append(changed, line)
		}
	}
	for id := range w.written {
		if !open[id] {
			gone = append(gone, id)
		}
	}
	return changed, gone
}

func (w *watch) note(changed []Session, gone []string) {
	for _, s := range changed {
		w.written[s.ID] = s
	}
	for _, id := range gone {
		delete(w.written, id)
	}
}

// clear takes everything off the register.
func (w *watch) clear(ctx context.Context) {
	if len(w.written) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	var gone []string
	for id := range w.written {
		gone = append(gone, id)
	}
	if err := w.b.cfg.Register.PutSessions(ctx, w.b.cfg.Holder, nil, gone); err != nil {
		w.b.cfg.Log.WarnContext(ctx, "the list of sessions was not cleared", "error", err)
	}
}
