package app

import (
	"context"

	"postern/internal/api"
	"postern/internal/door"
	"postern/internal/store"
	"postern/internal/vault"
)

// AccountFacts are all accounts and whether they work, as commands and the API list them.
func (a *App) AccountFacts(ctx context.Context) ([]api.Account, error) {
	all, err := a.Vault.Accounts(ctx)
	if err != nil {
		return nil, err
	}
	checks, err := a.Store.Healths(ctx)
	if err != nil {
		return nil, err
	}
	byAccount := map[string][]store.Health{}
	for _, h := range checks {
		byAccount[h.Account] = append(byAccount[h.Account], h)
	}
	facts := make([]api.Account, len(all))
	for i, v := range all {
		facts[i] = api.FactOf(v)
		noteChecks(&facts[i], byAccount[v.Name])
	}
	return facts, nil
}

// noteChecks adds what the last checks of an account found; of several purposes what is
// wrong with one stays.
func noteChecks(f *api.Account, checks []store.Health) {
	for _, h := range checks {
		switch {
		case !h.Good:
			f.Checked, f.Check = h.At, h.Purpose+": "+h.Headline
		case f.Check == "" || f.Check == api.Good:
			f.Checked, f.Check = h.At, api.Good
		}
	}
}

// AccountFact is all that is known of an account. It holds no secret.
func (a *App) AccountFact(ctx context.Context, name string) (api.Account, error) {
	d, err := a.Vault.Describe(ctx, name)
	if err != nil {
		return api.Account{}, err
	}
	reg, err := a.Vault.App(ctx, d.Account.App)
	if err != nil {
		return api.Account{}, err
	}
	f := api.FactOf(d.Account)
	f.SignedInAs, f.SignedInAt, f.ObjectID, f.TenantID, f.Scopes = d.SignedInAs, d.SignedInAt, d.ObjectID, d.TenantID, d.Scopes
	f.Refreshed, f.Until = d.RotatedAt, d.Until
	for _, t := range d.Access {
		f.Tokens = append(f.Tokens, api.TokenFact{Resource: t.Resource, Issued: t.Issued, Expires: t.Expires})
	}
	f.Exchange = vault.ExchangeCommands(d, reg)
	if s := d.Account.State; s == vault.NeedsSignIn || s == vault.NeedsAdmin {
		f.PausedBy = string(d.Account.By)
	}
	checks, err := a.Store.HealthOf(ctx, name)
	if err != nil {
		return api.Account{}, err
	}
	noteChecks(&f, checks)
	f.Detour, err = a.detour(ctx, name)
	return f, err
}

// Devices lists the programs and machines with a local password.
func (a *App) Devices(ctx context.Context) ([]door.Device, error) { return a.Store.Devices(ctx) }

// Device is one of them.
func (a *App) Device(ctx context.Context, name string) (door.Device, error) {
	return a.Store.Device(ctx, name)
}
