package entra_test

import (
	"context"
	"errors"
	"fmt"
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

const description = "AADSTS700082: The refresh token has expired due to inactivity.\r\nTrace ID: 0a1b\r\nCorrelation ID: 2c3d\r\nTimestamp: 2026-01-01 00:00:00Z"

func refresh(t *testing.T, p *provider) error {
	t.Helper()
	_, err := entra.New(clock, outbound.Network{}).Refresh(t.Context(), p.registration(), secret.New(refreshToken), []string{"https://outlook.office.com/SMTP.Send"})
	if err == nil {
		t.Error("the refresh succeeded")
	}
	return err
}

// The OAuth error value and the HTTP status decide; numbers and texts do not.
func TestKinds(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	for _, c := range []struct {
		status int
		value  string
		want   fault.Kind
	}{
		{400, "invalid_grant", fault.NeedsSignIn}, {400, "interaction_required", fault.NeedsSignIn},
		{400, "consent_required", fault.NeedsSignIn}, {400, "login_required", fault.NeedsSignIn},
		{401, "invalid_client", fault.NeedsAdmin}, {400, "unauthorized_client", fault.NeedsAdmin},
		{400, "invalid_scope", fault.NeedsAdmin}, {400, "invalid_resource", fault.NeedsAdmin},
		{400, "invalid_request", fault.NeedsAdmin}, {400, "unsupported_grant_type", fault.NeedsAdmin},
		{400, "temporarily_unavailable", fault.Temporary}, {400, "server_error", fault.Temporary},
		{500, "invalid_grant", fault.Temporary}, {503, "invalid_client", fault.Temporary}, {504, "", fault.Temporary},
		{429, "invalid_grant", fault.Throttled}, {429, "", fault.Throttled},
		{400, "something_new", fault.Temporary}, {404, "", fault.Temporary}, {407, "", fault.Temporary},
	} {
		p.gives(c.status, map[string]any{"error": c.value, "error_description": description, "error_codes": []int{700082}})
		err := refresh(t, p)
		if fault.KindOf(err) != c.want {
			t.Errorf("%d %q: kind %v, want %v", c.status, c.value, fault.KindOf(err), c.want)
		}
	}
}

func TestTheProvidersWordsAreKept(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	p.gives(400, map[string]any{"error": "invalid_grant", "error_description": description, "error_codes": []int{700082}})
	r := fault.ReplyOf(refresh(t, p))
	if r == nil || r.Protocol != "oauth" || r.Code != "invalid_grant" || r.Enhanced != "700082" ||
		!strings.Contains(r.Text, "inactivity. Trace ID: 0a1b Correlation ID: 2c3d") || strings.ContainsAny(r.Text, "\r\n") {
		t.Errorf("reply %+v", r)
	}
	p.gives(400, map[string]any{"error": "invalid_grant", "error_description": description})
	if r := fault.ReplyOf(refresh(t, p)); r == nil || r.Enhanced != "700082" {
		t.Errorf("without error_codes: reply %+v", r)
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	for header, want := range map[string]time.Duration{
		"17": 17 * time.Second, "": 0, "soon": 0, "-4": 0, "99999999999999999999": 0,
		time.Now().Add(time.Hour).UTC().Format(http.TimeFormat): time.Hour,
	} {
		p.set(func(p *provider) {
			p.answer = func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Retry-After", header)
				w.WriteHeader(http.StatusTooManyRequests)
			}
		})
		e := fault.As(refresh(t, p))
		if e == nil || (e.RetryAfter-want).Abs() > 5*time.Second {
			t.Errorf("Retry-After %q: %+v, want %s", header, e, want)
		}
	}
}

// A captive portal's page must never look like a grant that is gone.
func TestA200ThatIsNoToken(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	for name, body := range map[string]string{
		"a page":            "<html>Please log in to the guest network, token=abc</html>",
		"nothing":           "",
		"empty object":      "{}",
		"a string":          `"invalid_grant"`,
		"an error in 200":   `{"error":"invalid_grant"}`,
		"no token":          `{"token_type":"Bearer","expires_in":3600}`,
		"no life":           `{"token_type":"Bearer","access_token":"abc","expires_in":0}`,
		"no number":         `{"token_type":"Bearer","access_token":"abc","expires_in":"soon"}`,
		"an absurd life":    `{"token_type":"Bearer","access_token":"abc","expires_in":1e300}`,
		"another type":      `{"token_type":"mac","access_token":"abc","expires_in":3600}`,
		"cut off":           `{"token_type":"Bearer","access_token":"abc`,
		"more than allowed": `{"token_type":"Bearer","expires_in":3600,"access_token":"` + strings.Repeat("a", 2<<20) + `"}`,
	} {
		p.writes(http.StatusOK, body)
		err := refresh(t, p)
		if fault.KindOf(err) != fault.Temporary {
			t.Errorf("%s: kind %v, want temporary", name, fault.KindOf(err))
		}
		if err != nil && (strings.Contains(err.Error(), "guest network") || strings.Contains(err.Error(), "abc")) {
			t.Errorf("%s: the body is quoted: %v", name, err)
		}
	}
}

func TestNoAnswer(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	p.set(func(p *provider) {
		p.answer = func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	})
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := entra.New(clock, outbound.Network{}).Refresh(ctx, p.registration(), secret.New(refreshToken), nil)
	if !errors.Is(err, fault.Temporary) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("silence: %v", err)
	}
	r := p.registration()
	p.srv.Close()
	_, err = entra.New(clock, outbound.Network{}).Refresh(t.Context(), r, secret.New(refreshToken), nil)
	if !errors.Is(err, fault.Temporary) || fault.HintOf(err) == "" {
		t.Errorf("nobody there: %v, hint %q", err, fault.HintOf(err))
	}
}

func TestACertificateNobodyKnows(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	r := p.registration()
	r.Cloud.CA = ""
	if _, err := entra.New(clock, outbound.Network{}).Refresh(t.Context(), r, secret.New(refreshToken), nil); !errors.Is(err, fault.Temporary) {
		t.Errorf("%v", err)
	}
	if len(p.forms) > 0 {
		t.Error("the secret was sent to a host whose certificate is unknown")
	}
	r.Cloud.CA = "no certificate"
	if _, err := entra.New(clock, outbound.Network{}).Refresh(t.Context(), r, secret.New(refreshToken), nil); !errors.Is(err, fault.NeedsAdmin) {
		t.Errorf("a bundle without a certificate: %v", err)
	}
}

// The form with the client secret in it goes to one host only.
func TestARedirectToAnotherHostIsRefused(t *testing.T) {
	t.Parallel()
	p, thief := newProvider(t), newProvider(t)
	thief.gives(http.StatusOK, token(nil))
	for _, status := range []int{http.StatusFound, http.StatusTemporaryRedirect, http.StatusPermanentRedirect} {
		p.set(func(p *provider) {
			p.answer = func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, thief.srv.URL+"/token", status) }
		})
		if err := refresh(t, p); fault.KindOf(err) != fault.Temporary {
			t.Errorf("%d: %v", status, err)
		}
	}
	if len(thief.asked) > 0 {
		t.Errorf("the other host was asked for %v", thief.asked)
	}
}

func TestMetadataThatCannotBeTrusted(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status int
		body   string
		want   fault.Kind
	}{
		"no JSON":           {200, "<html>", fault.Temporary},
		"no issuer":         {200, `{"authorization_endpoint":"https://a.example","token_endpoint":"https://a.example","jwks_uri":"https://a.example"}`, fault.Temporary},
		"token over http":   {200, `{"issuer":"x","authorization_endpoint":"https://a.example","token_endpoint":"http://a.example","jwks_uri":"https://a.example"}`, fault.Temporary},
		"an outage":         {503, "", fault.Temporary},
		"no such tenant":    {400, `{"error":"invalid_tenant","error_description":"AADSTS90002: Tenant 'x' not found."}`, fault.NeedsAdmin},
		"throttled":         {429, "", fault.Throttled},
		"a page of a proxy": {403, "<html>blocked</html>", fault.Temporary},
	} {
		p := newProvider(t)
		p.set(func(p *provider) {
			p.metadata = func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(c.status)
				_, _ = fmt.Fprint(w, c.body)
			}
		})
		if err := refresh(t, p); fault.KindOf(err) != c.want {
			t.Errorf("%s: %v is %v, want %v", name, err, fault.KindOf(err), c.want)
		}
		if len(p.forms) > 0 {
			t.Errorf("%s: a token was asked for", name)
		}
	}
}

// A provider that repeats what it was sent does not make us repeat it.
func TestErrorsHoldNoSecret(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	p.set(func(p *provider) {
		p.answer = func(w http.ResponseWriter, r *http.Request) {
			p.json(w, http.StatusBadRequest, map[string]any{
				"error":             r.PostForm.Get("client_secret"),
				"error_description": "you sent " + r.PostForm.Encode() + " and " + fmt.Sprint(r.PostForm),
			})
		}
	})
	c := entra.New(clock, outbound.Network{})
	_, first := c.Redeem(t.Context(), p.registration(), redemption())
	_, second := c.Refresh(t.Context(), p.registration(), secret.New(refreshToken), nil)
	for _, err := range []error{first, second} {
		if err == nil {
			t.Fatal("no error")
		}
		for _, shown := range []string{err.Error(), fmt.Sprintf("%+v", fault.ReplyOf(err)), fmt.Sprintf("%#v", fault.As(err))} {
			for _, s := range []string{clientSecret, refreshToken, codeValue, verifier} {
				if strings.Contains(shown, s) || strings.Contains(shown, url.QueryEscape(s)) {
					t.Errorf("%q shows %q", shown, s)
				}
			}
		}
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	if err := entra.Refused(url.Values{"code": {"x"}, "state": {"y"}}); err != nil {
		t.Errorf("a good callback: %v", err)
	}
	for value, want := range map[string]fault.Kind{
		"access_denied": fault.Denied, "login_required": fault.Denied, "consent_required": fault.Denied,
		"invalid_request": fault.NeedsAdmin, "unauthorized_client": fault.NeedsAdmin, "invalid_scope": fault.NeedsAdmin,
		"server_error": fault.Temporary, "temporarily_unavailable": fault.Temporary, "": fault.Temporary,
	} {
		err := entra.Refused(url.Values{"error": {value}, "error_description": {"AADSTS65004: User declined.\r\nTrace ID: 1"}})
		if fault.KindOf(err) != want || fault.HintOf(err) == "" {
			t.Errorf("%q: %v is %v, want %v; hint %q", value, err, fault.KindOf(err), want, fault.HintOf(err))
		}
	}
	r := fault.ReplyOf(entra.Refused(url.Values{"error": {"<script>"}, "error_description": {"AADSTS65004: no\x00\x1b[2J"}}))
	if r == nil || r.Code != "" || r.Enhanced != "65004" || strings.ContainsAny(r.Text, "\x00\x1b") {
		t.Errorf("hostile words: %+v", r)
	}
}
