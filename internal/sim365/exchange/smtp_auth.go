package exchange

import (
	"context"
	"encoding/base64"
	"strings"

	gosasl "github.com/emersion/go-sasl"

	"postern/internal/sasl"
	"postern/internal/secret"
)

// auth is RFC 4954 with Exchange's two mechanisms. A fault strikes when the
// credentials are there, so that it can be armed for one mailbox.
func (s *smtpSession) auth(ctx context.Context, args string) error {
	mech, initial, oneLine := strings.Cut(args, " ")
	var c credentials
	var dialogue gosasl.Server
	switch strings.ToUpper(mech) {
	case sasl.XOAUTH2:
		dialogue = sasl.NewXOAUTH2Server(func(user string, token secret.Text) error {
			c.user, c.token = user, token
			return nil
		})
	case sasl.LOGIN:
		c.basic = true
		dialogue = sasl.NewLoginServer(func(user string, password secret.Text) error {
			c.user, c.password = user, password
			return nil
		})
	}
	refusal := s.authAllowed(dialogue != nil)
	if refusal == "" {
		var err error
		if c.malformed, err = s.converse(dialogue, initial, oneLine); err != nil {
			return err
		}
	}
	at := place{s.svc.name, "auth", c.user}
	text, err := s.step(ctx, s.w, at, func() string {
		if refusal != "" {
			return refusal
		}
		return s.signIn(c)
	})
	if err != nil {
		return err
	}
	return s.utter(text)
}

func (s *smtpSession) authAllowed(known bool) string {
	switch {
	case !s.greeted:
		return smtpHelloFirst
	case !s.secure || !known:
		return s.stamped(smtpNoMechanism)
	case s.mailbox != "" || s.mail != nil:
		return smtpBadSequence
	}
	return ""
}

// converse runs a mechanism to its end. Malformed is anything that yields no
// credentials, the client's "*" among it.
func (s *smtpSession) converse(dialogue gosasl.Server, initial string, oneLine bool) (malformed bool, err error) {
	var response []byte
	if oneLine {
		if response, err = decodeInitial(initial); err != nil {
			return true, nil //nolint:nilerr // refused in the answer
		}
	}
	for {
		challenge, done, err := dialogue.Next(response)
		if err != nil || done {
			return err != nil, nil //nolint:nilerr // likewise
		}
		if err := s.w.say(smtpContinue + base64.StdEncoding.EncodeToString(challenge)); err != nil {
			return false, err
		}
		line, err := s.w.line()
		if err != nil {
			return false, err
		}
		if response, err = base64.StdEncoding.DecodeString(line); err != nil {
			return true, nil //nolint:nilerr // likewise
		}
	}
}

// decodeInitial: "=" is an empty response (RFC 4954 §4).
func decodeInitial(s string) ([]byte, error) {
	s = strings.TrimSpace(s)
	if s == "=" {
		return []byte{}, nil
	}
	return base64.StdEncoding.DecodeString(s)
}

func (s *smtpSession) signIn(c credentials) string {
	v := s.judge(s.svc, c)
	if v == welcome {
		s.mailbox = c.user
		s.meter.enter(s.mailbox, s.id)
		return smtpVerdict(v)
	}
	return s.stamped(smtpVerdict(v))
}
