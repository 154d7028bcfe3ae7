package login_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"math/big"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"postern/internal/sim365/world"
)

func newCertificate(t *testing.T) (*rsa.PrivateKey, []byte) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "gateway"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return key, der
}

func TestClientAssertion(t *testing.T) {
	t.Parallel()
	key, der := newCertificate(t)
	other, _ := newCertificate(t)
	thumb := sha256.Sum256(der)
	good := base64.RawURLEncoding.EncodeToString(thumb[:])
	for _, tc := range []struct {
		name   string
		key    *rsa.PrivateKey
		header string
		change func(*stand, *jwt.Claims)
		number int
	}{
		{name: "good"},
		{name: "aud names the tenant's domain", change: func(s *stand, c *jwt.Claims) {
			c.Audience = jwt.Audience{s.server.URL + "/contoso.com/oauth2/v2.0/token"}
		}},
		{name: "plain base64 thumbprint", header: base64.StdEncoding.EncodeToString(thumb[:]), number: 700027},
		{name: "other key", key: other, number: 700027},
		{name: "expired", change: func(_ *stand, c *jwt.Claims) {
			c.Expiry = jwt.NewNumericDate(c.Expiry.Time().Add(-time.Hour))
		}, number: 700024},
		{name: "not yet", change: func(_ *stand, c *jwt.Claims) {
			c.NotBefore = jwt.NewNumericDate(c.Expiry.Time().Add(time.Hour))
		}, number: 700024},
		{name: "subject is not issuer", change: func(_ *stand, c *jwt.Claims) { c.Issuer = "someone" }, number: 50048},
		{name: "for another app", change: func(_ *stand, c *jwt.Claims) { c.Issuer, c.Subject = "x", "x" }, number: 700021},
		{name: "wrong audience", change: func(_ *stand, c *jwt.Claims) { c.Audience = jwt.Audience{"https://elsewhere.example"} }, number: 50012},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := newStand(t)
			s.world.UpdateApp(s.app.ClientID, func(a *world.App) { a.Certificate, a.AdminConsent[s.tenant.ID] = der, true })
			claims := jwt.Claims{
				Issuer: s.app.ClientID, Subject: s.app.ClientID, ID: world.NewID(), Audience: jwt.Audience{s.server.URL + "/" + s.tenant.ID + "/oauth2/v2.0/token"},
				NotBefore: jwt.NewNumericDate(s.world.Now()), Expiry: jwt.NewNumericDate(s.world.Now().Add(5 * time.Minute)),
			}
			if tc.change != nil {
				tc.change(s, &claims)
			}
			if tc.key == nil {
				tc.key = key
			}
			if tc.header == "" {
				tc.header = good
			}
			a := s.token("contoso.com", url.Values{
				"grant_type": {"client_credentials"}, "client_id": {s.app.ClientID}, "scope": {"https://outlook.office365.com/.default"},
				"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}, "client_assertion": {assertion(t, tc.key, tc.header, claims)},
			}, nil)
			if tc.number != 0 {
				s.wantRefusal(a, tc.number, "invalid_client")
				return
			}
			token, err := s.world.CheckToken(a.AccessToken)
			if err != nil || token.AppAuth != "2" || !slices.Contains(token.Roles, "SMTP.SendAsApp") {
				t.Errorf("answer %+v, token %+v %v", a, token, err)
			}
		})
	}
}

func assertion(t *testing.T, key *rsa.PrivateKey, thumb string, claims jwt.Claims) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.PS256, Key: key}, (&jose.SignerOptions{}).WithType("JWT").WithHeader("x5t#S256", thumb))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
