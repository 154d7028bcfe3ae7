package web

import (
	"errors"
	"net/http"

	"postern/internal/fault"
	"postern/internal/people"
	"postern/internal/secret"
)

// SetupPath is where the first user comes in, WelcomePath where those come who were invited.
const (
	SetupPath   = "/setup"
	WelcomePath = "/welcome/"
)

func (s *Server) showSetup(w http.ResponseWriter, r *http.Request) {
	if s.isSetUp(w, r) {
		return
	}
	s.show(w, r, http.StatusOK, "setup.html", s.page(w, r, blank(nil)))
}

// isSetUp leads away from the set-up once it is over.
func (s *Server) isSetUp(w http.ResponseWriter, r *http.Request) bool {
	empty, err := s.People.Empty(r.Context())
	switch {
	case err != nil:
		s.failLookup(w, r, err)
	case !empty:
		s.done(w, r, loginPath, "Postern is set up already. Log in.")
	}
	return err != nil || !empty
}

func (s *Server) setup(w http.ResponseWriter, r *http.Request) {
	if s.isSetUp(w, r) {
		return
	}
	f := typed(r)
	if f.need("code", "name", "password", "again"); !f.good() {
		s.show(w, r, http.StatusUnprocessableEntity, "setup.html", s.page(w, r, f))
		return
	}
	entry, err := s.People.SetUp(r.Context(), people.NewUser{Name: f.Get("name"), Mail: f.Get("mail")},
		secret.New(f.Get("code")), secret.New(f.Values.Get("password")), secret.New(f.Values.Get("again")), from(r))
	switch {
	case errors.Is(err, fault.Conflict):
		s.done(w, r, loginPath, "Somebody else has just set Postern up. Log in.")
	case err != nil:
		patient(w, err)
		status := s.blame(r, &f, err)
		s.show(w, r, status, "setup.html", s.page(w, r, f))
	default:
		s.enter(w, r, entry, "")
	}
}

func (s *Server) showWelcome(w http.ResponseWriter, r *http.Request) {
	u, err := s.People.Invited(r.Context(), secret.New(r.PathValue("token")), from(r))
	if err != nil {
		s.failWelcome(w, r, err)
		return
	}
	p := s.page(w, r, blank(nil))
	p.Name = u.Name
	s.show(w, r, http.StatusOK, "welcome.html", p)
}

// welcome takes the password of somebody who was invited.
func (s *Server) welcome(w http.ResponseWriter, r *http.Request) {
	token, f := secret.New(r.PathValue("token")), typed(r)
	u, err := s.People.Invited(r.Context(), token, from(r))
	if err != nil {
		s.failWelcome(w, r, err)
		return
	}
	status := http.StatusUnprocessableEntity
	if f.need("password", "again"); f.good() {
		entry, err := s.People.Join(r.Context(), token, secret.New(f.Values.Get("password")), secret.New(f.Values.Get("again")), from(r))
		if err == nil {
			s.enter(w, r, entry, "")
			return
		}
		if errors.Is(err, fault.NotFound) {
			s.failWelcome(w, r, err)
			return
		}
		status = s.blame(r, &f, err)
	}
	p := s.page(w, r, f)
	p.Name = u.Name
	s.show(w, r, status, "welcome.html", p)
}

func (s *Server) failWelcome(w http.ResponseWriter, r *http.Request, err error) {
	patient(w, err)
	if kind := fault.KindOf(err); kind != fault.NotFound && kind != fault.Throttled {
		s.failLookup(w, r, err)
		return
	}
	m := message{Title: "This invitation is over", Text: sentence(fault.As(err).Err.Error()), Next: sentence(fault.HintOf(err))}
	if errors.Is(err, fault.Throttled) {
		m.Title = "Too many tries"
	}
	s.show(w, r, statusOf(err), "message.html", m)
}
