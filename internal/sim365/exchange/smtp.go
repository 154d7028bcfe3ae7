package exchange

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"postern/internal/sim365/world"
)

// smtpSession is one connection to port 587.
type smtpSession struct {
	*Servers
	svc  service
	w    *wire
	id   string // of the session, in world.Stored
	host string // this server's name today
	mark string // this server's id for the session, at the end of replies

	secure  bool
	greeted bool
	mailbox string // signed in as
	mail    *transaction

	// answered is how much of the client's speech had arrived when our last 250
	// to a message went out; -1 when there is none to confirm.
	answered int64
}

// transaction is what MAIL began.
type transaction struct {
	from    string
	to      []string
	content content // from BDAT
	chunked bool
}

func (s *Servers) serveSMTP(svc service) handler {
	return func(ctx context.Context, c net.Conn) {
		session := &smtpSession{
			Servers: s, svc: svc, w: newWire(c), id: world.NewID(), answered: -1,
			host: "FR0P281CA" + strings.ToUpper(rand.Text()[:4]) + "." + s.cfg.Host,
			mark: "08DE" + strings.ToUpper(rand.Text()[:12]),
		}
		s.world.Bump(svc.name + "_session")
		defer session.leave()
		if err := session.run(ctx); !errors.Is(err, errHangUp) {
			s.cfg.Log.DebugContext(ctx, "session ended", "service", svc.name, "session", session.id, "err", err)
		}
	}
}

// leave gives the session's place free before the client can see the end.
func (s *smtpSession) leave() {
	if s.mailbox != "" {
		s.meter.leave(s.mailbox, s.id)
	}
	_ = s.w.conn.Close()
}

func (s *smtpSession) run(ctx context.Context) error {
	if _, err := s.answer(ctx, "greeting", func() string {
		return fmt.Sprintf("220 %s Microsoft ESMTP MAIL Service ready at %s", s.host, s.world.Now().UTC().Format(time.RFC1123Z))
	}); err != nil {
		return err
	}
	for {
		begin := s.w.taken
		line, err := s.w.line()
		switch {
		case errors.Is(err, errTooLong):
			err = s.w.say(smtpLineTooLong)
		case err == nil:
			s.confirm(begin)
			err = s.command(ctx, line)
		}
		if err != nil {
			return err
		}
	}
}

// confirm notes that the client has read our 250: it has spoken since. A command
// that had been read already when the 250 went out (RFC 2920 lets a client send
// QUIT behind the dot) proves nothing.
func (s *smtpSession) confirm(begin int64) {
	if s.answered >= 0 && begin >= s.answered {
		s.world.Confirm(s.id)
		s.answered = -1
	}
}

// answer does a step and says its answer, which it returns.
func (s *smtpSession) answer(ctx context.Context, stage string, work func() string) (string, error) {
	text, err := s.step(ctx, s.w, place{s.svc.name, stage, s.mailbox}, work)
	if err != nil {
		return "", err
	}
	return text, s.utter(text)
}

// utter says an answer; behind a 421 the connection ends (RFC 5321 §3.8).
func (s *smtpSession) utter(text string) error {
	if err := s.w.say(text); err != nil {
		return err
	}
	if strings.HasPrefix(text, "421") {
		return errHangUp
	}
	return nil
}

// parseVerb cuts a command line (RFC 5321 §2.4: verbs know no case).
func parseVerb(line string) (verb, args string) {
	verb, args, _ = strings.Cut(strings.TrimRight(line, " \t"), " ")
	return strings.ToUpper(verb), strings.TrimLeft(args, " ")
}

func (s *smtpSession) command(ctx context.Context, line string) error {
	verb, args := parseVerb(line)
	var err error
	switch verb {
	case "EHLO", "HELO":
		_, err = s.answer(ctx, "ehlo", func() string { return s.hello(verb, args) })
	case "STARTTLS":
		err = s.startTLS(ctx)
	case "AUTH":
		err = s.auth(ctx, args)
	case "MAIL":
		_, err = s.answer(ctx, "mail", func() string { return s.begin(args) })
	case "RCPT":
		_, err = s.answer(ctx, "rcpt", func() string { return s.recipient(args) })
	case "DATA":
		err = s.data(ctx)
	case "BDAT":
		err = s.chunk(ctx, args)
	case "RSET":
		_, err = s.answer(ctx, "rset", func() string { s.mail = nil; return smtpReset })
	case "NOOP":
		_, err = s.answer(ctx, "noop", func() string { return smtpOK })
	case "QUIT":
		if _, err = s.answer(ctx, "quit", func() string { return smtpGoodbye }); err == nil {
			err = errHangUp
		}
	default:
		_, err = s.answer(ctx, "unknown", func() string { return s.stamped(smtpUnknown) })
	}
	return err
}

func (s *smtpSession) hello(verb, args string) string {
	if args == "" {
		return smtpArguments
	}
	s.greeted, s.mail = true, nil
	client, _, err := net.SplitHostPort(s.w.conn.RemoteAddr().String())
	if err != nil {
		client = "127.0.0.1"
	}
	if verb == "HELO" {
		return fmt.Sprintf("250 %s Hello [%s]", s.host, client)
	}
	return smtpHello(s.host, client, s.secure)
}

// startTLS forgets all that was said before (RFC 3207 §4.2).
func (s *smtpSession) startTLS(ctx context.Context) error {
	sent, err := s.answer(ctx, "starttls", func() string {
		if s.secure || !s.greeted {
			return smtpBadSequence
		}
		return smtpReadyForTLS
	})
	if err != nil || sent != smtpReadyForTLS {
		return err
	}
	t, err := s.handshake(ctx, s.w.conn)
	if err != nil {
		return err
	}
	s.w.renew(t)
	s.secure, s.greeted, s.mail = true, false, nil
	return nil
}

// stamped appends what Exchange appends, to find the session in its logs.
func (s *smtpSession) stamped(text string) string {
	return fmt.Sprintf("%s [%s %s %s]", text, s.host, s.world.Now().UTC().Format("2006-01-02T15:04:05.000Z"), s.mark)
}
