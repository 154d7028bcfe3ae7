package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"postern/internal/alert"
	"postern/internal/app"
	"postern/internal/check"
	"postern/internal/declare"
	"postern/internal/fault"
	"postern/internal/secret"
)

func newAlertsTest(c *cli) *cobra.Command {
	var asJSON bool
	var d declare.Alert
	var saved, secretEnv string
	cmd := &cobra.Command{
		Use:   "test",
		Short: "Really send one test by a route, or by values that are not saved",
		Long: `Sends one message at once, past the queue, and shows stage by stage how far it came
and what the server said. Saves nothing. With --route, what is given beside it is tried
in place of what the route says. Exit code 3 when the test failed.`,
		Example: `  postern alerts test --route admins
  postern alerts test --account scan --to admin@contoso.com --subject "{{.Event}}: {{.What}}"
  OPS_SECRET=... postern alerts test --webhook https://ops.example/hook --secret-env OPS_SECRET`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.with(cmd.Context(), func(a *app.App) error {
				r, err := d.Route()
				if err != nil {
					return fault.Wrap(fault.Invalid, "alerts test", err)
				}
				var sign secret.Text
				if secretEnv != "" {
					text, ok := c.getenv(secretEnv)
					if !ok || text == "" {
						return fault.New(fault.Invalid, "alerts test", "environment variable %s is not set", secretEnv)
					}
					sign = secret.New(text)
				}
				var live func(check.Stage)
				if !asJSON {
					live = func(s check.Stage) { _, _ = fmt.Fprint(c.stdout, s.Text()) }
				}
				report, err := a.TestAlert(cmd.Context(), saved, r, sign, live)
				if err != nil {
					return err
				}
				if asJSON {
					err = writeJSON(c.stdout, report)
				} else {
					_, err = fmt.Fprintf(c.stdout, "\n%s\n", report.Headline)
				}
				if err == nil && !report.OK {
					err = errCheckFailed
				}
				return err
			})
		},
	}
	fl := cmd.Flags()
	fl.BoolVar(&asJSON, "json", false, "print JSON")
	fl.StringVar(&saved, "route", "", "the saved route to test")
	fl.StringVar(&d.Account, "account", "", "whose mailbox sends it")
	fl.StringSliceVar(&d.To, "to", nil, "who gets it")
	fl.StringVar(&d.FromName, "from-name", "", "the name beside the sender's address")
	fl.StringVar(&d.ReplyTo, "reply-to", "", "where answers go")
	fl.StringVar(&d.Subject, "subject", "", "template of the subject; variables: "+strings.Join(alert.Variables(), " "))
	fl.StringVar(&d.Text, "text", "", "template of the text")
	fl.StringVar(&d.HTML, "html", "", "template of the HTML text")
	fl.StringVar(&d.Webhook, "webhook", "", "address of a webhook, instead of --account and --to")
	fl.StringVar(&secretEnv, "secret-env", "", "environment variable with the webhook's secret (empty: the one that is kept)")
	return cmd
}
