package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"postern/internal/app"
	"postern/internal/fault"
	"postern/internal/vault"
)

// signing is one run of `postern signin`.
type signing struct {
	c       *cli
	app     *app.App
	account vault.Account
	timeout time.Duration
	device  bool
	json    bool
	noWait  bool
}

func newSignin(c *cli) *cobra.Command {
	s := signing{c: c}
	cmd := &cobra.Command{
		Use:   "signin ACCOUNT",
		Short: "Sign an account in: prints a one-time address, waits for the callback",
		Long: `Prints an address to open in any browser, by you or by the mailbox's owner. It
works once, for an hour, and needs no Postern login. The server must be running
(postern serve) and the browser must reach it under public_url.

With --device it prints a code to type at Microsoft's own page instead: nothing has
to reach Postern, and no server needs to run. Many tenants block that way.

An account that signs in by app permission or password needs nobody: its token is
tried, and the result said.`,
		Example: `  postern signin scan
  postern signin scan --no-wait          # print the address and leave
  postern signin scan --device --json`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, name []string) error {
			if s.device && s.noWait {
				return fault.New(fault.Invalid, "sign in", "--no-wait does not go with --device: this process waits for the code to be typed")
			}
			return c.with(cmd.Context(), func(a *app.App) (err error) {
				s.app = a
				if s.account, err = a.Vault.Account(cmd.Context(), name[0]); err != nil {
					return err
				}
				return s.run(cmd.Context())
			})
		},
	}
	cmd.Flags().BoolVar(&s.device, "device", false, "by a code typed in a browser anywhere")
	cmd.Flags().BoolVar(&s.json, "json", false, "print JSON lines")
	cmd.Flags().BoolVar(&s.noWait, "no-wait", false, "print the address and leave")
	cmd.Flags().DurationVar(&s.timeout, "timeout", time.Hour, "how long to wait")
	return cmd
}

func (s *signing) run(ctx context.Context) error {
	m := s.account.Method
	switch {
	case s.device && m != vault.Delegated:
		return fault.New(fault.Invalid, "sign in "+s.account.Name, "sign_in: %s has nobody who could type a code", m).
			WithHint("postern signin %s", s.account.Name)
	case m == vault.AppPassword:
		return s.appPassword()
	case m != vault.Delegated:
		return s.tryTokens(ctx)
	case s.device:
		return s.byDevice(ctx)
	}
	return s.byBrowser(ctx)
}

// say prints a line of JSON or the text.
func (s *signing) say(line map[string]any, format string, a ...any) error {
	if s.json {
		line["account"] = s.account.Name
		return writeLine(s.c.stdout, line)
	}
	_, err := fmt.Fprintf(s.c.stdout, format, a...)
	return err
}

// appPassword says what there is to do: no token endpoint can try such a password.
func (s *signing) appPassword() error {
	name := s.account.Name
	return s.say(map[string]any{"method": s.account.Method, "next": "postern check " + name},
		"%s signs in with its app password; nobody needs to sign in. Whether the servers take it, this says:\n\n  postern check %s\n\n", name, name)
}

// tryTokens asks for a token for each of the account's purposes.
func (s *signing) tryTokens(ctx context.Context) error {
	var cred vault.Credential
	var scopes []string
	for _, p := range s.account.Purposes {
		var err error
		if cred, err = s.app.Vault.Credential(ctx, s.account.Name, p, vault.Asked); err != nil {
			return err
		}
		for _, granted := range cred.Scopes {
			if !slices.Contains(scopes, granted) {
				scopes = append(scopes, granted)
			}
		}
	}
	what := "app permission"
	if s.account.Method == vault.Password {
		what = "password"
	}
	words := purposes(s.account)
	return s.say(map[string]any{"method": s.account.Method, "purposes": words, "scopes": scopes, "expires": cred.Expires},
		"%s needs nobody: its %s gave a token for %s\n", s.account.Name, what, strings.Join(words, ", "))
}

// byDevice shows a code and waits for somebody to type it.
func (s *signing) byDevice(ctx context.Context) error {
	d, err := s.app.Vault.BeginDevice(ctx, s.account.Name)
	if err != nil {
		return err
	}
	err = s.say(map[string]any{"user_code": d.UserCode, "page": d.Page, "message": d.Message, "expires": d.Expires},
		"Open this page in any browser before %s and type the code:\n\n  %s\n  %s\n\n", d.Expires.Local().Format("15:04"), d.Page, d.UserCode)
	if err != nil {
		return err
	}
	s.waiting()
	wait, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	result, err := s.app.Vault.AwaitDevice(wait, d)
	if err != nil {
		if errors.Is(wait.Err(), context.DeadlineExceeded) {
			return s.nobodyCame(" --device")
		}
		return err
	}
	if err := s.app.SignedIn(ctx, who(), result); err != nil {
		return err
	}
	done, err := s.app.Vault.Describe(ctx, s.account.Name)
	if err != nil {
		return err
	}
	return s.signedIn(done)
}

// byBrowser prints a one-time address and waits until its sign-in is finished.
func (s *signing) byBrowser(ctx context.Context) error {
	before, err := s.app.Vault.Describe(ctx, s.account.Name)
	if err != nil {
		return err
	}
	link, err := s.app.NewLink(ctx, who(), s.account.Name, false)
	if err != nil {
		return err
	}
	if err := s.say(map[string]any{"url": link}, "Open this address, once, within an hour:\n\n  %s\n\n", link); err != nil || s.noWait {
		return err
	}
	warnWhenNotServing(ctx, s.c, s.app.Config.PublicURL.String())
	return s.await(ctx, before.SignedInAt)
}

// await looks until somebody has signed in, in another process.
func (s *signing) await(ctx context.Context, before time.Time) error {
	s.waiting()
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	tick := time.NewTicker(300 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return s.nobodyCame("")
			}
			return ctx.Err()
		case <-tick.C:
		}
		d, err := s.app.Vault.Describe(ctx, s.account.Name)
		if errors.Is(err, fault.NotFound) {
			return err
		}
		if err == nil && d.SignedInAt.After(before) {
			return s.signedIn(d)
		}
	}
}

func (s *signing) waiting() { _, _ = fmt.Fprintln(s.c.stderr, "waiting for the sign-in …") }

func (s *signing) nobodyCame(flags string) error {
	return fault.New(fault.Temporary, "sign in "+s.account.Name, "nobody signed in within %s", s.timeout).
		WithHint("postern signin %s%s", s.account.Name, flags)
}

func (s *signing) signedIn(d vault.Description) error {
	return s.say(map[string]any{"signed_in_as": d.SignedInAs, "scopes": d.Scopes, "at": d.SignedInAt, "until": d.Until},
		"Signed in as %s.\n", d.SignedInAs)
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
