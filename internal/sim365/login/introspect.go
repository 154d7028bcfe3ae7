package login

import (
	"net/http"
	"slices"
	"strings"
)

// introspect is NOT Microsoft's. It answers, as a resource server's helper in the
// manner of RFC 7662, whether an access token was issued here and still lives,
// and for whom, so that a real mail server can be put behind the simulator.
//
// It takes the token as a form field (POST token=…), a query parameter (token or
// access_token), or a bearer header; with Dovecot: introspection_mode = post, get
// or auth, username_attribute = username, active_attribute = active,
// active_value = true. GET /tokeninfo?access_token= is the same and answers 400
// for a dead token, as tokeninfo endpoints do.
func (s *Server) introspect(w http.ResponseWriter, r *http.Request) {
	raw := r.FormValue("token")
	if raw == "" {
		raw = r.FormValue("access_token")
	}
	if raw == "" {
		raw, _ = strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	}
	t, err := s.world.CheckToken(raw)
	if err != nil {
		status := http.StatusOK
		if r.URL.Path == "/tokeninfo" {
			status = http.StatusBadRequest
		}
		writeJSON(w, status, map[string]any{"active": false})
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"active": true, "username": t.UPN, "upn": t.UPN, "sub": t.UserID, "client_id": t.ClientID,
		"scope": strings.Join(slices.Concat(t.Scopes, t.Roles), " "), "aud": t.Resource, "tid": t.TenantID,
		"exp": t.Expires.Unix(), "iat": t.Issued.Unix(), "expires_in": int(t.Expires.Sub(s.world.Now()).Seconds()), "token_type": "Bearer",
	})
}
