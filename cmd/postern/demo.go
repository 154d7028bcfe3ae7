package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"postern/internal/app"
	"postern/internal/check"
	"postern/internal/config"
	"postern/internal/declare"
	"postern/internal/fetch"
	"postern/internal/relay"
	"postern/internal/secret"
	"postern/internal/sim365"
	"postern/internal/sim365/visitor"
	"postern/internal/vault"
)

func newDemo(c *cli) *cobra.Command {
	var once bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Watch the main job against a simulated Microsoft, then play with it",
		Long: `Starts a simulated Microsoft 365 and Postern on loopback ports and does the main
job step by step: an app is registered, accounts are signed in through the real
pages, a legacy program sends a scan, the queue delivers it with XOAUTH2, a mail
with two invoices arrives and its attachments are stored, and an account with SMTP
AUTH switched off is checked and explained. Then it stays up until Ctrl-C.

Nothing leaves this machine; everything lies in a temporary directory that is
removed at the end.`,
		Example: "  postern demo --once\n  postern demo",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			d := &demo{c: c, out: c.stdout}
			return d.run(cmd.Context(), once)
		},
	}
	cmd.Flags().BoolVar(&once, "once", false, "leave when the main job is done")
	return cmd
}

// demo holds what the steps share.
type demo struct {
	c    *cli
	out  io.Writer
	step int

	dir     string
	sim     *sim365.Sim
	contoso sim365.Contoso
	app     *app.App
	at      app.Addresses
	device  secret.Text // the scanner's password
	admin   secret.Text // of the web pages
	served  chan error
}

func (d *demo) run(ctx context.Context, once bool) (err error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	if d.dir, err = os.MkdirTemp("", "postern-demo-"); err != nil {
		return err
	}
	defer os.RemoveAll(d.dir)
	started := time.Now()
	for _, step := range []func(context.Context) error{
		d.startMicrosoft, d.startPostern, d.register, d.signIn, d.send, d.fetch, d.explain,
	} {
		if err = step(ctx); err != nil {
			break
		}
	}
	if err == nil {
		d.say("\nDone in %s.", time.Since(started).Round(10*time.Millisecond))
		if !once {
			d.invite()
			<-ctx.Done()
		}
	}
	stop()
	return errors.Join(err, d.end())
}

// end stops Postern first, so that it can say farewell to a Microsoft that is there.
func (d *demo) end() error {
	var err error
	if d.served != nil {
		err = <-d.served
	}
	if d.app != nil {
		err = errors.Join(err, d.app.Close())
	}
	if d.sim != nil {
		d.sim.Stop()
	}
	return err
}

func (d *demo) say(format string, a ...any) { _, _ = fmt.Fprintf(d.out, format+"\n", a...) }

func (d *demo) title(format string, a ...any) {
	d.step++
	d.say("\n%d  "+format, append([]any{d.step}, a...)...)
}

func (d *demo) fact(format string, a ...any) { d.say("   "+format, a...) }

func (d *demo) startMicrosoft(ctx context.Context) (err error) {
	d.title("Microsoft 365, simulated in this process")
	// It outlives ctx, so that Postern stops in front of a living server.
	if d.sim, err = sim365.Start(context.WithoutCancel(ctx), sim365.Options{}); err != nil {
		return err
	}
	d.fact("sign-in   %s", d.sim.Authority())
	d.fact("SMTP      %s (STARTTLS, XOAUTH2)", d.sim.SMTP().Address())
	d.fact("IMAP      %s (TLS, XOAUTH2)", d.sim.IMAP().Address())
	return nil
}

func (d *demo) startPostern(ctx context.Context) error {
	d.title("Postern, on an empty directory")
	web, err := freeLoopback()
	if err != nil {
		return err
	}
	_, port, _ := net.SplitHostPort(web)
	none := func(string) (string, bool) { return "", false }
	cfg, err := config.Load("", none, map[string]string{
		"data_dir": filepath.Join(d.dir, "data"), "web_listen": web, "public_url": "http://localhost:" + port,
		"smtp_listen": "127.0.0.1:0", "hostname": "localhost",
	})
	if err != nil {
		return err
	}
	log := newLogger(d.c.stderr, "text", quiet)
	if d.app, err = app.Open(ctx, cfg, app.Options{Log: log, Version: buildVersion()}); err != nil {
		return err
	}
	if d.admin, err = d.app.NewAdminPassword(ctx, who()); err != nil {
		return err
	}
	ready := make(chan app.Addresses, 1)
	d.served = make(chan error, 1)
	go func() { d.served <- d.app.Serve(ctx, func(at app.Addresses) { ready <- at }) }()
	select {
	case d.at = <-ready:
	case err := <-d.served:
		d.served = nil
		return err
	}
	d.fact("SMTP door %s   pages %s", d.at.SMTP, cfg.PublicURL)
	d.contoso = d.sim.Contoso(d.app.Vault.RedirectURI())
	return nil
}

// freeLoopback finds a port before the listener is there, because the redirect URI
// must be registered first.
func freeLoopback() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // immediate
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

const demoDocument = `
apps:
  - name: contoso
    tenant: TENANT
    client_id: CLIENT
    secret: {env: SECRET}
    cloud: custom
    custom:
      authority: AUTHORITY
      graph: GRAPH
      smtp: {host: localhost, port: SMTP_PORT, tls: starttls}
      imap: {host: localhost, port: IMAP_PORT, tls: implicit}
      pop3: {host: localhost, port: POP3_PORT, tls: implicit}
      ca: {env: CA}
accounts:
  - {name: scan, app: contoso, mailbox: scan@contoso.com, purposes: [send, imap]}
  - {name: invoices, app: contoso, mailbox: invoices@contoso.com, purposes: [imap]}
  - {name: noauth, app: contoso, mailbox: noauth@contoso.com, purposes: [send]}
devices:
  - {name: scanner, account: scan}
tasks:
  - {name: invoices, account: invoices, directory: DIRECTORY, after: read}
`

func (d *demo) register(ctx context.Context) error {
	d.title("The administrator declares an app, three accounts, a device and a task (postern apply)")
	d.fact("redirect URI registered with Microsoft: %s", d.app.Vault.RedirectURI())
	text := strings.NewReplacer("TENANT", d.contoso.Tenant.Domains[0], "CLIENT", d.contoso.App.ClientID, "AUTHORITY", d.sim.Authority(), "GRAPH", d.sim.Graph(),
		"SMTP_PORT", fmt.Sprint(d.sim.SMTP().Port), "IMAP_PORT", fmt.Sprint(d.sim.IMAP().Port), "POP3_PORT", fmt.Sprint(d.sim.POP3().Port),
		"DIRECTORY", d.inbox()).Replace(demoDocument)
	doc, err := declare.Parse("demo", strings.NewReader(text))
	if err != nil {
		return err
	}
	secrets := map[string]string{"SECRET": d.contoso.App.Secret, "CA": d.sim.CAPEM()}
	changes, err := d.app.ApplyHere(ctx, who(), doc, func(k string) (string, bool) { v, ok := secrets[k]; return v, ok })
	for _, ch := range changes {
		d.fact("%-8s %-9s %s", ch.Kind, ch.Name, ch.Action)
		if !ch.Password.Empty() {
			d.device = ch.Password
		}
	}
	return err
}

func (d *demo) inbox() string { return filepath.Join(d.dir, "invoices") }

func (d *demo) signIn(ctx context.Context) error {
	d.title("Each mailbox is signed in once, in a browser, on Microsoft's pages (postern signin)")
	for _, u := range []struct{ account, name string }{
		{"scan", d.contoso.Scan.UPN}, {"invoices", d.contoso.Invoices.UPN}, {"noauth", d.contoso.NoAuth.UPN},
	} {
		link, err := d.app.NewLink(ctx, who(), u.account, false)
		if err != nil {
			return err
		}
		browser := visitor.New(d.sim.CAPEM())
		last, err := browser.SignIn(ctx, link, u.name, sim365.Password)
		if err != nil {
			return err
		}
		acct, err := d.app.Vault.Account(ctx, u.account)
		if err != nil {
			return err
		}
		if acct.State != vault.Active {
			return fmt.Errorf("signing %s in ended on %q: %s", u.account, last.Title, last.Text)
		}
		d.fact("%-9s signed in as %s over %d pages; the refresh token is sealed in the database", u.account, u.name, len(browser.Pages))
	}
	return nil
}

func (d *demo) send(ctx context.Context) error {
	d.title("A legacy program sends a scanned PDF: host, port, user, password, nothing else")
	d.fact("user scanner at %s, From scan@contoso.com, To invoices@contoso.com", d.at.SMTP)
	raw := composeMail("scan@contoso.com", "invoices@contoso.com", "Scan of 14 pages", map[string][]byte{"scan.pdf": fakePDF("scan", 60<<10)})
	cert, err := os.ReadFile(filepath.Join(d.app.Config.DataDir, "tls.crt"))
	if err != nil {
		return err
	}
	if err := legacySend(ctx, d.at.SMTP, string(cert), "scanner", d.device, "scan@contoso.com", "invoices@contoso.com", raw); err != nil {
		return err
	}
	d.fact("the door answered 250: the message is committed to disk")
	m, err := d.await(ctx)
	if err != nil {
		return err
	}
	d.fact("queue: %s  %s -> %s  %s after %d try", m.ID, m.From, m.Recipients[0].Address, m.State, m.Attempts)
	d.fact("Microsoft said: %s", m.Recipients[0].Reply)
	for _, box := range []struct{ mailbox, folder string }{{"scan@contoso.com", "Sent Items"}, {"invoices@contoso.com", "INBOX"}} {
		if len(d.sim.World.Messages(box.mailbox, box.folder)) == 0 {
			return fmt.Errorf("nothing in %s of %s", box.folder, box.mailbox)
		}
		d.fact("there it is: %s of %s", box.folder, box.mailbox)
	}
	return nil
}

// await follows the queue until its only message has an end.
func (d *demo) await(ctx context.Context) (relay.Message, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		msgs, err := d.app.Store.Messages(ctx, relay.Filter{})
		if err != nil {
			return relay.Message{}, err
		}
		if len(msgs) > 0 && (msgs[0].State == relay.Delivered || msgs[0].State == relay.Failed) {
			if msgs[0].State == relay.Failed {
				return msgs[0], fmt.Errorf("the message failed: %s", msgs[0].Reason)
			}
			return msgs[0], nil
		}
		select {
		case <-ctx.Done():
			return relay.Message{}, errors.New("the message was not delivered within 20 s")
		case <-tick.C:
		}
	}
}

func (d *demo) fetch(ctx context.Context) error {
	d.title("A supplier's mail with two invoices arrives; the task stores them, exactly once")
	raw := composeMail("billing@fabrikam.example", "invoices@contoso.com", "Invoices 4711 and 4712", map[string][]byte{
		"invoice-4711.pdf": fakePDF("4711", 30<<10), "invoice-4712.pdf": fakePDF("4712", 45<<10),
	})
	if err := d.sim.Deliver("invoices@contoso.com", raw); err != nil {
		return err
	}
	for i, note := range []string{"first run", "second run: nothing is taken twice"} {
		run, err := d.app.Fetch.RunTask(ctx, "invoices", fetch.Options{Progress: func(e fetch.Event) {
			d.fact("  %q %s", e.Subject, e.State)
			for _, f := range e.Files {
				d.fact("    %s  %d bytes  sha256 %.12s…", f.Name, f.Size, f.SHA256)
			}
		}})
		if err != nil {
			return err
		}
		d.fact("%s: %d messages taken, %d files", note, run.Saved, run.Files)
		if want := 3 * (1 - i); run.Files != want {
			return fmt.Errorf("%s took %d files, not %d", note, run.Files, want)
		}
	}
	return nil
}

func (d *demo) explain(ctx context.Context) error {
	d.title("Is the connection good? (postern check scan)")
	if err := d.check(ctx, "scan", true); err != nil {
		return err
	}
	d.title("And one whose mailbox has SMTP AUTH switched off (postern check noauth)")
	return d.check(ctx, "noauth", false)
}

func (d *demo) check(ctx context.Context, name string, want bool) error {
	acct, err := d.app.Vault.Account(ctx, name)
	if err != nil {
		return err
	}
	r, err := d.app.Check(ctx, acct, app.CheckWish{Purpose: vault.Send}, func(s check.Stage) {
		for line := range strings.Lines(s.Text()) {
			d.fact("%s", strings.TrimRight(line, "\n"))
		}
	})
	if err != nil {
		return err
	}
	d.fact("%s", r.Headline)
	if r.OK != want {
		return fmt.Errorf("the check of %s should have said %v", name, want)
	}
	return nil
}

func (d *demo) invite() {
	d.say("\nIt stays up until Ctrl-C. To play with:")
	d.fact("SMTP door   %s  STARTTLS  user scanner  password %s", d.at.SMTP, d.device.Reveal())
	d.fact("its CA      %s", filepath.Join(d.app.Config.DataDir, "tls.crt"))
	d.fact("pages       %s  user admin  password %s", d.app.Config.PublicURL, d.admin.Reveal())
	d.fact("Microsoft   users scan, invoices, noauth, mfa, admin @contoso.com  password %s", sim365.Password)
	d.fact("control     %s  policies, faults, mail", d.sim.Control())
	d.fact("database    postern queue list --data-dir %s", d.app.Config.DataDir)
	d.fact("invoices    %s", d.inbox())
}
