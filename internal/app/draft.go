package app

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"postern/internal/check"
	"postern/internal/declare"
	"postern/internal/door"
	"postern/internal/fault"
	"postern/internal/vault"
)

// Draft is apps and accounts as somebody would have them, checked before they are saved.
type Draft struct {
	app      *App
	vault    *vault.Vault
	accounts []string
}

// Draft reads the apps and accounts of a document and saves nothing of them. What the
// document does not say of a saved app or account (a secret, a sign-in) is as saved.
func (a *App) Draft(ctx context.Context, doc declare.Document, getenv func(string) (string, bool)) (*Draft, error) {
	v := vault.Open(vault.Config{
		Store: &drafts{Store: a.Store}, Sealer: a.seals, Entra: a.entra, PublicURL: a.Config.PublicURL.String(),
		Holder: a.holder + "/draft", Now: a.Store.Now, Log: a.log.With("room", "vault"), Catalogue: a.Catalogue,
	})
	applier := declare.Applier{Vault: v, Getenv: getenv, Passwords: declare.Passwords{New: door.NewPassword, Hash: door.HashPassword}}
	if _, err := applier.Apply(ctx, declare.Document{Apps: doc.Apps, Accounts: doc.Accounts}); err != nil {
		return nil, err
	}
	d := &Draft{app: a, vault: v}
	for _, acct := range doc.Accounts {
		d.accounts = append(d.accounts, acct.Name)
	}
	return d, nil
}

// Accounts are those the document declares.
func (d *Draft) Accounts() []string { return slices.Clone(d.accounts) }

// Account is one of them, or a saved one.
func (d *Draft) Account(ctx context.Context, name string) (vault.Account, error) {
	return d.vault.Account(ctx, name)
}

// Check checks one of them. Whatever comes of it, no saved account is paused or lifted.
func (d *Draft) Check(ctx context.Context, acct vault.Account, w CheckWish, onStage func(check.Stage)) (check.Report, error) {
	return d.app.checkBy(ctx, d.vault, acct, w, onStage)
}

// CheckUnsaved checks one account of a document that is not saved; its secrets are given
// as values, or are those that are saved.
func (a *App) CheckUnsaved(ctx context.Context, doc declare.Document, name string, w CheckWish, onStage func(check.Stage)) (check.Report, error) {
	d, err := a.Draft(ctx, doc, func(string) (string, bool) { return "", false })
	if err != nil {
		return check.Report{}, err
	}
	acct, err := d.Account(ctx, name)
	if err != nil {
		return check.Report{}, err
	}
	return d.Check(ctx, acct, w, onStage)
}

// drafts keeps in memory what would be saved, and reads the rest from the database. One
// thing is written there all the same: the refresh token that replaces a saved one, for
// the provider has replaced it too.
type drafts struct {
	vault.Store

	mu       sync.Mutex
	apps     map[string]vault.App
	accounts map[string]vault.Account
	grants   map[string]vault.Grant
}

// put sets one entry of a map that may not be there yet.
func put[V any](m *map[string]V, name string, v V) {
	if *m == nil {
		*m = map[string]V{}
	}
	(*m)[name] = v
}

func (d *drafts) App(ctx context.Context, name string) (vault.App, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if a, ok := d.apps[name]; ok {
		return a, nil
	}
	return d.Store.App(ctx, name)
}

func (d *drafts) PutApp(_ context.Context, a vault.App) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	put(&d.apps, a.Name, a)
	return nil
}

func (d *drafts) Account(ctx context.Context, name string) (vault.Account, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.account(ctx, name)
}

func (d *drafts) account(ctx context.Context, name string) (vault.Account, error) {
	if a, ok := d.accounts[name]; ok {
		return a, nil
	}
	return d.Store.Account(ctx, name)
}

// Accounts are the drafted ones, and those that are saved.
func (d *drafts) Accounts(ctx context.Context) ([]vault.Account, error) {
	all, err := d.Store.Accounts(ctx)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	all = slices.DeleteFunc(all, func(a vault.Account) bool { _, drafted := d.accounts[a.Name]; return drafted })
	return slices.AppendSeq(all, maps.Values(d.accounts)), nil
}

func (d *drafts) PutAccount(ctx context.Context, a vault.Account) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	old, err := d.account(ctx, a.Name)
	switch {
	case err == nil:
		a.Held, a.State, a.By, a.Reason, a.Since, a.ProbeAt = old.Held, old.State, old.By, old.Reason, old.Since, old.ProbeAt
	case !errors.Is(err, fault.NotFound):
		return err
	}
	put(&d.accounts, a.Name, a)
	return nil
}

func (d *drafts) SetState(_ context.Context, name string, t vault.Transition) (bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	a, ok := d.accounts[name]
	if !ok || a.State == t.To {
		return false, nil
	}
	a.State, a.By, a.Reason, a.Since, a.ProbeAt = t.To, t.By, t.Reason, t.At, t.ProbeAt
	put(&d.accounts, name, a)
	return true, nil
}

// saved reports whether an account's grant is the database's: that of a person who signed
// in, as long as the draft is the same mailbox, app and method.
func (d *drafts) saved(name string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, replaced := d.grants[name]
	a, drafted := d.accounts[name]
	return !replaced && (!drafted || a.Method == vault.Delegated)
}

func (d *drafts) Grant(ctx context.Context, name string) (vault.Grant, error) {
	if d.saved(name) {
		return d.Store.Grant(ctx, name)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if g, ok := d.grants[name]; ok {
		return g, nil
	}
	return vault.Grant{}, fault.New(fault.NotFound, "read the grant", "account %q is not saved", name)
}

func (d *drafts) ClaimRefresh(ctx context.Context, name, holder string, now, until time.Time) (vault.Grant, error) {
	if d.saved(name) {
		return d.Store.ClaimRefresh(ctx, name, holder, now, until)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	g := d.grants[name]
	g.Account = name
	return g, nil
}

func (d *drafts) CommitGrant(ctx context.Context, g vault.Grant, holder string) error {
	if holder != "" && d.saved(g.Account) {
		return d.Store.CommitGrant(ctx, g, holder)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	g.Generation++
	put(&d.grants, g.Account, g)
	return nil
}

func (d *drafts) DropClaim(ctx context.Context, name, holder string) error {
	if d.saved(name) {
		return d.Store.DropClaim(ctx, name, holder)
	}
	return nil
}
