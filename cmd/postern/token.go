package main

import (
	"context"
	"io"
	"time"

	"github.com/spf13/cobra"

	"postern/internal/app"
	"postern/internal/fault"
	"postern/internal/vault"
)

// tokenFor are the protocols by the names other programs know them under.
func tokenFor(protocol string) (vault.Purpose, bool) {
	p, ok := map[string]vault.Purpose{
		"smtp": vault.Send, "imap": vault.IMAP, "pop3": vault.POP3, "graph": vault.Graph, "hve": vault.HVE,
	}[protocol]
	return p, ok
}

const protocols = "smtp, imap, pop3, graph, hve"

func newToken(c *cli) *cobra.Command {
	var protocol string
	var asJSON, fresh bool
	cmd := &cobra.Command{
		Use:   "token ACCOUNT --for PROTOCOL",
		Short: "Print an access token for another program, if the account allows it",
		Long: `Prints an access token and nothing else, for programs that speak XOAUTH2 or
OAUTHBEARER themselves: mutt, msmtp, offlineimap, scripts. Only accounts that are
declared with give_tokens: true have any to give. Whoever has the token is the
mailbox until the token ends, so do not write it down; ask again instead, which
costs nothing while it lives. Each one given is a line in the audit log
(postern audit).`,
		Example: `  postern token scan --for imap
  postern token scan --for smtp --json
  msmtp --auth=xoauth2 --user=scan@contoso.com --passwordeval='postern token scan --for smtp' …`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, name []string) error {
			p, ok := tokenFor(protocol)
			if !ok {
				return fault.New(fault.Invalid, "token", "--for %q is not known; allowed: %s", protocol, protocols).
					WithHint("postern token %s --for smtp", name[0])
			}
			return c.with(cmd.Context(), func(a *app.App) error {
				want := vault.Cached
				if fresh {
					want = vault.Fresh
				}
				return giveToken(cmd.Context(), c, a, name[0], p, want, asJSON)
			})
		},
	}
	cmd.Flags().StringVar(&protocol, "for", "", "what it is for: "+protocols)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON, with user, scopes and expiry")
	cmd.Flags().BoolVar(&fresh, "fresh", false, "a new one, because a server refused the last")
	_ = cmd.RegisterFlagCompletionFunc("for", cobra.FixedCompletions([]cobra.Completion{"smtp", "imap", "pop3", "graph", "hve"}, cobra.ShellCompDirectiveNoFileComp)) // fails for no flag of ours
	return cmd
}

// given is a token as other programs get it: the one JSON of ours that holds one.
type given struct {
	Account string        `json:"account"`
	Purpose vault.Purpose `json:"purpose"`
	User    string        `json:"user"`
	Token   string        `json:"access_token"`
	Scopes  []string      `json:"scopes"`
	Expires time.Time     `json:"expires"`
}

// giveToken is the one place where an access token leaves for somebody else than a
// server.
func giveToken(ctx context.Context, c *cli, a *app.App, name string, p vault.Purpose, want vault.Want, asJSON bool) error {
	const op = "give a token"
	acct, err := a.Vault.Account(ctx, name)
	switch {
	case err != nil:
		return err
	case acct.Method == vault.AppPassword:
		return fault.New(fault.Denied, op, "account %q signs in with an app password and has no tokens", name).
			WithHint("sign it in another way: docs/accounts.md")
	case !acct.GiveTokens:
		return fault.New(fault.Denied, op, "account %q does not give its tokens away", name).
			WithHint("declare it with give_tokens: true and apply, if whoever runs this command may act as %s", acct.Mailbox)
	}
	cred, err := a.Vault.Credential(ctx, name, p, want)
	if err != nil {
		return err
	}
	if err := a.WriteDown(ctx, who(), "token", name, "for "+string(p)+", good until "+cred.Expires.UTC().Format(time.RFC3339)); err != nil {
		return err
	}
	newLogger(c.stderr, a.Config.LogFormat, a.Config.LogLevel.Level).
		InfoContext(ctx, "access token given", "account", name, "purpose", string(p), "expires", cred.Expires)
	if !asJSON {
		_, err = io.WriteString(c.stdout, cred.Token.Reveal()+"\n")
		return err
	}
	return writeJSON(c.stdout, given{name, p, cred.User, cred.Token.Reveal(), cred.Scopes, cred.Expires.UTC().Truncate(time.Second)})
}
