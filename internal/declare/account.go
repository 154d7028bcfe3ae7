package declare

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"postern/internal/mail"
	"postern/internal/secret"
	"postern/internal/vault"
)

// methods and purposes are what a document may say, the default first.
func methods() []vault.Method {
	return []vault.Method{vault.Delegated, vault.Application, vault.Password, vault.AppPassword}
}

func purposes() []vault.Purpose {
	return []vault.Purpose{vault.Send, vault.IMAP, vault.POP3, vault.Graph, vault.HVE}
}

func listed[T ~string](all []T) string {
	words := make([]string, len(all))
	for i, v := range all {
		words[i] = string(v)
	}
	return strings.Join(words, ", ")
}

func (a Applier) account(d Account) (step, error) {
	mailbox, err := mail.ParseAddress(strings.TrimSpace(d.Mailbox))
	if err != nil {
		return nil, fmt.Errorf("mailbox: %w", err)
	}
	if l := d.Limits; l != nil && min(l.Connections, l.PerMinute, l.RecipientsPerDay, l.RecipientsPerMessage) < 0 {
		return nil, errors.New("limits: cannot be below 0, which is no limit")
	}
	for _, domain := range d.InternalDomains {
		if _, err := mail.ParseAddress("postmaster@" + domain); err != nil {
			return nil, fmt.Errorf("internal_domains: %q is not a domain", domain)
		}
	}
	want := vault.Account{
		Name: d.Name, App: strings.TrimSpace(d.App), Mailbox: mailbox, Method: vault.Method(d.SignIn),
		Shared: d.Shared, GiveTokens: d.GiveTokens, Limits: d.Limits, Transport: strings.TrimSpace(d.Transport), InternalDomains: d.InternalDomains, Simulate: d.Simulate,
	}
	if want.Transport == "auto" {
		want.Transport = ""
	}
	if want.Method == "" {
		want.Method = methods()[0]
	}
	if !slices.Contains(methods(), want.Method) {
		return nil, fmt.Errorf("sign_in: %q is not known; allowed: %s", d.SignIn, listed(methods()))
	}
	for _, p := range d.Purposes {
		if !slices.Contains(purposes(), vault.Purpose(p)) {
			return nil, fmt.Errorf("purposes: %q is not known; allowed: %s", p, listed(purposes()))
		}
		want.Purposes = append(want.Purposes, vault.Purpose(p))
	}
	if len(want.Purposes) == 0 {
		return nil, fmt.Errorf("purposes: at least one is needed; allowed: %s", listed(purposes()))
	}
	clear, err := d.password(a.Getenv, want.Method)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) (Change, error) { return a.putAccount(ctx, want, clear) }, nil
}

// password reads the mailbox's own password, for the methods that have one.
func (d Account) password(getenv func(string) (string, bool), m vault.Method) (*secret.Text, error) {
	switch {
	case m == vault.AppPassword && d.GiveTokens:
		return nil, errors.New("give_tokens: an account with an app password has no tokens to give")
	case d.Password == nil:
		return nil, nil
	case m != vault.Password && m != vault.AppPassword:
		return nil, fmt.Errorf("password: sign_in: %s takes none; it is for password and app_password", m)
	}
	s, err := d.Password.trimmed(getenv)
	if err != nil {
		return nil, fmt.Errorf("password: %w", err)
	}
	return &s, nil
}

// putAccount writes an account that differs from the one there is.
func (a Applier) putAccount(ctx context.Context, want vault.Account, clear *secret.Text) (Change, error) {
	c := Change{Kind: "account", Name: want.Name}
	have, err := a.Vault.Account(ctx, want.Name)
	if clear == nil && len(have.Password) == 0 && want.Method == vault.Password {
		c.Note = "it has no password yet: enter it with `postern accounts password " + want.Name + "`"
	}
	same := func() bool {
		bare := have
		bare.Held = false
		bare.State, bare.By, bare.Reason, bare.Since, bare.ProbeAt = "", "", "", time.Time{}, time.Time{}
		bare.Password, bare.PasswordSet = nil, time.Time{}
		return reflect.DeepEqual(want, bare) && (clear == nil || a.Vault.PasswordIs(have, *clear))
	}
	return c.put(err, same, func() error { return a.Vault.PutAccount(ctx, want, clear) })
}
