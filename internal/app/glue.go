package app

import (
	"context"
	"errors"
	"time"

	"postern/internal/fault"
	"postern/internal/fetch"
	"postern/internal/mail"
	"postern/internal/mailbox"
	"postern/internal/mailbox/imap"
	"postern/internal/outbound"
	"postern/internal/relay"
	"postern/internal/sasl"
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
	if !acct.May(vault.Send) {
		return relay.Route{}, fault.New(fault.NeedsAdmin, "send", "account %q is not for sending", name).
			WithHint("add send to its purposes, apply, and sign it in again")
	}
	if !reg.Cloud.SMTP.Set() {
		return relay.Route{}, fault.New(fault.NeedsAdmin, "send", "app %q names no SMTP server", reg.Name).WithHint("set custom.smtp and apply")
	}
	pool, err := outbound.Roots(reg.Cloud.CA)
	return relay.Route{Mailbox: acct.Mailbox, Server: reg.Cloud.SMTP, RootCAs: pool}, err
}

// tokens gives the relay access tokens for sending.
type tokens struct{ *vault.Vault }

func (t tokens) Token(ctx context.Context, account string, fresh bool) (secret.Text, error) {
	return t.Vault.Token(ctx, account, vault.Send, fresh)
}

// probeEvery is how often an account that waits for an administrator is tried again.
const probeEvery = 15 * time.Minute

// accounts lets the relay pause an account and hear which ones are.
type accounts struct{ *App }

func (a accounts) Paused(ctx context.Context) ([]string, error) {
	all, err := a.Vault.Accounts(ctx)
	if err != nil {
		return nil, err
	}
	var paused []string
	now := time.Now()
	for _, acct := range all {
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
	state, now := vault.NeedsSignIn, time.Now()
	var probe time.Time
	if kind == fault.NeedsAdmin {
		state, probe = vault.NeedsAdmin, now.Add(probeEvery)
	}
	changed, err := a.Store.SetState(ctx, account, vault.Transition{To: state, By: vault.Server, Reason: reason, At: now, ProbeAt: probe})
	if changed {
		a.log.WarnContext(ctx, "account paused: its mail waits", "account", account, "state", string(state), "reason", reason)
	}
	return err
}

func (a accounts) Working(ctx context.Context, account string) error {
	acct, err := a.Vault.Account(ctx, account)
	if err != nil || acct.State == vault.Active {
		return err
	}
	_, err = a.Store.SetState(ctx, account, vault.Transition{To: vault.Active, By: vault.Server, At: time.Now()})
	return err
}

// mailboxOf tells the door whose mailbox a device's account is.
func (a *App) mailboxOf(ctx context.Context, account string) (mail.Address, error) {
	acct, err := a.Vault.Account(ctx, account)
	if errors.Is(err, fault.NotFound) {
		return mail.Address{}, fault.Wrap(fault.NeedsAdmin, "look up the device's account", err)
	}
	return acct.Mailbox, err
}

// sources signs fetch tasks in to mailboxes.
type sources struct{ *App }

func (s sources) Open(ctx context.Context, name, folder string) (fetch.Source, error) {
	acct, reg, err := s.account(ctx, name)
	if err != nil {
		return nil, err
	}
	if !acct.May(vault.IMAP) {
		return nil, fault.New(fault.NeedsAdmin, "fetch", "account %q is not for IMAP", name).
			WithHint("add imap to its purposes, apply, and sign it in again")
	}
	if !reg.Cloud.IMAP.Set() {
		return nil, fault.New(fault.NeedsAdmin, "fetch", "app %q names no IMAP server", reg.Name).WithHint("set custom.imap and apply")
	}
	pool, err := outbound.Roots(reg.Cloud.CA)
	if err != nil {
		return nil, err
	}
	token, err := s.Vault.Token(ctx, name, vault.IMAP, false)
	if err != nil {
		return nil, err
	}
	c, err := s.openIMAP(ctx, acct, mailbox.Config{Server: reg.Cloud.IMAP, RootCAs: pool}, token)
	if errors.Is(err, fault.NeedsSignIn) { // a cached token may have been revoked: once more with a fresh one
		if token, err = s.Vault.Token(ctx, name, vault.IMAP, true); err != nil {
			return nil, err
		}
		c, err = s.openIMAP(ctx, acct, mailbox.Config{Server: reg.Cloud.IMAP, RootCAs: pool}, token)
	}
	if err != nil {
		return nil, err
	}
	return mailboxFolder{c.Folder(folder), acct.Mailbox.String()}, nil
}

// mailboxFolder knows whose folder it is.
type mailboxFolder struct {
	*imap.Folder
	address string
}

func (f mailboxFolder) Mailbox() string { return f.address }

func (s sources) openIMAP(ctx context.Context, acct vault.Account, cfg mailbox.Config, token secret.Text) (*imap.Client, error) {
	c, err := imap.Dial(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if err := c.Authenticate(ctx, sasl.NewXOAUTH2Client(acct.Mailbox.String(), token)); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}
