package main

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"postern/internal/alert"
	"postern/internal/app"
	"postern/internal/secret"
)

func newAlerts(c *cli) *cobra.Command {
	return group("alerts", "Alerts: who is told what, by mail or webhook",
		newAlertsList(c), newAlertsShow(c), newAlertsTest(c), newAlertsHistory(c), newAlertsDelete(c))
}

func newAlertsList(c *cli) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List alert routes",
		Example: "  postern alerts list --json",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.with(cmd.Context(), func(a *app.App) error {
				all, err := a.Store.Routes(cmd.Context())
				if err != nil {
					return err
				}
				if asJSON {
					if all == nil {
						all = []alert.Route{}
					}
					return writeJSON(c.stdout, all)
				}
				return table(c.stdout, "ROUTE\tBY\tTO\tEVENTS\tDISABLED", func(line func(...string)) {
					for _, r := range all {
						by, to := wayOf(r)
						line(r.Name, by, to, eventsOf(r), fmt.Sprint(r.Disabled))
					}
				})
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func wayOf(r alert.Route) (by, to string) {
	if !r.ByMail() {
		return "webhook", secret.Address(r.Webhook)
	}
	all := make([]string, 0, len(r.To))
	for _, a := range r.To {
		all = append(all, a.String())
	}
	return "mail through " + r.Account, strings.Join(all, ",")
}

func eventsOf(r alert.Route) string {
	if len(r.Events) == 0 {
		return "all"
	}
	all := make([]string, 0, len(r.Events))
	for _, e := range r.Events {
		all = append(all, string(e))
	}
	return strings.Join(all, ",")
}

func newAlertsShow(c *cli) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "show ROUTE",
		Short:   "Show an alert route, its templates and the variables they may use",
		Example: "  postern alerts show admins",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, name []string) error {
			return c.with(cmd.Context(), func(a *app.App) error {
				r, err := a.Store.AlertRoute(cmd.Context(), name[0])
				if err != nil {
					return err
				}
				if asJSON {
					return writeJSON(c.stdout, r)
				}
				by, to := wayOf(r)
				_, err = fmt.Fprintf(c.stdout, "route        %s\nby           %s\nto           %s\nevents       %s\nper hour     %d\ndisabled     %t\n",
					r.Name, by, to, eventsOf(r), cmp.Or(r.PerHour, alert.DefaultPerHour), r.Disabled)
				if err != nil || !r.ByMail() {
					return err
				}
				_, err = fmt.Fprintf(c.stdout, "variables    %s\nsubject      %s\ntext\n%s\n", strings.Join(alert.Variables(), " "),
					cmp.Or(r.Subject, alert.DefaultSubject), cmp.Or(r.Text, alert.DefaultText))
				if err == nil && r.HTML != "" {
					_, err = fmt.Fprintf(c.stdout, "html\n%s\n", r.HTML)
				}
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func newAlertsHistory(c *cli) *cobra.Command {
	var asJSON bool
	var f alert.Filter
	cmd := &cobra.Command{
		Use:   "history",
		Short: "List what was told, when, to whom, and what came of it; the newest first",
		Long: `An alert by mail is told when it is in the queue; whether it arrived is said behind
that. What cannot be told is tried for two days. The history goes back 90 days.`,
		Example: "  postern alerts history --limit 20\n  postern alerts history --route ops --state failed --json",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.with(cmd.Context(), func(a *app.App) error {
				all, err := a.AlertHistory(cmd.Context(), f)
				if err != nil {
					return err
				}
				if asJSON {
					if all == nil {
						all = []alert.Alert{}
					}
					return writeJSON(c.stdout, all)
				}
				return table(c.stdout, "NOTICED\tROUTE\tSTATE\tEVENT\tWHAT\tOUTCOME", func(line func(...string)) {
					for _, e := range all {
						line(e.News.At.Local().Format(time.DateTime), e.Route, string(e.State), string(e.News.Event), e.News.What, e.Outcome)
					}
				})
			})
		},
	}
	fl := cmd.Flags()
	fl.BoolVar(&asJSON, "json", false, "print JSON")
	fl.StringVar(&f.Route, "route", "", "only this route")
	fl.StringVar((*string)(&f.State), "state", "", "only waiting, told or failed")
	fl.StringVar(&f.Before, "before", "", "only alerts before this id (paging)")
	fl.IntVar(&f.Limit, "limit", 100, "at most so many")
	return cmd
}

func newAlertsDelete(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:     "delete ROUTE",
		Short:   "Delete an alert route; what still waits for it is told to nobody",
		Example: "  postern alerts delete ops",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, name []string) error {
			return c.with(cmd.Context(), func(a *app.App) error {
				if err := a.DeleteAlertRoute(cmd.Context(), who(), name[0]); err != nil {
					return err
				}
				_, err := fmt.Fprintln(c.stdout, name[0], "deleted")
				return err
			})
		},
	}
}
