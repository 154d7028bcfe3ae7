package entra_test

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"postern/internal/entra"
	"postern/internal/secret"
)

const (
	clientID     = "11111111-2222-3333-4444-555555555555"
	tenantID     = "99999999-8888-7777-6666-555555555555"
	clientSecret = "abc8Q~client-secret-value"
	refreshToken = "0.Aa-old-refresh-token"
	codeValue    = "1.Ab-authorization-code"
	verifier     = "a-code-verifier-that-is-long-enough-for-rfc-7636"
)

// provider is an OpenID provider that answers token requests as the test says.
type provider struct {
	t   *testing.T
	srv *httptest.Server
	key *rsa.PrivateKey

	mu       sync.Mutex
	issuer   string
	answer   http.HandlerFunc // of the token endpoint
	keys     http.HandlerFunc // nil publishes the key
	metadata http.HandlerFunc // nil publishes the metadata
	device   string           // published device_authorization_endpoint
	forms    []url.Values     // token requests, as they came
	asked    []string         // paths, in order
}

func newProvider(t *testing.T) *provider {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p := &provider{t: t, key: key}
	p.srv = httptest.NewTLSServer(p)
	t.Cleanup(p.srv.Close)
	p.issuer = p.srv.URL + "/" + tenantID + "/v2.0"
	return p
}

func (p *provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.asked = append(p.asked, r.URL.Path)
	issuer, answer, keys, metadata, device := p.issuer, p.answer, p.keys, p.metadata, p.device
	p.mu.Unlock()
	switch r.URL.Path {
	case "/token", "/devicecode", "/" + tenantID + "/oauth2/v2.0/devicecode":
		if err := r.ParseForm(); err != nil {
			p.t.Errorf("token request: %v", err)
		}
		p.mu.Lock()
		p.forms = append(p.forms, r.PostForm)
		p.mu.Unlock()
		answer(w, r)
	case "/keys":
		if keys != nil {
			keys(w, r)
			return
		}
		p.json(w, http.StatusOK, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: p.key.Public(), KeyID: "one", Use: "sig", Algorithm: "RS256"}}})
	default:
		if metadata != nil {
			metadata(w, r)
			return
		}
		p.json(w, http.StatusOK, map[string]any{
			"issuer": issuer, "authorization_endpoint": p.srv.URL + "/authorize",
			"token_endpoint": p.srv.URL + "/token", "jwks_uri": p.srv.URL + "/keys",
			"device_authorization_endpoint": device,
		})
	}
}

func (p *provider) json(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(v); err != nil {
		p.t.Errorf("answer: %v", err)
	}
}

// set changes what the provider does from now on.
func (p *provider) set(change func(*provider)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(p)
}

// gives makes the token endpoint answer with a status and a JSON body.
func (p *provider) gives(status int, body any) {
	p.set(func(p *provider) {
		p.answer = func(w http.ResponseWriter, _ *http.Request) { p.json(w, status, body) }
	})
}

// writes makes the token endpoint answer with these octets.
func (p *provider) writes(status int, body string) {
	p.set(func(p *provider) {
		p.answer = func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = fmt.Fprint(w, body)
		}
	})
}

func (p *provider) lastForm() url.Values {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.forms) == 0 {
		p.t.Fatal("there was no token request")
	}
	return p.forms[len(p.forms)-1]
}

func (p *provider) count(path string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, a := range p.asked {
		if a == path {
			n++
		}
	}
	return n
}

// idToken signs claims over the usual ones; a nil value takes a claim out.
func (p *provider) idToken(change map[string]any) string {
	p.t.Helper()
	now := time.Now()
	claims := map[string]any{
		"iss": p.srv.URL + "/" + tenantID + "/v2.0", "aud": clientID, "nonce": "the-nonce", "sub": "subject",
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Hour).Unix(),
		"preferred_username": "scan@contoso.com", "oid": "the-object-id", "tid": tenantID,
	}
	for k, v := range change {
		if claims[k] = v; v == nil {
			delete(claims, k)
		}
	}
	return p.sign(p.key, claims)
}

func (p *provider) sign(key *rsa.PrivateKey, claims map[string]any) string {
	p.t.Helper()
	body, err := json.Marshal(claims)
	if err != nil {
		p.t.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: key, KeyID: "one"}}, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	signed, err := signer.Sign(body)
	if err != nil {
		p.t.Fatal(err)
	}
	raw, err := signed.CompactSerialize()
	if err != nil {
		p.t.Fatal(err)
	}
	return raw
}

// token is a good answer of the token endpoint.
func token(more map[string]any) map[string]any {
	body := map[string]any{
		"token_type": "Bearer", "expires_in": 3600, "access_token": "new-access-token",
		"refresh_token": "new-refresh-token", "scope": "https://outlook.office.com/SMTP.Send",
	}
	for k, v := range more {
		body[k] = v
	}
	return body
}

// registration is an app registration with this provider.
func (p *provider) registration() entra.Registration {
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.srv.Certificate().Raw})
	return entra.Registration{
		Cloud: entra.Cloud{
			Name: entra.Custom, Authority: p.srv.URL, Outlook: "https://outlook.office.com",
			AppOnly: "https://outlook.office365.com", Graph: "https://graph.microsoft.com", CA: string(ca),
		},
		Tenant: tenantID, ClientID: clientID, Secret: secret.New(clientSecret),
	}
}

func redemption() entra.Redemption {
	return entra.Redemption{
		Code: codeValue, Verifier: verifier, Redirect: "http://localhost:9090/register_microsoft_graph_api/",
		Nonce: "the-nonce", Scopes: []string{"https://outlook.office.com/SMTP.Send"},
	}
}
