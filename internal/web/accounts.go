package web

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"postern/internal/vault"
)

// accountPlaces are the accounts page and the ways to sign in from it.
func (s *Server) accountPlaces() []place {
	return []place{
		{"GET /accounts", viewer, s.accounts},
		{"POST /accounts/{name}/signin", admin, s.begin},
		{"POST /accounts/{name}/link", admin, s.invite},
		{"POST /accounts/{name}/consent", admin, s.inviteAdmin},
		{"POST /accounts/{name}/device", admin, s.beginDevice},
		{"GET /accounts/{name}/device", admin, s.showDevice},
		{"POST /accounts/{name}/device/cancel", admin, s.cancelDevice},
	}
}

// accountsPage is what the accounts page shows.
type accountsPage struct {
	sheet
	Accounts []card
	Ends     []vault.Expiry // what ends within 30 days
	Redirect string
	Foreign  string // the origin the browser used, when it is not the public one
}

// card is one account.
type card struct {
	vault.Description
	Offered bool           // a sign-in at Microsoft makes sense
	Retires []vault.Expiry // what Microsoft will end of its method
}

func (s *Server) accounts(w http.ResponseWriter, r *http.Request) {
	p := accountsPage{sheet: s.sheet(w, r, "Accounts", home), Redirect: s.Vault.RedirectURI()}
	if s.foreign(r) {
		p.Foreign = r.Host
	}
	ends, err := s.Vault.Radar(r.Context())
	if err != nil {
		s.trouble(r, &p.sheet, err, "What expires soon could not be looked up.")
	}
	for _, e := range ends {
		if e.Stage != vault.Far {
			p.Ends = append(p.Ends, e)
		}
	}
	if p.Accounts, err = s.cards(r.Context(), ends); err != nil {
		s.trouble(r, &p.sheet, err, "The database does not answer.")
	}
	s.show(w, r, http.StatusOK, "accounts.html", p)
}

// cards are all accounts as they stand. One that cannot be described is shown with
// what the list says of it.
func (s *Server) cards(ctx context.Context, ends []vault.Expiry) ([]card, error) {
	all, err := s.Vault.Accounts(ctx)
	if err != nil {
		return nil, err
	}
	apps, err := s.Vault.Apps(ctx)
	if err != nil {
		return nil, err
	}
	cards := make([]card, len(all))
	for i, a := range all {
		d, err := s.Vault.Describe(ctx, a.Name)
		if err != nil {
			d = vault.Description{Account: a}
		}
		cards[i].Description = d
		if j := slices.IndexFunc(apps, func(p vault.App) bool { return p.Name == a.App }); j >= 0 {
			cards[i].Offered = offers(apps[j])
		}
		for _, e := range ends {
			if e.Kind == "app_password" && e.Subject == a.Name {
				cards[i].Retires = append(cards[i].Retires, e)
			}
		}
	}
	return cards, nil
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
