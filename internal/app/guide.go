package app

import (
	"cmp"
	"context"
	"time"

	"postern/internal/catalogue"
	"postern/internal/config"
	"postern/internal/entra"
	"postern/internal/fault"
	"postern/internal/guide"
	"postern/internal/vault"
	"postern/internal/web"
)

// GuideFor is a road as it is for everybody, without a database: of an account only the
// redirect URI is known.
func GuideFor(cfg config.Config, road string) (guide.Road, error) {
	g, err := guide.Load()
	if err != nil {
		return guide.Road{}, err
	}
	r, ok := g.Road(road)
	if !ok {
		return guide.Road{}, noGuide(road)
	}
	values, err := guideValues(vault.Description{}, vault.App{}, time.Now())
	values["redirect_uri"] = cfg.PublicURL.String() + web.CallbackPath
	return r.Fill(values), err
}

func noGuide(road string) error {
	return fault.New(fault.NotFound, "read a guide", "there is no guide %q", road).WithHint("postern guide lists them")
}

// Guide is a road filled in with an account's values; "" is the road the account takes.
func (a *App) Guide(ctx context.Context, road, account string) (guide.Road, error) {
	g, err := guide.Load()
	if err != nil {
		return guide.Road{}, err
	}
	d, err := a.Vault.Describe(ctx, account)
	if err != nil {
		return guide.Road{}, err
	}
	reg, err := a.Vault.App(ctx, d.Account.App)
	if err != nil {
		return guide.Road{}, err
	}
	r, ok := g.Road(road)
	if own := roadsFor(g, d.Account); road == "" && len(own) > 0 {
		r, ok = own[0], true
	}
	if !ok {
		return guide.Road{}, noGuide(road)
	}
	values, err := guideValues(d, reg, a.Store.Now())
	values["redirect_uri"] = a.Vault.RedirectURI()
	return r.Fill(values), err
}

// roadsFor are the roads of an account, by how it signs in and what it is for.
func roadsFor(g *guide.Guides, acct vault.Account) []guide.Road {
	purposes := make([]string, len(acct.Purposes))
	for i, p := range acct.Purposes {
		purposes[i] = string(p)
	}
	return g.For(string(acct.Method), purposes...)
}

// guideValues are what stands in a guide's sentences.
func guideValues(d vault.Description, reg vault.App, now time.Time) (map[string]string, error) {
	values := map[string]string{"object_id": "<object id under Enterprise applications>", "retirement": "Microsoft is ending sign-in with passwords."}
	if acct := d.Account; acct.Name != "" {
		values["mailbox"], values["domain"], values["account"] = acct.Mailbox.String(), acct.Mailbox.Domain, acct.Name
		values["app"], values["tenant"], values["client_id"] = reg.Name, reg.Tenant, reg.ClientID
	}
	if d.Account.Method == vault.Application { // Exchange wants that of the Enterprise application, which a token has told
		values["object_id"] = cmp.Or(d.ObjectID, values["object_id"])
	}
	all, err := catalogue.Retirements()
	if err != nil {
		return values, err
	}
	cloud, err := entra.CloudByName("global")
	if reg.Cloud.SMTP.Set() {
		cloud = reg.Cloud
	}
	if next, ok := catalogue.NextRetirement(all, catalogue.SMTP, cloud.SMTP.Host, now); ok {
		values["retirement"] = next.Says
	}
	return values, err
}
