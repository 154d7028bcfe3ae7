package web

import (
	"net/http"
	"net/url"
	"slices"

	"postern/internal/guide"
	"postern/internal/vault"
)

const guideHome = "/guides"

func (s *Server) guidePlaces() []place {
	return []place{
		{"GET /guides", viewer, s.guideList},
		{"GET /guides/{road}", viewer, s.guidePage},
	}
}

// guideListPage lists the roads.
type guideListPage struct {
	sheet
	Roads []guide.Road
}

func (s *Server) guideList(w http.ResponseWriter, r *http.Request) {
	p := guideListPage{sheet: s.sheet(w, r, "Guides", guideHome)}
	var err error
	if p.Roads, err = s.Checks.Guides(); err != nil {
		s.trouble(r, &p.sheet, err, "The guides could not be read.")
	}
	s.show(w, r, http.StatusOK, "guides.html", p)
}

// guideView is a road, filled in for an account when one is chosen.
type guideView struct {
	sheet
	Road     guide.Road
	Form     form
	Account  string
	Accounts []choice
	Here     string
	Steps    []guideStep
}

// guideStep is a step with the check that proves it, for the account.
type guideStep struct {
	guide.Step
	ID             string
	Purpose, Stage string // "" when no check of the account's does
}

func (s *Server) guidePage(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := s.brief(r)
	defer cancel()
	account := r.URL.Query().Get("account")
	road, err := s.Checks.RoadOf(ctx, r.PathValue("road"), account)
	if err != nil {
		s.failThing(w, r, err, "There is no such guide", guideHome)
		return
	}
	p := guideView{sheet: s.sheet(w, r, road.Title, guideHome), Road: road, Account: account, Form: blank(url.Values{"account": {account}}), Here: guideHome + "/" + road.Name}
	if p.Accounts = s.accountChoices(ctx, r, &p.sheet, func(vault.Account) bool { return true }); len(p.Accounts) > 0 {
		p.Accounts = slices.Insert(p.Accounts, 0, choice{Label: "no account yet"})
	}
	var purposes []string
	if account != "" {
		p.Here += "?account=" + url.QueryEscape(account)
		d, err := s.Vault.Describe(ctx, account)
		if err != nil {
			s.trouble(r, &p.sheet, err, "What the account is for could not be looked up.")
		}
		for _, v := range d.Account.Purposes {
			purposes = append(purposes, string(v))
		}
	}
	for _, st := range road.Steps {
		g := guideStep{Step: st, ID: "step-" + st.Name}
		g.Purpose, g.Stage = road.Check(st, purposes)
		p.Steps = append(p.Steps, g)
	}
	s.show(w, r, http.StatusOK, "guide.html", p)
}
