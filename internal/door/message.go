package door

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"postern/internal/fault"
	"postern/internal/mail"
	"postern/internal/relay"
)

// envelope is a message begun, and who begins it.
type envelope struct {
	device  Device
	account Account
	mine    []mail.Address // senders the device may use, the account's mailbox first
	from    mail.Address
	to      []mail.Address
	notice  mail.Notice
	notices []mail.RecipientNotice // parallel to to
	opts    gosmtp.MailOptions
}

// Mail begins a message. go-smtp allows a second MAIL, and keeps the recipients of
// the first even when the second is refused: so nothing of it may be noted before
// all of it is allowed, and not while a message is begun.
func (s *session) Mail(from string, opts *gosmtp.MailOptions) error {
	before := s.who()
	if _, begun := s.message(); begun {
		return say(503, "5.5.1", "A message is begun already; RSET forgets it")
	}
	if before == nil {
		return say(530, "5.7.0", "Authentication required: switch on SMTP authentication in this device")
	}
	d, err := s.door.cfg.Logins.Still(s.ctx, *before)
	if errors.Is(err, fault.Denied) || err == nil && !s.stillMay(d) {
		s.log(slog.LevelWarn, "login withdrawn")
		s.wire.leave()
		return say(530, "5.7.0", "This login is no longer valid")
	}
	if err != nil {
		return s.trouble("device not read", err)
	}
	if d.Policy.MaxSize > 0 && opts.Size > d.Policy.MaxSize {
		s.turnAway("message refused", slog.Int64("size", opts.Size))
		return s.tooLarge(d)
	}
	if wait := s.door.cfg.Rates.over(d); wait > 0 {
		return s.tooOften(d, wait)
	}
	sender, err := mail.ParseAddress(from)
	if err != nil && from != "" && !d.Policy.Rewrite {
		return say(501, "5.1.7", "The sender is not a mail address")
	}
	e := envelope{device: d, opts: *opts}
	if e.notice, err = noticeOf(*opts); err != nil {
		return err
	}
	if err := s.mayUse(&e, sender); err != nil {
		return err
	}
	s.begin(e)
	return nil
}

// stillMay reports whether a device's policy, which may have changed, still lets it in as
// it came.
func (s *session) stillMay(d Device) bool {
	if s.door.cfg.Local != nil {
		return true
	}
	return d.Policy.From(s.wire.from) && (s.conn.listed == nil || d.Policy.NoLogin)
}

// mayUse checks the sender against the account's mailbox and the device's list, and
// puts the one to use into the envelope.
func (s *session) mayUse(e *envelope, from mail.Address) error {
	var err error
	e.account, err = s.door.accounts.get(e.device.Account, func() (Account, error) { return s.door.cfg.Account(s.ctx, e.device.Account) })
	if errors.Is(err, fault.NotFound) {
		s.turnAway("sender refused", slog.String("reason", "the device's account does not exist"))
		return say(550, "5.7.1", "The account of this device does not exist in Postern")
	}
	if err != nil {
		return s.trouble("account not read", err)
	}
	mailbox := e.account.Mailbox
	e.mine = append([]mail.Address{mailbox}, e.device.Senders...)
	e.from = from
	if !from.Null() && slices.ContainsFunc(e.mine, from.Same) {
		return nil
	}
	if e.device.Policy.Rewrite {
		e.from = mailbox
		return nil
	}
	s.turnAway("sender refused", slog.String("from", from.String()))
	return say(550, "5.7.1", fmt.Sprintf("This device may not send as <%s>: set its sender to %s, or add the address to its senders in Postern", from, mailbox))
}

// Rcpt adds a recipient.
func (s *session) Rcpt(to string, opts *gosmtp.RcptOptions) error {
	a, err := mail.ParseAddress(to)
	if err != nil {
		return say(501, "5.1.3", "The recipient is not a mail address")
	}
	e, _ := s.message()
	if err := e.account.Reaches(a); err != nil {
		s.turnAway("recipient refused", slog.Any("error", err))
		return say(550, "5.7.1", said(err))
	}
	notice, err := recipientNoticeOf(*opts)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begun.to, s.begun.notices = append(s.begun.to, a), append(s.begun.notices, notice)
	return nil
}

// Data hands the message to the relay. go-smtp's reader is the one to read from when
// it is the pipe behind BDAT; the message behind DATA is read by [content].
func (s *session) Data(r io.Reader) error {
	s.wire.setBusy(true)
	defer s.wire.setBusy(false)
	e, begun := s.message()
	if !begun {
		return s.notAccepted(e.device, gosmtp.ErrDataReset)
	}
	policy := e.device.Policy
	back, wait := s.door.cfg.Rates.take(e.device)
	if wait > 0 {
		return s.tooOften(e.device, wait)
	}
	if _, chunks := r.(*io.PipeReader); !chunks {
		r = s.conn.content()
	}
	r = &bounded{r: r, left: s.limit(e.device)}
	id, err := s.door.cfg.Relay.Accept(s.ctx, relay.Submission{
		Device: e.device.Name, Account: e.device.Account, From: e.from, To: e.to, Senders: e.mine, Rewrite: policy.Rewrite,
		EightBit: e.opts.Body != "" && e.opts.Body != gosmtp.Body7Bit, Binary: e.opts.Body == gosmtp.BodyBinaryMIME,
		UTF8: e.opts.UTF8, Notice: e.notice, Notices: e.notices, RemoteAddr: s.remote, Via: s.wire.via(),
	}, r)
	if err != nil {
		back()
		return s.notAccepted(e.device, err)
	}
	s.log(slog.LevelInfo, "accepted", slog.String("id", id), slog.Int("recipients", len(e.to)))
	return say(250, "2.0.0", "Ok: queued as "+id) // go-smtp has no other way to say more than 250
}

// tooOften is the answer to a device that has used up its minute.
func (s *session) tooOften(d Device, wait time.Duration) error {
	s.log(slog.LevelWarn, "sends too often", slog.Int("per_minute", d.Policy.PerMinute))
	return say(451, "4.7.1", fmt.Sprintf("This device may send %d messages a minute; try again in %d seconds", d.Policy.PerMinute, int(wait.Seconds())+1))
}

func (s *session) notAccepted(d Device, err error) error {
	var reply *gosmtp.SMTPError
	switch {
	case errors.As(err, &reply): // the reader's: the message is too large
		s.turnAway("message refused", slog.String("reason", reply.Message))
		if reply.Code == gosmtp.ErrDataTooLarge.Code {
			return s.tooLarge(d)
		}
		return reply
	case errors.Is(err, fault.Denied):
		s.turnAway("message refused", slog.Any("error", err))
		return say(550, "5.7.1", "The message was not accepted: "+said(err))
	case errors.Is(err, fault.Invalid):
		s.turnAway("message refused", slog.Any("error", err))
		return say(554, "5.6.0", "The message was not accepted: "+err.Error())
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, gosmtp.ErrDataReset), errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, net.ErrClosed):
		s.log(slog.LevelWarn, "message broken off", slog.Any("error", err))
		return say(451, "4.4.2", "The message did not arrive whole")
	case errors.Is(err, relay.ErrFull):
		s.log(slog.LevelError, "message not taken", slog.Any("error", err))
		return say(452, "4.3.1", "There is no room for mail now, try again later")
	}
	return s.trouble("message not stored", err)
}

// turnAway logs what is refused for good, and counts it.
func (s *session) turnAway(what string, why slog.Attr) {
	s.log(slog.LevelWarn, what, why)
	if s.door.cfg.TurnedAway != nil {
		s.door.cfg.TurnedAway()
	}
}

// said is an error with its next step, for a device's log.
func said(err error) string {
	return strings.TrimSuffix(err.Error()+". Next: "+fault.HintOf(err), ". Next: ")
}

// tooLarge is the answer to a message above the door's limit or the device's own.
func (s *session) tooLarge(d Device) error {
	return say(552, "5.3.4", fmt.Sprintf("The message is larger than the %.1f MB allowed here", float64(s.limit(d))/(1<<20)))
}

// limit is how many octets a message of the device may have.
func (s *session) limit(d Device) int64 {
	if own := d.Policy.MaxSize; own > 0 {
		return min(s.door.cfg.MaxSize, own)
	}
	return s.door.cfg.MaxSize
}

// bounded ends a message above the limit.
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
