package web

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strings"
	"time"

	"postern/internal/people"
)

// sheet is what every page inside the frame carries; a page's own data embeds it.
type sheet struct {
	Title    string
	User     people.User // who looks
	Nav      []group
	Note     string   // what the act before this page came to; said once
	Pretends string   // whose mail goes to nobody
	Trouble  []string // what could not be looked up; the page shows the rest
	Again    int      // seconds after which a browser without the script looks again; 0: not
	Public   string
	Version  string
}

// sheet begins a page. here is the entry of the navigation it belongs to.
func (s *Server) sheet(w http.ResponseWriter, r *http.Request, title, here string) sheet {
	u := visitOf(r.Context()).user
	p := sheet{Title: title, User: u, Public: s.PublicURL, Version: s.Version}
	if r.Header.Get(partHeader) != "" { // a part comes without the frame around it
		return p
	}
	p.Nav, p.Note = navigation(here, u.Role), s.noted(w, r)
	var err error
	if p.Pretends, err = s.pretending(r.Context()); err != nil {
		s.trouble(r, &p, err, "Whether mail is only simulated could not be looked up.")
	}
	return p
}

// May reports whether whoever looks has a role, so that nobody is shown what is not
// for them to do.
func (p sheet) May(least string) bool { return p.User.Role.May(people.Role(least)) }

// trouble says on a page that a part of it is missing, and logs why. One part that
// cannot be looked up must not take the page with it.
func (s *Server) trouble(r *http.Request, p *sheet, err error, said string) {
	s.Log.ErrorContext(r.Context(), "a part of a page could not be looked up", "page", r.URL.Path, "error", err)
	p.Trouble = append(p.Trouble, said+" The log says why.")
}

// partHeader asks for one part of a page by the name of its block: the script renews
// parts while somebody looks.
const partHeader = "Postern-Part"

// show renders a page whole before the first octet leaves, so that a template that
// fails cannot leave half a page. Blocks named after the page ("queue-list" of
// queue.html) can be asked for by themselves.
func (s *Server) show(w http.ResponseWriter, r *http.Request, status int, name string, data any) {
	var b bytes.Buffer
	block := name
	if part := r.Header.Get(partHeader); strings.HasPrefix(part, strings.TrimSuffix(name, ".html")+"-") && s.views.Lookup(part) != nil {
		block = part
	}
	if err := s.views.ExecuteTemplate(&b, block, data); err != nil {
		s.Log.ErrorContext(r.Context(), "a page could not be made", "page", name, "error", err)
		http.Error(w, "the page could not be made; the log says why", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes())
}

// noteCookie carries a sentence over the redirect that follows an act.
const noteCookie = "postern_note"

// done ends an act: the browser goes on to a page that says once what came of it.
// Never a secret: what is shown once is shown in answer to the form itself.
func (s *Server) done(w http.ResponseWriter, r *http.Request, to, said string) {
	http.SetCookie(w, &http.Cookie{ //nolint:gosec // Secure follows the public URL
		Name: noteCookie, Value: base64.RawURLEncoding.EncodeToString(append(s.seal(said), said...)), Path: "/",
		HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: s.secure(), MaxAge: int(time.Minute.Seconds()),
	})
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// noted is what the act before said, and forgets it. One that another node sealed, or
// nobody, is not said.
func (s *Server) noted(w http.ResponseWriter, r *http.Request) string {
	c, err := r.Cookie(noteCookie)
	if err != nil || r.Header.Get(partHeader) != "" {
		return ""
	}
	http.SetCookie(w, &http.Cookie{Name: noteCookie, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: s.secure(), MaxAge: -1}) //nolint:gosec // see done
	b, err := base64.RawURLEncoding.DecodeString(c.Value)
	if err != nil || len(b) < sha256.Size {
		return ""
	}
	said := string(b[sha256.Size:])
	if !hmac.Equal(b[:sha256.Size], s.seal(said)) {
		return ""
	}
	return said
}

func (s *Server) seal(said string) []byte {
	mac := hmac.New(sha256.New, s.key[:])
	_, _ = mac.Write([]byte("note\x00" + said)) // never fails
	return mac.Sum(nil)
}

func (s *Server) secure() bool { return s.origin.Scheme == "https" }
