package login_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"postern/internal/sim365/world"
)

func TestDiscoveryAndIDToken(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	ctx := oidc.ClientContext(t.Context(), s.server.Client())
	// An independent library reads the metadata and keys and verifies the token.
	provider, err := oidc.NewProvider(ctx, s.server.URL+"/"+s.tenant.ID+"/v2.0")
	if err != nil {
		t.Fatal(err)
	}
	a := s.signedIn()
	id, err := provider.Verifier(&oidc.Config{ClientID: s.app.ClientID, Now: s.world.Now}).Verify(ctx, a.IDToken)
	if err != nil {
		t.Fatalf("id token: %v", err)
	}
	var claims struct {
		OID, TID, Email, Ver string
		Name                 string `json:"preferred_username"`
	}
	if err := id.Claims(&claims); err != nil {
		t.Fatal(err)
	}
	if id.Nonce != "n0nce" || claims.OID != s.user.ObjectID || claims.TID != s.tenant.ID || claims.Name != s.user.UPN || claims.Email != s.user.UPN || claims.Ver != "2.0" {
		t.Errorf("nonce %q, claims %+v", id.Nonce, claims)
	}
}

func TestDiscoveryOfSharedAndUnknownTenants(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	for tenant, want := range map[string]string{
		"common":        "/{tenantid}/v2.0",
		"organizations": "/{tenantid}/v2.0",
		"consumers":     "/" + world.ConsumersTenant + "/v2.0",
		"contoso.com":   "/" + s.tenant.ID + "/v2.0",
		"nobody.com":    "",
	} {
		resp, err := s.server.Client().Get(s.server.URL + "/" + tenant + "/v2.0/.well-known/openid-configuration")
		if err != nil {
			t.Fatal(err)
		}
		var doc struct{ Issuer, Error string }
		err = json.NewDecoder(resp.Body).Decode(&doc)
		resp.Body.Close()
		switch {
		case err != nil:
			t.Errorf("%s: %v", tenant, err)
		case want == "" && (resp.StatusCode != http.StatusBadRequest || doc.Error != "invalid_tenant"):
			t.Errorf("%s: %d %+v", tenant, resp.StatusCode, doc)
		case want != "" && doc.Issuer != s.server.URL+want:
			t.Errorf("%s: issuer %q", tenant, doc.Issuer)
		}
	}
}

func TestRedeemCode(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	a := s.signedIn()
	token, err := s.world.CheckToken(a.AccessToken)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"SMTP.Send", "IMAP.AccessAsUser.All"}; !slices.Equal(token.Scopes, want) || token.Resource != world.ExchangeResource || token.UPN != s.user.UPN || token.AppAuth != "1" {
		t.Errorf("token = %+v", token)
	}
	if a.Scope != outlook+"SMTP.Send "+outlook+"IMAP.AccessAsUser.All" || a.ExpiresIn != 75*60 || a.TokenType != "Bearer" {
		t.Errorf("answer = %+v", a)
	}
	for _, secret := range []string{a.AccessToken, a.RefreshToken, a.IDToken, s.lastBack().Get("code"), s.app.Secret, password} {
		if !slices.Contains(s.world.Secrets(), secret) {
			t.Errorf("Secrets lacks %.20q…", secret)
		}
	}
}

func TestRedeemCodeRefused(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		over   url.Values
		before func(*stand)
		number int
		oauth  string
	}{
		{"wrong verifier", url.Values{"code_verifier": {strings.Repeat("x", 50)}}, nil, 501481, "invalid_grant"},
		{"no verifier", url.Values{"code_verifier": {"-"}}, nil, 501481, "invalid_grant"},
		{"other redirect", url.Values{"redirect_uri": {"https://elsewhere.example/"}}, nil, 500112, "invalid_client"},
		{"wrong secret", url.Values{"client_secret": {"nope"}}, nil, 7000215, "invalid_client"},
		{"no secret", url.Values{"client_secret": {"-"}}, nil, 7000218, "invalid_client"},
		{"two resources", url.Values{"scope": {outlook + "SMTP.Send https://graph.microsoft.com/Mail.Send"}}, nil, 700022, "invalid_scope"},
		{"not consented", url.Values{"scope": {outlook + "POP.AccessAsUser.All"}}, nil, 65001, "invalid_grant"},
		{"mangled code", url.Values{"code": {"x"}}, nil, 9002313, "invalid_grant"},
		{"unknown code", url.Values{"code": {"1.Aunknown"}}, nil, 70000, "invalid_grant"},
		{"no code", url.Values{"code": {"-"}}, nil, 900144, "invalid_request"},
		{"no grant type", url.Values{"grant_type": {"-"}}, nil, 900144, "invalid_request"},
		{"other grant type", url.Values{"grant_type": {"implicit"}}, nil, 70003, "unsupported_grant_type"},
		{"too late", nil, func(s *stand) { s.pass(11 * time.Minute) }, 70008, "invalid_grant"},
		{"secret expired", nil, func(s *stand) {
			s.world.UpdateApp(s.app.ClientID, func(a *world.App) { a.SecretExpired = true })
		}, 7000222, "invalid_client"},
		{"user disabled meanwhile", nil, func(s *stand) {
			s.world.UpdateUser(s.user.UPN, func(u *world.User) { u.Disabled = true })
		}, 50057, "invalid_grant"},
		{"conditional access meanwhile", nil, func(s *stand) {
			s.world.UpdateTenant("contoso.com", func(t *world.Tenant) { t.Policy.ConditionalAccess = true })
		}, 53003, "invalid_grant"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := newStand(t)
			code := s.code(nil)
			if tc.before != nil {
				tc.before(s)
			}
			s.wantRefusal(s.token("contoso.com", s.redeemForm(code), tc.over), tc.number, tc.oauth)
		})
	}
}

func TestSecretIDPasted(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	a := s.token("contoso.com", s.redeemForm("1.A"), url.Values{"client_secret": {s.app.SecretID}})
	s.wantRefusal(a, 7000215, "invalid_client")
	if a.Status != http.StatusUnauthorized || !strings.Contains(a.Description, "not the client secret ID") {
		t.Errorf("%d %s", a.Status, a.Description)
	}
}

func TestCodeIsForOneRedemption(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	code := s.code(nil)
	var wg sync.WaitGroup
	answers := make([]answer, 8)
	for i := range answers {
		wg.Go(func() { answers[i], _ = s.post("/contoso.com/oauth2/v2.0/token", s.redeemForm(code)) })
	}
	wg.Wait()
	won := 0
	for _, a := range answers {
		if a.AccessToken != "" {
			won++
		} else {
			s.wantRefusal(a, 54005, "invalid_grant")
		}
	}
	if won != 1 {
		t.Errorf("%d of %d redemptions succeeded", won, len(answers))
	}
}

func TestRefreshRotatesAndKeepsTheOld(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	first := s.signedIn()
	second := s.token("contoso.com", s.refreshForm(first.RefreshToken), nil)
	if second.RefreshToken == "" || second.RefreshToken == first.RefreshToken || second.AccessToken == first.AccessToken {
		t.Fatalf("refresh did not rotate: %+v", second)
	}
	again := s.token("contoso.com", s.refreshForm(first.RefreshToken), nil)
	if again.AccessToken == "" {
		t.Errorf("the old refresh token was revoked: %+v", again)
	}
	if n := s.world.Count("refresh"); n != 2 {
		t.Errorf("counted %d refreshes", n)
	}
}

func TestRefreshForAnotherResource(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.world.AliasResource("https://localhost:4443", world.GraphResource)
	code := s.code(url.Values{"scope": {fullMail + " https://localhost:4443/Mail.Send"}})
	a := s.token("contoso.com", s.redeemForm(code), nil)
	graph := s.token("contoso.com", s.refreshForm(a.RefreshToken), url.Values{"scope": {"https://localhost:4443/Mail.Send " + outlook + "SMTP.Send"}})
	token, err := s.world.CheckToken(graph.AccessToken)
	if err != nil || token.Resource != world.GraphResource || !slices.Equal(token.Scopes, []string{"Mail.Send"}) {
		t.Errorf("of several resources the first must win: %+v %v %+v", token, err, graph)
	}
}

func TestRefreshRefused(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		over   url.Values
		before func(*stand)
		number int
		oauth  string
	}{
		{"sessions revoked", nil, func(s *stand) { s.world.RevokeSessions(s.user.UPN) }, 50173, "invalid_grant"},
		{"inactive too long", nil, func(s *stand) { s.pass(91 * 24 * time.Hour) }, 700082, "invalid_grant"},
		{"mangled", url.Values{"refresh_token": {"M!"}}, nil, 9002313, "invalid_grant"},
		{"unknown", url.Values{"refresh_token": {"1.Ano"}}, nil, 70000, "invalid_grant"},
		{"without the secret", url.Values{"client_secret": {"-"}}, nil, 7000218, "invalid_client"},
		{"not consented", url.Values{"scope": {"Mail.Send"}}, nil, 65001, "invalid_grant"},
		{"user disabled", nil, func(s *stand) {
			s.world.UpdateUser(s.user.UPN, func(u *world.User) { u.Disabled = true })
		}, 50057, "invalid_grant"},
		{"consent withdrawn", nil, func(s *stand) {
			s.world.UpdateApp(s.app.ClientID, func(a *world.App) { clear(a.UserConsent) })
		}, 65001, "invalid_grant"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := newStand(t)
			a := s.signedIn()
			if tc.before != nil {
				tc.before(s)
			}
			s.wantRefusal(s.token("contoso.com", s.refreshForm(a.RefreshToken), tc.over), tc.number, tc.oauth)
		})
	}
}

func TestClientCredentials(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	form := func() url.Values {
		return url.Values{"grant_type": {"client_credentials"}, "client_id": {s.app.ClientID}, "client_secret": {s.app.Secret}, "scope": {"https://outlook.office365.com/.default"}}
	}
	a := s.token("contoso.com", form(), nil)
	token, err := s.world.CheckToken(a.AccessToken)
	if err != nil || len(token.Roles) != 0 || token.UserID != "" || a.RefreshToken != "" {
		t.Fatalf("without consent a token without roles is issued: %+v %v", token, err)
	}
	s.world.UpdateApp(s.app.ClientID, func(a *world.App) { a.AdminConsent[s.tenant.ID] = true })
	token, _ = s.world.CheckToken(s.token(s.tenant.ID, form(), nil).AccessToken)
	if want := []string{"SMTP.SendAsApp", "IMAP.AccessAsApp"}; !slices.Equal(token.Roles, want) || token.Resource != world.Exchange365Resource {
		t.Errorf("token = %+v", token)
	}
	for _, tc := range []struct {
		name, tenant string
		over         url.Values
		number       int
		oauth        string
	}{
		{"no credential", "contoso.com", url.Values{"client_secret": {"-"}}, 7000216, "invalid_client"},
		{"wrong secret", "contoso.com", url.Values{"client_secret": {"x"}}, 7000215, "invalid_client"},
		{"a scope", "contoso.com", url.Values{"scope": {outlook + "SMTP.Send"}}, 1002012, "invalid_scope"},
		{"several", "contoso.com", url.Values{"scope": {outlook + ".default https://graph.microsoft.com/.default"}}, 70011, "invalid_scope"},
		{"unknown resource", "contoso.com", url.Values{"scope": {"https://nowhere.example/.default"}}, 500011, "invalid_resource"},
		{"other tenant", "fabrikam.com", nil, 700016, "unauthorized_client"},
		{"unknown tenant", "contso.com", nil, 90002, "invalid_request"},
		{"common", "common", nil, 50194, "unauthorized_client"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := &stand{T: t, world: s.world, server: s.server}
			s.wantRefusal(s.token(tc.tenant, form(), tc.over), tc.number, tc.oauth)
		})
	}
	s.world.UpdateApp(s.app.ClientID, func(a *world.App) { a.MultiTenant = true })
	s.wantRefusal(s.token("organizations", form(), nil), 50059, "invalid_request")
	s.wantRefusal(s.token("fabrikam.com", form(), nil), 7000229, "unauthorized_client")
}

func TestHTTPBasic(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	form := url.Values{"grant_type": {"client_credentials"}, "scope": {outlook + ".default"}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.server.URL+"/contoso.com/oauth2/v2.0/token", strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(url.QueryEscape(s.app.ClientID), url.QueryEscape(s.app.Secret))
	resp, err := s.server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("status %d", resp.StatusCode)
	}
}

func TestPassword(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, tenant string
		over         url.Values
		set          func(*stand)
		number       int
		oauth        string
	}{
		{name: "good", tenant: "organizations"},
		{name: "wrong password", over: url.Values{"password": {"x"}}, number: 50126, oauth: "invalid_grant"},
		{name: "nobody", over: url.Values{"username": {"nobody@contoso.com"}}, number: 50034, oauth: "invalid_grant"},
		{name: "somebody else's", tenant: "fabrikam.com", number: 50034, oauth: "invalid_grant"},
		{name: "common", tenant: "common", number: 9001023, oauth: "invalid_request"},
		{name: "no username", over: url.Values{"username": {"-"}}, number: 900144, oauth: "invalid_request"},
		{name: "not public, no secret", over: url.Values{"client_secret": {"-"}}, number: 7000218, oauth: "invalid_client"},
		{name: "two resources", over: url.Values{"scope": {outlook + "SMTP.Send Mail.Send"}}, number: 700022, oauth: "invalid_scope"},
		{name: "mfa", set: func(s *stand) { s.world.UpdateUser(s.user.UPN, func(u *world.User) { u.MFA = true }) }, number: 50076, oauth: "invalid_grant"},
		{name: "locked", set: func(s *stand) { s.world.UpdateUser(s.user.UPN, func(u *world.User) { u.Locked = true }) }, number: 50053, oauth: "invalid_grant"},
		{name: "disabled", set: func(s *stand) { s.world.UpdateUser(s.user.UPN, func(u *world.User) { u.Disabled = true }) }, number: 50057, oauth: "invalid_grant"},
		{name: "conditional access", set: func(s *stand) {
			s.world.UpdateTenant("contoso.com", func(t *world.Tenant) { t.Policy.ConditionalAccess = true })
		}, number: 53003, oauth: "invalid_grant"},
		{name: "security defaults", set: func(s *stand) {
			s.world.UpdateTenant("contoso.com", func(t *world.Tenant) { t.Policy.SecurityDefaults = true })
		}, number: 530035, oauth: "invalid_grant"},
		{name: "no consent", set: func(s *stand) { s.world.UpdateApp(s.app.ClientID, func(a *world.App) { clear(a.AdminConsent) }) }, number: 65001, oauth: "invalid_grant"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := newStand(t)
			s.world.UpdateApp(s.app.ClientID, func(a *world.App) { a.MultiTenant, a.AdminConsent[s.tenant.ID] = true, true })
			if tc.set != nil {
				tc.set(s)
			}
			if tc.tenant == "" {
				tc.tenant = "contoso.com"
			}
			a := s.token(tc.tenant, url.Values{
				"grant_type": {"password"}, "client_id": {s.app.ClientID}, "client_secret": {s.app.Secret},
				"username": {s.user.UPN}, "password": {password}, "scope": {outlook + "SMTP.Send offline_access"},
			}, tc.over)
			if tc.number != 0 {
				s.wantRefusal(a, tc.number, tc.oauth)
			} else if a.AccessToken == "" || a.RefreshToken == "" {
				t.Errorf("answer = %+v", a)
			}
		})
	}
}

func TestPersonalAccountsGetOpaqueTokens(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.world.AddTenant(world.Tenant{ID: world.ConsumersTenant, Domains: []string{"outlook.com"}})
	s.world.UpdateApp(s.app.ClientID, func(a *world.App) { a.MultiTenant = true })
	s.world.AddUser(world.User{UPN: "anna@outlook.com", Password: password})
	s.must(s.visitor().SignIn(t.Context(), s.authorizeURL("consumers", nil), "anna@outlook.com", password))
	a := s.token("consumers", s.redeemForm(s.lastBack().Get("code")), nil)
	if !strings.HasPrefix(a.AccessToken, "EwB") || a.IDToken == "" {
		t.Errorf("answer = %+v", a)
	}
}

func TestPublicClientMustNotSendASecret(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.world.UpdateApp(s.app.ClientID, func(a *world.App) { a.Secret, a.PublicClient = "", true })
	code := s.code(nil)
	s.wantRefusal(s.token("contoso.com", s.redeemForm(code), nil), 700025, "invalid_client")
	a := s.token("contoso.com", s.redeemForm(code), url.Values{"client_secret": {"-"}})
	b := s.token("contoso.com", s.refreshForm(a.RefreshToken), url.Values{"client_secret": {"-"}})
	if b.AccessToken == "" {
		t.Errorf("public client: %+v then %+v", a, b)
	}
}

func TestTokenEndpointWantsPOST(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	resp, err := s.server.Client().Get(s.server.URL + "/contoso.com/oauth2/v2.0/token")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var a answer
	if err := json.NewDecoder(resp.Body).Decode(&a); err != nil || a.number() != 900561 {
		t.Errorf("%v %+v", err, a)
	}
}

func TestIntrospection(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	a := s.signedIn()
	for name, get := range map[string]func(token string) (*http.Response, error){
		"post": func(token string) (*http.Response, error) {
			return s.server.Client().PostForm(s.server.URL+"/introspect", url.Values{"token": {token}})
		},
		"bearer": func(token string) (*http.Response, error) {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.server.URL+"/introspect", nil)
			if err != nil {
				return nil, err
			}
			req.Header.Set("Authorization", "Bearer "+token)
			return s.server.Client().Do(req)
		},
		"tokeninfo": func(token string) (*http.Response, error) {
			return s.server.Client().Get(s.server.URL + "/tokeninfo?access_token=" + token)
		},
	} {
		for _, token := range []string{a.AccessToken, "never-issued"} {
			resp, err := get(token)
			if err != nil {
				t.Fatal(err)
			}
			var got struct {
				Active          bool
				Username, Scope string
				Exp             int64
			}
			err = json.NewDecoder(resp.Body).Decode(&got)
			resp.Body.Close()
			good := token == a.AccessToken
			if err != nil || got.Active != good || (good && (got.Username != s.user.UPN || got.Scope != "SMTP.Send IMAP.AccessAsUser.All" || got.Exp == 0)) {
				t.Errorf("%s %.10s: %+v %v", name, token, got, err)
			}
			if name == "tokeninfo" && !good && resp.StatusCode != http.StatusBadRequest {
				t.Errorf("tokeninfo of a dead token: %d", resp.StatusCode)
			}
		}
	}
}
