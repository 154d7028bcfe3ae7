package app

import (
	"context"
	"time"

	"postern/internal/store"
	"postern/internal/web"
)

// noteEvery is how often what happened is written down, for the overview's charts.
const noteEvery = 10 * time.Second

// keepActivity is how long it is kept: the longest chart, and a day.
const keepActivity = 8 * 24 * time.Hour

// recordActivity writes down what this node does, a few numbers at a time. What cannot
// be written now is written with the next.
func (a *App) recordActivity(ctx context.Context) error {
	tick := time.NewTicker(noteEvery)
	defer tick.Stop()
	written := map[string]int64{}
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopGrace)
			defer cancel()
			a.noteActivity(last, time.Now(), written)
			return nil
		case <-tick.C:
			a.noteActivity(ctx, time.Now(), written)
		}
	}
}

// happened counts what this process did.
func (a *App) happened() map[string]int64 {
	s := a.Relay.Stats()
	return map[string]int64{
		web.Sent: int64(s.Delivered), web.GivenUp: int64(s.Failed), web.Fetched: int64(a.Fetch.HandedOver()), //nolint:gosec // nobody sends 2^63 messages
		web.TurnedAway: int64(a.turned.Load()), //nolint:gosec // as above
	}
}

// noteActivity writes down what is new since written, which it brings up to date.
func (a *App) noteActivity(ctx context.Context, now time.Time, written map[string]int64) {
	fresh, levels, all := map[string]int64{}, map[string]int64{}, a.happened()
	for kind, n := range all {
		if n > written[kind] {
			fresh[kind] = n - written[kind]
		}
	}
	if b := a.backlog.Load(); b != nil && b.messages > 0 {
		levels[web.Waiting] = int64(b.messages)
	}
	if len(fresh)+len(levels) == 0 {
		return
	}
	if err := a.Store.NoteActivity(ctx, now, fresh, levels); err != nil {
		a.log.WarnContext(ctx, "what happened is not written down yet", "error", err)
		return
	}
	for kind, n := range all {
		written[kind] = n
	}
}

// backlog is what waited when somebody last looked.
type backlog struct {
	messages  int
	byAccount map[string]int
}

// noteBacklog keeps what the alerts' look at the queue has counted: at a million
// messages nobody should count them twice.
func (a *App) noteBacklog(all []store.Backlog) {
	b := &backlog{byAccount: make(map[string]int, len(all))}
	for _, one := range all {
		b.messages += one.Messages
		b.byAccount[one.Account] = one.Messages
	}
	a.backlog.Store(b)
}
