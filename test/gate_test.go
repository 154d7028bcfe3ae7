package test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/smtp"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"postern/internal/sim365"
	"postern/internal/sim365/visitor"
	"postern/internal/sim365/world"
)

// gate is the real binary in front of a simulated Microsoft.
type gate struct {
	t         testing.TB
	sim       *sim365.Sim
	contoso   sim365.Contoso
	dir       string // everything the run writes lies below
	web, smtp string // host:port
	env       []string
	cmd       *exec.Cmd
	log       *os.File
	extraCA   string // trusted beside the simulator's
	visitor   *visitor.Visitor
}

// devicePassword is what the test devices log in with.
const devicePassword = "device-Pa55word-for-tests"

func newGate(t testing.TB) *gate {
	t.Helper()
	return newGateAt(t, sim365.Options{})
}

// newGateAt is newGate in front of a simulator that is started otherwise.
func newGateAt(t testing.TB, o sim365.Options) *gate {
	t.Helper()
	g := &gate{t: t, dir: t.TempDir(), web: freeAddress(t), smtp: freeAddress(t)}
	sim, err := sim365.Start(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sim.Stop)
	g.sim = sim
	g.contoso = sim.Contoso(g.url() + "/register_microsoft_graph_api/")
	g.visitor = visitor.New(sim.CAPEM())
	g.openLog()
	g.env = append(os.Environ(),
		"POSTERN_DATA_DIR="+g.dataDir(), "POSTERN_WEB_LISTEN="+g.web, "POSTERN_SMTP_LISTEN="+g.smtp, "POSTERN_PUBLIC_URL="+g.url(),
		"POSTERN_HOSTNAME=localhost", "POSTERN_LOG_LEVEL=debug", "POSTERN_LOG_FORMAT=json",
		"CONTOSO_SECRET="+g.contoso.App.Secret, "DEVICE_PASSWORD="+devicePassword)
	return g
}

// openLog makes the file that takes what the process says, and the end of both.
func (g *gate) openLog() {
	g.t.Helper()
	var err error
	if g.log, err = os.OpenFile(filepath.Join(g.dir, "serve.log"), os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600); err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() {
		if g.cmd != nil {
			g.kill()
		}
		if g.t.Failed() {
			logTail(g.t, g.log.Name())
		}
		_ = g.log.Close()
	})
}

func (g *gate) url() string     { return "http://localhost:" + port(g.web) }
func (g *gate) dataDir() string { return filepath.Join(g.dir, "data") }
func (g *gate) inbox() string   { return filepath.Join(g.dir, "invoices") }

// unlimited lifts Exchange's limits from a mailbox, for tests of something else.
func (g *gate) unlimited(mailboxes ...string) {
	for _, m := range mailboxes {
		g.sim.World.SetPolicy(m, func(p *world.MailboxPolicy) { p.Limits = world.Limits{} })
	}
}

// start runs `postern serve` and waits until it is ready.
func (g *gate) start() {
	g.t.Helper()
	g.launch()
	waitFor(g.t, "postern to be ready", func() bool { return g.ready() })
}

func (g *gate) launch() {
	g.t.Helper()
	cmd := exec.Command(binary(g.t), "serve")
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = g.env, g.dir, g.log, g.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		g.t.Fatal(err)
	}
	g.cmd = cmd
}

func (g *gate) ready() bool {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	p, err := g.visitor.Get(ctx, g.url()+"/readyz")
	return err == nil && p.Status == 200 && dials(g.smtp)
}

// kill ends the process as a power cut would.
func (g *gate) kill() {
	_ = g.cmd.Process.Kill()
	_ = g.cmd.Wait()
	g.cmd = nil
}

// stop asks the process to end and wants exit code 0.
func (g *gate) stop() {
	g.t.Helper()
	_ = g.cmd.Process.Signal(syscall.SIGTERM)
	done := make(chan error, 1)
	go func() { done <- g.cmd.Wait() }()
	select {
	case err := <-done:
		if err != nil {
			g.t.Errorf("serve ended with %v", err)
		}
	case <-time.After(60 * time.Second):
		g.t.Error("serve did not stop within 60 s")
		_ = g.cmd.Process.Kill()
		<-done
	}
	g.cmd = nil
}

// postern runs one command and returns what it printed; it must succeed.
func (g *gate) postern(args ...string) string {
	g.t.Helper()
	out, errOut, code := g.try("", args...)
	if code != 0 {
		g.t.Fatalf("postern %s: exit %d\n%s%s", strings.Join(args, " "), code, out, errOut)
	}
	return out
}

// try runs one command and returns everything.
func (g *gate) try(stdin string, args ...string) (stdout, stderr string, code int) {
	g.t.Helper()
	program := binary(g.t) // which takes a while, once
	ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	var out, errOut bytes.Buffer
	cmd.Env, cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = g.env, g.dir, strings.NewReader(stdin), &out, &errOut
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		g.t.Fatal(err)
	}
	return out.String(), errOut.String(), cmd.ProcessState.ExitCode()
}

// document is the usual set-up against the simulator; more is appended to it.
func (g *gate) document(more string) string {
	s := g.sim
	return fmt.Sprintf(`
apps:
  - name: contoso
    tenant: contoso.onmicrosoft.com
    client_id: %s
    secret: {env: CONTOSO_SECRET}
    cloud: custom
    custom:
      authority: %s
      graph: %s
      smtp: {host: localhost, port: %d, tls: starttls}
      imap: {host: localhost, port: %d, tls: implicit}
      pop3: {host: localhost, port: %d, tls: implicit}
      ca: {file: %s}
accounts:
  - {name: scan, app: contoso, mailbox: scan@contoso.com, purposes: [send, imap, pop3]}
  - {name: invoices, app: contoso, mailbox: invoices@contoso.com, purposes: [send, imap]}
  - {name: noauth, app: contoso, mailbox: noauth@contoso.com, purposes: [send]}
devices:
  - {name: scanner, account: scan, password: {env: DEVICE_PASSWORD}}
`, g.contoso.App.ClientID, s.Authority(), s.Graph(), s.SMTP().Port, s.IMAP().Port, s.POP3().Port, g.caFile()) + more
}

func (g *gate) caFile() string {
	path := filepath.Join(g.dir, "ca.pem")
	writeFile(g.t, path, []byte(g.sim.CAPEM()+g.extraCA))
	return path
}

// apply declares a document.
func (g *gate) apply(doc string) string {
	g.t.Helper()
	out, errOut, code := g.try(doc, "apply", "-f", "-")
	if code != 0 {
		g.t.Fatalf("apply: exit %d\n%s%s", code, out, errOut)
	}
	return out
}

// signIn signs an account in through the real pages, as its mailbox's owner.
func (g *gate) signIn(account, user string) {
	g.t.Helper()
	out := g.postern("signin", account, "--no-wait")
	i := strings.Index(out, g.url())
	if i < 0 {
		g.t.Fatalf("signin printed no address:\n%s", out)
	}
	link, _, _ := strings.Cut(out[i:], "\n")
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	v := visitor.New(g.sim.CAPEM())
	last, err := v.SignIn(ctx, strings.TrimSpace(link), user, sim365.Password)
	if err != nil || last.Status != 200 || !strings.HasPrefix(last.URL.String(), g.url()) {
		g.t.Fatalf("sign-in of %s ended at %v (%d) %q: %s; %v", account, last.URL, last.Status, last.Title, last.Text, err)
	}
	g.visitor.Pages = append(g.visitor.Pages, v.Pages...)
}

// ready to use: server up, document applied, all accounts signed in.
func (g *gate) setUp(more string) {
	g.t.Helper()
	g.start()
	g.apply(g.document(more))
	for _, a := range []string{"scan", "invoices", "noauth"} {
		g.signIn(a, a+"@contoso.com")
	}
}

// doorTLS trusts the door's self-signed certificate.
func (g *gate) doorTLS() *tls.Config {
	g.t.Helper()
	pem, err := os.ReadFile(filepath.Join(g.dataDir(), "tls.crt"))
	if err != nil {
		g.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	return &tls.Config{RootCAs: pool, ServerName: "localhost", MinVersion: tls.VersionTLS12}
}

// login opens a session at the door as the scanner.
func (g *gate) login(conf *tls.Config) (*smtp.Client, error) { return g.loginAs("scanner", conf) }

func (g *gate) loginAs(device string, conf *tls.Config) (*smtp.Client, error) {
	return g.loginWith(device, devicePassword, conf)
}

func (g *gate) loginWith(device, password string, conf *tls.Config) (*smtp.Client, error) {
	conn, err := net.DialTimeout("tcp", g.smtp, 2*time.Second)
	if err != nil {
		return nil, err
	}
	_ = conn.SetDeadline(time.Now().Add(60 * time.Second))
	c, err := smtp.NewClient(conn, "localhost")
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	if err := c.StartTLS(conf); err != nil {
		_ = c.Close()
		return nil, err
	}
	if err := c.Auth(smtp.PlainAuth("", device, password, "localhost")); err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

// submit sends one message; nil means the door answered 250.
func submit(c *smtp.Client, from, to string, raw []byte) error {
	if err := c.Mail(from); err != nil {
		return err
	}
	if err := c.Rcpt(to); err != nil {
		return err
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write(raw); err != nil {
		return err
	}
	return w.Close()
}

func simpleMail(from, to, subject, messageID string) []byte {
	return fmt.Appendf(nil, "From: %s\r\nTo: %s\r\nSubject: %s\r\nMessage-ID: %s\r\nDate: Sat, 21 Nov 2026 09:00:00 +0000\r\n\r\n%s\r\n", from, to, subject, messageID, strings.Repeat("body ", 40))
}

// mailWith makes a message with attachments, for the fetch tests.
func mailWith(subject, messageID string, files map[string]string) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "From: supplier@fabrikam.example\r\nTo: invoices@contoso.com\r\nSubject: %s\r\nMessage-ID: %s\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=sep\r\n\r\n--sep\r\nContent-Type: text/plain\r\n\r\nsee attached\r\n", subject, messageID)
	for name, content := range files {
		fmt.Fprintf(&b, "--sep\r\nContent-Type: application/octet-stream\r\nContent-Disposition: attachment; filename=%q\r\n\r\n%s\r\n", name, content)
	}
	b.WriteString("--sep--\r\n")
	return []byte(b.String())
}
