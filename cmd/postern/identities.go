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

func newAccountsPause(c *cli) *cobra.Command {
	return undoing(c, &cobra.Command{
		Use:   "pause ACCOUNT",
		Short: "Pause an account: its mail waits, nothing is fetched or read",
		Long: `Nothing goes out of a paused account, and nobody gets its tokens, until it is resumed.
Its mail is taken and waits, its sign-in is kept fresh, and it can be checked.`,
		Example: "  postern accounts pause scan",
	}, "paused", func(ctx context.Context, a *app.App, name string) error { return a.HoldAccount(ctx, who(), name, true) })
}

func newAccountsResume(c *cli) *cobra.Command {
	return undoing(c, &cobra.Command{
		Use:     "resume ACCOUNT",
		Short:   "Let an account go on that was paused by hand",
		Example: "  postern accounts resume scan",
	}, "resumed", func(ctx context.Context, a *app.App, name string) error {
		return a.HoldAccount(ctx, who(), name, false)
	})
}

func newAccountsRename(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "rename ACCOUNT NAME",
		Short: "Call an account something else, with all that refers to it",
		Long: `Its devices, tasks, alert routes, sign-in, checks and mail follow, and what it sent
today counts on. The audit log keeps the name things were done under. Change the name
in your files too: the old one is refused in them, so that nobody makes a second
account of it by mistake.`,
		Example: "  postern accounts rename scan scanner-hall",
		Args:    args(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, names []string) error {
			return c.with(cmd.Context(), func(a *app.App) error {
				if err := a.RenameAccount(cmd.Context(), who(), names[0], names[1]); err != nil {
					return err
				}
				_, err := fmt.Fprintln(c.stdout, names[0], "is called", names[1])
				return err
			})
		},
	}
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

func newDevicesDelete(c *cli) *cobra.Command {
	return undoing(c, &cobra.Command{
		Use:   "delete DEVICE",
		Short: "Delete a device: it is let in no more",
		Long: `The device is let in no more within seconds, and its sessions end. What it handed in
goes on its way. Tokens of the API that act for it end with it.`,
		Example: "  postern devices delete printer",
	}, "deleted", func(ctx context.Context, a *app.App, name string) error { return a.DeleteDevice(ctx, who(), name) })
}

func newDevicesPassword(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:     "password DEVICE",
		Short:   "Make a device a new password, shown this once; the old one is good no more",
		Example: "  postern devices password printer",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, name []string) error {
			return c.with(cmd.Context(), func(a *app.App) error {
				fresh, err := a.NewDevicePassword(cmd.Context(), who(), name[0])
				if err != nil {
					return err
				}
				_, _ = fmt.Fprintf(c.stderr, "the new password of %s, shown this once:\n", name[0])
				_, err = fmt.Fprintln(c.stdout, fresh.Reveal())
				return err
			})
		},
	}
}
