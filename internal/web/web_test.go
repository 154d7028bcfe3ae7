package web_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"postern/internal/fault"
	"postern/internal/vault"
	"postern/internal/web"
)

func TestWhoMaySeeWhat(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for _, c := range []struct {
		method, path string
		want         int
	}{
		{"GET", "/", 401}, {"GET", "/accounts", 401}, {"GET", "/postern.js", 200}, {"POST", "/accounts/scan/signin", 401}, {"GET", "/login", 200}, {"GET", "/me", 401}, {"GET", "/users", 401}, {"GET", "/audit", 401},
		{"GET", "/healthz", 200}, {"GET", "/readyz", 200}, {"GET", "/signin/abc", 200}, {"GET", "/postern.css", 200},
		{"GET", web.CallbackPath, 400}, {"GET", "/nowhere", 404}, {"GET", "/accounts/scan/signin", 401},
	} {
		a := s.do(s.request(c.method, c.path, nil))
		if a.StatusCode != c.want {
			t.Errorf("%s %s without a login: %d, want %d", c.method, c.path, a.StatusCode, c.want)
		}
		if c.want == 401 && (!strings.Contains(a.body, "log in at /login") || strings.Contains(a.body, "contoso")) {
			t.Errorf("%s: body %q", c.path, a.body)
		}
	}
	s.ready = errors.New("database is gone at /secret/path")
	if a := s.get("/readyz"); a.StatusCode != 503 || strings.Contains(a.body, "secret") {
		t.Errorf("not ready: %d %q", a.StatusCode, a.body)
	}
	if a := s.get("/healthz"); a.StatusCode != 200 {
		t.Errorf("alive but not ready: %d", a.StatusCode)
	}
}

func TestHeaders(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for _, path := range []string{"/", "/signin/abc", "/nowhere", "/healthz", web.CallbackPath} {
		h := s.get(path).Header
		policy := h.Get("Content-Security-Policy")
		if !strings.Contains(policy, "default-src 'none'") || !strings.Contains(policy, "frame-ancestors 'none'") || strings.Contains(policy, "unsafe") {
			t.Errorf("%s: policy %q", path, policy)
		}
		if h.Get("Referrer-Policy") != "same-origin" || h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: headers %v", path, h)
		}
	}
}

func TestAnotherAddressThanThePublicOne(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for _, c := range []struct {
		public, host string
		warned       bool
	}{
		{"https://gate.example", "gate.example", false}, {"https://gate.example", "GATE.example:443", false},
		{"http://localhost:9090", "localhost:9090", false}, {"http://gate.example", "gate.example:80", false},
		{"https://gate.example", "192.0.2.7:9090", true}, {"http://localhost:9090", "127.0.0.1:9090", true},
		{"http://localhost:9090", "localhost:9091", true}, {"http://[::1]:9090", "[::1]:9090", false},
	} {
		s.vault.public = c.public
		h := s.handler(c.public)
		ask := func(method, path string) *httptest.ResponseRecorder {
			r := httptest.NewRequestWithContext(t.Context(), method, "http://"+c.host+path, nil)
			return record(h, s.as("admin", r))
		}
		if got := strings.Contains(ask("GET", "/accounts/scan").Body.String(), "You opened this page as"); got != c.warned {
			t.Errorf("public %s, opened as %s: warned %v", c.public, c.host, got)
		}
		want := provider
		if c.warned { // the browser gets its cookie where Microsoft will send it
			want = c.public + "/signin/link-for-scan"
		}
		if got := ask("POST", "/accounts/scan/signin").Header().Get("Location"); got != want {
			t.Errorf("public %s, begun at %s: sent to %q, want %q", c.public, c.host, got, want)
		}
	}
}

func TestAnotherSitesFormIsRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for _, path := range []string{"/accounts/scan/signin", "/signin/abc"} {
		req := s.request("POST", path, nil)
		req.Header.Set("Origin", "https://evil.example")
		req.Header.Set("Sec-Fetch-Site", "cross-site")
		if a := s.admin(req); a.StatusCode != http.StatusForbidden {
			t.Errorf("%s: %d", path, a.StatusCode)
		}
	}
	if len(s.vault.browsers)+len(s.vault.taken) > 0 {
		t.Error("a sign-in began")
	}
}

func TestOneTimeLink(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for range 3 { // as previews do
		if a := s.get("/signin/abc"); a.StatusCode != 200 || !strings.Contains(a.text, "Continue to Microsoft") {
			t.Fatalf("%d %q", a.StatusCode, a.text)
		}
	}
	if len(s.vault.taken) > 0 {
		t.Fatal("looking at the link used it up")
	}
	a := s.post("/signin/abc")
	if a.StatusCode != http.StatusSeeOther || a.Header.Get("Location") != provider {
		t.Fatalf("%d to %q", a.StatusCode, a.Header.Get("Location"))
	}
	c := a.Cookies()
	if len(c) != 1 || !c[0].HttpOnly || c[0].SameSite != http.SameSiteLaxMode || c[0].Secure || c[0].Value != s.vault.browsers[0] {
		t.Errorf("cookies %v", c)
	}
	if a := s.post("/signin/abc"); a.StatusCode != http.StatusNotFound || !strings.Contains(a.text, "used already") {
		t.Errorf("again: %d %q", a.StatusCode, a.text)
	}
	if s.post("/signin/def"); len(s.vault.browsers) != 2 || s.vault.browsers[1] != s.vault.browsers[0] {
		t.Errorf("one browser became %v", s.vault.browsers)
	}
}

// A link that failed because Microsoft was out of reach is replaced.
func TestALinkIsNotLostToAnOutage(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.vault.begin = fault.New(fault.Temporary, "read the provider's metadata", "connection refused")
	a := s.post("/signin/abc")
	if a.says(t, "could not be reached", "The log says why.", "!connection refused"); a.StatusCode != http.StatusServiceUnavailable || !strings.Contains(a.body, `href="`+s.url+`/signin/link-for-scan"`) {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
}

func TestFinishedPageSurvivesReload(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.post("/signin/abc")
	browser := s.vault.browsers[0]
	s.vault.finish = func(q url.Values, got string) (vault.Result, error) {
		if q.Get("code") != "the-code" || got != browser {
			t.Errorf("finished with %v by %q", q, got)
		}
		return vault.Result{Account: s.vault.accounts[0].Account}, nil
	}
	a := s.get(web.CallbackPath + "?code=the-code&state=the-state&session_state=x")
	done := a.Header.Get("Location")
	if a.StatusCode != http.StatusSeeOther || strings.Contains(done, "the-") {
		t.Fatalf("%d to %q", a.StatusCode, done)
	}
	for range 2 {
		a = s.get(done)
		for _, want := range []string{"Signed in", "scan@contoso.com", "send, imap", "1 February 2027", "postern check scan"} {
			if a.StatusCode != 200 || !strings.Contains(a.text, want) {
				t.Errorf("%d; the page does not say %q: %s", a.StatusCode, want, a.text)
			}
		}
	}
	if s.vault.finished != 1 {
		t.Errorf("finished %d times", s.vault.finished)
	}
	s.client = newBrowser(t)
	s.post("/signin/other")
	for _, path := range []string{done, web.CallbackPath + "?done=scan", web.CallbackPath + "?done=scan&proof=00"} {
		if a := s.get(path); strings.Contains(a.text, "contoso") {
			t.Errorf("another browser sees at %s: %s", path, a.text)
		}
	}
}

// Some providers post. The browser brings no Lax cookie then, so it is sent on.
func TestPostedCallback(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	req := s.request("POST", web.CallbackPath, url.Values{"code": {"c 1"}, "state": {"s&1"}, "session_state": {"x"}})
	req.Header.Set("Origin", "https://login.example")
	req.Header.Set("Sec-Fetch-Site", "cross-site")
	a := s.do(req)
	if a.StatusCode != http.StatusSeeOther || a.Header.Get("Location") != web.CallbackPath+"?code=c+1&state=s%261" {
		t.Errorf("%d to %q", a.StatusCode, a.Header.Get("Location"))
	}
	if s.vault.finished > 0 {
		t.Error("finished without the cookie")
	}
}

func TestEachFailureHasItsPage(t *testing.T) {
	t.Parallel()
	words := func(k fault.Kind) error {
		return (&fault.Error{Kind: k, Op: "sign in", Reply: &fault.Reply{Protocol: "oauth", Code: "access_denied", Enhanced: "65004", Text: "AADSTS65004: <i>User declined</i>"}}).WithHint("ask an administrator")
	}
	said := func(k fault.Kind, text string) error {
		return fault.New(k, "finish the sign-in", "%s", text).WithHint("begin again")
	}
	numbered := func(k fault.Kind, number string) error {
		return &fault.Error{Kind: k, Op: "redeem", Reply: &fault.Reply{Protocol: "oauth", Stage: "token", Code: "invalid_grant", Enhanced: number, Text: "AADSTS" + number + ": words"}}
	}
	seen := map[string]string{}
	for name, c := range map[string]struct {
		err    error
		status int
		says   []string
	}{
		"declined": {words(fault.Denied), 403, []string{"Permission was not given", "access_denied AADSTS65004: <i>User declined</i>", "Ask an administrator."}},
		"wrong mailbox": {
			fault.New(fault.Denied, "finish the sign-in", `%w: eve@contoso.com, but account "scan" is the mailbox scan@contoso.com`, vault.ErrWrongMailbox).WithHint("sign in as scan@contoso.com, in a private window"), 403,
			[]string{"Another account signed in", "eve@contoso.com", "scan@contoso.com", "private window", "shared: true"},
		},
		"other browser": {fault.New(fault.Denied, "finish the sign-in", "%w", vault.ErrOtherBrowser).WithHint("begin again"), 403, []string{"Another browser began this sign-in", "with another account behind your back"}},
		"too late":      {fault.New(fault.NotFound, "finish the sign-in", "%w", vault.ErrExpiredState).WithHint("begin again"), 404, []string{"This sign-in took too long", "longer than 10 minutes"}},
		"wrong account": {said(fault.Denied, `eve@contoso.com signed in, but account "scan" is the mailbox scan@contoso.com`), 403, []string{"eve@contoso.com signed in", "Begin again."}},
		"expired":       {said(fault.NotFound, "this sign-in took longer than 10 minutes"), 404, []string{"took longer than 10 minutes"}},
		"replayed":      {fault.New(fault.NotFound, "finish the sign-in", "%w", vault.ErrUnknownState).WithHint("begin again"), 404, []string{"finished already"}},
		"bad secret":    {words(fault.NeedsAdmin), 403, []string{"administrator must change"}},
		"old code":      {words(fault.NeedsSignIn), 403, []string{"did not accept"}},
		"outage":        {words(fault.Temporary), 503, []string{"could not be reached"}},
		"redeemed":      {numbered(fault.NeedsSignIn, "54005"), 403, []string{"This sign-in was finished already"}},
		"late code":     {numbered(fault.NeedsSignIn, "70008"), 403, []string{"This sign-in took too long"}},
		"approval":      {numbered(fault.Denied, "90094"), 403, []string{"An administrator must agree first", "postern consent NAME"}},
		"personal":      {numbered(fault.NeedsSignIn, "500208"), 403, []string{"This kind of account cannot sign in here", "private window"}},
		"provider ill":  {(&fault.Error{Kind: fault.Temporary, Op: "sign in", Reply: &fault.Reply{Protocol: "oauth", Code: "server_error"}}).WithHint("begin again in a minute"), 503, []string{"Microsoft has trouble of its own", "Begin again in a minute."}},
		"endpoint ill":  {&fault.Error{Kind: fault.Temporary, Op: "redeem", Reply: &fault.Reply{Protocol: "oauth", Code: "503", Text: "Service Unavailable"}}, 503, []string{"Microsoft has trouble of its own", "503 Service Unavailable"}},
		"clock":         {fault.New(fault.Denied, "verify who signed in", "the id token is not valid yet").WithHint("this machine's clock is 7 minutes behind Microsoft's; set it by NTP"), 403, []string{"This machine's clock is 7 minutes behind Microsoft's"}},
		"no code":       {said(fault.Invalid, "the address holds no code"), 400, []string{"The address holds no code."}},
		"broken":        {errors.New("disk full at /var/lib"), 500, []string{"did not succeed"}},
	} {
		s := newSite(t)
		s.vault.finish = func(url.Values, string) (vault.Result, error) { return vault.Result{}, c.err }
		a := s.get(web.CallbackPath + "?state=s1&code=c1")
		if a.StatusCode != c.status || a.Header.Get("Location") != "" {
			t.Errorf("%s: %d", name, a.StatusCode)
		}
		for _, want := range c.says {
			if !strings.Contains(a.text, want) {
				t.Errorf("%s: the page does not say %q: %s", name, want, a.text)
			}
		}
		if strings.Contains(a.body, "<i>") || strings.Contains(a.body, "/var/lib") {
			t.Errorf("%s: %s", name, a.body)
		}
		if before, ok := seen[a.text]; ok {
			t.Errorf("%s looks like %s", name, before)
		}
		seen[a.text] = name
	}
}

// An address with half of it lost, by a mail program say, says so; an error is told
// with and without a state.
func TestMissingState(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	a := s.get(web.CallbackPath + "?code=c1")
	if a.says(t, "Half of this address is missing"); a.StatusCode != http.StatusBadRequest || s.vault.finished > 0 {
		t.Errorf("%d, finished %d times", a.StatusCode, s.vault.finished)
	}
	if s.get(web.CallbackPath + "?error=access_denied"); s.vault.finished != 1 {
		t.Error("the error was not read")
	}
}

func TestNoCodeOrTokenIsLogged(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.vault.finish = func(url.Values, string) (vault.Result, error) {
		return vault.Result{}, fault.New(fault.NotFound, "finish", "not known")
	}
	s.post("/signin/link-token-value")
	s.post("/signin/link-token-value")
	s.get(web.CallbackPath + "?state=state-value&code=code-value")
	s.do(s.page("POST", "/login", "name", "admin", "password", "wrong-password-value"))
	s.do(s.page("POST", "/login/code", "code", "wrong-code-value"))
	s.get("/welcome/someone.invitation-value")
	for _, unwanted := range []string{"-value", s.vault.browsers[0]} {
		if strings.Contains(s.log.String(), unwanted) {
			t.Errorf("the log holds %q:\n%s", unwanted, s.log)
		}
	}
	if !strings.Contains(s.log.String(), "not known") {
		t.Errorf("the log says nothing of a failed sign-in:\n%s", s.log)
	}
}
