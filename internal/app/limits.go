package app

import (
	"context"
	"maps"
	"slices"
	"sync"

	"postern/internal/entra"
	"postern/internal/mail"
	"postern/internal/vault"
)

// limits remembers what each account's mailbox may send, and which accounts only
// pretend to, for those who must not ask the database.
type limits struct {
	mu        sync.Mutex
	byAccount map[string]mail.Limits
	pretend   map[string]bool
}

// pretends reports whether an account sends to nobody.
func (l *limits) pretends(account string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pretend[account]
}

// of is what an account may send; one that is not known yet has no limits.
func (l *limits) of(account string) mail.Limits {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.byAccount[account]
}

// caps are the messages in flight that accounts may have.
func (l *limits) caps() map[string]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	caps := make(map[string]int, len(l.byAccount))
	for account, limit := range maps.All(l.byAccount) {
		if limit.Connections > 0 {
			caps[account] = limit.Connections
		}
	}
	return caps
}

// read takes the limits anew. Those an account does not name are its server's: what
// Microsoft states for its own, none for others.
func (l *limits) read(ctx context.Context, v *vault.Vault) error {
	accounts, err := v.Accounts(ctx)
	if err != nil {
		return err
	}
	apps, err := v.Apps(ctx)
	if err != nil {
		return err
	}
	microsofts := map[string]bool{}
	for _, a := range apps {
		microsofts[a.Name] = a.Cloud.Name != entra.Custom
	}
	fresh, pretend := make(map[string]mail.Limits, len(accounts)), map[string]bool{}
	for _, a := range accounts {
		pretend[a.Name] = a.Simulate
		switch {
		case a.Limits != nil:
			fresh[a.Name] = *a.Limits
		case microsofts[a.App] && a.May(vault.HVE): // no rates since 2025; recipients as in the preview
			fresh[a.Name] = mail.Limits{RecipientsPerMessage: 50}
		case microsofts[a.App]:
			fresh[a.Name] = mail.MicrosoftLimits()
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.byAccount, l.pretend = fresh, pretend
	return nil
}

// limited tells the relay which accounts are paused, and looks at the limits whenever
// it is asked, which is before every claim. What only pretends needs no sign-in, and so
// is never paused.
type limited struct {
	accounts
	limits   *limits
	pretends func(account string) bool
}

func (l limited) Paused(ctx context.Context) ([]string, error) {
	if err := l.limits.read(ctx, l.Vault); err != nil {
		return nil, err
	}
	paused, err := l.accounts.Paused(ctx)
	return slices.DeleteFunc(paused, l.pretends), err
}
