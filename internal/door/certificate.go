package door

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"postern/internal/fault"
)

// The files of a certificate in its directory.
const (
	certFile = "tls.crt"
	keyFile  = "tls.key"
)

// selfSignedLife is long, because nobody renews a printer's trust.
const selfSignedLife = 5 * 365 * 24 * time.Hour

// LoadCertificate reads a PEM chain and its key.
func LoadCertificate(certPath, keyPath string) (tls.Certificate, error) {
	c, err := tls.LoadX509KeyPair(certPath, keyPath)
	if err != nil {
		return tls.Certificate{}, fault.Wrap(fault.Invalid, "load certificate", err)
	}
	return c, nil
}

// reloadAfter is how often files are looked at for a renewed certificate.
const reloadAfter = 10 * time.Second

// Reloaded serves the certificate of two files and follows them when they are
// replaced. A pair that cannot be read, or does not fit (a renewal half done), leaves
// the last good one in use; complain hears of it.
func Reloaded(certPath, keyPath string, complain func(error)) (func(*tls.ClientHelloInfo) (*tls.Certificate, error), error) {
	current, err := LoadCertificate(certPath, keyPath)
	if err != nil {
		return nil, err
	}
	r := &reloader{current: &current, stamp: stamp(certPath, keyPath), looked: time.Now()}
	return func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		return r.get(certPath, keyPath, complain), nil
	}, nil
}

type reloader struct {
	mu      sync.Mutex
	current *tls.Certificate
	stamp   string
	looked  time.Time
}

func (r *reloader) get(certPath, keyPath string, complain func(error)) *tls.Certificate {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.looked) < reloadAfter {
		return r.current
	}
	r.looked = time.Now()
	now := stamp(certPath, keyPath)
	if now == r.stamp {
		return r.current
	}
	fresh, err := LoadCertificate(certPath, keyPath)
	if err != nil {
		complain(err)
		return r.current
	}
	r.current, r.stamp = &fresh, now
	return r.current
}

// stamp changes when a file does.
func stamp(paths ...string) string {
	var s strings.Builder
	for _, p := range paths {
		if info, err := os.Stat(p); err == nil {
			fmt.Fprintf(&s, "%d %d;", info.ModTime().UnixNano(), info.Size())
		}
	}
	return s.String()
}

// SelfSigned returns the certificate that dir keeps, and makes one for the
// hostnames and addresses when there is none or it has ended. Both files are
// readable by their owner only.
func SelfSigned(dir string, hostnames []string) (tls.Certificate, error) {
	certPath, keyPath := filepath.Join(dir, certFile), filepath.Join(dir, keyFile)
	c, err := tls.LoadX509KeyPair(certPath, keyPath)
	switch {
	case err == nil && time.Now().Before(c.Leaf.NotAfter):
		return c, nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return tls.Certificate{}, fault.Wrap(fault.Invalid, "load certificate", err)
	}
	certPEM, keyPEM, err := newCertificate(hostnames, time.Now())
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make certificate: %w", err)
	}
	// The certificate last: while it is missing, the next start makes both anew.
	for _, f := range []struct {
		path string
		data []byte
	}{{keyPath, keyPEM}, {certPath, certPEM}} {
		if err := writeFile(f.path, f.data); err != nil {
			return tls.Certificate{}, fault.Wrap(fault.Temporary, "store certificate", err)
		}
	}
	return tls.X509KeyPair(certPEM, keyPEM)
}

func newCertificate(hostnames []string, now time.Time) (certPEM, keyPEM []byte, err error) {
	if len(hostnames) == 0 {
		hostnames = []string{"localhost"}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: hostnames[0], Organization: []string{"Postern"}},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.Add(selfSignedLife),
		KeyUsage:     x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IsCA:         true, BasicConstraintsValid: true, // so that it can be put into a trust store
	}
	for _, h := range hostnames {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), nil
}

// writeFile replaces path in one step; os.CreateTemp makes files 0600.
func writeFile(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}
