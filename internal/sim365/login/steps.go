package login

import (
	"crypto/rand"
	"crypto/subtle"
	"fmt"
	"math/big"
	"net/http"

	"postern/internal/sim365/world"
)

// What the pages say about a wrong entry, in Microsoft's words.
const (
	sayNoName     = "Enter a valid email address, phone number, or Skype name."
	sayUnknown    = "We couldn't find an account with that username. Try another, or get a new Microsoft account."
	sayPassword   = "Your account or password is incorrect. If you don't remember your password, reset it now."
	sayLocked     = "Your account is temporarily locked to prevent unauthorized use. Try again later, and if you still have trouble, contact your admin."
	sayDisabled   = "Your account has been locked. Contact your support person to unlock it, then try again."
	saySecondCode = "You didn't enter the expected verification code. Please try again."
)

// step takes one page's form. Each step only counts at its own page, so that
// none can be skipped.
func (s *Server) step(w http.ResponseWriter, r *http.Request) {
	f, fail := s.flow(r.PostFormValue("flow"))
	if fail != nil {
		s.ownPage(w, r, fail)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	at, u, _ := s.next(r, f)
	if string(at) != r.PathValue("step") {
		s.advance(w, r, f, "") // a page from the browser's history: show where we are
		return
	}
	switch at {
	case stagePick:
		s.picked(w, r, f)
	case stageName:
		s.named(w, r, f)
	case stagePassword:
		s.passworded(w, r, f, u)
	case stageMFA:
		s.seconded(w, r, f)
	default:
		s.decided(w, r, f, at, u)
	}
}

// picked takes the account picker's answer.
func (s *Server) picked(w http.ResponseWriter, r *http.Request, f *flow) {
	f.picking = true
	for _, u := range s.accounts(r, f.realm) {
		if u.ObjectID == r.PostFormValue("account") {
			f.userID, f.proved, f.second = u.ObjectID, true, true
		}
	}
	s.advance(w, r, f, "")
}

// named takes the sign-in name.
func (s *Server) named(w http.ResponseWriter, r *http.Request, f *flow) {
	f.hint = r.PostFormValue("loginfmt")
	u, ok := s.world.User(f.hint)
	switch {
	case f.hint == "":
		s.advance(w, r, f, sayNoName)
	case !ok:
		s.advance(w, r, f, sayUnknown)
	default:
		f.userID = u.ObjectID
		s.advance(w, r, f, "")
	}
}

// passworded takes the password, or goes back to the name.
func (s *Server) passworded(w http.ResponseWriter, r *http.Request, f *flow, u world.User) {
	if r.PostFormValue("back") != "" {
		f.userID, f.picking, f.hint = "", true, ""
		s.advance(w, r, f, "")
		return
	}
	switch {
	case u.Locked:
		s.advance(w, r, f, sayLocked)
	case u.Disabled:
		s.advance(w, r, f, sayDisabled)
	case !samePassword(u, r.PostFormValue("passwd")):
		s.advance(w, r, f, sayPassword)
	default:
		f.proved = true
		s.advance(w, r, f, "")
	}
}

func samePassword(u world.User, given string) bool {
	return u.Password != "" && subtle.ConstantTimeCompare([]byte(u.Password), []byte(given)) == 1
}

// seconded takes the second factor.
func (s *Server) seconded(w http.ResponseWriter, r *http.Request, f *flow) {
	if f.mfaCode == "" || r.PostFormValue("otc") != f.mfaCode {
		s.advance(w, r, f, saySecondCode)
		return
	}
	f.second = true
	s.advance(w, r, f, "")
}

// decided takes the yes or no of the confirm and consent pages.
func (s *Server) decided(w http.ResponseWriter, r *http.Request, f *flow, at stage, u world.User) {
	yes := r.PostFormValue("answer") == "yes"
	switch {
	case at == stageConsent && s.needsAdmin(f, u):
		s.end(f)
		f.refuse(w, r, aadsts(90094, f.app.Name))
	case !yes:
		s.end(f)
		f.refuse(w, r, aadsts(65004))
	case at == stageConfirm:
		f.confirmed = true
		s.advance(w, r, f, "")
	default:
		f.consented = true
		f.admin = f.admin || (u.Admin && r.PostFormValue("organization") != "")
		s.advance(w, r, f, "")
	}
}

// sixDigits makes a second-factor code.
func sixDigits() string {
	n, err := rand.Int(rand.Reader, big.NewInt(1_000_000))
	if err != nil {
		return "000000" // crypto/rand never fails
	}
	return fmt.Sprintf("%06d", n)
}
