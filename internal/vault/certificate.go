package vault

import (
	"context"
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

// NewCertificate makes a key pair for an app and keeps it aside: the app goes on with
// what it has until UseCertificate. It returns the certificate to upload, in PEM, and
// its thumbprint as the portal shows it.
func (v *Vault) NewCertificate(ctx context.Context, app string, life time.Duration) (pem, thumbprint string, err error) {
	return "", "", fault.New(fault.Unknown, "make a certificate", "not built yet: %v %s %s", ctx, app, life)
}

// UseCertificate asks Entra for a token with the certificate that was kept aside and,
// when it takes it, puts it in place.
func (v *Vault) UseCertificate(ctx context.Context, app string) error {
	return fault.New(fault.Unknown, "use the certificate", "not built yet: %v %s", ctx, app)
}
