package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"postern/internal/api"
	"postern/internal/app"
)

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
				facts, err := a.AccountFact(cmd.Context(), name[0])
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

func showAccount(w io.Writer, f api.Account) error {
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
	row("state", stateOf(f))
	row("since", when(f.Since))
	row("paused by", f.PausedBy)
	row("why", f.Reason)
	row("tried again", when(f.ProbeAt))
	row("checked", toldCheck(f))
	if f.Check != api.Good {
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
