package login_test

import (
	"context"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"postern/internal/sim365/visitor"
	"postern/internal/sim365/world"
)

func itoa(n int) string { return strconv.Itoa(n) }

// must returns a page or ends the test.
func (s *stand) must(p visitor.Page, err error) visitor.Page {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
	return p
}

// fill submits the page's only form.
func (s *stand) fill(v *visitor.Visitor, p visitor.Page, values map[string]string, button string) visitor.Page {
	s.Helper()
	if len(p.Forms) != 1 {
		s.Fatalf("page %q has %d forms: %s", p.Title, len(p.Forms), p.Text)
	}
	return s.must(v.Submit(context.Background(), p, p.Forms[0], values, button))
}

func (s *stand) wantPage(p visitor.Page, title, text string) {
	s.Helper()
	if p.Title != title || !strings.Contains(p.Text, text) {
		s.Fatalf("page is %q: %q, want %q: %q", p.Title, p.Text, title, text)
	}
}

func TestSignInPageByPage(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	v := s.visitor()
	s.world.UpdateUser(s.user.UPN, func(u *world.User) { u.MFA = true })

	p := s.must(v.Get(t.Context(), s.authorizeURL("contoso.com", nil)))
	s.wantPage(p, "Sign in", "to continue to Postern")
	p = s.fill(v, p, map[string]string{"loginfmt": "nobody@contoso.com"}, "")
	s.wantPage(p, "Sign in", "We couldn't find an account with that username.")
	p = s.fill(v, p, map[string]string{"loginfmt": s.user.UPN}, "")
	s.wantPage(p, "Enter password", s.user.UPN)
	p = s.fill(v, p, map[string]string{"passwd": "wrong"}, "")
	s.wantPage(p, "Enter password", "Your account or password is incorrect.")
	p = s.fill(v, p, map[string]string{"passwd": password}, "")
	s.wantPage(p, "Enter code", "authenticator app")
	p = s.fill(v, p, map[string]string{"otc": "no"}, "")
	s.wantPage(p, "Enter code", "You didn't enter the expected verification code.")
	p = s.fill(v, p, map[string]string{"otc": regexp.MustCompile(`\b\d{6}\b`).FindString(p.Text)}, "")
	s.wantPage(p, "Permissions requested", "Send emails from your mailbox using SMTP AUTH")
	p = s.fill(v, p, nil, "Accept")
	s.wantPage(p, "back at the app", "")
	if got := s.lastBack(); got.Get("code") == "" || got.Get("state") != "st&te" {
		t.Fatalf("the app got %v", got)
	}

	// The session stands for everything the second time, even without a page.
	p = s.must(v.Get(t.Context(), s.authorizeURL("contoso.com", url.Values{"prompt": {"none"}, "state": {"again"}})))
	if got := s.lastBack(); got.Get("code") == "" || got.Get("state") != "again" {
		t.Errorf("silent sign-in: the app got %v, page %q", got, p.Text)
	}
}

func TestAccountPicker(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	v := s.visitor()
	s.must(v.SignIn(t.Context(), s.authorizeURL("contoso.com", nil), s.user.UPN, password))
	p := s.must(v.Get(t.Context(), s.authorizeURL("contoso.com", url.Values{"prompt": {"select_account"}})))
	s.wantPage(p, "Pick an account", s.user.UPN)
	p = s.fill(v, p, nil, "Use another account")
	s.wantPage(p, "Sign in", "")
	p = s.fill(v, p, map[string]string{"loginfmt": s.admin.UPN}, "")
	p = s.fill(v, p, map[string]string{"passwd": password}, "")
	p = s.fill(v, p, nil, "Accept")
	s.wantPage(p, "back at the app", "")

	// Two sessions: without a hint the person has to choose.
	p = s.must(v.Get(t.Context(), s.authorizeURL("contoso.com", nil)))
	s.wantPage(p, "Pick an account", s.admin.UPN)
	p = s.fill(v, p, nil, s.user.ObjectID)
	s.wantPage(p, "back at the app", "")
	a := s.token("contoso.com", s.redeemForm(s.lastBack().Get("code")), nil)
	if got, err := s.world.CheckToken(a.AccessToken); err != nil || got.UPN != s.user.UPN {
		t.Errorf("token is for %q, want the account that was picked", got.UPN)
	}

	// prompt=login asks for the password whatever the session says, and the hint saves typing the name.
	p = s.must(v.Get(t.Context(), s.authorizeURL("contoso.com", url.Values{"prompt": {"login"}, "login_hint": {s.user.UPN}})))
	s.wantPage(p, "Enter password", s.user.UPN)
	p = s.fill(v, p, nil, "Back")
	s.wantPage(p, "Sign in", "")

	s.must(v.Get(t.Context(), s.server.URL+"/common/oauth2/v2.0/logout"))
	p = s.must(v.Get(t.Context(), s.authorizeURL("contoso.com", nil)))
	s.wantPage(p, "Sign in", "")
}

func TestStepsCannotBeSkipped(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	v := s.visitor()
	p := s.must(v.Get(t.Context(), s.authorizeURL("contoso.com", url.Values{"login_hint": {s.user.UPN}})))
	f := p.Forms[0]
	f.Action, _ = url.Parse(s.server.URL + "/contoso.com/signin/consent")
	f.Fields = append(f.Fields, visitor.Field{Name: "answer", Value: "yes"})
	p = s.must(v.Submit(t.Context(), p, f, nil, ""))
	s.wantPage(p, "Enter password", "")
	f.Fields = nil
	p = s.must(v.Submit(t.Context(), p, f, nil, ""))
	if p.Status != http.StatusBadRequest || !strings.Contains(p.Text, "AADSTS50089") || s.lastBack() != nil {
		t.Errorf("a form without its flow: %d %q, the app got %v", p.Status, p.Text, s.lastBack())
	}
}

func TestErrorsOnMicrosoftsOwnPage(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		tenant string
		over   url.Values
		set    func(*stand)
		want   int
	}{
		{"redirect mismatch", "contoso.com", url.Values{"redirect_uri": {"http://127.0.0.1:1/other"}}, nil, 50011},
		{"redirect with a slash more", "contoso.com", nil, func(s *stand) {
			s.world.UpdateApp(s.app.ClientID, func(a *world.App) { a.RedirectURIs[0] = "https://gateway.example/back/" })
		}, 50011},
		{"no redirect registered", "contoso.com", nil, func(s *stand) {
			s.world.UpdateApp(s.app.ClientID, func(a *world.App) { a.RedirectURIs = nil })
		}, 500113},
		{"unknown app", "contoso.com", url.Values{"client_id": {"11111111-2222-3333-4444-555555555555"}}, nil, 700016},
		{"app of another tenant", "fabrikam.com", nil, nil, 700016},
		{"no client id", "contoso.com", url.Values{"client_id": {"-"}}, nil, 900144},
		{"unknown tenant", "contso.com", nil, nil, 90002},
		{"single-tenant app on common", "common", nil, nil, 50194},
		{"disabled app", "contoso.com", nil, func(s *stand) {
			s.world.UpdateApp(s.app.ClientID, func(a *world.App) { a.Disabled = true })
		}, 7000112},
		{"conditional access", "contoso.com", nil, func(s *stand) {
			s.world.UpdateTenant("contoso.com", func(t *world.Tenant) { t.Policy.ConditionalAccess = true })
		}, 53003},
		{"user of another tenant", "contoso.com", nil, func(s *stand) {
			s.user, _ = s.world.User("eve@fabrikam.com")
		}, 50020},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := newStand(t)
			if tc.set != nil {
				tc.set(s)
			}
			p := s.must(s.visitor().SignIn(t.Context(), s.authorizeURL(tc.tenant, tc.over), s.user.UPN, password))
			for _, part := range []string{"AADSTS" + itoa(tc.want) + ":", "Request Id", "Correlation Id", "Timestamp"} {
				if !strings.Contains(p.Text, part) {
					t.Errorf("page %q lacks %q", p.Text, part)
				}
			}
			if strings.Contains(p.Text, "%!") || strings.Contains(p.Text, "%s") {
				t.Errorf("badly filled text: %q", p.Text)
			}
			if got := s.lastBack(); got != nil {
				t.Errorf("the app was told: %v", got)
			}
		})
	}
}

func TestErrorsThatGoBackToTheApp(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		over   url.Values
		oauth  string
		number int
	}{
		{"response type", url.Values{"response_type": {"token"}}, "unsupported_response_type", 70005},
		{"no response type", url.Values{"response_type": {"-"}}, "invalid_request", 900144},
		{"no scope", url.Values{"scope": {"-"}}, "invalid_request", 900144},
		{"application permission as scope", url.Values{"scope": {outlook + "SMTP.SendAsApp"}}, "invalid_scope", 70011},
		{"unknown resource", url.Values{"scope": {"https://outlook.example/SMTP.Send"}}, "invalid_resource", 500011},
		{"response mode", url.Values{"response_mode": {"carrier_pigeon"}}, "invalid_request", 70007},
		{"short challenge", url.Values{"code_challenge": {"short"}}, "invalid_request", 501491},
		{"prompt", url.Values{"prompt": {"please"}}, "invalid_request", 90023},
		{"nobody signed in", url.Values{"prompt": {"none"}}, "login_required", 50058},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := newStand(t)
			s.must(s.visitor().Get(t.Context(), s.authorizeURL("contoso.com", tc.over)))
			got := s.lastBack()
			if got.Get("error") != tc.oauth || !strings.HasPrefix(got.Get("error_description"), "AADSTS"+itoa(tc.number)+":") || got.Get("state") != "st&te" {
				t.Errorf("the app got %v", got)
			}
		})
	}
}

func TestPersonWhoMayNotSignIn(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		set  func(*world.User)
		says string
	}{
		"locked":   {func(u *world.User) { u.Locked = true }, "temporarily locked"},
		"disabled": {func(u *world.User) { u.Disabled = true }, "has been locked. Contact your support person"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStand(t)
			v := s.visitor()
			s.world.UpdateUser(s.user.UPN, tc.set)
			p := s.must(v.Get(t.Context(), s.authorizeURL("contoso.com", url.Values{"login_hint": {s.user.UPN}})))
			p = s.fill(v, p, map[string]string{"passwd": password}, "")
			s.wantPage(p, "Enter password", tc.says)
		})
	}
}

func TestConsent(t *testing.T) {
	t.Parallel()
	toConsent := func(s *stand, v *visitor.Visitor, name string, over url.Values) visitor.Page {
		p := s.must(v.Get(t.Context(), s.authorizeURL("contoso.com", merge(url.Values{"login_hint": {name}}, over))))
		return s.fill(v, p, map[string]string{"passwd": password}, "")
	}
	t.Run("declined", func(t *testing.T) {
		t.Parallel()
		s := newStand(t)
		v := s.visitor()
		s.fill(v, toConsent(s, v, s.user.UPN, nil), nil, "Cancel")
		if got := s.lastBack(); got.Get("error") != "access_denied" || got.Get("error_subcode") != "cancel" || !strings.Contains(got.Get("error_description"), "AADSTS65004") {
			t.Errorf("the app got %v", got)
		}
	})
	t.Run("asked once, and for what is new", func(t *testing.T) {
		t.Parallel()
		s := newStand(t)
		v := s.visitor()
		s.fill(v, toConsent(s, v, s.user.UPN, url.Values{"scope": {outlook + "SMTP.Send"}}), nil, "Accept")
		p := s.must(v.Get(t.Context(), s.authorizeURL("contoso.com", url.Values{"scope": {outlook + "SMTP.Send"}})))
		s.wantPage(p, "back at the app", "")
		p = s.must(v.Get(t.Context(), s.authorizeURL("contoso.com", nil)))
		s.wantPage(p, "Permissions requested", "via IMAP")
		p = s.must(v.Get(t.Context(), s.authorizeURL("contoso.com", url.Values{"scope": {outlook + "SMTP.Send"}, "prompt": {"consent"}})))
		s.wantPage(p, "Permissions requested", "SMTP AUTH")
	})
	t.Run("needs an admin", func(t *testing.T) {
		t.Parallel()
		s := newStand(t)
		v := s.visitor()
		s.world.UpdateTenant("contoso.com", func(t *world.Tenant) { t.Policy.AdminConsentNeeded = true })
		p := toConsent(s, v, s.user.UPN, nil)
		s.wantPage(p, "Need admin approval", "AADSTS90094")
		p = s.fill(v, p, nil, "")
		if got := s.lastBack(); got.Get("error") != "access_denied" || !strings.Contains(got.Get("error_description"), "AADSTS90094") {
			t.Errorf("the app got %v, page %q", got, p.Text)
		}
	})
	t.Run("an admin consents for all", func(t *testing.T) {
		t.Parallel()
		s := newStand(t)
		v := s.visitor()
		p := toConsent(s, v, s.admin.UPN, nil)
		s.fill(v, p, map[string]string{"organization": "1"}, "Accept")
		other := s.visitor()
		p = toConsent(s, other, s.user.UPN, nil)
		s.wantPage(p, "back at the app", "")
	})
}

func TestResponseModes(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	v := s.visitor()
	s.must(v.SignIn(t.Context(), s.authorizeURL("contoso.com", nil), s.user.UPN, password))
	p := s.must(v.Get(t.Context(), s.authorizeURL("contoso.com", url.Values{"response_mode": {"form_post"}, "state": {"posted"}})))
	s.wantPage(p, "Working...", "")
	p = s.fill(v, p, nil, "")
	if got := s.lastBack(); got.Get("state") != "posted" || got.Get("code") == "" || strings.Contains(p.URL.String(), "code=") {
		t.Errorf("form_post: the app got %v at %s", got, p.URL)
	}
	p = s.must(v.Get(t.Context(), s.authorizeURL("contoso.com", url.Values{"response_mode": {"fragment"}, "state": {"frag"}})))
	if !strings.Contains(p.URL.Fragment, "state=frag") || s.lastBack().Get("state") != "" {
		t.Errorf("fragment: landed at %s", p.URL)
	}
}

func TestLoopbackRedirectTakesAnyPort(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.world.UpdateApp(s.app.ClientID, func(a *world.App) { a.RedirectURIs = []string{"http://127.0.0.1/back"} })
	p := s.must(s.visitor().SignIn(t.Context(), s.authorizeURL("contoso.com", nil), s.user.UPN, password))
	s.wantPage(p, "back at the app", "")
}
