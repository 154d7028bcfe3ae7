package web

import (
	"html/template"
	"net/http"

	"postern/internal/fault"
	"postern/internal/people"
	"postern/internal/secret"
)

const mePath = "/me"

// mePlaces are what everybody does about themselves.
func (s *Server) mePlaces() []place {
	return []place{
		{"GET " + mePath, viewer, s.me},
		{"GET " + mePath + "/password", viewer, s.showPassword},
		{"POST " + mePath + "/password", viewer, s.password},
		{"GET " + mePath + "/codes", viewer, s.showCodes},
		{"POST " + mePath + "/codes", viewer, s.turnCodesOn},
		{"POST " + mePath + "/codes/change", viewer, s.changeCodes},
		{"POST " + mePath + "/sessions/end", viewer, s.endMySession},
	}
}

// mePage is what somebody sees of themselves.
type mePage struct {
	sheet
	Sessions []people.Session
	This     string // the session that asks
	Form     form
	Offer    people.Offer
	Picture  template.URL
	Codes    []string // to use when the app is lost; shown once
	Least    int
}

func (s *Server) mine(w http.ResponseWriter, r *http.Request, title string, f form) mePage {
	return mePage{sheet: s.sheet(w, r, title, mePath), Form: f, This: visitOf(r.Context()).session.ID, Least: people.LeastPassword()}
}

func (s *Server) me(w http.ResponseWriter, r *http.Request) {
	p := s.mine(w, r, "You", blank(nil))
	ctx, cancel := s.brief(r)
	defer cancel()
	var err error
	if p.Sessions, err = s.People.Sessions(ctx, p.User.ID); err != nil {
		s.trouble(r, &p.sheet, err, "Where you are logged in could not be looked up.")
	}
	s.show(w, r, http.StatusOK, "me.html", p)
}

func (s *Server) showPassword(w http.ResponseWriter, r *http.Request) {
	s.show(w, r, http.StatusOK, "password.html", s.mine(w, r, "Change your password", blank(nil)))
}

func (s *Server) password(w http.ResponseWriter, r *http.Request) {
	f, v := typed(r), visitOf(r.Context())
	status := http.StatusUnprocessableEntity
	if f.need("old", "password", "again"); f.good() {
		err := s.People.ChangePassword(r.Context(), v.user, secret.New(f.Values.Get("old")), secret.New(f.Values.Get("password")), secret.New(f.Values.Get("again")), from(r), v.session.ID)
		if err == nil {
			s.done(w, r, mePath, "Your password is changed. All your other sessions are ended.")
			return
		}
		patient(w, err)
		status = s.blame(r, &f, err)
	}
	s.show(w, r, status, "password.html", s.mine(w, r, "Change your password", f))
}

func (s *Server) showCodes(w http.ResponseWriter, r *http.Request) {
	u := visitOf(r.Context()).user
	p := s.mine(w, r, "One-time codes", blank(nil))
	if !u.TOTP && u.Hash != "" {
		offer, err := s.People.OfferTOTP(u)
		if err != nil {
			s.failLookup(w, r, err)
			return
		}
		p.offer(offer)
	}
	s.show(w, r, http.StatusOK, "codes.html", p)
}

// offer shows a secret to an app. Its picture is ours, which templates cannot know.
func (p *mePage) offer(o people.Offer) {
	p.Offer, p.Picture = o, template.URL(o.Picture) //nolint:gosec // see above
}

// turnCodesOn takes the first code of somebody's app, and shows the recovery codes.
func (s *Server) turnCodesOn(w http.ResponseWriter, r *http.Request) {
	f, u := typed(r), visitOf(r.Context()).user
	clear := secret.New(f.Get("secret"))
	status := http.StatusUnprocessableEntity
	if f.need("code"); f.good() {
		codes, err := s.People.ConfirmTOTP(r.Context(), u.Who(), u, clear, f.Get("code"))
		if err == nil {
			s.showRecovery(w, r, codes)
			return
		}
		status = s.blame(r, &f, err)
	}
	p := s.mine(w, r, "One-time codes", f)
	offer, err := s.People.SameOffer(u, clear)
	if err != nil {
		s.failLookup(w, r, err)
		return
	}
	p.offer(offer)
	s.show(w, r, status, "codes.html", p)
}

func (s *Server) showRecovery(w http.ResponseWriter, r *http.Request, codes []secret.Text) {
	p := s.mine(w, r, "Recovery codes", blank(nil))
	for _, c := range codes {
		p.Codes = append(p.Codes, c.Reveal())
	}
	s.show(w, r, http.StatusOK, "recovery.html", p)
}

// changeCodes turns one-time codes off, or makes new recovery codes, for somebody who
// gives the password once more.
func (s *Server) changeCodes(w http.ResponseWriter, r *http.Request) {
	f, u := typed(r), visitOf(r.Context()).user
	status := http.StatusUnprocessableEntity
	if f.need("old"); f.good() {
		err := s.People.Reprove(r.Context(), u, secret.New(f.Values.Get("old")), from(r))
		if err == nil && f.Get("do") == "renew" {
			var codes []secret.Text
			if codes, err = s.People.NewRecovery(r.Context(), u.Who(), u); err == nil {
				s.showRecovery(w, r, codes)
				return
			}
		} else if err == nil {
			if err = s.People.EndTOTP(r.Context(), u.Who(), u); err == nil {
				s.done(w, r, mePath, "One-time codes are off.")
				return
			}
		}
		patient(w, err)
		status = s.blame(r, &f, err)
	}
	s.show(w, r, status, "codes.html", s.mine(w, r, "One-time codes", f))
}

// endMySession ends one of somebody's sessions, or all but this one.
func (s *Server) endMySession(w http.ResponseWriter, r *http.Request) {
	f, v := typed(r), visitOf(r.Context())
	var err error
	if id := f.Get("session"); id != "" {
		err = s.People.EndSession(r.Context(), v.user.Who(), v.user, id)
	} else {
		_, err = s.People.EndSessions(r.Context(), v.user.Who(), v.user, v.session.ID)
	}
	if err != nil && fault.KindOf(err) != fault.NotFound { // one that is over is as good
		s.failLookup(w, r, err)
		return
	}
	s.done(w, r, mePath, "Ended.")
}
