package main

import (
	"cmp"
	"encoding/json"
	"time"

	"github.com/spf13/cobra"

	"postern/internal/app"
	"postern/internal/people"
)

func newAudit(c *cli) *cobra.Command {
	var asJSON bool
	var f people.Lines
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "List who did what by hand, the newest first",
		Example: `  postern audit --limit 20
  postern audit --subject scan --json
  postern audit --who web:jane`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.with(cmd.Context(), func(a *app.App) error {
				all, err := a.Store.Audits(cmd.Context(), f)
				if err != nil {
					return err
				}
				if asJSON {
					if all == nil {
						all = []people.Line{}
					}
					return writeJSON(c.stdout, all)
				}
				return table(c.stdout, "WHEN\tWHO\tWHAT\tSUBJECT\tDETAIL\tBEFORE → AFTER", func(line func(...string)) {
					for _, e := range all {
						line(e.At.Local().Format(time.DateTime), e.Who, e.What, e.Subject, e.Detail, shape(e.Before, e.After))
					}
				})
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().StringVar(&f.Subject, "subject", "", "only what was done to this message, account or user")
	cmd.Flags().StringVar(&f.Who, "who", "", "only what these did: web:NAME, api:TOKEN, cli:USER, or a part of it")
	cmd.Flags().StringVar(&f.What, "what", "", "only deeds with these words")
	cmd.Flags().StringVar(&f.Before, "before", "", "only entries before this id (paging)")
	cmd.Flags().IntVar(&f.Limit, "limit", 100, "at most so many")
	return cmd
}

// shape shows a change on one line; "" when nothing changed.
func shape(before, after json.RawMessage) string {
	if before == nil && after == nil {
		return ""
	}
	return cmp.Or(string(before), "nothing") + " → " + cmp.Or(string(after), "nothing")
}
