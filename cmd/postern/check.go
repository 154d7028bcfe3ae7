package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"postern/internal/app"
	"postern/internal/check"
	"postern/internal/fault"
	"postern/internal/vault"
)

func newCheck(c *cli) *cobra.Command {
	var asJSON bool
	var purpose string
	cmd := &cobra.Command{
		Use:   "check ACCOUNT",
		Short: "Check a connection stage by stage: \"Connection successful\", or the one switch to flip",
		Long: `Looks up, connects, encrypts, greets, gets a token, signs in and opens the mailbox
(or names sender and recipient), for each of the account's purposes. Changes no
mail. Exit code 0: every purpose works; 3: a stage failed.`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, name []string) error {
			return c.with(cmd.Context(), func(a *app.App) error {
				acct, err := a.Vault.Account(cmd.Context(), name[0])
				if err != nil {
					return err
				}
				want := acct.Purposes
				if purpose != "" {
					if !acct.May(vault.Purpose(purpose)) {
						return fault.New(fault.Invalid, "check "+acct.Name, "--for %q is not among its purposes: %v", purpose, acct.Purposes)
					}
					want = []vault.Purpose{vault.Purpose(purpose)}
				}
				return runChecks(cmd, c, a, acct, want, asJSON)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().StringVar(&purpose, "for", "", "only this purpose: send, imap or pop3")
	return cmd
}

func runChecks(cmd *cobra.Command, c *cli, a *app.App, acct vault.Account, want []vault.Purpose, asJSON bool) error {
	var reports []check.Report
	good := true
	for _, p := range want {
		if p == vault.Graph {
			_, _ = fmt.Fprintln(c.stderr, "note: graph has no check yet; skipped")
			continue
		}
		var live func(check.Stage)
		if !asJSON {
			_, _ = fmt.Fprintf(c.stdout, "%s: %s for %s\n", acct.Name, p, acct.Mailbox)
			live = func(s check.Stage) { _, _ = fmt.Fprint(c.stdout, s.Text()) }
		}
		r, err := a.Check(cmd.Context(), acct, p, live)
		if err != nil {
			return err
		}
		good = good && r.OK
		reports = append(reports, r)
		if !asJSON {
			_, _ = fmt.Fprintf(c.stdout, "%s\n\n", r.Headline)
		}
	}
	if asJSON {
		if err := writeJSON(c.stdout, reports); err != nil {
			return err
		}
	}
	if !good {
		return errCheckFailed
	}
	return nil
}
