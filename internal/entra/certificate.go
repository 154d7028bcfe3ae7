package entra

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // the portal's thumbprint is defined so; nothing is decided by it
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"

	"postern/internal/fault"
	"postern/internal/secret"
)

// Certificate is an app's credential: what Entra was given, and the key to it.
type Certificate struct {
	Leaf *x509.Certificate
	Key  *rsa.PrivateKey
}

// What a key must have. Entra takes 2048 bits; ours have some years more in them.
const (
	leastBits = 2048
	ownBits   = 3072
	longName  = 64 // octets of a common name (RFC 5280 appendix A.1)
)

// NewCertificate makes a key pair and a self-signed certificate for the name.
func NewCertificate(name string, from time.Time, life time.Duration) (Certificate, error) {
	const op = "make a certificate"
	if name == "" || len(name) > longName {
		return Certificate{}, fault.New(fault.Invalid, op, "a name of 1 to %d octets is needed", longName)
	}
	if life < time.Hour {
		return Certificate{}, fault.New(fault.Invalid, op, "a life of %s is too short", life)
	}
	key, err := rsa.GenerateKey(rand.Reader, ownBits)
	if err != nil {
		return Certificate{}, fault.Wrap(fault.Unknown, op, err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)) // RFC 5280 section 4.1.2.2: positive, at most 20 octets
	if err != nil {
		return Certificate{}, fault.Wrap(fault.Unknown, op, err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: from, NotAfter: from.Add(life),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		return Certificate{}, fault.Wrap(fault.Invalid, op, err)
	}
	leaf, err := x509.ParseCertificate(der)
	return Certificate{Leaf: leaf, Key: key}, fault.Wrap(fault.Unknown, op, err)
}

// ReadCertificate reads a certificate (PEM or DER) and its private key (PEM, PKCS #8
// or #1); both may come in one file, and others of the chain beside them. A pair that
// does not fit, and anything but RSA, is fault.Invalid. Whether it is in date is a
// question of when: see [Certificate.Valid].
func ReadCertificate(certificate []byte, key secret.Text) (Certificate, error) {
	const op = "read the certificate"
	private, err := readKey(key)
	if err != nil {
		return Certificate{}, err
	}
	chain, err := readChain(certificate)
	if err != nil || len(chain) == 0 {
		return Certificate{}, fault.New(fault.Invalid, op, "this is no certificate in PEM or DER").
			WithHint("give the .pem, .crt or .cer file that was uploaded; a .pfx is taken apart by: openssl pkcs12 -in FILE.pfx -nodes -out FILE.pem")
	}
	for _, leaf := range chain {
		if private.PublicKey.Equal(leaf.PublicKey) {
			return Certificate{Leaf: leaf, Key: private}, nil
		}
	}
	if _, ok := chain[0].PublicKey.(*rsa.PublicKey); !ok {
		return Certificate{}, fault.New(fault.Invalid, op, "it is for an %s key; Entra takes RSA", chain[0].PublicKeyAlgorithm)
	}
	return Certificate{}, fault.New(fault.Invalid, op, "certificate and private key do not belong together").
		WithHint("give the key that the certificate was made with, or let Postern make a new pair")
}

// readChain reads every certificate there is.
func readChain(b []byte) ([]*x509.Certificate, error) {
	if !bytes.Contains(b, []byte("-----BEGIN")) {
		return x509.ParseCertificates(b)
	}
	var chain []*x509.Certificate
	for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		chain = append(chain, c)
	}
	return chain, nil
}

// readKey finds the private key. What is wrong with it is said without quoting it.
func readKey(text secret.Text) (*rsa.PrivateKey, error) {
	const op = "read the private key"
	var block *pem.Block
	for rest := []byte(text.Reveal()); ; {
		if block, rest = pem.Decode(rest); block == nil {
			return nil, fault.New(fault.Invalid, op, "this is no private key in PEM").
				WithHint("give the file that begins with -----BEGIN PRIVATE KEY----- or -----BEGIN RSA PRIVATE KEY-----")
		}
		if strings.HasSuffix(block.Type, "PRIVATE KEY") {
			break
		}
	}
	if block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "" {
		return nil, fault.New(fault.Invalid, op, "it is locked by a passphrase").
			WithHint("take the passphrase off with: openssl pkey -in FILE -out NEWFILE (Postern seals the key itself)")
	}
	key, err := parseKey(block)
	switch {
	case errors.Is(err, errNotRSA):
		return nil, fault.New(fault.Invalid, op, "it is no RSA key; Entra takes RSA")
	case err != nil: // its words may hold octets of the key
		return nil, fault.New(fault.Invalid, op, "it is damaged").WithHint("copy the file again, whole")
	case key.N.BitLen() < leastBits:
		return nil, fault.New(fault.Invalid, op, "it has %d bits; Entra takes %d and more", key.N.BitLen(), leastBits)
	}
	return key, nil
}

var errNotRSA = errors.New("no RSA key")

func parseKey(block *pem.Block) (*rsa.PrivateKey, error) {
	switch block.Type {
	case "RSA PRIVATE KEY":
		return x509.ParsePKCS1PrivateKey(block.Bytes)
	case "PRIVATE KEY":
		key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			return nil, err
		}
		if private, ok := key.(*rsa.PrivateKey); ok {
			return private, nil
		}
	}
	return nil, errNotRSA
}

// justMade is how far ahead the clock may be that a certificate was made by.
const justMade = 5 * time.Minute

// Valid refuses, as fault.Invalid, a certificate that has ended or not begun at a time.
func (c Certificate) Valid(at time.Time) error {
	const op = "use the certificate"
	if at.After(c.Leaf.NotAfter) {
		return fault.New(fault.Invalid, op, "it ended on %s", c.Leaf.NotAfter.UTC().Format(time.DateOnly)).
			WithHint("make a new certificate and upload it under Certificates & secrets; if this one should be good, look at this machine's clock")
	}
	if at.Add(justMade).Before(c.Leaf.NotBefore) {
		return fault.New(fault.Invalid, op, "it begins on %s", c.Leaf.NotBefore.UTC().Format(time.DateOnly)).
			WithHint("wait until then; if it should be good, look at this machine's clock")
	}
	return nil
}

// PEM returns the certificate to upload, and the key as it is kept.
func (c Certificate) PEM() (certificate string, key secret.Text) {
	der, err := x509.MarshalPKCS8PrivateKey(c.Key)
	if err != nil {
		panic(err) // only keys of unknown kinds fail, and the type has one
	}
	certificate = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Leaf.Raw}))
	return certificate, secret.New(string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
}

// Thumbprint is how the portal shows the certificate: SHA-1, hex, capitals.
func (c Certificate) Thumbprint() string {
	return fmt.Sprintf("%X", sha1.Sum(c.Leaf.Raw)) //nolint:gosec // as above
}
