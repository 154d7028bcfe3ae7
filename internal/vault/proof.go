package vault

import (
	"context"
	"crypto/x509"
	"errors"
	"time"

	"postern/internal/entra"
	"postern/internal/fault"
)

// Shown is how an app proves itself, as a page may show it. It holds no secret.
type Shown struct {
	Kind       string    // secret, certificate or none; where there are both, the certificate is used
	Until      time.Time // zero where nobody said it
	From       time.Time // of a certificate, like what follows
	Thumbprint string    // as the portal shows it
	Subject    string
}

// Shows tells how the app proves itself. A certificate that cannot be read is an error.
func (a App) Shows() (Shown, error) {
	switch {
	case len(a.Certificate) > 0:
		leaf, err := x509.ParseCertificate(a.Certificate)
		if err != nil {
			return Shown{Kind: "certificate"}, fault.New(fault.NeedsAdmin, "show app "+a.Name, "its certificate cannot be read: %w", err).
				WithHint("postern apps certificate %s new", a.Name)
		}
		return shownOf(entra.Certificate{Leaf: leaf}), nil
	case len(a.Secret) > 0:
		return Shown{Kind: "secret", Until: a.SecretExpires}, nil
	}
	return Shown{Kind: "none"}, nil
}

func shownOf(c entra.Certificate) Shown {
	return Shown{Kind: "certificate", Until: c.Leaf.NotAfter, From: c.Leaf.NotBefore, Thumbprint: c.Thumbprint(), Subject: c.Leaf.Subject.String()}
}

// Aside is the certificate that was made for an app and is not in use yet, and the same
// to upload, in PEM; zero where there is none.
func (v *Vault) Aside(ctx context.Context, app string) (c Shown, pem string, err error) {
	pair, _, err := v.aside(ctx, app)
	if errors.Is(err, fault.NotFound) {
		return Shown{}, "", nil
	}
	if err != nil {
		return Shown{}, "", err
	}
	pem, _ = pair.PEM()
	return shownOf(pair), pem, nil
}
