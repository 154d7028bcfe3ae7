package entra_test

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"postern/internal/entra"
	"postern/internal/fault"
	"postern/internal/outbound"
	"postern/internal/secret"
)

// The parts are those of reference section 2.3.
func TestAssertion(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	p.gives(http.StatusOK, token(nil))
	c := newCertificate(t)
	r := p.registration()
	r.Certificate = &c
	now := time.Now().Truncate(time.Second)
	client := entra.New(func() time.Time { return now }, outbound.Network{})
	if _, err := client.Refresh(t.Context(), r, secret.New(refreshToken), nil); err != nil {
		t.Fatal(err)
	}
	token, err := jwt.ParseSigned(p.lastForm().Get("client_assertion"), []jose.SignatureAlgorithm{jose.PS256})
	if err != nil {
		t.Fatal(err)
	}
	thumbprint := sha256.Sum256(c.Leaf.Raw)
	h := token.Headers[0]
	if h.ExtraHeaders["typ"] != "JWT" || h.ExtraHeaders["x5t#S256"] != base64.RawURLEncoding.EncodeToString(thumbprint[:]) || len(token.Headers) != 1 {
		t.Errorf("headers %+v", token.Headers)
	}
	var got jwt.Claims
	if err := token.Claims(c.Leaf.PublicKey, &got); err != nil {
		t.Fatal(err)
	}
	if got.Issuer != clientID || got.Subject != clientID || len(got.Audience) != 1 || got.Audience[0] != p.srv.URL+"/token" {
		t.Errorf("claims %+v", got)
	}
	life := got.Expiry.Time().Sub(now)
	if !got.NotBefore.Time().Equal(now) || !got.IssuedAt.Time().Equal(now) || life < 5*time.Minute || life > 10*time.Minute {
		t.Errorf("from %s (issued %s) for %s", got.NotBefore.Time(), got.IssuedAt.Time(), life)
	}
	if !regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(got.ID) {
		t.Errorf("jti %q is no GUID", got.ID)
	}
}

// A clock that is off is told of with the measure, where it can be the reason.
func TestAClockThatIsOff(t *testing.T) {
	t.Parallel()
	refused := map[string]any{"error": "invalid_client", "error_description": "AADSTS700024: Client assertion is not within its valid time range.", "error_codes": []int{700024}}
	for name, c := range map[string]struct {
		ours time.Duration // our clock, of the provider's
		says string
	}{
		"right":         {0, ""},
		"a bit off":     {90 * time.Second, ""},
		"behind":        {-7 * time.Minute, "this machine's clock is 7 minutes behind Microsoft's; set it by NTP"},
		"ahead":         {11 * time.Minute, "this machine's clock is 11 minutes ahead of Microsoft's; set it by NTP"},
		"a time zone":   {5 * time.Hour, "5 hours ahead of"},
		"another month": {-30 * 24 * time.Hour, "30 days behind"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newProvider(t)
			client := entra.New(func() time.Time { return time.Now().Add(c.ours) }, outbound.Network{})
			p.gives(http.StatusUnauthorized, refused)
			_, err := client.ClientCredentials(t.Context(), p.registration(), "https://outlook.office365.com")
			if h := fault.HintOf(err); fault.KindOf(err) != fault.NeedsAdmin || !strings.Contains(h, c.says) || c.says == "" && h != "" {
				t.Errorf("%v, hint %q", err, h)
			}
			if c.says == "" {
				return
			}
			lived := p.idToken(map[string]any{"exp": time.Now().Add(c.ours - time.Minute).Unix(), "nbf": time.Now().Add(c.ours + time.Hour).Unix()})
			p.gives(http.StatusOK, token(map[string]any{"id_token": lived}))
			_, err = client.Redeem(t.Context(), p.registration(), redemption())
			if fault.KindOf(err) != fault.Denied || !strings.Contains(fault.HintOf(err), c.says) {
				t.Errorf("id token: %v, hint %q", err, fault.HintOf(err))
			}
			p.gives(http.StatusBadRequest, map[string]any{"error": "invalid_grant"})
			_, err = client.Refresh(t.Context(), p.registration(), secret.New(refreshToken), nil)
			if fault.KindOf(err) != fault.NeedsSignIn || fault.HintOf(err) != "" {
				t.Errorf("a dead grant: %v, hint %q", err, fault.HintOf(err))
			}
		})
	}
}

// Retry-After as a date is by the provider's clock, not by ours.
func TestRetryAfterByAnotherClock(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	theirs := time.Now().Add(3 * time.Hour).UTC()
	p.set(func(p *provider) {
		p.answer = func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Date", theirs.Format(http.TimeFormat))
			w.Header().Set("Retry-After", theirs.Add(time.Minute).Format(http.TimeFormat))
			w.WriteHeader(http.StatusTooManyRequests)
		}
	})
	if e := fault.As(refresh(t, p)); e == nil || e.RetryAfter != time.Minute {
		t.Errorf("%+v, want a minute", e)
	}
}

func TestWhatSupportAsksFor(t *testing.T) {
	t.Parallel()
	const trace, correlation = "0a1b2c3d-0000-4000-8000-000000000001", "0a1b2c3d-0000-4000-8000-000000000002"
	body := func(description string) map[string]any {
		return map[string]any{"error": "invalid_grant", "suberror": "bad_token", "error_description": description, "trace_id": trace, "correlation_id": correlation}
	}
	for name, c := range map[string]struct {
		body map[string]any
		want string
	}{
		"in the text":       {body("AADSTS70000: no. Trace ID: " + trace + " Correlation ID: " + correlation), "AADSTS70000: no. Trace ID: " + trace + " Correlation ID: " + correlation + " suberror bad_token"},
		"not in it":         {body("AADSTS70000: no."), "AADSTS70000: no. suberror bad_token Trace ID: " + trace + " Correlation ID: " + correlation},
		"cut off with it":   {body("AADSTS70000: " + strings.Repeat("no ", 300) + "Trace ID: " + trace), "… suberror bad_token Trace ID: " + trace + " Correlation ID: " + correlation},
		"no text":           {body(""), "suberror bad_token Trace ID: " + trace + " Correlation ID: " + correlation},
		"hostile":           {map[string]any{"error": "invalid_grant", "trace_id": "a\x1b[2J b", "correlation_id": strings.Repeat("x", 2000), "suberror": "<b>"}, ""},
		"a secret repeated": {map[string]any{"error": "invalid_grant", "error_description": "no", "trace_id": refreshToken, "correlation_id": url.QueryEscape(refreshToken)}, "no Trace ID: " + secret.Redacted + " Correlation ID: " + secret.Redacted},
	} {
		p := newProvider(t)
		p.gives(http.StatusBadRequest, c.body)
		r := fault.ReplyOf(refresh(t, p))
		if r == nil || !strings.HasSuffix(r.Text, c.want) || c.want == "" && r.Text != "" || len(r.Text) > 900 || strings.Contains(r.Text, refreshToken) {
			t.Errorf("%s: %+v", name, r)
		}
	}
	p := newProvider(t)
	p.set(func(p *provider) {
		p.answer = func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("x-ms-request-id", trace)
			http.Error(w, "<html>", http.StatusServiceUnavailable)
		}
	})
	if r := fault.ReplyOf(refresh(t, p)); r == nil || r.Code != "503" || r.Text != "Service Unavailable Trace ID: "+trace {
		t.Errorf("a page: %+v", r)
	}
}

// With a proxy on the way, an answer that never came may be its fault.
func TestAProxyIsASuspect(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	r := p.registration()
	r.Cloud.Authority = "https://login.test"
	n := outbound.Network{Proxy: secret.New("http://gateway:hunter2@" + strings.TrimPrefix(p.srv.URL, "https://"))}
	_, err := entra.New(clock, n).Refresh(t.Context(), r, secret.New(refreshToken), nil) // it speaks TLS only
	if fault.KindOf(err) != fault.Temporary || !strings.Contains(fault.HintOf(err), "the proxy http://127.0.0.1:") || strings.Contains(err.Error()+fault.HintOf(err), "hunter2") {
		t.Errorf("%v, hint %q", err, fault.HintOf(err))
	}
	if len(p.asked) > 0 {
		t.Errorf("it was asked for %v", p.asked)
	}
}
