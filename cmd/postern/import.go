package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"postern/internal/app"
	"postern/internal/declare"
)

func newImport(c *cli) *cobra.Command {
	var what declare.Import
	cmd := &cobra.Command{
		Use:   "import",
		Short: "Make an app and an account of a packed CrushFTP user name",
		Long: `Reads client_id~secret~tenant or email~client_id~secret~tenant, from a terminal
without showing it or from standard input, and makes an app registration and an
account of it. What is there already is not changed.

A name copied out of CrushFTP holds the secret in CrushFTP's own encryption, which
nobody else can read: enter it again with postern apps secret. The refresh token in
CrushFTP's password field was given for less than Postern asks for and is not taken
over: sign in once.`,
		Example: `  postern import --mailbox scan@contoso.com
  postern import --name invoices --app contoso --purposes send,imap < packed.txt`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.with(cmd.Context(), func(a *app.App) (err error) {
				if what.Packed, err = c.secretLine(cmd.Context(), "packed user name"); err != nil {
					return err
				}
				return importPacked(cmd.Context(), c, a, what)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&what.Name, "name", "", "name of the account (empty: what stands before the @)")
	f.StringVar(&what.App, "app", "", "name of the app registration, an existing one too (empty: the account's)")
	f.StringVar(&what.Mailbox, "mailbox", "", "mailbox, where the packed name holds none")
	f.StringVar(&what.Cloud, "cloud", "", "global, usgov, dod or china")
	f.StringSliceVar(&what.Purposes, "purposes", []string{"send"}, "what the account is for: send, imap, pop3, graph")
	return cmd
}

func importPacked(ctx context.Context, c *cli, a *app.App, what declare.Import) error {
	doc, err := a.Applier(c.getenv).Document(ctx, what)
	if err != nil {
		return err
	}
	changes, err := a.ApplyHere(ctx, who(), doc, c.getenv)
	if err := printChanges(c, changes, false, err); err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.stderr, "next:    postern signin %s\n", doc.Accounts[0].Name)
	return err
}
