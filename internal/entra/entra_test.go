package entra_test

import (
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"postern/internal/entra"
	"postern/internal/fault"
	"postern/internal/secret"
)

var smtpScope = []string{"https://outlook.office.com/SMTP.Send"}

func redemption() entra.Redemption {
	return entra.Redemption{Code: "the-code", Verifier: strings.Repeat("v", 43), Redirect: "https://postern.example/back/", Nonce: "n0nce", Scopes: smtpScope}
}

func TestRedeem(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	got, err := p.client().Redeem(t.Context(), p.registration(), redemption())
	if err != nil {
		t.Fatal(err)
	}
	if got.Access.Reveal() != "access-1" || got.Refresh.Reveal() != "refresh-2" || !got.Expires.Equal(p.now.Add(time.Hour)) || !cmp.Equal(got.Scopes, smtpScope) {
		t.Errorf("tokens %+v", got)
	}
	if want := (entra.Identity{Username: "scan@contoso.com", Email: "scanner@contoso.com", ObjectID: "oid-1", TenantID: tenantID}); got.Identity != want {
		t.Errorf("identity %+v", got.Identity)
	}
	want := url.Values{
		"grant_type": {"authorization_code"}, "client_id": {clientID}, "client_secret": {"s3cr~t&value"}, "code": {"the-code"},
		"code_verifier": {strings.Repeat("v", 43)}, "redirect_uri": {"https://postern.example/back/"},
		"scope": {"https://outlook.office.com/SMTP.Send openid profile email offline_access"},
	}
	if d := cmp.Diff(want, p.form); d != "" {
		t.Error(d)
	}
}

func TestIDTokenIsVerified(t *testing.T) {
	t.Parallel()
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	shared := func(p *provider) { p.issuer = p.URL + "/{tenantid}/v2.0" }
	for name, c := range map[string]struct {
		set  func(*provider)
		kind fault.Kind
		good bool
	}{
		"as it should be":           {set: func(*provider) {}, good: true},
		"shared endpoint":           {set: shared, good: true},
		"shared, another's tenant":  {set: func(p *provider) { shared(p); p.bend = map[string]any{"tid": "22222222-2222-4333-8444-555555555555"} }, kind: fault.Denied},
		"shared, tenant is no GUID": {set: func(p *provider) { shared(p); p.bend = map[string]any{"tid": "../x", "iss": p.URL + "/../x/v2.0"} }, kind: fault.Denied},
		"another issuer":            {set: func(p *provider) { p.bend = map[string]any{"iss": "https://evil.example"} }, kind: fault.Denied},
		"another audience":          {set: func(p *provider) { p.bend = map[string]any{"aud": "someone-else"} }, kind: fault.Denied},
		"expired":                   {set: func(p *provider) { p.bend = map[string]any{"exp": p.now.Add(-time.Second).Unix()} }, kind: fault.Denied},
		"another nonce":             {set: func(p *provider) { p.bend = map[string]any{"nonce": "other"} }, kind: fault.Denied},
		"no nonce":                  {set: func(p *provider) { p.bend = map[string]any{"nonce": ""} }, kind: fault.Denied},
		"another key":               {set: func(p *provider) { p.signer = other }, kind: fault.Denied},
		"keys cannot be had":        {set: func(p *provider) { p.keys = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) } }, kind: fault.Temporary},
		"there is no id token at all": {set: func(p *provider) {
			p.token = func(w http.ResponseWriter, _ *http.Request) {
				_, _ = io.WriteString(w, `{"token_type":"bearer","access_token":"a","expires_in":60}`)
			}
		}, kind: fault.Denied},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newProvider(t)
			c.set(p)
			got, err := p.client().Redeem(t.Context(), p.registration(), redemption())
			switch {
			case c.good && err != nil:
				t.Error(err)
			case !c.good && (fault.KindOf(err) != c.kind || !got.Access.Empty()):
				t.Errorf("%v (%v), want %v and no token", err, fault.KindOf(err), c.kind)
			case err != nil && strings.Contains(err.Error(), "eyJ"):
				t.Errorf("the error shows the token: %v", err)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	const described = `,"error_codes":[700082],"error_description":"AADSTS700082: gone, it was refresh-1.\r\nTrace ID: 7\r\nCorrelation ID: 8"}`
	for _, c := range []struct {
		status int
		body   string
		kind   fault.Kind
	}{
		{400, `{"error":"invalid_grant"` + described, fault.NeedsSignIn},
		{400, `{"error":"interaction_required"}`, fault.NeedsSignIn},
		{400, `{"error":"consent_required"}`, fault.NeedsSignIn},
		{400, `{"error":"login_required"}`, fault.NeedsSignIn},
		{401, `{"error":"invalid_client"}`, fault.NeedsAdmin},
		{400, `{"error":"unauthorized_client"}`, fault.NeedsAdmin},
		{400, `{"error":"invalid_scope"}`, fault.NeedsAdmin},
		{400, `{"error":"invalid_resource"}`, fault.NeedsAdmin},
		{400, `{"error":"invalid_request"}`, fault.NeedsAdmin},
		{400, `{"error":"unsupported_grant_type"}`, fault.NeedsAdmin},
		{400, `{"error":"temporarily_unavailable"}`, fault.Temporary},
		{400, `{"error":"server_error"}`, fault.Temporary},
		{400, `<html>`, fault.Temporary},
		{407, ``, fault.Temporary},
		{500, `{"error":"invalid_grant"}`, fault.Temporary},
		{503, ``, fault.Temporary},
		{429, `{"error":"invalid_grant"}`, fault.Throttled},
		{200, `<html>`, fault.Temporary},
		{200, `{"token_type":"Bearer","access_token":"","expires_in":60}`, fault.Temporary},
		{200, `{"token_type":"Bearer","access_token":"a","expires_in":0}`, fault.Temporary},
		{200, `{"token_type":"mac","access_token":"a","expires_in":60}`, fault.Temporary},
		{200, `{"token_type":"Bearer","access_token":"a"}`, fault.Temporary},
		{200, `{"access_token":"` + strings.Repeat("a", 2<<20), fault.Temporary},
	} {
		t.Run(fmt.Sprintf("%d %.40s", c.status, c.body), func(t *testing.T) {
			t.Parallel()
			p := newProvider(t)
			p.token = func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Retry-After", "17")
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body)
			}
			_, err := p.client().Refresh(t.Context(), p.registration(), secret.New("refresh-1"), smtpScope)
			if fault.KindOf(err) != c.kind {
				t.Fatalf("%v is %v, want %v", err, fault.KindOf(err), c.kind)
			}
			if e := fault.As(err); c.status != 200 && e.RetryAfter != 17*time.Second {
				t.Errorf("retry after %v", e.RetryAfter)
			}
			for _, s := range []string{"refresh-1", "s3cr~t"} {
				if strings.Contains(err.Error(), s) {
					t.Errorf("the error shows %q: %v", s, err)
				}
			}
			if strings.Contains(c.body, "AADSTS") {
				want := fault.Reply{Protocol: "oauth", Stage: "token", Code: "invalid_grant", Enhanced: "700082", Text: "AADSTS700082: gone, it was [redacted]. Trace ID: 7 Correlation ID: 8"}
				if d := cmp.Diff(want, *fault.ReplyOf(err)); d != "" {
					t.Error(d)
				}
			}
		})
	}
}

func TestNobodyThere(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	r := p.registration()
	p.Close()
	_, err := p.client().Refresh(t.Context(), r, secret.New("refresh-1"), nil)
	if fault.KindOf(err) != fault.Temporary || fault.HintOf(err) == "" {
		t.Errorf("%v", err)
	}
}

func TestRedirectsStayOnTheirHost(t *testing.T) {
	t.Parallel()
	var got bool
	thief := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { got = true }))
	t.Cleanup(thief.Close)
	p := newProvider(t)
	p.token = func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, thief.URL, http.StatusTemporaryRedirect)
	}
	_, err := p.client().Refresh(t.Context(), p.registration(), secret.New("refresh-1"), nil)
	if fault.KindOf(err) != fault.Temporary || got || !strings.Contains(err.Error(), "another host") {
		t.Errorf("%v; the thief was called: %v", err, got)
	}
}

func TestMetadata(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	c, r := p.client(), p.registration()
	for range 3 {
		if _, err := c.Refresh(t.Context(), r, secret.New("x"), nil); err != nil {
			t.Fatal(err)
		}
	}
	if p.reads != 1 {
		t.Errorf("read %d times", p.reads)
	}
	p.now = p.now.Add(time.Hour)
	r.Cloud.Authority += "/"
	if _, err := c.Refresh(t.Context(), r, secret.New("x"), nil); err != nil || p.reads != 2 {
		t.Errorf("read %d times after an hour, %v", p.reads, err)
	}
	r.Cloud.Authority, r.Tenant = p.URL+"/.well-known/openid-configuration", ""
	if _, err := c.Refresh(t.Context(), r, secret.New("x"), nil); err != nil || p.reads != 3 {
		t.Errorf("another provider: %v", err)
	}
	for _, endpoint := range []string{"authorization_endpoint", "token_endpoint", "jwks_uri"} {
		p.meta = map[string]string{endpoint: "http://plain.example/x"}
		if _, err := p.client().Refresh(t.Context(), p.registration(), secret.New("x"), nil); fault.KindOf(err) != fault.Temporary {
			t.Errorf("%s in the clear: %v", endpoint, err)
		}
	}
}

func TestAuthorizeURL(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	a := entra.AuthRequest{Redirect: "https://postern.example/back/", State: "st&te", Nonce: "n", Verifier: strings.Repeat("v", 43), Scopes: smtpScope}
	for hint, prompt := range map[string]string{"": "select_account", "scan@contoso.com": ""} {
		a.LoginHint = hint
		address, err := p.client().AuthorizeURL(t.Context(), p.registration(), a)
		if err != nil {
			t.Fatal(err)
		}
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		q := u.Query()
		if q.Get("prompt") != prompt || q.Get("login_hint") != hint || q.Get("state") != "st&te" || q.Get("code_challenge_method") != "S256" || strings.Contains(address, a.Verifier) || q.Has("client_secret") {
			t.Errorf("%s", address)
		}
	}
}

func TestClientCredentials(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	got, err := p.client().ClientCredentials(t.Context(), p.registration(), "https://outlook.office365.com")
	if err != nil || got.Access.Empty() || p.form.Get("scope") != "https://outlook.office365.com/.default" {
		t.Errorf("%v, form %v", err, p.form)
	}
	r := p.registration()
	for _, shared := range []string{"common", "Organizations", "consumers"} {
		r.Tenant = shared
		if _, err := p.client().ClientCredentials(t.Context(), r, "https://x.example"); fault.KindOf(err) != fault.Invalid {
			t.Errorf("%s: %v", shared, err)
		}
	}
}

func TestNothingIsSentForABadRegistration(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	for name, change := range map[string]func(*entra.Registration){
		"tenant":    func(r *entra.Registration) { r.Tenant = "evil.example/.." },
		"client id": func(r *entra.Registration) { r.ClientID = "" },
		"secret id": func(r *entra.Registration) { r.Secret = secret.New(clientID) },
		"http":      func(r *entra.Registration) { r.Cloud.Authority = "http://" + p.Listener.Addr().String() },
		"userinfo":  func(r *entra.Registration) { r.Cloud.Authority = "https://x@" + p.Listener.Addr().String() },
	} {
		r := p.registration()
		change(&r)
		if _, err := p.client().Refresh(t.Context(), r, secret.New("x"), nil); !errors.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if p.reads != 0 {
		t.Error("something was asked of the provider")
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	if err := entra.Refused(url.Values{"code": {"x"}}); err != nil {
		t.Errorf("no error became %v", err)
	}
	for value, kind := range map[string]fault.Kind{
		"access_denied": fault.Denied, "consent_required": fault.Denied, "invalid_client": fault.NeedsAdmin,
		"server_error": fault.Temporary, "": fault.Temporary, "\r\n<script>": fault.Temporary,
	} {
		err := entra.Refused(url.Values{"error": {value}, "error_description": {"AADSTS65004: no\r\nTrace"}})
		if fault.KindOf(err) != kind || strings.ContainsAny(err.Error(), "\r\n<") || fault.HintOf(err) == "" {
			t.Errorf("%q: %v (%v)", value, err, fault.KindOf(err))
		}
	}
}

func TestScopes(t *testing.T) {
	t.Parallel()
	cloud, err := entra.CloudByName("global")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"https://outlook.office.com/SMTP.Send", "https://outlook.office.com/IMAP.AccessAsUser.All",
		"https://outlook.office.com/POP.AccessAsUser.All", "https://graph.microsoft.com/Mail.Send",
	}
	if d := cmp.Diff(want, entra.Scopes(cloud, []string{"send", "imap", "send", "pop3", "graph", "fax"})); d != "" {
		t.Error(d)
	}
	if entra.Resource(cloud, "graph") != cloud.Graph || entra.Resource(cloud, "imap") != cloud.Outlook {
		t.Error("resources are mixed up")
	}
}

func TestValidateSecret(t *testing.T) {
	t.Parallel()
	err := entra.ValidateSecret(secret.New(" " + clientID + "\n"))
	if fault.KindOf(err) != fault.Invalid || !strings.Contains(err.Error(), "this is the Secret ID; paste the Value") || strings.Contains(err.Error(), clientID) {
		t.Errorf("%v", err)
	}
	for _, s := range []string{"", "xyz8Q~a/b+c=d&e", clientID + "x"} {
		if err := entra.ValidateSecret(secret.New(s)); err != nil {
			t.Errorf("%v", err)
		}
	}
}

var badTenants = []string{
	"", " ", "evil.example/..", "evil.example/x", "a@b", "a@b.example", "x?y", "x.example?y", "%2e", "a%2e.example", "a:b", "contoso.com:443",
	"con toso.com", "contoso.com ", "contoso.com\n", "..", ".", "contoso", "contoso.com.", "-a.example", "a-.example", "127.0.0.1",
	"a..example", "a#b.example", `a\b.example`, "contoso.com\x00", "ünicode.example", strings.Repeat("a.", 130) + "example",
	tenantID + "0", "{" + tenantID + "}",
}

func TestValidateTenant(t *testing.T) {
	t.Parallel()
	for _, s := range []string{tenantID, strings.ToUpper("abcdef00-2222-4333-8444-555555555555"), "contoso.com", "Contoso.onmicrosoft.com", "xn--bcher-kva.example", "organizations", "common", "consumers"} {
		if err := entra.ValidateTenant(s); err != nil {
			t.Errorf("%v", err)
		}
	}
	for _, s := range badTenants {
		if err := entra.ValidateTenant(s); fault.KindOf(err) != fault.Invalid {
			t.Errorf("%q passed", s)
		}
	}
}

// FuzzValidateTenant holds the check to what it is for: whatever passes is one
// segment of a path and changes nothing else of the URL.
func FuzzValidateTenant(f *testing.F) {
	for _, s := range append(badTenants, tenantID, "contoso.com", "common") {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, tenant string) {
		if entra.ValidateTenant(tenant) != nil {
			return
		}
		u, err := url.Parse("https://login.example/" + tenant + "/v2.0")
		if err != nil || u.Host != "login.example" || u.EscapedPath() != "/"+tenant+"/v2.0" || u.RawQuery != "" || u.Fragment != "" || strings.Count(u.Path, "/") != 2 || strings.Contains(tenant, "..") {
			t.Errorf("%q gives %v, %v", tenant, u, err)
		}
	})
}
