package bridge_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"postern/internal/bridge"
	"postern/internal/fault"
	"postern/internal/mail"
	"postern/internal/mailbox"
	"postern/internal/secret"
)

// stand is a bridge between a client by hand and a server by script.
type stand struct {
	t       testing.TB
	b       *bridge.Bridge
	cert    tls.Certificate
	pool    *x509.CertPool
	servers map[bridge.Protocol]string
	script  func(*peer) // what the server does with a connection that has signed in

	mu      sync.Mutex
	expires time.Time // of the tokens
	brief   int64     // so many of the first live for a few seconds instead
	denied  error     // what Still says
	refuse  string    // what the server answers logins with, "" for OK
	addr    map[bridge.Door]string

	logins, tokens atomic.Int64
}

var (
	imaps = bridge.Door{Protocol: bridge.IMAP, Implicit: true}
	imap  = bridge.Door{Protocol: bridge.IMAP}
	pop3s = bridge.Door{Protocol: bridge.POP3, Implicit: true}
	pop3  = bridge.Door{Protocol: bridge.POP3}
)

func newStand(t testing.TB, limits bridge.Limits, script func(*peer)) *stand {
	t.Helper()
	s := &stand{t: t, script: script, addr: map[bridge.Door]string{}, servers: map[bridge.Protocol]string{}}
	s.cert, s.pool = certificate(t)
	var err error
	over := &tls.Config{Certificates: []tls.Certificate{s.cert}}
	for p, welcome := range map[bridge.Protocol]func(*peer) bool{bridge.IMAP: s.welcomeIMAP, bridge.POP3: s.welcomePOP3} {
		l, err := tls.Listen("tcp", "127.0.0.1:0", over)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		s.servers[p] = l.Addr().String()
		go s.accept(l, welcome)
	}
	s.b, err = bridge.New(bridge.Config{
		Logins: s, Mailboxes: s, TLS: &tls.Config{Certificates: []tls.Certificate{s.cert}}, Limits: limits, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for _, d := range []bridge.Door{imaps, imap, pop3s, pop3} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		s.addr[d] = l.Addr().String()
		all.Go(func() { _ = s.b.Serve(ctx, l, d) })
	}
	all.Go(func() { _ = s.b.Run(ctx) })
	t.Cleanup(func() { cancel(); all.Wait() })
	return s
}

func certificate(t testing.TB) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"localhost"}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

const password = "right"

// Enter is part of bridge.Logins.
func (s *stand) Enter(_ context.Context, _ bridge.Protocol, user string, given secret.Text, _ netip.Addr) (bridge.Who, error) {
	if given.Reveal() != password {
		return bridge.Who{}, fault.New(fault.Denied, "check login", "wrong")
	}
	return bridge.Who{
		Device: user, Account: user, Mailbox: mail.Address{Local: user, Domain: "contoso.com"},
		Still: func(context.Context) error {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.denied
		},
	}, nil
}

// Way is part of bridge.Mailboxes.
func (s *stand) Way(_ context.Context, w bridge.Who, p bridge.Protocol, _ bool) (bridge.Way, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, port, _ := net.SplitHostPort(s.servers[p])
	n, _ := strconv.Atoi(port)
	dial := func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, s.servers[p])
	}
	count, expires := s.tokens.Add(1), s.expires
	if count <= s.brief {
		expires = time.Now().Add(4 * time.Second)
	}
	token := fmt.Sprint("token-", count)
	return bridge.Way{
		Server:  mailbox.Config{Server: mail.Server{Host: "localhost", Port: n, TLS: mail.Implicit}, RootCAs: s.pool, Dial: dial},
		Login:   mailbox.Login{User: w.Mailbox.String(), Token: secret.New(token)},
		Expires: expires,
	}, nil
}

// Refused is part of bridge.Mailboxes.
func (s *stand) Refused(context.Context, bridge.Who, error) error { return nil }

func (s *stand) set(do func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	do()
}

// peer is one end of a connection, spoken by hand.
type peer struct {
	net.Conn
	t testing.TB
	r *bufio.Reader
	n int64 // which login at the server it is, from 1 on
}

func newPeer(t testing.TB, conn net.Conn) *peer {
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	return &peer{Conn: conn, t: t, r: bufio.NewReader(conn)}
}

// say writes. A connection that is gone shows when it is read from.
func (p *peer) say(text string) { _, _ = io.WriteString(p.Conn, text) }

// line reads one; "" at the end.
func (p *peer) line() string {
	line, err := p.r.ReadString('\n')
	if err != nil {
		return ""
	}
	return strings.TrimRight(line, "\r\n")
}

// next is the next command a server's script has to answer; "" at the end. What the
// bridge asks about capabilities is answered here.
func (p *peer) next() string {
	for {
		line := p.line()
		if line != "POSTERN CAPABILITY" {
			return line
		}
		p.say("* CAPABILITY " + serverCaps + "\r\nPOSTERN OK done\r\n")
	}
}

const serverCaps = "IMAP4rev1 AUTH=XOAUTH2 SASL-IR IDLE UIDPLUS COMPRESS=DEFLATE"

func (s *stand) accept(l net.Listener, welcome func(*peer) bool) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			if p := newPeer(s.t, conn); welcome(p) {
				p.n = s.logins.Add(1)
				s.script(p)
			}
		}()
	}
}

// answer is what a login is answered with.
func (s *stand) answer(good string) (string, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refuse != "" {
		return s.refuse, false
	}
	return good, true
}

func (s *stand) welcomeIMAP(p *peer) bool {
	p.say("* OK ready\r\n")
	line := p.next()
	if !strings.HasPrefix(line, "POSTERN AUTHENTICATE XOAUTH2 ") {
		s.t.Errorf("the server was told %q", line)
		return false
	}
	answer, good := s.answer("OK AUTHENTICATE completed.")
	p.say("POSTERN " + answer + "\r\n")
	return good
}

func (s *stand) welcomePOP3(p *peer) bool {
	p.say("+OK ready\r\n")
	if line := p.line(); line != "AUTH XOAUTH2" {
		s.t.Errorf("the server was told %q", line)
		return false
	}
	p.say("+ \r\n")
	p.line()
	answer, good := s.answer("+OK signed in")
	p.say(answer + "\r\n")
	if good && p.line() == "CAPA" {
		p.say("+OK\r\nTOP\r\nUIDL\r\nPIPELINING\r\nSASL XOAUTH2\r\n.\r\n")
	}
	return good
}

// dial opens a connection to a door.
func (s *stand) dial(d bridge.Door) *peer {
	s.t.Helper()
	conn, err := net.Dial("tcp", s.addr[d])
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = conn.Close() })
	if d.Implicit {
		conn = tls.Client(conn, s.trusts())
	}
	return newPeer(s.t, conn)
}

func (s *stand) trusts() *tls.Config { return &tls.Config{RootCAs: s.pool, ServerName: "localhost"} }

// reader is a client that has signed in to an IMAP mailbox.
func (s *stand) reader() *peer {
	s.t.Helper()
	c := s.dial(imaps)
	c.want("* OK ")
	c.say("l LOGIN anna " + password + "\r\n")
	c.want("l OK ")
	return c
}

// want reads to a line that begins so, and returns it.
func (p *peer) want(prefix string) string {
	p.t.Helper()
	var all []string
	for {
		line, err := p.r.ReadString('\n')
		if err != nil {
			p.t.Fatalf("wanted %q, had %q and then %v", prefix, all, err)
		}
		if strings.HasPrefix(line, prefix) {
			return strings.TrimRight(line, "\r\n")
		}
		all = append(all, line)
	}
}

// skip reads so many octets.
func (p *peer) skip(n int64) {
	p.t.Helper()
	if _, err := io.CopyN(io.Discard, p.r, n); err != nil {
		p.t.Fatalf("of %d octets: %v", n, err)
	}
}

// only wants nothing else before it.
func (p *peer) only(lines ...string) {
	p.t.Helper()
	for _, want := range lines {
		if got := p.line(); got != want {
			p.t.Fatalf("got %q, want %q", got, want)
		}
	}
}

// ends wants the other side to end the connection.
func (p *peer) ends() {
	p.t.Helper()
	rest, err := io.ReadAll(p.r)
	if len(rest) > 0 || err != nil {
		p.t.Errorf("before the end came %q, %v", rest, err)
	}
}

// eventually polls until ok.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for until := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("waited 20 s for %s", what)
		}
	}
}
