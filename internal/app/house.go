package app

import (
	"context"
	"errors"
	"time"
)

// sweepEvery is how often what has become old is looked for.
const sweepEvery = time.Hour

// keepHouse forgets what has become old, for as long as this node lives. Several nodes
// may do so at once.
func (a *App) keepHouse(ctx context.Context) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		if err := a.sweep(ctx, a.Store.Now()); err != nil && ctx.Err() == nil {
			a.log.WarnContext(ctx, "what is old was not forgotten", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// sweep forgets what is older at now than the configuration keeps.
func (a *App) sweep(ctx context.Context, now time.Time) error {
	errs := []error{a.Store.ForgetActivity(ctx, now.Add(-keepActivity))}
	if keep := a.Config.KeepMessages.Duration; keep > 0 {
		n, err := a.Store.PurgeMessages(ctx, now.Add(-keep))
		errs = append(errs, err)
		if n > 0 {
			a.log.InfoContext(ctx, "forgot old messages", "messages", n)
		}
	}
	if keep := a.Config.KeepAudit.Duration; keep > 0 {
		errs = append(errs, a.Store.PurgeAudit(ctx, now.Add(-keep)))
	}
	_, err := a.Store.FollowNames(ctx)
	errs = append(errs, err, a.People.Sweep(ctx))
	return errors.Join(errs...)
}
