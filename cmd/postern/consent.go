package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"postern/internal/app"
)

func newConsent(c *cli) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "consent ACCOUNT",
		Short: "Print a one-time address where an administrator agrees to the account's app",
		Long: `An administrator of the tenant opens the address, once, within an hour, and agrees
for everybody to what the account's app needs. It needs no Postern login and signs
nobody in. The server must be running (postern serve).`,
		Example: "  postern consent scan\n  postern consent scan --json",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, name []string) error {
			return c.with(cmd.Context(), func(a *app.App) error {
				link, err := a.NewLink(cmd.Context(), who(), name[0], true)
				if err != nil {
					return err
				}
				if asJSON {
					err = writeJSON(c.stdout, map[string]string{"account": name[0], "url": link})
				} else {
					_, err = fmt.Fprintf(c.stdout, "An administrator of the tenant opens this address, once, within an hour:\n\n  %s\n\n", link)
				}
				if err == nil {
					warnWhenNotServing(cmd.Context(), c, a.Config.PublicURL.String())
				}
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
