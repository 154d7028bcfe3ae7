package alert

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"postern/internal/fault"
	"postern/internal/mail"
)

// Config builds a [Desk]. Store and Messenger are required.
type Config struct {
	Store     Store
	Messenger Messenger
	Sources   []Source
	// Happened gives what happened since then to each, some at a time, and again what it
	// gave before: nobody is told twice. nil: nothing happens.
	Happened func(ctx context.Context, since time.Time, each func(context.Context, []Happening) error) error
	// Noticed hears of every piece of news once, on the node that noticed; nil: nobody does.
	Noticed func(ctx context.Context, n News)
	// Ended hears how a try to tell ended: told, retry, failed; nil: nobody does.
	Ended func(ctx context.Context, route, outcome string)

	Log    *slog.Logger // nil discards
	Now    func() time.Time
	Holder string        // this process, unlike any other
	Host   string        // this node, in words
	Link   string        // where a person looks further
	Every  time.Duration // between two looks; 10 s
}

// Bounds of the desk.
const (
	turnFor   = 2 * time.Minute // one node tells at a time
	tellFor   = 90 * time.Second
	keepFor   = 90 * 24 * time.Hour
	forgetAll = time.Hour // between two sweeps of the history
	slack     = 10 * time.Minute
	together  = 1000
)

// turn is whose turn it is to tell.
const turn = "alert.turn"

// looked is the setting with the time until when was looked for happenings.
const looked = "alert.looked"

// Desk notices changes and tells those who must know.
type Desk struct {
	cfg  Config
	wake chan struct{}
	care time.Time // when the history was swept last
}

// New builds a desk; [Desk.Run] opens it.
func New(cfg Config) *Desk {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Every <= 0 {
		cfg.Every = 10 * time.Second
	}
	if cfg.Noticed == nil {
		cfg.Noticed = func(context.Context, News) {}
	}
	if cfg.Ended == nil {
		cfg.Ended = func(context.Context, string, string) {}
	}
	return &Desk{cfg: cfg, wake: make(chan struct{}, 1)}
}

// Wake lets the desk look at once. It never blocks.
func (d *Desk) Wake() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// Run looks and tells until ctx ends. It returns nil.
func (d *Desk) Run(ctx context.Context) error {
	tick := time.NewTicker(d.cfg.Every)
	defer tick.Stop()
	for {
		if err := d.RunOnce(ctx); err != nil && ctx.Err() == nil {
			d.cfg.Log.WarnContext(ctx, "alerts are late", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-d.wake:
		case <-tick.C:
		}
	}
}

// RunOnce looks at everything and tells what must be told. A source that fails keeps
// nobody from hearing of the others.
func (d *Desk) RunOnce(ctx context.Context) error {
	routes, err := d.cfg.Store.Routes(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, s := range d.cfg.Sources {
		errs = append(errs, d.look(ctx, routes, s))
	}
	errs = append(errs, d.happenings(ctx, routes), d.tell(ctx, routes), d.sweep(ctx))
	return errors.Join(errs...)
}

// look compares what a source sees with what was told.
func (d *Desk) look(ctx context.Context, routes []Route, s Source) error {
	seen, err := s.Look(ctx)
	if err != nil {
		return err
	}
	there := map[string]bool{}
	for _, c := range seen {
		there[c.Key] = true
		if c.Keep {
			continue
		}
		if err := d.note(ctx, routes, c); err != nil {
			return err
		}
	}
	if !s.Whole {
		return nil
	}
	keys, err := d.cfg.Store.StateKeys(ctx, s.Prefix)
	for _, key := range keys {
		if err == nil && !there[key] {
			err = d.cfg.Store.ForgetState(ctx, key)
		}
	}
	return err
}

func (d *Desk) note(ctx context.Context, routes []Route, c Condition) error {
	now := d.cfg.Now()
	n := d.signed(c.News, now)
	changed, err := d.cfg.Store.NoteState(ctx, c.Key, c.State, now, d.addressed(routes, n, c.Key+" "+c.State+" "+mail.NewID(now)))
	if changed && n.Event != "" {
		d.cfg.Noticed(ctx, n)
	}
	return err
}

// signed adds to news when it was noticed, and by whom.
func (d *Desk) signed(n News, now time.Time) News {
	if n.At.IsZero() {
		n.At = now
	}
	if n.Link == "" {
		n.Link = d.cfg.Link
	}
	n.Host = d.cfg.Host
	return n
}

// addressed is the news for each route that wants it.
func (d *Desk) addressed(routes []Route, n News, occasion string) []Alert {
	var all []Alert
	now := d.cfg.Now()
	for _, r := range routes {
		if n.Event != "" && r.Wants(n.Event) {
			all = append(all, Alert{ID: mail.NewID(now), Route: r.Name, News: n, State: Waiting, NotBefore: now, Occasion: occasion})
		}
	}
	return all
}

// happenings puts what happened since the last look into the outbox. The time of the
// last look moves on only when all of it is there.
func (d *Desk) happenings(ctx context.Context, routes []Route) error {
	if d.cfg.Happened == nil {
		return nil
	}
	now := d.cfg.Now()
	var since time.Time
	was, err := d.cfg.Store.Setting(ctx, looked)
	switch {
	case errors.Is(err, fault.NotFound): // what was before Postern could tell is not news
		since = now
	case err != nil:
		return err
	default:
		if err := since.UnmarshalText(was); err != nil {
			return fault.Wrap(fault.Unknown, "look for what happened", err)
		}
		since = since.Add(-slack)
	}
	err = d.cfg.Happened(ctx, since, func(ctx context.Context, some []Happening) error {
		var all []Alert
		for _, h := range some {
			all = append(all, d.addressed(routes, d.signed(h.News, now), h.Occasion)...)
		}
		return d.cfg.Store.PutAlerts(ctx, all)
	})
	if err != nil {
		return err
	}
	text, err := now.UTC().MarshalText()
	if err != nil {
		return fault.Wrap(fault.Unknown, "look for what happened", err)
	}
	return d.cfg.Store.PutSetting(ctx, looked, text)
}

func (d *Desk) sweep(ctx context.Context) error {
	now := d.cfg.Now()
	if now.Sub(d.care) < forgetAll {
		return nil
	}
	d.care = now
	return d.cfg.Store.ForgetAlerts(ctx, now.Add(-keepFor))
}
