package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"postern/internal/app"
	"postern/internal/door"
)

type tokenRow struct {
	Name     string       `json:"name"`
	Device   string       `json:"device,omitempty"`
	Scopes   []door.Scope `json:"scopes"`
	Created  time.Time    `json:"created"`
	LastUsed time.Time    `json:"last_used,omitzero"`
}

func newTokens(c *cli) *cobra.Command {
	return group("tokens", "Tokens of the HTTP API", newTokensList(c), newTokensCreate(c), newTokensRevoke(c))
}

func newTokensList(c *cli) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List tokens: what each may do, for which device, and when it was last used",
		Example: "  postern tokens list --json",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.with(cmd.Context(), func(a *app.App) error {
				all, err := a.Store.Tokens(cmd.Context())
				if err != nil {
					return err
				}
				rows := make([]tokenRow, 0, len(all))
				for _, t := range all {
					rows = append(rows, tokenRow{t.Name, t.Device, t.Scopes, t.Created, t.LastUsed})
				}
				if asJSON {
					return writeJSON(c.stdout, rows)
				}
				return table(c.stdout, "TOKEN\tDEVICE\tMAY\tCREATED\tLAST USED", func(line func(...string)) {
					for _, r := range rows {
						device := r.Device
						if device == "" {
							device = "-"
						}
						line(r.Name, device, scopeList(r.Scopes), when(r.Created), when(r.LastUsed))
					}
				})
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func scopeList(scopes []door.Scope) string {
	words := make([]string, len(scopes))
	for i, s := range scopes {
		words[i] = string(s)
	}
	return strings.Join(words, ",")
}

func newTokensCreate(c *cli) *cobra.Command {
	var device string
	var scopes []string
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Make a token and print it this once",
		Long: `A token with a device sends as that device may (its account, senders and policy)
and sees that device's messages. One without a device sees the whole queue and
cannot send. Scopes: ` + scopeList(door.Scopes()) + `.`,
		Example: "  postern tokens create billing --device billing --scope send,queue:read\n  postern tokens create monitoring --scope queue:read",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, name []string) error {
			var want []door.Scope
			for _, s := range scopes {
				want = append(want, door.Scope(s))
			}
			return c.with(cmd.Context(), func(a *app.App) error {
				text, err := a.NewToken(cmd.Context(), who(), name[0], device, want)
				if err != nil {
					return err
				}
				_, _ = fmt.Fprintln(c.stderr, "this token is shown once; keep it as you keep a password")
				_, err = fmt.Fprintln(c.stdout, text.Reveal())
				return err
			})
		},
	}
	cmd.Flags().StringVar(&device, "device", "", "the device it acts for")
	cmd.Flags().StringSliceVar(&scopes, "scope", []string{string(door.MaySend)}, "what it may do: "+scopeList(door.Scopes()))
	return cmd
}

func newTokensRevoke(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:     "revoke NAME",
		Short:   "Make a token good for nothing, at once",
		Example: "  postern tokens revoke billing",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, name []string) error {
			return c.with(cmd.Context(), func(a *app.App) error {
				if err := a.RevokeToken(cmd.Context(), who(), name[0]); err != nil {
					return err
				}
				_, err := fmt.Fprintln(c.stdout, name[0], "revoked")
				return err
			})
		},
	}
}
