package login

import (
	"crypto/subtle"
	"strings"
	"time"

	"postern/internal/sim365/world"
)

// byCode redeems an authorization code. A refused attempt does not use it up.
func (s *Server) byCode(c call) (response, *failure) {
	raw := c.form.Get("code")
	if raw == "" {
		return response{}, aadsts(900144, "code")
	}
	s.world.Remember(c.form.Get("code_verifier"))
	held, ok := s.findCode(raw)
	switch {
	case !ok && strings.HasPrefix(raw, "1.A"):
		return response{}, aadsts(70000)
	case !ok:
		return response{}, aadsts(9002313)
	case held.redeemed:
		return response{}, aadsts(54005)
	case !s.world.Now().Before(held.expires):
		return response{}, aadsts(70008)
	case held.grant.clientID != c.app.ClientID:
		return response{}, aadsts(70000)
	case !c.realm.admits(held.grant.tenantID):
		return response{}, aadsts(700005)
	case held.redirect != c.form.Get("redirect_uri"):
		return response{}, aadsts(500112, c.form.Get("redirect_uri"), held.redirect)
	case c.proof == "0" && confidential(c.app, held.redirect):
		return response{}, aadsts(7000218)
	case !held.proves(c.form.Get("code_verifier")):
		return response{}, aadsts(501481)
	}
	q, f := s.oneResource(c, held.grant.scopes, true)
	if f != nil {
		return response{}, f
	}
	u, f := s.stillAllowed(c, held.grant, q)
	if f != nil {
		return response{}, f
	}
	if !s.redeem(raw) { // another request was faster
		return response{}, aadsts(54005)
	}
	s.world.Bump("code")
	return s.issue(c, u, held.grant, q, held.nonce), nil
}

// confidential: an app that has credentials must show them, unless it is a
// public client that was called back on this machine.
func confidential(app world.App, redirect string) bool {
	if app.Secret == "" && len(app.Certificate) == 0 {
		return !app.PublicClient
	}
	return !app.PublicClient || loopback(redirect) == ""
}

// byRefresh answers with new tokens. The old refresh token stays good: Microsoft
// does not revoke it.
func (s *Server) byRefresh(c call) (response, *failure) {
	raw := c.form.Get("refresh_token")
	if raw == "" {
		return response{}, aadsts(900144, "refresh_token")
	}
	g, ok := s.findRefresh(raw)
	_, life := s.world.Lives()
	idle := s.world.Now().Sub(g.used)
	switch {
	case !ok && !strings.HasPrefix(raw, "1.A") && !strings.HasPrefix(raw, "M.C5"):
		return response{}, aadsts(9002313)
	case !ok, g.clientID != c.app.ClientID, !c.realm.admits(g.tenantID):
		return response{}, aadsts(70000)
	case !g.public && c.proof == "0":
		return response{}, aadsts(7000218)
	case idle >= life:
		return response{}, aadsts(700082, g.issued.UTC().Format(time.RFC3339Nano), life)
	}
	q, f := s.oneResource(c, g.scopes, false)
	if f != nil {
		return response{}, f
	}
	u, f := s.stillAllowed(c, g, q)
	if f != nil {
		return response{}, f
	}
	s.touchRefresh(raw)
	s.world.Bump("refresh")
	return s.issue(c, u, g, q, ""), nil
}

// oneResource decides which resource a token is for: that of the scope parameter,
// or the grant's first. A token is for one resource; a code with several is
// refused when strict, a refresh token serves the first.
func (s *Server) oneResource(c call, given wanted, strict bool) (wanted, *failure) {
	q := given
	if raw := c.form.Get("scope"); raw != "" {
		var f *failure
		if q, f = s.delegated(raw, c.app, c.realm.name); f != nil {
			return q, f
		}
		if strict && len(q.resources) > 1 {
			return q, aadsts(700022, raw)
		}
	}
	if len(q.resources) == 0 {
		return q, nil
	}
	return q.only(q.resources[0]), nil
}

// stillAllowed asks again what may have changed since the user signed in.
func (s *Server) stillAllowed(c call, g grant, q wanted) (world.User, *failure) {
	u, ok := s.world.User(g.userID)
	t, _ := s.world.Tenant(g.tenantID)
	now := s.world.Now().UTC().Format(time.RFC3339Nano)
	app, _ := s.world.App(c.app.ClientID)
	switch {
	case !ok:
		return u, aadsts(50034, c.realm.name)
	case g.epoch != s.world.SessionEpoch(g.userID):
		return u, aadsts(50173, g.issued.UTC().Format(time.RFC3339Nano), now)
	case u.Disabled:
		return u, aadsts(50057)
	case t.Policy.ConditionalAccess:
		return u, aadsts(53003)
	case len(unconsented(q, app, u)) > 0:
		return u, aadsts(65001, app.ClientID, app.Name)
	}
	return u, nil
}

// byCredentials issues an app-only token: without roles when nobody consented, as
// Entra does, so that the mail server is the one to refuse it.
func (s *Server) byCredentials(c call) (response, *failure) {
	tenant := c.realm.tenant.ID
	scope := c.form.Get("scope")
	resource, name := splitScope(scope)
	canonical, known := s.world.Resource(resource)
	switch {
	case c.proof == "0":
		return response{}, aadsts(7000216)
	case c.realm.shared():
		return response{}, aadsts(50059)
	case c.realm.name == "consumers":
		return response{}, aadsts(9001023)
	case scope == "":
		return response{}, aadsts(900144, "scope")
	case len(strings.Fields(scope)) != 1:
		return response{}, aadsts(70011, scope)
	case name != ".default":
		return response{}, aadsts(1002012, scope)
	case !known:
		return response{}, aadsts(500011, resource, c.realm.name)
	case c.app.HomeTenant != tenant && !c.app.AdminConsent[tenant]:
		return response{}, aadsts(7000229, c.app.ClientID, tenant)
	}
	t := world.Token{TenantID: tenant, ClientID: c.app.ClientID, Resource: resource, AppAuth: c.proof}
	if c.app.AdminConsent[tenant] {
		t.Roles = registered(c.app, canonical, roleNames)
	}
	s.world.Bump("client_credentials")
	return bearer(s.world.IssueAccess(t)), nil
}

// byPassword is ROPC: no second factor, no consent page, no personal accounts.
func (s *Server) byPassword(c call) (response, *failure) {
	for _, field := range []string{"username", "password", "scope"} {
		if c.form.Get(field) == "" {
			return response{}, aadsts(900144, field)
		}
	}
	if c.realm.name == "common" || c.realm.name == "consumers" {
		return response{}, aadsts(9001023)
	}
	if c.proof == "0" && !c.app.PublicClient {
		return response{}, aadsts(7000218)
	}
	u, ok := s.world.User(c.form.Get("username"))
	t, _ := s.world.Tenant(u.TenantID)
	switch {
	case !ok || !c.realm.admits(u.TenantID):
		return response{}, aadsts(50034, c.realm.name)
	case u.Locked:
		return response{}, aadsts(50053)
	case !samePassword(u, c.form.Get("password")):
		return response{}, aadsts(50126)
	case u.Disabled:
		return response{}, aadsts(50057)
	case t.Policy.SecurityDefaults:
		return response{}, aadsts(530035)
	case u.MFA:
		return response{}, aadsts(50076, c.app.ClientID)
	}
	q, f := s.delegated(c.form.Get("scope"), c.app, c.realm.name)
	if f != nil {
		return response{}, f
	}
	if len(q.resources) > 1 {
		return response{}, aadsts(700022, c.form.Get("scope"))
	}
	g := s.newGrant(c.app, u, q)
	if u, f = s.stillAllowed(c, g, q); f != nil {
		return response{}, f
	}
	s.world.Bump("password")
	return s.issue(c, u, g, q, ""), nil
}

// byDevice is a device's poll.
func (s *Server) byDevice(c call) (response, *failure) {
	raw := c.form.Get("device_code")
	if raw == "" {
		return response{}, aadsts(900144, "device_code")
	}
	if c.proof == "0" && !c.app.PublicClient {
		return response{}, aadsts(7000218)
	}
	g, f := s.poll(raw, c.app.ClientID)
	if f != nil {
		return response{}, f
	}
	q, f := s.oneResource(c, g.scopes, false)
	if f != nil {
		return response{}, f
	}
	u, f := s.stillAllowed(c, g, q)
	if f != nil {
		return response{}, f
	}
	if t, _ := s.world.Tenant(u.TenantID); t.Policy.DeviceCodeBlocked { // since somebody approved
		return response{}, aadsts(53003)
	}
	s.world.Bump("device_code")
	return s.issue(c, u, g, q, ""), nil
}

// poll says how a device code stands; only one caller gets its grant.
func (s *Server) poll(raw, clientID string) (grant, *failure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.devices[raw]
	if d == nil || d.clientID != clientID {
		return grant{}, aadsts(70018)
	}
	now := s.world.Now()
	early := !d.polled.IsZero() && now.Sub(d.polled) < s.config.DeviceInterval
	d.polled = now
	switch {
	case d.redeemed:
		return grant{}, aadsts(54005)
	case d.denied:
		return grant{}, aadsts(70017)
	case !now.Before(d.expires):
		return grant{}, aadsts(70019)
	case early: // RFC 8628 §3.5
		f := aadsts(70016)
		f.oauth = "slow_down"
		return grant{}, f
	case d.grant == nil:
		return grant{}, aadsts(70016)
	}
	d.redeemed = true
	return *d.grant, nil
}

// prove checks the app's credential.
func (s *Server) prove(c call, secret string) (string, *failure) {
	assertion := c.form.Get("client_assertion")
	public := c.app.Secret == "" && len(c.app.Certificate) == 0 && c.app.PublicClient
	switch {
	case secret == "" && assertion == "":
		return "0", nil
	case public:
		return "", aadsts(700025)
	case assertion != "":
		return "2", s.checkAssertion(c, assertion)
	case c.app.Secret == "" || subtle.ConstantTimeCompare([]byte(secret), []byte(c.app.Secret)) != 1:
		return "", aadsts(7000215, c.app.ClientID)
	case c.app.SecretExpired:
		return "", aadsts(7000222, c.app.ClientID)
	}
	return "1", nil
}
