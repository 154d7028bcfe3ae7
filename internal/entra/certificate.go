package entra

import (
	"crypto/rsa"
	"crypto/x509"
	"time"

	"postern/internal/fault"
	"postern/internal/secret"
)

// Certificate is an app's credential: what Entra was given, and the key to it.
type Certificate struct {
	Leaf *x509.Certificate
	Key  *rsa.PrivateKey
}

// NewCertificate makes a key pair and a self-signed certificate for the name.
func NewCertificate(name string, from time.Time, life time.Duration) (Certificate, error) {
	return Certificate{}, fault.New(fault.Unknown, "make a certificate", "not built yet: %s %s %s", name, from, life)
}

// ReadCertificate reads a certificate (PEM or DER) and its private key (PEM, PKCS #8
// or #1). A pair that does not fit, and anything but RSA, is fault.Invalid.
func ReadCertificate(certificate []byte, key secret.Text) (Certificate, error) {
	return Certificate{}, fault.New(fault.Unknown, "read the certificate", "not built yet: %d %s", len(certificate), key)
}

// PEM returns the certificate to upload, and the key as it is kept.
func (c Certificate) PEM() (certificate string, key secret.Text) { return "", secret.Text{} }

// Thumbprint is how the portal shows the certificate: SHA-1, hex, capitals.
func (c Certificate) Thumbprint() string { return "" }
