package entra

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/url"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"postern/internal/fault"
	"postern/internal/secret"
)

const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// assertionLife leaves a clock that runs late some minutes of the assertion.
const assertionLife = 10 * time.Minute

// prove adds who the app is and, when it has one, its credential (reference section
// 2.3). A certificate goes before a secret.
func (c *Client) prove(form url.Values, r Registration, tokenEndpoint string) error {
	form.Set("client_id", r.ClientID)
	switch {
	case r.Certificate != nil:
		now := c.now()
		if err := r.Certificate.Valid(now); err != nil {
			return fault.Wrap(fault.NeedsAdmin, "prove who the app is", err)
		}
		assertion, err := r.Certificate.assertion(r.ClientID, tokenEndpoint, now)
		if err != nil {
			return err
		}
		form.Set("client_assertion_type", assertionType)
		form.Set("client_assertion", assertion.Reveal())
	case !r.Secret.Empty():
		form.Set("client_secret", r.Secret.Reveal())
	}
	return nil
}

// assertion is the app's word, signed, for one request (RFC 7523 section 2.2). Entra
// finds the certificate by x5t#S256, which must be base64url without padding.
func (c Certificate) assertion(clientID, audience string, now time.Time) (secret.Text, error) {
	const op = "sign the app's assertion"
	thumbprint := sha256.Sum256(c.Leaf.Raw)
	opts := (&jose.SignerOptions{}).WithType("JWT").WithHeader("x5t#S256", base64.RawURLEncoding.EncodeToString(thumbprint[:]))
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.PS256, Key: c.Key}, opts)
	if err != nil {
		return secret.Text{}, fault.Wrap(fault.NeedsAdmin, op, err)
	}
	signed, err := jwt.Signed(signer).Claims(jwt.Claims{
		Issuer: clientID, Subject: clientID, Audience: jwt.Audience{audience}, ID: newGUID(),
		IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(now.Add(assertionLife)),
	}).Serialize()
	return secret.New(signed), fault.Wrap(fault.NeedsAdmin, op, err)
}

// newGUID is a random one (RFC 9562 section 5.4).
func newGUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
