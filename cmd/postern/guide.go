package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"postern/internal/app"
	"postern/internal/guide"
)

func newGuide(c *cli) *cobra.Command {
	var asJSON bool
	var account string
	cmd := &cobra.Command{
		Use:   "guide [ROAD]",
		Short: "Show what to set up at Microsoft, step by step, filled in for an account",
		Long: `Without arguments it lists the roads into a mailbox. With one it shows its steps: what
to do, the page where, the command, what you should see then, and the check that proves
it. With --account the account's own values stand in them; without a road it is the one
that the account takes.`,
		Example: "  postern guide\n  postern guide delegated\n  postern guide --account scan",
		Args:    args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, road []string) error {
			switch {
			case account != "":
				return c.with(cmd.Context(), func(a *app.App) error {
					return guideOf(cmd.Context(), c, a, strings.Join(road, ""), account, asJSON)
				})
			case len(road) == 0:
				return listGuides(c, asJSON)
			}
			cfg, err := c.load()
			if err != nil {
				return err
			}
			r, err := app.GuideFor(cfg, road[0])
			if err != nil {
				return err
			}
			return showGuide(c, r, "<account>", r.Purposes, asJSON)
		},
	}
	cmd.Flags().StringVar(&account, "account", "", "fill in the values of this account")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func listGuides(c *cli, asJSON bool) error {
	g, err := guide.Load()
	if err != nil {
		return err
	}
	if asJSON {
		return writeJSON(c.stdout, g.Roads())
	}
	return table(c.stdout, "ROAD\tSTEPS\tTITLE", func(line func(...string)) {
		for _, r := range g.Roads() {
			line(r.Name, fmt.Sprint(len(r.Steps)), r.Title)
		}
	})
}

func guideOf(ctx context.Context, c *cli, a *app.App, road, account string, asJSON bool) error {
	r, err := a.Guide(ctx, road, account)
	if err != nil {
		return err
	}
	acct, err := a.Vault.Account(ctx, account)
	if err != nil {
		return err
	}
	return showGuide(c, r, account, purposes(acct), asJSON)
}

func showGuide(c *cli, r guide.Road, account string, purposes []string, asJSON bool) error {
	if asJSON {
		return writeJSON(c.stdout, r)
	}
	_, err := fmt.Fprint(c.stdout, guideText(r, account, purposes))
	return err
}

func guideText(r guide.Road, account string, purposes []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n%s\n", r.Title, r.About)
	if r.Warning != "" {
		fmt.Fprintf(&b, "Know before: %s\n", r.Warning)
	}
	for i, s := range r.Steps {
		fmt.Fprintf(&b, "\n%2d. %s\n", i+1, s.Do)
		proof := ""
		if p, stage := r.Check(s, purposes); p != "" {
			proof = fmt.Sprintf("postern check %s --for %s   (stage %s)", account, p, stage)
		}
		for _, row := range []struct{ name, value string }{{"see", s.See}, {"page", s.Link}, {"run", s.Command}, {"check", proof}} {
			if row.value != "" {
				fmt.Fprintf(&b, "    %-6s %s\n", row.name, row.value)
			}
		}
	}
	return b.String()
}
