package bridge

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"strings"

	"postern/internal/secret"
)

// request is one command before the login.
type request struct {
	tag, name string
	args      []string
}

// errRequest is a line that is no command; the connection goes on.
var errRequest = errors.New("not a command")

// readRequest reads a command with its literals (RFC 9051 §4.3, §9). ask is called for
// each literal that the client waits to be asked for. All of it together is bounded:
// the error for what is too long ends the connection, because where the next command
// begins is not known then.
func readRequest(in *input, ask func() error) (r request, err error) {
	var words []string
	room := int64(maxLine)
	for {
		line, err := in.line()
		if err != nil {
			return r, err
		}
		size, waits, literal := announced([]byte(line))
		if literal {
			line = line[:strings.LastIndexByte(line, '{')]
		}
		more, ok := split(line)
		if words = append(words, more...); !literal {
			return newRequest(words, ok)
		}
		if room -= size; room < 0 || len(words) > maxWords {
			return newRequestTag(words), errLiteral
		}
		if waits {
			if err := ask(); err != nil {
				return r, err
			}
		}
		octets := make([]byte, size)
		if _, err := io.ReadFull(in, octets); err != nil {
			return r, err
		}
		words = append(words, string(octets))
	}
}

// maxWords is more than any command has that leads anywhere before the login.
const maxWords = 64

func newRequestTag(words []string) (r request) {
	if len(words) > 0 && isTag(words[0]) {
		r.tag = words[0]
	}
	return r
}

func newRequest(words []string, ok bool) (request, error) {
	r := newRequestTag(words)
	if r.tag == "" || !ok || len(words) < 2 || words[1] == "" || len(words) > maxWords {
		return r, errRequest
	}
	r.name, r.args = strings.ToUpper(words[1]), words[2:]
	return r, nil
}

// isTag reports whether a word can be sent back as a tag.
func isTag(word string) bool {
	if word == "" || len(word) > 100 || word == "*" {
		return false
	}
	for _, c := range []byte(word) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`(){%*"\+`, c) >= 0 {
			return false
		}
	}
	return true
}

// split takes a line apart into atoms and quoted strings.
func split(line string) (words []string, ok bool) {
	for {
		line = strings.TrimLeft(line, " ")
		if line == "" {
			return words, true
		}
		word, rest, ok := nextWord(line)
		if !ok {
			return words, false
		}
		words, line = append(words, word), rest
	}
}

func nextWord(line string) (word, rest string, ok bool) {
	if line[0] != '"' {
		word, rest, _ = strings.Cut(line, " ")
		return word, rest, true
	}
	var b strings.Builder
	for i := 1; i < len(line); i++ {
		switch line[i] {
		case '"':
			return b.String(), line[i+1:], true
		case '\\':
			if i++; i == len(line) {
				return "", "", false
			}
		}
		b.WriteByte(line[i])
	}
	return "", "", false
}

// admitIMAP speaks IMAP up to the login.
func (v *visitor) admitIMAP(ctx context.Context) *session {
	if !v.say("* OK [CAPABILITY " + v.capabilities() + "] Postern is ready\r\n") {
		return nil
	}
	ask := func() error {
		if !v.say("+ go on\r\n") {
			return io.ErrClosedPipe
		}
		return nil
	}
	for {
		r, err := readRequest(v.in, ask)
		switch {
		case errors.Is(err, errLongLine), errors.Is(err, errLiteral):
			v.say("* BYE [TOOBIG] That is too long for somebody who has not signed in\r\n")
			return nil
		case errors.Is(err, errRequest):
			if !v.odd() || !v.say(cmpOr(r.tag, "*")+" BAD That is not a command\r\n") {
				return nil
			}
			continue
		case err != nil:
			return nil
		}
		s, more := v.imapCommand(ctx, r)
		if s != nil || !more || v.broken {
			return s
		}
	}
}

func cmpOr(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// capabilities are true of the mailbox as far as it is known whose it will be.
func (v *visitor) capabilities() string {
	words := v.b.learnt.common(IMAP)
	if !v.safe {
		return strings.Join(append(words, "STARTTLS", "LOGINDISABLED"), " ")
	}
	return strings.Join(append(words, "SASL-IR", "AUTH=PLAIN", "AUTH=LOGIN"), " ")
}

// imapCommand does one command; more is false when the connection has to end.
func (v *visitor) imapCommand(ctx context.Context, r request) (s *session, more bool) {
	switch r.name {
	case "CAPABILITY":
		return nil, v.odd() && v.say("* CAPABILITY "+v.capabilities()+"\r\n"+r.tag+" OK Done\r\n")
	case "NOOP":
		return nil, v.odd() && v.say(r.tag+" OK Done\r\n")
	case "ID":
		return nil, v.odd() && v.say("* ID (\"name\" \"Postern\")\r\n"+r.tag+" OK Done\r\n")
	case "LOGOUT":
		v.say("* BYE Until next time\r\n" + r.tag + " OK Done\r\n")
		return nil, false
	case "STARTTLS":
		return nil, v.startTLS(ctx, r.tag+" OK Begin TLS\r\n", r.tag+" BAD ")
	case "LOGIN", "AUTHENTICATE":
		if !v.safe {
			return nil, v.odd() && v.say(r.tag+" NO [PRIVACYREQUIRED] Begin with STARTTLS\r\n")
		}
		user, password, answer := v.credentials(r)
		if answer != "" {
			return nil, v.odd() && v.say(r.tag+answer)
		}
		return v.loginIMAP(ctx, r.tag, user, password)
	}
	return nil, v.odd() && v.say(r.tag+" BAD Not before the login\r\n")
}

// startTLS answers and begins. Whatever came behind the command in the clear may be
// somebody's on the way; it is not passed over in silence (CVE-2021-33515's kind).
func (v *visitor) startTLS(ctx context.Context, good, bad string) bool {
	switch {
	case v.safe:
		return v.odd() && v.say(bad+"TLS has begun already\r\n")
	case v.in.Buffered() > 0:
		v.say(bad + "Something came behind the command in the clear\r\n")
		return false
	}
	return v.say(good) && v.secure(ctx) == nil
}

// credentials are the name and the password of LOGIN or AUTHENTICATE; answer says what
// is wrong, behind the tag.
func (v *visitor) credentials(r request) (user string, password secret.Text, answer string) {
	if r.name == "LOGIN" {
		if len(r.args) != 2 {
			return "", password, " BAD LOGIN takes a name and a password\r\n"
		}
		return r.args[0], secret.New(r.args[1]), ""
	}
	if len(r.args) < 1 || len(r.args) > 2 {
		return "", password, " BAD AUTHENTICATE takes a mechanism\r\n"
	}
	user, password, err := v.exchange(r.args[0], r.args[1:], "+ ")
	switch {
	case errors.Is(err, errMechanism):
		return "", password, " NO [CANNOT] That mechanism is not known here: PLAIN, LOGIN\r\n"
	case err != nil:
		return "", password, " BAD The answer is not what the mechanism wants\r\n"
	}
	return user, password, ""
}

var (
	errMechanism = errors.New("mechanism not known")
	errExchange  = errors.New("malformed answer")
)

// exchange is SASL's PLAIN (RFC 4616) or LOGIN. go ahead of a challenge is plus.
func (v *visitor) exchange(mechanism string, initial []string, plus string) (user string, password secret.Text, err error) {
	ask := func(challenge string) (string, error) {
		if len(initial) > 0 {
			word := initial[0]
			initial = nil
			if word == "=" {
				word = ""
			}
			return decode(word)
		}
		if !v.say(plus + base64.StdEncoding.EncodeToString([]byte(challenge)) + "\r\n") {
			return "", io.ErrClosedPipe
		}
		line, err := v.in.line()
		if err != nil {
			v.broken = true
			return "", err
		}
		return decode(line)
	}
	switch strings.ToUpper(mechanism) {
	case "PLAIN":
		answer, err := ask("")
		parts := strings.Split(answer, "\x00")
		if err != nil || len(parts) != 3 {
			return "", password, errors.Join(errExchange, err)
		}
		user = parts[1]
		if parts[0] != "" && parts[0] != user { // acting for a mailbox
			user += "+" + parts[0]
		}
		return user, secret.New(parts[2]), nil
	case "LOGIN":
		if user, err = ask("Username:"); err != nil {
			return "", password, err
		}
		clear, err := ask("Password:")
		return user, secret.New(clear), err
	}
	return "", password, errMechanism
}

func decode(word string) (string, error) {
	raw, err := base64.StdEncoding.DecodeString(word)
	if err != nil || word == "*" {
		return "", errExchange
	}
	return string(raw), nil
}

// loginIMAP opens the mailbox and says so, with what the server behind it can do.
func (v *visitor) loginIMAP(ctx context.Context, tag, user string, password secret.Text) (s *session, more bool) {
	s, err := v.enter(ctx, user, password)
	if err != nil {
		return nil, v.say(tag+" "+IMAP.refusal(err)) && v.again(IMAP.farewell("Too many logins that failed"))
	}
	if !v.say(tag + " OK [CAPABILITY " + strings.Join(s.up.offers, " ") + "] " + s.who.Mailbox.String() + " is open\r\n") {
		s.discard()
		return nil, false
	}
	return s, true
}

// again counts a login that failed, and says farewell when there were enough.
func (v *visitor) again(farewell string) bool {
	if v.failed++; v.failed < maxFailed {
		return true
	}
	v.say(farewell)
	return false
}
