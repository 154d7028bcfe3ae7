package vault

import (
	"context"
	"crypto/subtle"
	"errors"
	"log/slog"
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
	whatKey      = "private key"
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
	Catalogue *catalogue.Catalogue         // nil: no number is told from another
	Alert     func(context.Context, Alert) // hears what a person must hear, once each; nil: nobody does
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
	catalogue *catalogue.Catalogue
	alert     func(context.Context, Alert)

	mu    sync.Mutex
	lanes map[string]*lane // by account
}

// Open builds a Vault; [Vault.Run] keeps its tokens fresh.
func Open(c Config) *Vault {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Vault{
		store: c.Store, seal: c.Sealer, entra: c.Entra, publicURL: strings.TrimRight(c.PublicURL, "/"),
		holder: c.Holder, now: c.Now, log: c.Log, catalogue: c.Catalogue, alert: c.Alert, lanes: map[string]*lane{},
	}
}

// Apps lists the app registrations.
func (v *Vault) Apps(ctx context.Context) ([]App, error) { return v.store.Apps(ctx) }

// App returns one app registration.
func (v *Vault) App(ctx context.Context, name string) (App, error) { return v.store.App(ctx, name) }

// PutApp checks and keeps an app registration; what proof does not name stays as
// it is, as long as it goes to the same hosts, and what a itself holds of secrets is ignored. One without tenant, client
// id and credential says where the mail servers are, and nothing else.
func (v *Vault) PutApp(ctx context.Context, a App, proof Proof) error {
	a.Name, a.Tenant, a.ClientID = strings.TrimSpace(a.Name), strings.TrimSpace(a.Tenant), strings.TrimSpace(a.ClientID)
	if a.Name == "" {
		return fault.New(fault.Invalid, "put app", "it has no name")
	}
	old, err := v.store.App(ctx, a.Name)
	if err != nil && !errors.Is(err, fault.NotFound) {
		return err
	}
	exists := err == nil
	if err := checkMove(old, a, proof.Secret != nil); err != nil {
		return err
	}
	reg := entra.Registration{Cloud: a.Cloud, Tenant: a.Tenant, ClientID: a.ClientID}
	if proof.Secret != nil {
		reg.Secret = secret.New(strings.TrimSpace(proof.Secret.Reveal()))
	}
	if a.Secret, err = v.proveBySecret(a.Name, old, proof.Secret != nil, reg.Secret); err != nil {
		return err
	}
	if a.Certificate, a.Key, err = v.proveByCertificate(a.Name, old, proof.Certificate); err != nil {
		return err
	}
	if a.Tenant == "" && a.ClientID == "" && len(a.Secret) == 0 && len(a.Certificate) == 0 {
		err = checkHosts(a.Cloud)
	} else {
		err = reg.Validate()
	}
	if err != nil {
		return err
	}
	if exists {
		if err := v.leaveBehind(ctx, old, a); err != nil {
			return err
		}
	}
	if err := v.store.PutApp(ctx, a); err != nil {
		return err
	}
	return v.probeNow(ctx, a.Name)
}

// checkHosts wants at least one server of an app that is nothing but its servers.
func checkHosts(c entra.Cloud) error {
	if c.SMTP.Set() || c.HVE.Set() || c.IMAP.Set() || c.POP3.Set() {
		return nil
	}
	return fault.New(fault.Invalid, "put app", "it has neither a client id nor a mail server").
		WithHint("give it tenant and client id; or, for accounts with app passwords, the hosts of the mail servers")
}

func (v *Vault) proveBySecret(app string, old App, given bool, clear secret.Text) (Sealed, error) {
	if !given {
		return old.Secret, nil
	}
	return v.seal.Seal(clear, whatSecret, app)
}

func (v *Vault) proveByCertificate(app string, old App, given *entra.Certificate) (der []byte, key Sealed, err error) {
	switch {
	case given == nil:
		return old.Certificate, old.Key, nil
	case given.Leaf == nil && given.Key == nil:
		return nil, nil, nil
	case given.Leaf == nil || given.Key == nil:
		return nil, nil, fault.New(fault.Invalid, "put app", "a certificate and its private key are needed, and one of them is missing")
	}
	if err := given.Valid(v.now()); err != nil {
		return nil, nil, err
	}
	_, clear := given.PEM()
	key, err = v.seal.Seal(clear, whatKey, app)
	return given.Leaf.Raw, key, err
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

// registration opens an app's credential for a request.
func (v *Vault) registration(a App) (entra.Registration, error) {
	reg := entra.Registration{Cloud: a.Cloud, Tenant: a.Tenant, ClientID: a.ClientID}
	var err error
	if reg.Secret, err = v.seal.Open(a.Secret, whatSecret, a.Name); err != nil || len(a.Certificate) == 0 {
		return reg, err
	}
	key, err := v.seal.Open(a.Key, whatKey, a.Name)
	if err != nil {
		return reg, err
	}
	c, err := entra.ReadCertificate(a.Certificate, key)
	reg.Certificate = &c
	return reg, err
}
