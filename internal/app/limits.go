package app

import (
	"context"
	"maps"
	"sync"

	"postern/internal/entra"
	"postern/internal/mail"
	"postern/internal/vault"
)

// limits remembers what each account's mailbox may send, for those who must not ask
// the database.
type limits struct {
	mu        sync.Mutex
	byAccount map[string]mail.Limits
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
	fresh := make(map[string]mail.Limits, len(accounts))
	for _, a := range accounts {
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
	l.byAccount = fresh
	return nil
}

// limited tells the relay which accounts are paused, and looks at the limits whenever
// it is asked, which is before every claim.
type limited struct {
	accounts
	limits *limits
}

func (l limited) Paused(ctx context.Context) ([]string, error) {
	if err := l.limits.read(ctx, l.Vault); err != nil {
		return nil, err
	}
	return l.accounts.Paused(ctx)
}
