package entra

import (
	"context"
	"crypto/subtle"
	"errors"
	"net/url"
	"strings"

	"github.com/coreos/go-oidc/v3/oidc"

	"postern/internal/fault"
	"postern/internal/secret"
)

// Identity is who signed in, as the id token says (reference section 2.6).
type Identity struct {
	Username string // preferred_username: what people type to sign in
	Email    string // a hint; not every account has one
	ObjectID string // oid
	TenantID string // tid

	Issuer        string
	Subject       string // sub: at this issuer and for this app, for good
	EmailVerified bool   // says a provider that is not Entra, which never does
	Guest         bool   // of the tenant: another provider answers for the user name
	Roles         []string
	Groups        []string
	Overage       bool // there are too many groups to say
}

// tenantPlaceholder stands in the issuer of Entra's shared endpoints.
const tenantPlaceholder = "{tenantid}"

// verify checks signature, audience, expiry and issuer of the id token that came with
// an answer (OpenID Connect Core 1.0 section 3.1.3.7). The nonce is the caller's to
// compare: not every grant has one.
func (c *Client) verify(ctx context.Context, m metadata, clientID string, g granted) (id Identity, nonce string, err error) {
	if g.id.Empty() {
		return Identity{}, "", fault.New(fault.Denied, verifying, "the provider gave no id token").WithHint("begin the sign-in again")
	}
	keys := &watched{keys: m.keys}
	verifier := oidc.NewVerifier(m.Issuer, keys, &oidc.Config{ClientID: clientID, Now: c.now, SkipIssuerCheck: true}) // checked below
	token, err := verifier.Verify(ctx, g.id.Reveal())
	var network *url.Error
	if errors.As(keys.err, &network) || ctx.Err() != nil {
		return Identity{}, "", c.network.Unreachable(verifying, errors.Join(keys.err, ctx.Err()))
	}
	if err != nil { // go-oidc names claims and times, never the token
		hint := clockHint(g.skew)
		if hint == "" {
			hint = "begin the sign-in again; when it stays so, look at this machine's clock"
		}
		return Identity{}, "", fault.New(fault.Denied, verifying, "%s", oneLine(secret.Scrub(err.Error(), g.id))).WithHint("%s", hint)
	}
	var claims claims
	if err := token.Claims(&claims); err != nil {
		return Identity{}, "", fault.New(fault.Denied, verifying, "the id token's claims are malformed")
	}
	if !issuedBy(m.Issuer, token.Issuer, claims.TenantID) {
		return Identity{}, "", fault.New(fault.Denied, verifying, "the id token is from another issuer, %q", oneLine(token.Issuer)).
			WithHint("compare the app's tenant and cloud")
	}
	return claims.identity(token), token.Nonce, nil
}

// claims are those of an id token that are read.
type claims struct {
	Username  string `json:"preferred_username"`
	Email     string `json:"email"`
	ObjectID  string `json:"oid"`
	TenantID  string `json:"tid"`
	Verified  any    `json:"email_verified"` // a boolean; some send it as text
	Provider  string `json:"idp"`            // of a guest: who answers for them
	Roles     any    `json:"roles"`
	Groups    any    `json:"groups"`
	Elsewhere any    `json:"_claim_names"` // what was left out
}

func (c claims) identity(token *oidc.IDToken) Identity {
	left, _ := c.Elsewhere.(map[string]any)
	_, over := left["groups"]
	return Identity{
		Username: c.Username, Email: c.Email, ObjectID: c.ObjectID, TenantID: c.TenantID, Issuer: token.Issuer, Subject: token.Subject,
		EmailVerified: c.Verified == true || c.Verified == "true", Guest: c.Provider != "" && c.Provider != token.Issuer,
		Roles: texts(c.Roles), Groups: texts(c.Groups), Overage: over,
	}
}

// texts are the strings of a claim that should be a list of them; a provider's own
// idea of it must not end a sign-in.
func texts(claim any) (all []string) {
	list, _ := claim.([]any)
	for _, v := range list {
		if s, ok := v.(string); ok {
			all = append(all, s)
		}
	}
	return all
}

const verifying = "verify who signed in"

// sameNonce refuses the answer to another sign-in.
func sameNonce(ours, theirs string) error {
	if ours == "" || subtle.ConstantTimeCompare([]byte(ours), []byte(theirs)) != 1 {
		return fault.New(fault.Denied, verifying, "the id token answers another sign-in").WithHint("begin the sign-in again")
	}
	return nil
}

// watched remembers what went wrong with the keys in one verification; go-oidc
// passes only the words on.
type watched struct {
	keys oidc.KeySet
	err  error
}

// VerifySignature asks the keys (oidc.KeySet).
func (w *watched) VerifySignature(ctx context.Context, jwt string) (payload []byte, err error) {
	payload, err = w.keys.VerifySignature(ctx, jwt)
	w.err = err
	return payload, err
}

// issuedBy compares issuers; Entra's shared endpoints publish theirs with a
// placeholder for the tenant of whoever signs in.
func issuedBy(published, got, tenantID string) bool {
	if strings.Contains(published, tenantPlaceholder) {
		if !guid.MatchString(tenantID) {
			return false
		}
		published = strings.ReplaceAll(published, tenantPlaceholder, tenantID)
	}
	return published == got
}
