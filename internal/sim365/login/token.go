package login

import (
	"net/http"
	"net/url"
	"strings"

	"postern/internal/sim365/world"
)

// call is one request to the token endpoint.
type call struct {
	realm realm
	app   world.App
	form  url.Values
	proof string // how the app proved itself: "0" not at all, "1" secret, "2" certificate
}

// response is a success of the token endpoint (RFC 6749 §5.1).
type response struct {
	TokenType    string `json:"token_type"`
	Scope        string `json:"scope,omitempty"`
	ExpiresIn    int    `json:"expires_in"`
	ExtExpiresIn int    `json:"ext_expires_in"`
	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token,omitempty"`
	IDToken      string `json:"id_token,omitempty"`
}

const deviceGrant = "urn:ietf:params:oauth:grant-type:device_code"

func (s *Server) token(w http.ResponseWriter, r *http.Request) {
	if f := postForm(r); f != nil {
		s.answer(w, r, f)
		return
	}
	stage := r.PostForm.Get("grant_type")
	if stage == deviceGrant {
		stage = "device_code"
	}
	fail := func(f *failure) { s.answer(w, r, f) }
	fault, struck := s.world.Strike("token", stage, s.whose(r.PostForm))
	if struck && fault.Kind == world.FaultDropAfter {
		_, _ = s.grant(r) // done, and never told
		hangUp()
	}
	if struck && s.misbehave(w, r, fault, fail) {
		return
	}
	answer, f := s.grant(r)
	if f != nil {
		fail(f)
		return
	}
	writeJSON(w, http.StatusOK, answer)
}

// postForm parses a POST body; parameters in the URL do not count (RFC 6749 §3.2).
func postForm(r *http.Request) *failure {
	if r.Method != http.MethodPost {
		return aadsts(900561, r.Method)
	}
	if err := r.ParseForm(); err != nil {
		return aadsts(90023, "request")
	}
	return nil
}

// whose says which user a request is about, as far as that can be told before
// the work is done; faults can be armed for one mailbox.
func (s *Server) whose(form url.Values) string {
	if c, ok := s.findCode(form.Get("code")); ok {
		return c.grant.upn
	}
	if g, ok := s.findRefresh(form.Get("refresh_token")); ok {
		return g.upn
	}
	return form.Get("username")
}

// grant does the work of the token endpoint.
func (s *Server) grant(r *http.Request) (response, *failure) {
	c := call{form: r.PostForm}
	kind := c.form.Get("grant_type")
	if kind == "" {
		return response{}, aadsts(900144, "grant_type")
	}
	var f *failure
	if c.realm, f = s.realm(r); f != nil {
		return response{}, f
	}
	id, secret := c.form.Get("client_id"), c.form.Get("client_secret")
	if user, password, ok := basicAuth(r); ok {
		id, secret = user, password
	}
	if c.app, f = s.app(c.realm, id); f != nil {
		return response{}, f
	}
	if c.proof, f = s.prove(c, secret); f != nil {
		return response{}, f
	}
	switch kind {
	case "authorization_code":
		return s.byCode(c)
	case "refresh_token":
		return s.byRefresh(c)
	case "client_credentials":
		return s.byCredentials(c)
	case "password":
		return s.byPassword(c)
	case deviceGrant:
		return s.byDevice(c)
	}
	return response{}, aadsts(70003, kind)
}

// basicAuth reads HTTP Basic with the form encoding of RFC 6749 §2.3.1.
func basicAuth(r *http.Request) (id, secret string, ok bool) {
	user, password, ok := r.BasicAuth()
	if !ok {
		return "", "", false
	}
	id, err := url.QueryUnescape(user)
	if err != nil {
		return "", "", false
	}
	secret, err = url.QueryUnescape(password)
	return id, secret, err == nil
}

// issue makes the answer for a user's grant and one resource.
func (s *Server) issue(c call, u world.User, g grant, q wanted, nonce string) response {
	resource := world.GraphResource
	if len(q.resources) > 0 {
		resource = q.resources[0]
	}
	canonical, _ := s.world.Resource(resource)
	scopes := q.names[resource]
	if len(scopes) == 0 {
		scopes = strings.Fields(q.echo(canonical))
	}
	t := s.world.IssueAccess(world.Token{
		TenantID: u.TenantID, ClientID: c.app.ClientID, Resource: resource, AppAuth: c.proof,
		Scopes: scopes, UserID: u.ObjectID, UPN: u.UPN,
	})
	answer := bearer(t)
	answer.Scope = q.echo(canonical)
	if g.scopes.offline {
		g.public = c.proof == "0"
		answer.RefreshToken = s.keepRefresh(g)
	}
	if g.scopes.openid {
		answer.IDToken = s.idToken(u, c.app, g.scopes, nonce)
	}
	return answer
}

func bearer(t world.Token) response {
	left := int(t.Expires.Sub(t.Issued).Seconds())
	return response{TokenType: "Bearer", ExpiresIn: left, ExtExpiresIn: left, AccessToken: t.Raw}
}
