package vault

import (
	"context"
	"crypto/subtle"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"postern/internal/catalogue"
	"postern/internal/entra"
	"postern/internal/fault"
	"postern/internal/secret"
)

// What the seals are bound to, beside whose they are.
const (
	whatSecret   = "client secret"
	whatRefresh  = "refresh token"
	whatAccess   = "access token"
	whatVerifier = "sign-in verifier"
)

// Config is what a Vault needs.
type Config struct {
	Store     Store
	Sealer    *Sealer
	Entra     *entra.Client
	PublicURL string // where browsers reach Postern; the redirect URI follows from it
	Holder    string // this process, for claims; no two processes share one
	Now       func() time.Time
	Log       *slog.Logger
	Catalogue *catalogue.Catalogue
	Alert     func(context.Context, Alert) // hears what a person must hear, once each
}

// Vault keeps app registrations and accounts and hands out tokens. It is safe
// for concurrent use, and several may share one Store.
type Vault struct {
	store     Store
	seal      *Sealer
	entra     *entra.Client
	publicURL string
	holder    string
	now       func() time.Time
	log       *slog.Logger

	mu    sync.Mutex
	lanes map[string]*lane // by account
}

// Open builds a Vault; [Vault.Run] keeps its tokens fresh.
func Open(c Config) *Vault {
	return &Vault{
		store: c.Store, seal: c.Sealer, entra: c.Entra, publicURL: strings.TrimRight(c.PublicURL, "/"),
		holder: c.Holder, now: c.Now, log: c.Log, lanes: map[string]*lane{},
	}
}

// Apps lists the app registrations.
func (v *Vault) Apps(ctx context.Context) ([]App, error) { return v.store.Apps(ctx) }

// App returns one app registration.
func (v *Vault) App(ctx context.Context, name string) (App, error) { return v.store.App(ctx, name) }

// PutApp checks and keeps an app registration. A nil clear keeps the secret there
// is; an empty one makes the app a public client. a.Secret is ignored.
func (v *Vault) PutApp(ctx context.Context, a App, proof Proof) error {
	const op = "put app"
	clear := proof.Secret
	a.Tenant, a.ClientID = strings.TrimSpace(a.Tenant), strings.TrimSpace(a.ClientID)
	if strings.TrimSpace(a.Name) == "" {
		return fault.New(fault.Invalid, op, "it has no name")
	}
	reg := entra.Registration{Cloud: a.Cloud, Tenant: a.Tenant, ClientID: a.ClientID}
	if clear != nil {
		reg.Secret = secret.New(strings.TrimSpace(clear.Reveal()))
	}
	if err := reg.Validate(); err != nil {
		return err
	}
	a.Secret = nil
	if clear == nil {
		old, err := v.store.App(ctx, a.Name)
		if err != nil && !errors.Is(err, fault.NotFound) {
			return err
		}
		a.Secret = old.Secret
	} else {
		var err error
		if a.Secret, err = v.seal.Seal(reg.Secret, whatSecret, a.Name); err != nil {
			return err
		}
	}
	if err := v.store.PutApp(ctx, a); err != nil {
		return err
	}
	return v.probeNow(ctx, a.Name)
}

// probeNow lets accounts that wait for an administrator be tried at once: what
// was wrong with their app may just have been mended.
func (v *Vault) probeNow(ctx context.Context, app string) error {
	all, err := v.store.Accounts(ctx)
	for _, a := range all {
		if err == nil && a.App == app && a.State == NeedsAdmin {
			_, err = v.store.SetState(ctx, a.Name, Transition{To: a.State, By: a.By, Reason: a.Reason, At: v.now(), ProbeAt: v.now()})
		}
	}
	return err
}

// SecretIs reports whether clear is the secret of a.
func (v *Vault) SecretIs(a App, clear secret.Text) bool {
	have, err := v.seal.Open(a.Secret, whatSecret, a.Name)
	return err == nil && subtle.ConstantTimeCompare([]byte(have.Reveal()), []byte(strings.TrimSpace(clear.Reveal()))) == 1
}

// DeleteApp removes an app registration that no account uses.
func (v *Vault) DeleteApp(ctx context.Context, name string) error {
	return v.store.DeleteApp(ctx, name)
}

// Accounts lists the accounts.
func (v *Vault) Accounts(ctx context.Context) ([]Account, error) { return v.store.Accounts(ctx) }

// Account returns one account.
func (v *Vault) Account(ctx context.Context, name string) (Account, error) {
	return v.store.Account(ctx, name)
}

// PutAccount checks and keeps an account. One that now is another mailbox, app or
// method loses the grant it had: that grant was somebody else's.
func (v *Vault) PutAccount(ctx context.Context, a Account, clear *secret.Text) error {
	if clear != nil {
		return fault.New(fault.Unknown, "put account", "passwords are not built yet")
	}
	if err := v.checkAccount(ctx, a); err != nil {
		return err
	}
	old, err := v.store.Account(ctx, a.Name)
	if errors.Is(err, fault.NotFound) {
		a.State, a.By, a.Since, a.Reason, a.ProbeAt = New, Person, v.now(), "", time.Time{}
		return v.store.PutAccount(ctx, a)
	}
	if err != nil {
		return err
	}
	if err := v.store.PutAccount(ctx, a); err != nil {
		return err
	}
	if old.App == a.App && old.Method == a.Method && old.Mailbox.Same(a.Mailbox) && (a.Shared || !old.Shared) {
		return nil
	}
	if err := v.store.CommitGrant(ctx, Grant{Account: a.Name}, ""); err != nil {
		return err
	}
	_, err = v.store.SetState(ctx, a.Name, Transition{To: New, By: Person, At: v.now()})
	return err
}

func (v *Vault) checkAccount(ctx context.Context, a Account) error {
	const op = "put account"
	switch {
	case strings.TrimSpace(a.Name) == "":
		return fault.New(fault.Invalid, op, "it has no name")
	case a.Mailbox.Null():
		return fault.New(fault.Invalid, op, "account %q has no mailbox", a.Name)
	case a.Method != Delegated && a.Method != Application:
		return fault.New(fault.Invalid, op, "%q is not a sign-in method; allowed: %s, %s", a.Method, Delegated, Application)
	case len(a.Purposes) == 0:
		return fault.New(fault.Invalid, op, "account %q has no purpose; allowed: %s, %s, %s, %s", a.Name, Send, IMAP, POP3, Graph)
	}
	for _, p := range a.Purposes {
		if !slices.Contains([]Purpose{Send, IMAP, POP3, Graph}, p) {
			return fault.New(fault.Invalid, op, "%q is not a purpose; allowed: %s, %s, %s, %s", p, Send, IMAP, POP3, Graph)
		}
	}
	app, err := v.store.App(ctx, a.App)
	if errors.Is(err, fault.NotFound) {
		return fault.New(fault.Invalid, op, "there is no app %q", a.App).WithHint("register the app first")
	}
	if err != nil {
		return err
	}
	if a.Method == Application && !(entra.Registration{Tenant: app.Tenant}).Specific() {
		return fault.New(fault.Invalid, op, "app %q is for tenant %q, and app permission needs one tenant", app.Name, app.Tenant).
			WithHint("give the app the GUID or a domain of the one tenant it is to act in")
	}
	return nil
}

// DeleteAccount removes an account with its grant.
func (v *Vault) DeleteAccount(ctx context.Context, name string) error {
	return v.store.DeleteAccount(ctx, name)
}

// registration opens an app's secret for a request.
func (v *Vault) registration(a App) (entra.Registration, error) {
	s, err := v.seal.Open(a.Secret, whatSecret, a.Name)
	return entra.Registration{Cloud: a.Cloud, Tenant: a.Tenant, ClientID: a.ClientID, Secret: s}, err
}

// Description is what a page may show of an account. It holds no secret.
type Description struct {
	Account    Account
	SignedInAs string
	ObjectID   string
	TenantID   string
	Scopes     []string
	SignedInAt time.Time
	RotatedAt  time.Time
	Until      time.Time // when the grant lapses if nobody refreshes it; zero without one
	Access     []AccessFact
}

// AccessFact is an access token without the token.
type AccessFact struct {
	Resource string
	Issued   time.Time
	Expires  time.Time
}

// Describe tells what is known of an account.
func (v *Vault) Describe(ctx context.Context, name string) (Description, error) {
	acct, err := v.store.Account(ctx, name)
	if err != nil {
		return Description{}, err
	}
	d := Description{Account: acct}
	g, err := v.store.Grant(ctx, name)
	if errors.Is(err, fault.NotFound) {
		return d, nil
	}
	if err != nil {
		return Description{}, err
	}
	d.SignedInAs, d.ObjectID, d.TenantID, d.Scopes = g.SignedInAs, g.ObjectID, g.TenantID, g.Scopes
	d.SignedInAt, d.RotatedAt = g.SignedInAt, g.RotatedAt
	if len(g.Refresh) > 0 {
		d.Until = g.RotatedAt.Add(grantLife)
	}
	for _, a := range g.Access {
		d.Access = append(d.Access, AccessFact{Resource: a.Resource, Issued: a.Issued, Expires: a.Expires})
	}
	return d, nil
}
