package web

import (
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"postern/internal/declare"
	"postern/internal/fault"
	"postern/internal/mail"
	"postern/internal/secret"
	"postern/internal/vault"
)

// appFormPage is the form of a new app registration.
type appFormPage struct {
	sheet
	Form     form
	Clouds   []choice
	Redirect string
}

func (s *Server) newApp(w http.ResponseWriter, r *http.Request) {
	s.showAppForm(w, r, http.StatusOK, blank(url.Values{"cloud": {"global"}}))
}

func (s *Server) showAppForm(w http.ResponseWriter, r *http.Request, status int, f form) {
	p := appFormPage{sheet: s.sheet(w, r, "New app registration", registrations), Form: f, Redirect: s.Vault.RedirectURI()}
	apps, err := s.appsThere(r)
	if err != nil {
		s.trouble(r, &p.sheet, err, "The app registrations could not be looked up.")
	}
	p.Clouds = cloudChoices(apps)
	s.show(w, r, status, "appform.html", p)
}

// appsThere reads the app registrations in the time a page has.
func (s *Server) appsThere(r *http.Request) ([]vault.App, error) {
	ctx, cancel := s.brief(r)
	defer cancel()
	return s.Vault.Apps(ctx)
}

func (s *Server) makeApp(w http.ResponseWriter, r *http.Request) {
	f := typed(r)
	apps, err := s.appsThere(r)
	if err != nil {
		f.refuse(err)
	}
	d := appFrom(f, f.Get("name"), apps)
	if d.Name == "" {
		d.Name = appName(d, apps)
	} else if there(apps, d.Name) {
		f.wrong("name", "There is an app registration of this name already.")
	}
	if f.good() {
		if _, err := s.apply(r, declare.Document{Apps: []declare.App{d}}); err != nil {
			s.refusedAppForm(r, &f, err)
		}
	}
	if !f.good() {
		s.showAppForm(w, r, http.StatusUnprocessableEntity, f)
		return
	}
	s.done(w, r, pageOfApp(d.Name), "The app registration is saved.")
}

// appName derives a name from the tenant's domain: contoso.onmicrosoft.com is contoso.
func appName(d declare.App, apps []vault.App) string {
	text, _, domain := strings.Cut(d.Tenant, ".")
	if !domain {
		text = "microsoft-365"
	}
	return named(text, func(name string) bool { return there(apps, name) })
}

// there reports whether a name is taken.
func there(apps []vault.App, name string) bool {
	for _, a := range apps {
		if a.Name == name {
			return true
		}
	}
	return false
}

const (
	ownCloud  = "custom"
	asAppMark = "as:" // a cloud like that of the app named behind it
)

// cloudChoices are the clouds to choose from: Microsoft's, those of apps whose servers
// are the operator's own, and another one.
func cloudChoices(apps []vault.App) []choice {
	choices := options("global|Microsoft 365 (worldwide, and GCC)", "usgov|Microsoft 365 GCC High", "dod|Microsoft 365 DoD", "china|Microsoft 365 operated by 21Vianet (China)")
	for _, a := range apps {
		if a.Cloud.Name == ownCloud {
			choices = append(choices, choice{Value: asAppMark + a.Name, Label: "The servers of app registration " + a.Name})
		}
	}
	return append(choices, choice{Value: ownCloud, Label: "Servers of my own, named below"})
}

// servers are the mail servers of a cloud of the operator's own.
func servers(c *declare.Custom) []struct {
	name string
	at   **mail.Server
} {
	return []struct {
		name string
		at   **mail.Server
	}{{"smtp", &c.SMTP}, {"hve", &c.HVE}, {"imap", &c.IMAP}, {"pop3", &c.POP3}}
}

// appValues fill the form. No secret is among them.
func appValues(d declare.App) url.Values {
	v := url.Values{"tenant": {d.Tenant}, "client_id": {d.ClientID}, "secret_expires": {d.SecretExpires}, "cloud": {d.Cloud}}
	if d.Custom == nil {
		return v
	}
	for name, value := range map[string]string{
		"authority": d.Custom.Authority, "portal": d.Custom.Portal, "outlook": d.Custom.Outlook, "app_only": d.Custom.AppOnly, "graph": d.Custom.Graph,
	} {
		v.Set(name, value)
	}
	for _, s := range servers(d.Custom) {
		if *s.at != nil {
			v.Set(s.name, (*s.at).Address())
			v.Set(s.name+"_tls", string((*s.at).TLS))
		}
	}
	return v
}

// appFrom reads the form, and says beside each field what is wrong with it.
func appFrom(f form, name string, apps []vault.App) declare.App {
	d := declare.App{Name: name, Tenant: f.Get("tenant"), ClientID: f.Get("client_id"), SecretExpires: f.Get("secret_expires"), Cloud: f.Get("cloud")}
	if d.SecretExpires != "" {
		if _, err := time.Parse(time.DateOnly, d.SecretExpires); err != nil {
			f.wrong("secret_expires", "Type a date such as 2027-05-01.")
		}
	}
	d.Secret, d.Packed = written(f, "secret"), written(f, "packed")
	if like, ok := strings.CutPrefix(d.Cloud, asAppMark); ok {
		for _, a := range apps {
			if a.Name == like {
				was := declare.AppOf(a)
				d.Cloud, d.Custom = was.Cloud, was.Custom
			}
		}
		return d
	}
	if d.Cloud == ownCloud {
		d.Custom = customFrom(f)
	}
	return d
}

// written is a field that is only ever written, never shown; nil when it is empty.
func written(f form, name string) *declare.SecretRef {
	if f.Get(name) == "" {
		return nil
	}
	return &declare.SecretRef{Value: secret.New(f.Get(name))}
}

func customFrom(f form) *declare.Custom {
	c := &declare.Custom{Authority: f.Get("authority"), Portal: f.Get("portal"), Outlook: f.Get("outlook"), AppOnly: f.Get("app_only"), Graph: f.Get("graph"), CA: written(f, "ca")}
	if !strings.HasPrefix(c.Authority, "https://") {
		f.wrong("authority", "Type an address that begins with https://: the client secret is sent there.")
	}
	for _, s := range servers(c) {
		if f.Get(s.name) == "" {
			continue
		}
		host, port, err := net.SplitHostPort(f.Get(s.name))
		n, perr := strconv.Atoi(port)
		if err != nil || perr != nil || host == "" || n < 1 || n > 65535 {
			f.wrong(s.name, "Type host and port, such as smtp.example.com:587.")
			continue
		}
		*s.at = &mail.Server{Host: host, Port: n, TLS: mail.TLSMode(f.Get(s.name + "_tls"))}
	}
	return c
}

// refusedAppForm says what an error means for the form: at the field where it is one's.
func (s *Server) refusedAppForm(r *http.Request, f *form, err error) {
	if e := fault.As(err); e != nil && e.Err != nil {
		field, known := map[string]string{
			"client id": "client_id", "tenant": "tenant", "client secret": "secret", "authority": "authority", "read the packed name": "packed",
		}[e.Op]
		if known {
			f.wrong(field, strings.TrimSpace(sentence(e.Err.Error())+" "+sentence(e.Hint)))
			return
		}
	}
	s.refused(r, f, err, "packed", "secret", "secret_expires", "client_id", "tenant", "mailbox", "purposes", "password")
}
