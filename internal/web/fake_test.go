package web_test

import (
	"cmp"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/html"

	"postern/internal/declare"
	"postern/internal/fault"
	"postern/internal/mail"
	"postern/internal/vault"
	"postern/internal/web"
)

const (
	password = "the-admin-password"
	provider = "https://login.example/authorize?state=s1"
)

// fakeVault knows a few accounts and does what the test says.
type fakeVault struct {
	mu       sync.Mutex
	apps     []vault.App
	accounts []vault.Description
	ends     []vault.Expiry
	blind    error // answers the look for what ends
	consent  bool  // links ask an administrator
	lookErr  error // answers every look at a link
	await    func(ctx context.Context, d vault.DeviceSignIn) (vault.Result, error)
	broken   error // answers every listing
	finish   func(q url.Values, browser string) (vault.Result, error)
	begin    error
	address  string   // where sign-ins begin; provider unless the test says otherwise
	browsers []string // who began
	taken    []string // link tokens
	links    []string // who made and opened them
	finished int
	public   string
}

func (f *fakeVault) Accounts(context.Context) ([]vault.Account, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []vault.Account
	for _, d := range f.accounts {
		all = append(all, d.Account)
	}
	return all, f.broken
}

func (f *fakeVault) Describe(_ context.Context, name string) (vault.Description, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, d := range f.accounts {
		if d.Account.Name == name {
			return d, nil
		}
	}
	return vault.Description{}, fault.New(fault.NotFound, "look up", "there is no account %q", name)
}

func (f *fakeVault) Apps(context.Context) ([]vault.App, error) { return f.apps, f.broken }

func (f *fakeVault) App(_ context.Context, name string) (vault.App, error) {
	for _, a := range f.apps {
		if a.Name == name {
			return a, nil
		}
	}
	return vault.App{}, fault.New(fault.NotFound, "look up", "there is no app %q", name)
}

func (f *fakeVault) Radar(context.Context) ([]vault.Expiry, error) { return f.ends, f.blind }

func (f *fakeVault) RedirectURI() string { return f.public + web.CallbackPath }

func (f *fakeVault) NewLink(_ context.Context, who, account string, consent bool) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.links = append(f.links, who+" makes one for "+account)
	if consent {
		return f.public + "/signin/consent-for-" + account, nil
	}
	return f.public + "/signin/link-for-" + account, nil
}

func (f *fakeVault) LookAtLink(_ context.Context, token string) (vault.Link, vault.Account, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.lookErr != nil {
		return vault.Link{}, vault.Account{}, f.lookErr
	}
	if slices.Contains(f.taken, token) {
		return vault.Link{}, vault.Account{}, fault.New(fault.NotFound, "open the link", "this link does not exist or was used already").WithHint("ask for a new one")
	}
	return vault.Link{Account: "scan", Consent: f.consent, Expires: time.Now().Add(59 * time.Minute)}, accounts()[0].Account, nil
}

func (f *fakeVault) OpenLink(_ context.Context, who, token string) (vault.Link, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, t := range f.taken {
		if t == token {
			return vault.Link{}, fault.New(fault.NotFound, "open the link", "this link does not exist or was used already").WithHint("ask for a new one")
		}
	}
	f.taken = append(f.taken, token)
	f.links = append(f.links, who+" opens one")
	return vault.Link{Account: "scan", Consent: f.consent}, nil
}

func (f *fakeVault) BeginConsent(_ context.Context, account, browser string) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.browsers = append(f.browsers, browser)
	return provider + "&consent=" + account, f.begin
}

func (f *fakeVault) BeginDevice(_ context.Context, account string) (vault.DeviceSignIn, error) {
	return vault.DeviceSignIn{
		Account: account, UserCode: "BCDF2345K", Page: "https://login.example/device", Expires: time.Now().Add(15 * time.Minute),
	}, f.begin
}

func (f *fakeVault) AwaitDevice(ctx context.Context, d vault.DeviceSignIn) (vault.Result, error) {
	return f.await(ctx, d)
}

func (f *fakeVault) BeginSignIn(_ context.Context, _, browser string) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.browsers = append(f.browsers, browser)
	return cmp.Or(f.address, provider), f.begin
}

func (f *fakeVault) FinishSignIn(_ context.Context, q url.Values, browser string) (vault.Result, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.finished++
	return f.finish(q, browser)
}

// site is the handler behind a real server, seen by one browser.
type site struct {
	t      *testing.T
	vault  *fakeVault
	url    string
	log    *strings.Builder
	client *http.Client
	ready  error
	people *crowd

	identities *fakeIdentities

	devices  *fakeDevices
	overview *fakeOverview
	settings *fakeSettings
	alerts   *fakeAlerts
	checks   *fakeChecks
	readers  *fakeReaders
	applied  []declare.Document
	appliers []string
	refuse   error // answers every apply
	mail     *mailRoom
}

func newSite(t *testing.T) *site {
	t.Helper()
	return newSiteOf(t, nil)
}

// newSiteOf is a site of these people; nil is one administrator.
func newSiteOf(t *testing.T, c *crowd) *site {
	t.Helper()
	s := &site{people: c, t: t, log: &strings.Builder{}, identities: &fakeIdentities{}, devices: newFakeDevices(), overview: newFakeOverview(), settings: &fakeSettings{}, alerts: newFakeAlerts(), checks: &fakeChecks{}, readers: &fakeReaders{}, mail: newMailRoom(t), vault: &fakeVault{accounts: accounts(), apps: []vault.App{contosoApp()}, ends: ends()}}
	s.vault.await = func(ctx context.Context, _ vault.DeviceSignIn) (vault.Result, error) {
		<-ctx.Done() // nobody types the code
		return vault.Result{}, ctx.Err()
	}
	var handler http.Handler
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler.ServeHTTP(w, r) }))
	t.Cleanup(srv.Close)
	s.url, s.vault.public = srv.URL, srv.URL
	s.vault.finish = func(url.Values, string) (vault.Result, error) {
		return vault.Result{Account: s.vault.accounts[0].Account, SignedInAs: "scan@contoso.com"}, nil
	}
	if s.people == nil {
		s.people = newCrowd(t, slog.New(slog.NewTextHandler(&locked{w: s.log}, nil)))
		s.people.administrator()
	}
	handler = s.handler(srv.URL)
	s.client = newBrowser(t)
	return s
}

func (s *site) handler(public string) *web.Server {
	s.t.Helper()
	cfg := web.Config{
		Vault: s.vault, Identities: s.identities, Links: s.vault, PublicURL: public, Version: "test", Node: "HERE.gate-1.example", Devices: s.devices, Overview: s.overview, Alerts: s.alerts, Settings: s.settings, Checks: s.checks, Readers: s.readers, Apply: s.apply,
		People: s.people.Registry, Audits: s.people.store.Audits,
		Ready: func(context.Context) error { return s.ready },
		Log:   slog.New(slog.NewTextHandler(&locked{w: s.log}, nil)),
	}
	s.mail.configure(&cfg)
	h, err := web.New(cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(h.Close)
	return h
}

// record asks a handler without a network.
func record(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

type locked struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *locked) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}

// newBrowser keeps cookies and shows redirects instead of following them.
func newBrowser(t *testing.T) *http.Client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

func contosoApp() vault.App {
	a := vault.App{Name: "contoso", Tenant: "contoso.onmicrosoft.com", ClientID: "6f0dd0d2-0000-4000-8000-000000000001"}
	a.Cloud.Name, a.Cloud.IMAP.Host = "global", "outlook.office365.com"
	return a
}

// ends are one end of each stage.
func ends() []vault.Expiry {
	at := time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)
	return []vault.Expiry{
		{Kind: "client_secret", Subject: "fabrikam", At: at, Stage: vault.Over, Text: "the client secret ended on 20 November 2026", Next: "make a new one and apply it"},
		{Kind: "certificate", Subject: "contoso", At: at, Stage: vault.In3, Text: "the certificate ends on 23 November 2026", Next: "postern apps certificate contoso"},
		{Kind: "app_password", Subject: "fax", At: at, Stage: vault.In14, Text: "Microsoft switches app passwords off for SMTP", Next: "sign in with Microsoft instead", Source: "Exchange Team Blog, January 2026"},
		{Kind: "grant", Subject: "scan", At: at, Stage: vault.In30, Text: "the sign-in lapses on 20 December 2026", Next: "postern signin scan"},
		{Kind: "grant", Subject: "invoices", At: at, Stage: vault.Far, Text: "far away", Next: "nothing"},
	}
}

func accounts() []vault.Description {
	at := time.Date(2026, 11, 3, 9, 30, 0, 0, time.UTC)
	contoso := func(name string) mail.Address { return mail.Address{Local: name, Domain: "contoso.com"} }
	return []vault.Description{
		{
			Account: vault.Account{
				Name: "scan", App: "contoso", Mailbox: contoso("scan"), Method: vault.Delegated,
				Purposes: []vault.Purpose{vault.Send, vault.IMAP}, State: vault.Active, Since: at,
			},
			SignedInAs: "scan@contoso.com", SignedInAt: at, RotatedAt: at, Until: at.AddDate(0, 0, 90),
		},
		{Account: vault.Account{
			Name: "invoices", App: "contoso", Mailbox: contoso("invoices"), Method: vault.Delegated, Purposes: []vault.Purpose{vault.IMAP},
			State: vault.NeedsSignIn, By: vault.Provider, Since: at, Reason: "refresh the token: invalid_grant 700082 AADSTS700082: <b>The refresh token has expired</b> due to inactivity.",
		}},
		{Account: vault.Account{
			Name: "bulk", App: "contoso", Mailbox: contoso("bulk"), Method: vault.Application, Purposes: []vault.Purpose{vault.Send},
			State: vault.NeedsAdmin, By: vault.Server, Since: at, ProbeAt: at.Add(time.Hour), Reason: "ask for a token by app permission: invalid_client 7000222 AADSTS7000222: The provided client secret keys are expired.",
		}},
		{Account: vault.Account{
			Name: "fax", App: "contoso", Mailbox: contoso("fax"), Method: vault.AppPassword, Purposes: []vault.Purpose{vault.Send}, State: vault.New,
		}},
		{Account: vault.Account{
			Name: "new", App: "contoso", Mailbox: contoso("new"), Method: vault.Delegated, Purposes: []vault.Purpose{vault.Graph}, State: vault.New,
		}},
	}
}

// answer is a response read to its end.
type answer struct {
	*http.Response
	body string
	text string // what a person reads
}

func (s *site) do(req *http.Request) answer {
	s.t.Helper()
	resp, err := s.client.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return answer{Response: resp, body: string(b), text: readable(s.t, string(b))}
}

func (s *site) request(method, path string, form url.Values) *http.Request {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, strings.NewReader(form.Encode()))
	if err != nil {
		s.t.Fatal(err)
	}
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Origin", s.url)
	}
	return req
}

func (s *site) get(path string) answer { return s.do(s.request(http.MethodGet, path, nil)) }

func (s *site) post(path string) answer { return s.do(s.request(http.MethodPost, path, nil)) }

// readable returns the text of a page, and fails on markup that does not nest.
func readable(t *testing.T, page string) string {
	t.Helper()
	if !strings.HasPrefix(page, "<!doctype html>") {
		return page
	}
	void := map[string]bool{"meta": true, "link": true, "input": true, "br": true, "img": true}
	var open, words []string
	z := html.NewTokenizer(strings.NewReader(page))
	for {
		switch z.Next() {
		case html.ErrorToken:
			if len(open) > 0 {
				t.Errorf("never closed: %v", open)
			}
			return strings.Join(strings.Fields(strings.Join(words, " ")), " ")
		case html.TextToken:
			words = append(words, html.UnescapeString(string(z.Raw())))
		case html.StartTagToken:
			if tag, _ := z.TagName(); !void[string(tag)] {
				open = append(open, string(tag))
			}
		case html.EndTagToken:
			tag, _ := z.TagName()
			if len(open) == 0 || open[len(open)-1] != string(tag) {
				t.Errorf("</%s> closes %v", tag, open)
				return ""
			}
			open = open[:len(open)-1]
		}
	}
}
