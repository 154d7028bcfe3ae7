package app

import (
	"context"
	"errors"

	"postern/internal/door"
	"postern/internal/fault"
	"postern/internal/relay"
	"postern/internal/secret"
	"postern/internal/vault"
)

// The second floor's rooms do not know each other; the small types here are the
// stairs between them.

// account is a mailbox with the app registration that acts for it.
func (a *App) account(ctx context.Context, name string) (vault.Account, vault.App, error) {
	acct, err := a.Vault.Account(ctx, name)
	if err != nil {
		return vault.Account{}, vault.App{}, err
	}
	reg, err := a.Vault.App(ctx, acct.App)
	return acct, reg, err
}

// routes tells the relay where an account's mail leaves.
type routes struct{ *App }

func (r routes) Route(ctx context.Context, name string) (relay.Route, error) {
	acct, reg, err := r.account(ctx, name)
	if err != nil {
		return relay.Route{}, err
	}
	p := sendsFor(acct)
	if !acct.May(p) {
		return relay.Route{}, fault.New(fault.NeedsAdmin, "send", "account %q is not for sending", name).
			WithHint("add send to its purposes, apply, and sign it in again")
	}
	route := relay.Route{Mailbox: acct.Mailbox, Server: reg.Cloud.SMTP}
	setting := "custom.smtp"
	if p == vault.HVE {
		route.Server, route.HVE, setting = reg.Cloud.HVE, true, "custom.hve"
	}
	if !route.Server.Set() {
		return relay.Route{}, fault.New(fault.NeedsAdmin, "send", "app %q names no server for the purpose %s", reg.Name, p).
			WithHint("set %s and apply", setting)
	}
	if acct.Method == vault.AppPassword {
		c, err := r.Vault.Credential(ctx, name, p, vault.Cached)
		if err != nil {
			return relay.Route{}, err
		}
		route.Password = c.Password
	}
	route.RootCAs, err = r.roots(reg.Cloud)
	return route, err
}

// sendsFor is the purpose under which an account sends.
func sendsFor(acct vault.Account) vault.Purpose {
	if acct.May(vault.HVE) {
		return vault.HVE
	}
	return vault.Send
}

// tokens gives the relay access tokens for sending.
type tokens struct{ *vault.Vault }

func (t tokens) Token(ctx context.Context, account string, fresh bool) (secret.Text, error) {
	acct, err := t.Account(ctx, account)
	if err != nil {
		return secret.Text{}, err
	}
	want := vault.Cached
	if fresh {
		want = vault.Fresh
	}
	c, err := t.Credential(ctx, account, sendsFor(acct), want)
	return c.Token, err
}

// accounts lets the relay pause an account and hear which ones are.
type accounts struct{ *App }

func (a accounts) Paused(ctx context.Context) ([]string, error) {
	all, err := a.Vault.Accounts(ctx)
	if err != nil {
		return nil, err
	}
	var paused []string
	now := a.Store.Now()
	for _, acct := range all {
		if acct.Held {
			paused = append(paused, acct.Name)
			continue
		}
		switch acct.State {
		case vault.Active:
		case vault.NeedsAdmin:
			if now.Before(acct.ProbeAt) {
				paused = append(paused, acct.Name)
			}
		case vault.New:
			if acct.Method == vault.Delegated {
				paused = append(paused, acct.Name)
			}
		case vault.NeedsSignIn:
			paused = append(paused, acct.Name)
		}
	}
	return paused, nil
}

func (a accounts) Pause(ctx context.Context, account string, kind fault.Kind, reason string) error {
	return a.Vault.Refused(ctx, account, kind, reason)
}

func (a accounts) Working(ctx context.Context, account string) error {
	return a.Vault.Worked(ctx, account)
}

// accountOf tells the doors whose mailbox a device's account is, and whom it reaches.
func (a *App) accountOf(ctx context.Context, account string) (door.Account, error) {
	acct, err := a.Vault.Account(ctx, account)
	if errors.Is(err, fault.NotFound) {
		return door.Account{}, fault.Wrap(fault.NeedsAdmin, "look up the device's account", err)
	}
	return door.Account{Mailbox: acct.Mailbox, InsideOnly: acct.May(vault.HVE), Inside: acct.InternalDomains}, err
}
