package door

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"

	gosasl "github.com/emersion/go-sasl"
	gosmtp "github.com/emersion/go-smtp"

	"postern/internal/fault"
	"postern/internal/mail"
	"postern/internal/relay"
	"postern/internal/sasl"
	"postern/internal/secret"
)

// maxFailedLogins ends a session; the next one is slower (see Logins).
const maxFailedLogins = 3

// session is what a device has said so far. go-smtp calls it from one goroutine
// at a time.
type session struct {
	door   *SMTP
	ctx    context.Context // ends with the session: go-smtp's interface has no place for it
	cancel context.CancelFunc
	wire   *wire
	remote string

	device *Device // nil until the login
	failed int
	from   mail.Address
	to     []mail.Address
	opts   gosmtp.MailOptions
}

func (s *SMTP) newSession(ctx context.Context, c *gosmtp.Conn) (gosmtp.Session, error) {
	conn, ok := c.Conn().(*secured)
	if !ok {
		return nil, fmt.Errorf("connection is a %T", c.Conn())
	}
	ctx, cancel := context.WithCancel(ctx)
	return &session{door: s, ctx: ctx, cancel: cancel, wire: conn.wire, remote: conn.RemoteAddr().String()}, nil
}

// Logout ends the session.
func (s *session) Logout() error {
	s.cancel()
	return nil
}

// Reset forgets the message begun.
func (s *session) Reset() {
	s.from, s.to, s.opts = mail.Address{}, nil, gosmtp.MailOptions{}
}

// AuthMechanisms are offered over TLS only: see secured.
func (s *session) AuthMechanisms() []string { return []string{gosasl.Plain, sasl.LOGIN} }

// Auth begins a login.
func (s *session) Auth(mech string) (gosasl.Server, error) {
	switch mech {
	case gosasl.Plain:
		return gosasl.NewPlainServer(func(_, name, password string) error { return s.login(name, secret.New(password)) }), nil
	case sasl.LOGIN:
		return sasl.NewLoginServer(s.login), nil
	}
	return nil, gosmtp.ErrAuthUnknownMechanism
}

func (s *session) login(name string, password secret.Text) error {
	host, _, err := net.SplitHostPort(s.remote)
	if err != nil {
		host = s.remote
	}
	d, err := s.door.cfg.Logins.Check(s.ctx, name, password, host)
	switch {
	case err == nil:
		s.device = &d
		s.wire.known(s.door.cfg.Idle, s.door.cfg.Session)
		s.log(slog.LevelInfo, "login")
		return nil
	case !errors.Is(err, fault.Denied):
		s.log(slog.LevelError, "login not checked", slog.Any("error", err))
		return say(454, "4.7.0", "The login cannot be checked now, try again later")
	}
	s.failed++
	s.log(slog.LevelWarn, "login refused", slog.String("name", name), slog.Int("failures", s.failed))
	if s.failed >= maxFailedLogins {
		s.wire.leave()
	}
	return say(535, "5.7.8", "Name or password is wrong; use the name and the password that Postern shows for this device")
}

// Mail begins a message. go-smtp allows a second MAIL, and keeps the recipients of
// the first even when the second is refused: so nothing of it may be noted before
// all of it is allowed, and not while a message is begun.
func (s *session) Mail(from string, opts *gosmtp.MailOptions) error {
	switch {
	case !s.from.Null():
		return say(503, "5.5.1", "A message is begun already; RSET forgets it")
	case s.device == nil:
		return say(530, "5.7.0", "Authentication required: switch on SMTP authentication in this device")
	}
	d, err := s.door.cfg.Logins.Still(s.ctx, *s.device)
	if errors.Is(err, fault.Denied) {
		s.log(slog.LevelWarn, "login withdrawn")
		s.wire.leave()
		return say(530, "5.7.0", "This login is no longer valid")
	}
	if err != nil {
		return s.trouble("device not read", err)
	}
	s.device = &d
	sender, err := mail.ParseAddress(from)
	if err != nil && from != "" {
		return say(501, "5.1.7", "The sender is not a mail address")
	}
	if err := s.mayUse(sender); err != nil {
		return err
	}
	s.from = sender
	if opts != nil {
		s.opts = *opts
	}
	return nil
}

// mayUse checks the sender against the account's mailbox and the device's list.
func (s *session) mayUse(from mail.Address) error {
	mailbox, err := s.door.cfg.Mailbox(s.ctx, s.device.Account)
	if errors.Is(err, fault.NotFound) {
		s.log(slog.LevelWarn, "sender refused", slog.String("reason", "the device's account does not exist"))
		return say(550, "5.7.1", "The account of this device does not exist in Postern")
	}
	if err != nil {
		return s.trouble("account not read", err)
	}
	for _, allowed := range append([]mail.Address{mailbox}, s.device.Senders...) {
		if !from.Null() && allowed.Same(from) {
			return nil
		}
	}
	s.log(slog.LevelWarn, "sender refused", slog.String("from", from.String()))
	return say(550, "5.7.1", fmt.Sprintf("This device may not send as <%s>: set its sender to %s, or add the address to its senders in Postern", from, mailbox))
}

// Rcpt adds a recipient.
func (s *session) Rcpt(to string, _ *gosmtp.RcptOptions) error {
	a, err := mail.ParseAddress(to)
	if err != nil {
		return say(501, "5.1.3", "The recipient is not a mail address")
	}
	s.to = append(s.to, a)
	return nil
}

// Data hands the message to the relay. go-smtp's reader ends it at CR LF . CR LF
// only; whatever other line ends are inside, the relay makes them CRLF, so that
// nobody further on can see an end where there was none.
func (s *session) Data(r io.Reader) error {
	s.wire.setBusy(true)
	defer s.wire.setBusy(false)
	id, err := s.door.cfg.Relay.Accept(s.ctx, relay.Submission{
		Device: s.device.Name, Account: s.device.Account, From: s.from, To: s.to,
		EightBit: s.opts.Body == gosmtp.Body8BitMIME, UTF8: s.opts.UTF8, RemoteAddr: s.remote,
	}, r)
	if err != nil {
		return s.notAccepted(err)
	}
	s.log(slog.LevelInfo, "accepted", slog.String("id", id), slog.Int("recipients", len(s.to)))
	return say(250, "2.0.0", "Ok: queued as "+id) // go-smtp has no other way to say more than 250
}

func (s *session) notAccepted(err error) error {
	var reply *gosmtp.SMTPError
	switch {
	case errors.As(err, &reply): // the reader's: the message is too large
		s.log(slog.LevelWarn, "message refused", slog.String("reason", reply.Message))
		if reply.Code == gosmtp.ErrDataTooLarge.Code {
			return say(552, "5.3.4", fmt.Sprintf("The message is larger than the %d MB allowed here", s.door.cfg.MaxSize>>20))
		}
		return reply
	case errors.Is(err, fault.Invalid):
		s.log(slog.LevelWarn, "message refused", slog.Any("error", err))
		return say(554, "5.6.0", "The message was not accepted: "+err.Error())
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, gosmtp.ErrDataReset), errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, net.ErrClosed):
		s.log(slog.LevelWarn, "message broken off", slog.Any("error", err))
		return say(451, "4.4.2", "The message did not arrive whole")
	}
	return s.trouble("message not stored", err)
}

// trouble is ours, not the device's: the log gets the reason, the device waits.
func (s *session) trouble(what string, err error) error {
	s.log(slog.LevelError, what, slog.Any("error", err))
	return say(451, "4.3.0", "Postern cannot take mail now, try again later")
}

func (s *session) log(level slog.Level, msg string, attrs ...slog.Attr) {
	head := []slog.Attr{slog.String("door", "smtp"), slog.String("remote", s.remote)}
	if s.device != nil {
		head = append(head, slog.String("device", s.device.Name))
	}
	s.door.cfg.Log.LogAttrs(s.ctx, level, msg, append(head, attrs...)...)
}

// say is a reply in go-smtp's terms.
func say(code int, enhanced, text string) error {
	e := &gosmtp.SMTPError{Code: code, Message: text}
	for i, at := 0, 0; i < len(enhanced); i++ {
		if c := enhanced[i]; c == '.' {
			at++
		} else {
			e.EnhancedCode[at] = e.EnhancedCode[at]*10 + int(c-'0')
		}
	}
	return e
}
