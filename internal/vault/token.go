package vault

import (
	"context"
	"errors"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"postern/internal/entra"
	"postern/internal/fault"
)

// The times of a token's life. docs/identity.md draws them.
const (
	claimLife   = 30 * time.Second // how long one refresh may keep others out
	askFor      = 25 * time.Second // shorter, so that a commit still falls into the claim
	lingerFor   = 3 * time.Second  // how long an answer is waited for when the caller has gone
	commitFor   = 5 * time.Second
	justIssued  = 2 * time.Second  // a token this young is not refreshed by force
	quietFor    = 30 * time.Second // after an outage, while a token still lives; doubles
	quietMost   = 10 * time.Minute
	probeEvery  = 15 * time.Minute
	leaveBefore = 10 * time.Minute // what High Volume Email wants a token to have left
	longLife    = 20 * time.Minute
	grantLife   = 90 * 24 * time.Hour // Entra's inactivity window (reference section 2.5)

	latestShare   = 800 // per mille of its life after which a token is due
	earliestShare = 750 // where the keeper may begin, so that accounts come apart
)

// dueAt says when an access token is better replaced: after a share of its life, or
// ten minutes before its end when it lives long enough for that.
func (a Access) dueAt(share int64) time.Time {
	life := a.Expires.Sub(a.Issued)
	at := a.Issued.Add(life / 1000 * time.Duration(share))
	if early := a.Expires.Add(-leaveBefore); life > longLife && early.Before(at) {
		return early
	}
	return at
}

// scatter is a number in [0,n) that an account keeps: what is scattered by it comes
// apart between accounts and is the same on every node.
func scatter(account string, n int64) int64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(account))     // a hash takes everything
	return int64(h.Sum64() % uint64(n)) //nolint:gosec // smaller than n
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

// with returns a copy of the grant that has a in place of its resource's token, and
// the scopes that came with it in place of its resource's scopes. A bare scope is
// written out: Entra leaves the resource away where it is Graph.
func (g Grant) with(a Access, scopes []string) Grant {
	g.Access = slices.DeleteFunc(slices.Clone(g.Access), func(b Access) bool { return b.Resource == a.Resource })
	g.Access = append(g.Access, a)
	if len(scopes) == 0 {
		return g
	}
	g.Scopes = slices.DeleteFunc(slices.Clone(g.Scopes), func(s string) bool {
		return !strings.Contains(s, "://") || strings.HasPrefix(s, a.Resource+"/")
	})
	for _, s := range scopes {
		switch s {
		case "openid", "profile", "email", "offline_access": // of no resource
			continue
		}
		if !strings.Contains(s, "://") {
			s = a.Resource + "/" + s
		}
		g.Scopes = append(g.Scopes, s)
	}
	return g
}

// granted are the scopes granted on a resource.
func (g Grant) granted(resource string) []string {
	return slices.DeleteFunc(slices.Clone(g.Scopes), func(s string) bool { return !strings.HasPrefix(s, resource+"/") })
}

// need is one call's wish: a token for a purpose of an account. The lower half is
// what is read for it, and read again after every wait.
type need struct {
	name    string
	purpose Purpose
	want    Want
	share   int64 // of its life after which a token is due
	patient bool  // the keeper's: it waits an outage out
	asked   time.Time
	tries   int64 // attempts that had failed when it queued up

	account  Account
	app      App
	resource string
	scopes   []string
}

// met says whether a token the grant holds will do. One that was issued after
// the call began always does: callers that failed together share one refresh.
func (n need) met(g Grant, now time.Time) bool {
	a, ok := g.on(n.resource)
	switch {
	case !ok || !now.Before(a.Expires):
		return false
	case n.want == Asked:
		return a.Issued.After(n.asked)
	case n.want == Fresh:
		return !a.Issued.Before(n.asked.Add(-justIssued))
	}
	return now.Before(a.dueAt(n.share)) || !a.Issued.Before(n.asked)
}

// lives says whether the grant's token can still be used, due or not.
func (n need) lives(g Grant, now time.Time) bool {
	a, ok := g.on(n.resource)
	return ok && n.want == Cached && now.Before(a.Expires)
}

// read fills in what the need is about, as it is now.
func (v *Vault) read(ctx context.Context, n need) (need, error) {
	var err error
	if n.account, err = v.store.Account(ctx, n.name); err != nil {
		return n, err
	}
	if !n.account.May(n.purpose) {
		return n, fault.New(fault.NeedsAdmin, "get a token", "account %q is not for %s", n.name, n.purpose).
			WithHint("add %s to its purposes and sign it in again", n.purpose)
	}
	if n.app, err = v.store.App(ctx, n.account.App); err != nil {
		return n, err
	}
	n.resource = resourceFor(n.account, n.app.Cloud, n.purpose)
	n.scopes = scopesOn(n.account, n.app.Cloud, n.resource)
	return n, nil
}

// resourceFor is whom a token is for, by method and purpose.
func resourceFor(acct Account, cloud entra.Cloud, p Purpose) string {
	if acct.Method == Application && p != Graph && p != HVE { // reference section 1.3
		cloud.Outlook = cloud.AppOnly
	}
	return entra.Resource(cloud, string(p))
}

// scopesOn are the scopes of all the account's purposes on one resource; a token
// request may not span two.
func scopesOn(acct Account, cloud entra.Cloud, resource string) []string {
	if acct.Method == Application {
		return []string{resource + "/.default"}
	}
	var same []string
	for _, p := range acct.Purposes {
		if entra.Resource(cloud, string(p)) == resource {
			same = append(same, string(p))
		}
	}
	return entra.Scopes(cloud, same)
}

// grant reads the account's grant, and says so where nothing can come of it: nobody
// has signed in, or the provider's refusal stands.
func (v *Vault) grant(ctx context.Context, n need) (Grant, error) {
	g, err := v.store.Grant(ctx, n.name)
	if err != nil && !errors.Is(err, fault.NotFound) {
		return Grant{}, err
	}
	if err := v.refused(n, g); err != nil {
		return Grant{}, err
	}
	if n.account.Method == Delegated && len(g.Refresh) == 0 {
		return Grant{}, fault.New(fault.NeedsSignIn, "get a token", "nobody has signed in to %q yet", n.name).
			WithHint("%s", n.account.next(NeedsSignIn, ""))
	}
	return g, nil
}

// lane lets one caller of a process at a time see to an account's grant. The rest
// of it belongs to whoever has the turn.
type lane struct {
	turn  chan struct{}
	tries atomic.Int64 // attempts that failed, read by those who queue up
	fails int          // in a row
	quiet time.Time    // until then the provider is left alone …
	why   error        // … because of this
	asked bool         // it was the provider who asked for that
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

// access returns a grant that holds a token which meets the need, refreshed first
// when it must be. The need has been read.
func (v *Vault) access(ctx context.Context, n need) (Grant, error) {
	g, err := v.grant(ctx, n)
	if err != nil || n.met(g, v.now()) {
		return g, err
	}
	l := v.lane(n.name)
	n.tries = l.tries.Load()
	select {
	case l.turn <- struct{}{}:
		defer func() { <-l.turn }()
	case <-ctx.Done():
		return Grant{}, fault.Wrap(fault.Temporary, "wait for a token", ctx.Err())
	}
	return v.renew(ctx, l, n)
}

// renew brings the account a token that meets the need, by its own refresh or by
// that of another process, whichever comes first.
func (v *Vault) renew(ctx context.Context, l *lane, n need) (Grant, error) {
	for {
		n, err := v.read(ctx, n)
		if err != nil {
			return Grant{}, err
		}
		g, err := v.grant(ctx, n)
		if err != nil || n.met(g, v.now()) {
			return g, err
		}
		if held, err := l.wait(n, g, v.now()); held || err != nil {
			return g, err
		}
		next, err := v.refreshOnce(ctx, n)
		switch {
		case err == nil:
			l.fails, l.quiet, l.why = 0, time.Time{}, nil
			return next, nil
		case errors.Is(err, errOthersTurn):
			if err := pause(ctx); err != nil {
				return Grant{}, err
			}
			continue
		}
		return v.outage(ctx, l, n, g, err)
	}
}

// wait says what to answer while the provider is left alone: the token that still
// lives, or why there is none, where the provider asked for patience. Whoever waited here while
// somebody else's attempt failed has that failure too.
func (l *lane) wait(n need, g Grant, now time.Time) (held bool, err error) {
	together := l.tries.Load() != n.tries
	switch {
	case l.why == nil || n.want == Asked, !together && !now.Before(l.quiet):
		return false, nil
	case n.lives(g, now):
		return true, nil
	case n.patient:
		return false, errQuiet
	case together || l.asked:
		return false, l.why
	}
	return false, nil
}

// outage answers a failed refresh. While the old token lives, an outage of the
// token endpoint is nobody's business. A caller that asked for a fresh one had
// the old one refused, so it gets the error.
func (v *Vault) outage(ctx context.Context, l *lane, n need, g Grant, err error) (Grant, error) {
	kind, now := fault.KindOf(err), v.now()
	if (kind != fault.Temporary && kind != fault.Throttled) || errors.Is(err, context.Canceled) {
		return Grant{}, err
	}
	l.failed(err, now)
	if n.lives(g, now) {
		a, _ := g.on(n.resource)
		v.log.WarnContext(ctx, "token not refreshed; the old one still lives", "account", n.name, "until", a.Expires, "error", err)
		return g, nil
	}
	return Grant{}, err
}

// failed notes an outage. The provider is left alone for as long as it asked, or else
// for longer each time.
func (l *lane) failed(err error, now time.Time) {
	l.why, l.asked = err, false
	wait := min(quietFor<<min(l.fails, 8), quietMost)
	wait -= rand.N(wait / 5) //nolint:gosec // jitter
	if e := fault.As(err); e != nil && e.RetryAfter > 0 {
		wait, l.asked = e.RetryAfter, true
	}
	l.quiet = now.Add(wait)
	l.fails++
	l.tries.Add(1)
}

// errOthersTurn says that somebody else is at it, or has just been.
var errOthersTurn = errors.New("another holder has the claim")

// errQuiet says that the provider is left alone for now; why was told when that began.
var errQuiet = errors.New("the provider is left alone for a while")

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
