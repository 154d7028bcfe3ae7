package login

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"slices"
	"strings"
	"time"

	"postern/internal/sim365/world"
)

// realm is the {tenant} of a path: one tenant, or one of the shared endpoints.
type realm struct {
	name   string       // as in the path
	tenant world.Tenant // zero for common and organizations
}

func (re realm) shared() bool { return re.tenant.ID == "" }

// admits says whether a user of that tenant may sign in here.
func (re realm) admits(tenantID string) bool {
	if re.shared() {
		return re.name == "common" || tenantID != world.ConsumersTenant
	}
	return re.tenant.ID == tenantID
}

func (s *Server) realm(r *http.Request) (realm, *failure) {
	name := r.PathValue("tenant")
	switch low := strings.ToLower(name); low {
	case "common", "organizations":
		return realm{name: low}, nil
	case "consumers":
		t, ok := s.world.Tenant(world.ConsumersTenant)
		if !ok {
			t = world.Tenant{ID: world.ConsumersTenant}
		}
		return realm{name: low, tenant: t}, nil
	}
	t, ok := s.world.Tenant(name)
	if !ok {
		return realm{}, aadsts(90002, name)
	}
	return realm{name: name, tenant: t}, nil
}

// app finds the app registration for a request in a realm.
func (s *Server) app(re realm, clientID string) (world.App, *failure) {
	if clientID == "" {
		return world.App{}, aadsts(900144, "client_id")
	}
	app, ok := s.world.App(clientID)
	directory := re.name
	if len(re.tenant.Domains) > 0 {
		directory = re.tenant.Domains[0]
	}
	switch {
	case !ok:
		return app, aadsts(700016, clientID, directory)
	case app.Disabled:
		return app, aadsts(7000112, app.ClientID, app.Name)
	case app.MultiTenant:
		return app, nil
	case re.shared() || re.name == "consumers":
		return app, aadsts(50194, app.ClientID, app.Name)
	case app.HomeTenant != "" && !strings.EqualFold(app.HomeTenant, re.tenant.ID):
		return app, aadsts(700016, clientID, directory)
	}
	return app, nil
}

func (s *Server) issuer(tenantID string) string {
	return s.config.Authority + "/" + tenantID + "/v2.0"
}

// discovery serves OpenID Connect metadata (discovery 1.0 §4). On the shared
// endpoints the issuer is a template, as with Microsoft.
func (s *Server) discovery(w http.ResponseWriter, r *http.Request) {
	re, f := s.realm(r)
	if f != nil {
		f.oauth = "invalid_tenant"
		s.answer(w, r, f)
		return
	}
	id := re.tenant.ID
	if re.shared() {
		id = "{tenantid}"
	}
	base := s.config.Authority + "/" + r.PathValue("tenant")
	writeJSON(w, http.StatusOK, map[string]any{
		"issuer":                                s.issuer(id),
		"authorization_endpoint":                base + "/oauth2/v2.0/authorize",
		"token_endpoint":                        base + "/oauth2/v2.0/token",
		"device_authorization_endpoint":         base + "/oauth2/v2.0/devicecode",
		"end_session_endpoint":                  base + "/oauth2/v2.0/logout",
		"jwks_uri":                              base + "/discovery/v2.0/keys",
		"token_endpoint_auth_methods_supported": []string{"client_secret_post", "private_key_jwt", "client_secret_basic"},
		"response_modes_supported":              []string{"query", "fragment", "form_post"},
		"response_types_supported":              []string{"code"},
		"subject_types_supported":               []string{"pairwise"},
		"id_token_signing_alg_values_supported": []string{"RS256"},
		"scopes_supported":                      []string{"openid", "profile", "email", "offline_access"},
		"claims_supported":                      []string{"sub", "iss", "aud", "exp", "iat", "nonce", "preferred_username", "name", "tid", "ver", "oid", "email"},
		"request_uri_parameter_supported":       false,
		"tenant_region_scope":                   "EU",
		"cloud_instance_name":                   strings.TrimPrefix(s.config.Authority, "https://"),
	})
}

func (s *Server) keys(w http.ResponseWriter, r *http.Request) {
	if _, f := s.realm(r); f != nil {
		s.answer(w, r, f)
		return
	}
	writeJSON(w, http.StatusOK, s.world.JWKS())
}

// idToken makes a v2.0 id token; it lives an hour.
func (s *Server) idToken(u world.User, app world.App, q wanted, nonce string) string {
	now := s.world.Now()
	claims := map[string]any{
		"ver": "2.0", "iss": s.issuer(u.TenantID), "aud": app.ClientID, "tid": u.TenantID, "oid": u.ObjectID,
		"sub": subject(u.ObjectID, app.ClientID), "iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Hour).Unix(),
		"rh": "1." + world.Random(60), "uti": world.Random(22), "aio": world.Random(64),
	}
	if q.profile {
		claims["name"], claims["preferred_username"] = u.DisplayName, u.UPN
	}
	if q.email {
		claims["email"] = u.UPN
	}
	if nonce != "" {
		claims["nonce"] = nonce
	}
	return s.world.Sign(claims)
}

// subject is pairwise: stable for a user in one app, different in the next.
func subject(objectID, clientID string) string {
	sum := sha256.Sum256([]byte(objectID + "/" + clientID))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// redirectAllowed compares exactly, except that the port of a loopback address
// does not count (RFC 8252 §7.3).
func redirectAllowed(app world.App, uri string) bool {
	return slices.ContainsFunc(app.RedirectURIs, func(registered string) bool {
		return registered == uri || (loopback(uri) != "" && loopback(registered) == loopback(uri))
	})
}
