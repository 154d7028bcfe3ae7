package smtp

import (
	"context"
	"encoding/base64"
	"strings"

	"github.com/emersion/go-sasl"

	"postern/internal/fault"
	"postern/internal/secret"
)

// maxRounds bounds a SASL dialogue; XOAUTH2 needs two, LOGIN three.
const maxRounds = 8

// Auth signs in. It refuses to send credentials over a connection without TLS
// (fault.NeedsAdmin). The initial response goes with the AUTH line, as Microsoft
// documents it; a server that answers 504 to that, or 500 because the line is too
// long for it (RFC 5321 §4.2.2; Dovecot's limit is below a token's length), gets
// the two-step form, for which newClient is asked again.
func (c *Conn) Auth(ctx context.Context, newClient func() sasl.Client) error {
	if c.secure == nil {
		return fault.New(fault.NeedsAdmin, "smtp "+StageAUTH, "no credentials are sent to %s without TLS", c.cfg.Server.Address()).
			WithHint("set the server's TLS mode to starttls or implicit")
	}
	defer c.wire.use(ctx)()
	err := c.auth(newClient(), true)
	if r := fault.ReplyOf(err); r != nil && (r.Code == "504" || r.Code == "500") && c.Usable() {
		err = c.auth(newClient(), false)
	}
	return err
}

func (c *Conn) auth(client sasl.Client, oneLine bool) error {
	mech, ir, err := client.Start()
	if err != nil {
		return &fault.Error{Kind: fault.Invalid, Op: "smtp " + StageAUTH, Err: err}
	}
	pending := ir // what the first challenge is answered with, when it is not sent at once
	r, err := c.authLine(mech, ir, oneLine)
	if oneLine {
		pending = nil
	}
	for round := 0; err == nil && r.code == 334; round++ {
		answer := pending
		pending = nil
		if answer == nil {
			if answer, err = c.next(client, r, round); err != nil {
				return err
			}
		}
		r, err = c.authSay(base64.StdEncoding.EncodeToString(answer), secret.Redacted)
	}
	if err != nil {
		return err
	}
	return c.judge(StageAUTH, 2, r)
}

// authLine begins the dialogue. RFC 4954 §4: an empty initial response is "=".
func (c *Conn) authLine(mech string, ir []byte, oneLine bool) (reply, error) {
	line := "AUTH " + mech
	switch {
	case ir == nil || !oneLine:
		return c.authSay(line, line)
	case len(ir) == 0:
		return c.authSay(line+" =", line+" =")
	}
	return c.authSay(line+" "+base64.StdEncoding.EncodeToString(ir), line+" "+secret.Redacted)
}

// authSay sends a line of the dialogue and reads whatever comes back, without the
// echo of what is not shown.
func (c *Conn) authSay(line, shown string) (reply, error) {
	c.wire.setPatience(c.times.Auth)
	if err := c.say(StageAUTH, line, shown); err != nil {
		return reply{}, err
	}
	if err := c.flush(StageAUTH); err != nil {
		return reply{}, err
	}
	hidden := func(s string) string { return s }
	if line != shown {
		said := secret.New(line[strings.LastIndexByte(line, ' ')+1:])
		hidden = func(s string) string { return secret.Unecho(s, said) }
	}
	r, err := readReply(c.br, func(answer string) { c.trace(hidden(answer)) })
	if err != nil {
		return reply{}, c.lost(StageAUTH, err)
	}
	for i := range r.lines {
		r.lines[i] = hidden(r.lines[i])
	}
	return r, nil
}

// next asks the mechanism for its answer; when it has none, the dialogue is
// cancelled with "*" and the server's last word is read.
func (c *Conn) next(client sasl.Client, r reply, round int) ([]byte, error) {
	challenge, err := base64.StdEncoding.DecodeString(r.text())
	var answer []byte
	if err == nil && round < maxRounds {
		if answer, err = client.Next(challenge); err == nil {
			return answer, nil
		}
	}
	if err == nil {
		err = sasl.ErrUnexpectedServerChallenge
	}
	last, sayErr := c.authSay("*", "*")
	if sayErr != nil {
		return nil, sayErr
	}
	f := last.fault(StageAUTH)
	f.Err = err
	return nil, f
}
