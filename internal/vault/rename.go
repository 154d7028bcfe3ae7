package vault

import (
	"context"
	"errors"
	"slices"

	"postern/internal/fault"
)

// HoldAccount pauses an account by hand, or lets it go on, and reports whether that was a
// change. A paused one gives no credentials but to a check; its sign-in is kept fresh.
func (v *Vault) HoldAccount(ctx context.Context, name string, held bool) (changed bool, err error) {
	return v.store.HoldAccount(ctx, name, held)
}

// RenameAccount calls an account something else, and all that refers to it. Its secrets are
// sealed anew: a seal says whose it is. No refresh may be under way meanwhile, or a new
// refresh token would be lost: fault.Conflict.
func (v *Vault) RenameAccount(ctx context.Context, name, to string) error {
	now, holder := v.now(), v.holder+"/rename"
	g, err := v.store.ClaimRefresh(ctx, name, holder, now, now.Add(claimLife))
	if errors.Is(err, fault.Conflict) {
		return fault.New(fault.Conflict, "rename account", "%w", err).WithHint("try again in a minute")
	}
	if err != nil {
		return err
	}
	next, err := v.store.Account(ctx, name)
	if err == nil {
		next.Name, g.Account, g.Access = to, to, slices.Clone(g.Access)
		err = v.resealFor(name, &next, &g)
	}
	if err == nil {
		err = v.store.RenameAccount(ctx, name, next, g, holder)
	}
	if err != nil {
		return errors.Join(err, v.store.DropClaim(context.WithoutCancel(ctx), name, holder))
	}
	return nil
}

// resealFor binds what is sealed for an account of a name to the one it has now.
func (v *Vault) resealFor(name string, a *Account, g *Grant) error {
	seals := []place{{&a.Password, whatPassword, a.Name}, {&g.Refresh, whatRefresh, a.Name}}
	for i := range g.Access {
		seals = append(seals, place{&g.Access[i].Token, whatAccess, a.Name})
	}
	for _, p := range seals {
		if len(*p.sealed) == 0 {
			continue
		}
		clear, err := v.seal.Open(*p.sealed, p.what, name)
		if err == nil {
			*p.sealed, err = v.seal.Seal(clear, p.what, p.whose)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
