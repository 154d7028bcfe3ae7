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
func (v *Vault) refreshOnce(ctx context.Context, n need) (Grant, error) {
	began := v.now()
	g, err := v.claim(ctx, n.name)
	if err != nil {
		return Grant{}, err
	}
	if n.met(g, v.now()) { // committed between our look and our claim
		v.dropClaim(ctx, n.name)
		return g, nil
	}
	if err := v.mayAsk(ctx, n, g); err != nil {
		v.dropClaim(ctx, n.name)
		return Grant{}, err
	}
	next, err := v.ask(ctx, n, g)
	if err != nil {
		err = v.failed(ctx, n, g, began, err)
		v.dropClaim(ctx, n.name)
		return Grant{}, err
	}
	// The caller may have gone; the new refresh token must be kept all the same.
	keep, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitFor)
	defer cancel()
	switch err := v.store.CommitGrant(keep, next, v.holder); {
	case errors.Is(err, fault.Conflict): // somebody signed in meanwhile, or we took too long
		return Grant{}, errOthersTurn
	case err != nil:
		v.dropClaim(ctx, n.name)
		return Grant{}, err
	}
	return next, v.enter(keep, n.account, Provider, Active, "", time.Time{})
}

// claim takes the sole right to change the grant.
func (v *Vault) claim(ctx context.Context, account string) (Grant, error) {
	now := v.now()
	g, err := v.store.ClaimRefresh(ctx, account, v.holder, now, now.Add(claimLife))
	if errors.Is(err, fault.Conflict) {
		return Grant{}, errOthersTurn
	}
	return g, err
}

// mayAsk looks once more, under the claim: somebody may have been refused since. Of
// those who come when an administrator's pause may be probed, the first puts the next
// probe off before it asks, and so is the only one. The pause keeps the time it began:
// a sign-in that comes just now is later.
func (v *Vault) mayAsk(ctx context.Context, n need, g Grant) error {
	acct, err := v.store.Account(ctx, n.name)
	if err != nil {
		return err
	}
	n.account = acct
	if err := v.refused(n, g); err != nil || n.want == Asked || acct.State != NeedsAdmin || acct.By != Provider {
		return err
	}
	_, err = v.store.SetState(ctx, n.name, Transition{
		To: NeedsAdmin, By: Provider, Reason: acct.Reason, At: acct.Since, ProbeAt: v.now().Add(probeEvery),
	})
	return err
}

// ask makes the token request and returns the grant as it must be committed.
func (v *Vault) ask(ctx context.Context, n need, g Grant) (Grant, error) {
	reg, err := v.registration(n.app)
	if err != nil {
		return g, v.judge(n, err, false)
	}
	ctx, cancel := outlast(ctx)
	defer cancel()
	t, g, err := v.exchange(ctx, reg, n, g)
	if err != nil {
		return g, err
	}
	if len(t.Scopes) == 0 { // they are those that were asked for (RFC 6749 section 5.1)
		t.Scopes = n.scopes
	}
	next, _, err := v.merge(g, n.resource, t)
	return next, err
}

// outlast returns a context for one request, which a caller who leaves ends only after
// a moment: the answer on its way may hold the replacement of our refresh token.
func outlast(ctx context.Context) (context.Context, context.CancelFunc) {
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), askFor)
	stay := context.AfterFunc(ctx, func() { time.AfterFunc(lingerFor, cancel) })
	return late, func() {
		stay()
		cancel()
	}
}

// exchange turns what the account has into tokens: the app's credential, the refresh
// token, or the mailbox's own password. The password is sent only where there is no
// refresh token, or where that is gone; with it begins a new grant.
func (v *Vault) exchange(ctx context.Context, reg entra.Registration, n need, g Grant) (entra.Tokens, Grant, error) {
	if n.account.Method == Application {
		t, err := v.entra.ClientCredentials(ctx, reg, n.resource)
		return t, g, v.judge(n, err, false)
	}
	if len(g.Refresh) > 0 {
		refresh, err := v.seal.Open(g.Refresh, whatRefresh, n.name)
		if err != nil {
			return entra.Tokens{}, g, err
		}
		t, err := v.entra.Refresh(ctx, reg, refresh, n.scopes)
		err = v.judge(n, err, false)
		if n.account.Method != Password || !errors.Is(err, fault.NeedsSignIn) {
			return t, g, err
		}
	}
	password, err := v.seal.Open(n.account.Password, whatPassword, n.name)
	if err != nil {
		return entra.Tokens{}, g, err
	}
	if password.Empty() {
		return entra.Tokens{}, g, noPassword(n.account)
	}
	t, err := v.entra.Password(ctx, reg, n.account.Mailbox.String(), password, n.scopes)
	if err != nil {
		return t, g, v.judge(n, err, true)
	}
	return t, Grant{
		Account: n.name, SignedInAs: n.account.Mailbox.String(), ObjectID: t.Identity.ObjectID, TenantID: t.Identity.TenantID,
		SignedInAt: v.now(), Generation: g.Generation,
	}, nil
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
	return g.with(a, t.Scopes), a, nil
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
