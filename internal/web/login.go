package web

import (
	"encoding/base64"
	"errors"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"postern/internal/fault"
	"postern/internal/people"
	"postern/internal/secret"
)

// Where people come in.
const (
	loginPath = "/login"
	codePath  = "/login/code"
	// ProviderCallback is where the OpenID provider for the pages sends browsers back to.
	ProviderCallback = "/login/callback"
)

// loginLife is how long a login may take, from the password to the one-time code or to
// the provider and back.
const loginLife = 10 * time.Minute

func (s *Server) loginPlaces() []place {
	return []place{
		{"GET " + loginPath, "", s.showLogin},
		{"POST " + loginPath, "", s.login},
		{"GET " + codePath, "", s.showCode},
		{"POST " + codePath, "", s.code},
		{"POST /login/provider", "", s.toProvider},
		{"GET " + ProviderCallback, "", s.fromProvider},
		{"POST /logout", "", s.logout},
		{"GET " + SetupPath, "", s.showSetup},
		{"POST " + SetupPath, "", s.setup},
		{"GET " + WelcomePath + "{token}", "", s.showWelcome},
		{"POST " + WelcomePath + "{token}", "", s.welcome},
	}
}

// loginPage is a form that anybody may see.
type loginPage struct {
	Form     form
	Back     string
	Provider string // who else may be asked; "" for nobody
	Note     string
	Public   string // where to log in instead, when the cookie would not come along here
	Least    int    // characters of a password
	Name     string // whose invitation it is
}

// page begins such a page.
func (s *Server) page(w http.ResponseWriter, r *http.Request, f form) loginPage {
	p := loginPage{Form: f, Back: ownPath(r.FormValue("back")), Note: s.noted(w, r), Least: people.LeastPassword()}
	if s.secure() && s.foreign(r) {
		p.Public = s.PublicURL
	}
	if provider := s.People.Provider; provider != nil {
		p.Provider = "your organisation"
		if strings.Contains(provider.App.Cloud.Authority, "login.microsoftonline.") || strings.Contains(provider.App.Cloud.Authority, "login.partner.microsoftonline.") {
			p.Provider = "Microsoft"
		}
	}
	return p
}

// blame says in a form what an error of the people's room means, and which status that
// is. What is ours to mend is logged and not told.
func (s *Server) blame(r *http.Request, f *form, err error) int {
	if m := people.MistakeOf(err); m != nil {
		f.wrong(m.Field, sentence(m.Words()))
		return statusOf(err)
	}
	status := statusOf(err)
	if status == http.StatusServiceUnavailable {
		s.Log.ErrorContext(r.Context(), "a form could not be put into effect", "page", r.URL.Path, "error", err)
		f.Why = "This cannot be done now. The log says why; try again in a minute."
		return status
	}
	f.refuse(err)
	return status
}

func statusOf(err error) int {
	switch fault.KindOf(err) {
	case fault.Invalid:
		return http.StatusUnprocessableEntity
	case fault.Denied:
		return http.StatusForbidden
	case fault.NotFound:
		return http.StatusNotFound
	case fault.Conflict:
		return http.StatusConflict
	case fault.Throttled:
		return http.StatusTooManyRequests
	}
	return http.StatusServiceUnavailable
}

// patient tells whoever tried too often how long to wait.
func patient(w http.ResponseWriter, err error) {
	if e := fault.As(err); e != nil && e.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(e.RetryAfter.Seconds()))))
	}
}

func (s *Server) showLogin(w http.ResponseWriter, r *http.Request) {
	if s.toSetup(w, r) {
		return
	}
	if _, _, err := s.People.Who(r.Context(), s.held(r, sessionCookie)); err == nil {
		http.Redirect(w, r, ownPath(r.FormValue("back")), http.StatusSeeOther)
		return
	}
	s.show(w, r, http.StatusOK, "login.html", s.page(w, r, blank(nil)))
}

func (s *Server) login(w http.ResponseWriter, r *http.Request) {
	if s.toSetup(w, r) {
		return
	}
	f := typed(r)
	if f.need("name", "password"); !f.good() {
		s.show(w, r, http.StatusUnprocessableEntity, "login.html", s.page(w, r, f))
		return
	}
	entry, err := s.People.Login(r.Context(), f.Get("name"), secret.New(f.Values.Get("password")), from(r))
	if err != nil {
		patient(w, err)
		status := s.blame(r, &f, err)
		s.show(w, r, status, "login.html", s.page(w, r, f))
		return
	}
	s.enter(w, r, entry, f.Get("back"))
}

// enter gives the browser its session, which is a new one at every login, and goes on.
func (s *Server) enter(w http.ResponseWriter, r *http.Request, e people.Entry, back string) {
	if e.Half {
		s.keep(w, halfCookie, e.Key, int(loginLife.Seconds()))
		http.Redirect(w, r, withBack(codePath, back), http.StatusSeeOther)
		return
	}
	if old := s.held(r, sessionCookie); !old.Empty() {
		if err := s.People.Logout(r.Context(), old); err != nil {
			s.Log.WarnContext(r.Context(), "the session before this login was not ended", "error", err)
		}
	}
	s.keep(w, halfCookie, secret.Text{}, -1)
	s.keep(w, providerCookie, secret.Text{}, -1)
	s.keep(w, sessionCookie, e.Key, int(s.People.Life.Seconds()))
	http.Redirect(w, r, ownPath(back), http.StatusSeeOther)
}

func (s *Server) showCode(w http.ResponseWriter, r *http.Request) {
	if s.held(r, halfCookie).Empty() {
		http.Redirect(w, r, withBack(loginPath, r.FormValue("back")), http.StatusSeeOther)
		return
	}
	s.show(w, r, http.StatusOK, "code.html", s.page(w, r, blank(nil)))
}

func (s *Server) code(w http.ResponseWriter, r *http.Request) {
	f := typed(r)
	if f.need("code"); !f.good() {
		s.show(w, r, http.StatusUnprocessableEntity, "code.html", s.page(w, r, f))
		return
	}
	entry, err := s.People.EnterCode(r.Context(), s.held(r, halfCookie), f.Get("code"), from(r))
	switch {
	case errors.Is(err, fault.NotFound): // it is over: from the beginning
		s.keep(w, halfCookie, secret.Text{}, -1)
		status := s.blame(r, &f, err)
		s.show(w, r, status, "login.html", s.page(w, r, f))
	case err != nil:
		patient(w, err)
		status := s.blame(r, &f, err)
		s.show(w, r, status, "code.html", s.page(w, r, f))
	default:
		s.enter(w, r, entry, f.Get("back"))
	}
}

func (s *Server) logout(w http.ResponseWriter, r *http.Request) {
	if err := s.People.Logout(r.Context(), s.held(r, sessionCookie)); err != nil {
		s.failLookup(w, r, err) // the cookie stays: whoever sees this is still logged in
		return
	}
	s.keep(w, sessionCookie, secret.Text{}, -1)
	s.done(w, r, loginPath, "You are logged out.")
}

// toProvider sends the browser to the OpenID provider. One that is not at the public
// address, where it will come back to, logs in there.
func (s *Server) toProvider(w http.ResponseWriter, r *http.Request) {
	back := ownPath(typed(r).Get("back"))
	if s.foreign(r) {
		http.Redirect(w, r, s.PublicURL+withBack(loginPath, back), http.StatusSeeOther)
		return
	}
	binding, at, err := s.People.BeginExternal(r.Context())
	if err != nil {
		s.failProvider(w, r, err)
		return
	}
	value := binding.Reveal() + "." + base64.RawURLEncoding.EncodeToString([]byte(back))
	s.keep(w, providerCookie, secret.New(value), int(loginLife.Seconds()))
	http.Redirect(w, r, at, http.StatusSeeOther)
}

// fromProvider takes whoever the provider sends back.
func (s *Server) fromProvider(w http.ResponseWriter, r *http.Request) {
	binding, back, _ := strings.Cut(s.held(r, providerCookie).Reveal(), ".")
	s.keep(w, providerCookie, secret.Text{}, -1) // good for one answer
	entry, err := s.People.FinishExternal(r.Context(), secret.New(binding), r.URL.Query(), from(r))
	if err != nil {
		s.failProvider(w, r, err)
		return
	}
	path, _ := base64.RawURLEncoding.DecodeString(back) // what is no path leads to the first page
	s.enter(w, r, entry, string(path))
}

func (s *Server) failProvider(w http.ResponseWriter, r *http.Request, err error) {
	s.Log.WarnContext(r.Context(), "somebody was not let in by the provider", "kind", fault.KindOf(err).String(), "error", err)
	status, m := explain(err)
	if fault.ReplyOf(err) == nil && errors.Is(err, fault.Denied) {
		m.Title = "You are not let in"
	}
	m.Again, m.Text = loginPath, strings.TrimSuffix(m.Text, " Nothing was changed.")
	if hint := fault.HintOf(err); hint != "" {
		m.Next = sentence(hint)
	}
	s.show(w, r, status, "message.html", m)
}
