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
}

// tenantPlaceholder stands in the issuer of Entra's shared endpoints.
const tenantPlaceholder = "{tenantid}"

// verify checks signature, audience, expiry, issuer and nonce of an id token
// (OpenID Connect Core 1.0 section 3.1.3.7).
func (c *Client) verify(ctx context.Context, m metadata, clientID string, raw secret.Text, nonce string) (Identity, error) {
	const op = "verify who signed in"
	if raw.Empty() {
		return Identity{}, fault.New(fault.Denied, op, "the provider gave no id token").WithHint("begin the sign-in again")
	}
	keys := &watched{keys: m.keys}
	verifier := oidc.NewVerifier(m.Issuer, keys, &oidc.Config{ClientID: clientID, Now: c.now, SkipIssuerCheck: true}) // checked below
	token, err := verifier.Verify(ctx, raw.Reveal())
	var network *url.Error
	if errors.As(keys.err, &network) || ctx.Err() != nil {
		return Identity{}, unreachable(op, errors.Join(keys.err, ctx.Err()))
	}
	if err != nil { // go-oidc names claims and times, never the token
		return Identity{}, fault.New(fault.Denied, op, "%s", oneLine(secret.Scrub(err.Error(), raw))).
			WithHint("begin the sign-in again; when it stays so, look at this machine's clock")
	}
	var claims struct {
		Username string `json:"preferred_username"`
		Email    string `json:"email"`
		ObjectID string `json:"oid"`
		TenantID string `json:"tid"`
	}
	if err := token.Claims(&claims); err != nil {
		return Identity{}, fault.New(fault.Denied, op, "the id token's claims are malformed")
	}
	if !issuedBy(m.Issuer, token.Issuer, claims.TenantID) {
		return Identity{}, fault.New(fault.Denied, op, "the id token is from another issuer, %q", oneLine(token.Issuer)).WithHint("compare the app's tenant and cloud")
	}
	if nonce == "" || subtle.ConstantTimeCompare([]byte(nonce), []byte(token.Nonce)) != 1 {
		return Identity{}, fault.New(fault.Denied, op, "the id token answers another sign-in").WithHint("begin the sign-in again")
	}
	return Identity(claims), nil
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
