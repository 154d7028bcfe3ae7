package web

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"postern/internal/declare"
	"postern/internal/fault"
	"postern/internal/guide"
	"postern/internal/secret"
	"postern/internal/vault"
)

// accountPage is one account: how it is, how it signs in, and what may be done with it.
type accountPage struct {
	sheet
	vault.Description
	App      vault.App
	Offered  bool           // a sign-in at Microsoft makes sense
	Ends     []vault.Expiry // what is near
	Checks   []Checked      // what the last ones found
	Exchange string         // what an Exchange administrator runs once
	Redirect string
	Foreign  string // the origin the browser used, when it is not the public one
	Form     form   // of the password
	Step     advised
	Guides   []guide.Road // of its kind
}

// account shows one.
func (s *Server) account(w http.ResponseWriter, r *http.Request) {
	s.showAccount(w, r, http.StatusOK, blank(nil))
}

func (s *Server) showAccount(w http.ResponseWriter, r *http.Request, status int, f form) {
	ctx, cancel := s.brief(r)
	defer cancel()
	p := accountPage{Form: f, Redirect: s.Vault.RedirectURI()}
	var err error
	if p.Description, err = s.Vault.Describe(ctx, r.PathValue("name")); err != nil {
		s.noAccount(w, r, err)
		return
	}
	p.sheet = s.sheet(w, r, p.Account.Name, home)
	if p.App, err = s.Vault.App(ctx, p.Account.App); err != nil {
		s.trouble(r, &p.sheet, err, "The app registration of this account could not be looked up.")
	}
	if p.Ends, err = s.endsOf(ctx, p.Account); err != nil {
		s.trouble(r, &p.sheet, err, "What expires soon could not be looked up.")
	}
	if p.Checks, err = s.Identities.LastFound(ctx, p.Account.Name); err != nil {
		s.trouble(r, &p.sheet, err, "What the last checks found could not be looked up.")
	}
	if p.Guides, err = s.Checks.RoadsFor(p.Account); err != nil {
		s.trouble(r, &p.sheet, err, "The guides could not be read.")
	}
	if s.foreign(r) {
		p.Foreign = r.Host
	}
	p.Offered = offers(p.App)
	p.Exchange = strings.Join(vault.ExchangeCommands(p.Description, p.App), "\n")
	p.Step = nextStep(p.Account)
	s.show(w, r, status, "account.html", p)
}

// endsOf are the near ends of an account and of its app.
func (s *Server) endsOf(ctx context.Context, a vault.Account) ([]vault.Expiry, error) {
	ends, err := s.Vault.Radar(ctx)
	return slices.DeleteFunc(slices.Clone(ends), func(e vault.Expiry) bool {
		own := e.Kind == "grant" || e.Kind == "app_password"
		return e.Stage == vault.Far || own && e.Subject != a.Name || !own && e.Subject != a.App
	}), err
}

// checkOf is the page that checks an account's connection, for the first of its purposes.
func checkOf(account string, purposes ...vault.Purpose) string {
	q := url.Values{"account": {account}}
	if len(purposes) > 0 {
		q.Set("purpose", string(purposes[0]))
	}
	return "/check?" + q.Encode()
}

// TakesPassword reports whether the account has one of its own.
func (p accountPage) TakesPassword() bool {
	return p.Account.Method == vault.Password || p.Account.Method == vault.AppPassword
}

// Connected reports whether there is anything to forget.
func (p accountPage) Connected() bool {
	return p.Account.Method != vault.Application && (!p.SignedInAt.IsZero() || len(p.Access) > 0 || len(p.Account.Password) > 0)
}

// enterPassword keeps a new password of the account's own.
func (s *Server) enterPassword(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	f := typed(r)
	f.need("password")
	acct, err := s.accountNamed(r, name)
	if err != nil {
		s.noAccount(w, r, err)
		return
	}
	if f.good() {
		d := declare.AccountOf(acct)
		d.Password = &declare.SecretRef{Value: secret.New(f.Values.Get("password"))}
		if _, err = s.apply(r, declare.Document{Accounts: []declare.Account{d}}); err != nil {
			s.refused(r, &f, err, "password")
		}
	}
	if !f.good() {
		s.showAccount(w, r, http.StatusUnprocessableEntity, f)
		return
	}
	s.done(w, r, pageOf(name), "The password is kept. Check the connection to see whether it works.")
}

// noAccount says that there is no such account, or that nothing can be looked up.
func (s *Server) noAccount(w http.ResponseWriter, r *http.Request, err error) {
	s.failThing(w, r, err, "There is no such account", home)
}

// accountNamed reads an account in the time a page has.
func (s *Server) accountNamed(r *http.Request, name string) (vault.Account, error) {
	ctx, cancel := s.brief(r)
	defer cancel()
	d, err := s.Vault.Describe(ctx, name)
	return d.Account, err
}

// holdAccount pauses the account, or lets it go on.
func (s *Server) holdAccount(held bool, said string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		name := r.PathValue("name")
		if err := s.Identities.HoldAccount(r.Context(), s.who(r), name, held); err != nil {
			s.refusedAccount(w, r, err)
			return
		}
		s.done(w, r, pageOf(name), said)
	}
}

// renameAccount calls the account something else.
func (s *Server) renameAccount(w http.ResponseWriter, r *http.Request) {
	name, f := r.PathValue("name"), typed(r)
	f.need("to")
	to := f.Get("to")
	if f.good() {
		if err := s.Identities.RenameAccount(r.Context(), s.who(r), name, to); err != nil {
			if errors.Is(err, fault.NotFound) {
				s.noAccount(w, r, err)
				return
			}
			s.refused(r, &f, err, "name=to")
		}
	}
	if !f.good() {
		s.showAccount(w, r, http.StatusUnprocessableEntity, f)
		return
	}
	s.done(w, r, pageOf(to), "Account "+name+" is called "+to+" now.")
}

// disconnect forgets the account's sign-in.
func (s *Server) disconnect(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	if err := s.Identities.Disconnect(r.Context(), s.who(r), name); err != nil {
		s.refusedAccount(w, r, err)
		return
	}
	s.done(w, r, pageOf(name), "The sign-in is forgotten. Mail of this account waits until the next one.")
}

// deleteAccount takes the account away, unless something uses it or its mail waits.
func (s *Server) deleteAccount(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	if err := s.Identities.DeleteAccount(r.Context(), s.who(r), name); err != nil {
		s.refusedAccount(w, r, err)
		return
	}
	s.done(w, r, home, "Account "+name+" is deleted.")
}

// refusedAccount shows the account's page again, with why an act was refused.
func (s *Server) refusedAccount(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, fault.NotFound) {
		s.noAccount(w, r, err)
		return
	}
	s.Log.WarnContext(r.Context(), "a change was refused", "page", r.URL.Path, "kind", fault.KindOf(err).String(), "error", err)
	f := blank(nil)
	f.refuse(err)
	s.showAccount(w, r, http.StatusConflict, f)
}

// foreign reports whether the browser uses another address than the public one.
// Its cookies would not come along when Microsoft sends it there.
func (s *Server) foreign(r *http.Request) bool {
	return !strings.EqualFold(withPort(s.origin.Scheme, r.Host), withPort(s.origin.Scheme, s.origin.Host))
}

// withPort adds the scheme's port to a host that names none.
func withPort(scheme, host string) string {
	if u := (&url.URL{Host: host}); u.Port() == "" {
		return net.JoinHostPort(u.Hostname(), map[string]string{"http": "80", "https": "443"}[scheme])
	}
	return host
}
