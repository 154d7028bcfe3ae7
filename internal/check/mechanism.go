package check

import (
	"errors"
	"slices"

	"postern/internal/sasl"
	"postern/internal/secret"
)

// mechanism is a SASL client as the mail protocols take it.
type mechanism interface {
	Start() (name string, initial []byte, err error)
	Next(challenge []byte) (response []byte, err error)
}

// mechanism makes of a credential what one of the offered mechanisms needs: XOAUTH2 of
// a token; PLAIN, or LOGIN where there is nothing else, of a password.
func (l Credential) mechanism(offers []string) mechanism {
	switch {
	case l.Password.Empty():
		return sasl.NewXOAUTH2Client(l.User, l.Token)
	case slices.Contains(offers, mechanismPlain) || !slices.Contains(offers, sasl.LOGIN):
		return &plain{l.User, l.Password}
	}
	return &login{user: l.User, password: l.Password}
}

const mechanismPlain = "PLAIN"

// errAsked ends a dialogue in which a server wants more than there is.
var errAsked = errors.New("the server asks for more than name and password")

// plain is RFC 4616.
type plain struct {
	user     string
	password secret.Text
}

func (p *plain) Start() (name string, initial []byte, err error) {
	return mechanismPlain, []byte("\x00" + p.user + "\x00" + p.password.Reveal()), nil
}

func (*plain) Next([]byte) ([]byte, error) { return nil, errAsked }

// login is draft-murchison-sasl-login: it waits to be asked for name and password, in
// that order, whatever the words.
type login struct {
	user     string
	password secret.Text
	asked    int
}

func (l *login) Start() (name string, initial []byte, err error) {
	l.asked = 0
	return sasl.LOGIN, nil, nil
}

func (l *login) Next([]byte) ([]byte, error) {
	l.asked++
	switch l.asked {
	case 1:
		return []byte(l.user), nil
	case 2:
		return []byte(l.password.Reveal()), nil
	}
	return nil, errAsked
}
