package login

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"postern/internal/sim365/world"
)

func FuzzScope(f *testing.F) {
	for _, seed := range []string{
		"openid profile offline_access https://outlook.office.com/SMTP.Send", "https://outlook.office365.com//.default", "Mail.Send",
		"00000002-0000-0ff1-ce00-000000000000/.default", "/", "https://outlook.office.com/SMTP.SendAsApp", "smtp.send\x00",
	} {
		f.Add(seed)
	}
	s := New(world.New(), Config{Authority: "https://localhost"})
	app := world.App{Permissions: []string{"SMTP.Send", "Mail.Send", "SMTP.SendAsApp"}}
	f.Fuzz(func(t *testing.T, raw string) {
		q, fail := s.delegated(raw, app, "contoso.com")
		if fail != nil {
			return
		}
		for _, r := range q.resources {
			canonical, ok := s.world.Resource(r)
			if !ok {
				t.Fatalf("%q: accepted the unknown resource %q", raw, r)
			}
			for _, n := range q.names[r] {
				if _, ok := lookup(delegatedNames(canonical), n); !ok {
					t.Errorf("%q: accepted %q of %q, which is no delegated scope", raw, n, r)
				}
			}
		}
	})
}

func FuzzArmedReply(f *testing.F) {
	for _, seed := range []string{"AADSTS50173", "50173", "AADSTS65001: no consent", "invalid_grant of some kind", "", "AADSTS", "%s %d"} {
		f.Add(seed)
	}
	s := New(world.New(), Config{})
	f.Fuzz(func(t *testing.T, code string) {
		fail := asserted(code)
		text := fail.describe(incident{})
		if fail.status < 400 || strings.HasPrefix(text, "AADSTS") != (fail.number != 0) && !strings.HasPrefix(fail.text, "AADSTS") || (!strings.Contains(code, "%") && strings.Contains(text, "%s")) {
			t.Errorf("%q became %d %q", code, fail.status, text)
		}
		_ = s.errorURI(fail)
	})
}

// No assertion gets in that was not signed with the registered key, even if it
// names the right one.
func FuzzAssertion(f *testing.F) {
	s := New(world.New(), Config{Authority: "https://localhost"})
	cert := s.world.JWKS().Keys[0].Certificates[0].Raw
	thumb := sha256.Sum256(cert)
	header := base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"alg":"PS256","x5t#S256":%q}`, base64.RawURLEncoding.EncodeToString(thumb[:])))
	for _, seed := range []string{"", "a.b.c", "eyJhbGciOiJub25lIn0.e30.", header + ".e30.AA", header + ".eyJpc3MiOiJhcHAiLCJzdWIiOiJhcHAifQ." + strings.Repeat("A", 342)} {
		f.Add(seed)
	}
	c := call{app: world.App{ClientID: "app", Certificate: cert}, form: url.Values{"client_assertion_type": {assertionType}}}
	f.Fuzz(func(t *testing.T, raw string) {
		if s.checkAssertion(c, raw) == nil {
			t.Errorf("accepted %q", raw)
		}
	})
}
