package test

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"postern/internal/entra"
	"postern/internal/fault"
	"postern/internal/mail"
	"postern/internal/outbound"
	"postern/internal/secret"
	"postern/internal/sim365/visitor"
	"postern/internal/store"
	"postern/internal/vault"
)

// The simulator is ours and could share a misreading with the client. This provider
// is not: npm's oidc-provider, a certified one, with its routes named like Entra's.
type openid struct {
	*testing.T
	client      *entra.Client
	bySecret    entra.Registration
	byCert      entra.Registration
	ca          string
	home        *httptest.Server
	back        string // the registered redirect URI
	visited     chan url.Values
	send, imap  string // scopes
	application string
}

const openidPerson = "scan@contoso.com"

func newOpenID(t *testing.T) *openid {
	t.Helper()
	o := &openid{T: t, visited: make(chan url.Values, 1)}
	o.home = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { o.visited <- r.URL.Query() }))
	t.Cleanup(o.home.Close)
	o.back = o.home.URL + "/register_microsoft_graph_api/"
	o.open()
	return o
}

// open starts the provider for browsers that are to come back to o.back.
func (o *openid) open() {
	t := o.T
	t.Helper()
	modules(t, "openid")
	ca, at := newTestCA(t), freeAddress(t)
	cloud, err := entra.CloudByName("global")
	if err != nil {
		t.Fatal(err)
	}
	cloud.Name, cloud.Authority, cloud.CA = entra.Custom, "https://localhost:"+port(at), string(ca.root)
	pair, err := entra.NewCertificate("postern", time.Now(), 24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	o.client, o.ca = entra.New(time.Now, outbound.Network{}), string(ca.root)
	o.send, o.imap, o.application = cloud.Outlook+"/SMTP.Send", cloud.Outlook+"/IMAP.AccessAsUser.All", cloud.AppOnly+"/.default"
	o.bySecret = entra.Registration{Cloud: cloud, Tenant: "contoso.com", ClientID: "11111111-2222-3333-4444-555555555555", Secret: secret.New("abc8Q~a/b+c=d&e f%20")}
	o.byCert = entra.Registration{Cloud: cloud, Tenant: "contoso.com", ClientID: "22222222-3333-4444-5555-666666666666", Certificate: &pair}
	o.start(at, ca, pair)
}

// start runs the provider until the test ends.
func (o *openid) start(at string, ca testCA, pair entra.Certificate) {
	o.Helper()
	dir := o.TempDir()
	writeFile(o, filepath.Join(dir, "cert.pem"), ca.cert)
	writeFile(o, filepath.Join(dir, "key.pem"), ca.key)
	certificate, _ := pair.PEM()
	number, _ := strconv.Atoi(port(at))
	config, err := json.Marshal(map[string]any{
		"port": number, "cert": filepath.Join(dir, "cert.pem"), "key": filepath.Join(dir, "key.pem"),
		"tenant": o.bySecret.Tenant, "redirect": o.back, "scopes": []string{o.send, o.imap, o.application}, "person": openidPerson,
		"bySecret": o.bySecret.ClientID, "secret": o.bySecret.Secret.Reveal(), "byCertificate": o.byCert.ClientID, "certificate": certificate,
	})
	if err != nil {
		o.Fatal(err)
	}
	writeFile(o, filepath.Join(dir, "config.json"), config)
	background(o, "openid", exec.Command("node", "server.mjs", filepath.Join(dir, "config.json")))
	waitFor(o, "oidc-provider to listen", func() bool { return dials(at) })
}

func (o *openid) must(err error) {
	o.Helper()
	if err != nil {
		o.Fatalf("%v (hint %q)", err, fault.HintOf(err))
	}
}

// visit follows an authorize URL to its end and returns what came back with it.
func (o *openid) visit(address string) url.Values {
	o.Helper()
	p, err := visitor.New(o.ca).Get(o.Context(), address)
	o.must(err)
	select {
	case q := <-o.visited:
		return q
	default:
		o.Fatalf("never came back; status %d, page %q", p.Status, p.Text)
		return nil
	}
}

// authorize goes through the browser's part of the code grant, for both mail scopes,
// and returns what came back and how to redeem it.
func (o *openid) authorize(r entra.Registration, who string) (url.Values, entra.Redemption) {
	o.Helper()
	ask := entra.AuthRequest{
		Redirect: o.back, State: "state of " + o.Name(), Nonce: "nonce of " + o.Name(),
		Verifier: strings.Repeat("verifier-", 6), Scopes: []string{o.send, o.imap}, LoginHint: who,
	}
	address, err := o.client.AuthorizeURL(o.Context(), r, ask)
	o.must(err)
	q := o.visit(address)
	if q.Get("state") != ask.State {
		o.Errorf("state %q came back", q.Get("state"))
	}
	return q, entra.Redemption{Code: q.Get("code"), Verifier: ask.Verifier, Redirect: ask.Redirect, Nonce: ask.Nonce, Scopes: []string{o.send}}
}

func TestOpenIDCode(t *testing.T) {
	t.Parallel()
	o := newOpenID(t)
	for name, r := range map[string]entra.Registration{"secret": o.bySecret, "certificate": o.byCert} {
		_, d := o.authorize(r, openidPerson)
		got, err := o.client.Redeem(t.Context(), r, d)
		o.must(err)
		if got.Access.Empty() || got.Refresh.Empty() || got.Identity.Username != openidPerson || got.Identity.ObjectID != "oid of "+openidPerson || time.Until(got.Expires) < 50*time.Minute {
			t.Errorf("%s: identity %+v until %s", name, got.Identity, got.Expires)
		}
		if _, err := o.client.Redeem(t.Context(), r, d); !errors.Is(err, fault.NeedsSignIn) {
			t.Errorf("%s: a code redeemed twice: %v", name, err)
		}
		_, d = o.authorize(r, openidPerson)
		d.Verifier = strings.Repeat("another-", 6)
		if _, err := o.client.Redeem(t.Context(), r, d); !errors.Is(err, fault.NeedsSignIn) {
			t.Errorf("%s: another's verifier: %v", name, err)
		}
		_, d = o.authorize(r, openidPerson)
		d.Nonce = "another"
		if _, err := o.client.Redeem(t.Context(), r, d); !errors.Is(err, fault.Denied) {
			t.Errorf("%s: another's nonce: %v", name, err)
		}
	}
	q, _ := o.authorize(o.bySecret, "declines@contoso.com")
	if err := entra.Refused(q); !errors.Is(err, fault.Denied) {
		t.Errorf("somebody who declines: %v", err)
	}
}

// A refresh gives a new refresh token and uses up the old one, which here, as OAuth's
// best practice has it, ends the whole grant when it is used again.
func TestOpenIDRefresh(t *testing.T) {
	t.Parallel()
	o := newOpenID(t)
	_, d := o.authorize(o.bySecret, openidPerson)
	first, err := o.client.Redeem(t.Context(), o.bySecret, d)
	o.must(err)
	seen := map[string]bool{first.Refresh.Reveal(): true}
	last := first
	for _, scope := range []string{o.imap, o.send, o.imap} {
		next, err := o.client.Refresh(t.Context(), o.bySecret, last.Refresh, []string{scope})
		o.must(err)
		if !slices.Contains(next.Scopes, scope) || slices.Contains(next.Scopes, o.send) != (scope == o.send) || next.Access.Reveal() == last.Access.Reveal() || next.Refresh.Empty() || seen[next.Refresh.Reveal()] {
			t.Fatalf("no rotation, or not for %s alone: %v", scope, next.Scopes)
		}
		seen[next.Refresh.Reveal()] = true
		last = next
	}
	for _, gone := range []secret.Text{first.Refresh, last.Refresh} {
		_, err := o.client.Refresh(t.Context(), o.bySecret, gone, []string{o.send})
		if !errors.Is(err, fault.NeedsSignIn) || strings.Contains(err.Error(), gone.Reveal()) {
			t.Errorf("after a second use: %v", err)
		}
	}
}

func TestOpenIDClientCredentials(t *testing.T) {
	t.Parallel()
	o := newOpenID(t)
	for name, r := range map[string]entra.Registration{"secret": o.bySecret, "certificate": o.byCert} {
		got, err := o.client.ClientCredentials(t.Context(), r, r.Cloud.AppOnly)
		o.must(err)
		if got.Access.Empty() || !got.Refresh.Empty() || strings.Join(got.Scopes, " ") != o.application {
			t.Errorf("%s: scopes %v", name, got.Scopes)
		}
	}
	other, err := entra.NewCertificate("another", time.Now(), time.Hour)
	o.must(err)
	stranger, liar := o.byCert, o.bySecret
	stranger.Certificate, liar.Secret = &other, secret.New("abc8Q~wrong-secret")
	for name, r := range map[string]entra.Registration{"another certificate": stranger, "a wrong secret": liar} {
		_, err := o.client.ClientCredentials(t.Context(), r, r.Cloud.AppOnly)
		if rep := fault.ReplyOf(err); !errors.Is(err, fault.NeedsAdmin) || rep == nil || rep.Code != "invalid_client" || strings.Contains(err.Error(), "wrong-secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOpenIDDeviceCode(t *testing.T) {
	t.Parallel()
	o := newOpenID(t)
	for name, r := range map[string]entra.Registration{"secret": o.bySecret, "certificate": o.byCert} {
		d, err := o.client.BeginDevice(t.Context(), r, []string{o.send})
		o.must(err)
		if !strings.Contains(d.Message, d.UserCode) || time.Until(d.Expires) < 14*time.Minute || d.Interval != 5*time.Second {
			t.Errorf("%s: %+v", name, d)
		}
		if _, err := o.client.PollDevice(t.Context(), r, d); !errors.Is(err, entra.ErrPending) {
			t.Errorf("%s: before anybody came: %v", name, err)
		}
		o.decide(d, "Continue")
		got, err := o.client.PollDevice(t.Context(), r, d)
		o.must(err)
		if got.Refresh.Empty() || got.Identity.Username != openidPerson {
			t.Errorf("%s: identity %+v", name, got.Identity)
		}
		if _, err := o.client.PollDevice(t.Context(), r, d); !errors.Is(err, fault.NeedsSignIn) {
			t.Errorf("%s: a code used twice: %v", name, err)
		}
	}
	d, err := o.client.BeginDevice(t.Context(), o.bySecret, []string{o.send})
	o.must(err)
	o.decide(d, "Cancel")
	if _, err := o.client.PollDevice(t.Context(), o.bySecret, d); !errors.Is(err, fault.Denied) || fault.HintOf(err) == "" {
		t.Errorf("declined: %v", err)
	}
}

// decide types the user code and answers the question that follows.
func (o *openid) decide(d entra.DeviceCode, button string) {
	o.Helper()
	v := visitor.New(o.ca)
	p, err := v.Get(o.Context(), d.Page)
	for range 2 {
		o.must(err)
		if len(p.Forms) != 1 {
			o.Fatalf("page %q has %d forms: %s", p.Title, len(p.Forms), p.Text)
		}
		press := ""
		if p.Title == "Confirm" {
			press = button
		}
		p, err = v.Submit(o.Context(), p, p.Forms[0], map[string]string{"user_code": d.UserCode}, press)
	}
	o.must(err)
	if want := map[string]string{"Continue": "Signed in", "Cancel": "Enter code"}[button]; p.Title != want {
		o.Fatalf("after %s the page is %q (%d): %s", button, p.Title, p.Status, p.Text)
	}
}

// The same through the vault and a real database, where rotation must be committed
// before a token is used: a rotated token lost would end the grant here.
func TestOpenIDThroughTheVault(t *testing.T) {
	t.Parallel()
	o := newOpenID(t)
	s, err := store.OpenSQLite(t.Context(), t.TempDir(), store.Options{})
	o.must(err)
	t.Cleanup(func() { _ = s.Close() })
	key, _, err := vault.LoadOrCreateKey(filepath.Join(t.TempDir(), "master.key"))
	o.must(err)
	sealer, err := vault.OpenSealer(t.Context(), s, key)
	o.must(err)
	node := func(holder string) *vault.Vault { // each with an empty memory of its own
		return vault.Open(vault.Config{Store: s, Sealer: sealer, Entra: o.client, PublicURL: o.home.URL, Holder: holder, Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	}
	v := node("a")
	for name, app := range map[string]entra.Registration{"secret": o.bySecret, "certificate": o.byCert} {
		proof := vault.Proof{Certificate: app.Certificate}
		if !app.Secret.Empty() {
			proof.Secret = &app.Secret
		}
		o.must(v.PutApp(t.Context(), vault.App{Name: name, Tenant: app.Tenant, ClientID: app.ClientID, Cloud: app.Cloud}, proof))
		o.must(v.PutAccount(t.Context(), vault.Account{
			Name: "scan-" + name, App: name, Mailbox: mail.Address{Local: "scan", Domain: "contoso.com"},
			Method: vault.Delegated, Purposes: []vault.Purpose{vault.Send, vault.IMAP},
		}, nil))
		address, err := v.BeginSignIn(t.Context(), "scan-"+name, "the browser")
		o.must(err)
		done, err := v.FinishSignIn(t.Context(), o.visit(address), "the browser")
		o.must(err)
		if done.SignedInAs != openidPerson {
			t.Errorf("signed in as %q", done.SignedInAs)
		}
		seen := map[string]bool{}
		for _, holder := range []string{"b", "c", "d"} {
			c, err := node(holder).Credential(t.Context(), "scan-"+name, vault.Send, vault.Asked)
			o.must(err)
			if c.Token.Empty() || seen[c.Token.Reveal()] || c.User != openidPerson {
				t.Errorf("%s: node %s got no fresh token for %s", name, holder, c.User)
			}
			seen[c.Token.Reveal()] = true
		}
	}
}
