package entra_test

import (
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"postern/internal/entra"
	"postern/internal/fault"
	"postern/internal/outbound"
	"postern/internal/secret"
)

func device(more map[string]any) map[string]any {
	body := map[string]any{
		"device_code": "the-device-code", "user_code": "ABCD-EFGH", "verification_uri": "https://login.example/device",
		"expires_in": 900, "interval": 7, "message": "Go there\r\nand type it.",
	}
	for k, v := range more {
		body[k] = v
	}
	return body
}

// Where the metadata names no place to ask, Entra's is tried; others have none.
func TestWhereADeviceCodeIsAskedFor(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	p.gives(http.StatusOK, device(nil))
	scopes := []string{"https://outlook.office.com/SMTP.Send"}
	ask := func(r entra.Registration) (entra.DeviceCode, error) {
		return entra.New(clock, outbound.Network{}).BeginDevice(t.Context(), r, scopes)
	}
	d, err := ask(p.registration())
	if err != nil || p.count("/"+tenantID+"/oauth2/v2.0/devicecode") != 1 {
		t.Fatalf("Entra's own path: %v, asked for %v", err, p.asked)
	}
	if d.Code.Reveal() != "the-device-code" || d.UserCode != "ABCD-EFGH" || d.Page != "https://login.example/device" || d.Message != "Go there and type it." || d.Interval != 7*time.Second {
		t.Errorf("%+v", d)
	}
	if f := p.lastForm(); f.Get("client_secret") != clientSecret || f.Get("client_id") != clientID {
		t.Error("the app did not prove who it is (RFC 8628 section 3.1)")
	}
	r := p.registration()
	r.Cloud.Authority, r.Tenant = p.srv.URL+"/realms/x/.well-known/openid-configuration", ""
	if _, err := ask(r); fault.KindOf(err) != fault.NeedsAdmin || fault.HintOf(err) == "" {
		t.Errorf("a provider without device codes: %v", err)
	}
	p.set(func(p *provider) { p.device = p.srv.URL + "/devicecode" })
	if _, err := ask(r); err != nil || p.count("/devicecode") != 1 {
		t.Errorf("as published: %v", err)
	}
	p.set(func(p *provider) { p.device = "http" + strings.TrimPrefix(p.srv.URL, "https") + "/devicecode" })
	if _, err := ask(r); fault.KindOf(err) != fault.Temporary {
		t.Errorf("published over http: %v", err)
	}
}

func TestAnswersThatAreNoDeviceCode(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	begin := func() (entra.DeviceCode, error) {
		return entra.New(clock, outbound.Network{}).BeginDevice(t.Context(), p.registration(), nil)
	}
	for name, change := range map[string]map[string]any{
		"no code": {"device_code": ""}, "nothing to type": {"user_code": " \n"}, "no page": {"verification_uri": ""},
		"a page that runs": {"verification_uri": "javascript:alert(1)"}, "a page over http": {"verification_uri": "http://login.example/device"},
		"no life": {"expires_in": 0}, "a life of years": {"expires_in": 1e9}, "no number": {"expires_in": "soon"},
	} {
		p.gives(http.StatusOK, device(change))
		if d, err := begin(); fault.KindOf(err) != fault.Temporary || fault.HintOf(err) == "" || strings.Contains(err.Error(), "ABCD") {
			t.Errorf("%s: %+v, %v", name, d, err)
		}
	}
	p.writes(http.StatusOK, "<html>Guest network</html>")
	if _, err := begin(); fault.KindOf(err) != fault.Temporary {
		t.Errorf("a captive portal: %v", err)
	}
	p.gives(http.StatusUnauthorized, map[string]any{"error": "invalid_client", "error_description": "AADSTS7000218: " + clientSecret, "error_codes": []int{7000218}})
	if _, err := begin(); fault.KindOf(err) != fault.NeedsAdmin || strings.Contains(err.Error(), clientSecret) {
		t.Errorf("public client flows are off: %v", err)
	}
	for given, want := range map[any]time.Duration{nil: 5 * time.Second, 0: 5 * time.Second, -3: 5 * time.Second, 1: time.Second, 86400: 2 * time.Minute} {
		p.gives(http.StatusOK, device(map[string]any{"interval": given, "message": nil}))
		d, err := begin()
		if err != nil || d.Interval != want || !strings.Contains(d.Message, "ABCD-EFGH") || !strings.Contains(d.Message, d.Page) {
			t.Errorf("interval %v: %+v, %v", given, d, err)
		}
	}
}

func TestPolls(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	poll := func() (entra.Tokens, error) {
		return entra.New(clock, outbound.Network{}).PollDevice(t.Context(), p.registration(), entra.DeviceCode{Code: secret.New("the-device-code")})
	}
	for _, c := range []struct {
		status int
		value  string
		want   error
	}{
		{400, "authorization_pending", entra.ErrPending}, {400, "slow_down", entra.ErrSlowDown},
		{400, "authorization_declined", fault.Denied}, {400, "access_denied", fault.Denied},
		{400, "expired_token", fault.NotFound}, {400, "bad_verification_code", fault.NotFound},
		{400, "invalid_grant", fault.NeedsSignIn}, {401, "invalid_client", fault.NeedsAdmin},
		{503, "expired_token", fault.Temporary}, {429, "slow_down", fault.Throttled},
	} {
		p.gives(c.status, map[string]any{"error": c.value, "error_description": "you sent the-device-code"})
		_, err := poll()
		if kind := fault.KindOf(err); err != c.want && kind != c.want { //nolint:errorlint // nothing may be wrapped around "not yet"
			t.Errorf("%d %s: %v, want %v", c.status, c.value, err, c.want)
		}
		if strings.Contains(err.Error(), "the-device-code") {
			t.Errorf("%d %s: the error shows the code", c.status, c.value)
		}
	}
	for name, c := range map[string]struct {
		id   any
		good bool
	}{
		"no nonce":       {p.idToken(map[string]any{"nonce": nil}), true},
		"other audience": {p.idToken(map[string]any{"aud": "another-client"}), false},
		"no id token":    {nil, false},
	} {
		p.gives(http.StatusOK, token(map[string]any{"id_token": c.id}))
		got, err := poll()
		if c.good && (err != nil || got.Identity.Username != "scan@contoso.com") || !c.good && fault.KindOf(err) != fault.Denied {
			t.Errorf("%s: %+v, %v", name, got.Identity, err)
		}
	}
}

// The password grant may come without an id token; one that comes must be good.
func TestPasswordIdentity(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	ask := func(id any) (entra.Tokens, error) {
		p.gives(http.StatusOK, token(map[string]any{"id_token": id}))
		return entra.New(clock, outbound.Network{}).Password(t.Context(), p.registration(), "hve@contoso.com", secret.New(password), nil)
	}
	if got, err := ask(nil); err != nil || got.Access.Empty() || !reflect.DeepEqual(got.Identity, entra.Identity{}) {
		t.Errorf("without: %v", err)
	}
	if got, err := ask(p.idToken(map[string]any{"nonce": nil})); err != nil || got.Identity.ObjectID != "the-object-id" {
		t.Errorf("with: %+v, %v", got.Identity, err)
	}
	if got, err := ask(p.idToken(map[string]any{"aud": "another-client"})); fault.KindOf(err) != fault.Denied || !got.Access.Empty() {
		t.Errorf("another's: %v", err)
	}
}
