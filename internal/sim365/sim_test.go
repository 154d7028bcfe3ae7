package sim365_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/smtp"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"postern/internal/sim365"
	"postern/internal/sim365/visitor"
	"postern/internal/sim365/world"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const outlook = "https://outlook.office.com/"

func start(t *testing.T) *sim365.Sim {
	t.Helper()
	s, err := sim365.Start(t.Context(), sim365.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

// trusting returns a client that trusts the simulator's authority and nobody else.
func trusting(t *testing.T, s *sim365.Sim) (*http.Client, *tls.Config) {
	t.Helper()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(s.CAPEM())) {
		t.Fatal("CAPEM holds no certificate")
	}
	config := &tls.Config{RootCAs: roots, ServerName: "localhost", MinVersion: tls.VersionTLS12}
	transport := &http.Transport{TLSClientConfig: config}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}, config
}

// signIn takes a user through the pages and returns the access token.
func signIn(t *testing.T, s *sim365.Sim, c sim365.Contoso, back *callback, user, scope string) string {
	t.Helper()
	v := visitor.New(s.CAPEM())
	page, err := v.SignIn(t.Context(), s.Authority()+"/contoso.com/oauth2/v2.0/authorize?"+url.Values{
		"client_id": {c.App.ClientID}, "response_type": {"code"}, "redirect_uri": {back.url}, "scope": {scope},
	}.Encode(), user, sim365.Password)
	if err != nil || back.code == "" {
		t.Fatalf("sign in: %v, page %q", err, page.Text)
	}
	client, _ := trusting(t, s)
	resp, err := client.PostForm(s.Authority()+"/contoso.com/oauth2/v2.0/token", url.Values{
		"grant_type": {"authorization_code"}, "client_id": {c.App.ClientID}, "client_secret": {c.App.Secret}, "code": {back.code}, "redirect_uri": {back.url},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct {
		Token string `json:"access_token"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || answer.Token == "" {
		t.Fatalf("redeem: %v %+v", err, answer)
	}
	return answer.Token
}

// callback is the app's redirect address. The visitor is done with a request
// before code is read.
type callback struct{ url, code string }

func newCallback(t *testing.T) *callback {
	t.Helper()
	b := &callback{}
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { b.code = r.URL.Query().Get("code") }))
	t.Cleanup(srv.Close)
	b.url = srv.URL + "/back"
	return b
}

// dial opens a connection that no test can wait on for ever.
func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
	if err == nil {
		err = conn.SetDeadline(time.Now().Add(20 * time.Second))
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// bearer is XOAUTH2 for net/smtp.
type bearer struct{ user, token string }

func (b bearer) Start(*smtp.ServerInfo) (string, []byte, error) {
	return "XOAUTH2", []byte("user=" + b.user + "\x01auth=Bearer " + b.token + "\x01\x01"), nil
}

func (bearer) Next(_ []byte, more bool) ([]byte, error) {
	if more {
		return []byte{}, nil
	}
	return nil, nil
}

func TestSignInAndSend(t *testing.T) {
	t.Parallel()
	s, back := start(t), newCallback(t)
	c := s.Contoso(back.url)
	token := signIn(t, s, c, back, c.Scan.UPN, outlook+"SMTP.Send")

	_, config := trusting(t, s)
	client, err := smtp.NewClient(dial(t, s.SMTP().Address()), "localhost")
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	send := func() error {
		if err := client.StartTLS(config); err != nil {
			return err
		}
		if err := client.Auth(bearer{c.Scan.UPN, token}); err != nil {
			return err
		}
		if err := errors.Join(client.Mail(c.Scan.UPN), client.Rcpt(c.Invoices.UPN)); err != nil {
			return err
		}
		w, err := client.Data()
		if err != nil {
			return err
		}
		_, err = io.WriteString(w, "From: scan@contoso.com\r\nTo: invoices@contoso.com\r\nSubject: hello\r\n\r\nbody\r\n")
		return errors.Join(err, w.Close(), client.Quit())
	}
	if err := send(); err != nil {
		t.Fatal(err)
	}
	got := s.World.Messages(c.Invoices.UPN, "INBOX")
	if len(got) != 1 || !bytes.Contains(got[0].Raw, []byte("Subject: hello")) {
		t.Errorf("the recipient's INBOX holds %d messages; the world: %+v", len(got), s.World.AllMessages())
	}
}

func TestSendThroughGraph(t *testing.T) {
	t.Parallel()
	s, back := start(t), newCallback(t)
	c := s.Contoso(back.url)
	// The simulator's own address names the resource, as a custom cloud has it.
	token := signIn(t, s, c, back, c.Scan.UPN, s.Graph()+"/Mail.Send")
	message := "From: scan@contoso.com\r\nTo: invoices@contoso.com\r\nSubject: by graph\r\n\r\nbody\r\n"
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.Graph()+"/v1.0/users/scan@contoso.com/sendMail",
		strings.NewReader(base64.StdEncoding.EncodeToString([]byte(message))))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "text/plain")
	client, _ := trusting(t, s)
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusAccepted {
		t.Fatalf("sendMail: %d %s", resp.StatusCode, body)
	}
	if got := s.Exchange.Folder(c.Invoices.UPN, "INBOX"); len(got) != 1 || !bytes.Contains(got[0].Raw, []byte("Subject: by graph")) {
		t.Errorf("the recipient's INBOX holds %d messages", len(got))
	}
}

func TestContosoSwitches(t *testing.T) {
	t.Parallel()
	w := world.New()
	c := sim365.AddContoso(w, "https://gateway.example/back")
	if p := w.Policy(c.NoAuth.UPN); p.SMTPAuthDisabled == nil || !*p.SMTPAuthDisabled {
		t.Error("noauth may use SMTP AUTH")
	}
	if p := w.Policy(c.Scan.UPN); p.SMTPAuthDisabled != nil || p.Limits != world.MicrosoftLimits() {
		t.Errorf("scan's policy = %+v", p)
	}
	if n := len(c.App.Secret); n != 40 || c.App.Secret[3:6] != "8Q~" || !slices.Contains(w.Secrets(), c.App.Secret) {
		t.Errorf("secret of %d characters does not look like Microsoft's", n)
	}
	if tenant, ok := w.Tenant("contoso.onmicrosoft.com"); !ok || tenant.ID != c.Tenant.ID || !c.App.Registered[c.Tenant.ID] {
		t.Error("the tenant or the service principal is missing")
	}
}

func TestStopEndsConnections(t *testing.T) {
	t.Parallel()
	s := start(t)
	client, config := trusting(t, s)
	resp, err := client.Get(s.Authority() + "/common/v2.0/.well-known/openid-configuration")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	imap := tls.Client(dial(t, s.IMAP().Address()), config)
	if err := imap.HandshakeContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.Stop()
	s.Stop() // twice does no harm
	if _, err := io.Copy(io.Discard, imap); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("an IMAP connection outlived Stop")
	}
	if _, err := client.Get(s.Authority() + "/common/v2.0/.well-known/openid-configuration"); err == nil {
		t.Error("still serving after Stop")
	}
}

func TestPortInUseStartsNothing(t *testing.T) {
	t.Parallel()
	s := start(t)
	if _, err := sim365.Start(t.Context(), sim365.Options{Ports: sim365.Ports{POP3: s.POP3().Port}}); err == nil {
		t.Error("started on a port that is taken")
	}
}
