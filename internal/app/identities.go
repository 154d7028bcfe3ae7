package app

import (
	"context"
	"time"

	"postern/internal/store"
	"postern/internal/web"
)

// The changes of accounts and app registrations that are no document's: each is written
// down with who made it.

// Disconnect forgets the sign-in or the password of an account.
func (a *App) Disconnect(ctx context.Context, who, account string) error {
	if err := a.Vault.Disconnect(ctx, account); err != nil {
		return err
	}
	return a.WriteDown(ctx, who, "disconnect account", account, "its sign-in is forgotten")
}

// DeleteAccount removes an account that nothing uses and whose mail has all gone.
func (a *App) DeleteAccount(ctx context.Context, who, account string) error {
	if err := a.Vault.DeleteAccount(ctx, account); err != nil {
		return err
	}
	return a.WriteDown(ctx, who, "delete account", account, "")
}

// DeleteApp removes an app registration that no account uses.
func (a *App) DeleteApp(ctx context.Context, who, name string) error {
	if err := a.Vault.DeleteApp(ctx, name); err != nil {
		return err
	}
	return a.WriteDown(ctx, who, "delete app", name, "")
}

// NewCertificate makes a key pair for an app and keeps it aside.
func (a *App) NewCertificate(ctx context.Context, who, name string, life time.Duration) (pem, thumbprint string, err error) {
	if pem, thumbprint, err = a.Vault.NewCertificate(ctx, name, life); err != nil {
		return "", "", err
	}
	return pem, thumbprint, a.WriteDown(ctx, who, "make certificate", name, "thumbprint "+thumbprint+", not in use yet")
}

// UseCertificate lets an app prove itself by the certificate that was kept aside, once
// Microsoft takes it.
func (a *App) UseCertificate(ctx context.Context, who, name string) error {
	if err := a.Vault.UseCertificate(ctx, name); err != nil {
		return err
	}
	return a.WriteDown(ctx, who, "use certificate", name, "")
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
