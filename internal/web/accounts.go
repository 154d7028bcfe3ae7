package web

import (
	"net"
	"net/http"
	"net/url"
	"strings"

	"postern/internal/vault"
)

// accountsPage is what the accounts page shows.
type accountsPage struct {
	Accounts []vault.Description
	Redirect string
	Foreign  string // the origin the browser used, when it is not the public one
	Public   string
	Version  string
	Trouble  string
}

func (s *server) accounts(w http.ResponseWriter, r *http.Request) {
	p := accountsPage{Redirect: s.Vault.RedirectURI(), Public: s.PublicURL, Version: s.Version}
	if s.foreign(r) {
		p.Foreign = r.Host
	}
	all, err := s.Vault.Accounts(r.Context())
	if err != nil {
		s.Log.ErrorContext(r.Context(), "accounts cannot be listed", "error", err)
		p.Trouble = "The database does not answer. The log says why."
	}
	for _, a := range all {
		d, err := s.Vault.Describe(r.Context(), a.Name)
		if err != nil {
			d = vault.Description{Account: a}
		}
		p.Accounts = append(p.Accounts, d)
	}
	s.show(w, r, http.StatusOK, "accounts.html", p)
}

// foreign reports whether the browser uses another address than the public one.
// Its cookies would not come along when Microsoft sends it there.
func (s *server) foreign(r *http.Request) bool {
	return !strings.EqualFold(withPort(s.origin.Scheme, r.Host), withPort(s.origin.Scheme, s.origin.Host))
}

// withPort adds the scheme's port to a host that names none.
func withPort(scheme, host string) string {
	if u := (&url.URL{Host: host}); u.Port() == "" {
		return net.JoinHostPort(u.Hostname(), map[string]string{"http": "80", "https": "443"}[scheme])
	}
	return host
}

// nextStep is one sentence for whoever looks at an account.
func nextStep(a vault.Account) string {
	switch {
	case a.State == vault.Active:
		return "Works."
	case a.State == vault.NeedsAdmin:
		return "Paused until an administrator has changed something; tried again by itself. Run: postern check " + a.Name
	case a.Method == vault.Application:
		return "Acts by app permission; nobody signs in. Run: postern check " + a.Name
	case a.State == vault.NeedsSignIn:
		return "Paused: sign in again. Its mail waits and is kept."
	default:
		return "Sign in once, then check it: postern check " + a.Name
	}
}
