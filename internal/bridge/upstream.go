package bridge

import (
	"context"
	"encoding/base64"
	"errors"
	"net"
	"time"

	gosasl "github.com/emersion/go-sasl"

	"postern/internal/fault"
	"postern/internal/mailbox"
	"postern/internal/mailbox/imap"
	"postern/internal/sasl"
	"postern/internal/secret"
)

// upstream is a connection to the mailbox that is signed in.
type upstream struct {
	net.Conn
	wire    *bulk     // under its TLS
	rest    []byte    // what the server said behind its answer to the login
	offers  []string  // what it can do
	expires time.Time // of the token; zero for never
}

// maxAnswer bounds a line of an answer that we asked for ourselves.
const maxAnswer = 64 << 10

// signInPatience is for one try: Exchange answers a refused sign-in after several
// seconds.
const signInPatience = 45 * time.Second

// signIn opens a mailbox. A refused token is replaced once: it may have been revoked
// while it was cached.
func (b *Bridge) signIn(ctx context.Context, who Who, p Protocol) (*upstream, error) {
	way, err := b.cfg.Mailboxes.Way(ctx, who, p, false)
	if err != nil {
		return nil, err
	}
	up, err := b.dial(ctx, who, p, way)
	if !errors.Is(err, fault.NeedsSignIn) {
		return up, err
	}
	if !way.Login.Token.Empty() {
		if way, err = b.cfg.Mailboxes.Way(ctx, who, p, true); err != nil {
			return nil, err
		}
		if up, err = b.dial(ctx, who, p, way); !errors.Is(err, fault.NeedsSignIn) {
			return up, err
		}
	}
	return nil, errors.Join(err, b.cfg.Mailboxes.Refused(ctx, who, err))
}

// dial connects and signs in; ctx bounds all of it.
func (b *Bridge) dial(ctx context.Context, who Who, p Protocol, way Way) (*upstream, error) {
	ctx, cancel := context.WithTimeout(ctx, signInPatience)
	defer cancel()
	speaks := spoken(p)
	var wire *bulk
	way.Server.Dial, way.Server.Narrow = bulky(way.Server.Dial, &wire), true
	conn, err := mailbox.Connect(ctx, way.Server, speaks)
	if err != nil {
		return nil, err
	}
	if err := conn.RequireTLS(speaks.Name + " AUTHENTICATE"); err != nil {
		_ = conn.Close()
		return nil, err
	}
	inner := conn.Conn // TLS itself: from here on deadlines are ours
	stop := context.AfterFunc(ctx, func() { _ = inner.SetDeadline(time.Unix(1, 0)) })
	t := &talk{
		Conn: inner, in: newInput(inner), protocol: p, login: way.Login, server: way.Server.Server.Address(),
		greeted: way.Server.Server.TLS == "starttls", learnt: &b.learnt, account: who.Account,
	}
	defer t.in.release()
	offers, err := t.signIn()
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		_ = inner.Close()
		return nil, b.failed(who, p, err)
	}
	_ = inner.SetDeadline(time.Time{})
	return &upstream{Conn: inner, wire: wire, rest: t.in.ahead(), offers: offers, expires: way.Expires}, nil
}

// failed classifies what is not classified yet, and keeps the pause a server asks for.
func (b *Bridge) failed(who Who, p Protocol, err error) error {
	if r := fault.ReplyOf(err); r != nil {
		if wait := imap.Backoff(r.Text); wait > 0 {
			b.seats.hush(who.Mailbox, wait)
			return &fault.Error{Kind: fault.Throttled, Op: "open the mailbox", Err: err, RetryAfter: wait}
		}
		return err
	}
	return fault.Wrap(fault.Temporary, string(p)+" sign-in", err)
}

// talk is a dialogue with a server, line by line.
type talk struct {
	net.Conn
	in       *input
	protocol Protocol
	login    mailbox.Login
	server   string
	account  string
	greeted  bool // before TLS
	learnt   *learnt
}

func (t *talk) signIn() ([]string, error) {
	if t.protocol == POP3 {
		return t.signInPOP3()
	}
	return t.signInIMAP()
}

// send writes a line.
func (t *talk) send(line string) error {
	_, err := t.Write([]byte(line + "\r\n"))
	return err
}

// client is the mechanism for what there is to sign in with.
func (t *talk) client(offered []string) gosasl.Client {
	if t.login.Password.Empty() {
		return sasl.NewXOAUTH2Client(t.login.User, t.login.Token)
	}
	return sasl.NewPasswordClient(offered, t.login.User, t.login.Password)
}

// refused is a server's no to something, without what we had said to it.
func (t *talk) refused(stage string, kind fault.Kind, code, text string, said ...string) error {
	for _, s := range said {
		text = secret.Unecho(text, secret.New(s))
	}
	return &fault.Error{
		Kind: kind, Op: string(t.protocol) + " " + stage,
		Reply: &fault.Reply{Protocol: string(t.protocol), Stage: stage, Code: code, Text: text},
	}
}

// rounds bounds a SASL exchange: name, password, a challenge with the reason.
const rounds = 4

// exchange answers challenges until next has none any more. ask reads a challenge, with
// more set, or the end; it is told what we said, which a server may echo.
func (t *talk) exchange(c gosasl.Client, first []byte, ask func(said string) (challenge string, more bool, err error)) error {
	said := ""
	for range rounds {
		challenge, more, err := ask(said)
		if err != nil || !more {
			return err
		}
		answer := first
		if first = nil; answer == nil {
			raw, err := base64.StdEncoding.DecodeString(challenge)
			if err != nil {
				return fault.New(fault.Temporary, string(t.protocol)+" AUTH", "the challenge is not base64")
			}
			if answer, err = c.Next(raw); err != nil {
				return fault.Wrap(fault.NeedsSignIn, string(t.protocol)+" AUTH", err)
			}
		}
		said = base64.StdEncoding.EncodeToString(answer)
		if err := t.send(said); err != nil {
			return err
		}
	}
	return fault.New(fault.NeedsSignIn, string(t.protocol)+" AUTH", "the server keeps asking")
}
