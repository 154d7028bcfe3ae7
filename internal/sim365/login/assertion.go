package login

import (
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// checkAssertion verifies a client assertion against the app's certificate:
// PS256 with x5t#S256 as documented, or the older RS256 with x5t.
func (s *Server) checkAssertion(c call, raw string) *failure {
	if t := c.form.Get("client_assertion_type"); t != assertionType {
		return aadsts(90023, "client_assertion_type")
	}
	token, err := jwt.ParseSigned(raw, []jose.SignatureAlgorithm{jose.PS256, jose.RS256})
	if err != nil {
		return aadsts(700027, "The assertion could not be read.")
	}
	cert, err := x509.ParseCertificate(c.app.Certificate)
	if err != nil || !names(token.Headers[0], cert) {
		return aadsts(700027, fmt.Sprintf("The key was not found., Please visit the Azure Portal, Graph Explorer or directly use MS Graph to see configured keys for app Id '%s'", c.app.ClientID))
	}
	var claims jwt.Claims
	if err := token.Claims(cert.PublicKey, &claims); err != nil {
		return aadsts(700027, "The key was found, but use of the key to verify the signature failed.")
	}
	return s.checkClaims(c, claims)
}

// names reports whether the header's thumbprint is the certificate's. Plain
// base64 instead of base64url does not match, as with Microsoft.
func names(h jose.Header, cert *x509.Certificate) bool {
	long := sha256.Sum256(cert.Raw)
	if given, ok := h.ExtraHeaders["x5t#S256"].(string); ok {
		return given == base64.RawURLEncoding.EncodeToString(long[:])
	}
	short := sha1.Sum(cert.Raw) // the older header is defined so
	given, _ := h.ExtraHeaders["x5t"].(string)
	return given == base64.RawURLEncoding.EncodeToString(short[:])
}

func (s *Server) checkClaims(c call, claims jwt.Claims) *failure {
	now := s.world.Now()
	notBefore, expiry := claims.NotBefore.Time(), time.Time{}
	if claims.Expiry != nil {
		expiry = claims.Expiry.Time()
	}
	switch {
	case claims.Issuer != claims.Subject:
		return aadsts(50048)
	case !strings.EqualFold(claims.Subject, c.app.ClientID):
		return aadsts(700021)
	case !s.audience(c.realm, claims.Audience):
		return aadsts(50012)
	case now.Before(notBefore.Add(-5*time.Minute)) || !now.Before(expiry):
		return aadsts(700024, now.UTC().Format(time.RFC3339), notBefore.UTC().Format(time.RFC3339), expiry.UTC().Format(time.RFC3339))
	}
	return nil
}

// audience accepts the token endpoint of the realm, under the tenant's id or the
// name it was called by, or its issuer.
func (s *Server) audience(re realm, given jwt.Audience) bool {
	for _, name := range []string{re.name, re.tenant.ID} {
		if name != "" && (given.Contains(s.config.Authority+"/"+name+"/oauth2/v2.0/token") || given.Contains(s.issuer(name))) {
			return true
		}
	}
	return false
}
