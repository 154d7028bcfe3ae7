package app

import (
	"context"
	"time"

	"postern/internal/relay"
	"postern/internal/vault"
)

// SayWhy gives messages that nobody has tried the reason: their account is paused, or
// has used up one of its limits.
func (a *App) SayWhy(ctx context.Context, msgs []relay.Message) error {
	accounts, err := a.Vault.Accounts(ctx)
	if err != nil {
		return err
	}
	why := make(map[string]string, len(accounts))
	for _, acct := range accounts {
		switch {
		case acct.State == vault.New && acct.Method == vault.Delegated:
			why[acct.Name] = "nobody has signed in to " + acct.Name + " yet"
		case acct.State != vault.Active:
			why[acct.Name] = acct.Reason
		}
	}
	paces, err := a.Store.Paces(ctx, time.Now())
	if err != nil {
		return err
	}
	until := make(map[string]time.Time, len(paces))
	for _, p := range paces {
		if why[p.Account] == "" {
			why[p.Account], until[p.Account] = "waits its turn: "+p.Reason+" may go from this mailbox", p.Until
		}
	}
	for i := range msgs {
		m := &msgs[i]
		if m.State != relay.Queued {
			continue
		}
		if at := until[m.Account]; at.After(m.NotBefore) {
			m.NotBefore = at
		}
		if m.Reason == "" {
			m.Reason = why[m.Account]
		}
	}
	return nil
}
