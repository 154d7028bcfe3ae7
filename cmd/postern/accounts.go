package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"postern/internal/api"
	"postern/internal/app"
	"postern/internal/fault"
	"postern/internal/vault"
)

// toldCheck is the last check in a column.
func toldCheck(f api.Account) string {
	switch f.Check {
	case "":
		return "-"
	case api.Good:
		return "good, " + when(f.Checked)
	}
	return "failed, " + when(f.Checked)
}

// stateOf is how an account is, in a column.
func stateOf(f api.Account) string {
	if f.Held {
		return f.State + ", paused"
	}
	return f.State
}

func newAccounts(c *cli) *cobra.Command {
	var asJSON bool
	list := &cobra.Command{
		Use:     "list",
		Short:   "List accounts and whether they work",
		Example: "  postern accounts list --json",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.with(cmd.Context(), func(a *app.App) error {
				rows, err := a.AccountFacts(cmd.Context())
				if err != nil {
					return err
				}
				if asJSON {
					return writeJSON(c.stdout, rows)
				}
				return table(c.stdout, "ACCOUNT\tMAILBOX\tFOR\tSTATE\tCHECKED\tREASON", func(line func(...string)) {
					for _, r := range rows {
						line(r.Name, r.Mailbox, strings.Join(r.Purposes, ","), stateOf(r), toldCheck(r), r.Reason)
					}
				})
			})
		},
	}
	list.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return group("accounts", "Accounts: mailboxes Postern signs in to", list, newAccountsShow(c), newAccountsPassword(c), newAccountsSimulate(c), newAccountsPause(c), newAccountsResume(c), newAccountsRename(c), newAccountsDisconnect(c), newAccountsDelete(c))
}

func purposes(a vault.Account) []string {
	out := make([]string, 0, len(a.Purposes))
	for _, p := range a.Purposes {
		out = append(out, string(p))
	}
	return out
}

func newAccountsPassword(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "password ACCOUNT",
		Short: "Enter the password of an account that signs in by password or app password",
		Long: `Asks for the password without showing it, or reads it from standard input, and
keeps it sealed. It is never an argument: those stand in the process list.`,
		Example: "  postern accounts password bulk\n  postern accounts password bulk < /run/secrets/bulk",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, name []string) error {
			return c.with(cmd.Context(), func(a *app.App) error { return enterPassword(cmd.Context(), c, a, name[0]) })
		},
	}
}

func enterPassword(ctx context.Context, c *cli, a *app.App, name string) error {
	acct, err := a.Vault.Account(ctx, name)
	if err != nil {
		return err
	}
	if acct.Method != vault.Password && acct.Method != vault.AppPassword {
		return fault.New(fault.Invalid, "enter the password", "account %q has sign_in: %s and takes none", name, acct.Method).
			WithHint("postern signin %s", name)
	}
	clear, err := c.secretLine(ctx, "password of "+acct.Mailbox.String())
	if err != nil {
		return err
	}
	if err := a.EnterPassword(ctx, who(), name, clear); err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.stdout, "%s: password kept\n", name)
	_, _ = fmt.Fprintf(c.stderr, "next:    postern check %s\n", name)
	return err
}
