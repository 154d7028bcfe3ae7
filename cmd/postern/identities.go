package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"postern/internal/app"
)

// undoing is a command that takes one account or app away, or something of it.
func undoing(c *cli, cmd *cobra.Command, done string, act func(ctx context.Context, a *app.App, name string) error) *cobra.Command {
	cmd.Args = args(cobra.ExactArgs(1))
	cmd.RunE = func(cmd *cobra.Command, name []string) error {
		return c.with(cmd.Context(), func(a *app.App) error {
			if err := act(cmd.Context(), a, name[0]); err != nil {
				return err
			}
			_, err := fmt.Fprintln(c.stdout, name[0], done)
			return err
		})
	}
	return cmd
}

func newAccountsDisconnect(c *cli) *cobra.Command {
	return undoing(c, &cobra.Command{
		Use:   "disconnect ACCOUNT",
		Short: "Forget an account's sign-in or password; its mail waits until the next one",
		Long: `Forgets the sign-in of an account, or the password that is kept for it. The account
stays, its mail is kept and waits. Microsoft keeps its own record of the consent: the
mailbox's owner takes it away at https://myapps.microsoft.com, an administrator under
Enterprise applications.`,
		Example: "  postern accounts disconnect scan",
	}, "disconnected", func(ctx context.Context, a *app.App, name string) error { return a.Disconnect(ctx, who(), name) })
}

func newAccountsDelete(c *cli) *cobra.Command {
	return undoing(c, &cobra.Command{
		Use:     "delete ACCOUNT",
		Short:   "Delete an account that nothing uses and whose mail has all gone",
		Example: "  postern accounts delete scan",
	}, "deleted", func(ctx context.Context, a *app.App, name string) error { return a.DeleteAccount(ctx, who(), name) })
}

func newAppsDelete(c *cli) *cobra.Command {
	return undoing(c, &cobra.Command{
		Use:     "delete APP",
		Short:   "Delete an app registration that no account uses",
		Example: "  postern apps delete contoso",
	}, "deleted", func(ctx context.Context, a *app.App, name string) error { return a.DeleteApp(ctx, who(), name) })
}
