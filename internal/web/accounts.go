package web

import (
	"bytes"
	"net/http"
	"net/url"
	"strings"

	"postern/internal/vault"
)

type bufferedPage = bytes.Buffer

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
	if u, err := url.Parse(s.PublicURL); err == nil && !strings.EqualFold(u.Host, r.Host) {
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
