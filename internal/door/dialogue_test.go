package door_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/internal/door"
	"postern/internal/fault"
	"postern/internal/mail"
	"postern/internal/relay"
	"postern/internal/secret"
)

// devices is a Devices in memory.
type devices struct {
	mu   sync.Mutex
	byID map[string]door.Device
}

func (d *devices) Devices(context.Context) ([]door.Device, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Collect(maps.Values(d.byID)), nil
}

func (d *devices) Device(_ context.Context, name string) (door.Device, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	dev, ok := d.byID[name]
	if !ok {
		return door.Device{}, fault.New(fault.NotFound, "find device", "%q", name)
	}
	return dev, nil
}

func (d *devices) PutDevice(_ context.Context, dev door.Device) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.byID[dev.Name] = dev
	return nil
}

func (d *devices) DeleteDevice(_ context.Context, name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.byID, name)
	return nil
}

// shelf is a relay.Store that only takes messages.
type shelf struct {
	relay.Store
	fail error

	mu     sync.Mutex
	bodies []string
	kept   []relay.Message
}

func (s *shelf) PutMessage(_ context.Context, m *relay.Message, body io.Reader) error {
	text, err := io.ReadAll(body)
	if err != nil {
		return fmt.Errorf("write body: %w", err)
	}
	if s.fail != nil {
		return s.fail
	}
	m.Size = int64(len(text))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bodies, s.kept = append(s.bodies, string(text)), append(s.kept, *m)
	return nil
}

func (s *shelf) all() ([]relay.Message, []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.kept, s.bodies
}

// gate is a door on loopback with one device: scanner, password "pass word".
type gate struct {
	devices *devices
	shelf   *shelf
	log     *lockedBuffer
	addr    string
	pool    *x509.CertPool
	stop    context.CancelFunc
	stopped chan error
}

// accountOfOffice is every device's account.
func accountOfOffice(context.Context, string) (door.Account, error) {
	return door.Account{Mailbox: mail.Address{Local: "office", Domain: "contoso.com"}}, nil
}

func open(t testing.TB, change ...func(*door.SMTPConfig, *shelf)) *gate {
	t.Helper()
	hash, err := door.HashPassword(secret.New("pass word"))
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{
		devices: &devices{byID: map[string]door.Device{"scanner": {Name: "scanner", Account: "office", PasswordHash: hash,
			Senders: []mail.Address{{Local: "scans", Domain: "contoso.com"}}}}},
		shelf: &shelf{}, log: &lockedBuffer{}, pool: x509.NewCertPool(), stopped: make(chan error, 1),
	}
	logins := door.NewLogins(g.devices, time.Millisecond, 0)
	cert, err := door.SelfSigned(t.TempDir(), []string{"door.example"})
	if err != nil {
		t.Fatal(err)
	}
	g.pool.AddCert(cert.Leaf)
	cfg := door.SMTPConfig{
		Logins: logins, Hostname: "door.example", TLS: &tls.Config{Certificates: []tls.Certificate{cert}},
		Account: accountOfOffice,
		Log:     slog.New(slog.NewTextHandler(g.log, nil)),
	}
	for _, f := range change {
		f(&cfg, g.shelf)
	}
	if cfg.Relay == nil {
		cfg.Relay = relay.New(relay.Config{Store: g.shelf, Hostname: "door.example"})
	}
	s, err := door.NewSMTP(cfg)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g.addr = l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	g.stop = cancel
	go func() { g.stopped <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-g.stopped:
			if err != nil {
				t.Errorf("Serve: %v", err)
			}
		case <-time.After(20 * time.Second):
			t.Error("Serve did not end")
		}
	})
	return g
}

// client speaks lines of a dialogue:
//
//	C: text      say it, with CRLF
//	R: "text"    say exactly this Go string
//	S: text      expect a line that begins so
//	* TLS        begin TLS
//	* CLOSED     expect the end of the connection
type client struct {
	t    *testing.T
	g    *gate
	conn net.Conn
	br   *bufio.Reader
}

func (g *gate) dial(t *testing.T) *client {
	t.Helper()
	conn, err := net.Dial("tcp", g.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	return &client{t: t, g: g, conn: conn, br: bufio.NewReader(conn)}
}

func (c *client) play(dialogue string) {
	c.t.Helper()
	for line := range strings.Lines(dialogue) {
		line = strings.TrimRight(line, "\n")
		switch {
		case line == "" || line[0] == '#':
		case line == "* TLS":
			c.startTLS()
		case line == "* CLOSED":
			if _, err := c.br.ReadByte(); !errors.Is(err, io.EOF) {
				c.t.Fatalf("still open: %v", err)
			}
		case strings.HasPrefix(line, "C: "), line == "C:":
			c.say(strings.TrimPrefix(strings.TrimPrefix(line, "C:"), " ") + "\r\n")
		case strings.HasPrefix(line, "R: "):
			raw, err := strconv.Unquote(line[3:])
			if err != nil {
				c.t.Fatalf("%s: %v", line, err)
			}
			c.say(raw)
		case strings.HasPrefix(line, "S: "):
			got, err := c.br.ReadString('\n')
			if err != nil || !strings.HasPrefix(got, line[3:]) {
				c.t.Fatalf("got %q, %v; want %q", got, err, line[3:])
			}
		default:
			c.t.Fatalf("cannot play %q", line)
		}
	}
}

func (c *client) say(raw string) {
	c.t.Helper()
	if _, err := io.WriteString(c.conn, raw); err != nil {
		c.t.Fatalf("say %q: %v", raw, err)
	}
}

func (c *client) startTLS() {
	c.t.Helper()
	secure := tls.Client(c.conn, &tls.Config{ServerName: "door.example", RootCAs: c.g.pool})
	if err := secure.Handshake(); err != nil {
		c.t.Fatal(err)
	}
	c.conn, c.br = secure, bufio.NewReader(secure)
}

func file(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name+".txt"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

type lockedBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
