package main

import (
	"github.com/spf13/cobra"

	"postern/internal/app"
)

func newServe(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "serve",
		Short: "Run the gate: SMTP door, queue, fetch tasks, web pages",
		Long: `Runs until it is told to stop (SIGINT, SIGTERM), finishes what is in flight, and
gives back what it had leased. On first start it makes the database, the master
key and a self-signed certificate in data_dir.`,
		Example: "  postern serve\n  postern serve --config /etc/postern/postern.toml --smtp-listen :2525",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := c.load()
			if err != nil {
				return err
			}
			log := newLogger(c.stderr, cfg.LogFormat, cfg.LogLevel.Level)
			a, err := app.Open(cmd.Context(), cfg, app.Options{Log: log, Version: buildVersion()})
			if err != nil {
				return err
			}
			defer a.Close()
			if on, err := a.Pretending(cmd.Context()); err != nil {
				return err
			} else if on.Any() {
				log.Warn("simulate is on: mail is accepted and goes to nobody", "all_accounts", on.All, "accounts", on.Accounts)
			}
			return a.Serve(cmd.Context(), func(at app.Addresses) {
				log.Info("ready", "web", at.Web, "https", at.HTTPS, "smtp", at.SMTP, "smtps", at.SMTPS, "listed", at.Listed, "legacy", at.Legacy, "imap", at.IMAP, "imaps", at.IMAPS, "pop3", at.POP3, "pop3s", at.POP3S, "public_url", cfg.PublicURL.String(), "version", buildVersion())
			})
		},
	}
}
