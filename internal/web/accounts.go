package web

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"postern/internal/vault"
)

// accountPlaces are the accounts, the ways to sign one in, and what an admin may do
// with it.
func (s *Server) accountPlaces() []place {
	return []place{
		{"GET /accounts", viewer, s.accounts},
		{"GET /new/account", admin, s.newAccount},
		{"POST /new/account", admin, s.makeAccount},
		{"GET /accounts/{name}", viewer, s.account},
		{"GET /accounts/{name}/edit", admin, s.editAccount},
		{"POST /accounts/{name}/edit", admin, s.saveAccount},
		{"POST /accounts/{name}/password", admin, s.enterPassword},
		{"POST /accounts/{name}/pause", operator, s.holdAccount(true, "Paused. Its mail waits until it is resumed.")},
		{"POST /accounts/{name}/resume", operator, s.holdAccount(false, "It goes on.")},
		{"POST /accounts/{name}/rename", admin, s.renameAccount},
		{"POST /accounts/{name}/disconnect", admin, s.disconnect},
		{"POST /accounts/{name}/delete", admin, s.deleteAccount},
		{"POST /accounts/{name}/signin", admin, s.begin},
		{"GET /accounts/{name}/signin", admin, s.wait},
		{"POST /accounts/{name}/signin/cancel", admin, s.stopWaiting},
		{"POST /accounts/{name}/link", admin, s.invite},
		{"POST /accounts/{name}/consent", admin, s.inviteAdmin},
		{"POST /accounts/{name}/device", admin, s.beginDevice},
		{"GET /accounts/{name}/device", admin, s.showDevice},
		{"POST /accounts/{name}/device/cancel", admin, s.cancelDevice},
	}
}

// home is the accounts page.
const home = "/accounts"

// pageOf is one account's page.
func pageOf(account string) string { return home + "/" + url.PathEscape(account) }

// perPage is how many rows of a list a page has.
const perPage = 50

// accountsPage is the list.
type accountsPage struct {
	sheet
	Form  form // what is looked for
	Rows  []accountRow
	All   int    // accounts there are
	Found int    // that were looked for
	Next  string // the address of the next page; "" on the last
	First string // of the first page; "" on it
}

// accountRow is one account in the list.
type accountRow struct {
	vault.Account
	End     *vault.Expiry // the nearest end of what lets it work
	Checked *Checked      // the last check; one that failed before others
}

func (s *Server) accounts(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := s.brief(r)
	defer cancel()
	p := accountsPage{sheet: s.sheet(w, r, "Accounts", home), Form: blank(r.URL.Query())}
	all, err := s.Vault.Accounts(ctx)
	if err != nil {
		s.trouble(r, &p.sheet, err, "The database does not answer.")
	}
	ends, err := s.Vault.Radar(ctx)
	if err != nil {
		s.trouble(r, &p.sheet, err, "What expires soon could not be looked up.")
	}
	checks, err := s.Identities.LastFound(ctx, "")
	if err != nil {
		s.trouble(r, &p.sheet, err, "What the last checks found could not be looked up.")
	}
	found := slices.DeleteFunc(slices.Clone(all), func(a vault.Account) bool { return !p.wanted(a) })
	p.All, p.Found = len(all), len(found)
	p.turn(found, nearest(ends), worst(checks))
	s.show(w, r, http.StatusOK, "accounts.html", p)
}

// wanted reports whether an account is among those looked for.
func (p accountsPage) wanted(a vault.Account) bool {
	if state := p.Form.Get("state"); state != "" && state != string(a.State) {
		return false
	}
	text := strings.ToLower(p.Form.Get("q"))
	return strings.Contains(strings.ToLower(a.Name+" "+a.Mailbox.String()+" "+a.App), text)
}

// turn to the page that follows the account in the address. Accounts come by name.
func (p *accountsPage) turn(found []vault.Account, ends map[string]vault.Expiry, checks map[string]Checked) {
	from := 0
	if after := p.Form.Get("after"); after != "" {
		at, there := slices.BinarySearchFunc(found, after, func(a vault.Account, name string) int { return cmp.Compare(a.Name, name) })
		if from = at; there {
			from++
		}
		p.First = p.at("")
	}
	to := min(from+perPage, len(found))
	for _, a := range found[from:to] {
		row := accountRow{Account: a}
		for _, key := range []string{"account " + a.Name, "app " + a.App} {
			if e, ok := ends[key]; ok && (row.End == nil || e.At.Before(row.End.At)) {
				row.End = &e
			}
		}
		if c, ok := checks[a.Name]; ok {
			row.Checked = &c
		}
		p.Rows = append(p.Rows, row)
	}
	if to < len(found) {
		p.Next = p.at(found[to-1].Name)
	}
}

// at is the address of the page after an account, with what is looked for.
func (p accountsPage) at(after string) string {
	q := url.Values{}
	for key, value := range map[string]string{"q": p.Form.Get("q"), "state": p.Form.Get("state"), "after": after} {
		if value != "" {
			q.Set(key, value)
		}
	}
	return home + "?" + q.Encode()
}

// nearest is the next end of each account and app, of those that are near.
func nearest(ends []vault.Expiry) map[string]vault.Expiry {
	next := map[string]vault.Expiry{}
	for _, e := range ends { // the nearest come first
		kind := "app "
		if e.Kind == "grant" || e.Kind == "app_password" {
			kind = "account "
		}
		if _, ok := next[kind+e.Subject]; !ok && e.Stage != vault.Far {
			next[kind+e.Subject] = e
		}
	}
	return next
}

// worst is the last check of each account, one that failed before others.
func worst(checks []Checked) map[string]Checked {
	of := map[string]Checked{}
	for _, c := range checks {
		if have, ok := of[c.Account]; !ok || have.Good && (!c.Good || c.At.After(have.At)) {
			of[c.Account] = c
		}
	}
	return of
}
