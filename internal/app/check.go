package app

import (
	"context"

	"postern/internal/check"
	"postern/internal/fault"
	"postern/internal/mail"
	"postern/internal/outbound"
	"postern/internal/secret"
	"postern/internal/vault"
)

// Check runs the staged connection check of one of an account's purposes.
func (a *App) Check(ctx context.Context, acct vault.Account, p vault.Purpose, onStage func(check.Stage)) (check.Report, error) {
	reg, err := a.Vault.App(ctx, acct.App)
	if err != nil {
		return check.Report{}, err
	}
	server, ok := map[vault.Purpose]mail.Server{vault.Send: reg.Cloud.SMTP, vault.IMAP: reg.Cloud.IMAP, vault.POP3: reg.Cloud.POP3}[p]
	if !ok {
		return check.Report{}, fault.New(fault.Invalid, "check "+acct.Name, "there is no check for the purpose %q yet", p)
	}
	pool, err := outbound.Roots(reg.Cloud.CA)
	if err != nil {
		return check.Report{}, err
	}
	target := check.Target{
		Account: acct.Name, Purpose: check.Purpose(p), Mailbox: acct.Mailbox, Server: server, RootCAs: pool,
		Method: check.Method(acct.Method), Shared: acct.Shared, Cloud: reg.Cloud, Tenant: reg.Tenant, ClientID: reg.ClientID,
	}
	deps := check.Deps{
		Catalogue: a.Catalogue, HelloName: a.hostname(),
		Token: func(ctx context.Context, fresh bool) (secret.Text, error) {
			return a.Vault.Token(ctx, acct.Name, p, fresh)
		},
	}
	return check.Run(ctx, target, deps, onStage), nil
}
