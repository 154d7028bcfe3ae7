package door

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"

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
	conn   *secured
	remote string

	device *Device // nil until the login
	failed int
	mine   []mail.Address // senders the device may use, the account's mailbox first
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
	out := &session{door: s, ctx: ctx, cancel: cancel, wire: conn.wire, conn: conn, remote: conn.RemoteAddr().String()}
	if conn.listed != nil {
		out.device = conn.listed
		out.wire.known(conn.listed, s.cfg.Idle, s.cfg.Session)
	}
	return out, nil
}

// Logout ends the session.
func (s *session) Logout() error {
	s.cancel()
	return nil
}

// version is the TLS version of this session.
func (s *session) version() uint16 {
	if s.conn.tls == nil {
		return 0
	}
	return s.conn.tls.ConnectionState().Version
}

// Reset forgets the message begun.
func (s *session) Reset() {
	s.from, s.to, s.opts = mail.Address{}, nil, gosmtp.MailOptions{}
}

// AuthMechanisms are offered over TLS only: see secured. A listed machine needs none.
func (s *session) AuthMechanisms() []string {
	if s.device != nil {
		return nil
	}
	return []string{gosasl.Plain, sasl.LOGIN}
}

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
	host := hostOf(s.remote)
	d, err := s.door.cfg.Logins.Check(s.ctx, name, password, host)
	switch {
	case err == nil && !d.Policy.From(addrOf(host)):
		s.log(slog.LevelWarn, "login refused", slog.String("name", name), slog.String("reason", "the address is outside its networks"))
		return say(535, "5.7.1", fmt.Sprintf("The device %s may not come from %s: add that address to its networks in Postern", d.Name, host))
	case err == nil:
		s.device = &d
		s.wire.known(&d, s.door.cfg.Idle, s.door.cfg.Session)
		s.log(slog.LevelInfo, "login", slog.String("tls", tls.VersionName(s.version())))
		if s.door.cfg.Seen != nil {
			s.door.cfg.Seen(d.Name, s.version())
		}
		return nil
	case errors.Is(err, fault.Throttled):
		s.log(slog.LevelWarn, "login locked", slog.String("name", name))
		s.wire.leave()
		return say(421, "4.7.0", "Too many wrong passwords; wait ten minutes")
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
	if opts != nil && d.Policy.MaxSize > 0 && opts.Size > d.Policy.MaxSize {
		return s.tooLarge()
	}
	if wait := s.door.rates.over(d); wait > 0 {
		s.log(slog.LevelWarn, "sends too often", slog.Int("per_minute", d.Policy.PerMinute))
		return say(451, "4.7.1", fmt.Sprintf("This device may send %d messages a minute; try again in %d seconds", d.Policy.PerMinute, int(wait.Seconds())+1))
	}
	sender, err := mail.ParseAddress(from)
	if err != nil && from != "" && !d.Policy.Rewrite {
		return say(501, "5.1.7", "The sender is not a mail address")
	}
	if sender, err = s.mayUse(sender); err != nil {
		return err
	}
	s.from = sender
	if opts != nil {
		s.opts = *opts
	}
	return nil
}

// hostOf is the address without its port.
func hostOf(remote string) string {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		return remote
	}
	return host
}

// addrOf parses what a connection came from; one that is no address is in no network.
func addrOf(host string) netip.Addr {
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Addr{}
	}
	return addr
}

// mayUse checks the sender against the account's mailbox and the device's list, and
// returns the one to use.
func (s *session) mayUse(from mail.Address) (mail.Address, error) {
	mailbox, err := s.door.cfg.Mailbox(s.ctx, s.device.Account)
	if errors.Is(err, fault.NotFound) {
		s.log(slog.LevelWarn, "sender refused", slog.String("reason", "the device's account does not exist"))
		return mail.Address{}, say(550, "5.7.1", "The account of this device does not exist in Postern")
	}
	if err != nil {
		return mail.Address{}, s.trouble("account not read", err)
	}
	s.mine = append([]mail.Address{mailbox}, s.device.Senders...)
	for _, allowed := range s.mine {
		if !from.Null() && allowed.Same(from) {
			return from, nil
		}
	}
	if s.device.Policy.Rewrite {
		return mailbox, nil
	}
	s.log(slog.LevelWarn, "sender refused", slog.String("from", from.String()))
	return mail.Address{}, say(550, "5.7.1", fmt.Sprintf("This device may not send as <%s>: set its sender to %s, or add the address to its senders in Postern", from, mailbox))
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
	policy := s.device.Policy
	if policy.MaxSize > 0 {
		r = &bounded{r: r, left: policy.MaxSize}
	}
	id, err := s.door.cfg.Relay.Accept(s.ctx, relay.Submission{
		Device: s.device.Name, Account: s.device.Account, From: s.from, To: s.to, Senders: s.mine, Rewrite: policy.Rewrite,
		EightBit: s.opts.Body == gosmtp.Body8BitMIME, UTF8: s.opts.UTF8, RemoteAddr: s.remote, Via: s.wire.via(),
	}, r)
	if err != nil {
		return s.notAccepted(err)
	}
	s.door.rates.count(*s.device)
	s.log(slog.LevelInfo, "accepted", slog.String("id", id), slog.Int("recipients", len(s.to)))
	return say(250, "2.0.0", "Ok: queued as "+id) // go-smtp has no other way to say more than 250
}

func (s *session) notAccepted(err error) error {
	var reply *gosmtp.SMTPError
	switch {
	case errors.As(err, &reply): // the reader's: the message is too large
		s.log(slog.LevelWarn, "message refused", slog.String("reason", reply.Message))
		if reply.Code == gosmtp.ErrDataTooLarge.Code {
			return s.tooLarge()
		}
		return reply
	case errors.Is(err, fault.Denied):
		s.log(slog.LevelWarn, "message refused", slog.Any("error", err))
		return say(550, "5.7.1", strings.TrimSuffix("The message was not accepted: "+err.Error()+". Next: "+fault.HintOf(err), ". Next: "))
	case errors.Is(err, fault.Invalid):
		s.log(slog.LevelWarn, "message refused", slog.Any("error", err))
		return say(554, "5.6.0", "The message was not accepted: "+err.Error())
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, gosmtp.ErrDataReset), errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, net.ErrClosed):
		s.log(slog.LevelWarn, "message broken off", slog.Any("error", err))
		return say(451, "4.4.2", "The message did not arrive whole")
	}
	return s.trouble("message not stored", err)
}

// tooLarge is the answer to a message above the door's limit or the device's own.
func (s *session) tooLarge() error {
	limit := s.door.cfg.MaxSize
	if own := s.device.Policy.MaxSize; own > 0 {
		limit = min(limit, own)
	}
	return say(552, "5.3.4", fmt.Sprintf("The message is larger than the %.1f MB allowed here", float64(limit)/(1<<20)))
}

// bounded ends a message above its device's limit as go-smtp ends one above its own.
type bounded struct {
	r    io.Reader
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if b.left -= int64(n); b.left < 0 {
		_, _ = io.Copy(io.Discard, b.r) // the rest of it is still to come
		return 0, gosmtp.ErrDataTooLarge
	}
	return n, err
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
