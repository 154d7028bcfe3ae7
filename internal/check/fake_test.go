package check_test

import (
	"bufio"
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"postern/internal/catalogue"
	"postern/internal/check"
	"postern/internal/entra"
	"postern/internal/mail"
	"postern/internal/outbound"
	"postern/internal/secret"
)

// upstream is a mail server on loopback that answers every line by a table.
type upstream struct {
	address string
	pool    *x509.CertPool
	pem     string
}

// dialogue is how the server behaves. answers has the longest matching start of
// a client's line; "%" in an answer is the line's first word, IMAP's tag.
type dialogue struct {
	greeting string
	implicit bool // TLS from the start, or after STARTTLS and STLS
	answers  map[string]string
	host     string    // the certificate's name
	issuer   string    // who signed it; "" for Test Authority
	expires  time.Time // the certificate's end
	heard    func(line string)
}

func serve(t *testing.T, d dialogue) upstream {
	t.Helper()
	cert, pool := certificate(t, d)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go d.talk(conn, cert)
		}
	}()
	return upstream{address: l.Addr().String(), pool: pool, pem: pemOf(cert)}
}

func pemOf(cert tls.Certificate) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]}))
}

func certificate(t *testing.T, d dialogue) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: cmp.Or(d.issuer, "Test Authority")}, DNSNames: strings.Split(d.host, " "),
		NotBefore: time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: d.expires, IsCA: true, BasicConstraintsValid: true,
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

func (d dialogue) talk(conn net.Conn, cert tls.Certificate) {
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	config := &tls.Config{ // one cipher, so that reports do not depend on the machine
		Certificates: []tls.Certificate{cert}, MaxVersion: tls.VersionTLS12,
		CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256},
	}
	if d.implicit {
		conn = tls.Server(conn, config)
	}
	br := bufio.NewReader(conn)
	_, _ = fmt.Fprintf(conn, "%s\r\n", d.greeting)
	for {
		line, err := br.ReadString('\n')
		if err != nil {
			return
		}
		if d.heard != nil {
			d.heard(line)
		}
		answer := d.answer(strings.TrimRight(line, "\r\n"))
		switch answer {
		case "CLOSE":
			return
		case "SILENCE":
			continue
		}
		_, _ = fmt.Fprintf(conn, "%s\r\n", strings.ReplaceAll(answer, "\n", "\r\n"))
		if verb := strings.ToUpper(line); strings.HasPrefix(verb, "STARTTLS") || strings.HasPrefix(verb, "STLS") {
			conn = tls.Server(conn, config)
			br = bufio.NewReader(conn)
		}
	}
}

func (d dialogue) answer(line string) string {
	tag, command, _ := strings.Cut(line, " ")
	best, answer := "", "500 5.3.3 Unrecognized command"
	for start, a := range d.answers {
		of := line
		if strings.Contains(a, "%") {
			of = command
		}
		if len(start) >= len(best) && strings.HasPrefix(of, start) {
			best, answer = start, strings.ReplaceAll(a, "%", tag)
		}
	}
	return answer
}

// with is the dialogue with one answer changed.
func (d dialogue) with(start, answer string) dialogue {
	changed := map[string]string{start: answer}
	for k, v := range d.answers {
		if k != start {
			changed[k] = v
		}
	}
	d.answers = changed
	return d
}

// future is the end of a certificate that is good as long as these tests are run.
func future() time.Time { return time.Date(2090, 1, 1, 0, 0, 0, 0, time.UTC) }

func smtpServer() dialogue {
	return dialogue{greeting: "220 AM0PR01CA0001.outlook.office365.com Microsoft ESMTP MAIL Service ready", host: "smtp.office365.com", expires: future(), answers: map[string]string{
		"EHLO":     "250-smtp.office365.com Hello\n250-SIZE 157286400\n250-PIPELINING\n250-STARTTLS\n250-AUTH LOGIN XOAUTH2\n250 8BITMIME",
		"STARTTLS": "220 2.0.0 SMTP server ready", "AUTH XOAUTH2": "235 2.7.0 Authentication successful",
		"MAIL FROM:<scan@contoso.com>": "250 2.1.0 Sender OK", "RCPT TO": "250 2.1.5 Recipient OK", "RSET": "250 2.0.0 Resetting", "QUIT": "221 2.0.0 Bye",
	}}
}

func imapServer() dialogue {
	return dialogue{greeting: "* OK The Microsoft Exchange IMAP4 service is ready.", implicit: true, host: "outlook.office365.com", expires: future(), answers: map[string]string{
		"CAPABILITY":   "* CAPABILITY IMAP4 IMAP4rev1 AUTH=PLAIN AUTH=XOAUTH2 SASL-IR UIDPLUS MOVE IDLE\n% OK CAPABILITY completed.",
		"AUTHENTICATE": "% OK AUTHENTICATE completed.",
		"LIST":         `* LIST (\HasNoChildren) "/" Archive` + "\n" + `* LIST (\HasNoChildren) "/" INBOX` + "\n% OK LIST completed.",
		"UID SEARCH":   "* SEARCH 17 19\n% OK SEARCH completed.",
		"EXAMINE":      "* 12 EXISTS\n* 0 RECENT\n* FLAGS (\\Seen)\n* OK [UIDVALIDITY 14] UIDVALIDITY value\n* OK [UIDNEXT 20] next\n% OK [READ-ONLY] EXAMINE completed.",
	}}
}

func pop3Server() dialogue {
	return dialogue{greeting: "+OK The Microsoft Exchange POP3 service is ready.", implicit: true, host: "outlook.office365.com", expires: future(), answers: map[string]string{
		"CAPA": "+OK\nTOP\nUIDL\nSASL PLAIN XOAUTH2\nUSER\n.", "AUTH XOAUTH2": "+ ",
		"dXNlcj": "+OK User successfully authenticated.", "STAT": "+OK 3 4096",
	}}
}

// Identities of the tests.
const (
	tenant   = "11111111-2222-3333-4444-555555555555"
	clientID = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
)

func now() time.Time { return time.Date(2026, 5, 1, 10, 0, 0, 0, time.UTC) }

// goodClaims are those of a token that fits send.
func goodClaims(scope string) map[string]any {
	return map[string]any{
		"aud": "https://outlook.office.com", "scp": scope, "tid": tenant, "appid": clientID, "upn": "scan@contoso.com",
		"iat": now().Add(-time.Minute).Unix(), "exp": now().Add(71 * time.Minute).Unix(),
	}
}

func jwt(t *testing.T, claims map[string]any) secret.Text {
	t.Helper()
	b, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	enc := base64.RawURLEncoding.EncodeToString
	return secret.New(enc([]byte(`{"alg":"none"}`)) + "." + enc(b) + "." + enc([]byte("signature")))
}

// website stands for the sign-in host and for Graph.
type website struct {
	dialogue               // its certificate
	skew     time.Duration // its clock is ahead of the tests' by this
	status   int           // of the sign-in host's metadata; 0 for 200
	graph    http.HandlerFunc
}

func (w website) serve(t *testing.T) upstream {
	t.Helper()
	cert, pool := certificate(t, w.dialogue)
	s := httptest.NewUnstartedServer(w.handler())
	s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // clients that trust nobody
	s.StartTLS()
	t.Cleanup(s.Close)
	return upstream{address: s.Listener.Addr().String(), pool: pool, pem: pemOf(cert)}
}

func (w website) handler() http.Handler {
	return http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		out.Header().Set("Date", now().Add(w.skew).Format(http.TimeFormat))
		switch {
		case strings.HasSuffix(r.URL.Path, "/v2.0/.well-known/openid-configuration"):
			out.WriteHeader(cmp.Or(w.status, http.StatusOK))
			_, _ = fmt.Fprint(out, `{"token_endpoint":"https://login.microsoftonline.com/common/oauth2/v2.0/token"}`)
		case strings.HasPrefix(r.Host, "graph.") && w.graph != nil:
			w.graph(out, r)
		default:
			_, _ = fmt.Fprint(out, "a page")
		}
	})
}

func microsoft() website {
	return website{dialogue: dialogue{host: "login.microsoftonline.com graph.microsoft.com", issuer: "Microsoft Test Issuer", expires: future()}}
}

// fixture is a check that succeeds until something about it is changed.
type fixture struct {
	target     check.Target
	deps       check.Deps
	token      secret.Text
	credential check.Credential // instead of the token, when there is anything in it
}

func arrange(t *testing.T, p check.Purpose, d dialogue) *fixture {
	t.Helper()
	return arrangeWith(t, p, d, microsoft())
}

func arrangeWith(t *testing.T, p check.Purpose, d dialogue, site website) *fixture {
	t.Helper()
	up, web := serve(t, d), site.serve(t)
	c, err := catalogue.Load()
	if err != nil {
		t.Fatal(err)
	}
	cloud, err := entra.CloudByName("global")
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{token: jwt(t, goodClaims("IMAP.AccessAsUser.All POP.AccessAsUser.All SMTP.Send"))}
	f.target = check.Target{
		Account: "scans", Purpose: p, Mailbox: mail.Address{Local: "scan", Domain: "contoso.com"}, Method: check.Delegated,
		Server:  map[check.Purpose]mail.Server{check.Send: cloud.SMTP, check.HVE: cloud.HVE, check.IMAP: cloud.IMAP, check.POP3: cloud.POP3}[p],
		RootCAs: up.pool, Cloud: cloud, Tenant: tenant, ClientID: clientID,
	}
	f.deps = check.Deps{
		Credential: func(context.Context) (check.Credential, error) {
			if f.credential.Password.Empty() && f.credential.Expires.IsZero() {
				return check.Credential{Token: f.token}, nil
			}
			return f.credential, nil
		},
		Catalogue: c, Now: now, HelloName: "postern.example", Web: outbound.Network{Direct: "*", CA: web.pem},
		LookupHost: func(context.Context, string) ([]string, error) { return []string{"192.0.2.10", "2001:db8::10"}, nil },
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			to := up.address
			if strings.HasSuffix(address, ":443") {
				to = web.address
			}
			conn, err := new(net.Dialer).DialContext(ctx, network, to)
			if err != nil {
				return nil, err
			}
			return elsewhere{conn}, nil
		},
	}
	return f
}

// elsewhere pretends to reach the address that was looked up.
type elsewhere struct{ net.Conn }

func (elsewhere) RemoteAddr() net.Addr {
	return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 10), Port: 587}
}

func (f *fixture) run(t *testing.T) check.Report {
	t.Helper()
	return check.Run(t.Context(), f.target, f.deps, nil)
}
