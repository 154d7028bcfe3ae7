package declare

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"

	"postern/internal/entra"
	"postern/internal/fault"
	"postern/internal/secret"
	"postern/internal/vault"
)

// credential is how an app proves itself, as far as a document says.
type credential struct {
	secret   *secret.Text       // nil keeps what there is
	leaf     []byte             // DER of the certificate; nil keeps what there is
	pair     *entra.Certificate // leaf with its key; nil when the key is not given
	unusable bool               // the secret came packed and sealed by CrushFTP
}

func (a Applier) app(d App) (step, error) {
	var cred credential
	if err := d.unpack(a.Getenv, &cred); err != nil {
		return nil, err
	}
	cloud, err := d.cloud(a.Getenv)
	if err != nil {
		return nil, err
	}
	cloud.HVEScope = strings.TrimSpace(d.HVEScope)
	want := vault.App{Name: d.Name, Tenant: strings.TrimSpace(d.Tenant), ClientID: strings.TrimSpace(d.ClientID), Cloud: cloud}
	if d.SecretExpires != "" {
		if want.SecretExpires, err = time.Parse(time.DateOnly, strings.TrimSpace(d.SecretExpires)); err != nil {
			return nil, fmt.Errorf("secret_expires: %q is not a date; allowed: 2027-05-01", d.SecretExpires)
		}
	}
	if err := d.credential(a.Getenv, &cred); err != nil {
		return nil, err
	}
	if want.ClientID == "" && (cred.secret != nil || cred.leaf != nil || d.SecretExpires != "") {
		return nil, errors.New("client_id: it is needed beside a secret or a certificate; an app of nothing but name and cloud has neither")
	}
	return func(ctx context.Context) (Change, error) { return a.putApp(ctx, want, cred) }, nil
}

// putApp writes an app that differs from the one there is.
func (a Applier) putApp(ctx context.Context, want vault.App, cred credential) (Change, error) {
	c := Change{Kind: "app", Name: want.Name}
	have, err := a.Vault.App(ctx, want.Name)
	if cred.unusable && cred.secret == nil && len(have.Secret) == 0 && len(have.Certificate) == 0 {
		c.Note = "the packed secret is CrushFTP's own encryption of it, which nobody else can read: enter the client secret again with `postern apps secret " + want.Name + "`"
	}
	held := cred.leaf == nil || (reflect.DeepEqual(cred.leaf, have.Certificate) && len(have.Key) > 0)
	if cred.leaf != nil && cred.pair == nil && !held {
		return c, fault.New(fault.Invalid, "certificate", "it is not the one that is kept, and comes without its key").
			WithHint("give certificate_key too, or let Postern make a pair: postern apps certificate %s new", want.Name)
	}
	same := func() bool {
		w := want
		w.Secret, w.Certificate, w.Key = have.Secret, have.Certificate, have.Key
		return held && reflect.DeepEqual(normal(w), normal(have)) && (cred.secret == nil || a.Vault.SecretIs(have, *cred.secret))
	}
	return c.put(err, same, func() error {
		proof := vault.Proof{Secret: cred.secret}
		if !held {
			proof.Certificate = cred.pair
		}
		return a.Vault.PutApp(ctx, want, proof)
	})
}

// normal makes times comparable.
func normal(a vault.App) vault.App {
	a.SecretExpires = a.SecretExpires.UTC().Truncate(time.Millisecond)
	return a
}

// blankTenant is what a packed name without a tenant stands for.
const blankTenant = "common"

// unpack fills client id, secret and tenant in from a packed name. What is given
// beside it must say the same; a secret beside it is for one that is unusable.
func (d *App) unpack(getenv func(string) (string, bool), cred *credential) error {
	if d.Packed == nil {
		return nil
	}
	text, err := d.Packed.Read(getenv)
	if err != nil {
		return fmt.Errorf("packed: %w", err)
	}
	p, err := entra.ParsePacked(text)
	if err != nil {
		return fmt.Errorf("packed: %w", err)
	}
	for _, f := range []struct {
		key   string
		given *string
		holds string
	}{{"client_id", &d.ClientID, p.ClientID}, {"tenant", &d.Tenant, p.Tenant}} {
		g := strings.TrimSpace(*f.given)
		switch {
		case g == "":
			*f.given = f.holds
		case f.holds == blankTenant, strings.EqualFold(g, f.holds):
		default:
			return fmt.Errorf("packed: its %s is %q, and %s says %q; leave one out", f.key, f.holds, f.key, g)
		}
	}
	switch {
	case p.Unusable:
		cred.unusable = true
	case p.Secret.Empty():
	case d.Secret != nil:
		return errors.New("packed: it holds a secret, and so does secret; leave one out")
	default:
		cred.secret = &p.Secret
	}
	return nil
}

// credential reads secret and certificate.
func (d App) credential(getenv func(string) (string, bool), cred *credential) error {
	if d.Secret != nil {
		s, err := d.Secret.trimmed(getenv)
		if err != nil {
			return fmt.Errorf("secret: %w", err)
		}
		cred.secret = &s
	}
	switch {
	case d.Certificate == nil && d.CertificateKey == nil:
		return nil
	case d.Certificate == nil:
		return errors.New("certificate: it is needed beside certificate_key")
	}
	text, err := d.Certificate.raw(getenv)
	if err != nil {
		return fmt.Errorf("certificate: %w", err)
	}
	if d.CertificateKey == nil {
		if cred.leaf, err = leaf(text); err != nil {
			return fmt.Errorf("certificate: %w", err)
		}
		return nil
	}
	key, err := d.CertificateKey.Read(getenv)
	if err != nil {
		return fmt.Errorf("certificate_key: %w", err)
	}
	pair, err := entra.ReadCertificate([]byte(text.Reveal()), key)
	if err != nil {
		return fmt.Errorf("certificate: %w", err)
	}
	cred.leaf, cred.pair = pair.Leaf.Raw, &pair
	return nil
}

// pemCertificate is the type of a certificate's block (RFC 7468 section 5.1).
const pemCertificate = "CERTIFICATE"

// leaf reads a certificate in PEM or DER.
func leaf(text secret.Text) ([]byte, error) {
	der := []byte(text.Reveal())
	if block, _ := pem.Decode(der); block != nil {
		der = block.Bytes
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, errors.New("this is no certificate; a file in PEM begins with -----BEGIN CERTIFICATE-----")
	}
	return c.Raw, nil
}
