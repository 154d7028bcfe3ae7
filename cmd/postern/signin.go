package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"postern/internal/app"
	"postern/internal/fault"
	"postern/internal/vault"
)

func newSignin(c *cli) *cobra.Command {
	var asJSON, noWait bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "signin ACCOUNT",
		Short: "Sign an account in: prints a one-time address, waits for the callback",
		Long: `Prints an address to open in any browser, by you or by the mailbox's owner. It
works once, for an hour, and needs no Postern login. The server must be running
(postern serve) and the browser must reach it under public_url.`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, name []string) error {
			return c.with(cmd.Context(), func(a *app.App) error {
				return signin(cmd.Context(), c, a, name[0], timeout, asJSON, noWait)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON lines")
	cmd.Flags().BoolVar(&noWait, "no-wait", false, "print the address and leave")
	cmd.Flags().DurationVar(&timeout, "timeout", time.Hour, "how long to wait")
	return cmd
}

func signin(ctx context.Context, c *cli, a *app.App, name string, timeout time.Duration, asJSON, noWait bool) error {
	acct, err := a.Vault.Account(ctx, name)
	if err != nil {
		return err
	}
	if acct.Method == vault.Application {
		if _, err := a.Vault.Token(ctx, name, acct.Purposes[0], true); err != nil {
			return err
		}
		_, err := fmt.Fprintf(c.stdout, "%s needs nobody: its app permission gave a token\n", name)
		return err
	}
	before := signedInAt(ctx, a, name)
	link, err := a.Vault.NewLink(ctx, name)
	if err != nil {
		return err
	}
	if asJSON {
		err = writeJSON(c.stdout, map[string]string{"account": name, "url": link})
	} else {
		_, err = fmt.Fprintf(c.stdout, "Open this address, once, within an hour:\n\n  %s\n\n", link)
	}
	if err != nil || noWait {
		return err
	}
	warnWhenNotServing(ctx, c, a.Config.PublicURL.String())
	return awaitSignIn(ctx, c, a, name, before, timeout, asJSON)
}

func signedInAt(ctx context.Context, a *app.App, name string) time.Time {
	g, err := a.Store.Grant(ctx, name)
	if err != nil {
		return time.Time{}
	}
	return g.SignedInAt
}

func awaitSignIn(ctx context.Context, c *cli, a *app.App, name string, before time.Time, timeout time.Duration, asJSON bool) error {
	_, _ = fmt.Fprintln(c.stderr, "waiting for the sign-in …")
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	tick := time.NewTicker(300 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			if ctx.Err() == context.DeadlineExceeded { //nolint:errorlint // our own context's own error
				return fault.New(fault.Temporary, "sign in "+name, "nobody signed in within %s", timeout).WithHint("postern signin %s", name)
			}
			return ctx.Err()
		case <-tick.C:
		}
		g, err := a.Store.Grant(ctx, name)
		if err != nil || !g.SignedInAt.After(before) {
			continue
		}
		if asJSON {
			return writeJSON(c.stdout, map[string]any{"account": name, "signed_in_as": g.SignedInAs, "scopes": g.Scopes, "at": g.SignedInAt})
		}
		_, err = fmt.Fprintf(c.stdout, "Signed in as %s.\n", g.SignedInAs)
		return err
	}
}

func warnWhenNotServing(ctx context.Context, c *cli, publicURL string) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, publicURL+"/healthz", nil)
	if err != nil {
		return
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		_, _ = fmt.Fprintf(c.stderr, "note: nothing answers at %s from here; is `postern serve` running, and is public_url right?\n", publicURL)
		return
	}
	_ = resp.Body.Close()
}
