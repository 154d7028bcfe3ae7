package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"postern/internal/app"
	"postern/internal/fault"
	"postern/internal/vault"
)

// accountFacts is what `accounts show` knows. It holds no secret.
type accountFacts struct {
	accountRow
	PausedBy    string      `json:"paused_by,omitempty"` // provider, server or person
	ProbeAt     time.Time   `json:"probe_at,omitzero"`
	Shared      bool        `json:"shared"`
	GiveTokens  bool        `json:"give_tokens"`
	PasswordSet time.Time   `json:"password_set,omitzero"`
	Transport   string      `json:"transport,omitempty"`
	Simulate    bool        `json:"simulate,omitempty"` // its mail goes to nobody
	Detour      string      `json:"detour,omitempty"`   // the transport used in its place, until when and why
	SignedInAs  string      `json:"signed_in_as,omitempty"`
	SignedInAt  time.Time   `json:"signed_in_at,omitzero"`
	ObjectID    string      `json:"object_id,omitempty"`
	TenantID    string      `json:"tenant_id,omitempty"`
	Scopes      []string    `json:"scopes,omitempty"`
	Refreshed   time.Time   `json:"refreshed,omitzero"`
	Until       time.Time   `json:"until,omitzero"` // when the sign-in lapses if nobody uses it
	Tokens      []tokenFact `json:"tokens,omitempty"`
	Exchange    []string    `json:"exchange,omitempty"` // what an Exchange administrator runs once
}

type tokenFact struct {
	Resource string    `json:"resource"`
	Issued   time.Time `json:"issued"`
	Expires  time.Time `json:"expires"`
}

func newAccountsShow(c *cli) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show ACCOUNT",
		Short: "Show one account: who signed in, until when, why it is paused, what Exchange must allow",
		Long: `Shows who signed in and for what, how long tokens live, and, when the account is
paused, on whose word and why. Its end are the commands that an administrator runs
once in Exchange Online PowerShell, filled in. Shows no secret.`,
		Example: "  postern accounts show scan\n  postern accounts show scan --json",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, name []string) error {
			return c.with(cmd.Context(), func(a *app.App) error {
				facts, err := accountOf(cmd.Context(), a, name[0])
				if err != nil {
					return err
				}
				if asJSON {
					return writeJSON(c.stdout, facts)
				}
				return showAccount(c.stdout, facts)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func accountOf(ctx context.Context, a *app.App, name string) (accountFacts, error) {
	d, err := a.Vault.Describe(ctx, name)
	if err != nil {
		return accountFacts{}, err
	}
	v := d.Account
	reg, err := a.Vault.App(ctx, v.App)
	if err != nil {
		return accountFacts{}, err
	}
	f := accountFacts{
		accountRow: rowOf(v), ProbeAt: v.ProbeAt, Shared: v.Shared, GiveTokens: v.GiveTokens, PasswordSet: v.PasswordSet,
		SignedInAs: d.SignedInAs, SignedInAt: d.SignedInAt, ObjectID: d.ObjectID, TenantID: d.TenantID, Scopes: d.Scopes,
		Refreshed: d.RotatedAt, Until: d.Until,
	}
	f.Transport, f.Simulate = v.Transport, v.Simulate
	checks, err := a.Store.HealthOf(ctx, name)
	if err != nil {
		return accountFacts{}, err
	}
	for _, h := range checks {
		f.checked(h)
	}
	switch d, err := a.Detour(ctx, name); {
	case err == nil:
		f.Detour = fmt.Sprintf("%s until %s: %s", d.Over, when(d.Until), d.Reason)
	case !errors.Is(err, fault.NotFound):
		return accountFacts{}, err
	}
	if v.State == vault.NeedsSignIn || v.State == vault.NeedsAdmin {
		f.PausedBy = string(v.By)
	}
	for _, t := range d.Access {
		f.Tokens = append(f.Tokens, tokenFact{t.Resource, t.Issued, t.Expires})
	}
	f.Exchange = vault.ExchangeCommands(d, reg)
	return f, nil
}

func showAccount(w io.Writer, f accountFacts) error {
	var b strings.Builder
	row := func(k, v string) {
		if v != "" && v != "-" {
			fmt.Fprintf(&b, "%-14s %s\n", k, v)
		}
	}
	row("account", f.Name)
	row("mailbox", f.Mailbox)
	row("app", f.App)
	row("sign-in", f.SignIn)
	row("for", strings.Join(f.Purposes, ", "))
	row("transport", f.Transport)
	row("now by", f.Detour)
	if f.Simulate {
		row("simulate", "on: its mail goes to nobody")
	}
	row("state", f.State)
	row("since", when(f.Since))
	row("paused by", f.PausedBy)
	row("why", f.Reason)
	row("tried again", when(f.ProbeAt))
	row("checked", f.told())
	if f.Check != goodCheck {
		row("it found", f.Check)
	}
	row("signed in as", f.SignedInAs)
	row("signed in at", when(f.SignedInAt))
	row("object id", f.ObjectID)
	row("tenant", f.TenantID)
	row("refreshed", when(f.Refreshed))
	row("until", when(f.Until))
	row("password set", when(f.PasswordSet))
	row("scopes", strings.Join(f.Scopes, " "))
	for _, t := range f.Tokens {
		row("token", fmt.Sprintf("%s until %s, lives %s", t.Resource, when(t.Expires), t.Expires.Sub(t.Issued).Round(time.Second)))
	}
	if f.GiveTokens {
		row("gives tokens", "yes, by `postern token "+f.Name+"`")
	}
	if len(f.Exchange) > 0 {
		b.WriteString("\nOnce, in Exchange Online PowerShell:\n")
	}
	for _, line := range f.Exchange {
		b.WriteString("  " + line + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}
