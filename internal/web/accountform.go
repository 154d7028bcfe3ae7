package web

import (
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"postern/internal/declare"
	"postern/internal/mail"
	"postern/internal/vault"
)

// accountFormPage is the form of an account that is there.
type accountFormPage struct {
	sheet
	Form    form
	Account string
	Apps    []choice
}

func (s *Server) editAccount(w http.ResponseWriter, r *http.Request) {
	acct, err := s.accountNamed(r, r.PathValue("name"))
	if err != nil {
		s.noAccount(w, r, err)
		return
	}
	s.showAccountForm(w, r, http.StatusOK, shown(accountValues(declare.AccountOf(acct))))
}

func (s *Server) showAccountForm(w http.ResponseWriter, r *http.Request, status int, f form) {
	ctx, cancel := s.brief(r)
	defer cancel()
	name := r.PathValue("name")
	p := accountFormPage{sheet: s.sheet(w, r, "Change "+name, home), Form: f, Account: name}
	apps, err := s.Vault.Apps(ctx)
	if err != nil {
		s.trouble(r, &p.sheet, err, "The app registrations could not be looked up.")
	}
	p.Apps = appChoices(apps)
	s.show(w, r, status, "accountform.html", p)
}

func appChoices(apps []vault.App) []choice {
	choices := make([]choice, len(apps))
	for i, a := range apps {
		choices[i] = choice{Value: a.Name, Label: a.Name + strings.TrimSuffix(" ("+a.Tenant+")", " ()")}
	}
	return choices
}

func (s *Server) saveAccount(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	acct, err := s.accountNamed(r, name)
	if err != nil {
		s.noAccount(w, r, err)
		return
	}
	f := typed(r)
	f.overtaken(accountValues(declare.AccountOf(acct)))
	d := accountFrom(f, name)
	if f.good() {
		if _, err = s.apply(r, declare.Document{Accounts: []declare.Account{d}}); err != nil {
			s.refused(r, &f, err, "mailbox", "purposes", "sign_in", "internal_domains")
		}
	}
	if !f.good() {
		s.showAccountForm(w, r, http.StatusUnprocessableEntity, f)
		return
	}
	said := "Saved."
	if again(acct, d) {
		said = "Saved. What the account is for, or whose it is, has changed: sign it in again."
	}
	s.done(w, r, pageOf(name), said)
}

// again reports whether a change makes another sign-in necessary: one asks for the
// scopes of all purposes.
func again(was vault.Account, is declare.Account) bool {
	if is.SignIn != string(vault.Delegated) {
		return false
	}
	for _, p := range is.Purposes {
		if !was.May(vault.Purpose(p)) {
			return true
		}
	}
	return was.App != is.App || !strings.EqualFold(was.Mailbox.String(), is.Mailbox) || string(was.Method) != is.SignIn
}

// accountValues fill the form.
func accountValues(d declare.Account) url.Values {
	v := url.Values{
		"app": {d.App}, "mailbox": {d.Mailbox}, "sign_in": {d.SignIn}, "purposes": d.Purposes, "transport": {d.Transport},
		"internal_domains": {strings.Join(d.InternalDomains, "\n")},
	}
	for name, on := range map[string]bool{"shared": d.Shared, "simulate": d.Simulate, "give_tokens": d.GiveTokens, "limited": d.Limits != nil} {
		if on {
			v.Set(name, "on")
		}
	}
	if l := d.Limits; l != nil {
		for _, n := range limitFields(l) {
			v.Set(n.name, strconv.Itoa(*n.value))
		}
	}
	return v
}

type limitField struct {
	name  string
	value *int
}

func limitFields(l *mail.Limits) []limitField {
	return []limitField{
		{"connections", &l.Connections}, {"per_minute", &l.PerMinute},
		{"recipients_per_day", &l.RecipientsPerDay}, {"recipients_per_message", &l.RecipientsPerMessage},
	}
}

// accountFrom reads the form, and says beside each field what is wrong with it.
func accountFrom(f form, name string) declare.Account {
	f.need("mailbox", "app")
	mailboxField(f)
	if len(f.Values["purposes"]) == 0 {
		f.wrong("purposes", "Tick at least one.")
	}
	d := declare.Account{
		Name: name, App: f.Get("app"), Mailbox: f.Get("mailbox"), SignIn: f.Get("sign_in"), Purposes: f.Values["purposes"], Transport: f.Get("transport"),
		Shared: f.Ticked("shared", "on"), Simulate: f.Ticked("simulate", "on"), GiveTokens: f.Ticked("give_tokens", "on"),
		InternalDomains: f.Lines("internal_domains"),
	}
	for _, domain := range d.InternalDomains {
		if _, err := mail.ParseAddress("postmaster@" + domain); err != nil {
			f.wrong("internal_domains", domain+" is not a domain.")
		}
	}
	if f.Ticked("limited", "on") {
		d.Limits = &mail.Limits{}
		for _, n := range limitFields(d.Limits) {
			*n.value = f.whole(n.name, "Type a whole number; 0 is no limit.")
		}
	}
	return d
}

// mailboxField wants an address in the field of that name.
func mailboxField(f form) {
	if _, err := mail.ParseAddress(f.Get("mailbox")); err != nil && f.Get("mailbox") != "" {
		f.wrong("mailbox", "This is not a mail address, such as scan@contoso.com.")
	}
}

var notInNames = regexp.MustCompile(`[^A-Za-z0-9._@+-]+`)

// named makes a name of a text that none of those there has: "scan", then "scan-2".
func named(text string, taken func(string) bool) string {
	base := strings.Trim(notInNames.ReplaceAllString(text, "-"), "-._@+")
	base = base[:min(len(base), 100)]
	if base == "" {
		base = "account"
	}
	name := base
	for n := 2; taken(name); n++ {
		name = base + "-" + strconv.Itoa(n)
	}
	return name
}
