package app

import (
	"context"

	"postern/internal/mail"
	"postern/internal/relay"
	"postern/internal/vault"
)

// reporter chooses who tells the sender of a failed message: an account that works
// and is not the one that failed, rather one of the same domain; the one that failed
// when it works and there is no other.
func (a *App) reporter(ctx context.Context, failed relay.Message) (account string, from mail.Address, ok bool) {
	all, err := a.Vault.Accounts(ctx)
	if err != nil {
		return "", mail.Address{}, false
	}
	best := -1
	for _, acct := range all {
		if acct.State != vault.Active || !acct.May(vault.Send) && !acct.May(vault.Graph) {
			continue
		}
		fits := 0
		if acct.Name != failed.Account {
			fits = 1
			if acct.Mailbox.Domain == failed.From.Domain {
				fits = 2
			}
		}
		if fits > best {
			best, account, from, ok = fits, acct.Name, acct.Mailbox, true
		}
	}
	return account, from, ok
}
