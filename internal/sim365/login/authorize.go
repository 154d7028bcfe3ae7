package login

import (
	"html/template"
	"net/http"
	"net/url"
	"strings"

	"postern/internal/sim365/world"
)

// ask is a validated authorization request.
type ask struct {
	realm     realm
	app       world.App
	redirect  string
	mode      string // query, form_post, fragment
	state     string
	nonce     string
	challenge string
	method    string // S256 or plain
	scopes    wanted
	prompt    string
	hint      string
}

// authorize starts a sign-in. What is wrong with app, tenant or redirect URI is
// shown here and never redirected: the address cannot be trusted.
func (s *Server) authorize(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		s.ownPage(w, r, aadsts(90023, "request"))
		return
	}
	a, f := s.trusted(r)
	if f != nil {
		s.ownPage(w, r, f)
		return
	}
	if s.struck(w, r, "authorize", "", a.hint, func(f *failure) { s.refuse(w, r, a, f) }) {
		return
	}
	if f := s.complete(&a, r.Form); f != nil {
		s.refuse(w, r, a, f)
		return
	}
	s.begin(w, r, s.signIn(a))
}

// trusted checks what decides whether the redirect URI may be used at all.
func (s *Server) trusted(r *http.Request) (ask, *failure) {
	re, f := s.realm(r)
	if f != nil {
		return ask{}, f
	}
	app, f := s.app(re, r.Form.Get("client_id"))
	if f != nil {
		return ask{}, f
	}
	a := ask{realm: re, app: app, redirect: r.Form.Get("redirect_uri"), state: r.Form.Get("state"), hint: r.Form.Get("login_hint"), mode: "query"}
	switch {
	case len(app.RedirectURIs) == 0:
		return a, aadsts(500113)
	case a.redirect == "":
		a.redirect = app.RedirectURIs[0]
	case !redirectAllowed(app, a.redirect):
		return a, aadsts(50011, a.redirect, app.ClientID)
	}
	if mode := r.Form.Get("response_mode"); mode == "form_post" || mode == "fragment" {
		a.mode = mode
	}
	return a, nil
}

// complete checks the rest, whose faults go back to the app.
func (s *Server) complete(a *ask, form url.Values) *failure {
	for _, field := range []string{"response_type", "scope"} {
		if form.Get(field) == "" {
			return aadsts(900144, field)
		}
	}
	if t := form.Get("response_type"); t != "code" {
		return aadsts(70005, t)
	}
	switch mode := form.Get("response_mode"); mode {
	case "", "query", "form_post", "fragment":
	default:
		return aadsts(70007, mode)
	}
	a.nonce, a.challenge, a.method = form.Get("nonce"), form.Get("code_challenge"), form.Get("code_challenge_method")
	if a.challenge != "" && (len(a.challenge) < 43 || len(a.challenge) > 128) {
		return aadsts(501491)
	}
	switch a.method {
	case "":
		a.method = "plain" // RFC 7636 §4.3
	case "plain", "S256":
	default:
		return aadsts(90023, "code_challenge_method")
	}
	a.prompt = form.Get("prompt")
	switch a.prompt {
	case "", "login", "none", "consent", "select_account":
	default:
		return aadsts(90023, "prompt")
	}
	var f *failure
	a.scopes, f = s.delegated(form.Get("scope"), a.app, a.realm.name)
	return f
}

// signIn is the flow of an authorization request.
func (s *Server) signIn(a ask) *flow {
	return &flow{
		realm: a.realm, app: a.app, scopes: a.scopes, prompt: a.prompt, hint: a.hint,
		succeed: func(w http.ResponseWriter, r *http.Request, u world.User) { s.grantCode(w, r, a, u) },
		refuse:  func(w http.ResponseWriter, r *http.Request, f *failure) { s.refuse(w, r, a, f) },
	}
}

// grantCode sends the browser back with a code.
func (s *Server) grantCode(w http.ResponseWriter, r *http.Request, a ask, u world.User) {
	c := &code{
		raw: "1.A" + world.Random(600), redirect: a.redirect, challenge: a.challenge, method: a.method, nonce: a.nonce,
		expires: s.world.Now().Add(codeLife),
		grant:   s.newGrant(a.app, u, a.scopes),
	}
	s.keepCode(c)
	s.redirect(w, r, a, url.Values{"code": {c.raw}, "session_state": {world.NewID()}})
}

// refuse tells the app that there will be no code. Faults that Microsoft keeps on
// its own page stay there.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, a ask, f *failure) {
	if staysHere(f.number) {
		s.ownPage(w, r, f)
		return
	}
	values := url.Values{"error": {f.oauth}, "error_description": {f.describe(s.incident(r))}, "error_uri": {s.errorURI(f)}}
	if f.number == 65004 {
		values.Set("error_subcode", "cancel")
	}
	s.redirect(w, r, a, values)
}

// staysHere lists what the app never hears of: Microsoft shows it and stops.
func staysHere(number int) bool {
	switch number {
	case 50011, 500113, 700016, 7000112, 90002, 50194, 50020, 500208, 50057, 53003, 530035, 50089:
		return true
	}
	return false
}

// redirect sends values to the app in the way it asked for.
func (s *Server) redirect(w http.ResponseWriter, r *http.Request, a ask, values url.Values) {
	if a.state != "" {
		values.Set("state", a.state)
	}
	w.Header().Set("Cache-Control", "no-store, no-cache")
	switch a.mode {
	case "form_post":
		// The address was compared with the registration, so that a custom scheme is meant.
		s.show(w, http.StatusOK, "post", view{Title: "Working...", Action: template.URL(a.redirect), Hidden: hidden(values)})
	case "fragment":
		http.Redirect(w, r, a.redirect+"#"+values.Encode(), http.StatusFound)
	default:
		http.Redirect(w, r, withQuery(a.redirect, values), http.StatusFound)
	}
}

func withQuery(address string, values url.Values) string {
	if strings.Contains(address, "?") {
		return address + "&" + values.Encode()
	}
	return address + "?" + values.Encode()
}

// loopback returns a loopback redirect without its port, "" for anything else.
func loopback(uri string) string {
	u, err := url.Parse(uri)
	if err != nil || u.Scheme != "http" || (u.Hostname() != "localhost" && u.Hostname() != "127.0.0.1") {
		return ""
	}
	return u.Hostname() + strings.TrimSuffix(u.Path, "/")
}

// logout forgets the browser's session.
func (s *Server) logout(w http.ResponseWriter, r *http.Request) {
	if c, err := r.Cookie(cookieName); err == nil {
		s.mu.Lock()
		delete(s.sessions, c.Value)
		s.mu.Unlock()
	}
	http.SetCookie(w, &http.Cookie{Name: cookieName, Path: "/", MaxAge: -1, Secure: true, HttpOnly: true})
	s.show(w, http.StatusOK, "notice", view{Title: "You signed out of your account", Text: "It's a good idea to close all browser windows."})
}
