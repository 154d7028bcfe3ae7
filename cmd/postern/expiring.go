package main

import (
	"time"

	"github.com/spf13/cobra"

	"postern/internal/app"
	"postern/internal/fault"
	"postern/internal/vault"
)

type expiryRow struct {
	Subject string      `json:"subject"`
	Kind    string      `json:"kind"`
	At      time.Time   `json:"at"`
	Stage   vault.Stage `json:"stage"`
	Text    string      `json:"text"`
	Next    string      `json:"next"`
	Source  string      `json:"source,omitempty"`
}

func newExpiring(c *cli) *cobra.Command {
	var asJSON bool
	var days int
	cmd := &cobra.Command{
		Use:   "expiring",
		Short: "List what will end: secrets, certificates, idle sign-ins, app passwords",
		Long: `Lists what will end, the nearest first, and what to do about it. Postern warns of
each at 30, 14 and 3 days by itself. Exit code 0, whatever there is: use --json and
the stage (far, 30_days, 14_days, 3_days, over) to act on it.`,
		Example: "  postern expiring\n  postern expiring --days 30 --json",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if days < 0 {
				return fault.New(fault.Invalid, "expiring", "--days %d: allowed is a number from 1 on, or 0 for all", days)
			}
			return c.with(cmd.Context(), func(a *app.App) error {
				all, err := a.Vault.Radar(cmd.Context())
				if err != nil {
					return err
				}
				rows := make([]expiryRow, 0, len(all))
				for _, e := range all {
					if days == 0 || e.At.Before(time.Now().AddDate(0, 0, days)) {
						rows = append(rows, expiryRow{e.Subject, e.Kind, e.At.UTC(), e.Stage, e.Text, e.Next, e.Source})
					}
				}
				if asJSON {
					return writeJSON(c.stdout, rows)
				}
				return table(c.stdout, "SUBJECT\tWHAT\tWHEN\tSTAGE\tNEXT\tSOURCE", func(line func(...string)) {
					for _, r := range rows {
						line(r.Subject, r.Kind, r.At.Local().Format(time.DateOnly), string(r.Stage), r.Next, r.Source)
					}
				})
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().IntVar(&days, "days", 0, "only what ends within so many days (0: all)")
	return cmd
}
