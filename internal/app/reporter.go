package app

import (
	"context"
	"strings"

	"postern/internal/mail"
	"postern/internal/relay"
	"postern/internal/vault"
)

// reporter chooses who tells the sender of a failed message: an account that works
// and is not the one that failed, rather one of the same domain; the one that failed
// when it works and there is no other; in the end High Volume Email, to its own domain.
func (a *App) reporter(ctx context.Context, failed relay.Message) (account string, from mail.Address, ok bool) {
	all, err := a.Vault.Accounts(ctx)
	if err != nil {
		return "", mail.Address{}, false
	}
	best := unfit
	for _, acct := range all {
		if fits := fitness(acct, failed); fits > best {
			best, account, from, ok = fits, acct.Name, acct.Mailbox, true
		}
	}
	return account, from, ok
}

// How fit an account is for the report on a failed message.
const (
	unfit = iota
	onlyInside
	failedItself
	another
	sameDomain
)

func fitness(acct vault.Account, failed relay.Message) int {
	home := strings.EqualFold(acct.Mailbox.Domain, failed.From.Domain)
	switch {
	case acct.State != vault.Active, acct.Simulate && acct.Name != failed.Account: // it would reach nobody
		return unfit
	case !acct.May(vault.Send) && !acct.May(vault.Graph):
		if acct.May(vault.HVE) && home {
			return onlyInside
		}
		return unfit
	case acct.Name == failed.Account:
		return failedItself
	case home:
		return sameDomain
	}
	return another
}
