package imap_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"net"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapserver"
	"github.com/emersion/go-imap/v2/imapserver/imapmemserver"
	gosasl "github.com/emersion/go-sasl"

	"postern/internal/mail"
	"postern/internal/mailbox"
	"postern/internal/mailbox/imap"
	"postern/internal/sasl"
	"postern/internal/secret"
)

const (
	user  = "in@contoso.com"
	token = "eyJ0eXAi.token-that-must-not-leak"
)

// certificate is good for 127.0.0.1.
func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	srv := httptest.NewTLSServer(nil)
	defer srv.Close()
	pool := x509.NewCertPool()
	pool.AddCert(srv.Certificate())
	return srv.TLS.Certificates[0], pool
}

// session lets go-imap's memory server take tokens.
type session struct {
	*imapmemserver.UserSession
	account *imapmemserver.User
}

func (s *session) Close() error { return nil }

func (s *session) Login(string, string) error { return imapserver.ErrAuthFailed }

func (s *session) AuthenticateMechanisms() []string { return []string{sasl.XOAUTH2} }

func (s *session) Authenticate(string) (gosasl.Server, error) {
	return sasl.NewXOAUTH2Server(func(u string, tok secret.Text) error {
		if u != user || tok.Reveal() != token {
			return &goimap.Error{Type: goimap.StatusResponseTypeNo, Text: "AUTHENTICATE failed."}
		}
		s.UserSession = imapmemserver.NewUserSession(s.account)
		return nil
	}), nil
}

// memory serves an in-memory mailbox with an Archive.
func memory(t *testing.T, mode mail.TLSMode, caps goimap.CapSet, letters ...string) mailbox.Config {
	t.Helper()
	account := imapmemserver.NewUser(user, "")
	for _, name := range []string{"INBOX", "Archive", "Größe"} {
		if err := account.Create(name, nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, l := range letters {
		if _, err := account.Append("INBOX", literal{strings.NewReader(l)}, &goimap.AppendOptions{Time: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)}); err != nil {
			t.Fatal(err)
		}
	}
	cert, pool := certificate(t)
	config := &tls.Config{Certificates: []tls.Certificate{cert}}
	if caps == nil {
		caps = goimap.CapSet{goimap.CapIMAP4rev1: {}, goimap.CapSASLIR: {}, goimap.CapMove: {}, goimap.CapUIDPlus: {}}
	}
	srv := imapserver.New(&imapserver.Options{
		NewSession: func(*imapserver.Conn) (imapserver.Session, *imapserver.GreetingData, error) {
			return &session{account: account}, nil, nil
		},
		Caps: caps, TLSConfig: config, InsecureAuth: true, Logger: log.New(io.Discard, "", 0),
	})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if mode == mail.Implicit {
		ln = tls.NewListener(ln, config)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(ln)
	}()
	t.Cleanup(func() {
		_ = srv.Close()
		<-done
	})
	return config4(ln, mode, pool)
}

type literal struct{ *strings.Reader }

func (l literal) Size() int64 { return l.Reader.Size() }

func config4(ln net.Listener, mode mail.TLSMode, pool *x509.CertPool) mailbox.Config {
	addr := ln.Addr().(*net.TCPAddr)
	return mailbox.Config{
		Server:  mail.Server{Host: "127.0.0.1", Port: addr.Port, TLS: mode},
		RootCAs: pool, Timeout: 10 * time.Second,
	}
}

// scripted serves one connection from a dialog. "C: " lines are what the client is
// expected to say, behind its tag; "S: " lines are sent, with "TAG" for that tag.
// "S- " sends without a line end, "C- " is a line without a tag. At the end the connection is closed.
func scripted(t *testing.T, dialog string) mailbox.Config {
	t.Helper()
	cert, pool := certificate(t)
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		play(t, conn, dialog)
	}()
	t.Cleanup(func() {
		_ = ln.Close()
		<-done
	})
	return config4(ln, mail.Implicit, pool)
}

func play(t *testing.T, conn net.Conn, dialog string) {
	r := bufio.NewReader(conn)
	tag := ""
	for l := range strings.SplitSeq(strings.TrimSpace(dialog), "\n") {
		l = strings.TrimLeft(l, "\t")
		if said, ok := strings.CutPrefix(l, "C: "); ok {
			got, err := r.ReadString('\n')
			if err != nil {
				return
			}
			var rest string
			tag, rest, _ = strings.Cut(strings.TrimRight(got, "\r\n"), " ")
			if !strings.HasPrefix(rest, said) {
				t.Errorf("client said %q, the dialog has %q", rest, said)
			}
			continue
		}
		if said, ok := strings.CutPrefix(l, "C-"); ok {
			if got, err := r.ReadString('\n'); err != nil || strings.TrimRight(got, "\r\n") != strings.TrimPrefix(said, " ") {
				t.Errorf("client said %q (%v), the dialog has %q", got, err, said)
			}
			continue
		}
		say, ok := strings.CutPrefix(l, "S: ")
		end := "\r\n"
		if !ok {
			say, end = strings.TrimPrefix(l, "S- "), ""
		}
		if _, err := io.WriteString(conn, strings.ReplaceAll(say, "TAG", tag)+end); err != nil {
			return
		}
	}
}

func dial(t *testing.T, cfg mailbox.Config) *imap.Client {
	t.Helper()
	c, err := imap.Dial(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func signIn(t *testing.T, cfg mailbox.Config) *imap.Client {
	t.Helper()
	c := dial(t, cfg)
	if err := c.Authenticate(t.Context(), sasl.NewXOAUTH2Client(user, secret.New(token))); err != nil {
		t.Fatal(err)
	}
	return c
}
