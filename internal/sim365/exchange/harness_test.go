package exchange

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postern/internal/sim365/world"
)

const patience = 10 * time.Second

// estate is a tenant with its servers.
type estate struct {
	*Servers
	w      *world.World
	tenant world.Tenant
	scan   world.User // scan@contoso.com
	app    world.App
	roots  *tls.Config
	addrs  map[string]string // service → address
}

func newEstate(t *testing.T, change ...func(*Config)) *estate {
	t.Helper()
	e := &estate{w: world.New(), addrs: map[string]string{}}
	e.tenant = e.w.AddTenant(world.Tenant{Domains: []string{"contoso.com"}})
	e.scan = e.w.AddUser(world.User{UPN: "scan@contoso.com", Password: "Passw0rd!", AppPassword: "abcdefghijklmnop"})
	e.w.AddUser(world.User{UPN: "boss@contoso.com", Password: "x"})
	e.w.AddUser(world.User{UPN: "hve@contoso.com", Password: "Passw0rd!", HVE: true})
	e.app = e.w.AddApp(world.App{Name: "Postern", HomeTenant: e.tenant.ID})
	cert := httptest.NewTLSServer(nil)
	t.Cleanup(cert.Close)
	cfg := Config{TLS: &tls.Config{Certificates: cert.TLS.Certificates, MinVersion: tls.VersionTLS12}}
	e.roots = cert.Client().Transport.(*http.Transport).TLSClientConfig
	for name, l := range map[string]*net.Listener{"smtp": &cfg.SMTP, "hve": &cfg.HVE, "imap": &cfg.IMAP, "pop3": &cfg.POP3} {
		var err error
		if *l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		e.addrs[name] = (*l).Addr().String()
	}
	for _, f := range change {
		f(&cfg)
	}
	var err error
	if e.Servers, err = Start(e.w, cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e
}

// token is a delegated token of scan@contoso.com with every mail scope.
func (e *estate) token(change ...func(*world.Token)) string {
	t := world.Token{
		TenantID: e.tenant.ID, ClientID: e.app.ClientID, Resource: world.ExchangeResource,
		Scopes: []string{"SMTP.Send", "IMAP.AccessAsUser.All", "POP.AccessAsUser.All"},
		UserID: e.scan.ObjectID, UPN: e.scan.UPN,
	}
	for _, f := range change {
		f(&t)
	}
	return e.w.IssueAccess(t).Raw
}

// appOnly turns a token into an application's.
func appOnly(roles ...string) func(*world.Token) {
	return func(t *world.Token) { t.UserID, t.UPN, t.Scopes, t.Roles = "", "", nil, roles }
}

func xoauth2(user, token string) string {
	return base64.StdEncoding.EncodeToString([]byte("user=" + user + "\x01auth=Bearer " + token + "\x01\x01"))
}

// client plays the client's side of a dialogue.
type client struct {
	t    *testing.T
	conn net.Conn
	br   *bufio.Reader
	e    *estate
}

func (e *estate) dial(t *testing.T, service string) *client {
	t.Helper()
	conn, err := net.DialTimeout("tcp", e.addrs[service], patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	c := &client{t: t, conn: conn, br: bufio.NewReader(conn), e: e}
	c.deadline()
	if service == "imap" || service == "pop3" {
		c.startTLS()
	}
	return c
}

func (c *client) deadline() {
	if err := c.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) startTLS() {
	c.t.Helper()
	cfg := c.e.roots.Clone()
	cfg.ServerName = "127.0.0.1"
	conn := tls.Client(c.conn, cfg)
	if err := conn.Handshake(); err != nil {
		c.t.Fatal(err)
	}
	c.conn, c.br = conn, bufio.NewReader(conn)
}

func (c *client) send(text string) {
	c.t.Helper()
	c.deadline()
	if _, err := c.conn.Write([]byte(text)); err != nil {
		c.t.Fatalf("send %.60q: %v", text, err)
	}
}

func (c *client) say(line string) { c.t.Helper(); c.send(line + "\r\n") }

func (c *client) hear() string {
	c.t.Helper()
	c.deadline()
	line, err := c.br.ReadString('\n')
	if err != nil {
		c.t.Fatalf("after %q: %v", line, err)
	}
	if !strings.HasSuffix(line, "\r\n") {
		c.t.Errorf("line without CRLF: %q", line)
	}
	return strings.TrimRight(line, "\r\n")
}

// reply reads a whole SMTP reply and returns its last line.
func (c *client) reply() string {
	c.t.Helper()
	for {
		if line := c.hear(); len(line) < 4 || line[3] != '-' {
			return line
		}
	}
}

// ended checks that the server has nothing more to say.
func (c *client) ended() {
	c.t.Helper()
	c.deadline()
	if line, err := c.br.ReadString('\n'); err == nil || line != "" {
		c.t.Errorf("wanted the end, got %q", line)
	}
}

// signIn brings an SMTP client to where MAIL may follow.
func (c *client) signIn(user, token string) string {
	c.t.Helper()
	c.reply()
	c.ask("EHLO me.example")
	c.ask("STARTTLS")
	c.startTLS()
	c.ask("EHLO me.example")
	return c.ask("AUTH XOAUTH2 " + xoauth2(user, token))
}

func (c *client) ask(line string) string {
	c.t.Helper()
	c.say(line)
	return c.reply()
}

// submit sends a message and returns the answer to the dot.
func (c *client) submit(from string, to []string, raw string) string {
	c.t.Helper()
	if r := c.ask("MAIL FROM:<" + from + ">"); r != smtpSenderOK {
		c.t.Fatalf("MAIL: %s", r)
	}
	for _, a := range to {
		if r := c.ask("RCPT TO:<" + a + ">"); r != smtpRecipientOK {
			c.t.Fatalf("RCPT: %s", r)
		}
	}
	if r := c.ask("DATA"); r != smtpStartInput {
		c.t.Fatalf("DATA: %s", r)
	}
	c.send(raw + "\r\n.\r\n")
	return c.reply()
}

// expect compares a line with a pattern in which ~ stands for anything.
func expect(t *testing.T, got, pattern string) {
	t.Helper()
	parts := strings.Split(pattern, "~")
	rest, ok := strings.CutPrefix(got, parts[0])
	for i, part := range parts[1:] {
		if i == len(parts)-2 {
			ok = ok && strings.HasSuffix(rest, part)
			rest = ""
			break
		}
		_, after, found := strings.Cut(rest, part)
		rest, ok = after, ok && found
	}
	if !ok || rest != "" {
		t.Errorf("got  %q\nwant %q", got, pattern)
	}
}

// play follows a file: "C: " is sent, "S: " is expected (~ is anything), TLS
// shakes hands, CLOSED expects the end, # is a comment. {words} are filled in.
func (c *client) play(file string) {
	c.t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		c.t.Fatal(err)
	}
	fill := strings.NewReplacer(
		"{good}", xoauth2("scan@contoso.com", c.e.token()),
		"{unknown}", xoauth2("scan@contoso.com", "never.issued.here"),
		"{boss}", xoauth2("boss@contoso.com", c.e.token()),
		"{user}", base64.StdEncoding.EncodeToString([]byte("scan@contoso.com")),
		"{password}", base64.StdEncoding.EncodeToString([]byte("Passw0rd!")),
		"{wrong}", base64.StdEncoding.EncodeToString([]byte("no")),
	)
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\n")
		verb, rest, _ := strings.Cut(line, " ")
		switch verb {
		case "C:":
			c.say(fill.Replace(rest))
		case "S:":
			expect(c.t, c.hear(), rest)
		case "TLS":
			c.startTLS()
		case "CLOSED":
			c.ended()
		case "", "#":
		default:
			c.t.Fatalf("%s: cannot play %q", file, line)
		}
		if c.t.Failed() {
			c.t.Fatalf("%s: at %q", file, line)
		}
	}
}

func TestDialogues(t *testing.T) {
	t.Parallel()
	for _, service := range []string{"smtp", "pop3", "imap"} {
		files, err := filepath.Glob(filepath.Join("testdata", service, "*.txt"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no dialogues for %s: %v", service, err)
		}
		for _, file := range files {
			t.Run(service+"/"+strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
				t.Parallel()
				e := newEstate(t)
				for i, raw := range []string{"Subject: one\r\n\r\n.dot\r\nend\r\n", "Subject: two\r\n\r\nx\r\n"} {
					if err := e.Deliver("scan@contoso.com", []byte(raw)); err != nil {
						t.Fatal(i, err)
					}
				}
				e.dial(t, service).play(file)
			})
		}
	}
}

func letter(from string, lines ...string) string {
	return fmt.Sprintf("From: %s\r\nSubject: test\r\n\r\n%s", from, strings.Join(lines, "\r\n"))
}
