// Package sasl has the mechanisms go-sasl lacks: XOAUTH2, client and server, and
// the server side of LOGIN. It implements go-sasl's interfaces, so go-smtp and
// go-imap can use it.
//
// It does not encode base64 (the protocols do), knows no protocol, and neither
// obtains nor judges tokens and passwords.
package sasl

import (
	"bytes"
	"errors"
	"strings"

	"github.com/emersion/go-sasl"

	"postern/internal/secret"
)

// XOAUTH2 is the mechanism's name in AUTH lines and capabilities.
const XOAUTH2 = "XOAUTH2"

// Errors of both sides. A server that gets [ErrMalformed] has seen no credentials.
var (
	ErrMalformed = errors.New("malformed XOAUTH2 response")
	errMailbox   = errors.New("mailbox cannot stand in an XOAUTH2 response")
)

// separator stands between the fields (^A).
const separator = "\x01"

type xoauth2Client struct {
	mailbox   string
	token     secret.Text
	challenge bool // one challenge was answered already
}

// NewXOAUTH2Client signs in to mailbox with an access token. For a shared
// mailbox or an application token, mailbox is the one to open, not the one that
// consented. The response is
// "user=" mailbox ^A "auth=Bearer " token ^A ^A, exactly.
//
// Microsoft fails at once; Google sends a challenge with the reason first, which
// wants an empty answer. The client gives one, and refuses a second challenge.
func NewXOAUTH2Client(mailbox string, token secret.Text) sasl.Client {
	return &xoauth2Client{mailbox: mailbox, token: token}
}

func (c *xoauth2Client) Start() (mech string, ir []byte, err error) {
	if c.mailbox == "" || strings.ContainsAny(c.mailbox, separator+"\r\n\x00") {
		return "", nil, errMailbox
	}
	c.challenge = false
	return XOAUTH2, []byte("user=" + c.mailbox + separator + "auth=Bearer " + c.token.Reveal() + separator + separator), nil
}

func (c *xoauth2Client) Next([]byte) ([]byte, error) {
	if c.challenge {
		return nil, sasl.ErrUnexpectedServerChallenge
	}
	c.challenge = true
	return []byte{}, nil
}

type xoauth2Server struct {
	authenticate func(user string, token secret.Text) error
	done         bool
}

// NewXOAUTH2Server asks authenticate about the user and token of a response,
// which may come with the AUTH line or after an empty challenge. Like
// Microsoft's servers it sends no reason before the final refusal; what
// authenticate returns is returned as it is.
func NewXOAUTH2Server(authenticate func(user string, token secret.Text) error) sasl.Server {
	return &xoauth2Server{authenticate: authenticate}
}

func (s *xoauth2Server) Next(response []byte) (challenge []byte, done bool, err error) {
	switch {
	case s.done:
		return nil, false, sasl.ErrUnexpectedClientResponse
	case response == nil:
		return []byte{}, false, nil
	}
	s.done = true
	user, token, err := ParseXOAUTH2(response)
	if err != nil {
		return nil, false, err
	}
	return nil, true, s.authenticate(user, token)
}

// ParseXOAUTH2 reads a client's response. Clients differ, Microsoft's own sample
// among them: keys and the scheme may have any case, the fields any order, and
// the closing separators may be missing. Anything else is [ErrMalformed].
func ParseXOAUTH2(response []byte) (user string, token secret.Text, err error) {
	var auth string
	seen := make(map[string]bool, 2)
	for field := range bytes.SplitSeq(response, []byte(separator)) {
		if len(field) == 0 {
			continue
		}
		key, value, ok := strings.Cut(string(field), "=")
		key = strings.ToLower(key)
		if !ok || seen[key] {
			return "", secret.Text{}, ErrMalformed
		}
		seen[key] = true
		switch key {
		case "user":
			user = value
		case "auth":
			auth = value
		}
	}
	scheme, bearer, _ := strings.Cut(auth, " ")
	bearer = strings.TrimLeft(bearer, " ")
	if user == "" || bearer == "" || !strings.EqualFold(scheme, "Bearer") || strings.ContainsAny(user+bearer, "\r\n\x00") {
		return "", secret.Text{}, ErrMalformed
	}
	return user, secret.New(bearer), nil
}
