package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"postern/internal/check"
	"postern/internal/declare"
	"postern/internal/fault"
	"postern/internal/mail"
	"postern/internal/people"
	"postern/internal/secret"
	"postern/internal/store"
	"postern/internal/vault"
	"postern/internal/web"
)

// The changes of accounts and app registrations that are no document's: each is written
// down with who made it.

// followFor bounds how long a rename waits until finished mail has followed; the rest
// follows within the hour.
const followFor = 5 * time.Second

// HoldAccount pauses an account by hand, or lets it go on.
func (a *App) HoldAccount(ctx context.Context, who, account string, held bool) error {
	what := "resume account"
	if held {
		what = "pause account"
	}
	err := a.changing(ctx, who, what, declare.Key{Kind: "account", Name: account}, "", func() error {
		_, err := a.Vault.HoldAccount(ctx, account, held)
		return err
	})
	if err == nil && !held {
		err = a.Store.RequeueAccount(ctx, account, a.Store.Now()) // it need not wait any longer
		a.Relay.Wake()
	}
	return err
}

// RenameAccount calls an account something else. Devices, tasks, alert routes and mail
// follow; the name it had leads nobody else's way from then on.
func (a *App) RenameAccount(ctx context.Context, who, account, to string) error {
	if err := declare.CheckName(to); err != nil {
		return fault.New(fault.Invalid, "rename account", "%w", err)
	}
	if err := a.Vault.RenameAccount(ctx, account, to); err != nil {
		return err
	}
	err := a.Record(ctx, people.Deed{Who: who, What: "rename account", Subject: to, Before: map[string]string{"name": account}, After: map[string]string{"name": to}})
	a.Relay.Wake()
	soon, cancel := context.WithTimeout(ctx, followFor)
	defer cancel()
	if _, late := a.Store.FollowNames(soon); late != nil {
		a.log.InfoContext(ctx, "finished mail follows the account's new name later", "account", to, "error", late)
	}
	return err
}

// EnterPassword keeps the password of an account that has one of its own.
func (a *App) EnterPassword(ctx context.Context, who, account string, clear secret.Text) error {
	acct, err := a.Vault.Account(ctx, account)
	if err != nil {
		return err
	}
	return a.changing(ctx, who, "enter password", declare.Key{Kind: "account", Name: account}, "", func() error {
		return a.Vault.PutAccount(ctx, acct, &clear)
	})
}

// EnterSecret keeps an app's client secret, which ends at a time; zero where nobody knows.
func (a *App) EnterSecret(ctx context.Context, who, name string, clear secret.Text, until time.Time) error {
	reg, err := a.Vault.App(ctx, name)
	if err != nil {
		return err
	}
	reg.SecretExpires = until // the old one's end says nothing about this one's
	return a.changing(ctx, who, "enter client secret", declare.Key{Kind: "app", Name: name}, "", func() error {
		return a.Vault.PutApp(ctx, reg, vault.Proof{Secret: &clear})
	})
}

// NewLink makes a one-time address for a sign-in or an administrator's consent. What is
// written down of it opens nothing.
func (a *App) NewLink(ctx context.Context, who, account string, consent bool) (string, error) {
	what, link := "make sign-in link", a.Vault.NewLink
	if consent {
		what, link = "make consent link", a.Vault.NewConsentLink
	}
	address, err := link(ctx, account)
	if err != nil {
		return "", err
	}
	return address, a.WriteDown(ctx, who, what, account, "")
}

// OpenLink uses a one-time address up.
func (a *App) OpenLink(ctx context.Context, who, token string) (vault.Link, error) {
	l, err := a.Vault.OpenLink(ctx, token)
	if err != nil {
		return l, err
	}
	what := "use sign-in link"
	if l.Consent {
		what = "use consent link"
	}
	return l, a.WriteDown(ctx, who, what, l.Account, "")
}

// SignedIn writes down that somebody signed an account in.
func (a *App) SignedIn(ctx context.Context, who string, r vault.Result) error {
	if r.Consented {
		return a.Record(ctx, people.Deed{Who: who, What: "agree for the tenant", Subject: r.Account.Name, After: map[string]any{"consented": true}})
	}
	return a.Record(ctx, people.Deed{Who: who, What: "sign in account", Subject: r.Account.Name, After: map[string]any{"signed_in_as": r.SignedInAs, "purposes": r.Purposes}})
}

// Disconnect forgets the sign-in or the password of an account.
func (a *App) Disconnect(ctx context.Context, who, account string) error {
	return a.changing(ctx, who, "disconnect account", declare.Key{Kind: "account", Name: account}, "its sign-in is forgotten", func() error {
		return a.Vault.Disconnect(ctx, account)
	})
}

// DeleteAccount removes an account that nothing uses and whose mail has all gone.
func (a *App) DeleteAccount(ctx context.Context, who, account string) error {
	return a.changing(ctx, who, "delete account", declare.Key{Kind: "account", Name: account}, "", func() error {
		return a.Vault.DeleteAccount(ctx, account)
	})
}

// DeleteApp removes an app registration that no account uses.
func (a *App) DeleteApp(ctx context.Context, who, name string) error {
	return a.changing(ctx, who, "delete app", declare.Key{Kind: "app", Name: name}, "", func() error {
		return a.Vault.DeleteApp(ctx, name)
	})
}

// NewCertificate makes a key pair for an app and keeps it aside.
func (a *App) NewCertificate(ctx context.Context, who, name string, life time.Duration) (pem, thumbprint string, err error) {
	if pem, thumbprint, err = a.Vault.NewCertificate(ctx, name, life); err != nil {
		return "", "", err
	}
	return pem, thumbprint, a.Record(ctx, people.Deed{Who: who, What: "make certificate", Subject: name, Detail: "not in use yet", After: map[string]string{"thumbprint": thumbprint}})
}

// UseCertificate lets an app prove itself by the certificate that was kept aside, once
// Microsoft takes it.
func (a *App) UseCertificate(ctx context.Context, who, name string) error {
	return a.changing(ctx, who, "use certificate", declare.Key{Kind: "app", Name: name}, "", func() error {
		return a.Vault.UseCertificate(ctx, name)
	})
}

// CheckAccount checks a saved account for a purpose, "" being its first.
func (a *App) CheckAccount(ctx context.Context, name, purpose string, testTo mail.Address) (check.Report, error) {
	acct, err := a.Vault.Account(ctx, name)
	if err != nil {
		return check.Report{}, err
	}
	w := CheckWish{Purpose: vault.Purpose(purpose), TestTo: testTo}
	if purpose == "" {
		w.Purpose = acct.Purposes[0] // there is one
	}
	if !acct.May(w.Purpose) {
		return check.Report{}, fault.New(fault.Invalid, "check "+name, "the account is not for %s, but for %v", w.Purpose, acct.Purposes)
	}
	return a.Check(ctx, acct, w, nil)
}

// LastFound is what the last connection checks of an account found, or of all.
func (a *App) LastFound(ctx context.Context, account string) ([]web.Checked, error) {
	look := a.Store.Healths
	if account != "" {
		look = func(ctx context.Context) ([]store.Health, error) { return a.Store.HealthOf(ctx, account) }
	}
	all, err := look(ctx)
	found := make([]web.Checked, 0, len(all))
	for _, h := range all {
		found = append(found, web.Checked{Account: h.Account, Purpose: h.Purpose, At: h.At, Good: h.Good, Headline: h.Headline})
	}
	return found, err
}

// detour is the transport that an account's mail takes for now, in words; "" for its own.
func (a *App) detour(ctx context.Context, account string) (string, error) {
	d, err := a.Detour(ctx, account)
	if errors.Is(err, fault.NotFound) {
		return "", nil
	}
	return fmt.Sprintf("%s until %s: %s", d.Over, d.Until.Local().Format(time.DateTime), d.Reason), err
}
