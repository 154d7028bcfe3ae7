// Package imap is a client for reading one mailbox: sign in with a token, look at
// folders without changing them, stream messages, and mark, move or delete those
// that are done with. It follows RFC 9051 and RFC 3501 through go-imap.
//
// It does not append, idle or keep a cache, parses no message, and has no debug
// writer: what goes over the wire is never written down.
package imap

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
	"github.com/emersion/go-sasl"

	"postern/internal/fault"
	"postern/internal/mailbox"
	"postern/internal/secret"
)

// Client is one connection. Operations run one after the other; it is safe for
// concurrent use. An operation whose context ends closes the connection.
type Client struct {
	mu   sync.Mutex
	conn *mailbox.Conn
	c    *imapclient.Client
	tap  *tap
	open folder // what is selected

	opened bool // the mailbox behind the sign-in has answered at least once
}

// folder is what SELECT or EXAMINE said.
type folder struct {
	name     string
	writable bool
	validity uint32
}

// Dial connects, encrypts and reads the greeting.
func Dial(ctx context.Context, cfg mailbox.Config) (*Client, error) {
	conn, err := mailbox.Connect(ctx, cfg, mailbox.Protocol{Name: protocol, StartTLS: startTLS})
	if err != nil {
		return nil, err
	}
	t := newTap(conn)
	if cfg.Server.TLS == "starttls" {
		t.greet() // it came before TLS, and go-imap waits for one
	}
	c := &Client{conn: conn, tap: t}
	defer conn.Begin(ctx)()
	c.c = imapclient.New(t, &imapclient.Options{})
	if err := c.c.WaitGreeting(); err != nil {
		_ = c.c.Close()
		return nil, c.failed(ctx, "greeting", err)
	}
	return c, nil
}

// startTLS is RFC 9051 §6.2.1 up to the handshake. What the server claimed before
// it is forgotten.
func startTLS(ctx context.Context, c *mailbox.Conn) error {
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

// Folders lists the folders that can be opened, as they are called (UTF-8).
func (c *Client) Folders(ctx context.Context) ([]string, error) {
	defer c.begin(ctx)()
	return c.list(ctx, "*")
}

func (c *Client) list(ctx context.Context, pattern string) ([]string, error) {
	all, err := c.c.List("", pattern, nil).Collect()
	if err != nil {
		return nil, c.failed(ctx, "LIST", err)
	}
	c.opened = true
	names := make([]string, 0, len(all))
	for _, f := range all {
		if !slices.Contains(f.Attrs, imap.MailboxAttrNoSelect) && !slices.Contains(f.Attrs, imap.MailboxAttrNonExistent) {
			names = append(names, f.Mailbox)
		}
	}
	slices.Sort(names)
	return names, nil
}

// HasFolder reports whether a folder of that name can be opened.
func (c *Client) HasFolder(ctx context.Context, name string) (bool, error) {
	defer c.begin(ctx)()
	return c.has(ctx, name)
}

func (c *Client) has(ctx context.Context, name string) (bool, error) {
	pattern := name
	if strings.ContainsAny(name, "*%") { // wildcards of LIST cannot be quoted
		pattern = "*"
	}
	names, err := c.list(ctx, pattern)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(names, func(n string) bool {
		return n == name || strings.EqualFold(n, "INBOX") && strings.EqualFold(name, "INBOX")
	}), nil
}

// Status is what opening a folder told.
type Status struct {
	UIDValidity uint32
	UIDNext     uint32 // 0: not told
	Messages    uint32
}

// Examine opens a folder read-only. A folder that does not exist is fault.NotFound.
func (c *Client) Examine(ctx context.Context, name string) (Status, error) {
	defer c.begin(ctx)()
	return c.enter(ctx, name, false)
}

// Select opens a folder for changes.
func (c *Client) Select(ctx context.Context, name string) (Status, error) {
	defer c.begin(ctx)()
	return c.enter(ctx, name, true)
}

func (c *Client) enter(ctx context.Context, name string, writable bool) (Status, error) {
	stage := "EXAMINE"
	if writable {
		stage = "SELECT"
	}
	c.open = folder{} // a failed SELECT leaves nothing selected (RFC 9051 §6.3.2)
	data, err := c.c.Select(name, &imap.SelectOptions{ReadOnly: !writable}).Wait()
	if err != nil {
		return Status{}, c.missing(ctx, name, c.failed(ctx, stage, err))
	}
	c.opened = true
	if data.UIDValidity == 0 {
		return Status{}, fault.New(fault.Permanent, "imap "+stage, "folder %q has no UIDVALIDITY: nothing could be remembered about it", name)
	}
	c.open = folder{name: name, writable: writable, validity: data.UIDValidity}
	return Status{UIDValidity: data.UIDValidity, UIDNext: uint32(data.UIDNext), Messages: data.NumMessages}, nil
}

// missing finds out whether a folder that could not be opened exists: Exchange
// says NO, without a code, to a missing folder and to a busy one alike.
func (c *Client) missing(ctx context.Context, name string, err error) error {
	r := fault.ReplyOf(err)
	if r == nil || r.Code != "NO" || fault.KindOf(err) != fault.Temporary {
		return err
	}
	if there, lookErr := c.has(ctx, name); lookErr != nil || there {
		return err
	}
	return (&fault.Error{Kind: fault.NotFound, Op: fmt.Sprintf("open folder %q", name), Err: err}).
		WithHint("choose a folder that exists")
}

// Close drops the connection. The server needs no farewell: nothing waits for one
// (RFC 9051 §3.4 lets either side leave).
func (c *Client) Close() error {
	_ = c.c.Close() // reports how the connection had ended, which the last operation did
	return nil
}
