package login_test

import (
	"net/url"
	"strings"
	"testing"

	"postern/internal/sim365/world"
)

func (s *stand) adminURL(path string, over url.Values) string {
	return s.server.URL + path + "?" + merge(url.Values{
		"client_id": {s.app.ClientID}, "redirect_uri": {s.app.RedirectURIs[0]}, "state": {"st"}, "scope": {"https://outlook.office365.com/.default"},
	}, over).Encode()
}

func TestAdminConsent(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/contoso.com/v2.0/adminconsent", "/contoso.com/adminconsent"} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			s := newStand(t)
			s.must(s.visitor().SignIn(t.Context(), s.adminURL(path, nil), s.admin.UPN, password))
			got := s.lastBack()
			if got.Get("admin_consent") != "True" || got.Get("tenant") != s.tenant.ID || got.Get("state") != "st" || got.Get("error") != "" {
				t.Fatalf("the app got %v", got)
			}
			if app, _ := s.world.App(s.app.ClientID); !app.AdminConsent[s.tenant.ID] {
				t.Error("nothing was consented")
			}
		})
	}
}

func TestAdminConsentRefused(t *testing.T) {
	t.Parallel()
	decline := func(s *stand, name, button string) url.Values {
		v := s.visitor()
		p := s.must(v.Get(s.Context(), s.adminURL("/contoso.com/v2.0/adminconsent", nil)))
		p = s.fill(v, p, map[string]string{"loginfmt": name}, "")
		p = s.fill(v, p, map[string]string{"passwd": password}, "")
		s.fill(v, p, nil, button)
		return s.lastBack()
	}
	for _, tc := range []struct{ name, who, button, number string }{
		{"declined", "admin@contoso.com", "Cancel", "AADSTS65004"},
		{"not an admin", "scan@contoso.com", "", "AADSTS90094"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := newStand(t)
			got := decline(s, tc.who, tc.button)
			if got.Get("error") != "access_denied" || got.Get("admin_consent") != "True" || !strings.HasPrefix(got.Get("error_description"), tc.number) {
				t.Errorf("the app got %v", got)
			}
			if app, _ := s.world.App(s.app.ClientID); app.AdminConsent[s.tenant.ID] {
				t.Error("consented all the same")
			}
		})
	}
	t.Run("bad scope goes back", func(t *testing.T) {
		t.Parallel()
		s := newStand(t)
		s.must(s.visitor().Get(t.Context(), s.adminURL("/contoso.com/v2.0/adminconsent", url.Values{"scope": {"https://nowhere.example/.default"}})))
		if got := s.lastBack(); got.Get("error") != "invalid_resource" || got.Get("admin_consent") != "True" {
			t.Errorf("the app got %v", got)
		}
	})
	t.Run("common has no tenant", func(t *testing.T) {
		t.Parallel()
		s := newStand(t)
		s.world.UpdateApp(s.app.ClientID, func(a *world.App) { a.MultiTenant = true })
		p := s.must(s.visitor().Get(t.Context(), s.adminURL("/common/v2.0/adminconsent", nil)))
		if !strings.Contains(p.Text, "AADSTS50059") || s.lastBack() != nil {
			t.Errorf("page %q, the app got %v", p.Text, s.lastBack())
		}
	})
}
