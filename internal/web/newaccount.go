package web

import (
	"errors"
	"net/http"
	"net/url"

	"postern/internal/declare"
	"postern/internal/fault"
	"postern/internal/mail"
	"postern/internal/vault"
)

// newAccountPage is the short way from nothing to a mailbox that works.
type newAccountPage struct {
	sheet
	Form     form
	Apps     []choice // to take one that is there
	Clouds   []choice
	Redirect string
	Foreign  string
}

// The roads to a mailbox: how an account signs in, as somebody chooses who knows
// nothing of OAuth.
const (
	roadDelegated   = "delegated"
	roadApplication = "application"
	roadHVE         = "hve"
	roadAppPassword = "app_password"
)

func (s *Server) newAccount(w http.ResponseWriter, r *http.Request) {
	defaults := url.Values{"road": {roadDelegated}, "cloud": {"global"}, "purposes": {string(vault.Send)}, "proof": {"secret"}, "app": {r.URL.Query().Get("app")}}
	if apps, err := s.appsThere(r); err == nil && defaults.Get("app") == "" {
		for _, a := range apps {
			if a.ClientID != "" { // most have one registration for all mailboxes
				defaults.Set("app", a.Name)
				break
			}
		}
	}
	s.showNewAccount(w, r, http.StatusOK, blank(defaults))
}

func (s *Server) showNewAccount(w http.ResponseWriter, r *http.Request, status int, f form) {
	p := newAccountPage{sheet: s.sheet(w, r, "New account", home), Form: f, Redirect: s.Vault.RedirectURI()}
	apps, err := s.appsThere(r)
	if err != nil {
		s.trouble(r, &p.sheet, err, "The app registrations could not be looked up.")
	}
	for _, a := range apps {
		if a.ClientID != "" {
			p.Apps = append(p.Apps, appChoices([]vault.App{a})...)
		}
	}
	if len(p.Apps) > 0 {
		p.Apps = append(p.Apps, choice{Value: "", Label: "A new one"})
	}
	p.Clouds = cloudChoices(apps)
	if s.foreign(r) {
		p.Foreign = r.Host
	}
	s.show(w, r, status, "newaccount.html", p)
}

// makeAccount saves app registration and account, and goes straight on: to Microsoft
// where somebody must sign in, to the certificate where one must be uploaded first, to
// the check otherwise.
func (s *Server) makeAccount(w http.ResponseWriter, r *http.Request) {
	f := typed(r)
	apps, err := s.appsThere(r)
	if err != nil {
		f.refuse(err)
	}
	doc := s.newDocument(r, &f, apps)
	if f.good() {
		if _, err := s.apply(r, doc); err != nil {
			s.refusedAppForm(r, &f, err)
		}
	}
	if !f.good() {
		s.showNewAccount(w, r, http.StatusUnprocessableEntity, f)
		return
	}
	account := doc.Accounts[0]
	switch {
	case len(doc.Apps) > 0 && f.Get("proof") == "certificate":
		s.done(w, r, pageOfApp(account.App)+"#certificate", "Saved. Now make the certificate, upload it in Entra and use it; then sign the account in.")
	case account.SignIn == string(vault.Delegated):
		s.beginFor(w, r, account.Name)
	default:
		s.done(w, r, checkOf(account.Name, vault.Purpose(account.Purposes[0])), "Account "+account.Name+" is saved.")
	}
}

// newDocument is what the form makes: an account, and its app unless that is there.
func (s *Server) newDocument(r *http.Request, f *form, apps []vault.App) declare.Document {
	var doc declare.Document
	acct := declare.Account{Mailbox: f.Get("mailbox"), Shared: f.Ticked("shared", "on"), Purposes: f.Values["purposes"]}
	road := f.Get("road")
	acct.SignIn = map[string]string{
		roadDelegated: string(vault.Delegated), roadApplication: string(vault.Application), roadHVE: string(vault.Password), roadAppPassword: string(vault.AppPassword),
	}[road]
	switch road {
	case roadHVE:
		acct.Purposes = []string{string(vault.HVE)}
	case roadAppPassword:
		acct.App, doc.Apps = hostsOnly(*f, apps)
	case "":
		f.wrong("road", "Choose one.")
	}
	if road == roadHVE || road == roadAppPassword {
		f.need("password")
		acct.Password = written(*f, "password")
	}
	if len(acct.Purposes) == 0 {
		f.wrong("purposes", "Tick at least one.")
	}
	if acct.App == "" {
		acct.App, doc.Apps = s.chosenApp(*f, apps)
	}
	if len(doc.Apps) > 0 && doc.Apps[0].Packed != nil && acct.Mailbox == "" {
		acct.Mailbox, _ = declare.PackedMailbox(doc.Apps[0].Packed.Value) // what is wrong with it, apply says
	}
	if acct.Mailbox == "" {
		f.need("mailbox")
	}
	mailboxField(*f)
	acct.Name = s.accountName(r, f, acct.Mailbox)
	doc.Accounts = []declare.Account{acct}
	return doc
}

// chosenApp is the app registration of the account, and what makes it if it is new.
func (s *Server) chosenApp(f form, apps []vault.App) (string, []declare.App) {
	if name := f.Get("app"); name != "" {
		return name, nil
	}
	d := appFrom(f, f.Get("app_name"), apps)
	if d.Packed == nil {
		f.need("client_id", "tenant")
		if f.Get("proof") == "secret" {
			f.need("secret")
		}
	}
	if d.Name == "" {
		d.Name = appName(d, apps)
	} else if there(apps, d.Name) {
		f.wrong("app_name", "There is an app registration of this name already.")
	}
	return d.Name, []declare.App{d}
}

// hostsOnly is an app that only says where the servers are, which is all that an app
// password needs: one that is there, or a new one.
func hostsOnly(f form, apps []vault.App) (string, []declare.App) {
	d := appFrom(f, "", apps)
	d.Tenant, d.ClientID, d.Secret, d.SecretExpires, d.Packed = "", "", nil, "", nil
	for _, a := range apps {
		if a.Cloud.Name == d.Cloud && (d.Cloud != ownCloud || f.Get("cloud") == asAppMark+a.Name) {
			return a.Name, nil
		}
	}
	d.Name = named("servers-"+d.Cloud, func(name string) bool { return there(apps, name) })
	return d.Name, []declare.App{d}
}

// accountName is the name typed, or what stands before the @ of the mailbox.
func (s *Server) accountName(r *http.Request, f *form, mailbox string) string {
	taken := func(name string) bool {
		_, err := s.accountNamed(r, name)
		if err != nil && !errors.Is(err, fault.NotFound) {
			f.refuse(err)
		}
		return err == nil
	}
	if name := f.Get("name"); name != "" {
		if taken(name) {
			f.wrong("name", "There is an account of this name already.")
		}
		return name
	}
	box, err := mail.ParseAddress(mailbox)
	if err != nil {
		return ""
	}
	return named(box.Local, taken)
}
