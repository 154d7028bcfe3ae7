package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"postern/internal/app"
	"postern/internal/config"
)

func newAdmin(c *cli) *cobra.Command {
	return group("admin", "The login of the web pages", &cobra.Command{
		Use:     "password",
		Short:   "Make a new password for the web pages (user: admin) and print it this once",
		Example: "  postern admin password",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.with(cmd.Context(), func(a *app.App) error {
				p, err := a.NewAdminPassword(cmd.Context())
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(c.stdout, "user:     admin\npassword: %s\n", p.Reveal())
				return err
			})
		},
	})
}

func newConfig(c *cli) *cobra.Command {
	return group("config", "The bootstrap configuration", &cobra.Command{
		Use:     "example",
		Short:   "Print a commented TOML file with every key at its default",
		Example: "  postern config example > postern.toml",
		Args:    args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			_, err := io.WriteString(c.stdout, config.Example())
			return err
		},
	}, &cobra.Command{
		Use:     "check",
		Short:   "Read file, environment and flags, say what is wrong, start nothing",
		Example: "  postern config check --config postern.toml",
		Args:    args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			if _, err := c.load(); err != nil {
				return err
			}
			_, err := fmt.Fprintln(c.stdout, "configuration is good")
			return err
		},
	})
}
