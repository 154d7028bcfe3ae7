package vault

import (
	"context"
	"errors"
	"sync"
	"time"

	"postern/internal/entra"
	"postern/internal/fault"
)

// How the keeper goes about.
const (
	passEvery    = time.Minute
	passTogether = 4 // accounts looked after at once
	accountFor   = 40 * time.Second
	idleFor      = 30 * 24 * time.Hour // a third of Entra's inactivity window
)

// Run keeps tokens fresh until ctx ends: those in use ahead of their end, those
// of idle accounts often enough that their grant never lapses. It returns nil.
func (v *Vault) Run(ctx context.Context) error {
	tick := time.NewTicker(passEvery)
	defer tick.Stop()
	for {
		v.pass(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// pass looks after every account once. One sick account is a line in the log,
// and never in the way of the others.
func (v *Vault) pass(ctx context.Context) {
	if err := v.store.ForgetExpired(ctx, v.now()); err != nil && ctx.Err() == nil {
		v.log.WarnContext(ctx, "expired sign-ins not forgotten", "error", err)
	}
	accounts, err := v.store.Accounts(ctx)
	if err != nil {
		if ctx.Err() == nil {
			v.log.WarnContext(ctx, "accounts not read; tokens are refreshed when asked for", "error", err)
		}
		return
	}
	var wg sync.WaitGroup
	free := make(chan struct{}, passTogether)
	for _, acct := range accounts {
		if ctx.Err() != nil || !v.worthKeeping(acct) {
			continue
		}
		free <- struct{}{}
		wg.Go(func() {
			defer func() { <-free }()
			if err := v.look(ctx, acct); err != nil && ctx.Err() == nil {
				v.log.WarnContext(ctx, "token not refreshed", "account", acct.Name, "kind", fault.KindOf(err).String(), "error", err)
			}
		})
	}
	wg.Wait()
}

// worthKeeping says whether asking for a token can do good: the account works, or
// an administrator may have put right what was wrong.
func (v *Vault) worthKeeping(a Account) bool {
	return a.State == Active || (a.State == NeedsAdmin && !v.now().Before(a.ProbeAt))
}

// look refreshes whatever of one account is due.
func (v *Vault) look(ctx context.Context, acct Account) error {
	ctx, cancel := context.WithTimeout(ctx, accountFor)
	defer cancel()
	g, err := v.store.Grant(ctx, acct.Name)
	if errors.Is(err, fault.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	app, err := v.store.App(ctx, acct.App)
	if err != nil {
		return err
	}
	now, seen := v.now(), map[string]bool{}
	idle := acct.Method == Delegated && now.Sub(g.RotatedAt) >= idleFor
	var errs []error
	for _, p := range acct.Purposes {
		resource := resourceFor(acct, app.Cloud, p)
		a, held := g.on(resource)
		if seen[resource] || (!idle && (!held || !a.due(now))) {
			continue
		}
		seen[resource] = true
		_, err := v.Token(ctx, acct.Name, p, idle)
		errs = append(errs, err)
		idle = false // one refresh keeps the whole grant
	}
	return errors.Join(errs...)
}

// resourceFor is whom a token is for, by method and purpose.
func resourceFor(acct Account, cloud entra.Cloud, p Purpose) string {
	if acct.Method == Application && p != Graph {
		cloud.Outlook = cloud.AppOnly
	}
	return entra.Resource(cloud, string(p))
}
