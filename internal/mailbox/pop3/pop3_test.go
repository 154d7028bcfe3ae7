package pop3

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"postern/internal/fault"
	"postern/internal/mail"
	"postern/internal/mailbox"
	"postern/internal/sasl"
	"postern/internal/secret"
)

const (
	user  = "in@contoso.com"
	token = "eyJ0eXAi.token-that-must-not-leak"
	// credentials is the response for the two above.
	credentials = "dXNlcj1pbkBjb250b3NvLmNvbQFhdXRoPUJlYXJlciBleUowZVhBaS50b2tlbi10aGF0LW11c3Qtbm90LWxlYWsBAQ=="
)

// scripted serves one connection from a dialog: "C: " is what the client must say,
// "S: " what is sent, "TLS" begins the handshake.
func scripted(t *testing.T, mode mail.TLSMode, dialog string) mailbox.Config {
	t.Helper()
	srv := httptest.NewTLSServer(nil)
	srv.Close()
	pool := x509.NewCertPool()
	pool.AddCert(srv.Certificate())
	config := &tls.Config{Certificates: srv.TLS.Certificates}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
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
		defer func() { _ = conn.Close() }()
		if mode == mail.Implicit {
			conn = tls.Server(conn, config)
		}
		play(t, conn, config, dialog)
	}()
	t.Cleanup(func() {
		_ = ln.Close()
		<-done
	})
	return mailbox.Config{
		Server:  mail.Server{Host: "127.0.0.1", Port: ln.Addr().(*net.TCPAddr).Port, TLS: mode},
		RootCAs: pool, Timeout: 10 * time.Second,
	}
}

func play(t *testing.T, conn net.Conn, config *tls.Config, dialog string) {
	r := bufio.NewReader(conn)
	for l := range strings.SplitSeq(strings.TrimSpace(dialog), "\n") {
		l = strings.TrimLeft(l, "\t")
		if l == "TLS" {
			conn = tls.Server(conn, config)
			r = bufio.NewReader(conn)
			continue
		}
		if want, ok := strings.CutPrefix(l, "C: "); ok {
			got, err := r.ReadString('\n')
			if err != nil {
				return
			}
			if strings.TrimRight(got, "\r\n") != strings.TrimSuffix(want, "<empty>") {
				t.Errorf("client said %q, the dialog has %q", got, want)
			}
			continue
		}
		if _, err := io.WriteString(conn, strings.TrimPrefix(l, "S: ")+"\r\n"); err != nil {
			return
		}
	}
}

const signedIn = `
	S: +OK The Microsoft Exchange POP3 service is ready.
	C: AUTH XOAUTH2
	S: + ` + `
	C: ` + credentials + `
	S: +OK User successfully authenticated.
	`

func signIn(t *testing.T, dialog string) *Client {
	t.Helper()
	c, err := Dial(t.Context(), scripted(t, mail.Implicit, dialog))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.Authenticate(t.Context(), sasl.NewXOAUTH2Client(user, secret.New(token))); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestSession(t *testing.T) {
	t.Parallel()
	c := signIn(t, signedIn+`C: CAPA
		S: +OK
		S: TOP
		S: UIDL
		S: SASL PLAIN XOAUTH2
		S: .
		C: STAT
		S: +OK 2 320
		C: UIDL
		S: +OK
		S: 1 AAEAAA
		S: 2 AAIAAA
		S: .
		C: LIST
		S: +OK
		S: 1 120
		S: 2 200
		S: .
		C: RETR 1
		S: +OK
		S: Subject: dots
		S: 
		S: ..
		S: ..hidden
		S: end.
		S: .
		C: DELE 1
		S: +OK
		C: DELE 9
		S: -ERR no such message
		C: LIST 9
		S: -ERR no such message
		C: QUIT
		S: +OK bye`)
	ctx := t.Context()
	if caps, err := c.Capabilities(ctx); err != nil || !slices.Equal(caps, []string{"TOP", "UIDL", "SASL PLAIN XOAUTH2"}) {
		t.Errorf("capabilities %q, %v", caps, err)
	}
	if n, octets, err := c.Stat(ctx); n != 2 || octets != 320 || err != nil {
		t.Errorf("stat %d %d, %v", n, octets, err)
	}
	if all, err := c.Messages(ctx); err != nil || !slices.Equal(all, []Message{{1, "AAEAAA", 120}, {2, "AAIAAA", 200}}) {
		t.Errorf("messages %v, %v", all, err)
	}
	var body []byte
	err := c.Retr(ctx, []int{1}, func(_ int, r io.Reader, _ error) (err error) { body, err = io.ReadAll(r); return err })
	if want := "Subject: dots\r\n\r\n.\r\n.hidden\r\nend.\r\n"; err != nil || string(body) != want {
		t.Errorf("body %q, %v", body, err)
	}
	if err := c.Dele(ctx, 1); err != nil {
		t.Error(err)
	}
	if err := c.Dele(ctx, 9); !errors.Is(err, fault.NotFound) {
		t.Errorf("delete what is not there: %v", err)
	}
	if err := c.Quit(ctx); err != nil {
		t.Error(err)
	}
}

func TestSTLS(t *testing.T) {
	t.Parallel()
	c, err := Dial(t.Context(), scripted(t, mail.STARTTLS, `S: +OK ready
		C: STLS
		S: +OK begin
		TLS
		C: STAT
		S: +OK 0 0`))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.Stat(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := Dial(t.Context(), scripted(t, mail.STARTTLS, "S: +OK ready\nC: STLS\nS: -ERR not here")); !errors.Is(err, fault.NeedsAdmin) {
		t.Errorf("refused STLS: %v (%s)", err, fault.KindOf(err))
	}
}

func TestNoCredentialsInTheClear(t *testing.T) {
	t.Parallel()
	c, err := Dial(t.Context(), scripted(t, mail.Plain, "S: +OK ready"))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Authenticate(t.Context(), sasl.NewXOAUTH2Client(user, secret.New(token))); !errors.Is(err, mailbox.ErrClear) {
		t.Error(err)
	}
}

func TestAuthenticate(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, dialog string
		kind         fault.Kind
	}{
		{"refused", "C: " + credentials + "\nS: -ERR Authentication failure: unknown user name or bad password.", fault.NeedsSignIn},
		{"refused with a reason", "C: " + credentials + "\nS: + eyJzdGF0dXMiOiI0MDEifQ==\nC: <empty>\nS: -ERR no", fault.NeedsSignIn},
		{"keeps asking", "C: " + credentials + "\nS: + e30=\nC: <empty>\nS: + e30=", fault.NeedsSignIn},
		{"busy", "C: " + credentials + "\nS: -ERR [IN-USE] mailbox locked", fault.Temporary},
		{"echoes", "C: " + credentials + "\nS: -ERR unknown command " + credentials, fault.NeedsSignIn},
		{"hangs up", "C: " + credentials, fault.Temporary},
		{"garbage", "C: " + credentials + "\nS: HTTP/1.1 400 Bad Request", fault.Temporary},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, err := Dial(t.Context(), scripted(t, mail.Implicit, "S: +OK ready\nC: AUTH XOAUTH2\nS: + \n"+tt.dialog))
			if err != nil {
				t.Fatal(err)
			}
			err = c.Authenticate(t.Context(), sasl.NewXOAUTH2Client(user, secret.New(token)))
			if err == nil || fault.KindOf(err) != tt.kind {
				t.Errorf("%v (%s), want %s", err, fault.KindOf(err), tt.kind)
			}
			if text := fmt.Sprintf("%+v", err); strings.Contains(text, token) || strings.Contains(text, credentials) {
				t.Error("the token is in the error")
			}
		})
	}
}

func TestRetrCutOff(t *testing.T) {
	t.Parallel()
	c := signIn(t, signedIn+"C: RETR 1\nS: +OK\nS: Subject: cut")
	err := c.Retr(t.Context(), []int{1}, func(_ int, r io.Reader, _ error) error { _, err := io.ReadAll(r); return err })
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a cut message looks whole: %v", err)
	}
}

func TestContextEndsAnOperation(t *testing.T) {
	t.Parallel()
	c := signIn(t, signedIn+"C: STAT\nC: never said")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, _, err := c.Stat(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}

func TestEndlessLine(t *testing.T) {
	t.Parallel()
	if _, err := readLine(bufio.NewReader(strings.NewReader(strings.Repeat("x", maxLine+5000)))); err == nil || errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%v", err)
	}
}

// stuff is what a server makes of a message (RFC 1939 §3).
func stuff(message []byte) []byte {
	var out bytes.Buffer
	for i, line := range bytes.Split(message, []byte("\r\n")) {
		if i > 0 {
			out.WriteString("\r\n")
		}
		if bytes.HasPrefix(line, []byte(".")) {
			out.WriteByte('.')
		}
		out.Write(line)
	}
	return append(out.Bytes(), "\r\n.\r\n"...)
}

func FuzzDotReader(f *testing.F) {
	for _, s := range []string{"", ".", "..\r\n.", "a\n.\nb", "a\r\n.\rb", "\r\r\n\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, message []byte) {
		for _, r := range []io.Reader{bytes.NewReader(stuff(message)), iotest.OneByteReader(bytes.NewReader(stuff(message)))} {
			br := bufio.NewReader(io.MultiReader(r, strings.NewReader("+OK next\r\n")))
			got, err := io.ReadAll(&dotReader{r: br})
			if err != nil || !bytes.Equal(got, append(slices.Clone(message), "\r\n"...)) {
				t.Fatalf("%q came as %q, %v", message, got, err)
			}
			if next, err := readLine(br); err != nil || next != "+OK next" {
				t.Errorf("behind it: %q, %v", next, err)
			}
		}
		// Whatever is sent, reading ends, and a message without its end is an error.
		if got, err := io.ReadAll(&dotReader{r: bufio.NewReader(bytes.NewReader(message))}); err == nil && !bytes.Contains(message, []byte(".\r\n")) {
			t.Errorf("%q ended as %q", message, got)
		}
	})
}

func FuzzVerdict(f *testing.F) {
	f.Add("AUTH", "-ERR [SYS/TEMP] later")
	f.Add("STAT", "+OK 2 320")
	f.Fuzz(func(t *testing.T, stage, line string) {
		_, err := verdict(stage, line)
		if ok := line == "+OK" || strings.HasPrefix(line, "+OK "); ok != (err == nil) {
			t.Errorf("%q: %v", line, err)
		}
	})
}
