package vault

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"postern/internal/entra"
	"postern/internal/fault"
	"postern/internal/secret"
)

// Proof is an app's credential as it is entered. A nil field keeps what there is; an
// empty one takes it away. With both, the certificate is used.
type Proof struct {
	Secret      *secret.Text
	Certificate *entra.Certificate
}

// What a key pair that is kept aside is sealed as, and where.
const whatAside = "certificate kept aside"

func asideSetting(app string) string { return "certificate.aside." + app }

// NewCertificate makes a key pair for an app and keeps it aside: the app goes on with
// what it has until UseCertificate. It returns the certificate to upload, in PEM, and
// its thumbprint as the portal shows it. A pair kept aside before is gone.
func (v *Vault) NewCertificate(ctx context.Context, app string, life time.Duration) (pem, thumbprint string, err error) {
	a, err := v.withClient(ctx, app)
	if err != nil {
		return "", "", err
	}
	c, err := entra.NewCertificate(commonName(a.Name), v.now(), life)
	if err != nil {
		return "", "", err
	}
	pem, key := c.PEM()
	sealed, err := v.seal.Seal(secret.New(pem+key.Reveal()), whatAside, a.Name)
	if err != nil {
		return "", "", err
	}
	if err := v.putAside(ctx, a.Name, sealed); err != nil {
		return "", "", err
	}
	return pem, c.Thumbprint(), nil
}

// withClient returns an app that can prove itself at all.
func (v *Vault) withClient(ctx context.Context, app string) (App, error) {
	a, err := v.store.App(ctx, app)
	if err == nil && a.ClientID == "" {
		return App{}, fault.New(fault.Invalid, "make a certificate", "app %q has no client id and so proves itself nowhere", app).
			WithHint("give the app its tenant and client id first")
	}
	return a, err
}

// commonName is what the portal lists the certificate as; its length is bounded (RFC
// 5280 appendix A.1).
func commonName(app string) string {
	const longest = 64
	name := "Postern " + app
	return strings.ToValidUTF8(name[:min(len(name), longest)], "")
}

// putAside keeps a sealed pair in place of any other; of two that are made at once,
// the one whose maker hears of no conflict stays.
func (v *Vault) putAside(ctx context.Context, app string, sealed Sealed) error {
	kept, err := v.store.PutSettingOnce(ctx, asideSetting(app), sealed)
	if err != nil || string(kept) == string(sealed) {
		return err
	}
	return v.store.SwapSetting(ctx, asideSetting(app), kept, sealed)
}

// aside returns the pair that is kept aside, and how it lies in the store.
func (v *Vault) aside(ctx context.Context, app string) (entra.Certificate, Sealed, error) {
	kept, err := v.store.Setting(ctx, asideSetting(app))
	if errors.Is(err, fault.NotFound) || err == nil && len(kept) == 0 {
		return entra.Certificate{}, nil, fault.New(fault.NotFound, "use the certificate", "none is kept aside for app %q", app).
			WithHint("make one: postern apps certificate %s new", app)
	}
	if err != nil {
		return entra.Certificate{}, nil, err
	}
	text, err := v.seal.Open(kept, whatAside, app)
	if err != nil { // nobody has a copy to restore, and nothing depends on it yet
		return entra.Certificate{}, nil, &fault.Error{Kind: fault.KindOf(err), Op: "use the certificate", Err: err, Hint: "make a new one: postern apps certificate " + app + " new"}
	}
	c, err := entra.ReadCertificate([]byte(text.Reveal()), text)
	return c, kept, err
}

// UseCertificate asks Entra for a token with the certificate that was kept aside and,
// when it takes it, puts it in place. A secret stays, unused. Whatever Entra refuses
// leaves the app as it is.
func (v *Vault) UseCertificate(ctx context.Context, app string) error {
	a, err := v.withClient(ctx, app)
	if err != nil {
		return err
	}
	c, kept, err := v.aside(ctx, a.Name)
	if err != nil {
		return err
	}
	if err := v.prove(ctx, a, c); err != nil {
		return err
	}
	if err := v.PutApp(ctx, a, Proof{Certificate: &c}); err != nil {
		return err
	}
	err = v.store.SwapSetting(ctx, asideSetting(a.Name), kept, nil)
	if errors.Is(err, fault.Conflict) { // somebody has made another pair meanwhile
		return nil
	}
	return err
}

// notUploaded is the number Entra gives a certificate that it does not know. It decides
// no more than the words of a refusal.
const notUploaded = "700027"

// prove asks for a token with nothing but the certificate. Client credentials are the
// one grant that needs nothing else; what the token may do, or that it may do nothing,
// says nothing of the certificate.
func (v *Vault) prove(ctx context.Context, a App, c entra.Certificate) error {
	tenant, err := v.someTenant(ctx, a)
	if err != nil {
		return err
	}
	reg := entra.Registration{Cloud: a.Cloud, Tenant: tenant, ClientID: a.ClientID, Certificate: &c}
	_, err = v.entra.ClientCredentials(ctx, reg, a.Cloud.AppOnly)
	if r := fault.ReplyOf(err); r != nil && r.Enhanced == notUploaded {
		return &fault.Error{
			Kind: fault.NeedsAdmin, Op: "use the certificate",
			Err:  fmt.Errorf("Entra does not know it yet; the app goes on with what it had: %w", err), //nolint:staticcheck // a name
			Hint: fmt.Sprintf("upload it under Certificates & secrets, compare the thumbprint %s there, and try again in a minute", c.Thumbprint()),
		}
	}
	return v.inWords(Account{}, a, err)
}

// someTenant is a tenant to prove the app in, as client credentials need one. An app
// for many tenants has none of its own; then it is one that somebody has signed in
// from, or failing that the domain of a mailbox, under which Entra knows the tenant.
func (v *Vault) someTenant(ctx context.Context, a App) (string, error) {
	if (entra.Registration{Tenant: a.Tenant}).Specific() {
		return a.Tenant, nil
	}
	accounts, err := v.store.Accounts(ctx)
	if err != nil {
		return "", err
	}
	domain := ""
	for _, acct := range accounts {
		if acct.App != a.Name || acct.Method == AppPassword {
			continue
		}
		g, err := v.store.Grant(ctx, acct.Name)
		switch {
		case err != nil && !errors.Is(err, fault.NotFound):
			return "", err
		case g.TenantID != "" && g.TenantID != personalTenant:
			return g.TenantID, nil
		case domain == "" && !personal(acct.Mailbox):
			domain = acct.Mailbox.Domain
		}
	}
	if domain == "" {
		return "", fault.New(fault.Invalid, "use the certificate", "app %q is for tenant %q, and no account says in which one it can be tried", a.Name, a.Tenant).
			WithHint("give the app the GUID or a domain of one tenant, or sign an account of it in first")
	}
	return domain, nil
}
