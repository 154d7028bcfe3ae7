package relay

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"
)

// Run delivers until ctx is done. Then it takes no more work, lets what is being
// sent end within the grace, gives its leases back and returns nil.
func (r *Relay) Run(ctx context.Context) error {
	// Sends outlive ctx: a stop must not cut a message in two.
	sending, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	poll := time.NewTicker(r.cfg.Poll)
	defer poll.Stop()
	care := time.NewTicker(r.cfg.Lease / 4)
	defer care.Stop()
	trouble := ""
	r.tend(ctx)
	for ctx.Err() == nil {
		begun := time.Now()
		trouble = r.complain(ctx, trouble, r.claim(ctx, sending))
		r.rest(ctx, time.Since(begun))
		select {
		case <-ctx.Done():
		case <-r.wake:
		case <-poll.C:
			r.farewell(r.lanes.stale(false))
		case <-care.C:
			r.tend(ctx)
		}
	}
	r.stop(ctx, cut)
	return nil
}

// rest keeps claims from taking more than four fifths of the time: free connections wait
// for the next one. In a rush, when devices wait for their 250 and nobody waits for a
// delivery, it lets the first of it pass, and looks for work only now and then if it goes
// on: what is claimed goes out as fast as ever.
func (r *Relay) rest(ctx context.Context, claimed time.Duration) {
	_ = waitFor(ctx, min(claimed/restPart, restMost)) // the loop looks at ctx itself
	for r.rush.on(r.stats.accepted.Load(), time.Now()) {
		if waitFor(ctx, rushPause) != nil || !r.rush.young() {
			return
		}
	}
}

const (
	restPart = 4 // of the time that a claim took
	restMost = 250 * time.Millisecond
)

// A rush is this many messages accepted a second.
const (
	rushRate  = 500
	rushLeast = 5 // messages; two at once are no rush
	rushPause = 100 * time.Millisecond
	rushYoung = 2 * time.Second // most are over by then
)

// rush tells whether messages come in faster than rushRate. Only the loop uses it.
type rush struct {
	accepted uint64
	at       time.Time // when on was last asked
	first    time.Time // when it was first said of this rush
	last     time.Time // and last
}

func (u *rush) on(accepted uint64, now time.Time) bool {
	n, took := accepted-u.accepted, now.Sub(u.at)
	u.accepted, u.at = accepted, now
	if float64(n) <= rushRate*took.Seconds() || n < rushLeast {
		return false
	}
	if now.Sub(u.last) > rushYoung {
		u.first = now
	}
	u.last = now
	return true
}

// young reports whether the rush that is on has only begun. One that took breath is the
// same: its deliveries have waited already.
func (u *rush) young() bool { return u.last.Sub(u.first) < rushYoung }

// complain logs a failure of the loop when it begins, and its end.
func (r *Relay) complain(ctx context.Context, before string, err error) (now string) {
	switch {
	case ctx.Err() != nil:
		return before
	case err == nil && before != "":
		r.cfg.Log.LogAttrs(ctx, slog.LevelInfo, "queue works again")
	case err != nil && before == "":
		r.cfg.Log.LogAttrs(ctx, slog.LevelError, "queue does not work", slog.Any("error", err))
	}
	if err == nil {
		return ""
	}
	return err.Error()
}

// claim leases as many due messages as there are free workers, and sends them.
func (r *Relay) claim(ctx, sending context.Context) error {
	free := r.cfg.Workers - int(r.busy.Load())
	if free <= 0 {
		return nil
	}
	round := r.lanes.look()
	paused, err := r.cfg.Accounts.Paused(ctx)
	if err != nil {
		return fmt.Errorf("list paused accounts: %w", err)
	}
	r.lanes.looked(round, paused)
	now := r.cfg.Now()
	due, err := r.cfg.Store.ClaimMessages(ctx, Claim{
		Holder: r.cfg.Holder, Now: now, Until: now.Add(r.cfg.Lease), Most: free, PerAccount: r.cfg.PerAccount, Caps: r.cfg.Caps(),
		Skip: append(paused, r.lanes.yielding()...), Leave: r.held.all(), Limits: r.cfg.Limits,
	})
	if err != nil {
		return fmt.Errorf("claim messages: %w", err)
	}
	for _, m := range due {
		r.held.add(m.ID)
		r.busy.Add(1)
		r.sends.Go(func() {
			defer r.Wake() // a worker is free, and so may be a place of the account
			defer r.busy.Add(-1)
			r.deliver(sending, lease{r, m, now})
			r.held.drop(m.ID)
		})
	}
	return nil
}

// leases are the messages this process is working on. One that it has lost is among them
// until its try has ended, and is not claimed anew before: the try would take the new
// lease for its own, and does not know what others have done with the message meanwhile.
type leases struct {
	mu  sync.Mutex
	ids map[string]struct{}
}

func (l *leases) add(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ids == nil {
		l.ids = make(map[string]struct{})
	}
	l.ids[id] = struct{}{}
}

func (l *leases) drop(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.ids, id)
}

func (l *leases) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Collect(maps.Keys(l.ids))
}

// tend keeps our leases alive and takes back those of holders that died. It takes
// none back before it has kept ours: they, too, may have ended while the store was
// away, and what is being sent must not be sent by somebody else.
func (r *Relay) tend(ctx context.Context) {
	now := r.cfg.Now()
	if err := r.cfg.Store.ExtendLeases(ctx, r.cfg.Holder, r.held.all(), now.Add(r.cfg.Lease)); err != nil {
		r.cfg.Log.LogAttrs(ctx, slog.LevelError, "leases not extended", slog.Any("error", err))
		return
	}
	r.bounces(ctx)
	if err := r.cfg.Store.ForgetSends(ctx, now); err != nil {
		r.cfg.Log.LogAttrs(ctx, slog.LevelWarn, "old sends not forgotten", slog.Any("error", err))
	}
	n, err := r.cfg.Store.ExpireLeases(ctx, now, r.cfg.Limits)
	if err != nil {
		r.cfg.Log.LogAttrs(ctx, slog.LevelError, "leases not expired", slog.Any("error", err))
	}
	if n > 0 {
		r.cfg.Log.LogAttrs(ctx, slog.LevelWarn, "messages taken back from a holder that went away", slog.Int("messages", n))
	}
}

// farewell closes connections without holding anybody up.
func (r *Relay) farewell(links []*link) {
	for _, c := range links {
		r.sends.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), commitTimeout)
			defer cancel()
			_ = c.Close(ctx) // what the server says to a farewell changes nothing
		})
	}
}

// stop waits for the sends in flight, cuts them when the grace is over, and
// tidies up. While it waits, the leases are kept alive.
func (r *Relay) stop(ctx context.Context, cut context.CancelFunc) {
	ctx = context.WithoutCancel(ctx)
	graceful, cancel := context.WithTimeout(ctx, r.cfg.Grace)
	defer cancel()
	done := make(chan struct{})
	go func() {
		r.sends.Wait()
		close(done)
	}()
	care := time.NewTicker(r.cfg.Lease / 4)
	defer care.Stop()
	for waiting := true; waiting; {
		select {
		case <-done:
			waiting = false
		case <-care.C:
			r.tend(ctx)
		case <-graceful.Done():
			cut()
			<-done
			waiting = false
		}
	}
	r.farewell(r.lanes.stale(true))
	r.sends.Wait()
	release, cancelRelease := context.WithTimeout(ctx, commitTimeout)
	defer cancelRelease()
	if err := r.cfg.Store.ReleaseLeases(release, r.cfg.Holder); err != nil {
		r.cfg.Log.LogAttrs(ctx, slog.LevelError, "leases not released", slog.Any("error", err))
	}
}
