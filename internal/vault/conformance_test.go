package vault_test

import (
	"context"
	"crypto/tls"
	"net"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/internal/fault"
	"postern/internal/mail"
	"postern/internal/outbound"
	"postern/internal/relay"
	"postern/internal/secret"
	"postern/internal/sim365/exchange"
	"postern/internal/sim365/visitor"
	"postern/internal/sim365/world"
	"postern/internal/store"
	"postern/internal/vault"
)

const appPassword = "abcdefghijklmnop"

// way is one way to a credential. Five grants make six of them, and a certificate
// takes the place of a secret.
type way struct {
	name    string
	method  vault.Method
	purpose vault.Purpose
	prove   func(*bench)                // the app's credential, where it is no secret
	person  func(*bench, attempt) error // somebody signs in; nil where nobody can
}

const (
	byCode        = "code"
	byDevice      = "device code"
	bySecret      = "secret"
	byCertificate = "certificate"
	byPassword    = "password"
	byAppPassword = "app password"
)

func ways() []way {
	return []way{
		{name: byCode, method: vault.Delegated, purpose: vault.Send, person: (*bench).inBrowser},
		{name: byDevice, method: vault.Delegated, purpose: vault.Send, person: (*bench).byDeviceCode},
		{name: bySecret, method: vault.Application, purpose: vault.Send},
		{name: byCertificate, method: vault.Application, purpose: vault.Send, prove: (*bench).certify},
		{name: byPassword, method: vault.Password, purpose: vault.HVE},
		{name: byAppPassword, method: vault.AppPassword, purpose: vault.Send},
	}
}

// bench is one account of one way, over a database and a mail server, all simulated
// but the store. Its tests run one after another: each begins and ends with an account
// that works, so that an account goes through everything and comes out of it.
type bench struct {
	*stand
	way
	mail mail.Server
	said strings.Builder // every error and every alert, to be looked through at the end
	reg  vault.App       // the app registration as it should be
}

func newBench(t *testing.T, w way) *bench {
	t.Helper()
	db, err := store.OpenSQLite(t.Context(), t.TempDir(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	b := &bench{stand: newStandOn(t, db).explained(), way: w}
	tenant := b.app.HomeTenant
	b.world.UpdateTenant(tenant, func(t *world.Tenant) { t.Policy.AppPasswords = true })
	b.world.UpdateUser("scan@contoso.com", func(u *world.User) { u.HVE, u.AppPassword = w.purpose == vault.HVE, appPassword })
	b.world.UpdateApp(b.app.ClientID, func(a *world.App) {
		a.PublicClient, a.AdminConsent[tenant], a.Registered[tenant], a.FullAccess["scan@contoso.com"] = true, true, true, true
	})
	b.serveMail()
	if w.prove != nil {
		w.prove(b)
	}
	b.reg, err = b.vault.App(t.Context(), "m365")
	b.must(err)
	b.must(b.put(w.method, b.right(), w.purpose))
	b.wantState(vault.New)
	b.arrive()
	return b
}

// serveMail puts the mail server behind the account.
func (b *bench) serveMail() {
	b.Helper()
	l, err := new(net.ListenConfig).Listen(b.Context(), "tcp", "127.0.0.1:0")
	b.must(err)
	cfg := exchange.Config{TLS: &tls.Config{Certificates: b.login.TLS.Certificates, MinVersion: tls.VersionTLS12}, SMTP: l}
	if b.purpose == vault.HVE {
		cfg.SMTP, cfg.HVE = nil, l
	}
	servers, err := exchange.Start(b.world, cfg)
	b.must(err)
	b.Cleanup(servers.Close)
	b.mail = mail.Server{Host: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port, TLS: mail.STARTTLS}
}

// certify lets the app prove itself by a certificate instead of its secret.
func (b *bench) certify() {
	b.Helper()
	der, _ := b.newCertificate()
	b.upload(der)
	b.must(b.vault.UseCertificate(b.Context(), "m365"))
	b.world.UpdateApp(b.app.ClientID, func(a *world.App) { a.Secret = "" })
}

// right is the password that fits the way.
func (b *bench) right() string {
	switch b.method {
	case vault.Password:
		return password
	case vault.AppPassword:
		return appPassword
	}
	return ""
}

// arrive is what somebody does so that the account works, at first or again.
func (b *bench) arrive() {
	b.Helper()
	switch {
	case b.person != nil:
		b.must(b.person(b, attempt{}))
	case b.right() != "":
		b.must(b.put(b.method, b.right(), b.purpose))
	}
	b.must(b.use())
	b.wantState(vault.Active)
}

// Route and Token are what the relay is told of the account.
func (b *bench) Route(ctx context.Context, account string) (relay.Route, error) {
	r := relay.Route{Mailbox: b.scan().Mailbox, Server: b.mail}
	var err error
	if b.method == vault.AppPassword {
		c, err := b.vault.Credential(ctx, account, b.purpose, vault.Cached)
		if err != nil {
			return r, err
		}
		r.Password = c.Password
	}
	r.RootCAs, err = outbound.Roots(b.cloud.CA)
	return r, err
}

func (b *bench) Token(ctx context.Context, account string, fresh bool) (secret.Text, error) {
	w := vault.Cached
	if fresh {
		w = vault.Fresh
	}
	c, err := b.vault.Credential(ctx, account, b.purpose, w)
	return c.Token, err
}

// use logs in to the mail server as the relay does, and tells the vault what came of it.
func (b *bench) use() error {
	b.Helper()
	up, err := (&relay.SMTP{Routes: b, Tokens: b}).Open(b.Context(), "scan")
	if err == nil {
		up.Abort()
		return b.vault.Worked(b.Context(), "scan")
	}
	if kind := fault.KindOf(err); kind == fault.NeedsSignIn || kind == fault.NeedsAdmin {
		b.must(b.vault.Refused(b.Context(), "scan", kind, err.Error()))
	}
	return err
}

// attempt is how somebody signs in.
type attempt struct {
	as     string        // "" is the mailbox itself
	button string        // pressed wherever it is; "" agrees
	late   func(*bench)  // what happens when they are through with Microsoft's pages
	times  int           // how often the answer comes back to us; 0 is once
	from   string        // the cookie of the browser that comes back; "" is the one that began
	idle   time.Duration // how long they take
}

func (a attempt) who() string {
	if a.as == "" {
		return "scan@contoso.com"
	}
	return a.as
}

// inBrowser is a sign-in by authorization code.
func (b *bench) inBrowser(a attempt) error {
	b.Helper()
	address, err := b.vault.BeginSignIn(b.Context(), "scan", cookie)
	b.must(err)
	u, err := url.Parse(address)
	b.must(err)
	q := u.Query()
	q.Del("login_hint") // somebody else may be to sign in
	u.RawQuery = q.Encode()
	v := visitor.New(b.cloud.CA)
	p, err := v.Get(b.Context(), u.String())
	b.must(err)
	p, err = v.GoOn(b.Context(), p, a.who(), password, a.button)
	b.must(err)
	b.mu.Lock()
	back := b.callback
	b.callback = nil
	b.mu.Unlock()
	if back == nil {
		b.Fatalf("never called back; the page says %q", p.Text)
	}
	b.pass(a.idle)
	if a.late != nil {
		a.late(b)
	}
	from := cookie
	if a.from != "" {
		from = a.from
	}
	for range max(a.times, 1) {
		_, err = b.vault.FinishSignIn(b.Context(), back, from)
	}
	return err
}

// byDeviceCode is a sign-in at another machine's browser.
func (b *bench) byDeviceCode(a attempt) error {
	b.Helper()
	d, err := b.vault.BeginDevice(b.Context(), "scan")
	b.must(err)
	d = d.Every(time.Millisecond)
	if a.idle == 0 {
		v := visitor.New(b.cloud.CA)
		p, err := v.Get(b.Context(), d.Page+"?otc="+d.UserCode)
		b.must(err)
		p, err = v.Submit(b.Context(), p, p.Forms[0], nil, "")
		b.must(err)
		_, err = v.GoOn(b.Context(), p, a.who(), password, a.button)
		b.must(err)
	}
	b.pass(a.idle)
	if a.late != nil {
		a.late(b)
	}
	_, err = b.vault.AwaitDevice(b.Context(), d)
	return err
}

// alertsSince lists the alerts raised since n of them had been.
func (b *bench) alertsSince(n int) (kinds []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, a := range b.alerts[n:] {
		kinds = append(kinds, a.Kind)
	}
	return kinds
}

func (b *bench) wantAlertsSince(n int, want ...string) {
	b.Helper()
	if got := b.alertsSince(n); !slices.Equal(got, want) {
		b.Errorf("alerts %q, want %q", got, want)
	}
}

// wantRefusal checks an error that somebody will read.
func (b *bench) wantRefusal(err error, kind fault.Kind, says string, server bool) {
	b.Helper()
	b.wantKind(err, kind)
	if !strings.Contains(err.Error(), says) {
		b.Errorf("it says %v, want %q", err, says)
	}
	// What a server's answer asks for is said by those who show it, from the catalogue.
	if waits := kind == fault.Temporary || kind == fault.Throttled; fault.HintOf(err) == "" && !waits && !server {
		b.Errorf("%v has no next step", err)
	}
	b.said.WriteString(err.Error() + fault.HintOf(err) + "\n")
}

// wantKeptSecrets looks through all that was said and logged.
func (b *bench) wantKeptSecrets() {
	b.Helper()
	for _, a := range b.alerts {
		b.said.WriteString(a.Text + a.Next + "\n")
	}
	b.wantNoSecret("an error or an alert", b.said.String())
	b.wantNoSecret("the log", b.log.String())
}

// register puts the app registration as change makes it.
func (b *bench) register(change func(*vault.App)) {
	b.Helper()
	a := b.reg
	change(&a)
	b.must(b.vault.PutApp(b.Context(), a, vault.Proof{}))
}

func (b *bench) policy(change func(*world.TenantPolicy)) {
	b.world.UpdateTenant(b.app.HomeTenant, func(t *world.Tenant) { change(&t.Policy) })
}

func (b *bench) user(change func(*world.User)) { b.world.UpdateUser("scan@contoso.com", change) }

func (b *bench) entraApp(change func(*world.App)) { b.world.UpdateApp(b.app.ClientID, change) }

// renewSecret makes a new client secret, and tells Postern.
func (b *bench) renewSecret() {
	b.Helper()
	clear := secret.New("abc8Q~" + world.Random(34))
	b.entraApp(func(a *world.App) { a.Secret, a.SecretExpired = clear.Reveal(), false })
	b.must(b.vault.PutApp(b.Context(), b.reg, vault.Proof{Secret: &clear}))
	var err error
	b.reg, err = b.vault.App(b.Context(), "m365")
	b.must(err)
}

// consented gives, or takes back, everybody's consent.
func (b *bench) consented(is bool) {
	b.entraApp(func(a *world.App) { a.AdminConsent[a.HomeTenant], a.UserConsent = is, nil })
}
