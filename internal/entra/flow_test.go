package entra_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"postern/internal/entra"
	"postern/internal/fault"
	"postern/internal/outbound"
	"postern/internal/secret"
)

// clock is the machine's, for tests whose id tokens are made by it too.
func clock() time.Time { return time.Now() }

func TestAuthorizeURL(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	c := entra.New(clock, outbound.Network{})
	a := entra.AuthRequest{
		Redirect: "http://localhost:9090/register_microsoft_graph_api/", State: "the state", Nonce: "the-nonce", Verifier: verifier,
		Scopes: []string{"https://outlook.office.com/SMTP.Send", "https://graph.microsoft.com/Mail.Send"}, LoginHint: "scan@contoso.com",
	}
	q := authorize(t, c, p, a)
	sum := sha256.Sum256([]byte(verifier))
	for key, want := range map[string]string{
		"client_id": clientID, "response_type": "code", "response_mode": "query", "state": a.State, "nonce": a.Nonce,
		"redirect_uri": a.Redirect, "login_hint": a.LoginHint, "prompt": "",
		"code_challenge_method": "S256", "code_challenge": base64.RawURLEncoding.EncodeToString(sum[:]),
		"scope": "https://outlook.office.com/SMTP.Send https://graph.microsoft.com/Mail.Send openid profile email offline_access",
	} {
		if got := q.Get(key); got != want {
			t.Errorf("%s = %q, want %q", key, got, want)
		}
	}
	if q.Has("client_secret") || q.Has("code_verifier") {
		t.Error("the address holds a secret")
	}
	a.LoginHint = ""
	if got := authorize(t, c, p, a).Get("prompt"); got != "select_account" {
		t.Errorf("without a login hint prompt = %q", got)
	}
}

func authorize(t *testing.T, c *entra.Client, p *provider, a entra.AuthRequest) url.Values {
	t.Helper()
	address, err := c.AuthorizeURL(t.Context(), p.registration(), a)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(address)
	if err != nil || !strings.HasPrefix(address, p.srv.URL+"/authorize?") {
		t.Fatalf("address %q: %v", address, err)
	}
	return u.Query()
}

func TestRedeem(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	p.gives(http.StatusOK, token(map[string]any{"id_token": p.idToken(nil)}))
	now := time.Now()
	got, err := entra.New(func() time.Time { return now }, outbound.Network{}).Redeem(t.Context(), p.registration(), redemption())
	if err != nil {
		t.Fatal(err)
	}
	if got.Access.Reveal() != "new-access-token" || got.Refresh.Reveal() != "new-refresh-token" {
		t.Error("the tokens are not those of the answer")
	}
	if !got.Expires.Equal(now.Add(time.Hour)) {
		t.Errorf("an hour's token has %s left", got.Expires.Sub(now))
	}
	if got.Identity.Username != "scan@contoso.com" || got.Identity.ObjectID != "the-object-id" || got.Identity.TenantID != tenantID {
		t.Errorf("identity %+v", got.Identity)
	}
	f := p.lastForm()
	for key, want := range map[string]string{
		"grant_type": "authorization_code", "code": codeValue, "code_verifier": verifier, "client_id": clientID, "client_secret": clientSecret,
		"redirect_uri": redemption().Redirect, "scope": "https://outlook.office.com/SMTP.Send openid profile email offline_access",
	} {
		if f.Get(key) != want {
			t.Errorf("%s = %q, want %q", key, f.Get(key), want)
		}
	}
}

func TestAnIDTokenThatProvesNothing(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	stranger, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	claims := map[string]any{
		"iss": p.srv.URL + "/" + tenantID + "/v2.0", "aud": clientID, "nonce": "the-nonce", "exp": time.Now().Add(time.Hour).Unix(),
	}
	for name, raw := range map[string]string{
		"missing":        "",
		"no JWT":         "garbage",
		"expired":        p.idToken(map[string]any{"exp": time.Now().Add(-time.Hour).Unix()}),
		"other audience": p.idToken(map[string]any{"aud": "another-client"}),
		"other issuer":   p.idToken(map[string]any{"iss": "https://evil.example/v2.0"}),
		"other nonce":    p.idToken(map[string]any{"nonce": "another"}),
		"no nonce":       p.idToken(map[string]any{"nonce": nil}),
		"another's key":  p.sign(stranger, claims),
		"tampered":       p.idToken(nil) + "x",
		"unsigned (RFC7519)": base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." +
			base64.RawURLEncoding.EncodeToString([]byte(`{"iss":"x"}`)) + ".",
	} {
		p.gives(http.StatusOK, token(map[string]any{"id_token": raw}))
		_, err := entra.New(clock, outbound.Network{}).Redeem(t.Context(), p.registration(), redemption())
		if !errors.Is(err, fault.Denied) {
			t.Errorf("%s: %v, want it denied", name, err)
		}
		if raw != "" && raw != "garbage" && err != nil && strings.Contains(err.Error(), raw) {
			t.Errorf("%s: the error holds the token", name)
		}
	}
}

// Entra's shared endpoints publish an issuer with a placeholder.
func TestTheIssuerOfASharedEndpoint(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		claims map[string]any
		good   bool
	}{
		"own tenant":          {nil, true},
		"another's":           {map[string]any{"tid": "00000000-0000-0000-0000-000000000000"}, false},
		"tenant claim absent": {map[string]any{"tid": nil}, false},
		"tenant is no GUID":   {map[string]any{"tid": tenantID + "/v2.0/.."}, false},
	} {
		p := newProvider(t)
		p.set(func(p *provider) { p.issuer = p.srv.URL + "/{tenantid}/v2.0" })
		p.gives(http.StatusOK, token(map[string]any{"id_token": p.idToken(c.claims)}))
		r := p.registration()
		r.Tenant = "organizations"
		_, err := entra.New(clock, outbound.Network{}).Redeem(t.Context(), r, redemption())
		if (err == nil) != c.good {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestKeysThatCannotBeHadAreAnOutage(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	p.gives(http.StatusOK, token(map[string]any{"id_token": p.idToken(nil)}))
	p.set(func(p *provider) {
		p.keys = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }
	})
	_, err := entra.New(clock, outbound.Network{}).Redeem(t.Context(), p.registration(), redemption())
	if !errors.Is(err, fault.Temporary) {
		t.Errorf("%v, want it temporary", err)
	}
}

func TestRefresh(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	c := entra.New(clock, outbound.Network{})
	p.gives(http.StatusOK, token(nil))
	got, err := c.Refresh(t.Context(), p.registration(), secret.New(refreshToken), []string{"https://outlook.office.com/SMTP.Send"})
	if err != nil || got.Refresh.Reveal() != "new-refresh-token" {
		t.Fatalf("%v", err)
	}
	f := p.lastForm()
	if f.Get("grant_type") != "refresh_token" || f.Get("refresh_token") != refreshToken || strings.Contains(f.Get("scope"), "graph") {
		t.Errorf("request %v", f)
	}
	p.gives(http.StatusOK, token(map[string]any{"refresh_token": nil}))
	got, err = c.Refresh(t.Context(), p.registration(), secret.New(refreshToken), nil)
	if err != nil || !got.Refresh.Empty() {
		t.Errorf("a provider that does not rotate: %v", err)
	}
}

func TestAPublicClientSendsNoSecret(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	p.gives(http.StatusOK, token(nil))
	r := p.registration()
	r.Secret = secret.Text{}
	if _, err := entra.New(clock, outbound.Network{}).Refresh(t.Context(), r, secret.New(refreshToken), nil); err != nil {
		t.Fatal(err)
	}
	if p.lastForm().Has("client_secret") {
		t.Error("an empty client_secret was sent; Entra answers AADSTS700025")
	}
}

func TestClientCredentials(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	p.gives(http.StatusOK, token(map[string]any{"refresh_token": nil}))
	r := p.registration()
	c := entra.New(clock, outbound.Network{})
	if _, err := c.ClientCredentials(t.Context(), r, r.Cloud.AppOnly); err != nil {
		t.Fatal(err)
	}
	if f := p.lastForm(); f.Get("grant_type") != "client_credentials" || f.Get("scope") != "https://outlook.office365.com/.default" {
		t.Errorf("request %v", f)
	}
	for _, shared := range []string{"common", "organizations", "consumers", "Common"} {
		r.Tenant = shared
		if _, err := c.ClientCredentials(t.Context(), r, r.Cloud.AppOnly); !errors.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", shared, err)
		}
	}
	if n := p.count("/token"); n != 1 {
		t.Errorf("%d token requests, want 1", n)
	}
}

func TestMetadataIsReadOnceAnHour(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	p.gives(http.StatusOK, token(nil))
	now := time.Now()
	c := entra.New(func() time.Time { return now }, outbound.Network{})
	const path = "/" + tenantID + "/v2.0/.well-known/openid-configuration"
	ask := func(want int) {
		t.Helper()
		if _, err := c.Refresh(t.Context(), p.registration(), secret.New(refreshToken), nil); err != nil {
			t.Fatal(err)
		}
		if n := p.count(path); n != want {
			t.Errorf("metadata read %d times, want %d", n, want)
		}
	}
	ask(1)
	ask(1)
	now = now.Add(61 * time.Minute)
	ask(2)
}

// Any OpenID provider can stand in, given by the whole address of its metadata.
func TestAnAuthorityThatIsAMetadataAddress(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	p.gives(http.StatusOK, token(nil))
	r := p.registration()
	r.Cloud.Authority, r.Tenant = p.srv.URL+"/realms/x/.well-known/openid-configuration", ""
	if _, err := entra.New(clock, outbound.Network{}).Refresh(t.Context(), r, secret.New(refreshToken), nil); err != nil {
		t.Fatal(err)
	}
	if p.count("/realms/x/.well-known/openid-configuration") != 1 {
		t.Errorf("asked for %v", p.asked)
	}
}
