package app

import (
	"context"
	"os"
	"strings"

	"postern/internal/door"
	"postern/internal/entra"
	"postern/internal/fault"
	"postern/internal/people"
	"postern/internal/secret"
	"postern/internal/web"
)

// newPeople builds the room that knows who may use the pages.
func (a *App) newPeople() (*people.Registry, error) {
	provider, err := a.provider()
	if err != nil {
		return nil, err
	}
	return people.Open(people.Config{
		Store: a.Store, Secrets: a.Vault, Audit: a.Record, Provider: provider,
		Passwords: people.Passwords{New: door.NewPassword, Hash: door.HashPassword, Verify: func(hash string, clear secret.Text) bool { return door.VerifyPassword(hash, clear) == nil }},
		Idle:      a.Config.SessionIdle.Duration, Life: a.Config.SessionLife.Duration,
		Now: a.Store.Now, Log: a.log.With("room", "people"),
	}), nil
}

// provider is where people may sign in with a password that is not ours; nil when the
// configuration names none.
func (a *App) provider() (*people.Provider, error) {
	c := a.Config
	if c.OIDCClientID == "" {
		return nil, nil //nolint:nilnil // nobody signs in elsewhere
	}
	rules, err := people.ParseRules(c.OIDCAllow)
	if err != nil {
		return nil, err
	}
	clear := c.OIDCSecret
	if c.OIDCSecretFile != "" {
		b, err := os.ReadFile(c.OIDCSecretFile)
		if err != nil {
			return nil, fault.Wrap(fault.Invalid, "oidc_client_secret_file", err)
		}
		clear = secret.New(strings.TrimSpace(string(b)))
	}
	app := entra.Registration{Cloud: entra.Cloud{Name: entra.Custom, Authority: c.OIDCAuthority}, Tenant: c.OIDCTenant, ClientID: c.OIDCClientID, Secret: clear}
	if err := app.Validate(); err != nil {
		return nil, err
	}
	if !app.Specific() {
		return nil, fault.New(fault.Invalid, "oidc_tenant", "%q stands for many organisations, and anybody could come in", c.OIDCTenant).
			WithHint("name the tenant whose people may come in: its GUID or one of its domains")
	}
	return &people.Provider{OpenID: a.entra, App: app, Redirect: c.PublicURL.String() + web.ProviderCallback, Rules: rules}, nil
}

// invite logs the code of the first run, as long as nobody is there.
func (a *App) invite(ctx context.Context) error {
	empty, err := a.People.Empty(ctx)
	if err != nil || !empty {
		return err
	}
	code, err := a.People.SetupCode(ctx, false)
	if fault.KindOf(err) == fault.Conflict {
		return nil // somebody came just now
	}
	if err != nil {
		return err
	}
	a.log.InfoContext(ctx, "nobody uses these pages yet: open the address and give this code", "address", a.Config.PublicURL.String()+web.SetupPath, "setup_code", code.Reveal())
	return nil
}

// Administrator is the user that is made on the machine itself.
const Administrator = "admin"

// NewAdminPassword makes the Administrator, with a new password that it returns.
func (a *App) NewAdminPassword(ctx context.Context, who string) (secret.Text, error) {
	p := door.NewPassword()
	return p, a.People.Reset(ctx, who, Administrator, p)
}
