package sasl

import (
	"slices"

	"github.com/emersion/go-sasl"

	"postern/internal/secret"
)

// LOGIN is the mechanism's name.
const LOGIN = sasl.Login

type loginServer struct {
	authenticate func(user string, password secret.Text) error
	user         string
	step         int
}

const (
	loginUser = iota
	loginPassword
	loginDone
)

// NewLoginServer asks for a user name, then for a password
// (draft-murchison-sasl-login). Old printers send the name already with the AUTH
// line; then only the password is asked for. The prompts are the ones every
// client knows, colon included, because some compare them.
func NewLoginServer(authenticate func(user string, password secret.Text) error) sasl.Server {
	return &loginServer{authenticate: authenticate}
}

func (s *loginServer) Next(response []byte) (challenge []byte, done bool, err error) {
	switch s.step {
	case loginUser:
		if response == nil {
			return []byte("Username:"), false, nil
		}
		s.user, s.step = string(response), loginPassword
		return []byte("Password:"), false, nil
	case loginPassword:
		s.step = loginDone
		return nil, true, s.authenticate(s.user, secret.New(string(response)))
	}
	return nil, false, sasl.ErrUnexpectedClientResponse
}

// NewPasswordClient chooses how a password signs in at a server that offers these
// mechanisms: PLAIN (RFC 4616), or LOGIN where there is nothing better.
func NewPasswordClient(offered []string, user string, password secret.Text) sasl.Client {
	if slices.Contains(offered, sasl.Plain) {
		return sasl.NewPlainClient("", user, password.Reveal())
	}
	return sasl.NewLoginClient(user, password.Reveal())
}
