package relay

import (
	"context"
	"crypto/x509"
	"errors"
	"io"

	gosasl "github.com/emersion/go-sasl"

	"postern/internal/fault"
	"postern/internal/mail"
	"postern/internal/sasl"
	"postern/internal/secret"
	"postern/internal/smtp"
)

// Route is the way out of an account.
type Route struct {
	Mailbox  mail.Address
	Server   mail.Server
	RootCAs  *x509.CertPool // nil: the system's
	Password secret.Text    // an app password; empty means a token signs in
	HVE      bool           // the server is High Volume Email's
}

// submission is a connection to an SMTP server, and which kind of server that is.
type submission struct {
	*smtp.Conn
	hve bool
}

// Send needs no lease of its own: the end of the body makes the server take the message.
// What Graph may have sent comes here when the account may use Graph no longer, and waits.
func (s submission) Send(ctx context.Context, env mail.Envelope, size int64, body io.Reader, _ Ours) (smtp.Result, error) {
	if env.InDoubt {
		err := fault.New(fault.Temporary, "send by SMTP", "Graph may have sent it already, and the account may not use Graph any more, so nobody can look")
		return smtp.Result{InDoubt: true}, err.WithHint("add graph to the account's purposes again until this message is gone; or look into Sent Items, and delete it here")
	}
	return s.Conn.Send(ctx, env, size, body)
}

func (s submission) over() Transport {
	if s.hve {
		return OverHVE
	}
	return OverSMTP
}

// Routes finds the way of an account. An unknown account is fault.NotFound.
type Routes interface {
	Route(ctx context.Context, account string) (Route, error)
}

// TokenSource gives access tokens for an account's mail server. fresh asks for
// one that was not handed out before.
type TokenSource interface {
	Token(ctx context.Context, account string, fresh bool) (secret.Text, error)
}

// SMTP is the [Sender] over SMTP submission.
type SMTP struct {
	Routes    Routes
	Tokens    TokenSource
	HelloName string
	Timeouts  smtp.Timeouts
}

// Open connects and signs in. A refused token is replaced once, on the spot: it
// may have been revoked or spent while it was cached.
func (s *SMTP) Open(ctx context.Context, account string) (Upstream, error) {
	route, err := s.Routes.Route(ctx, account)
	if err != nil {
		return nil, err
	}
	if !route.Password.Empty() {
		return s.open(ctx, route, withPassword(route))
	}
	token, err := s.Tokens.Token(ctx, account, false)
	if err != nil {
		return nil, err
	}
	c, err := s.open(ctx, route, withToken(route, token))
	if !errors.Is(err, fault.NeedsSignIn) {
		return c, err
	}
	if token, err = s.Tokens.Token(ctx, account, true); err != nil {
		return nil, err
	}
	c, err = s.open(ctx, route, withToken(route, token))
	return c, switchedNotSpent(err)
}

// switchedNotSpent is what the refusal of a fresh token means: Exchange gives no reason,
// but the sign-in is not it. A switch or a permission is missing, or on its way. Servers
// that say 5.7.8 (RFC 4954 §6) do mean the credentials.
func switchedNotSpent(err error) error {
	e := fault.As(err)
	if e == nil || e.Kind != fault.NeedsSignIn || e.Reply == nil || e.Reply.Enhanced == "5.7.8" {
		return err
	}
	again := *e
	again.Kind = fault.NeedsAdmin
	return &again
}

// login chooses the SASL client for a server's mechanisms.
type login func(mechanisms []string) gosasl.Client

func withToken(route Route, token secret.Text) login {
	return func([]string) gosasl.Client { return sasl.NewXOAUTH2Client(route.Mailbox.String(), token) }
}

func withPassword(route Route) login {
	return func(mechanisms []string) gosasl.Client {
		return sasl.NewPasswordClient(mechanisms, route.Mailbox.String(), route.Password)
	}
}

func (s *SMTP) open(ctx context.Context, route Route, as login) (Upstream, error) {
	c, err := smtp.Dial(ctx, smtp.Config{Server: route.Server, RootCAs: route.RootCAs, HelloName: s.HelloName, Timeouts: s.Timeouts})
	if err != nil {
		return nil, err
	}
	if err := c.Auth(ctx, func() gosasl.Client { return as(c.Mechanisms()) }); err != nil {
		_ = c.Close(ctx) // nothing was sent; the refusal is what counts
		return nil, notAgain(route, err)
	}
	return submission{c, route.HVE}, nil
}

// notAgain keeps a refused password from being tried again by machine: servers count,
// and one code of Microsoft's (535 5.7.139) stands for a wrong one and for a switch alike.
func notAgain(route Route, err error) error {
	e := fault.As(err)
	if route.Password.Empty() || e == nil || e.Kind != fault.NeedsAdmin || e.Reply == nil || e.Reply.Code != "535" {
		return err
	}
	again := *e
	again.Kind = fault.NeedsSignIn
	return &again
}
