package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"postern/internal/app"
	"postern/internal/fault"
)

func newAppsCertificate(c *cli) *cobra.Command {
	var days int
	var out string
	cmd := &cobra.Command{
		Use:   "certificate APP new|use",
		Short: "Make a certificate for an app, then use it",
		Long: `In two steps, so that nothing stops in between:

  new   makes a key pair, keeps the key sealed and aside, and prints the certificate.
        Upload it in the Entra admin centre: App registrations, the app,
        Certificates & secrets, Certificates, Upload certificate.
  use   asks Microsoft for a token with it and, when that works, signs in with it from
        now on. Until then the app goes on with what it has.

The key never leaves Postern.`,
		Example: "  postern apps certificate contoso new --days 365 --out contoso.pem\n  postern apps certificate contoso use",
		Args:    args(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, given []string) error {
			name, what := given[0], given[1]
			flags := cmd.Flags().Changed("days") || cmd.Flags().Changed("out")
			switch {
			case what == "new" && (days < 1 || days > 3650):
				return fault.New(fault.Invalid, "apps certificate", "--days %d: allowed is 1 to 3650", days)
			case what == "new":
				return c.with(cmd.Context(), func(a *app.App) error { return newCertificate(cmd.Context(), c, a, name, days, out) })
			case what == "use" && flags:
				return fault.New(fault.Invalid, "apps certificate", "--days and --out go with new")
			case what == "use":
				return c.with(cmd.Context(), func(a *app.App) error { return useCertificate(cmd.Context(), c, a, name) })
			}
			return fault.New(fault.Invalid, "apps certificate", "%q is not known; allowed: new, use", what).
				WithHint("%s --help", cmd.CommandPath())
		},
	}
	cmd.Flags().IntVar(&days, "days", 730, "new: how long it is good for")
	cmd.Flags().StringVar(&out, "out", "", "new: file for the certificate (empty: standard output)")
	return cmd
}

func newCertificate(ctx context.Context, c *cli, a *app.App, name string, days int, out string) (err error) {
	to := c.stdout
	if out != "" { // opened before a key pair is made, and never over another file
		f, oerr := os.OpenFile(out, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644) //nolint:gosec // certificates are public
		if oerr != nil {
			return fault.New(fault.Invalid, "--out", "%w", oerr).WithHint("name a file that does not exist yet")
		}
		defer func() {
			if err = errors.Join(err, f.Close()); err != nil {
				_ = os.Remove(out)
			}
		}()
		to = f
	}
	pem, thumbprint, err := a.NewCertificate(ctx, who(), name, time.Duration(days)*24*time.Hour)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(to, pem); err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.stderr, `thumbprint: %s
upload it:  Entra admin centre, App registrations, %s, Certificates & secrets, Certificates
next:       postern apps certificate %s use
`, thumbprint, name, name)
	return err
}

func useCertificate(ctx context.Context, c *cli, a *app.App, name string) error {
	if err := a.UseCertificate(ctx, who(), name); err != nil {
		return err
	}
	v, err := a.Vault.App(ctx, name)
	if err != nil {
		return err
	}
	f, err := factsOf(ctx, a, v)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.stdout, "%s signs in with the certificate %s, good until %s\n", name, f.Certificate.Thumbprint, day(f.Expires))
	return err
}
