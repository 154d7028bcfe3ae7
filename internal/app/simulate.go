package app

import (
	"context"
	"fmt"
	"strings"

	"postern/internal/declare"
	"postern/internal/relay"
	"postern/internal/vault"
)

// Pretending says whose mail is accepted and goes to nobody.
type Pretending struct {
	All      bool
	Accounts []string // beside that, those told to by themselves
}

// Any reports whether anybody's does.
func (p Pretending) Any() bool { return p.All || len(p.Accounts) > 0 }

// String is whose; "" when everybody's mail goes.
func (p Pretending) String() string {
	switch {
	case p.All:
		return "every account (simulate is on in the configuration)"
	case len(p.Accounts) == 1:
		return "account " + p.Accounts[0]
	case len(p.Accounts) > 1:
		return "accounts " + strings.Join(p.Accounts, ", ")
	}
	return ""
}

// Pretending looks it up.
func (a *App) Pretending(ctx context.Context) (Pretending, error) {
	p := Pretending{All: bool(a.Config.Simulate)}
	all, err := a.Vault.Accounts(ctx)
	for _, acct := range all {
		if acct.Simulate {
			p.Accounts = append(p.Accounts, acct.Name)
		}
	}
	return p, err
}

func (a *App) pretending(ctx context.Context) (string, error) {
	p, err := a.Pretending(ctx)
	return p.String(), err
}

// Simulate lets an account pretend, or send for real again.
func (a *App) Simulate(ctx context.Context, who, account string, on bool) error {
	acct, err := a.Vault.Account(ctx, account)
	if err != nil {
		return err
	}
	acct.Simulate = on
	return a.changing(ctx, who, "simulate", declare.Key{Kind: "account", Name: account}, fmt.Sprintf("on: %t", on), func() error {
		return a.Vault.PutAccount(ctx, acct, nil)
	})
}

// would says over what an account's mail would have gone.
func (a *App) would(ctx context.Context, name string) string {
	acct, reg, err := a.account(ctx, name)
	if err != nil {
		return "nowhere: " + err.Error()
	}
	graph := acct.May(vault.Graph) && (acct.Transport == string(relay.OverGraph) || !acct.May(vault.Send) && !acct.May(vault.HVE))
	if graph {
		return fmt.Sprintf("over Graph at %s as %s", reg.Cloud.Graph, acct.Mailbox)
	}
	at := serverFor(reg.Cloud, sendsFor(acct))
	if !acct.May(sendsFor(acct)) || !at.Set() {
		return fmt.Sprintf("nowhere: account %s is not for sending", name)
	}
	return fmt.Sprintf("over SMTP at %s as %s", at.Address(), acct.Mailbox)
}
