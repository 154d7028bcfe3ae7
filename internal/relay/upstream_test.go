package relay_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	gosasl "github.com/emersion/go-sasl"
	gosmtp "github.com/emersion/go-smtp"

	"postern/internal/door"
	"postern/internal/fault"
	"postern/internal/mail"
	"postern/internal/relay"
	"postern/internal/sasl"
	"postern/internal/secret"
)

// upstream is a submission server on loopback that takes the token "fresh" and
// the password "app".
type upstream struct {
	mechanisms []string
	addr       *net.TCPAddr
	pool       *x509.CertPool

	mu     sync.Mutex
	logins []string // what was tried
	mails  []string
}

func newUpstream(t *testing.T, mechanisms ...string) *upstream {
	t.Helper()
	cert, err := door.SelfSigned(t.TempDir(), []string{"127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e := &upstream{mechanisms: mechanisms, addr: l.Addr().(*net.TCPAddr), pool: x509.NewCertPool()} //nolint:forcetypeassert // tcp it is
	e.pool.AddCert(cert.Leaf)
	server := gosmtp.NewServer(gosmtp.BackendFunc(func(*gosmtp.Conn) (gosmtp.Session, error) { return &visit{e: e}, nil }))
	server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{cert}}
	server.MaxLineLength = 1 << 16
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l)
	}()
	t.Cleanup(func() {
		_ = server.Close()
		_ = l.Close() // the server does not know of it yet when it was never reached
		<-done
	})
	return e
}

func (e *upstream) note(login string, ok bool) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.logins = append(e.logins, login)
	if ok {
		return nil
	}
	return &gosmtp.SMTPError{Code: 535, EnhancedCode: gosmtp.EnhancedCode{5, 7, 3}, Message: "Authentication unsuccessful"}
}

type visit struct{ e *upstream }

func (v *visit) AuthMechanisms() []string { return v.e.mechanisms }

func (v *visit) Auth(mech string) (gosasl.Server, error) {
	if !slices.Contains(v.e.mechanisms, mech) {
		return nil, gosmtp.ErrAuthUnknownMechanism
	}
	switch mech {
	case sasl.XOAUTH2:
		return sasl.NewXOAUTH2Server(func(user string, token secret.Text) error {
			return v.e.note("token "+user+" "+token.Reveal(), token.Reveal() == "fresh")
		}), nil
	case sasl.LOGIN:
		return sasl.NewLoginServer(func(user string, password secret.Text) error {
			return v.e.note("login "+user, password.Reveal() == "app")
		}), nil
	case gosasl.Plain:
		return gosasl.NewPlainServer(func(_, user, password string) error {
			return v.e.note("plain "+user, password == "app")
		}), nil
	}
	return nil, gosmtp.ErrAuthUnknownMechanism
}

func (v *visit) Reset()                                 {}
func (v *visit) Logout() error                          { return nil }
func (v *visit) Mail(string, *gosmtp.MailOptions) error { return nil }
func (v *visit) Rcpt(string, *gosmtp.RcptOptions) error { return nil }
func (v *visit) Data(r io.Reader) error {
	text, err := io.ReadAll(r)
	v.e.mu.Lock()
	defer v.e.mu.Unlock()
	v.e.mails = append(v.e.mails, string(text))
	return err
}

// office is the one account: its way leads to e, its tokens are given in order.
type office struct {
	e        *upstream
	password string
	tokens   []string
	asked    []bool // how Token was asked
}

func (o *office) Route(context.Context, string) (relay.Route, error) {
	return relay.Route{
		Mailbox: mail.Address{Local: "office", Domain: "contoso.com"}, RootCAs: o.e.pool, Password: secret.New(o.password),
		Server: mail.Server{Host: "127.0.0.1", Port: o.e.addr.Port, TLS: mail.STARTTLS},
	}, nil
}

func (o *office) Token(_ context.Context, _ string, fresh bool) (secret.Text, error) {
	o.asked = append(o.asked, fresh)
	if len(o.tokens) == 0 {
		return secret.Text{}, fault.New(fault.Temporary, "token", "token endpoint is down")
	}
	token := o.tokens[0]
	o.tokens = o.tokens[1:]
	return secret.New(token), nil
}

func TestOpenSignsIn(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		password   string
		tokens     []string
		mechanisms []string
		want       error
		asked      []bool
		logins     []string
	}{
		"with a token":           {"", []string{"fresh"}, []string{"XOAUTH2"}, nil, []bool{false}, []string{"token office@contoso.com fresh"}},
		"with a fresh one":       {"", []string{"stale", "fresh"}, []string{"XOAUTH2"}, nil, []bool{false, true}, []string{"token office@contoso.com stale", "token office@contoso.com fresh"}},
		"not at all":             {"", []string{"stale", "stale"}, []string{"XOAUTH2"}, fault.NeedsAdmin, []bool{false, true}, []string{"token office@contoso.com stale", "token office@contoso.com stale"}},
		"no token":               {"", nil, []string{"XOAUTH2"}, fault.Temporary, []bool{false}, nil},
		"no fresh token":         {"", []string{"stale"}, []string{"XOAUTH2"}, fault.Temporary, []bool{false, true}, []string{"token office@contoso.com stale"}},
		"no such mechanism":      {"", []string{"fresh"}, []string{"PLAIN"}, fault.NeedsAdmin, []bool{false}, nil},
		"app password, PLAIN":    {"app", nil, []string{"LOGIN", "PLAIN"}, nil, nil, []string{"plain office@contoso.com"}},
		"app password, LOGIN":    {"app", nil, []string{"LOGIN", "XOAUTH2"}, nil, nil, []string{"login office@contoso.com"}},
		"wrong password is once": {"bad", nil, []string{"LOGIN"}, fault.NeedsSignIn, nil, []string{"login office@contoso.com"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newUpstream(t, c.mechanisms...)
			o := &office{e: e, password: c.password, tokens: c.tokens}
			s := &relay.SMTP{Routes: o, Tokens: o, HelloName: "gate.example"}
			up, err := s.Open(t.Context(), "office")
			if !errors.Is(err, c.want) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
			if err == nil {
				if err := up.Close(t.Context()); err != nil {
					t.Error(err)
				}
			}
			e.mu.Lock()
			defer e.mu.Unlock()
			if !slices.Equal(o.asked, c.asked) || !slices.Equal(e.logins, c.logins) {
				t.Errorf("asked for %v, signed in as %q", o.asked, e.logins)
			}
		})
	}
}

// From a submission to the upstream server, over real connections.
// Whoever takes Graph away from an account leaves nobody to ask: what Graph may have sent
// does not go by SMTP.
func TestInDoubtDoesNotGoBySMTP(t *testing.T) {
	t.Parallel()
	e := newUpstream(t, "XOAUTH2")
	o := &office{e: e, tokens: []string{"fresh"}}
	up, err := (&relay.SMTP{Routes: o, Tokens: o}).Open(t.Context(), "office")
	if err != nil {
		t.Fatal(err)
	}
	defer up.Abort()
	env := mail.Envelope{From: mail.Address{Local: "office", Domain: "contoso.com"}, To: []mail.Address{{Local: "a", Domain: "example.net"}}, InDoubt: true}
	for _, env.InDoubt = range []bool{true, false} {
		res, err := up.Send(t.Context(), env, 0, strings.NewReader("Date: x\n\ntext\n"), relay.Unqueued)
		if env.InDoubt && (!errors.Is(err, fault.Temporary) || fault.HintOf(err) == "" || !up.Usable()) || res.Accepted == env.InDoubt || res.InDoubt != env.InDoubt {
			t.Errorf("in doubt %v: %+v, %v", env.InDoubt, res, err)
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.mails) != 1 {
		t.Errorf("the server got %d messages", len(e.mails))
	}
}

func TestAllTheWay(t *testing.T) {
	t.Parallel()
	e := newUpstream(t, "XOAUTH2")
	o := &office{e: e, tokens: []string{"stale", "fresh"}}
	store := newMemory(&history{})
	delivered := make(chan struct{}, 1)
	events := &lockedWriter{}
	r := relay.New(relay.Config{Store: watched{store, delivered}, Accounts: newSetting(t), Events: slog.New(slog.NewTextHandler(events, nil)), Sender: &relay.SMTP{Routes: o, Tokens: o}})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	body := "Date: x\n\n.dot\n" + strings.Repeat("0123456789abcdef\n", 50_000)
	for range 2 {
		if _, err := r.Accept(t.Context(), submission(), strings.NewReader(body)); err != nil {
			t.Fatal(err)
		}
		select {
		case <-delivered:
		case <-time.After(20 * time.Second):
			t.Fatal("not delivered")
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	want := strings.ReplaceAll(body[strings.Index(body, "Date:"):], "\n", "\r\n")
	for _, got := range e.mails {
		if !strings.HasSuffix(got, want) {
			t.Errorf("the body was changed: %d octets, want %d at the end", len(got), len(want))
		}
	}
	if st := r.Stats(); len(e.mails) != 2 || st.Delivered != 2 || st.Opened != 1 || st.Reused != 1 {
		t.Errorf("%d mails, stats %+v", len(e.mails), st)
	}
	if strings.Contains(events.String(), "fresh") || !strings.Contains(events.String(), "event=delivered") {
		t.Error("the token is in the events")
	}
}

// watched tells when a message was delivered.
type watched struct {
	*memory
	delivered chan<- struct{}
}

func (w watched) FinishMessage(ctx context.Context, holder string, m relay.Message, spent relay.Spent) error {
	err := w.memory.FinishMessage(ctx, holder, m, spent)
	if err == nil && m.State == relay.Delivered {
		w.delivered <- struct{}{}
	}
	return err
}
