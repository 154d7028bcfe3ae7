package relay

import (
	"context"
	"slices"
	"sync"
	"time"

	"postern/internal/fault"
)

// Bounds of one upstream connection's life: Exchange cuts sessions at about
// twenty minutes.
const maxConnAge = 10 * time.Minute

// yieldFor is how long an account is left to other nodes when this one cannot reach its
// server: long enough for one of them to look for work.
const yieldFor = 5 * time.Second

// lanes keeps the upstream connections of each account between messages.
type lanes struct {
	sender   Sender
	accounts Accounts
	caps     func() map[string]int
	idle     time.Duration
	now      func() time.Time
	stats    *counters

	mu        sync.Mutex
	byAccount map[string]*lane
	round     int // how often pauses were looked up
}

// lane is one account's way out.
type lane struct {
	account string
	gate    chan struct{} // holds one token: sign-ins and pauses happen one after the other
	idle    []*link       // guarded by lanes.mu, as all below; the last one was used last
	open    int           // connections that the server may count, idle ones included
	freed   chan struct{} // closed when there is one fewer of them, or one more that is idle
	blocked *fault.Error  // why the account was paused: others need not try
	since   int           // the round in which it was
	yielded time.Time     // until then it is left to others
}

// link is a connection and its age.
type link struct {
	Upstream
	lane   *lane
	ended  func() // gives its place free, once
	opened time.Time
	used   time.Time
}

func newLanes(cfg Config, stats *counters) *lanes {
	return &lanes{sender: cfg.Sender, accounts: cfg.Accounts, caps: cfg.Caps, idle: cfg.Idle, now: cfg.Now, stats: stats,
		byAccount: make(map[string]*lane)}
}

func (l *lanes) lane(account string) *lane {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := l.byAccount[account]
	if w == nil {
		w = &lane{account: account, gate: make(chan struct{}, 1), freed: make(chan struct{})}
		l.byAccount[account] = w
	}
	return w
}

// take returns a kept connection, or a new one; reused says which.
func (l *lanes) take(ctx context.Context, account string) (c *link, reused bool, err error) {
	w := l.lane(account)
	for most := l.caps()[account]; ; {
		c, room, freed := l.kept(w, most)
		if c != nil {
			return c, true, nil
		}
		if room {
			c, err = l.open(ctx, w)
			return c, false, err
		}
		select {
		case <-freed:
		case <-ctx.Done():
			return nil, false, fault.Wrap(fault.Temporary, "wait for a connection", ctx.Err())
		}
	}
}

// kept pops the connection that was used last. When there is none, room reports
// whether one more may be opened, and then its place is taken; otherwise freed is
// closed when it is worth asking again. A message has ended in the store a moment
// before its connection is kept or gone, so the number of messages in flight alone
// does not bound that of connections.
func (l *lanes) kept(w *lane, most int) (c *link, room bool, freed <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(w.idle); n > 0 && w.blocked == nil {
		c = w.idle[n-1]
		w.idle = w.idle[:n-1]
		l.stats.reused.Add(1)
		return c, false, nil
	}
	if most > 0 && w.open >= most && w.blocked == nil { // a blocked lane answers at once
		return nil, false, w.freed
	}
	w.open++
	return nil, true, nil
}

// replace opens a connection in the place of one that is dead.
func (l *lanes) replace(ctx context.Context, c *link) (*link, error) {
	c.Upstream.Abort()
	return l.open(ctx, c.lane)
}

// leave gives the place of a connection free.
func (l *lanes) leave(w *lane) {
	l.mu.Lock()
	defer l.mu.Unlock()
	w.open--
	w.tell()
}

// tell wakes those who wait for a connection. The caller holds lanes.mu.
func (w *lane) tell() {
	close(w.freed)
	w.freed = make(chan struct{})
}

// Close says farewell; the place is free when that is over.
func (c *link) Close(ctx context.Context) error {
	defer c.ended()
	return c.Upstream.Close(ctx)
}

// Abort ends the connection at once.
func (c *link) Abort() {
	defer c.ended()
	c.Upstream.Abort()
}

// open signs in. Three refused sign-ins in a row can lock an account, so they
// queue up at the gate, and the first refusal answers for those behind it. An
// error that pauses the account is returned only after the pause is committed. The
// caller has taken a place, which is free again when this fails.
func (l *lanes) open(ctx context.Context, w *lane) (*link, error) {
	ended := sync.OnceFunc(func() { l.leave(w) })
	up, err := l.signIn(ctx, w)
	if err != nil {
		ended()
		return nil, err
	}
	return &link{Upstream: up, lane: w, ended: ended, opened: l.now()}, nil
}

func (l *lanes) signIn(ctx context.Context, w *lane) (Upstream, error) {
	leave, err := w.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	if why := l.why(w); why != nil {
		return nil, why
	}
	up, err := l.sender.Open(ctx, w.account)
	if f := fault.As(err); f != nil && pauses(f.Kind) {
		return nil, l.block(ctx, w, f)
	}
	if err != nil {
		return nil, unspoken(err)
	}
	l.stats.opened.Add(1)
	if !proven(up) {
		return up, nil
	}
	if err := l.accounts.Working(ctx, w.account); err != nil {
		up.Abort()
		return nil, fault.Wrap(fault.Temporary, "record that the account works", err)
	}
	return up, nil
}

// enter waits for the gate.
func (w *lane) enter(ctx context.Context) (leave func(), err error) {
	select {
	case w.gate <- struct{}{}:
		return func() { <-w.gate }, nil
	case <-ctx.Done():
		return nil, fault.Wrap(fault.Temporary, "wait for the sign-in of another message", ctx.Err())
	}
}

func (l *lanes) why(w *lane) *fault.Error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return w.blocked
}

// pause stops the account of a connection that was refused while sending.
func (l *lanes) pause(ctx context.Context, w *lane, why *fault.Error) error {
	leave, err := w.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	if l.why(w) != nil {
		return why // somebody was faster
	}
	return l.block(ctx, w, why)
}

// block pauses the account and closes the lane, so that nobody tries again
// before the pause is seen. It returns why, or what kept it from pausing; then
// the message backs off by itself. The caller is inside the gate.
func (l *lanes) block(ctx context.Context, w *lane, why *fault.Error) error {
	if err := l.accounts.Pause(ctx, w.account, why.Kind, words(why)); err != nil {
		return &fault.Error{Kind: fault.Temporary, Op: "pause account", Err: err, Reply: why.Reply, Hint: why.Hint}
	}
	l.stats.paused.Add(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	w.blocked, w.since = why, l.round
	return why
}

// yield leaves an account to others for a while; false when all of them deliver for it
// anyway, because nobody counts its connections.
func (l *lanes) yield(account string) bool {
	if l.caps()[account] == 0 {
		return false
	}
	w := l.lane(account)
	l.mu.Lock()
	defer l.mu.Unlock()
	w.yielded = l.now().Add(yieldFor)
	return true
}

// yielding are the accounts left to others.
func (l *lanes) yielding() (accounts []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	for account, w := range l.byAccount {
		if w.yielded.After(now) {
			accounts = append(accounts, account)
		}
	}
	return accounts
}

// look begins a look at the pauses.
func (l *lanes) look() (round int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.round++
	return l.round
}

// looked unblocks accounts whose pause was over when the look of round began.
func (l *lanes) looked(round int, paused []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for account, w := range l.byAccount {
		if w.blocked != nil && w.since < round && !slices.Contains(paused, account) {
			w.blocked = nil
		}
	}
}

// put keeps a connection for the next message, unless it is of no more use; then
// it is returned for its farewell.
func (l *lanes) put(c *link) (farewell []*link) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c.used = l.now()
	if !c.Usable() || c.used.Sub(c.opened) > maxConnAge || c.lane.blocked != nil {
		return []*link{c}
	}
	c.lane.idle = append(c.lane.idle, c)
	c.lane.tell()
	return nil
}

// stale removes connections unused for too long, or all of them.
func (l *lanes) stale(all bool) (farewell []*link) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	for _, w := range l.byAccount {
		w.idle = slices.DeleteFunc(w.idle, func(c *link) bool {
			old := all || now.Sub(c.used) >= l.idle
			if old {
				farewell = append(farewell, c)
			}
			return old
		})
	}
	return farewell
}
