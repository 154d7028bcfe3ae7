package smtp_test

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/internal/mail"
	"postern/internal/smtp"
)

// certificate is a fresh one for "upstream.example" and the pool that trusts it.
var certificate = sync.OnceValues(func() (tls.Certificate, *x509.CertPool) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "upstream.example"},
		DNSNames: []string{"upstream.example"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
})

// upstream plays one dialogue per connection on loopback. Lines of a dialogue:
//
//	S: text     say it
//	C: text     expect exactly this line
//	* TLS       begin TLS
//	* CLOSE     hang up
//	* SILENCE   say nothing more until the client hangs up
//	# comment
type upstream struct {
	l         net.Listener
	dialogues []string
	failed    chan error // one value per connection, nil when it went as written
}

func serve(t *testing.T, dialogues ...string) *upstream {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u := &upstream{l: l, dialogues: dialogues, failed: make(chan error, len(dialogues))}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for _, d := range dialogues {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			u.failed <- play(conn, d)
			_ = conn.Close()
		}
	}()
	return u
}

func play(conn net.Conn, dialogue string) error {
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	br := bufio.NewReader(conn)
	for line := range strings.Lines(dialogue) {
		line = strings.TrimRight(line, "\n")
		switch {
		case line == "" || line[0] == '#':
		case line == "* CLOSE":
			return nil
		case line == "* SILENCE":
			_, _ = br.ReadByte()
			return nil
		case line == "* TLS":
			cert, _ := certificate()
			secure := tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{cert}})
			conn, br = secure, bufio.NewReader(secure)
		case strings.HasPrefix(line, "S: "):
			if _, err := fmt.Fprintf(conn, "%s\r\n", line[3:]); err != nil {
				return err
			}
		case strings.HasPrefix(line, "C: "), line == "C:":
			got, err := br.ReadString('\n')
			if err != nil {
				return fmt.Errorf("%q expected: %w", line, err)
			}
			if want := strings.TrimPrefix(strings.TrimPrefix(line, "C:"), " ") + "\r\n"; got != want {
				return fmt.Errorf("got %q, want %q", got, want)
			}
		default:
			return fmt.Errorf("cannot play %q", line)
		}
	}
	return nil
}

// asWritten waits for the next connection to end and reports a departure.
func (u *upstream) asWritten(t *testing.T) {
	t.Helper()
	select {
	case err := <-u.failed:
		if err != nil {
			t.Errorf("the dialogue departed: %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("the dialogue did not end")
	}
}

// config reaches u under the name its certificate has.
func (u *upstream) config() smtp.Config {
	_, pool := certificate()
	return smtp.Config{
		Server:    mail.Server{Host: "upstream.example", Port: 587, TLS: mail.STARTTLS},
		RootCAs:   pool,
		HelloName: "postern.example",
		Dialer:    redirect{u.l.Addr().String()},
	}
}

// dialogue is a file of testdata after the opening up to AUTH, which all share.
func dialogue(t *testing.T, name string) string {
	t.Helper()
	return file(t, "opening") + file(t, name)
}

func file(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile("testdata/" + name + ".txt")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
