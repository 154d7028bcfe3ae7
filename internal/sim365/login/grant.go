package login

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"time"

	"postern/internal/sim365/world"
)

// codeLife is how long an authorization code may be redeemed.
const codeLife = 10 * time.Minute

// grant is what a user allowed an app: what a refresh token stands for.
type grant struct {
	clientID string
	tenantID string
	userID   string
	upn      string
	scopes   wanted
	epoch    int  // of the user's sessions when it was given
	public   bool // was redeemed without a credential, and must stay so
	issued   time.Time
	used     time.Time // refresh tokens die of inactivity
}

// code is an authorization code under way.
type code struct {
	raw       string
	redirect  string
	challenge string
	method    string
	nonce     string
	expires   time.Time
	redeemed  bool
	grant     grant
}

// device is a device code under way. Its fields are guarded by Server.mu.
type device struct {
	raw      string
	userCode string
	clientID string
	realm    realm
	scopes   wanted
	expires  time.Time
	polled   time.Time
	denied   bool
	redeemed bool
	grant    *grant // set when somebody approved
}

func (s *Server) newGrant(app world.App, u world.User, q wanted) grant {
	now := s.world.Now()
	return grant{
		clientID: app.ClientID, tenantID: u.TenantID, userID: u.ObjectID, upn: u.UPN, scopes: q,
		epoch: s.world.SessionEpoch(u.ObjectID), issued: now, used: now,
	}
}

func (s *Server) keepCode(c *code) {
	s.world.Remember(c.raw)
	s.mu.Lock()
	defer s.mu.Unlock()
	for raw, old := range s.codes {
		if s.world.Now().Sub(old.expires) > codeLife { // long enough to still tell "redeemed" from "unknown"
			delete(s.codes, raw)
		}
	}
	s.codes[c.raw] = c
}

// keepRefresh makes a refresh token for a grant. Those issued before stay good.
func (s *Server) keepRefresh(g grant) string {
	raw := "1.A" + world.Random(1100)
	if g.tenantID == world.ConsumersTenant {
		raw = "M.C5" + world.Random(400)
	}
	g.issued, g.used = s.world.Now(), s.world.Now()
	s.world.Remember(raw)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refresh[raw] = &g
	return raw
}

// findCode returns a copy of a code's state.
func (s *Server) findCode(raw string) (code, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.codes[raw]; c != nil {
		return *c, true
	}
	return code{}, false
}

// redeem takes the code; only the first caller gets it.
func (s *Server) redeem(raw string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.codes[raw]
	if c == nil || c.redeemed {
		return false
	}
	c.redeemed = true
	return true
}

func (s *Server) findRefresh(raw string) (grant, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g := s.refresh[raw]; g != nil {
		return *g, true
	}
	return grant{}, false
}

func (s *Server) touchRefresh(raw string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g := s.refresh[raw]; g != nil {
		g.used = s.world.Now()
	}
}

// proves is PKCE (RFC 7636 §4.6).
func (c code) proves(verifier string) bool {
	if c.challenge == "" {
		return verifier == ""
	}
	if c.method == "S256" {
		sum := sha256.Sum256([]byte(verifier))
		verifier = base64.RawURLEncoding.EncodeToString(sum[:])
	}
	return subtle.ConstantTimeCompare([]byte(verifier), []byte(c.challenge)) == 1
}
