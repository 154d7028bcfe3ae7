package relay_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	gosasl "github.com/emersion/go-sasl"

	"postern/internal/door"
	"postern/internal/fault"
	"postern/internal/mail"
	"postern/internal/relay"
	"postern/internal/secret"
	"postern/internal/sim365/exchange"
	"postern/internal/sim365/world"
	"postern/internal/smtp"
)

// street is the whole way on loopback: a device, the door, the relay, and the
// simulated Exchange. Only the store is a simple one.
type street struct {
	t       *testing.T
	world   *world.World
	user    world.User
	app     world.App
	servers *exchange.Servers
	up      mail.Server // Exchange
	in      mail.Server // the door
	pool    *x509.CertPool
	store   *memory
	relay   *relay.Relay
	pauses  *setting // as relay.Accounts
	events  *lockedWriter
	ahead   atomic.Int64 // how far the relay's clock is ahead
	end     func()
}

const devicePassword = "pass word"

func newStreet(t *testing.T) *street {
	t.Helper()
	s := &street{t: t, world: world.New(), store: newMemory(&history{}), events: &lockedWriter{}, pool: x509.NewCertPool(), pauses: newSetting(t)}
	tenant := s.world.AddTenant(world.Tenant{Domains: []string{"contoso.com"}})
	s.user = s.world.AddUser(world.User{TenantID: tenant.ID, UPN: "scan@contoso.com"})
	s.app = s.world.AddApp(world.App{HomeTenant: tenant.ID, Permissions: []string{"SMTP.Send"}})
	cert, err := door.SelfSigned(t.TempDir(), []string{"localhost"})
	if err != nil {
		t.Fatal(err)
	}
	s.pool.AddCert(cert.Leaf)
	secure := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	l := s.listen(&s.up)
	if s.servers, err = exchange.Start(s.world, exchange.Config{TLS: secure, SMTP: l}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.servers.Close)
	s.relay = relay.New(relay.Config{
		Store: s.store, Accounts: s.pauses, Sender: &relay.SMTP{Routes: s, Tokens: &purse{s: s}}, Poll: 10 * time.Millisecond,
		Now:    func() time.Time { return time.Now().Add(time.Duration(s.ahead.Load())) },
		Events: slog.New(slog.NewTextHandler(s.events, nil)),
	})
	s.serve(secure)
	return s
}

func (s *street) listen(at *mail.Server) net.Listener {
	s.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	*at = mail.Server{Host: "localhost", Port: l.Addr().(*net.TCPAddr).Port, TLS: mail.STARTTLS} //nolint:forcetypeassert // tcp it is
	return l
}

// serve opens the door and runs the relay until end.
func (s *street) serve(secure *tls.Config) {
	s.t.Helper()
	hash, err := door.HashPassword(secret.New(devicePassword))
	if err != nil {
		s.t.Fatal(err)
	}
	logins := door.NewLogins(oneDevice{only: door.Device{Name: "scanner", Account: "scan", PasswordHash: hash}}, 0, 0)
	entrance, err := door.NewSMTP(door.SMTPConfig{Logins: logins, Relay: s.relay, TLS: secure,
		Account: func(context.Context, string) (door.Account, error) {
			mailbox, err := mail.ParseAddress(s.user.UPN)
			return door.Account{Mailbox: mailbox}, err
		}})
	if err != nil {
		s.t.Fatal(err)
	}
	l := s.listen(&s.in)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	go func() { ended <- entrance.Serve(ctx, l) }()
	go func() { ended <- s.relay.Run(ctx) }()
	s.end = func() {
		stop()
		if err := errors.Join(<-ended, <-ended); err != nil {
			s.t.Error(err)
		}
		s.end = func() {}
	}
	s.t.Cleanup(func() { s.end() })
}

// submit sends a message as the device would, and returns its queue id.
func (s *street) submit(subject string) string {
	s.t.Helper()
	c, err := smtp.Dial(s.t.Context(), smtp.Config{Server: s.in, RootCAs: s.pool})
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Abort()
	if err := c.Auth(s.t.Context(), func() gosasl.Client { return gosasl.NewPlainClient("", "scanner", devicePassword) }); err != nil {
		s.t.Fatal(err)
	}
	from, to := mail.Address{Local: "scan", Domain: "contoso.com"}, mail.Address{Local: "boss", Domain: "example.net"}
	body := "From: scan@contoso.com\nTo: boss@example.net\nSubject: " + subject + "\n\n.\nscan\n"
	res, err := c.Send(s.t.Context(), mail.Envelope{From: from, To: []mail.Address{to}}, 0, strings.NewReader(body))
	if err != nil || !res.Accepted {
		s.t.Fatalf("the door: %+v, %v", res, err)
	}
	_, id, _ := strings.Cut(res.Reply.Text, "queued as ")
	return id
}

// until waits for a message to be as wanted.
func (s *street) until(id, what string, wanted func(relay.Message) bool) relay.Message {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		m, err := s.store.Message(ctx, id)
		if err != nil {
			s.t.Fatal(err)
		}
		if wanted(m) {
			return m
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			s.t.Fatalf("not %s: %+v", what, m)
		}
	}
}

func delivered(m relay.Message) bool { return m.State == relay.Delivered }

func deferred(m relay.Message) bool { return m.State == relay.Queued && m.Attempts > 0 }

// copies counts what Exchange has of a subject, and how often it knows that we know.
func (s *street) copies(subject string) (all, confirmed int) {
	for _, stored := range s.world.AllMessages() {
		if stored.Via == "smtp" && stored.Folder == "Sent Items" && strings.Contains(string(stored.Raw), "\r\nSubject: "+subject+"\r\n") {
			all++
			if stored.Confirmed {
				confirmed++
			}
		}
	}
	return all, confirmed
}

func (s *street) Route(context.Context, string) (relay.Route, error) {
	mailbox, err := mail.ParseAddress(s.user.UPN)
	return relay.Route{Mailbox: mailbox, Server: s.up, RootCAs: s.pool}, err
}

// purse keeps one token until a fresh one is asked for.
type purse struct {
	s     *street
	token secret.Text
}

func (p *purse) Token(_ context.Context, _ string, fresh bool) (secret.Text, error) {
	if fresh || p.token.Empty() {
		t := p.s.world.IssueAccess(world.Token{TenantID: p.s.user.TenantID, ClientID: p.s.app.ClientID, Resource: world.ExchangeResource,
			Scopes: []string{"SMTP.Send"}, UserID: p.s.user.ObjectID, UPN: p.s.user.UPN})
		p.token = secret.New(t.Raw)
	}
	return p.token, nil
}

// oneDevice is a door.Devices with one device in it.
type oneDevice struct{ only door.Device }

func (o oneDevice) Devices(context.Context) ([]door.Device, error) { return []door.Device{o.only}, nil }

func (oneDevice) PutDevice(context.Context, door.Device) error { return nil }

func (oneDevice) DeleteDevice(context.Context, string) error { return nil }

func (o oneDevice) Device(_ context.Context, name string) (door.Device, error) {
	if name != o.only.Name {
		return door.Device{}, fault.New(fault.NotFound, "find device", "%q", name)
	}
	return o.only, nil
}

func TestFromTheDeviceToExchange(t *testing.T) {
	t.Parallel()
	t.Run("and Exchange knows that we know", func(t *testing.T) {
		t.Parallel()
		s := newStreet(t)
		for _, subject := range []string{"one", "two", "three"} {
			s.until(s.submit(subject), "delivered", delivered)
		}
		s.end()
		for _, subject := range []string{"one", "two", "three"} {
			if all, confirmed := s.copies(subject); all != 1 || confirmed != 1 {
				t.Errorf("%s: %d copies, %d confirmed", subject, all, confirmed)
			}
		}
		if st := s.relay.Stats(); st.Opened != 1 || st.Reused != 2 {
			t.Errorf("stats %+v", st)
		}
		for _, never := range s.world.Secrets() {
			if strings.Contains(s.events.String(), never) {
				t.Error("a secret is in the events")
			}
		}
	})
	t.Run("with a token that ended", func(t *testing.T) {
		t.Parallel()
		s := newStreet(t)
		purse := &purse{s: s}
		if _, err := purse.Token(t.Context(), "scan", true); err != nil {
			t.Fatal(err)
		}
		s.world.ExpireTokens()
		sender := &relay.SMTP{Routes: s, Tokens: purse}
		up, err := sender.Open(t.Context(), "scan")
		if err != nil {
			t.Fatal(err)
		}
		up.Abort()
	})
	for name, f := range map[string]struct {
		fault  world.Fault
		copies int
		reason string
	}{
		"throttled":           {world.Fault{Stage: "dot", Kind: world.FaultReply, Code: "432 4.3.2 Concurrent connections limit exceeded"}, 1, "432 4.3.2"},
		"dropped at MAIL":     {world.Fault{Stage: "mail", Kind: world.FaultDrop}, 1, "MAIL FROM"},
		"garbage at RCPT":     {world.Fault{Stage: "rcpt", Kind: world.FaultGarbage}, 1, "not SMTP"},
		"busy at the door":    {world.Fault{Stage: "greeting", Kind: world.FaultReply, Code: "421 4.3.2 Service not available"}, 1, "421 4.3.2"},
		"answer to dot lost":  {world.Fault{Stage: "dot", Kind: world.FaultDropAfter}, 2, "may have been sent already"},
		"cut off at the dot":  {world.Fault{Stage: "dot", Kind: world.FaultDrop}, 1, "may have been sent already"},
		"over the quota once": {world.Fault{Stage: "rcpt", Kind: world.FaultReply, Code: "550 5.1.90 daily limit"}, 1, "550 5.1.90"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStreet(t)
			f.fault.Where, f.fault.Times = "smtp", 1
			s.world.Arm(f.fault)
			id := s.submit("x")
			if m := s.until(id, "deferred", deferred); !strings.Contains(m.Reason, f.reason) {
				t.Errorf("reason %q", m.Reason)
			}
			s.ahead.Add(int64(2 * time.Hour))
			s.until(id, "delivered", delivered)
			if all, _ := s.copies("x"); all != f.copies {
				t.Errorf("%d copies, want %d", all, f.copies)
			}
		})
	}
	t.Run("past a switch that is off", func(t *testing.T) {
		t.Parallel()
		s := newStreet(t)
		off := true
		s.world.SetPolicy(s.user.UPN, func(p *world.MailboxPolicy) { p.SMTPAuthDisabled = &off })
		id := s.submit("x")
		m := s.until(id, "held", func(m relay.Message) bool { return m.Kind == "needs_admin" })
		if m.State != relay.Queued || !strings.Contains(m.Reason, "535 5.7.139") {
			t.Errorf("got %+v", m)
		}
		s.world.SetPolicy(s.user.UPN, func(p *world.MailboxPolicy) { p.SMTPAuthDisabled = nil })
		s.pauses.resume("scan")
		s.until(id, "delivered", delivered)
	})
}
