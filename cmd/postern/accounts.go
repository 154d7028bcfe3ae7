package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"postern/internal/app"
	"postern/internal/fault"
	"postern/internal/store"
	"postern/internal/vault"
)

type accountRow struct {
	Name     string    `json:"name"`
	Mailbox  string    `json:"mailbox"`
	App      string    `json:"app"`
	SignIn   string    `json:"sign_in"`
	Purposes []string  `json:"purposes"`
	State    string    `json:"state"`
	Reason   string    `json:"reason,omitempty"`
	Since    time.Time `json:"since,omitzero"`
	Checked  time.Time `json:"checked,omitzero"` // when its connection was
	Check    string    `json:"check,omitempty"`  // good, or what was wrong
}

func rowOf(v vault.Account) accountRow {
	return accountRow{
		Name: v.Name, Mailbox: v.Mailbox.String(), App: v.App, SignIn: string(v.Method), Purposes: purposes(v),
		State: string(v.State), Reason: v.Reason, Since: v.Since,
	}
}

// checked adds what the last check of one purpose found; what is wrong stays.
func (r *accountRow) checked(h store.Health) {
	switch {
	case !h.Good:
		r.Checked, r.Check = h.At, h.Purpose+": "+h.Headline
	case r.Check == "" || r.Check == goodCheck:
		r.Checked, r.Check = h.At, goodCheck
	}
}

const goodCheck = "good"

// told is the last check in a column.
func (r accountRow) told() string {
	switch r.Check {
	case "":
		return "-"
	case goodCheck:
		return "good, " + when(r.Checked)
	}
	return "failed, " + when(r.Checked)
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
				all, err := a.Vault.Accounts(cmd.Context())
				if err != nil {
					return err
				}
				checks, err := a.Store.Healths(cmd.Context())
				if err != nil {
					return err
				}
				rows := make([]accountRow, 0, len(all))
				for _, v := range all {
					r := rowOf(v)
					for _, h := range checks {
						if h.Account == v.Name {
							r.checked(h)
						}
					}
					rows = append(rows, r)
				}
				if asJSON {
					return writeJSON(c.stdout, rows)
				}
				return table(c.stdout, "ACCOUNT\tMAILBOX\tFOR\tSTATE\tCHECKED\tREASON", func(line func(...string)) {
					for _, r := range rows {
						line(r.Name, r.Mailbox, strings.Join(r.Purposes, ","), r.State, r.told(), r.Reason)
					}
				})
			})
		},
	}
	list.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return group("accounts", "Accounts: mailboxes Postern signs in to", list, newAccountsShow(c), newAccountsPassword(c), newAccountsSimulate(c), newAccountsDisconnect(c), newAccountsDelete(c))
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
	if err := a.Vault.PutAccount(ctx, acct, &clear); err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.stdout, "%s: password kept\n", name)
	_, _ = fmt.Fprintf(c.stderr, "next:    postern check %s\n", name)
	return err
}
