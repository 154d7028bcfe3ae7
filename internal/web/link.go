package web

import (
	"errors"
	"net/http"
	"time"

	"postern/internal/fault"
	"postern/internal/vault"
)

// linkPage is a one-time link, looked at before it is used.
type linkPage struct {
	Title    string
	Token    string
	Account  vault.Account
	Tenant   string // whose administrator is asked; "" where the mailbox's owner is
	Until    time.Time
	Redirect string
}

// showLink says what a link is for and asks before it takes it: mail programs and
// chats open addresses to preview them, and a link works once.
func (s *Server) showLink(w http.ResponseWriter, r *http.Request) {
	token := r.PathValue("token")
	link, account, err := s.Vault.LookAtLink(r.Context(), token)
	if err != nil {
		s.failLink(w, r, err)
		return
	}
	p := linkPage{Title: "Sign in a mailbox", Token: token, Account: account, Until: link.Expires, Redirect: s.Vault.RedirectURI()}
	if link.Consent {
		app, err := s.Vault.App(r.Context(), account.App)
		if err != nil {
			s.failLookup(w, r, err)
			return
		}
		p.Title, p.Tenant = "Agree for your organisation", app.Tenant
	}
	s.show(w, r, http.StatusOK, "link.html", p)
}

// takeLink uses a link up and goes on to Microsoft. When that fails just then, its
// bearer gets another one.
func (s *Server) takeLink(w http.ResponseWriter, r *http.Request) {
	link, err := s.Links.OpenLink(r.Context(), browserAt(r), r.PathValue("token"))
	if err != nil {
		s.failLink(w, r, err)
		return
	}
	begin := s.Vault.BeginSignIn
	if link.Consent {
		begin = s.Vault.BeginConsent
	}
	address, err := begin(r.Context(), link.Account, s.browser(w, r))
	if err != nil {
		s.fail(w, r, err, s.another(r, link.Account, link.Consent))
		return
	}
	http.Redirect(w, r, address, http.StatusSeeOther)
}

// another is a new one-time address in place of one that came to nothing, "" when
// there can be none.
func (s *Server) another(r *http.Request, account string, consent bool) string {
	if account == "" {
		return ""
	}
	again, err := s.Links.NewLink(r.Context(), browserAt(r), account, consent)
	if err != nil {
		s.Log.WarnContext(r.Context(), "a used link was not replaced", "account", account, "error", err)
		return ""
	}
	return again
}

// browserAt is how the audit log names somebody whom nobody asked to log in.
func browserAt(r *http.Request) string { return "browser:" + address(r) }

// failLink says that a link cannot be used, or not now.
func (s *Server) failLink(w http.ResponseWriter, r *http.Request, err error) {
	if !errors.Is(err, fault.NotFound) {
		s.failLookup(w, r, err)
		return
	}
	s.Log.InfoContext(r.Context(), "a link did not open", "error", err)
	status, m := explain(err)
	m.Title = "This link is over"
	s.show(w, r, status, "message.html", m)
}

// invitation is a one-time address to pass on.
type invitation struct {
	Title, Address, Tenant string
	Account                vault.Account
	Home, Waiting          string // the account's page, and the one that waits for the end
}

// invite makes a link with which somebody else signs a mailbox in.
func (s *Server) invite(w http.ResponseWriter, r *http.Request) {
	s.showInvitation(w, r, invitation{Title: "A link for somebody else"}, false)
}

// inviteAdmin makes a link with which an administrator agrees for the organisation.
func (s *Server) inviteAdmin(w http.ResponseWriter, r *http.Request) {
	s.showInvitation(w, r, invitation{Title: "Ask an administrator to agree"}, true)
}

func (s *Server) showInvitation(w http.ResponseWriter, r *http.Request, p invitation, consent bool) {
	d, err := s.Vault.Describe(r.Context(), r.PathValue("name"))
	var app vault.App
	if err == nil {
		p.Account = d.Account
		app, err = s.Vault.App(r.Context(), d.Account.App)
	}
	if err != nil {
		s.failLookup(w, r, err)
		return
	}
	if p.Address, err = s.Links.NewLink(r.Context(), s.who(r), d.Account.Name, consent); err != nil {
		s.fail(w, r, err, pageOf(d.Account.Name))
		return
	}
	if consent {
		p.Tenant = app.Tenant
	}
	p.Waiting = waitingFor(d.Account.Name, s.now(), true)
	p.Home = pageOf(d.Account.Name)
	s.show(w, r, http.StatusOK, "invitation.html", p)
}
