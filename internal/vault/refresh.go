package vault

import (
	"context"
	"errors"
	"time"

	"postern/internal/entra"
	"postern/internal/fault"
)

// refreshOnce claims the grant, asks the provider and commits what it gave. Only
// after the commit does anybody see the access token: Entra may have replaced
// the refresh token, and a replacement that is lost is a grant that is lost.
func (v *Vault) refreshOnce(ctx context.Context, n need) (Access, error) {
	g, err := v.claim(ctx, n)
	if err != nil {
		return Access{}, err
	}
	if a, ok := n.met(g, v.now()); ok { // committed between our look and our claim
		v.dropClaim(ctx, n.account.Name)
		return a, nil
	}
	next, a, err := v.ask(ctx, n, g)
	if err != nil {
		return Access{}, v.failed(ctx, n, g, err)
	}
	// The caller may have gone; the new refresh token must be kept all the same.
	keep, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitFor)
	defer cancel()
	switch err := v.store.CommitGrant(keep, next, v.holder); {
	case errors.Is(err, fault.Conflict): // somebody signed in meanwhile, or we took too long
		return Access{}, errOthersTurn
	case err != nil:
		v.dropClaim(ctx, n.account.Name)
		return Access{}, err
	}
	return a, v.enter(keep, n.account, Provider, Active, "", time.Time{})
}

// claim takes the sole right to change the grant.
func (v *Vault) claim(ctx context.Context, n need) (Grant, error) {
	now := v.now()
	g, err := v.store.ClaimRefresh(ctx, n.account.Name, v.holder, now, now.Add(claimLife))
	if errors.Is(err, fault.Conflict) {
		return Grant{}, errOthersTurn
	}
	return g, err
}

// ask makes the token request and returns the grant as it must be committed.
func (v *Vault) ask(ctx context.Context, n need, g Grant) (Grant, Access, error) {
	reg, err := v.registration(n.app)
	if err != nil {
		return g, Access{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	var t entra.Tokens
	if n.account.Method == Application {
		t, err = v.entra.ClientCredentials(ctx, reg, n.resource)
	} else {
		refresh, oerr := v.seal.Open(g.Refresh, whatRefresh, n.account.Name)
		if oerr != nil {
			return g, Access{}, oerr
		}
		t, err = v.entra.Refresh(ctx, reg, refresh, n.scopes)
	}
	if err != nil {
		return g, Access{}, err
	}
	return v.merge(g, n.resource, t)
}

// merge puts what a provider gave into a grant. Without a new refresh token the
// old one stays.
func (v *Vault) merge(g Grant, resource string, t entra.Tokens) (Grant, Access, error) {
	now := v.now()
	token, err := v.seal.Seal(t.Access, whatAccess, g.Account)
	if err != nil {
		return g, Access{}, err
	}
	if !t.Refresh.Empty() {
		if g.Refresh, err = v.seal.Seal(t.Refresh, whatRefresh, g.Account); err != nil {
			return g, Access{}, err
		}
		g.RotatedAt = now
	}
	a := Access{Resource: resource, Token: token, Issued: now, Expires: t.Expires}
	return g.with(a), a, nil
}

// failed gives the claim back and lets the account's state follow the failure,
// unless the grant that failed has been replaced meanwhile.
func (v *Vault) failed(ctx context.Context, n need, g Grant, err error) error {
	v.dropClaim(ctx, n.account.Name)
	var state State
	var probe time.Time
	switch fault.KindOf(err) {
	case fault.NeedsSignIn:
		state = NeedsSignIn
		if e := fault.As(err); e != nil && e.Hint == "" {
			_ = e.WithHint("postern signin %s", n.account.Name)
		}
	case fault.NeedsAdmin:
		state, probe = NeedsAdmin, v.now().Add(probeEvery)
	default:
		return err
	}
	keep, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitFor)
	defer cancel()
	if v.replaced(keep, g) {
		return errOthersTurn
	}
	if serr := v.enter(keep, n.account, Provider, state, err.Error(), probe); serr != nil || !v.replaced(keep, g) {
		return errors.Join(err, serr)
	}
	if serr := v.enter(keep, n.account, Provider, Active, "", time.Time{}); serr != nil { // somebody signed in between the look and the pause
		return serr
	}
	return errOthersTurn
}

// replaced reports whether somebody else has committed a grant in place of g.
func (v *Vault) replaced(ctx context.Context, g Grant) bool {
	now, err := v.store.Grant(ctx, g.Account)
	return err == nil && now.Generation != g.Generation
}

// enter records a state and logs its change, once.
func (v *Vault) enter(ctx context.Context, acct Account, by Party, s State, reason string, probe time.Time) error {
	changed, err := v.store.SetState(ctx, acct.Name, Transition{To: s, By: by, Reason: reason, At: v.now(), ProbeAt: probe})
	if err != nil || !changed {
		return err
	}
	if s == Active {
		v.log.InfoContext(ctx, "account works", "account", acct.Name, "mailbox", acct.Mailbox.String())
	} else {
		v.log.WarnContext(ctx, "account paused", "account", acct.Name, "mailbox", acct.Mailbox.String(), "state", string(s), "reason", reason)
	}
	return nil
}

// dropClaim gives a claim back even when the caller has gone. One that cannot be
// given back runs out by itself.
func (v *Vault) dropClaim(ctx context.Context, account string) {
	keep, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitFor)
	defer cancel()
	if err := v.store.DropClaim(keep, account, v.holder); err != nil {
		v.log.WarnContext(ctx, "refresh claim not given back; it runs out by itself", "account", account, "error", err)
	}
}
