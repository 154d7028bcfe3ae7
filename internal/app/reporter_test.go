package app

import (
	"testing"

	"postern/internal/mail"
	"postern/internal/relay"
	"postern/internal/vault"
)

func TestWhoReports(t *testing.T) {
	t.Parallel()
	in := func(domain string) mail.Address { return mail.Address{Local: "office", Domain: domain} }
	failed := relay.Message{Account: "failed", From: in("contoso.com")}
	account := func(name, domain string, may vault.Purpose) vault.Account {
		return vault.Account{Name: name, Mailbox: in(domain), State: vault.Active, Purposes: []vault.Purpose{may}}
	}
	paused, simulated := account("other", "contoso.com", vault.Send), account("other", "contoso.com", vault.Send)
	paused.State, simulated.Simulate = vault.NeedsAdmin, true
	for name, c := range map[string]struct {
		account vault.Account
		want    int
	}{
		"one of the domain":        {account("other", "contoso.com", vault.Graph), sameDomain},
		"one of another domain":    {account("other", "fabrikam.com", vault.Send), another},
		"the one that failed":      {account("failed", "contoso.com", vault.Send), failedItself},
		"one that is paused":       {paused, unfit},
		"one that only pretends":   {simulated, unfit},
		"one that only fetches":    {account("other", "contoso.com", vault.IMAP), unfit},
		"HVE to its own domain":    {account("bulk", "contoso.com", vault.HVE), onlyInside},
		"a domain in capitals":     {account("bulk", "Contoso.COM", vault.HVE), onlyInside},
		"HVE to some other domain": {account("bulk", "fabrikam.com", vault.HVE), unfit},
	} {
		if got := fitness(c.account, failed); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}
