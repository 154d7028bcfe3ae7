package vault

import (
	"context"
	"net/url"
	"slices"
	"strings"
	"time"

	"postern/internal/entra"
	"postern/internal/fault"
)

// What is kept goes where it was entered for and nowhere else: whoever may change an app
// or an account could otherwise name a host of their own and be sent its secrets.

// signInHost is who gets client secrets, refresh tokens and the passwords of [Password].
func signInHost(c entra.Cloud) string {
	u, err := url.Parse(c.Authority)
	if err != nil {
		return c.Authority
	}
	return strings.ToLower(u.Hostname())
}

// mailHosts are who gets the passwords of [AppPassword].
func mailHosts(c entra.Cloud) (hosts []string) {
	for _, h := range []string{c.SMTP.Host, c.HVE.Host, c.IMAP.Host, c.POP3.Host} {
		if h != "" {
			hosts = append(hosts, strings.ToLower(h))
		}
	}
	return hosts
}

// sameSignIn reports whether what goes to the one cloud's sign-in may go to the other's.
func sameSignIn(was, is entra.Cloud) bool { return signInHost(was) == signInHost(is) }

// sameServers reports whether what goes to the one cloud's servers may go to the other's.
func sameServers(was, is entra.Cloud) bool {
	known := mailHosts(was)
	return !slices.ContainsFunc(mailHosts(is), func(h string) bool { return !slices.Contains(known, h) })
}

// keepsPassword reports whether an account's password may go where another app sends it.
func (v *Vault) keepsPassword(ctx context.Context, old, a Account) bool {
	if old.App == a.App {
		return true
	}
	was, err := v.store.App(ctx, old.App)
	if err != nil {
		return false
	}
	is, err := v.store.App(ctx, a.App)
	if err != nil {
		return false
	}
	if a.Method == Password {
		return sameSignIn(was.Cloud, is.Cloud)
	}
	return sameServers(was.Cloud, is.Cloud)
}

// checkMove refuses an app whose kept secret would go to another host.
func checkMove(old, a App, given bool) error {
	if given || len(old.Secret) == 0 || sameSignIn(old.Cloud, a.Cloud) {
		return nil
	}
	return fault.New(fault.Invalid, "put app", "secret: it was entered for %s, and %s would get it", signInHost(old.Cloud), signInHost(a.Cloud)).
		WithHint("enter the client secret again, together with the new host")
}

// leaveBehind takes from an app's accounts what must not follow it to other hosts, before
// it is there.
func (v *Vault) leaveBehind(ctx context.Context, old, a App) error {
	signIn, servers := sameSignIn(old.Cloud, a.Cloud), sameServers(old.Cloud, a.Cloud)
	if signIn && servers {
		return nil
	}
	all, err := v.store.Accounts(ctx)
	if err != nil {
		return err
	}
	for _, acct := range all {
		if acct.App != a.Name || acct.Method == AppPassword && servers || acct.Method != AppPassword && signIn {
			continue
		}
		if err := v.forgetProof(ctx, acct); err != nil {
			return err
		}
	}
	return nil
}

// forgetProof takes an account's grant and password away.
func (v *Vault) forgetProof(ctx context.Context, acct Account) error {
	if err := v.store.CommitGrant(ctx, Grant{Account: acct.Name}, ""); err != nil {
		return err
	}
	if len(acct.Password) > 0 {
		acct.Password, acct.PasswordSet = nil, time.Time{}
		if err := v.store.PutAccount(ctx, acct); err != nil {
			return err
		}
	}
	v.log.InfoContext(ctx, "an account must sign in anew: its app has other hosts", "account", acct.Name, "app", acct.App)
	_, err := v.store.SetState(ctx, acct.Name, Transition{To: New, By: Person, At: v.now(), Reason: "its app has other hosts"})
	return err
}
