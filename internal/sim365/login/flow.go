package login

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"postern/internal/sim365/world"
)

// flowLife is how long somebody may take over the pages.
const flowLife = 30 * time.Minute

const cookieName = "ESTSAUTH"

// flow is one person on their way through the pages: for an app's authorization
// request, for a device code, or for admin consent.
type flow struct {
	mu      sync.Mutex
	id      string
	started time.Time

	realm  realm
	app    world.App
	scopes wanted
	prompt string
	hint   string // prefilled name

	admin   bool // only an administrator may finish, and consents for all
	confirm bool // ask "are you trying to sign in to …?" (device codes)

	userID    string // chosen, by name or in the picker
	picking   bool   // wants a name typed although sessions exist
	proved    bool   // password, or a session that stands for it
	second    bool   // second factor done, or a session that stands for it
	mfaCode   string
	confirmed bool
	consented bool

	succeed func(http.ResponseWriter, *http.Request, world.User)
	refuse  func(http.ResponseWriter, *http.Request, *failure)
}

// login is one signed-in account of a browser session.
type login struct{ epoch int }

// stage is the page a flow stands at.
type stage string

const (
	stagePick     stage = "pick"
	stageName     stage = "name"
	stagePassword stage = "password"
	stageMFA      stage = "mfa"
	stageConfirm  stage = "confirm"
	stageConsent  stage = "consent"
	stageDone     stage = "done"
)

// begin opens a flow: session accounts first, then pages.
func (s *Server) begin(w http.ResponseWriter, r *http.Request, f *flow) {
	f.id, f.started = world.Random(48), s.world.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	s.useSession(r, f)
	if f.prompt == "none" {
		s.silently(w, r, f)
		return
	}
	s.mu.Lock()
	for id, old := range s.flows {
		if s.world.Now().Sub(old.started) > flowLife {
			delete(s.flows, id)
		}
	}
	s.flows[f.id] = f
	s.mu.Unlock()
	s.advance(w, r, f, "")
}

// useSession lets a signed-in account stand for the password, as prompt allows.
func (s *Server) useSession(r *http.Request, f *flow) {
	accounts := s.accounts(r, f.realm)
	if f.prompt == "select_account" && len(accounts) > 0 {
		return
	}
	for _, u := range accounts {
		if f.prompt != "login" && (strings.EqualFold(u.UPN, f.hint) || (f.hint == "" && len(accounts) == 1)) {
			f.userID, f.proved, f.second = u.ObjectID, true, true
			return
		}
	}
	if u, ok := s.world.User(f.hint); ok && f.hint != "" {
		f.userID = u.ObjectID
	}
}

// accounts lists the browser's live sessions that the realm admits.
func (s *Server) accounts(r *http.Request, re realm) []world.User {
	c, err := r.Cookie(cookieName)
	if err != nil {
		return nil
	}
	s.mu.Lock()
	session := make(map[string]login, len(s.sessions[c.Value]))
	for id, l := range s.sessions[c.Value] {
		session[id] = l
	}
	s.mu.Unlock()
	var out []world.User
	for id, l := range session {
		if u, ok := s.world.User(id); ok && !u.Disabled && l.epoch == s.world.SessionEpoch(id) && re.admits(u.TenantID) {
			out = append(out, u)
		}
	}
	slices.SortFunc(out, func(a, b world.User) int { return strings.Compare(a.UPN, b.UPN) })
	return out
}

// remember adds the account to the browser's session.
func (s *Server) remember(w http.ResponseWriter, r *http.Request, u world.User) {
	id := ""
	if c, err := r.Cookie(cookieName); err == nil {
		id = c.Value
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sessions[id] == nil {
		id = "0." + world.Random(120)
		s.sessions[id] = map[string]login{}
	}
	s.sessions[id][u.ObjectID] = login{epoch: s.world.SessionEpoch(u.ObjectID)}
	// None, so that a form_post from the app's own page still finds it, as Microsoft sets it.
	http.SetCookie(w, &http.Cookie{Name: cookieName, Value: id, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteNoneMode})
}

// next says which page comes now. It is the whole order of a sign-in; a failure
// ends the flow.
func (s *Server) next(r *http.Request, f *flow) (stage, world.User, *failure) {
	if f.userID == "" {
		if !f.picking && f.prompt != "login" && len(s.accounts(r, f.realm)) > 0 {
			return stagePick, world.User{}, nil
		}
		return stageName, world.User{}, nil
	}
	u, ok := s.world.User(f.userID)
	if !ok {
		return stageName, u, nil
	}
	switch {
	case !f.proved:
		return stagePassword, u, nil
	case u.MFA && !f.second:
		return stageMFA, u, nil
	}
	if fail := s.allowed(f, u); fail != nil {
		return stageDone, u, fail
	}
	switch {
	case f.confirm && !f.confirmed:
		return stageConfirm, u, nil
	case !f.consented && s.mustConsent(f, u):
		return stageConsent, u, nil
	}
	return stageDone, u, nil
}

// allowed applies what the organisation decides about a user who has proved
// themselves.
func (s *Server) allowed(f *flow, u world.User) *failure {
	t, _ := s.world.Tenant(u.TenantID)
	switch {
	case u.Disabled:
		return aadsts(50057)
	case f.realm.shared() && !f.realm.admits(u.TenantID):
		return aadsts(500208)
	case !f.realm.admits(u.TenantID):
		return aadsts(50020, u.UPN, u.TenantID, f.realm.name, f.app.ClientID, f.app.Name)
	case t.Policy.ConditionalAccess, f.confirm && t.Policy.DeviceCodeBlocked:
		return aadsts(53003)
	}
	return nil
}

// mustConsent: an app is asked about once, unless prompt=consent or the whole
// organisation is at stake.
func (s *Server) mustConsent(f *flow, u world.User) bool {
	app, _ := s.world.App(f.app.ClientID)
	return f.admin || f.prompt == "consent" || len(unconsented(f.scopes, app, u)) > 0
}

// needsAdmin: the user may not agree to this by themselves.
func (s *Server) needsAdmin(f *flow, u world.User) bool {
	t, _ := s.world.Tenant(u.TenantID)
	return !u.Admin && (f.admin || t.Policy.AdminConsentNeeded)
}

// silently is prompt=none: either nothing is left to ask, or an error.
func (s *Server) silently(w http.ResponseWriter, r *http.Request, f *flow) {
	st, u, fail := s.next(r, f)
	switch {
	case fail != nil:
		f.refuse(w, r, fail)
	case st == stageDone:
		f.succeed(w, r, u)
	case st == stageConsent:
		fail = aadsts(65001, f.app.ClientID, f.app.Name)
		if s.needsAdmin(f, u) {
			fail = aadsts(90094, f.app.Name)
		}
		fail.oauth = "interaction_required"
		f.refuse(w, r, fail)
	default:
		f.refuse(w, r, aadsts(50058))
	}
}

// advance shows the next page, with a complaint about the last one if there is
// any, or ends the flow.
func (s *Server) advance(w http.ResponseWriter, r *http.Request, f *flow, complaint string) {
	st, u, fail := s.next(r, f)
	if f.proved && (f.second || !u.MFA) && fail == nil {
		s.remember(w, r, u)
	}
	switch {
	case fail != nil:
		s.end(f)
		if staysHere(fail.number) {
			s.ownPage(w, r, fail)
			return
		}
		f.refuse(w, r, fail)
	case st == stageDone:
		s.end(f)
		s.recordConsent(f, u)
		f.succeed(w, r, u)
	default:
		s.stagePage(w, r, f, st, u, complaint)
	}
}

func (s *Server) end(f *flow) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.flows, f.id)
}

func (s *Server) flow(id string) (*flow, *failure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.flows[id]
	if f == nil || s.world.Now().Sub(f.started) > flowLife {
		return nil, aadsts(50089)
	}
	return f, nil
}

// recordConsent keeps what the person agreed to on the consent page.
func (s *Server) recordConsent(f *flow, u world.User) {
	if !f.consented {
		return
	}
	s.world.UpdateApp(f.app.ClientID, func(a *world.App) {
		if f.admin {
			a.AdminConsent[u.TenantID] = true
		}
		granted := strings.Fields(a.UserConsent[u.ObjectID])
		a.UserConsent[u.ObjectID] = strings.Join(append(granted, unconsented(f.scopes, *a, u)...), " ")
	})
}
