package app

import (
	"context"
	"errors"
	"strings"
	"time"

	"postern/internal/fault"
	"postern/internal/fetch"
	"postern/internal/mail"
	"postern/internal/mailbox"
	"postern/internal/mailbox/imap"
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

// leaveAlone is for how long fetch tasks stay away from a mailbox that refused a login.
const leaveAlone = 15 * time.Minute

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
	return a.Vault.Refused(ctx, account, kind, reason)
}

func (a accounts) Working(ctx context.Context, account string) error {
	return a.Vault.Worked(ctx, account)
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

func (s sources) Open(ctx context.Context, name string, _ fetch.Protocol) (fetch.Source, error) {
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
	pool, err := s.roots(reg.Cloud)
	if err != nil {
		return nil, err
	}
	c, err := s.signIn(ctx, acct, mailbox.Config{Server: reg.Cloud.IMAP, RootCAs: pool})
	if err != nil {
		return nil, err
	}
	return mailboxFolder{c.Folder("INBOX"), acct.Mailbox.String()}, nil
}

// signIn opens a mailbox. A refused token is replaced once: it may have been revoked
// while it was cached. When the server refuses all the same, its tasks leave it alone
// for a while; a refused password pauses the account, because servers count those.
func (s sources) signIn(ctx context.Context, acct vault.Account, cfg mailbox.Config) (*imap.Client, error) {
	var refused *fault.Error
	for _, want := range []vault.Want{vault.Cached, vault.Fresh} {
		cred, err := s.Vault.Credential(ctx, acct.Name, vault.IMAP, want)
		if err != nil {
			return nil, err
		}
		c, err := openIMAP(ctx, cfg, cred)
		if !errors.Is(err, fault.NeedsSignIn) {
			return c, err
		}
		refused = &fault.Error{Kind: fault.NeedsSignIn, Op: "fetch", Err: err, Hint: fault.HintOf(err), RetryAfter: leaveAlone}
		if acct.Method == vault.AppPassword {
			return nil, errors.Join(refused, s.Vault.Refused(ctx, acct.Name, fault.NeedsSignIn, err.Error()))
		}
	}
	return nil, refused
}

// mailboxFolder knows whose folder it is.
type mailboxFolder struct {
	*imap.Folder
	address string
}

func (f mailboxFolder) Mailbox() string { return f.address }

func openIMAP(ctx context.Context, cfg mailbox.Config, cred vault.Credential) (*imap.Client, error) {
	c, err := imap.Dial(ctx, cfg)
	if err != nil {
		return nil, err
	}
	login := sasl.NewXOAUTH2Client(cred.User, cred.Token)
	if !cred.Password.Empty() {
		offered, err := c.Capabilities(ctx)
		if err != nil {
			return nil, errors.Join(err, c.Close())
		}
		for i := range offered {
			offered[i] = strings.TrimPrefix(offered[i], "AUTH=")
		}
		login = sasl.NewPasswordClient(offered, cred.User, cred.Password)
	}
	if err := c.Authenticate(ctx, login); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}
