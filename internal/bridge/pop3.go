package bridge

import (
	"context"
	"errors"
	"strings"

	"postern/internal/secret"
)

// admitPOP3 speaks POP3 up to the login (RFC 1939 §4, RFC 2449, RFC 5034).
func (v *visitor) admitPOP3(ctx context.Context) *session {
	if !v.say("+OK Postern is ready\r\n") {
		return nil
	}
	user := ""
	for {
		line, err := v.in.line()
		if errors.Is(err, errLongLine) {
			v.say("-ERR That is too long for somebody who has not signed in\r\n")
		}
		if err != nil {
			return nil
		}
		name, arg, _ := strings.Cut(line, " ")
		name = strings.ToUpper(name)
		if name == "USER" && v.safe { // what was said in the clear may be anybody's
			user = arg
		}
		s, more := v.pop3Command(ctx, name, arg, user)
		if s != nil || !more || v.broken {
			return s
		}
	}
}

// pop3Command does one command; more is false when the connection has to end.
func (v *visitor) pop3Command(ctx context.Context, name, arg, user string) (s *session, more bool) {
	switch name {
	case "CAPA":
		return nil, v.odd() && v.say("+OK\r\n"+strings.Join(v.capa(), "\r\n")+"\r\n.\r\n")
	case "NOOP":
		return nil, v.odd() && v.say("+OK\r\n")
	case "QUIT":
		v.say("+OK Until next time\r\n")
		return nil, false
	case "STLS":
		return nil, v.startTLS(ctx, "+OK Begin TLS\r\n", "-ERR ")
	case "USER", "PASS", "AUTH":
		if !v.safe {
			return nil, v.odd() && v.say("-ERR Begin with STLS\r\n")
		}
	default:
		return nil, v.odd() && v.say("-ERR Not before the login\r\n")
	}
	switch {
	case name == "USER" && arg == "":
		return nil, v.odd() && v.say("-ERR USER takes a name\r\n")
	case name == "USER":
		return nil, v.odd() && v.say("+OK\r\n")
	case name == "PASS" && user == "":
		return nil, v.odd() && v.say("-ERR USER comes first\r\n")
	case name == "PASS":
		return v.loginPOP3(ctx, user, secret.New(arg))
	case arg == "":
		return nil, v.odd() && v.say("+OK\r\nPLAIN\r\nLOGIN\r\n.\r\n")
	}
	return v.authPOP3(ctx, strings.Fields(arg))
}

// capa is true of the mailbox as far as it is known whose it will be.
func (v *visitor) capa() []string {
	lines := append(v.b.learnt.common(POP3), "RESP-CODES", "AUTH-RESP-CODE", "IMPLEMENTATION Postern")
	if !v.safe {
		return append(lines, "STLS")
	}
	return append(lines, "USER", "SASL PLAIN LOGIN")
}

func (v *visitor) authPOP3(ctx context.Context, words []string) (s *session, more bool) {
	if len(words) == 0 || len(words) > 2 {
		return nil, v.odd() && v.say("-ERR AUTH takes a mechanism\r\n")
	}
	user, password, err := v.exchange(words[0], words[1:], "+ ")
	switch {
	case errors.Is(err, errMechanism):
		return nil, v.odd() && v.say("-ERR That mechanism is not known here: PLAIN, LOGIN\r\n")
	case err != nil:
		return nil, v.odd() && v.say("-ERR The answer is not what the mechanism wants\r\n")
	}
	return v.loginPOP3(ctx, user, password)
}

// loginPOP3 opens the mailbox and says so.
func (v *visitor) loginPOP3(ctx context.Context, user string, password secret.Text) (s *session, more bool) {
	s, err := v.enter(ctx, user, password)
	if err != nil {
		return nil, v.say(POP3.refusal(err)) && v.again(POP3.farewell("Too many logins that failed"))
	}
	if !v.say("+OK " + s.who.Mailbox.String() + " is open\r\n") {
		s.discard()
		return nil, false
	}
	return s, true
}
