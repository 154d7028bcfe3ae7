package web

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"postern/internal/alert"
	"postern/internal/check"
	"postern/internal/declare"
	"postern/internal/mail"
	"postern/internal/secret"
	"postern/internal/vault"
)

// Setting is one key of the configuration: what it has come to, and where from. Nothing
// secret is in it.
type Setting struct{ Name, Value, From, Help string }

// Settings are what the settings page needs beside the vault and the alerts.
type Settings interface {
	Settings() []Setting
	// TestMail checks an account of a document that is not saved, and really sends a
	// message.
	TestMail(ctx context.Context, doc declare.Document, account string, to mail.Address) (check.Report, error)
}

const settingsPath = "/settings"

// notifier names the app, the account and the route that the form stands for.
const notifier = "notifications"

// defaultServer is Microsoft's.
const defaultServer = "smtp.office365.com:587"

func (s *Server) settingsPlaces() []place {
	return []place{
		{"GET /settings", admin, s.settings},
		{"POST /settings", admin, s.changeSettings},
	}
}

// settingsData is the settings page.
type settingsData struct {
	sheet
	Form      form
	Through   []choice // accounts that may send, and a mailbox of its own
	Apps      []choice // app registrations to sign in with
	Microsoft bool     // the server is one of Microsoft's
	Redirect  string
	State     vault.State // of the account that the form stands for; "" when there is none
	Settings  []Setting
	Test      *check.Report
}

func (s *Server) settings(w http.ResponseWriter, r *http.Request) {
	s.settingsAs(w, r, http.StatusOK, nil, nil)
}

// settingsAs shows the page: with what is saved, or with what somebody typed.
func (s *Server) settingsAs(w http.ResponseWriter, r *http.Request, status int, f *form, test *check.Report) {
	ctx, cancel := s.brief(r)
	defer cancel()
	p := settingsData{sheet: s.sheet(w, r, "Settings", settingsPath), Test: test, Settings: s.Settings.Settings(), Redirect: s.Vault.RedirectURI()}
	saved, state := s.savedNotifier(ctx)
	if p.State = state; f == nil {
		f = &saved
	}
	p.Form = *f
	host, _ := splitServer(f.Get("server"))
	p.Microsoft = OffersMicrosoft(host)
	own := []choice{{Value: "", Label: "A mailbox of its own, as below"}}
	p.Through = append(own, s.accountChoices(ctx, r, &p.sheet, func(a vault.Account) bool { return sends(a) && a.Name != notifier })...)
	apps, err := s.Vault.Apps(ctx)
	if err != nil {
		s.trouble(r, &p.sheet, err, "The app registrations could not be looked up.")
	}
	for _, a := range apps {
		if a.ClientID != "" && len(p.Apps) < mostListed {
			p.Apps = append(p.Apps, choice{Value: a.Name, Label: a.Name})
		}
	}
	p.Apps = append(p.Apps, choice{Value: "", Label: "A new one, as below"})
	s.show(w, r, status, "settings.html", p)
}

// savedNotifier is the form as it was saved. What is not there yet has its default; what
// cannot be looked up as well, for the page says so elsewhere.
func (s *Server) savedNotifier(ctx context.Context) (form, vault.State) {
	v := url.Values{"server": {defaultServer}, "tls": {string(mail.STARTTLS)}, "method": {"microsoft"}}
	if apps, err := s.Vault.Apps(ctx); err == nil {
		for _, a := range apps {
			if a.ClientID != "" {
				v.Set("app", a.Name)
				break
			}
		}
	}
	route, err := s.Alerts.AlertRoute(ctx, notifier)
	if err == nil {
		d := declare.AlertOf(route)
		v.Set("to", strings.Join(d.To, "\n"))
		v.Set("from", d.FromName)
		if d.Account != notifier {
			v.Set("through", d.Account)
		}
	}
	d, err := s.Vault.Describe(ctx, notifier)
	if err != nil {
		return blank(v), ""
	}
	v.Set("user", d.Account.Mailbox.String())
	if d.Account.Method == vault.AppPassword {
		v.Set("method", "password")
	}
	v.Set("app", d.Account.App)
	if app, err := s.Vault.App(ctx, d.Account.App); err == nil {
		if at := app.Cloud.SMTP; at.Set() {
			v.Set("server", at.Address())
			v.Set("tls", string(at.TLS))
		}
		if app.ClientID == "" {
			v.Set("app", "")
		}
	}
	return blank(v), d.Account.State
}

// splitServer reads host:port; without a port it is 587.
func splitServer(text string) (host string, port int) {
	host, digits, err := net.SplitHostPort(text)
	if err != nil {
		return strings.Trim(text, "[]"), 587
	}
	port, err = strconv.Atoi(digits)
	if err != nil || port < 1 || port > 65535 {
		return host, 0
	}
	return host, port
}

func (s *Server) changeSettings(w http.ResponseWriter, r *http.Request) {
	f := typed(r)
	doc := s.notifierDoc(r.Context(), &f)
	act := f.Get("act")
	if f.good() && act == "test" {
		s.testSettings(w, r, f, doc)
		return
	}
	if f.good() {
		if _, err := s.apply(r, doc); err != nil {
			s.refused(r, &f, err, "to", "mailbox=user", "client_id", "tenant", "secret", "password")
		}
	}
	switch {
	case !f.good():
		s.settingsAs(w, r, http.StatusUnprocessableEntity, &f, nil)
	case act == "signin" && len(doc.Accounts) > 0:
		s.beginFor(w, r, notifier)
	default:
		s.done(w, r, settingsPath, "Saved. Test it, so that you know it reaches you.")
	}
}

// notifierDoc is what the form stands for: an app, an account and a route, or a route
// through an account that is there already.
func (s *Server) notifierDoc(ctx context.Context, f *form) declare.Document {
	route := declare.Alert{Name: notifier}
	if saved, err := s.Alerts.AlertRoute(ctx, notifier); err == nil { // what the form does not show stays
		route = declare.AlertOf(saved)
	}
	f.need("to")
	route.Account, route.To, route.FromName, route.Webhook, route.Disabled = notifier, f.Lines("to"), f.Get("from"), "", false
	if through := f.Get("through"); through != "" {
		route.Account = through
		return declare.Document{Alerts: []declare.Alert{route}}
	}
	app, account := s.notifierAccount(f)
	doc := declare.Document{Accounts: []declare.Account{account}, Alerts: []declare.Alert{route}}
	if app != nil {
		doc.Apps = []declare.App{*app}
	}
	return doc
}

// notifierAccount is the mailbox that notifications come from, and the app it needs; nil
// where it uses one that is there.
func (s *Server) notifierAccount(f *form) (*declare.App, declare.Account) {
	f.need("server", "user")
	acct := declare.Account{Name: notifier, App: notifier, Mailbox: f.Get("user"), SignIn: string(vault.AppPassword), Purposes: []string{string(vault.Send)}}
	if clear := f.Values.Get("password"); clear != "" {
		acct.Password = &declare.SecretRef{Value: secret.New(clear)}
	}
	host, port := splitServer(f.Get("server"))
	if port == 0 {
		f.wrong("server", "Type host:port, such as smtp.contoso.com:587.")
	}
	switch {
	case !OffersMicrosoft(host):
		at := &mail.Server{Host: host, Port: port, TLS: mail.TLSMode(f.Get("tls"))}
		return &declare.App{Name: notifier, Cloud: "custom", Custom: &declare.Custom{SMTP: at}}, acct
	case f.Get("method") == "password":
		return &declare.App{Name: notifier, Cloud: cloudOf(host)}, acct
	}
	acct.SignIn, acct.Password = string(vault.Delegated), nil
	if app := f.Get("app"); app != "" {
		acct.App = app
		return nil, acct
	}
	f.need("client_id", "tenant")
	app := &declare.App{Name: notifier, Cloud: cloudOf(host), ClientID: f.Get("client_id"), Tenant: f.Get("tenant")}
	if clear := f.Values.Get("secret"); clear != "" {
		app.Secret = &declare.SecretRef{Value: secret.New(clear)}
	}
	return app, acct
}

// cloudOf is the preset that one of Microsoft's mail servers belongs to.
func cloudOf(host string) string {
	switch host = strings.ToLower(host); {
	case strings.HasSuffix(host, ".us"):
		return "usgov"
	case strings.HasSuffix(host, ".cn"):
		return "china"
	}
	return "global"
}

// testSettings really sends a message with the values as they were typed.
func (s *Server) testSettings(w http.ResponseWriter, r *http.Request, f form, doc declare.Document) {
	ctx, cancel := context.WithTimeout(r.Context(), alertTestFor)
	defer cancel()
	route, err := doc.Alerts[0].Route()
	if err == nil {
		err = route.Check()
	}
	if err != nil {
		s.refused(r, &f, fieldError(err), "to")
		s.settingsAs(w, r, http.StatusUnprocessableEntity, &f, nil)
		return
	}
	report, err := s.sendTest(ctx, doc, route)
	if err != nil {
		f.refuse(err)
		report, f.Why = check.Report{Headline: "The test could not be made. " + f.Why}, ""
	}
	s.settingsAs(w, r, http.StatusOK, &f, &report)
}

func (s *Server) sendTest(ctx context.Context, doc declare.Document, route alert.Route) (check.Report, error) {
	if len(doc.Accounts) == 0 {
		return s.Alerts.TestAlert(ctx, "", route, secret.Text{})
	}
	return s.Settings.TestMail(ctx, declare.Document{Apps: doc.Apps, Accounts: doc.Accounts}, notifier, route.To[0])
}
