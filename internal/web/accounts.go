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

// accountsPage is what the accounts page shows.
type accountsPage struct {
	Accounts []card
	Ends     []vault.Expiry // what ends within 30 days
	Redirect string
	Foreign  string // the origin the browser used, when it is not the public one
	Public   string
	Version  string
	Pretends string // whose mail goes to nobody
	Trouble  []string
}

// card is one account.
type card struct {
	vault.Description
	Offered bool           // a sign-in at Microsoft makes sense
	Retires []vault.Expiry // what Microsoft will end of its method
}

func (s *Server) accounts(w http.ResponseWriter, r *http.Request) {
	p := accountsPage{Redirect: s.Vault.RedirectURI(), Public: s.PublicURL, Version: s.Version}
	if s.foreign(r) {
		p.Foreign = r.Host
	}
	var err error
	if p.Pretends, err = s.pretending(r.Context()); err != nil {
		s.Log.ErrorContext(r.Context(), "whether mail is simulated cannot be looked up", "error", err)
		p.Trouble = append(p.Trouble, "Whether mail is only simulated could not be looked up. The log says why.")
	}
	ends, err := s.Vault.Radar(r.Context())
	if err != nil {
		s.Log.ErrorContext(r.Context(), "what expires cannot be looked up", "error", err)
		p.Trouble = append(p.Trouble, "What expires soon could not be looked up. The log says why.")
	}
	for _, e := range ends {
		if e.Stage != vault.Far {
			p.Ends = append(p.Ends, e)
		}
	}
	if p.Accounts, err = s.cards(r.Context(), ends); err != nil {
		s.Log.ErrorContext(r.Context(), "accounts cannot be listed", "error", err)
		p.Trouble = append(p.Trouble, "The database does not answer. The log says why.")
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
