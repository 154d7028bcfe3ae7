package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"postern/internal/app"
	"postern/internal/fault"
)

// sayPretending warns whoever looks at the queue that nothing of it leaves.
func sayPretending(ctx context.Context, c *cli, a *app.App) error {
	on, err := a.Pretending(ctx)
	if err == nil && on.Any() {
		_, _ = fmt.Fprintf(c.stderr, "note: simulation: mail of %s is accepted and goes to nobody\n", on)
	}
	return err
}

func newAccountsSimulate(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "simulate ACCOUNT on|off",
		Short: "Accept an account's mail and send it to nobody, or send it again",
		Long: `With simulation on, an account's mail is accepted, queued and paced as ever, ends as
"simulated", and goes to nobody; it needs no sign-in for that. What was simulated is
kept: postern queue retry sends it after all, once simulation is off.`,
		Example: "  postern accounts simulate scan on\n  postern queue list --state simulated\n  postern accounts simulate scan off",
		Args:    args(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, given []string) error {
			on, known := map[string]bool{"on": true, "off": false}[given[1]]
			if !known {
				return fault.New(fault.Invalid, "simulate", "%q is not a switch; allowed: on, off", given[1])
			}
			return c.with(cmd.Context(), func(a *app.App) error {
				if err := a.Simulate(cmd.Context(), who(), given[0], on); err != nil {
					return err
				}
				_, err := fmt.Fprintf(c.stdout, "%s: simulation %s\n", given[0], given[1])
				return err
			})
		},
	}
}
