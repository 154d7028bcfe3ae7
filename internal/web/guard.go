package web

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"

	"postern/internal/fault"
	"postern/internal/people"
	"postern/internal/secret"
)

type visitKey struct{}

// visit is who sends a request, and with which session.
type visit struct {
	user    people.User
	session people.Session
}

func visitOf(ctx context.Context) visit {
	v, _ := ctx.Value(visitKey{}).(visit)
	return v
}

// from is the browser that a request comes from.
func from(r *http.Request) people.From {
	return people.From{Address: address(r), Browser: r.UserAgent()}
}

func address(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// protect lets those through who are logged in and have the role. Where nobody is yet,
// every page leads to the set-up.
func (s *Server) protect(least role, next http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.toSetup(w, r) {
			return
		}
		u, session, err := s.People.Who(r.Context(), s.held(r, sessionCookie))
		switch {
		case errors.Is(err, fault.Denied):
			toLogin(w, r)
		case err != nil:
			s.failLookup(w, r, err)
		case !u.Role.May(least):
			s.refuseRole(w, r.WithContext(context.WithValue(r.Context(), visitKey{}, visit{u, session})), least)
		default:
			next(w, r.WithContext(context.WithValue(r.Context(), visitKey{}, visit{u, session})))
		}
	})
}

// refuseRole says which role is needed.
func (s *Server) refuseRole(w http.ResponseWriter, r *http.Request, least role) {
	u := visitOf(r.Context()).user
	s.show(w, r, http.StatusForbidden, "message.html", message{
		Title: "This is not for you to do", Text: "You are here as " + u.Name + ", with the role " + string(u.Role) + ". This needs the role " + string(least) + ".",
		Next: "Ask an administrator of Postern.", Home: "/",
	})
}

// toSetup leads to the set-up as long as nobody may log in.
func (s *Server) toSetup(w http.ResponseWriter, r *http.Request) bool {
	empty, err := s.People.Empty(r.Context())
	switch {
	case err != nil:
		s.failLookup(w, r, err)
	case empty:
		http.Redirect(w, r, SetupPath, http.StatusSeeOther)
	}
	return err != nil || empty
}

// toLogin leads to the login page and from there back. A program, which has no use for
// a page, is told so.
func toLogin(w http.ResponseWriter, r *http.Request) {
	if !strings.Contains(r.Header.Get("Accept"), "text/html") {
		http.Error(w, "log in at "+loginPath+"; programs use the API with a token: postern tokens create NAME", http.StatusUnauthorized)
		return
	}
	back := r.URL.RequestURI()
	if r.Method != http.MethodGet { // what a form does is not repeated unseen: back to the page it stood on
		back = ""
		if at, err := url.Parse(r.Referer()); err == nil && strings.EqualFold(at.Host, r.Host) {
			back = at.RequestURI()
		}
	}
	http.Redirect(w, r, withBack(loginPath, back), http.StatusSeeOther) //nolint:gosec // to a page of ours; back is a parameter, and looked at again
}

// withBack names where to go on after a login.
func withBack(path, back string) string {
	if back = ownPath(back); back == "/" {
		return path
	}
	return path + "?back=" + url.QueryEscape(back)
}

// ownPath is a path of ours, to go on to after a login; anything else is the first page.
// Browsers read a path that begins with two slashes, of either kind, as another host's,
// and drop control characters before they look.
func ownPath(back string) string {
	u, err := url.Parse(back)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || !strings.HasPrefix(back, "/") ||
		strings.HasPrefix(back, "//") || strings.ContainsFunc(back, func(c rune) bool { return c < ' ' || c == '\\' || c == 0x7f }) {
		return "/"
	}
	for _, open := range []string{loginPath, "/logout", SetupPath} { // they would lead in a circle
		if u.Path == open || strings.HasPrefix(u.Path, open+"/") {
			return "/"
		}
	}
	return back
}

// The cookies of a login: the session's, that of one which waits for its one-time code,
// and that of a sign-in elsewhere.
const (
	sessionCookie  = "postern_session"
	halfCookie     = "postern_half"
	providerCookie = "postern_provider"
)

// cookieName is a cookie's name. With the prefix, which only HTTPS can have, browsers
// take it from this host alone.
func (s *Server) cookieName(name string) string {
	if s.secure() {
		return "__Host-" + name
	}
	return name
}

// held is what a cookie holds.
func (s *Server) held(r *http.Request, name string) secret.Text {
	c, err := r.Cookie(s.cookieName(name))
	if err != nil {
		return secret.Text{}
	}
	return secret.New(c.Value)
}

// keep gives the browser a cookie for so many seconds; less than none takes it away.
// It is Lax: providers send browsers back with a plain GET, which must bring it.
func (s *Server) keep(w http.ResponseWriter, name string, value secret.Text, seconds int) {
	http.SetCookie(w, &http.Cookie{ //nolint:gosec // Secure follows the public URL
		Name: s.cookieName(name), Value: value.Reveal(), Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: s.secure(), MaxAge: seconds,
	})
}
