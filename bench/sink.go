package main

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"strings"
	"sync/atomic"
	"time"
)

// sink takes mail over STARTTLS with a login, as Microsoft does, and throws it away.
// Both sides of a comparison deliver to it.
type sink struct {
	listener net.Listener
	tls      *tls.Config
	pem      []byte // whom to believe
	taken    atomic.Int64
}

func startSink() (*sink, error) {
	cert, key, err := selfSigned()
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, err
	}
	s := &sink{pem: cert, tls: &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}}
	if s.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, err
	}
	go func() {
		for {
			conn, err := s.listener.Accept()
			if err != nil {
				return
			}
			go s.serve(conn)
		}
	}()
	return s, nil
}

// selfSigned makes a certificate for localhost that vouches for itself, and its key.
func selfSigned() (certPEM, keyPEM []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		return nil, nil, err
	}
	secret, err := x509.MarshalECPrivateKey(key)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: secret}), err
}

func (s *sink) port() string {
	_, port, _ := net.SplitHostPort(s.listener.Addr().String())
	return port
}

// serve speaks the least SMTP that both peers need. A message is counted before its
// answer is sent.
func (s *sink) serve(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	r, w := bufio.NewReaderSize(conn, 64<<10), bufio.NewWriter(conn)
	say := func(line string) bool {
		_, _ = w.WriteString(line + "\r\n")
		return r.Buffered() > 0 || w.Flush() == nil // answers to a pipeline go together
	}
	if !say("220 localhost ESMTP") {
		return
	}
	secure := false
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		switch verb := strings.ToUpper(strings.TrimSpace(line)); {
		case strings.HasPrefix(verb, "EHLO"):
			if secure {
				say("250-localhost\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SIZE 157286400\r\n250 AUTH PLAIN LOGIN")
			} else {
				say("250-localhost\r\n250 STARTTLS")
			}
		case verb == "STARTTLS":
			say("220 go on")
			over := tls.Server(conn, s.tls)
			r, w, secure = bufio.NewReaderSize(over, 64<<10), bufio.NewWriter(over), true
		case strings.HasPrefix(verb, "AUTH"):
			say("235 2.7.0 welcome")
		case verb == "DATA":
			say("354 go on")
			if drain(r) != nil {
				return
			}
			s.taken.Add(1)
			say("250 2.0.0 OK")
		case verb == "QUIT":
			say("221 bye")
			return
		default:
			say("250 2.0.0 OK")
		}
	}
}

// drain reads to the dot.
func drain(r *bufio.Reader) error {
	for start := true; ; {
		part, err := r.ReadSlice('\n')
		if err != nil && err != bufio.ErrBufferFull { //nolint:errorlint // bufio's own
			return err
		}
		if start && bytes.Equal(part, []byte(".\r\n")) {
			return nil
		}
		start = err == nil
		if err == io.EOF { //nolint:errorlint // bufio's own
			return err
		}
	}
}
