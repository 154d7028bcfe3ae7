// Package graph sends mail through Microsoft Graph: the message as it is by sendMail,
// and what is too large for one request as a draft whose attachments are uploaded in
// pieces. Graph knows no envelope, so the envelope is folded into the headers; and it
// can look for a message whose fate is not known.
//
// It stores nothing, never sends anything twice by itself, and obtains no tokens. When
// to look and when to send again is the relay's to decide.
package graph

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	"postern/internal/fault"
	"postern/internal/mail"
	"postern/internal/outbound"
	"postern/internal/secret"
)

// Limits of Graph's mail requests (reference section 5.4).
const (
	atOnce     = 4             // requests of one app under way
	maxAnswer  = 1 << 20       // octets that are read of an answer
	perRequest = 29 << 20 / 10 // octets of a message whose base64 stays below 4 MB
	patience   = 2 * time.Minute
)

// Config builds a [Client].
type Config struct {
	Base    string // https://graph.microsoft.com
	Network outbound.Network
	CA      string // PEM, believed beside the network's

	// Request is the largest message, in octets, that goes in one request; 0 is as
	// many as Graph takes.
	Request int64
	// Patience is how long an answer is waited for; 0 is two minutes.
	Patience time.Duration
	// Spool is the directory for attachments on their way; "" is the system's.
	Spool string
}

// Client speaks to Graph for one app registration, whose requests share its limit.
// It is safe for concurrent use.
type Client struct {
	cfg  Config
	web  *http.Client
	gate chan struct{} // holds one token for each request under way
}

// New builds a Client. It connects to nobody yet.
func New(cfg Config) (*Client, error) {
	if u, err := url.Parse(cfg.Base); err != nil || u.Scheme != "https" || u.Host == "" {
		return nil, fault.New(fault.NeedsAdmin, "find Graph", "%q is not an https:// address", cfg.Base).
			WithHint("set custom.graph and apply")
	}
	cfg.Base = strings.TrimRight(cfg.Base, "/")
	if cfg.Request <= 0 {
		cfg.Request = perRequest
	}
	if cfg.Patience <= 0 {
		cfg.Patience = patience
	}
	transport, err := cfg.Network.Transport(cfg.CA)
	if err != nil {
		return nil, err
	}
	transport.ResponseHeaderTimeout = cfg.Patience
	web := &http.Client{
		Transport: transport,
		// A redirect would carry message and token to somebody else.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return &Client{cfg: cfg, web: web, gate: make(chan struct{}, atOnce)}, nil
}

// Request is the largest message that goes in one request.
func (c *Client) Request() int64 { return c.cfg.Request }

// Token gives an access token for Graph. fresh asks for one that was not handed out
// before.
type Token func(ctx context.Context, fresh bool) (secret.Text, error)

// Mailbox is one mailbox that a token opens.
type Mailbox struct {
	*Client
	token Token
	base  string // https://graph.microsoft.com/v1.0/users/scan@contoso.com
}

// Mailbox names the mailbox that sends.
func (c *Client) Mailbox(address mail.Address, token Token) *Mailbox {
	return &Mailbox{Client: c, token: token, base: c.cfg.Base + "/v1.0/users/" + url.PathEscape(address.String())}
}

// SignIn gets a token. Whether Graph takes it is known after a first request.
func (m *Mailbox) SignIn(ctx context.Context) error {
	_, err := m.token(ctx, false)
	return err
}

// Send sends a letter by the way its size asks for. Its error has Ambiguous set when
// Graph may have sent it all the same, or kept a draft of it. A letter can be sent once.
func (m *Mailbox) Send(ctx context.Context, l *Letter) (fault.Reply, error) {
	whole, fits, err := l.whole(m.cfg.Request)
	if err != nil {
		return fault.Reply{}, err
	}
	if !fits {
		return m.sendLarge(ctx, l)
	}
	return m.sendMail(ctx, whole)
}
