package login

import (
	"net/http"
	"net/url"
	"strings"

	"postern/internal/sim365/world"
)

// adminConsent serves both forms: v2.0 with a scope, and the old one, which means
// everything registered. Errors carry admin_consent=True too, as Microsoft's do,
// so that a client has to look at error first.
func (s *Server) adminConsent(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		s.ownPage(w, r, aadsts(90023, "request"))
		return
	}
	a, f := s.trusted(r)
	if f == nil && a.realm.name == "common" && strings.Contains(r.URL.Path, "/v2.0/") {
		f = aadsts(50059)
	}
	if f != nil {
		s.ownPage(w, r, f)
		return
	}
	a.mode = "query"
	if s.struck(w, r, "authorize", "adminconsent", "", func(f *failure) { s.refuseAdmin(w, r, a, f) }) {
		return
	}
	if f := s.adminScopes(&a, r); f != nil {
		s.refuseAdmin(w, r, a, f)
		return
	}
	s.begin(w, r, s.adminFlow(a, r.Form.Get("scope")))
}

// adminScopes checks the scope of the v2.0 form. Application permissions are
// asked for with /.default, which the consent page lists from the registration.
func (s *Server) adminScopes(a *ask, r *http.Request) *failure {
	if !strings.Contains(r.URL.Path, "/v2.0/") {
		a.scopes = wanted{names: map[string][]string{}}
		return nil
	}
	if r.Form.Get("scope") == "" {
		return aadsts(900144, "scope")
	}
	// Both are in Microsoft's pages; the first is another name of Exchange.
	scope := strings.ReplaceAll(r.Form.Get("scope"), "https://ps.outlook.com/", world.Exchange365Resource+"/")
	var f *failure
	a.scopes, f = s.delegated(scope, a.app, a.realm.name)
	return f
}

func (s *Server) adminFlow(a ask, scope string) *flow {
	return &flow{
		realm: a.realm, app: a.app, scopes: a.scopes, prompt: "select_account", admin: true, hint: a.hint,
		succeed: func(w http.ResponseWriter, r *http.Request, u world.User) {
			values := url.Values{"admin_consent": {"True"}, "tenant": {u.TenantID}}
			if scope != "" {
				values.Set("scope", scope)
			}
			s.redirect(w, r, a, values)
		},
		refuse: func(w http.ResponseWriter, r *http.Request, f *failure) { s.refuseAdmin(w, r, a, f) },
	}
}

func (s *Server) refuseAdmin(w http.ResponseWriter, r *http.Request, a ask, f *failure) {
	if staysHere(f.number) {
		s.ownPage(w, r, f)
		return
	}
	values := url.Values{"admin_consent": {"True"}, "error": {f.oauth}, "error_description": {f.describe(s.incident(r))}}
	if a.realm.tenant.ID != "" {
		values.Set("tenant", a.realm.tenant.ID)
	}
	s.redirect(w, r, a, values)
}
