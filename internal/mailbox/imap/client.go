// Package imap is a client for reading one mailbox: sign in, look at folders without
// changing them, stream messages, mark, move or delete those that are done with, and
// wait for more. It follows RFC 9051 and RFC 3501 through go-imap.
//
// It does not append or keep a cache, parses no message, and has no debug writer: what
// goes over the wire is never written down.
package imap

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"slices"
	"strings"
	"sync"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
	"github.com/emersion/go-sasl"

	"postern/internal/fault"
	"postern/internal/mailbox"
	ownsasl "postern/internal/sasl"
	"postern/internal/secret"
)

// Client is one connection. Operations run one after the other; it is safe for
// concurrent use. An operation whose context ends closes the connection.
type Client struct {
	mu   sync.Mutex
	conn *mailbox.Conn
	c    *imapclient.Client
	tap  *tap
	open folder        // what is selected
	news chan struct{} // has room for one: messages arrived since the folder was opened

	opened bool // the mailbox behind the sign-in has answered at least once
}

// Dial connects, encrypts and reads the greeting.
func Dial(ctx context.Context, cfg mailbox.Config) (*Client, error) {
	conn, err := mailbox.Connect(ctx, cfg, mailbox.Protocol{Name: protocol, StartTLS: StartTLS})
	if err != nil {
		return nil, err
	}
	t := newTap(conn)
	if cfg.Server.TLS == "starttls" {
		t.greet() // it came before TLS, and go-imap waits for one
	}
	c := &Client{conn: conn, tap: t, news: make(chan struct{}, 1)}
	defer conn.Begin(ctx)()
	c.c = imapclient.New(t, &imapclient.Options{UnilateralDataHandler: listen(c.news)})
	if err := c.c.WaitGreeting(); err != nil {
		_ = c.c.Close()
		return nil, c.failed(ctx, "greeting", err)
	}
	return c, nil
}

// StartTLS is RFC 9051 §6.2.1 up to the handshake. What the server claimed before
// it is forgotten.
func StartTLS(ctx context.Context, c *mailbox.Conn) error {
	const op, limit = "imap STARTTLS", 8 << 10
	defer c.Begin(ctx)()
	line, err := c.ReadLine(limit)
	if err != nil {
		return fault.Wrap(fault.Temporary, op, err)
	}
	if !strings.HasPrefix(strings.ToUpper(line), "* OK") {
		return refused("greeting", fault.Temporary, line)
	}
	if _, err := c.Write([]byte("s STARTTLS\r\n")); err != nil {
		return fault.Wrap(fault.Temporary, op, err)
	}
	for range 20 { // untagged lines may come first
		if line, err = c.ReadLine(limit); err != nil {
			return fault.Wrap(fault.Temporary, op, err)
		}
		if rest, tagged := strings.CutPrefix(line, "s "); tagged {
			if strings.HasPrefix(strings.ToUpper(rest), "OK") {
				return nil
			}
			return refused("STARTTLS", fault.NeedsAdmin, rest)
		}
	}
	return fault.New(fault.Temporary, op, "no answer among 20 lines")
}

// begin takes the connection for one operation.
func (c *Client) begin(ctx context.Context) (end func()) {
	c.mu.Lock()
	release := c.conn.Begin(ctx)
	return func() {
		release()
		c.mu.Unlock()
	}
}

// Capabilities asks what the server can do now; it differs before and after
// signing in. Sorted.
func (c *Client) Capabilities(ctx context.Context) ([]string, error) {
	defer c.begin(ctx)()
	caps := c.c.Caps()
	if caps == nil {
		return nil, c.failed(ctx, "CAPABILITY", errNoCapabilities)
	}
	names := make([]string, 0, len(caps))
	for name := range caps {
		names = append(names, string(name))
	}
	slices.Sort(names)
	return names, nil
}

// TLS describes the encryption, if there is one.
func (c *Client) TLS() (tls.ConnectionState, bool) { return c.conn.TLS() }

// Authenticate signs in (RFC 9051 §6.2.2), with the credentials in the first line
// when the server allows that (RFC 4959). It refuses to over clear text, and to
// when the server does not offer the mechanism. A refusal is fault.NeedsSignIn:
// Microsoft gives no reason, so what is wrong must be found in the token.
func (c *Client) Authenticate(ctx context.Context, client sasl.Client) error {
	defer c.begin(ctx)()
	if err := c.conn.RequireTLS("imap AUTHENTICATE"); err != nil {
		return err
	}
	mech, first, err := client.Start()
	if err != nil {
		return fault.Wrap(fault.Invalid, "imap AUTHENTICATE", err)
	}
	caps := c.c.Caps()
	if caps == nil {
		return c.failed(ctx, "CAPABILITY", errNoCapabilities)
	}
	if !caps.Has(imap.AuthCap(mech)) {
		return fault.New(fault.NeedsAdmin, "imap AUTHENTICATE", "the server does not offer %s", mech).
			WithHint("check the host name: this server cannot take tokens")
	}
	if err := c.c.Authenticate(client); err != nil {
		err = c.failed(ctx, "AUTHENTICATE", err)
		if r := fault.ReplyOf(err); r != nil {
			r.Text = secret.Unecho(r.Text, secret.New(base64.StdEncoding.EncodeToString(first)))
		}
		return err
	}
	return nil
}

// SignIn signs in with a token, or with a password by the safest way the server offers:
// PLAIN, LOGIN, or the LOGIN command where it is not forbidden.
func (c *Client) SignIn(ctx context.Context, as mailbox.Login) error {
	if as.Password.Empty() {
		return c.Authenticate(ctx, ownsasl.NewXOAUTH2Client(as.User, as.Token))
	}
	offered, err := c.Capabilities(ctx)
	if err != nil {
		return err
	}
	var mechanisms []string
	for _, o := range offered {
		if name, ok := strings.CutPrefix(o, "AUTH="); ok {
			mechanisms = append(mechanisms, name)
		}
	}
	if slices.Contains(mechanisms, sasl.Plain) || slices.Contains(mechanisms, sasl.Login) {
		return c.Authenticate(ctx, ownsasl.NewPasswordClient(mechanisms, as.User, as.Password))
	}
	if slices.Contains(offered, string(imap.CapLoginDisabled)) {
		return fault.New(fault.NeedsAdmin, "imap LOGIN", "the server takes no passwords (it offers %s)", strings.Join(mechanisms, ", ")).
			WithHint("sign in with a token instead")
	}
	return c.login(ctx, as)
}

func (c *Client) login(ctx context.Context, as mailbox.Login) error {
	defer c.begin(ctx)()
	if err := c.conn.RequireTLS("imap LOGIN"); err != nil {
		return err
	}
	if err := c.c.Login(as.User, as.Password.Reveal()).Wait(); err != nil {
		err = c.failed(ctx, "LOGIN", err)
		if r := fault.ReplyOf(err); r != nil {
			r.Text = secret.Unecho(r.Text, as.Password)
		}
		return err
	}
	return nil
}

// Close drops the connection. The server needs no farewell: nothing waits for one
// (RFC 9051 §3.4 lets either side leave).
func (c *Client) Close() error {
	_ = c.c.Close() // reports how the connection had ended, which the last operation did
	return nil
}
