package main

import (
	"time"

	"github.com/spf13/cobra"

	"postern/internal/app"
	"postern/internal/store"
)

func newAudit(c *cli) *cobra.Command {
	var asJSON bool
	var subject, before string
	var limit int
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "List who did what by hand, the newest first",
		Example: `  postern audit --limit 20
  postern audit --subject scan --json`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.with(cmd.Context(), func(a *app.App) error {
				all, err := a.Store.Audits(cmd.Context(), subject, before, limit)
				if err != nil {
					return err
				}
				if asJSON {
					if all == nil {
						all = []store.Audit{}
					}
					return writeJSON(c.stdout, all)
				}
				return table(c.stdout, "WHEN\tWHO\tWHAT\tSUBJECT\tDETAIL", func(line func(...string)) {
					for _, e := range all {
						line(e.At.Local().Format(time.DateTime), e.Who, e.What, e.Subject, e.Detail)
					}
				})
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().StringVar(&subject, "subject", "", "only what was done to this message or account")
	cmd.Flags().StringVar(&before, "before", "", "only entries before this id (paging)")
	cmd.Flags().IntVar(&limit, "limit", 100, "at most so many")
	return cmd
}
