package vault

import (
	"context"
	"errors"

	"postern/internal/fault"
	"postern/internal/secret"
)

// Disconnect forgets what lets Postern act for a mailbox: the grant somebody signed in
// for, and a password that is kept. The account stays, and its mail waits. Microsoft is
// not told: it has no way to take a refresh token back one by one.
func (v *Vault) Disconnect(ctx context.Context, account string) error {
	acct, err := v.store.Account(ctx, account)
	switch {
	case err != nil:
		return err
	case acct.Method == Application:
		return fault.New(fault.Invalid, "disconnect", "account %q acts by the permission of app %q: there is no sign-in to forget", account, acct.App).
			WithHint("take the app's secret or certificate away at Microsoft, or delete the account")
	case len(acct.Password) > 0:
		if err := v.PutAccount(ctx, acct, &secret.Text{}); err != nil {
			return err
		}
	}
	if err := v.store.CommitGrant(ctx, Grant{Account: account}, ""); err != nil {
		return err
	}
	_, err = v.store.SetState(ctx, account, Transition{To: New, By: Person, At: v.now()})
	return err
}

// DeleteAccount removes an account with its grant. One that is still used, or whose mail
// still waits, stays: fault.Conflict.
func (v *Vault) DeleteAccount(ctx context.Context, name string) error {
	return v.store.DeleteAccount(ctx, name)
}

// DeleteApp removes an app registration that no account uses, and a key pair that was
// kept aside for it.
func (v *Vault) DeleteApp(ctx context.Context, name string) error {
	if err := v.store.DeleteApp(ctx, name); err != nil {
		return err
	}
	kept, err := v.store.Setting(ctx, asideSetting(name))
	if errors.Is(err, fault.NotFound) || err == nil && len(kept) == 0 {
		return nil
	}
	if err == nil {
		err = v.store.SwapSetting(ctx, asideSetting(name), kept, nil)
	}
	return err
}
