package vault

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"postern/internal/entra"
	"postern/internal/fault"
	"postern/internal/secret"
)

// The times of a token's life. docs/way-of-a-message.md draws them.
const (
	claimLife   = 30 * time.Second // how long one refresh may keep others out
	askFor      = 25 * time.Second // shorter, so that a commit still falls into the claim
	commitFor   = 5 * time.Second
	justIssued  = 2 * time.Second  // a token this young is not refreshed by force
	quietFor    = 30 * time.Second // after an outage, while a token still lives
	probeEvery  = 15 * time.Minute
	leaveBefore = 10 * time.Minute // what High Volume Email wants a token to have left
	longLife    = 20 * time.Minute
	grantLife   = 90 * 24 * time.Hour // Entra's inactivity window (reference section 2.5)
)

// due says when an access token is better replaced: at 80 % of its life, or ten
// minutes before its end when it lives long enough for that.
func (a Access) due(now time.Time) bool {
	life := a.Expires.Sub(a.Issued)
	at := a.Issued.Add(life / 10 * 8)
	if early := a.Expires.Add(-leaveBefore); life > longLife && early.Before(at) {
		at = early
	}
	return !now.Before(at)
}

// on returns the grant's token for a resource.
func (g Grant) on(resource string) (Access, bool) {
	for _, a := range g.Access {
		if a.Resource == resource {
			return a, true
		}
	}
	return Access{}, false
}

// with returns a copy of the grant that has a in place of its resource's token.
func (g Grant) with(a Access) Grant {
	kept := slices.DeleteFunc(slices.Clone(g.Access), func(b Access) bool { return b.Resource == a.Resource })
	g.Access = append(kept, a)
	return g
}

// need is one call's wish: a token for a resource, for an account.
type need struct {
	account  Account
	app      App
	resource string
	scopes   []string
	fresh    bool
	asked    time.Time
}

// met says whether a token the grant holds will do. One that was issued after
// the call began always does: callers that failed together share one refresh.
func (n need) met(g Grant, now time.Time) (Access, bool) {
	a, ok := g.on(n.resource)
	if !ok || !now.Before(a.Expires) {
		return Access{}, false
	}
	if n.fresh {
		return a, !a.Issued.Before(n.asked.Add(-justIssued))
	}
	return a, !a.due(now) || !a.Issued.Before(n.asked)
}

// lane lets one caller of a process at a time see to an account's grant. The rest
// of it belongs to whoever has the turn.
type lane struct {
	turn  chan struct{}
	quiet time.Time // until then the provider is left alone …
	why   error     // … because of this
	asked bool      // it was the provider who asked for that
}

func (v *Vault) lane(account string) *lane {
	v.mu.Lock()
	defer v.mu.Unlock()
	l, ok := v.lanes[account]
	if !ok {
		l = &lane{turn: make(chan struct{}, 1)}
		v.lanes[account] = l
	}
	return l
}

// Token returns an access token for one of the account's purposes, refreshing it
// first when it is due. fresh asks for a new one because a server refused the
// last. The errors are of kind NeedsSignIn and NeedsAdmin, which also pause the
// account, and Temporary and Throttled, which change nothing.
func (v *Vault) Token(ctx context.Context, account string, p Purpose, fresh bool) (secret.Text, error) {
	n, err := v.need(ctx, account, p)
	if err != nil {
		return secret.Text{}, err
	}
	n.fresh = fresh
	g, err := v.grant(ctx, n)
	if err != nil {
		return secret.Text{}, err
	}
	if a, ok := n.met(g, v.now()); ok {
		return v.seal.Open(a.Token, whatAccess, account)
	}
	l := v.lane(account)
	select {
	case l.turn <- struct{}{}:
		defer func() { <-l.turn }()
	case <-ctx.Done():
		return secret.Text{}, fault.Wrap(fault.Temporary, "wait for a token", ctx.Err())
	}
	a, err := v.renew(ctx, l, n)
	if err != nil {
		return secret.Text{}, err
	}
	return v.seal.Open(a.Token, whatAccess, account)
}

func (v *Vault) need(ctx context.Context, account string, p Purpose) (need, error) {
	acct, err := v.store.Account(ctx, account)
	if err != nil {
		return need{}, err
	}
	if !acct.May(p) {
		return need{}, fault.New(fault.NeedsAdmin, "get a token", "account %q is not for %s", account, p).
			WithHint("add %s to its purposes and sign it in again", p)
	}
	app, err := v.store.App(ctx, acct.App)
	if err != nil {
		return need{}, err
	}
	resource := resourceFor(acct, app.Cloud, p)
	return need{account: acct, app: app, asked: v.now(), resource: resource, scopes: scopesOn(acct, app.Cloud, resource)}, nil
}

// scopesOn are the scopes of all the account's purposes on one resource; a token
// request may not span two.
func scopesOn(acct Account, cloud entra.Cloud, resource string) []string {
	var same []string
	for _, p := range acct.Purposes {
		if entra.Resource(cloud, string(p)) == resource {
			same = append(same, string(p))
		}
	}
	return entra.Scopes(cloud, same)
}

// grant reads the account's grant. Only an account of an app's own permission
// may have none.
func (v *Vault) grant(ctx context.Context, n need) (Grant, error) {
	g, err := v.store.Grant(ctx, n.account.Name)
	if err != nil && !errors.Is(err, fault.NotFound) {
		return Grant{}, err
	}
	if n.account.Method == Delegated && len(g.Refresh) == 0 {
		return Grant{}, fault.New(fault.NeedsSignIn, "get a token", "nobody has signed in to %q yet", n.account.Name).
			WithHint("postern signin %s", n.account.Name)
	}
	return g, nil
}

// renew brings the account a token that meets the need, by its own refresh or by
// that of another process, whichever comes first.
func (v *Vault) renew(ctx context.Context, l *lane, n need) (Access, error) {
	for {
		g, err := v.grant(ctx, n)
		if err != nil {
			return Access{}, err
		}
		if a, ok := n.met(g, v.now()); ok {
			return a, nil
		}
		if a, held, err := l.wait(n, g, v.now()); held || err != nil {
			return a, err
		}
		a, err := v.refreshOnce(ctx, n)
		switch {
		case err == nil:
			l.quiet, l.why = time.Time{}, nil
			return a, nil
		case errors.Is(err, errOthersTurn):
			if err := pause(ctx); err != nil {
				return Access{}, err
			}
			continue
		}
		return v.outage(ctx, l, n, g, err)
	}
}

// wait says what to answer while the provider is left alone: the token that still
// lives, or the reason when it was the provider who asked for patience.
func (l *lane) wait(n need, g Grant, now time.Time) (a Access, held bool, err error) {
	if !now.Before(l.quiet) {
		return Access{}, false, nil
	}
	if a, ok := g.on(n.resource); ok && !n.fresh && now.Before(a.Expires) {
		return a, true, nil
	}
	if l.asked {
		return Access{}, false, l.why
	}
	return Access{}, false, nil
}

// outage answers a failed refresh. While the old token lives, an outage of the
// token endpoint is nobody's business. A caller that asked for a fresh one had
// the old one refused, so it gets the error.
func (v *Vault) outage(ctx context.Context, l *lane, n need, g Grant, err error) (Access, error) {
	kind, now := fault.KindOf(err), v.now()
	if (kind != fault.Temporary && kind != fault.Throttled) || errors.Is(err, context.Canceled) {
		return Access{}, err
	}
	l.why, l.asked, l.quiet = err, false, now.Add(quietFor)
	if e := fault.As(err); e != nil && e.RetryAfter > 0 {
		l.asked, l.quiet = true, now.Add(e.RetryAfter)
	}
	if a, ok := g.on(n.resource); ok && !n.fresh && now.Before(a.Expires) {
		v.log.WarnContext(ctx, "token not refreshed; the old one still lives", "account", n.account.Name, "until", a.Expires, "error", err)
		return a, nil
	}
	return Access{}, err
}

// errOthersTurn says that somebody else is at it, or has just been.
var errOthersTurn = errors.New("another holder has the claim")

// pause waits a moment before looking again, never in step with other processes.
func pause(ctx context.Context) error {
	t := time.NewTimer(50*time.Millisecond + rand.N(50*time.Millisecond)) //nolint:gosec // jitter
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return fault.Wrap(fault.Temporary, "wait for a token", ctx.Err())
	}
}
