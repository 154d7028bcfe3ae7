package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"postern/internal/app"
	"postern/internal/config"
	"postern/internal/web"
)

func newAdmin(c *cli) *cobra.Command {
	return group("admin", "The way in for whoever runs Postern", newAdminPassword(c), newAdminCode(c))
}

func newAdminPassword(c *cli) *cobra.Command {
	var ask bool
	cmd := &cobra.Command{
		Use:   "password",
		Short: "Make a new password for the user admin and print it this once",
		Long: `Makes the user admin an administrator with a new password, enabled and without
one-time codes, whether there was one before or not. All sessions of admin end.`,
		Example: "  postern admin password\n  postern admin password --ask < password.txt",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.with(cmd.Context(), func(a *app.App) error {
				if ask {
					p, err := c.secretLine(cmd.Context(), "password")
					if err != nil {
						return err
					}
					return a.People.Reset(cmd.Context(), who(), app.Administrator, p)
				}
				p, err := a.NewAdminPassword(cmd.Context(), who())
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(c.stdout, "user:     %s\npassword: %s\n", app.Administrator, p.Reveal())
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&ask, "ask", false, "take the password from the terminal or from standard input")
	return cmd
}

func newAdminCode(c *cli) *cobra.Command {
	var fresh bool
	cmd := &cobra.Command{
		Use:     "code",
		Short:   "Print the code with which the first user sets Postern up",
		Example: "  postern admin code\n  postern admin code --new",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.with(cmd.Context(), func(a *app.App) error {
				code, err := a.People.SetupCode(cmd.Context(), fresh)
				if err != nil {
					return err
				}
				_, _ = fmt.Fprintf(c.stderr, "give it at %s%s\n", a.Config.PublicURL, web.SetupPath)
				_, err = fmt.Fprintln(c.stdout, code.Reveal())
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&fresh, "new", false, "make another one; the one before is good for nothing then")
	return cmd
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
		Short:   "Read file, environment and flags, and the files they name; say what is wrong, start nothing",
		Example: "  postern config check --config postern.toml",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := c.load()
			if err == nil {
				err = app.CheckConfig(cmd.Context(), cfg)
			}
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(c.stdout, "configuration is good")
			return err
		},
	})
}
