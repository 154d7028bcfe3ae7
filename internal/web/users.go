package web

import (
	"net/http"
	"net/url"

	"postern/internal/people"
	"postern/internal/secret"
)

const (
	usersPath = "/users"
	userPath  = "/user/" // of one
)

// userPlaces are what administrators do about people.
func (s *Server) userPlaces() []place {
	return []place{
		{"GET " + usersPath, admin, s.users},
		{"GET " + usersPath + "/new", admin, s.showNewUser},
		{"POST " + usersPath + "/new", admin, s.newUser},
		{"GET " + userPath + "{name}", admin, s.user},
		{"POST " + userPath + "{name}/{act}", admin, s.changeUser},
	}
}

// usersPage is all users, one of them, or what is shown of a new one this once.
type usersPage struct {
	sheet
	Users     []people.User
	One       people.User
	Sessions  []people.Session
	Form      form
	Elsewhere bool   // people may sign in with a provider
	Link      string // an invitation
	Password  string
}

func (s *Server) users(w http.ResponseWriter, r *http.Request) {
	p := usersPage{sheet: s.sheet(w, r, "Users", usersPath)}
	ctx, cancel := s.brief(r)
	defer cancel()
	var err error
	if p.Users, err = s.People.Users(ctx); err != nil {
		s.trouble(r, &p.sheet, err, "The users could not be looked up.")
	}
	s.show(w, r, http.StatusOK, "users.html", p)
}

func (s *Server) showNewUser(w http.ResponseWriter, r *http.Request) {
	s.newUserPage(w, r, http.StatusOK, blank(url.Values{"role": {string(people.Operator)}, "way": {string(people.ByLink)}}))
}

func (s *Server) newUserPage(w http.ResponseWriter, r *http.Request, status int, f form) {
	s.show(w, r, status, "usernew.html", usersPage{sheet: s.sheet(w, r, "Add a user", usersPath), Form: f, Elsewhere: s.People.Provider != nil})
}

func (s *Server) newUser(w http.ResponseWriter, r *http.Request) {
	f := typed(r)
	way := people.Way(f.Get("way"))
	if way != people.Elsewhere {
		f.need("name")
	}
	if !f.good() {
		s.newUserPage(w, r, http.StatusUnprocessableEntity, f)
		return
	}
	u, text, err := s.People.Add(r.Context(), s.who(r), people.NewUser{Name: f.Get("name"), Mail: f.Get("mail"), Role: people.Role(f.Get("role")), Way: way})
	if err != nil {
		s.newUserPage(w, r, s.blame(r, &f, err), f)
		return
	}
	if way == people.Elsewhere {
		s.done(w, r, usersPath, u.Name+" may come in with the provider now.")
		return
	}
	s.showOnce(w, r, u, way, text)
}

// showOnce shows what lets a user in, this once.
func (s *Server) showOnce(w http.ResponseWriter, r *http.Request, u people.User, way people.Way, text secret.Text) {
	p := usersPage{sheet: s.sheet(w, r, "Let "+u.Name+" in", usersPath), One: u}
	if way == people.ByLink {
		p.Link = s.PublicURL + WelcomePath + text.Reveal()
	} else {
		p.Password = text.Reveal()
	}
	s.show(w, r, http.StatusOK, "useronce.html", p)
}

func (s *Server) user(w http.ResponseWriter, r *http.Request) {
	s.userPage(w, r, http.StatusOK, nil)
}

func (s *Server) userPage(w http.ResponseWriter, r *http.Request, status int, f *form) {
	ctx, cancel := s.brief(r)
	defer cancel()
	u, err := s.People.Find(ctx, r.PathValue("name"))
	if err != nil {
		s.noUser(w, r, err)
		return
	}
	p := usersPage{sheet: s.sheet(w, r, u.Name, usersPath), One: u, Form: blank(url.Values{"role": {string(u.Role)}})}
	if f != nil {
		p.Form = *f
	}
	if p.Sessions, err = s.People.Sessions(ctx, u.ID); err != nil {
		s.trouble(r, &p.sheet, err, "The sessions could not be looked up.")
	}
	s.show(w, r, status, "user.html", p)
}

func (s *Server) noUser(w http.ResponseWriter, r *http.Request, err error) {
	if statusOf(err) != http.StatusNotFound {
		s.failLookup(w, r, err)
		return
	}
	s.show(w, r, http.StatusNotFound, "message.html", message{Title: "There is no such user", Next: "Go back to the users.", Again: usersPath})
}

// changeUser does one thing about a user.
func (s *Server) changeUser(w http.ResponseWriter, r *http.Request) {
	f, ctx, who := typed(r), r.Context(), s.who(r)
	u, err := s.People.Find(ctx, r.PathValue("name"))
	if err != nil {
		s.noUser(w, r, err)
		return
	}
	said := ""
	switch r.PathValue("act") {
	case "role":
		err, said = s.People.SetRole(ctx, who, u.Name, people.Role(f.Get("role"))), "The role is changed."
	case "disable":
		err, said = s.People.Disable(ctx, who, u.Name, true), u.Name+" is shut out, and all sessions are ended."
	case "enable":
		err, said = s.People.Disable(ctx, who, u.Name, false), u.Name+" may log in again."
	case "codes":
		err, said = s.People.EndTOTP(ctx, who, u), "One-time codes are off. "+u.Name+" can turn them on again."
	case "sessions":
		_, err = s.People.EndSessions(ctx, who, u, "")
		said = "All sessions of " + u.Name + " are ended."
	case "invite":
		var text secret.Text
		if u, text, err = s.People.Invite(ctx, who, u.Name); err == nil {
			s.showOnce(w, r, u, people.ByLink, text)
			return
		}
	default:
		s.missing(w, r)
		return
	}
	if err != nil {
		f.Values.Set("role", string(u.Role))
		s.userPage(w, r, s.blame(r, &f, err), &f)
		return
	}
	s.done(w, r, userPath+url.PathEscape(u.Name), said)
}
