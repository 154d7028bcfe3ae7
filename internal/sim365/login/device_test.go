package login_test

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"postern/internal/sim365/world"
)

// device starts a device flow of a public client.
func (s *stand) device() (answer, func(url.Values) answer) {
	s.Helper()
	s.world.UpdateApp(s.app.ClientID, func(a *world.App) { a.PublicClient, a.Secret = true, "" })
	d, err := s.post("/contoso.com/oauth2/v2.0/devicecode", url.Values{"client_id": {s.app.ClientID}, "scope": {outlook + "SMTP.Send offline_access"}})
	if err != nil || d.UserCode == "" || d.Interval != 5 {
		s.Fatalf("device code: %+v %v", d, err)
	}
	return d, func(over url.Values) answer {
		return s.token("contoso.com", url.Values{
			"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}, "client_id": {s.app.ClientID}, "device_code": {d.DeviceCode},
		}, over)
	}
}

func TestDeviceCode(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	d, poll := s.device()
	s.wantRefusal(poll(nil), 70016, "authorization_pending")
	s.wantRefusal(poll(nil), 70016, "slow_down")
	s.pass(6 * time.Second)

	v := s.visitor()
	p := s.must(v.Get(t.Context(), d.Verification))
	p = s.fill(v, p, map[string]string{"otc": "WRONGCODE"}, "")
	s.wantPage(p, "Enter code to allow access", "That code didn't work.")
	p = s.fill(v, p, map[string]string{"otc": " " + strings.ToLower(d.UserCode)}, "")
	p = s.fill(v, p, map[string]string{"loginfmt": s.user.UPN}, "")
	p = s.fill(v, p, map[string]string{"passwd": password}, "")
	s.wantPage(p, "Are you trying to sign in to Postern?", "")
	s.wantRefusal(poll(nil), 70016, "authorization_pending")
	p = s.fill(v, p, nil, "Continue")
	p = s.fill(v, p, nil, "Accept")
	s.wantPage(p, "Postern", "You have signed in to the Postern application on your device.")

	s.pass(6 * time.Second)
	a := poll(nil)
	if token, err := s.world.CheckToken(a.AccessToken); err != nil || token.UPN != s.user.UPN || token.AppAuth != "0" || a.RefreshToken == "" {
		t.Fatalf("answer %+v, token %+v %v", a, token, err)
	}
	s.wantRefusal(poll(nil), 54005, "invalid_grant")
	p = s.must(v.Get(t.Context(), d.Verification+"?otc="+d.UserCode))
	p = s.fill(v, p, nil, "")
	s.wantPage(p, "Enter code to allow access", "That code didn't work.")
}

func TestDeviceCodeRefused(t *testing.T) {
	t.Parallel()
	t.Run("declined", func(t *testing.T) {
		t.Parallel()
		s := newStand(t)
		d, poll := s.device()
		v := s.visitor()
		p := s.must(v.Get(t.Context(), d.Verification+"?otc="+d.UserCode))
		p = s.fill(v, p, nil, "")
		p = s.fill(v, p, map[string]string{"loginfmt": s.user.UPN}, "")
		p = s.fill(v, p, map[string]string{"passwd": password}, "")
		p = s.fill(v, p, nil, "Cancel")
		s.wantPage(p, "Postern", "You cancelled the sign-in.")
		s.wantRefusal(poll(nil), 70017, "authorization_declined")
	})
	t.Run("expired", func(t *testing.T) {
		t.Parallel()
		s := newStand(t)
		_, poll := s.device()
		s.pass(16 * time.Minute)
		s.wantRefusal(poll(nil), 70019, "expired_token")
	})
	t.Run("unknown code", func(t *testing.T) {
		t.Parallel()
		s := newStand(t)
		_, poll := s.device()
		s.wantRefusal(poll(url.Values{"device_code": {"nope"}}), 70018, "bad_verification_code")
	})
	t.Run("public client flows off", func(t *testing.T) {
		t.Parallel()
		s := newStand(t)
		_, poll := s.device()
		s.world.UpdateApp(s.app.ClientID, func(a *world.App) { a.PublicClient = false })
		s.wantRefusal(poll(nil), 7000218, "invalid_client")
	})
	t.Run("blocked by the tenant", func(t *testing.T) {
		t.Parallel()
		s := newStand(t)
		d, poll := s.device()
		s.world.UpdateTenant("contoso.com", func(t *world.Tenant) { t.Policy.DeviceCodeBlocked = true })
		v := s.visitor()
		p := s.must(v.Get(t.Context(), d.Verification+"?otc="+d.UserCode))
		p = s.fill(v, p, nil, "")
		p = s.fill(v, p, map[string]string{"loginfmt": s.user.UPN}, "")
		p = s.fill(v, p, map[string]string{"passwd": password}, "")
		if !strings.Contains(p.Text, "AADSTS53003") {
			t.Errorf("page %q", p.Text)
		}
		s.wantRefusal(poll(nil), 70016, "authorization_pending")
	})
	t.Run("blocked after it was approved", func(t *testing.T) {
		t.Parallel()
		s := newStand(t)
		d, poll := s.device()
		v := s.visitor()
		p := s.must(v.Get(t.Context(), d.Verification+"?otc="+d.UserCode))
		p = s.fill(v, p, nil, "")
		p = s.fill(v, p, map[string]string{"loginfmt": s.user.UPN}, "")
		p = s.fill(v, p, map[string]string{"passwd": password}, "")
		p = s.fill(v, p, nil, "Continue")
		s.fill(v, p, nil, "Accept")
		s.world.UpdateTenant("contoso.com", func(t *world.Tenant) { t.Policy.DeviceCodeBlocked = true })
		s.wantRefusal(poll(nil), 53003, "invalid_grant")
	})
}
