package web

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"time"

	"postern/internal/vault"
)

// cookie binds a sign-in to the browser that began it.
const cookie = "postern_browser"

// begin starts a sign-in from an account's page.
func (s *Server) begin(w http.ResponseWriter, r *http.Request) {
	s.beginFor(w, r, r.PathValue("name"))
}

// beginFor starts a sign-in of an account. A browser that is not at the public address
// is sent there by a one-time link, so that it gets its cookie where it will come back.
// It ends at the check, but in a window of its own: then the page that opened it looks
// for the end.
func (s *Server) beginFor(w http.ResponseWriter, r *http.Request, account string) {
	next := func() (string, error) { return s.Links.NewLink(r.Context(), s.who(r), account, false) }
	if !s.foreign(r) {
		next = func() (string, error) { return s.Vault.BeginSignIn(r.Context(), account, s.browser(w, r)) }
	}
	address, err := next()
	if err != nil {
		s.fail(w, r, err, pageOf(account))
		return
	}
	s.waits.begin(account)
	back := account
	if r.PostFormValue("window") == ownWindow {
		back = ""
	}
	s.comesBackTo(w, back)
	http.Redirect(w, r, address, http.StatusSeeOther)
}

// ownWindow says that the script opened a window for the sign-in.
const ownWindow = "own"

// backCookie says whose sign-in this browser began on a page of ours, and wants to go on
// from there.
const backCookie = "postern_back"

// comesBackTo keeps whose sign-in it is; nobody's when account is "".
func (s *Server) comesBackTo(w http.ResponseWriter, account string) {
	c := &http.Cookie{ //nolint:gosec // Secure follows the public URL
		Name: backCookie, Value: url.QueryEscape(account), Path: CallbackPath, HttpOnly: true, SameSite: http.SameSiteLaxMode,
		Secure: s.secure(), MaxAge: int(signInLife.Seconds()),
	}
	if account == "" {
		c.MaxAge = -1
	}
	http.SetCookie(w, c)
}

// began reports whether this browser began the account's sign-in on a page of ours.
func began(r *http.Request, account string) bool {
	c, err := r.Cookie(backCookie)
	return err == nil && account != "" && c.Value == url.QueryEscape(account)
}

// browser returns this browser's cookie, giving it one if it has none. It is Lax:
// Microsoft sends the browser back with a plain GET, which carries it.
func (s *Server) browser(w http.ResponseWriter, r *http.Request) string {
	if v := cookieOf(r); len(v) >= 26 && len(v) <= 64 {
		return v
	}
	c := &http.Cookie{ //nolint:gosec // Secure follows the public URL
		Name: cookie, Value: rand.Text(), Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode,
		Secure: s.secure(), MaxAge: int((24 * time.Hour).Seconds()),
	}
	http.SetCookie(w, c)
	return c.Value
}

func cookieOf(r *http.Request) string {
	c, err := r.Cookie(cookie)
	if err != nil {
		return ""
	}
	return c.Value
}

// posted takes the callback of a provider that posts. A cross-site POST brings no
// Lax cookie, so the browser is sent on to the same thing as a GET, which does.
func (s *Server) posted(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		http.Error(w, "this is no form", http.StatusBadRequest)
		return
	}
	q := url.Values{}
	for _, key := range []string{"code", "state", "error", "error_description", "admin_consent"} {
		if v := r.PostForm.Get(key); v != "" {
			q.Set(key, v)
		}
	}
	http.Redirect(w, r, CallbackPath+"?"+q.Encode(), http.StatusSeeOther)
}

// callback is where Microsoft sends the browser. It answers with a redirect to a
// page of its own, so that reloading the finished page repeats nothing.
func (s *Server) callback(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	switch {
	case q.Has("done"):
		s.finished(w, r, ending{account: q.Get("done"), consent: q.Has("consent")}, q.Get("proof"))
		return
	case len(q) == 0:
		s.show(w, r, http.StatusBadRequest, "message.html", message{
			Title: "Nothing to finish here", Text: "Microsoft sends browsers to this address at the end of a sign-in.",
			Next: "Begin a sign-in from the accounts page, or with: postern signin NAME",
		})
		return
	case q.Get("state") == "" && !q.Has("error"):
		s.show(w, r, http.StatusBadRequest, "message.html", message{
			Title: "Half of this address is missing", Text: "It does not say which sign-in it ends (there is no state in it). Nothing was changed.",
			Next: "Open the whole address that Microsoft sent you to, or begin again.",
		})
		return
	}
	browser := cookieOf(r)
	result, err := s.Vault.FinishSignIn(r.Context(), q, browser)
	s.waits.end(result.Account.Name, err)
	here := began(r, result.Account.Name)
	if here {
		s.comesBackTo(w, "")
	}
	switch {
	case err != nil && here:
		s.fail(w, r, err, pageOf(result.Account.Name))
		return
	case err != nil:
		s.fail(w, r, err, s.another(r, result.Account.Name, result.Consented))
		return
	}
	e := ending{account: result.Account.Name, consent: result.Consented}
	s.Log.InfoContext(r.Context(), e.said(), "account", e.account, "signed_in_as", result.SignedInAs)
	if here && !e.consent {
		s.done(w, r, checkOf(e.account, result.Account.Purposes...), "Signed in as "+result.SignedInAs+".")
		return
	}
	http.Redirect(w, r, CallbackPath+"?"+s.address(e, browser).Encode(), http.StatusSeeOther)
}

// ending is what a browser finished.
type ending struct {
	account string
	consent bool // an administrator's, for everybody
}

func (e ending) said() string {
	if e.consent {
		return "administrator consented"
	}
	return "account signed in"
}

// address names the finished page.
func (s *Server) address(e ending, browser string) url.Values {
	q := url.Values{"done": {e.account}, "proof": {s.proof(e, browser)}}
	if e.consent {
		q.Set("consent", "1")
	}
	return q
}

// proof is what only this process can say: this browser finished that.
func (s *Server) proof(e ending, browser string) string {
	mac := hmac.New(sha256.New, s.key[:])
	_, _ = mac.Write([]byte(browser + "\x00" + e.account + "\x00" + e.said())) // never fails
	return hex.EncodeToString(mac.Sum(nil))
}

// finished says who signed in, for what, until when, to the browser that did it
// and to no other. After a restart it only says that all is done.
func (s *Server) finished(w http.ResponseWriter, r *http.Request, e ending, proof string) {
	if !hmac.Equal([]byte(proof), []byte(s.proof(e, cookieOf(r)))) {
		s.show(w, r, http.StatusOK, "message.html", message{Good: true, Title: "This sign-in is finished", Next: "You can close this page."})
		return
	}
	d, err := s.Vault.Describe(r.Context(), e.account)
	if err != nil {
		s.failLookup(w, r, err)
		return
	}
	m := signedIn(d)
	if e.consent {
		m = consented(d)
	}
	m.Close = true
	s.show(w, r, http.StatusOK, "message.html", m)
}

// signedIn is the page at the end of a good sign-in.
func signedIn(d vault.Description) message {
	return message{
		Good: true, Title: "Signed in", Done: &d,
		Next: "You can close this page. To see whether everything works: postern check " + d.Account.Name,
	}
}

// consented is the page at the end of an administrator's consent. Nobody signed in,
// so it names nobody.
func consented(d vault.Description) message {
	m := message{
		Good: true, Title: "Agreed for the organisation", Consented: true, Done: &d,
		Text: "Nobody has to be asked any more. This signed no mailbox in.",
		Next: "You can close this page. Microsoft may take some minutes to know of it everywhere; then run: postern check " + d.Account.Name,
	}
	if d.Account.Method == vault.Delegated && d.SignedInAs == "" {
		m.Next = "You can close this page. The mailbox still signs in once, from the accounts page or with: postern signin " + d.Account.Name
	}
	return m
}
