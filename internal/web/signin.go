package web

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"postern/internal/fault"
	"postern/internal/vault"
)

// cookie binds a sign-in to the browser that began it.
const cookie = "postern_browser"

// message is a page with something to say.
type message struct {
	Title, Text, Next, Words string
	Good                     bool
	Result                   *vault.Result
	Token                    string // of a one-time link that is shown
	Again                    string // where to try once more
}

// showLink asks before it takes the link: mail programs and chats open addresses
// to preview them, and a link works once.
func (s *server) showLink(w http.ResponseWriter, r *http.Request) {
	s.show(w, r, http.StatusOK, "link.html", message{Title: "Sign in a mailbox", Token: r.PathValue("token")})
}

// takeLink uses a link up and goes on to Microsoft. When Microsoft cannot be
// reached just then, its bearer gets another one.
func (s *server) takeLink(w http.ResponseWriter, r *http.Request) {
	link, err := s.Vault.OpenLink(r.Context(), r.PathValue("token"))
	if err != nil {
		s.fail(w, r, err, "")
		return
	}
	account := link.Account
	address, err := s.Vault.BeginSignIn(r.Context(), account, s.browser(w, r))
	if err == nil {
		http.Redirect(w, r, address, http.StatusSeeOther)
		return
	}
	again, lerr := s.Vault.NewLink(r.Context(), account)
	if lerr != nil {
		s.Log.WarnContext(r.Context(), "a used link was not replaced", "account", account, "error", lerr)
	}
	s.fail(w, r, err, again)
}

// begin starts a sign-in from the accounts page. A browser that is not at the
// public address is sent there by a one-time link, so that it gets its cookie
// where it will come back.
func (s *server) begin(w http.ResponseWriter, r *http.Request) {
	account := r.PathValue("name")
	next := func() (string, error) { return s.Vault.NewLink(r.Context(), account) }
	if !s.foreign(r) {
		next = func() (string, error) { return s.Vault.BeginSignIn(r.Context(), account, s.browser(w, r)) }
	}
	address, err := next()
	if err != nil {
		s.fail(w, r, err, "/")
		return
	}
	http.Redirect(w, r, address, http.StatusSeeOther)
}

// browser returns this browser's cookie, giving it one if it has none. It is Lax:
// Microsoft sends the browser back with a plain GET, which carries it.
func (s *server) browser(w http.ResponseWriter, r *http.Request) string {
	if v := cookieOf(r); len(v) >= 26 && len(v) <= 64 {
		return v
	}
	c := &http.Cookie{ //nolint:gosec // Secure follows the public URL
		Name: cookie, Value: rand.Text(), Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode,
		Secure: strings.HasPrefix(s.PublicURL, "https://"), MaxAge: int((24 * time.Hour).Seconds()),
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
func (s *server) posted(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		http.Error(w, "this is no form", http.StatusBadRequest)
		return
	}
	q := url.Values{}
	for _, key := range []string{"code", "state", "error", "error_description"} {
		if v := r.PostForm.Get(key); v != "" {
			q.Set(key, v)
		}
	}
	http.Redirect(w, r, CallbackPath+"?"+q.Encode(), http.StatusSeeOther)
}

// callback is where Microsoft sends the browser. It answers with a redirect to a
// page of its own, so that reloading the finished page repeats nothing.
func (s *server) callback(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	switch {
	case q.Has("done"):
		s.finished(w, r, q.Get("done"), q.Get("proof"))
		return
	case len(q) == 0:
		s.show(w, r, http.StatusBadRequest, "message.html", message{
			Title: "Nothing to finish here", Text: "Microsoft sends browsers to this address at the end of a sign-in.",
			Next: "Begin a sign-in from the accounts page, or with: postern signin NAME",
		})
		return
	}
	browser := cookieOf(r)
	result, err := s.Vault.FinishSignIn(r.Context(), q, browser)
	if err != nil {
		s.fail(w, r, err, "")
		return
	}
	name := result.Account.Name
	s.Log.InfoContext(r.Context(), "account signed in", "account", name, "signed_in_as", result.SignedInAs)
	done := url.Values{"done": {name}, "proof": {s.proof(browser, name)}}
	http.Redirect(w, r, CallbackPath+"?"+done.Encode(), http.StatusSeeOther)
}

// proof is what only this process can say: this browser signed that account in.
func (s *server) proof(browser, account string) string {
	mac := hmac.New(sha256.New, s.key[:])
	_, _ = mac.Write([]byte(browser + "\x00" + account)) // never fails
	return hex.EncodeToString(mac.Sum(nil))
}

// finished says who signed in, for what, until when, to the browser that did it
// and to no other. After a restart it only says that all is done.
func (s *server) finished(w http.ResponseWriter, r *http.Request, account, proof string) {
	m := message{Good: true, Title: "Signed in", Next: "You can close this page. To see whether everything works: postern check " + account}
	if !hmac.Equal([]byte(proof), []byte(s.proof(cookieOf(r), account))) {
		s.show(w, r, http.StatusOK, "message.html", message{Good: true, Title: "This sign-in is finished", Next: "You can close this page."})
		return
	}
	d, err := s.Vault.Describe(r.Context(), account)
	if err != nil {
		s.fail(w, r, err, "")
		return
	}
	m.Result = &vault.Result{Account: d.Account, SignedInAs: d.SignedInAs, Purposes: d.Account.Purposes, Until: d.Until}
	s.show(w, r, http.StatusOK, "message.html", m)
}

// fail shows what went wrong with a sign-in: one sentence, the next step, and the
// server's own words as text. again is where to try once more, if anywhere.
func (s *server) fail(w http.ResponseWriter, r *http.Request, err error, again string) {
	s.Log.WarnContext(r.Context(), "a sign-in failed", "kind", fault.KindOf(err).String(), "error", err)
	status, title := headline(err)
	m := message{Title: title, Text: "Nothing was changed.", Next: sentence(fault.HintOf(err)), Again: again}
	if e := fault.As(err); e != nil && e.Err != nil {
		m.Text = sentence(e.Err.Error()) + " " + m.Text
	}
	if reply := fault.ReplyOf(err); reply != nil {
		m.Words = reply.String()
	}
	switch {
	case m.Next != "":
	case errors.Is(err, fault.Temporary), errors.Is(err, fault.Throttled):
		m.Next = "Try again in a few minutes."
	default:
		m.Next = "Begin again from the accounts page, or with: postern signin NAME"
	}
	s.show(w, r, status, "message.html", m)
}

// headline is what a failed sign-in comes to, in one line.
func headline(err error) (status int, title string) {
	switch fault.KindOf(err) {
	case fault.NotFound:
		return http.StatusNotFound, "This sign-in is over"
	case fault.Denied:
		if fault.ReplyOf(err) != nil {
			return http.StatusForbidden, "Permission was not given"
		}
		return http.StatusForbidden, "The sign-in was refused"
	case fault.Invalid:
		return http.StatusBadRequest, "This sign-in cannot go on"
	case fault.NeedsAdmin:
		return http.StatusForbidden, "An administrator must change something first"
	case fault.NeedsSignIn:
		return http.StatusForbidden, "Microsoft did not accept the sign-in"
	case fault.Temporary, fault.Throttled:
		return http.StatusServiceUnavailable, "Microsoft could not be reached"
	default:
		return http.StatusInternalServerError, "The sign-in did not succeed"
	}
}

// sentence makes one of a message: a capital, a full stop. An address keeps its case.
func sentence(s string) string {
	if s == "" {
		return ""
	}
	if word, _, _ := strings.Cut(s, " "); !strings.Contains(word, "@") {
		first, size := utf8.DecodeRuneInString(s)
		s = string(unicode.ToUpper(first)) + s[size:]
	}
	if strings.ContainsAny(s[len(s)-1:], ".?!") {
		return s
	}
	return s + "."
}
