package door

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"

	gosasl "github.com/emersion/go-sasl"
	gosmtp "github.com/emersion/go-smtp"

	"postern/internal/fault"
	"postern/internal/sasl"
	"postern/internal/secret"
)

// maxFailedLogins ends a session; the next one is slower (see Logins).
const maxFailedLogins = 3

// session is what a device has said so far. go-smtp calls it from the connection's
// goroutine, but for Data behind BDAT: that has one of its own, which may still run,
// or not yet, when the message it was for has been given up.
type session struct {
	door   *SMTP
	ctx    context.Context // ends with the session: go-smtp's interface has no place for it
	cancel context.CancelFunc
	wire   *wire
	conn   *secured
	remote string

	failed int

	mu     sync.Mutex
	device *Device  // nil until the login
	begun  envelope // its sender is Null when there is none
}

func (s *SMTP) newSession(ctx context.Context, c *gosmtp.Conn) (gosmtp.Session, error) {
	conn, ok := c.Conn().(*secured)
	if !ok {
		return nil, fmt.Errorf("connection is a %T", c.Conn())
	}
	ctx, cancel := context.WithCancel(ctx)
	out := &session{door: s, ctx: ctx, cancel: cancel, wire: conn.wire, conn: conn, remote: conn.RemoteAddr().String()}
	if conn.listed != nil {
		out.identify(conn.listed)
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
func (s *session) Reset() { s.begin(envelope{}) }

func (s *session) begin(e envelope) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begun = e
}

// message is the envelope begun; false when there is none.
func (s *session) message() (envelope, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.begun, !s.begun.from.Null()
}

// who is the device that has signed in, nil before.
func (s *session) who() *Device {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.device
}

// identify notes the device, and gives it more time than a stranger has.
func (s *session) identify(d *Device) {
	s.mu.Lock()
	s.device = d
	s.mu.Unlock()
	s.wire.known(d, s.door.cfg.Idle, s.door.cfg.Session)
}

// AuthMechanisms are offered over TLS only: see secured. A listed machine needs none.
func (s *session) AuthMechanisms() []string {
	if s.who() != nil {
		return nil
	}
	return []string{gosasl.Plain, sasl.LOGIN}
}

// Auth begins a login. No password is asked for in the clear.
func (s *session) Auth(mech string) (gosasl.Server, error) {
	if s.conn.listed != nil {
		return nil, say(503, "5.5.1", "This machine needs no login here")
	}
	switch mech {
	case gosasl.Plain:
		return gosasl.NewPlainServer(func(_, name, password string) error { return s.login(name, secret.New(password)) }), nil
	case sasl.LOGIN:
		return sasl.NewLoginServer(s.login), nil
	}
	return nil, gosmtp.ErrAuthUnknownMechanism
}

func (s *session) login(name string, password secret.Text) error {
	host := s.wire.from.String()
	d, err := s.door.cfg.Logins.Check(s.ctx, name, password, host)
	switch {
	case err == nil && !d.Policy.From(s.wire.from):
		s.log(slog.LevelWarn, "login refused", slog.String("name", name), slog.String("reason", "the address is outside its networks"))
		return say(535, "5.7.1", fmt.Sprintf("The device %s may not come from %s: add that address to its networks in Postern", d.Name, host))
	case err == nil && !d.Policy.Opens(DoorSMTP):
		s.log(slog.LevelWarn, "login refused", slog.String("name", name), slog.String("reason", "the device may not send"))
		return say(535, "5.7.1", fmt.Sprintf("The device %s may not send: add smtp to its doors in Postern", d.Name))
	case err == nil:
		s.identify(&d)
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

// trouble is ours, not the device's: the log gets the reason, the device waits.
func (s *session) trouble(what string, err error) error {
	s.log(slog.LevelError, what, slog.Any("error", err))
	return say(451, "4.3.0", "Postern cannot take mail now, try again later")
}

func (s *session) log(level slog.Level, msg string, attrs ...slog.Attr) {
	if !s.door.cfg.Log.Enabled(s.ctx, level) {
		return
	}
	head := []slog.Attr{slog.String("door", "smtp"), slog.String("remote", s.remote)}
	if d := s.who(); d != nil {
		head = append(head, slog.String("device", d.Name))
	}
	s.door.cfg.Log.LogAttrs(s.ctx, level, msg, append(head, attrs...)...)
}

// maxSaid is how much text fits into a line of a reply (RFC 5321 §4.5.3.1.5). Some of it
// a message's author wrote; in a longer one, that could begin a piece of what go-smtp
// writes, and be taken for its 354 there.
const maxSaid = 480

// say is a reply in go-smtp's terms.
func say(code int, enhanced, text string) error {
	if len(text) > maxSaid {
		text = strings.ToValidUTF8(text[:maxSaid-3], "") + "..."
	}
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
