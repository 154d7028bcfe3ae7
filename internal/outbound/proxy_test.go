package outbound_test

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/binary"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// target is what requests are for. No resolver knows its name; the proxies do.
const target = "login.test"

// site is a web server under the name of target, and the proxies that lead there.
type site struct {
	t    *testing.T
	ca   string // PEM; of the site and of the proxy that speaks TLS
	cert tls.Certificate
	at   string       // where the site really listens
	hits atomic.Int64 // connections that proxies made
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{t: t}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: target}, DNSNames: []string{target}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	s.ca = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	s.cert = tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	srv := s.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "hello from "+r.Host) }), true)
	s.at = strings.TrimPrefix(srv.URL, "https://")
	return s
}

// serve starts a server with the site's certificate that offers HTTP/2, as most do.
func (s *site) serve(h http.Handler, secure bool) *httptest.Server {
	srv := httptest.NewUnstartedServer(h)
	srv.Config.ErrorLog = log.New(io.Discard, "", 0) // refused certificates are what some tests want
	if secure {
		srv.TLS = &tls.Config{Certificates: []tls.Certificate{s.cert}}
		srv.EnableHTTP2 = true
		srv.StartTLS()
	} else {
		srv.Start()
	}
	s.t.Cleanup(srv.Close)
	return srv
}

// proxy starts a proxy and returns its host and port. Without a user it asks for nothing.
func (s *site) proxy(scheme, user, password string) string {
	if scheme == "socks5" {
		return s.socks(user, password)
	}
	srv := s.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.connect(w, r, user, password) }), scheme == "https")
	_, at, _ := strings.Cut(srv.URL, "://")
	return at
}

// connect answers CONNECT (RFC 9110 section 9.3.6).
func (s *site) connect(w http.ResponseWriter, r *http.Request, user, password string) {
	want := "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
	switch {
	case r.Method != http.MethodConnect:
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	case user != "" && r.Header.Get("Proxy-Authorization") != want:
		w.WriteHeader(http.StatusProxyAuthRequired)
		return
	case r.Host != target+":443":
		w.WriteHeader(http.StatusForbidden)
		return
	}
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil { // HTTP/2: the client took what it does not speak
		s.t.Errorf("hijack: %v", err)
		return
	}
	if _, err := io.WriteString(conn, "HTTP/1.1 200 Connection established\r\n\r\n"); err == nil {
		s.through(conn)
	}
}

// through joins the client with the site until one of them ends.
func (s *site) through(client net.Conn) {
	defer client.Close()
	s.hits.Add(1)
	server, err := net.Dial("tcp", s.at)
	if err != nil {
		return
	}
	defer server.Close()
	var both sync.WaitGroup
	both.Go(func() { _, _ = io.Copy(server, client); _ = server.(*net.TCPConn).CloseWrite() })
	both.Go(func() { _, _ = io.Copy(client, server); _ = client.Close() })
	both.Wait()
}

// socks starts a SOCKS5 proxy (RFC 1928, RFC 1929).
func (s *site) socks(user, password string) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	var open sync.WaitGroup
	s.t.Cleanup(func() { _ = l.Close(); open.Wait() })
	open.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			open.Go(func() { defer conn.Close(); s.greet(conn, user, password) })
		}
	})
	return l.Addr().String()
}

func (s *site) greet(conn net.Conn, user, password string) {
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	r := bufio.NewReader(conn)
	head := make([]byte, 2) // version, how many methods
	if _, err := io.ReadFull(r, head); err != nil {
		return
	}
	methods := make([]byte, head[1])
	if _, err := io.ReadFull(r, methods); err != nil {
		return
	}
	method := byte(0)
	if user != "" {
		method = 2
	}
	if !strings.Contains(string(methods), string(method)) {
		_, _ = conn.Write([]byte{5, 0xff})
		return
	}
	if _, err := conn.Write([]byte{5, method}); err != nil || (user != "" && !login(conn, r, user, password)) {
		return
	}
	request := make([]byte, 5) // version, command, 0, kind of address, its length
	if _, err := io.ReadFull(r, request); err != nil {
		return
	}
	address := make([]byte, int(request[4])+2)
	if _, err := io.ReadFull(r, address); err != nil || request[1] != 1 || request[3] != 3 {
		return
	}
	name, port := string(address[:len(address)-2]), binary.BigEndian.Uint16(address[len(address)-2:])
	if name != target || port != 443 {
		_, _ = conn.Write([]byte{5, 2, 0, 1, 0, 0, 0, 0, 0, 0}) // not allowed by the rules
		return
	}
	if _, err := conn.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0}); err == nil {
		s.through(conn)
	}
}

// login takes name and password, each behind its length.
func login(conn net.Conn, r *bufio.Reader, user, password string) bool {
	var given [2]string
	_, _ = r.ReadByte() // version of this exchange
	for i := range given {
		n, err := r.ReadByte()
		if err != nil {
			return false
		}
		text := make([]byte, n)
		if _, err := io.ReadFull(r, text); err != nil {
			return false
		}
		given[i] = string(text)
	}
	if given != [2]string{user, password} {
		_, _ = conn.Write([]byte{1, 1})
		return false
	}
	_, err := conn.Write([]byte{1, 0})
	return err == nil
}
