package entra_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"strings"
	"testing"
	"time"

	"postern/internal/entra"
	"postern/internal/fault"
	"postern/internal/secret"
)

func newCertificate(t *testing.T) entra.Certificate {
	t.Helper()
	c, err := entra.NewCertificate("postern", time.Now(), 365*24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestNewCertificate(t *testing.T) {
	t.Parallel()
	from := time.Date(2026, 10, 1, 8, 0, 0, 0, time.UTC)
	c, err := entra.NewCertificate("Postern on gateway-1", from, 90*24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if c.Leaf.Subject.CommonName != "Postern on gateway-1" || !c.Leaf.NotBefore.Equal(from) || !c.Leaf.NotAfter.Equal(from.Add(90*24*time.Hour)) {
		t.Errorf("%s, %s to %s", c.Leaf.Subject, c.Leaf.NotBefore, c.Leaf.NotAfter)
	}
	if c.Key.N.BitLen() < 2048 || c.Leaf.IsCA {
		t.Errorf("%d bits, an authority: %t", c.Key.N.BitLen(), c.Leaf.IsCA)
	}
	if err := c.Leaf.CheckSignature(c.Leaf.SignatureAlgorithm, c.Leaf.RawTBSCertificate, c.Leaf.Signature); err != nil {
		t.Errorf("not signed by itself: %v", err)
	}
	certificate, key := c.PEM()
	back, err := entra.ReadCertificate([]byte(certificate), key)
	if err != nil || !back.Leaf.Equal(c.Leaf) || !back.Key.Equal(c.Key) {
		t.Errorf("what was written is not what is read: %v", err)
	}
	if strings.Contains(certificate, "PRIVATE") || !strings.HasPrefix(key.Reveal(), "-----BEGIN PRIVATE KEY-----") {
		t.Error("the certificate to upload and the key are mixed up")
	}
	for name, life := range map[string]time.Duration{
		"a":                     0,
		"":                      time.Hour,
		strings.Repeat("x", 65): time.Hour,
	} {
		if _, err := entra.NewCertificate(name, from, life); !errors.Is(err, fault.Invalid) {
			t.Errorf("name %q, life %s: %v", name, life, err)
		}
	}
}

// The vector is what openssl x509 -fingerprint -sha1 says of the file.
func TestThumbprint(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("testdata/vector.pem")
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if got := (entra.Certificate{Leaf: leaf}).Thumbprint(); got != "769D3518019A4A02241786D00824A439653F57AF" {
		t.Errorf("thumbprint %s", got)
	}
}

func TestValid(t *testing.T) {
	t.Parallel()
	c := newCertificate(t)
	for name, tc := range map[string]struct {
		at   time.Time
		good bool
	}{
		"now":                       {time.Now(), true},
		"made by a clock ahead":     {c.Leaf.NotBefore.Add(-4 * time.Minute), true},
		"not begun":                 {c.Leaf.NotBefore.Add(-time.Hour), false},
		"on its last day":           {c.Leaf.NotAfter.Add(-time.Hour), true},
		"ended a moment ago":        {c.Leaf.NotAfter.Add(time.Second), false},
		"ended when nobody noticed": {c.Leaf.NotAfter.AddDate(1, 0, 0), false},
	} {
		err := c.Valid(tc.at)
		if (err == nil) != tc.good || err != nil && (!errors.Is(err, fault.Invalid) || !strings.Contains(fault.HintOf(err), "clock")) {
			t.Errorf("%s: %v, hint %q", name, err, fault.HintOf(err))
		}
	}
}

// pair is a key of so many bits and a certificate that it signed for itself.
func pair(t *testing.T, bits int) (der []byte, key *rsa.PrivateKey) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "from elsewhere"}, NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour)}
	if der, err = x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key); err != nil {
		t.Fatal(err)
	}
	return der, key
}

func armour(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func TestReadCertificate(t *testing.T) {
	t.Parallel()
	der, key := pair(t, 2048)
	other, otherKey := pair(t, 2048)
	small, smallKey := pair(t, 1024)
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	curveKey, err := x509.MarshalPKCS8PrivateKey(curve)
	if err != nil {
		t.Fatal(err)
	}
	curveKey1, err := x509.MarshalECPrivateKey(curve)
	if err != nil {
		t.Fatal(err)
	}
	vector, err := os.ReadFile("testdata/vector.pem") // an EC certificate
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	good, goodKey := armour("CERTIFICATE", der), armour("PRIVATE KEY", pkcs8)
	pkcs1 := armour("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key))
	for name, tc := range map[string]struct{ certificate, key, says string }{
		"PEM, PKCS #8":                 {good, goodKey, ""},
		"PEM, PKCS #1":                 {good, pkcs1, ""},
		"DER":                          {string(der), goodKey, ""},
		"one file for both":            {goodKey + good, good + goodKey, ""},
		"words and blanks around":      {"\r\nsubject=CN=x\n" + good + "\n", "Bag Attributes\n" + goodKey + "\n\n", ""},
		"a chain, ours last":           {armour("CERTIFICATE", other) + good, goodKey, ""},
		"another's key":                {good, armour("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(otherKey)), "do not belong together"},
		"an EC key":                    {good, armour("PRIVATE KEY", curveKey), "no RSA key"},
		"an EC key, SEC 1":             {good, armour("EC PRIVATE KEY", curveKey1), "no RSA key"},
		"an EC certificate":            {string(vector), goodKey, "ECDSA"},
		"a small key":                  {armour("CERTIFICATE", small), armour("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(smallKey)), "1024 bits"},
		"a locked key":                 {good, armour("ENCRYPTED PRIVATE KEY", pkcs8), "passphrase"},
		"a locked key, the old way":    {good, strings.Replace(pkcs1, "-----\n", "-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\n", 1), "passphrase"},
		"a damaged key":                {good, armour("PRIVATE KEY", pkcs8[:len(pkcs8)-9]), "damaged"},
		"no key":                       {good, "", "no private key"},
		"the certificate as the key":   {good, good, "no private key"},
		"no certificate":               {"", goodKey, "no certificate"},
		"a damaged certificate":        {armour("CERTIFICATE", der[:len(der)-9]), goodKey, "no certificate"},
		"the key as the certificate":   {goodKey, goodKey, "no certificate"},
		"octets that are nothing":      {"\x30\x82\x00", goodKey, "no certificate"},
		"a certificate cut off in PEM": {good[:len(good)-40], goodKey, "no certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := entra.ReadCertificate([]byte(tc.certificate), secret.New(tc.key))
			if tc.says == "" {
				if err != nil || !bytes.Equal(got.Leaf.Raw, der) || !got.Key.Equal(key) {
					t.Errorf("%v", err)
				}
				return
			}
			if !errors.Is(err, fault.Invalid) || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("%v, want it invalid and to say %q", err, tc.says)
			}
			body := strings.Split(goodKey, "\n")[3]
			if shown := fmt.Sprintf("%+v %#v %s", err, fault.As(err), fault.HintOf(err)); strings.Contains(shown, body) {
				t.Error("the error shows the key")
			}
		})
	}
}

func FuzzReadCertificate(f *testing.F) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		f.Fatal(err)
	}
	vector, err := os.ReadFile("testdata/vector.pem")
	if err != nil {
		f.Fatal(err)
	}
	private := armour("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key))
	f.Add(vector, private)
	f.Add([]byte("0\x82"), private+private)
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"), "-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n")
	f.Fuzz(func(t *testing.T, certificate []byte, key string) {
		c, err := entra.ReadCertificate(certificate, secret.New(key))
		if err != nil {
			if !errors.Is(err, fault.Invalid) {
				t.Fatalf("%v", err)
			}
			return
		}
		if !c.Key.PublicKey.Equal(c.Leaf.PublicKey) || c.Key.N.BitLen() < 2048 {
			t.Fatal("a pair that does not fit was taken")
		}
		certificateText, keyText := c.PEM()
		again, err := entra.ReadCertificate([]byte(certificateText), keyText)
		if err != nil || !again.Key.Equal(c.Key) {
			t.Fatalf("what was read cannot be written and read again: %v", err)
		}
	})
}
