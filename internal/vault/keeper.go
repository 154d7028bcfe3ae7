package vault

import (
	"context"
	"errors"
	"sync"
	"time"

	"postern/internal/fault"
)

// How the keeper goes about.
const (
	passMost     = time.Minute // between two looks at the accounts, while no token is due earlier
	passLeast    = time.Second
	passTogether = 4 // accounts looked after at once
	accountFor   = 40 * time.Second
	idleFor      = 30 * 24 * time.Hour // a third of Entra's inactivity window
	idleScatter  = 24 * time.Hour      // up to this much earlier
)

// Run keeps tokens fresh until ctx ends: those in use ahead of their end, those
// of idle accounts often enough that their grant never lapses. Meanwhile it watches
// what will end. It returns nil.
func (v *Vault) Run(ctx context.Context) error {
	var radar sync.WaitGroup
	radar.Go(func() { v.watch(ctx) })
	defer radar.Wait()
	for {
		wait := time.NewTimer(v.pass(ctx))
		select {
		case <-ctx.Done():
			wait.Stop()
			return nil
		case <-wait.C:
		}
	}
}

// rememberFor is how long an expired sign-in or link is kept, so that whoever comes
// late hears that it took too long, and not that nobody knows of it.
const rememberFor = 24 * time.Hour

// pass looks after every account once and says how long until the next time. One
// sick account is a line in the log, and never in the way of the others.
func (v *Vault) pass(ctx context.Context) time.Duration {
	if err := v.store.ForgetExpired(ctx, v.now().Add(-rememberFor)); err != nil && ctx.Err() == nil {
		v.log.WarnContext(ctx, "expired sign-ins not forgotten", "error", err)
	}
	accounts, err := v.store.Accounts(ctx)
	if err != nil {
		if ctx.Err() == nil {
			v.log.WarnContext(ctx, "accounts not read; tokens are refreshed when asked for", "error", err)
		}
		return passMost
	}
	var wg sync.WaitGroup
	free := make(chan struct{}, passTogether)
	var mu sync.Mutex
	wake := v.now().Add(passMost)
	for _, acct := range accounts {
		if ctx.Err() != nil || acct.State == New || acct.Method == AppPassword {
			continue
		}
		free <- struct{}{}
		wg.Go(func() {
			defer func() { <-free }()
			next, err := v.tend(ctx, acct)
			if err != nil && !errors.Is(err, errQuiet) && ctx.Err() == nil {
				v.log.WarnContext(ctx, "token not refreshed", "account", acct.Name, "kind", fault.KindOf(err).String(), "error", err)
			}
			mu.Lock()
			defer mu.Unlock()
			if !next.IsZero() && next.Before(wake) {
				wake = next
			}
		})
	}
	wg.Wait()
	return min(max(wake.Sub(v.now()), passLeast), passMost)
}

// tend refreshes whatever of one account is due and says what will be next, zero for
// nothing soon.
func (v *Vault) tend(ctx context.Context, acct Account) (next time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, accountFor)
	defer cancel()
	g, err := v.store.Grant(ctx, acct.Name)
	if err != nil && !errors.Is(err, fault.NotFound) {
		return next, err
	}
	if acct.paused() && acct.By == Provider {
		return next, v.probe(ctx, acct, g)
	}
	app, err := v.store.App(ctx, acct.App)
	if err != nil {
		return next, err
	}
	seen := map[string]bool{}
	idle := v.idle(acct, g)
	var errs []error
	for _, p := range acct.Purposes {
		resource, want := resourceFor(acct, app.Cloud, p), Cached
		a, held := g.on(resource)
		at := a.dueAt(keeperShare(acct.Name))
		switch {
		case seen[resource]:
			continue
		case idle: // one refresh keeps the whole grant
			want, idle = Fresh, false
		case !held || acct.paused(): // nobody uses it, or may
			continue
		}
		seen[resource] = true
		if want == Fresh || !v.now().Before(at) {
			got, err := v.ahead(ctx, acct, p, want)
			errs = append(errs, err)
			a, _ = got.on(resource)
			at = a.dueAt(keeperShare(acct.Name))
		}
		if at.After(v.now()) && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	return next, errors.Join(errs...)
}

// probe tries a paused account when its time has come, or when somebody signed in
// just while it was paused: then there may be a token already, and that is enough.
func (v *Vault) probe(ctx context.Context, acct Account, g Grant) error {
	if v.refused(need{account: acct}, g) != nil {
		return nil //nolint:nilerr // told when it began
	}
	if _, err := v.ahead(ctx, acct, acct.Purposes[0], Fresh); err != nil {
		return err
	}
	return v.enter(ctx, acct, Provider, Active, "", time.Time{})
}

// idle says whether the grant has lain unused for so long that it is time to use it.
// One that a mail server's word pauses lapses like any other.
func (v *Vault) idle(acct Account, g Grant) bool {
	early := time.Duration(scatter(acct.Name, int64(idleScatter)))
	return len(g.Refresh) > 0 && !v.now().Before(g.RotatedAt.Add(idleFor-early))
}

// keeperShare is where in a token's life the keeper replaces it, a little before
// those who use it would.
func keeperShare(account string) int64 {
	return earliestShare + scatter(account, latestShare-earliestShare+1)
}

// ahead is the keeper's way to a token: early, and patient while there is an outage.
func (v *Vault) ahead(ctx context.Context, acct Account, p Purpose, w Want) (Grant, error) {
	n, err := v.read(ctx, need{name: acct.Name, purpose: p, want: w, share: keeperShare(acct.Name), patient: true, asked: v.now()})
	if err != nil {
		return Grant{}, err
	}
	return v.access(ctx, n)
}
