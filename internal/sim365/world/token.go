package world

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// What CheckToken can find wrong.
var (
	ErrUnknownToken = errors.New("token was never issued here")
	ErrExpiredToken = errors.New("token has expired")
)

// The resources that tokens are for.
const (
	ExchangeResource    = "https://outlook.office.com"
	Exchange365Resource = "https://outlook.office365.com" // app-only tokens are asked for under this name
	GraphResource       = "https://graph.microsoft.com"
)

// AliasResource makes another name (the simulator's own Graph address) stand for
// a canonical resource in scopes. Tokens carry the name that was asked for as
// their aud, and the canonical one as Token.Resource.
func (w *World) AliasResource(alias, canonical string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.resources[strings.ToLower(strings.TrimRight(alias, "/"))] = canonical
}

// Resource returns the canonical name of a resource; ok is false for one that
// no tenant here has a service principal for.
func (w *World) Resource(name string) (canonical string, ok bool) {
	name = strings.ToLower(strings.TrimRight(name, "/"))
	switch name {
	case ExchangeResource, Exchange365Resource, GraphResource:
		return name, true
	case "00000002-0000-0ff1-ce00-000000000000":
		return Exchange365Resource, true
	case "00000003-0000-0000-c000-000000000000":
		return GraphResource, true
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	canonical, ok = w.resources[name]
	return canonical, ok
}

// IssueAccess makes and remembers an access token. The caller says whom and what
// it is for; Raw, Issued and (unless given) Expires are filled in. Resource may be
// an alias. Personal accounts get an opaque token, as with Microsoft.
func (w *World) IssueAccess(t Token) Token {
	audience := t.Resource
	if canonical, ok := w.Resource(t.Resource); ok {
		t.Resource = canonical
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	t.Issued = w.Now()
	if t.Expires.IsZero() {
		t.Expires = t.Issued.Add(w.TokenLife)
	}
	if t.TenantID == ConsumersTenant {
		t.Raw = "EwB" + Random(900)
	} else {
		t.Raw = w.sign(w.accessClaims(t, audience))
	}
	w.byRaw[t.Raw] = len(w.tokens)
	w.tokens = append(w.tokens, t)
	w.remember(t.Raw)
	w.counters["token"]++
	return t
}

// CheckToken is how a mail server judges what a client presents: only tokens
// issued here, byte for byte, and only while they live.
func (w *World) CheckToken(raw string) (Token, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	i, ok := w.byRaw[raw]
	if !ok {
		return Token{}, ErrUnknownToken
	}
	t := w.tokens[i]
	if !w.Now().Before(t.Expires) {
		return t, ErrExpiredToken
	}
	return t, nil
}

// ExpireTokens ends the life of every access token issued so far.
func (w *World) ExpireTokens() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.tokens {
		w.tokens[i].Expires = w.Now()
	}
}

// Tokens lists every access token issued, oldest first.
func (w *World) Tokens() []Token {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]Token(nil), w.tokens...)
}

// accessClaims follow Microsoft's v1 access token, which Exchange and Graph use.
func (w *World) accessClaims(t Token, audience string) map[string]any {
	now := t.Issued.Unix()
	c := map[string]any{
		"aud": audience, "iss": fmt.Sprintf("https://sts.windows.net/%s/", t.TenantID),
		"iat": now, "nbf": now, "exp": t.Expires.Unix(),
		"aio": Random(64), "appid": t.ClientID, "appidacr": t.AppAuth,
		"idp": fmt.Sprintf("https://sts.windows.net/%s/", t.TenantID),
		"rh":  "0." + Random(70), "tid": t.TenantID, "uti": Random(22), "ver": "1.0",
		"xms_ftd": Random(520), // real tokens are 1.5 to 3 kB; so are these
	}
	if a := w.app(t.ClientID); a != nil {
		c["app_displayname"] = a.Name
	}
	if t.UserID == "" {
		c["oid"] = ServicePrincipalID(t.ClientID, t.TenantID)
		c["sub"], c["idtyp"] = c["oid"], "app"
		if len(t.Roles) > 0 {
			c["roles"] = t.Roles
		}
		return c
	}
	c["oid"], c["sub"], c["idtyp"] = t.UserID, Random(43), "user"
	c["upn"], c["unique_name"], c["scp"] = t.UPN, t.UPN, strings.Join(t.Scopes, " ")
	c["acr"], c["amr"], c["puid"] = "1", []string{"pwd"}, "1003"+strings.ToUpper(Random(12))
	if u := w.user(t.UserID); u != nil {
		c["name"] = u.DisplayName
	}
	return c
}

// signingKey is one of the tenant-independent keys behind jwks_uri.
type signingKey struct {
	id     string // x5t and kid: base64url of the certificate's SHA-1
	key    *rsa.PrivateKey
	cert   *x509.Certificate
	signer jose.Signer
}

// RotateKeys makes a new signing key. Older ones stay published.
func (w *World) RotateKeys() {
	k, err := newSigningKey()
	if err != nil {
		panic(fmt.Sprintf("sim365: make signing key: %v", err)) // no entropy or a broken crypto library: nothing can work
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.keys = append(w.keys, k)
}

func newSigningKey() (signingKey, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return signingKey{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      pkix.Name{CommonName: "accounts.accesscontrol.windows.net"},
		NotBefore:    time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(5, 0, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return signingKey{}, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return signingKey{}, err
	}
	thumb := sha1.Sum(der) // x5t is defined as SHA-1 (RFC 7517 §4.8)
	id := base64.RawURLEncoding.EncodeToString(thumb[:])
	options := (&jose.SignerOptions{}).WithType("JWT").WithHeader("x5t", id).WithHeader("kid", id)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: key}, options)
	return signingKey{id: id, key: key, cert: cert, signer: signer}, err
}

// Sign makes and remembers a JWT with the current key.
func (w *World) Sign(claims any) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	raw := w.sign(claims)
	w.remember(raw)
	return raw
}

func (w *World) sign(claims any) string {
	body, err := json.Marshal(claims)
	if err != nil {
		panic(fmt.Sprintf("sim365: marshal claims: %v", err)) // our own plain maps always marshal
	}
	signed, err := w.keys[len(w.keys)-1].signer.Sign(body)
	if err != nil {
		panic(fmt.Sprintf("sim365: sign token: %v", err)) // only a broken key could cause it
	}
	raw, err := signed.CompactSerialize()
	if err != nil {
		panic(fmt.Sprintf("sim365: serialize token: %v", err))
	}
	return raw
}

// JWKS is the public side of all signing keys.
func (w *World) JWKS() jose.JSONWebKeySet {
	w.mu.Lock()
	defer w.mu.Unlock()
	var set jose.JSONWebKeySet
	for _, k := range w.keys {
		thumb := sha1.Sum(k.cert.Raw)
		set.Keys = append(set.Keys, jose.JSONWebKey{
			Key: k.key.Public(), KeyID: k.id, Use: "sig",
			Certificates: []*x509.Certificate{k.cert}, CertificateThumbprintSHA1: thumb[:],
		})
	}
	return set
}

// Random returns n characters of base64url noise.
func Random(n int) string {
	b := make([]byte, (n*3+3)/4)
	_, _ = rand.Read(b) // crypto/rand.Read never fails
	return base64.RawURLEncoding.EncodeToString(b)[:n]
}

// Remember adds strings to what must never show in a log or page.
func (w *World) Remember(secrets ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.remember(secrets...)
}

func (w *World) remember(secrets ...string) {
	for _, s := range secrets {
		if s != "" && !w.known[s] {
			w.known[s] = true
			w.secrets = append(w.secrets, s)
		}
	}
}

// Secrets lists everything ever issued or known here that must never show:
// tokens of all kinds, codes, client secrets, passwords and app passwords.
func (w *World) Secrets() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.secrets...)
}
