package relay

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"postern/internal/fault"
	"postern/internal/mail"
	"postern/internal/smtp"
)

// Bounds of one delivery.
const (
	sendTimeout   = 30 * time.Minute // 150 MB on a slow line
	commitTimeout = 30 * time.Second // for one write of an outcome, and for all of them after a stop

	commitPause    = 200 * time.Millisecond // doubles
	commitPauseMax = 5 * time.Second
)

// deliver makes one try with a leased message and commits what came of it. Only
// then may the connection be used again: the next command tells the server that
// its answer was taken to heart.
func (r *Relay) deliver(ctx context.Context, l lease) {
	m := l.m
	r.event(ctx, "delivering", m)
	part := m.Part(r.cfg.Limits(m.Account).RecipientsPerMessage)
	c, res, err := r.attempt(ctx, l, part)
	lost := errors.Is(err, errLost)
	if lost {
		r.complainOf(ctx, slog.LevelWarn, "message not sent: this process stood still for too long", m, err)
	}
	if lost || ctx.Err() != nil && untouched(res, err) { // stopped: the lease is given back as it was
		if c != nil {
			c.Abort()
		}
		return
	}
	now := r.cfg.Now()
	spent := r.spent(m, part, res, err, now)
	spent.Yields = unreached(c, res, err) && r.lanes.yield(m.Account)
	if c != nil {
		m.Over = over(c.Upstream)
	}
	if why := r.plan.settle(&m, part, res, err, now); why != nil && c != nil {
		r.pause(ctx, &m, c, why, now)
	}
	m.Bounce = r.owed(m)
	if !slices.ContainsFunc(m.Recipients, Recipient.late) {
		m.TellBy = time.Time{}
	}
	committed := r.commit(ctx, m, spent)
	switch {
	case c == nil:
	case committed:
		r.farewell(r.lanes.put(c))
	default:
		c.Abort()
	}
	if committed {
		r.report(ctx, m, res, err)
	}
	if committed && m.Bounce == BounceDue {
		r.settleDebt(ctx, m)
	}
}

// untouched reports whether a try left no trace worth recording.
func untouched(res smtp.Result, err error) bool {
	f := fault.As(err)
	return err != nil && !res.Accepted && len(res.Recipients) == 0 && (f == nil || !f.Ambiguous && f.Reply == nil)
}

// unreached reports whether no server has answered: none at all, or none where no
// connection is opened beforehand. Perhaps another node is answered.
func unreached(c *link, res smtp.Result, err error) bool {
	f := fault.As(err)
	return f != nil && f.Kind == fault.Temporary && f.Reply == nil && !res.Accepted && (c == nil || over(c.Upstream) == OverGraph)
}

// spent is what a try took of the account's limits, before its outcome is written
// into m: the server counts what it took, and what it may have taken.
func (r *Relay) spent(m Message, part []*Recipient, res smtp.Result, err error, now time.Time) Spent {
	s := Spent{At: now, Taken: res.Accepted && !res.Simulated}
	f := fault.As(err)
	if !r.cfg.Limits(m.Account).Bounded() || !res.Accepted && (f == nil || !f.Ambiguous) {
		return s
	}
	s.Recipients = len(part)
	for _, answer := range res.Recipients {
		if answer.Err != nil {
			s.Recipients--
		}
	}
	s.Recipients = max(s.Recipients, 1)
	return s
}

// attempt sends m to a part of its recipients. A kept connection that turns out
// to be dead is replaced once.
func (r *Relay) attempt(ctx context.Context, l lease, part []*Recipient) (*link, smtp.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	c, reused, err := r.lanes.take(ctx, l.m.Account)
	if err != nil {
		return nil, smtp.Result{}, err
	}
	res, err := r.send(ctx, c, l, part)
	if reused && dead(c, res, err) && ctx.Err() == nil {
		if c, err = r.lanes.replace(ctx, c); err != nil {
			return nil, smtp.Result{}, err
		}
		res, err = r.send(ctx, c, l, part)
	}
	return c, res, err
}

// dead reports whether the server had closed a kept connection before the
// message was begun.
func dead(c *link, res smtp.Result, err error) bool {
	if err == nil || c.Usable() || len(res.Recipients) > 0 || res.Reply != nil {
		return false
	}
	f := fault.As(err)
	return f != nil && !f.Ambiguous && (f.Reply == nil || f.Reply.Code == "421")
}

func (r *Relay) send(ctx context.Context, c *link, l lease, part []*Recipient) (smtp.Result, error) {
	m := l.m
	body, err := r.cfg.Store.Body(ctx, m.ID)
	if err != nil {
		return smtp.Result{}, fault.Wrap(fault.Temporary, "open message body", err)
	}
	defer func() { _ = body.Close() }()
	env := mail.Envelope{ID: m.ID, From: m.From, EightBit: m.EightBit, UTF8: m.UTF8, Notice: m.Notice}
	for _, rcpt := range part {
		env.InDoubt = env.InDoubt || rcpt.InDoubt
		env.To, env.Notices = append(env.To, rcpt.Address), append(env.Notices, rcpt.RecipientNotice)
	}
	return c.Send(ctx, env, m.Size, &leasedBody{body, func() error { return l.holds(ctx) }}, l.holds)
}

// pause stops the account for a refusal while sending, before the message is put
// back, so that nobody picks it up in between. (A refused sign-in has paused it
// already.) When that cannot be done, the message backs off by itself.
func (r *Relay) pause(ctx context.Context, m *Message, c *link, why *fault.Error, now time.Time) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTimeout)
	defer cancel()
	if err := r.lanes.pause(ctx, c.lane, why); !pauses(fault.KindOf(err)) {
		m.Attempts++
		m.Kind = fault.Temporary.String()
		m.NotBefore = now.Add(r.plan.wait(fault.Temporary, 0, m.Attempts))
		r.cfg.Log.LogAttrs(ctx, slog.LevelError, "account not paused", slog.String("account", m.Account), slog.Any("error", err))
	}
}

// commit writes the outcome. An upstream that has said 250 must not be asked
// twice, and a lease that nobody works on any more would be kept alive for as long
// as this process lives; so a store in trouble is tried until it works. Once ctx
// has ended, which is a stop, commitTimeout is left.
func (r *Relay) commit(ctx context.Context, m Message, spent Spent) bool {
	late, cancel := outlive(ctx, commitTimeout)
	defer cancel()
	for pause := commitPause; ; pause = min(2*pause, commitPauseMax) {
		err := r.finish(late, m, spent)
		if err == nil {
			return true
		}
		final := errors.Is(err, fault.Conflict) || errors.Is(err, fault.NotFound)
		if !final && pause == commitPause {
			r.complainOf(ctx, slog.LevelWarn, "outcome not recorded yet", m, err)
		}
		if !final && waitFor(late, pause) == nil {
			continue
		}
		r.complainOf(ctx, slog.LevelError, "outcome not recorded", m, err)
		return false
	}
}

func (r *Relay) finish(ctx context.Context, m Message, spent Spent) error {
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	return r.cfg.Store.FinishMessage(ctx, r.cfg.Holder, m, spent)
}

func (r *Relay) complainOf(ctx context.Context, level slog.Level, what string, m Message, err error) {
	r.cfg.Log.LogAttrs(ctx, level, what, slog.String("id", m.ID),
		slog.String("account", m.Account), slog.String("state", string(m.State)), slog.Any("error", err))
}

// outlive returns a context that ends d after ctx does.
func outlive(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	late, cancel := context.WithCancel(context.WithoutCancel(ctx))
	unhook := context.AfterFunc(ctx, func() { time.AfterFunc(d, cancel) })
	return late, func() {
		unhook()
		cancel()
	}
}

func waitFor(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// report counts and tells what a committed try has come to.
func (r *Relay) report(ctx context.Context, m Message, res smtp.Result, err error) {
	switch {
	case m.State == Delivered:
		r.stats.delivered.Add(1)
		r.event(ctx, "delivered", m, slog.String("reply", res.Reply.String()))
	case m.State == Simulated:
		r.stats.simulated.Add(1)
		r.event(ctx, "simulated", m, slog.Any("would_get_it", spared(m)), slog.String("reply", m.Reason))
	case m.State == Failed:
		r.stats.failed.Add(1)
		r.event(ctx, "failed", m, slog.String("kind", m.Kind), slog.String("reply", m.Reason))
	case m.Reason == "":
		r.event(ctx, "partly delivered", m, slog.String("reply", res.Reply.String()))
	case m.Kind == fault.NeedsSignIn.String() || m.Kind == fault.NeedsAdmin.String():
		r.event(ctx, "paused", m, slog.String("kind", m.Kind), slog.String("reply", m.Reason))
	default:
		r.stats.deferred.Add(1)
		f := fault.As(err)
		r.event(ctx, "deferred", m, slog.String("kind", m.Kind), slog.String("reply", m.Reason),
			slog.Bool("ambiguous", f != nil && f.Ambiguous), slog.Time("not_before", m.NotBefore))
	}
}

// event is the one line a change of state gets. Neither subject nor body are in it.
func (r *Relay) event(ctx context.Context, name string, m Message, more ...slog.Attr) {
	attrs := append([]slog.Attr{slog.String("event", name), slog.String("id", m.ID), slog.String("account", m.Account),
		slog.Int("recipients", len(m.Recipients)), slog.Int("attempts", m.Attempts)}, more...)
	r.cfg.Events.LogAttrs(ctx, slog.LevelInfo, "mail", attrs...)
}
