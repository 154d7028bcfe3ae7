package exchange

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/emersion/go-imap/v2"

	"postern/internal/sasl"
)

// popSession is one connection to port 995. It sees the INBOX as it was when it
// signed in (RFC 1939 §4).
type popSession struct {
	*Servers
	w       *wire
	user    bool // USER was said
	mailbox string
	inbox   *folder
	drop    []popMessage
}

type popMessage struct {
	*message
	uidl    string
	deleted bool
}

func (s *Servers) servePOP3(ctx context.Context, c net.Conn) {
	session := &popSession{Servers: s, w: newWire(c)}
	s.world.Bump("pop3_session")
	if err := session.run(ctx); !errors.Is(err, errHangUp) {
		s.cfg.Log.DebugContext(ctx, "session ended", "service", "pop3", "err", err)
	}
}

func (s *popSession) run(ctx context.Context) error {
	if err := s.answer(ctx, "greeting", s.mailbox, func() string { return popGreeting }); err != nil {
		return err
	}
	for {
		line, err := s.w.line()
		switch {
		case errors.Is(err, errTooLong):
			err = s.hangUp(popProtocol)
		case err == nil:
			err = s.command(ctx, line)
		}
		if err != nil {
			return err
		}
	}
}

func (s *popSession) answer(ctx context.Context, stage, mailbox string, work func() string) error {
	text, err := s.step(ctx, s.w, place{"pop3", stage, mailbox}, work)
	if err != nil {
		return err
	}
	return s.w.say(text)
}

func (s *popSession) hangUp(text string) error {
	if err := s.w.say(text); err != nil {
		return err
	}
	return errHangUp
}

func (s *popSession) command(ctx context.Context, line string) error {
	verb, args := parseVerb(line)
	switch verb {
	case "CAPA":
		return s.answer(ctx, "capa", s.mailbox, popCapabilities)
	case "QUIT":
		if err := s.answer(ctx, "quit", s.mailbox, s.quit); err != nil {
			return err
		}
		return errHangUp
	}
	if s.mailbox == "" {
		return s.authorization(ctx, verb, args)
	}
	work, stage := s.transaction(verb, strings.Fields(args))
	return s.answer(ctx, stage, s.mailbox, work)
}

// authorization is the state before the sign-in. USER is offered and never works:
// Basic authentication has ended.
func (s *popSession) authorization(ctx context.Context, verb, args string) error {
	switch verb {
	case "AUTH":
		return s.auth(ctx, args)
	case "USER":
		s.user = true
		return s.answer(ctx, "user", args, func() string { return popOK })
	case "PASS":
		return s.answer(ctx, "auth", "", func() string {
			if !s.user {
				return popState
			}
			s.user = false
			return popLogonRefused
		})
	case "STAT", "LIST", "UIDL", "RETR", "TOP", "DELE", "NOOP", "RSET":
		return s.w.say(popState)
	}
	return s.w.say(popUnknown)
}

// auth is RFC 5034, in two steps only: with the credentials on the AUTH line
// Exchange hangs up.
func (s *popSession) auth(ctx context.Context, args string) error {
	mech, _, oneLine := strings.Cut(args, " ")
	mech = strings.ToUpper(mech)
	switch {
	case mech == "":
		return s.w.say("+OK\nPLAIN\nXOAUTH2\n.")
	case oneLine:
		return s.hangUp(popProtocol)
	case mech != sasl.XOAUTH2 && mech != "PLAIN":
		return s.w.say(popAuthRefused)
	}
	if err := s.w.say(popContinue); err != nil {
		return err
	}
	line, err := s.w.line()
	if err != nil {
		return err
	}
	c := presented(line)
	return s.answer(ctx, "auth", c.user, func() string {
		if mech != sasl.XOAUTH2 || s.judge(fetching(), c) != welcome {
			return popAuthRefused
		}
		s.open(c.user)
		return popWelcome
	})
}

// presented reads a base64 XOAUTH2 response.
func presented(line string) credentials {
	response, err := base64.StdEncoding.DecodeString(strings.TrimSpace(line))
	if err != nil {
		return credentials{malformed: true}
	}
	user, token, err := sasl.ParseXOAUTH2(response)
	return credentials{user: user, token: token, malformed: err != nil}
}

func (s *popSession) open(mailbox string) {
	s.mailbox = mailbox
	b := s.store.mailbox(mailbox)
	b.mu.Lock()
	defer b.mu.Unlock()
	s.inbox, _ = b.folder(Inbox)
	for _, m := range s.inbox.messages {
		s.drop = append(s.drop, popMessage{message: m, uidl: fmt.Sprintf("%08x%08x", s.inbox.validity, m.uid)})
	}
}

// transaction picks the work of a command and the stage at which faults strike.
func (s *popSession) transaction(verb string, args []string) (work func() string, stage string) {
	switch verb {
	case "STAT":
		return s.stat, "list"
	case "LIST":
		return func() string { return s.list(args, func(m popMessage) string { return strconv.Itoa(len(m.raw)) }) }, "list"
	case "UIDL":
		return func() string { return s.list(args, func(m popMessage) string { return m.uidl }) }, "list"
	case "RETR":
		return func() string { return s.retrieve(args, -1) }, "fetch"
	case "TOP":
		return func() string { return s.top(args) }, "fetch"
	case "DELE":
		return func() string { return s.remove(args) }, "store"
	case "RSET":
		return s.reset, "rset"
	case "NOOP":
		return func() string { return popOK }, "noop"
	case "AUTH", "USER", "PASS":
		return func() string { return popState }, "auth"
	}
	return func() string { return popUnknown }, "unknown"
}

func (s *popSession) stat() string {
	var n, size int
	for _, m := range s.drop {
		if !m.deleted {
			n, size = n+1, size+len(m.raw)
		}
	}
	return fmt.Sprintf("+OK %d %d", n, size)
}

// number finds the message a command means.
func (s *popSession) number(args []string) (int, bool) {
	if len(args) == 0 {
		return 0, false
	}
	n, err := strconv.Atoi(args[0])
	if err != nil || n < 1 || n > len(s.drop) || s.drop[n-1].deleted {
		return 0, false
	}
	return n, true
}

func (s *popSession) list(args []string, value func(popMessage) string) string {
	if len(args) > 0 {
		n, ok := s.number(args)
		if !ok {
			return popOutOfRange
		}
		return fmt.Sprintf("+OK %d %s", n, value(s.drop[n-1]))
	}
	lines := []string{s.stat()}
	for i, m := range s.drop {
		if !m.deleted {
			lines = append(lines, fmt.Sprintf("%d %s", i+1, value(m)))
		}
	}
	return strings.Join(append(lines, "."), "\n")
}

func (s *popSession) top(args []string) string {
	if len(args) != 2 {
		return popOutOfRange
	}
	n, err := strconv.Atoi(args[1])
	if err != nil || n < 0 {
		return popOutOfRange
	}
	return s.retrieve(args, n)
}

func (s *popSession) retrieve(args []string, bodyLines int) string {
	n, ok := s.number(args)
	if !ok {
		return popOutOfRange
	}
	return popOK + "\n" + stuffed(string(s.drop[n-1].raw), bodyLines) + "."
}

// stuffed doubles leading dots and ends every line with a line feed, which the
// wire makes CRLF. It stops after so many lines of the body; -1 is all.
func stuffed(raw string, bodyLines int) string {
	var out strings.Builder
	inBody := false
	for line := range strings.Lines(raw) {
		line = strings.TrimRight(line, "\r\n")
		if inBody {
			if bodyLines == 0 {
				break
			}
			bodyLines--
		}
		if strings.HasPrefix(line, ".") {
			out.WriteByte('.')
		}
		out.WriteString(line + "\n")
		inBody = inBody || line == ""
	}
	return out.String()
}

func (s *popSession) remove(args []string) string {
	n, ok := s.number(args)
	if !ok {
		return popOutOfRange
	}
	s.drop[n-1].deleted = true
	return popOK
}

func (s *popSession) reset() string {
	for i := range s.drop {
		s.drop[i].deleted = false
	}
	return popOK
}

// quit is the update state: only a QUIT removes what was deleted.
func (s *popSession) quit() string {
	if s.mailbox == "" {
		return popGoodbye
	}
	var gone []imap.UID
	for _, m := range s.drop {
		if m.deleted {
			gone = append(gone, m.uid)
		}
	}
	b := s.store.mailbox(s.mailbox)
	b.mu.Lock()
	defer b.mu.Unlock()
	s.inbox.remove(func(m *message) bool { return slices.Contains(gone, m.uid) })
	return popGoodbye
}
