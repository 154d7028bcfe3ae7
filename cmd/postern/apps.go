package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"postern/internal/app"
	"postern/internal/fault"
	"postern/internal/vault"
)

// appFacts is an app registration as it may be shown. It holds no secret.
type appFacts struct {
	Name        string           `json:"name"`
	Tenant      string           `json:"tenant"`
	ClientID    string           `json:"client_id"`
	Cloud       string           `json:"cloud"`
	Credential  string           `json:"credential"`       // secret, certificate or none; both: the certificate is used
	Expires     time.Time        `json:"expires,omitzero"` // of the credential, where it is known
	Certificate *certificateFact `json:"certificate,omitempty"`
	Secret      bool             `json:"secret"`
	Redirect    string           `json:"redirect_uri"`
	Accounts    []string         `json:"accounts"`
}

type certificateFact struct {
	Thumbprint string    `json:"thumbprint"` // SHA-1 in hex, as the portal shows it
	Subject    string    `json:"subject"`
	From       time.Time `json:"from"`
	Until      time.Time `json:"until"`
}

func newApps(c *cli) *cobra.Command {
	return group("apps", "App registrations: what signs accounts in at Microsoft",
		newAppsList(c), newAppsShow(c), newAppsSecret(c), newAppsCertificate(c), newAppsDelete(c))
}

func newAppsList(c *cli) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List app registrations, how each proves itself and until when",
		Example: "  postern apps list --json",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.with(cmd.Context(), func(a *app.App) error {
				all, err := a.Vault.Apps(cmd.Context())
				if err != nil {
					return err
				}
				rows := make([]appFacts, 0, len(all))
				for _, v := range all {
					f, err := factsOf(cmd.Context(), a, v)
					if err != nil {
						return err
					}
					rows = append(rows, f)
				}
				if asJSON {
					return writeJSON(c.stdout, rows)
				}
				return table(c.stdout, "APP\tTENANT\tCLIENT ID\tCLOUD\tCREDENTIAL\tUNTIL\tACCOUNTS", func(line func(...string)) {
					for _, r := range rows {
						line(r.Name, r.Tenant, r.ClientID, r.Cloud, r.Credential, day(r.Expires), strings.Join(r.Accounts, ","))
					}
				})
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func newAppsShow(c *cli) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "show APP",
		Short:   "Show one app registration: redirect URI to register, certificate, who uses it",
		Example: "  postern apps show contoso\n  postern apps show contoso --json",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, name []string) error {
			return c.with(cmd.Context(), func(a *app.App) error {
				v, err := a.Vault.App(cmd.Context(), name[0])
				if err != nil {
					return err
				}
				f, err := factsOf(cmd.Context(), a, v)
				if err != nil {
					return err
				}
				if asJSON {
					return writeJSON(c.stdout, f)
				}
				return showApp(c.stdout, f)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func factsOf(ctx context.Context, a *app.App, v vault.App) (appFacts, error) {
	f := appFacts{
		Name: v.Name, Tenant: v.Tenant, ClientID: v.ClientID, Cloud: v.Cloud.Name, Secret: len(v.Secret) > 0,
		Redirect: a.Vault.RedirectURI(), Accounts: []string{},
	}
	proof, err := v.Shows()
	if err != nil {
		return f, err
	}
	f.Credential, f.Expires = proof.Kind, proof.Until
	if proof.Thumbprint != "" {
		f.Certificate = &certificateFact{Thumbprint: proof.Thumbprint, Subject: proof.Subject, From: proof.From, Until: proof.Until}
	}
	all, err := a.Vault.Accounts(ctx)
	for _, acct := range all {
		if acct.App == v.Name {
			f.Accounts = append(f.Accounts, acct.Name)
		}
	}
	return f, err
}

func showApp(w io.Writer, f appFacts) error {
	var b strings.Builder
	row := func(k, v string) {
		if v != "" && v != "-" {
			fmt.Fprintf(&b, "%-14s %s\n", k, v)
		}
	}
	row("app", f.Name)
	row("tenant", f.Tenant)
	row("client id", f.ClientID)
	row("cloud", f.Cloud)
	row("credential", f.Credential)
	row("until", day(f.Expires))
	if f.Certificate != nil {
		row("thumbprint", f.Certificate.Thumbprint)
		row("subject", f.Certificate.Subject)
	}
	if f.ClientID != "" {
		row("redirect URI", f.Redirect)
	}
	row("accounts", strings.Join(f.Accounts, ", "))
	_, err := io.WriteString(w, b.String())
	return err
}

// day is a date; the hour of an end in a year is of no use.
func day(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Format(time.DateOnly)
}

func newAppsSecret(c *cli) *cobra.Command {
	var expires string
	cmd := &cobra.Command{
		Use:   "secret APP",
		Short: "Enter a new client secret",
		Long: `Asks for the client secret without showing it, or reads it from standard input, and
keeps it sealed. Paste its Value, not the Secret ID. Say when it ends, so that
Postern can warn in time; Microsoft tells nobody.`,
		Example: "  postern apps secret contoso --expires 2027-05-01\n  postern apps secret contoso < /run/secrets/contoso",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, name []string) error {
			var until time.Time
			if expires != "" {
				var err error
				if until, err = time.Parse(time.DateOnly, expires); err != nil {
					return fault.New(fault.Invalid, "apps secret", "--expires %q is not a date; allowed: 2027-05-01", expires)
				}
			}
			return c.with(cmd.Context(), func(a *app.App) error {
				return enterSecret(cmd.Context(), c, a, name[0], until)
			})
		},
	}
	cmd.Flags().StringVar(&expires, "expires", "", "when it ends, as the portal says: 2027-05-01")
	return cmd
}

func enterSecret(ctx context.Context, c *cli, a *app.App, name string, until time.Time) error {
	if _, err := a.Vault.App(ctx, name); err != nil {
		return err
	}
	clear, err := c.secretLine(ctx, "client secret of "+name)
	if err != nil {
		return err
	}
	if err := a.EnterSecret(ctx, who(), name, clear, until); err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.stdout, "%s: secret kept\n", name)
	if until.IsZero() {
		_, _ = fmt.Fprintln(c.stderr, "note: nobody can warn before its end: it was not said (--expires 2027-05-01)")
	}
	return err
}
