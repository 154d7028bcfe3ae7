package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"postern/internal/app"
	"postern/internal/check"
	"postern/internal/fault"
	"postern/internal/vault"
)

func newCheck(c *cli) *cobra.Command {
	var asJSON, network bool
	var purpose, cloud string
	cmd := &cobra.Command{
		Use:   "check ACCOUNT | check --network [APP]",
		Short: "Check a connection stage by stage: \"Connection successful\", or the one switch to flip",
		Long: `Looks up, connects, encrypts, greets, compares clocks, gets a token or password,
signs in and opens the mailbox (or names the sender), for each of the account's
purposes. Changes no mail and sends none; Graph is tried as far as its token allows.

With --network it tries, without any account, the hosts that firewall and proxy must
let through: of the app's cloud, of the clouds of all apps, or of --cloud.

Exit code 0: everything that is needed works; 3: something does not.`,
		Example: "  postern check scan\n  postern check scan --for send --json\n  postern check --network\n  postern check --network --cloud usgov",
		Args: func(cmd *cobra.Command, given []string) error {
			return args(checkArgs(network, purpose, cloud))(cmd, given)
		},
		RunE: func(cmd *cobra.Command, name []string) error {
			if network {
				return checkNetwork(cmd.Context(), c, cloud, name, asJSON)
			}
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
	cmd.Flags().StringVar(&purpose, "for", "", "only this purpose: send, imap, pop3, graph or hve")
	cmd.Flags().BoolVar(&network, "network", false, "try the hosts that firewall and proxy must let through")
	cmd.Flags().StringVar(&cloud, "cloud", "", "with --network: global, usgov, dod or china")
	return cmd
}

// checkArgs says which arguments go together.
func checkArgs(network bool, purpose, cloud string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, given []string) error {
		switch {
		case !network && cloud != "":
			return errors.New("--cloud goes with --network")
		case !network:
			return cobra.ExactArgs(1)(cmd, given)
		case purpose != "":
			return errors.New("--for goes with an account, not with --network")
		case cloud != "" && len(given) > 0:
			return errors.New("give an app or --cloud, not both")
		}
		return cobra.MaximumNArgs(1)(cmd, given)
	}
}

func runChecks(cmd *cobra.Command, c *cli, a *app.App, acct vault.Account, want []vault.Purpose, asJSON bool) error {
	reports := make([]check.Report, 0, len(want))
	good := true
	for _, p := range want {
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
