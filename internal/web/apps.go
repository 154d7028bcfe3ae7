package web

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"postern/internal/declare"
	"postern/internal/fault"
	"postern/internal/vault"
)

// appPlaces are the app registrations.
func (s *Server) appPlaces() []place {
	return []place{
		{"GET /apps", viewer, s.apps},
		{"GET /new/app", admin, s.newApp},
		{"POST /new/app", admin, s.makeApp},
		{"GET /apps/{name}", viewer, s.app},
		{"POST /apps/{name}", admin, s.saveApp},
		{"POST /apps/{name}/certificate", admin, s.makeCertificate},
		{"GET /apps/{name}/certificate", admin, s.certificateFile},
		{"POST /apps/{name}/certificate/use", admin, s.useCertificate},
		{"POST /apps/{name}/delete", admin, s.deleteApp},
	}
}

// registrations is the page of all app registrations.
const registrations = "/apps"

func pageOfApp(name string) string { return registrations + "/" + url.PathEscape(name) }

// appsPage is the list.
type appsPage struct {
	sheet
	Apps []appRow
}

// appRow is one app registration with who uses it.
type appRow struct {
	vault.App
	Proof    vault.Shown
	Accounts []string
	End      *vault.Expiry
}

func (s *Server) apps(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := s.brief(r)
	defer cancel()
	p := appsPage{sheet: s.sheet(w, r, "App registrations", registrations)}
	ends, err := s.Vault.Radar(ctx)
	if err != nil {
		s.trouble(r, &p.sheet, err, "What expires soon could not be looked up.")
	}
	if p.Apps, err = s.appRows(ctx, nearest(ends)); err != nil {
		s.trouble(r, &p.sheet, err, "The database does not answer.")
	}
	s.show(w, r, http.StatusOK, "apps.html", p)
}

func (s *Server) appRows(ctx context.Context, ends map[string]vault.Expiry) ([]appRow, error) {
	apps, err := s.Vault.Apps(ctx)
	if err != nil {
		return nil, err
	}
	accounts, err := s.Vault.Accounts(ctx)
	if err != nil {
		return nil, err
	}
	users := map[string][]string{}
	for _, a := range accounts {
		users[a.App] = append(users[a.App], a.Name)
	}
	rows := make([]appRow, len(apps))
	for i, a := range apps {
		proof, _ := a.Shows() // one that cannot be read says so on its own page
		rows[i] = appRow{App: a, Proof: proof, Accounts: users[a.Name]}
		if e, ok := ends["app "+a.Name]; ok {
			rows[i].End = &e
		}
	}
	return rows, nil
}

// appPage is one app registration.
type appPage struct {
	sheet
	appRow
	Aside    vault.Shown // a certificate that waits to be used
	Redirect string
	Form     form
	Clouds   []choice
}

// app shows one, ready to be changed.
func (s *Server) app(w http.ResponseWriter, r *http.Request) {
	s.showApp(w, r, http.StatusOK, form{})
}

// showApp shows an app; a form without values is filled with what is.
func (s *Server) showApp(w http.ResponseWriter, r *http.Request, status int, f form) {
	ctx, cancel := s.brief(r)
	defer cancel()
	name := r.PathValue("name")
	a, err := s.Vault.App(ctx, name)
	if err != nil {
		s.noApp(w, r, err)
		return
	}
	p := appPage{sheet: s.sheet(w, r, name, registrations), appRow: appRow{App: a}, Redirect: s.Vault.RedirectURI(), Form: f}
	if p.Form.Values == nil {
		p.Form.Values = shown(appValues(declare.AppOf(a))).Values // what is wrong with an act stays
	}
	if p.Proof, err = a.Shows(); err != nil {
		s.trouble(r, &p.sheet, err, "The certificate cannot be read: make a new one.")
	}
	if p.Aside, _, err = s.Vault.Aside(ctx, name); err != nil {
		s.trouble(r, &p.sheet, err, "The certificate that waits to be used cannot be read: make a new one.")
	}
	all, err := s.appRows(ctx, nil)
	if err != nil {
		s.trouble(r, &p.sheet, err, "Which accounts use it could not be looked up.")
	}
	p.Clouds = cloudChoices(nil)
	for _, row := range all {
		if row.Name == name {
			p.Accounts = row.Accounts
		}
	}
	s.show(w, r, status, "app.html", p)
}

// noApp says that there is no such app, or that nothing can be looked up.
func (s *Server) noApp(w http.ResponseWriter, r *http.Request, err error) {
	s.failThing(w, r, err, "There is no such app registration", registrations)
}

// saveApp changes one. Its secret is written over only when a new one is typed.
func (s *Server) saveApp(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := s.brief(r)
	defer cancel()
	f := typed(r)
	have, err := s.Vault.App(ctx, r.PathValue("name"))
	if err != nil {
		s.noApp(w, r, err)
		return
	}
	f.overtaken(appValues(declare.AppOf(have)))
	d := appFrom(f, have.Name, nil)
	if was := declare.AppOf(have); d.Certificate == nil {
		d.Certificate, d.HVEScope = was.Certificate, was.HVEScope
	}
	if d.Custom != nil && d.Custom.CA == nil { // the same as with secrets: empty keeps
		d.Custom.CA = keptCA(have)
	}
	if f.good() {
		if _, err := s.apply(r, declare.Document{Apps: []declare.App{d}}); err != nil {
			s.refusedAppForm(r, &f, err)
		}
	}
	if !f.good() {
		s.showApp(w, r, http.StatusUnprocessableEntity, f)
		return
	}
	s.done(w, r, pageOfApp(have.Name), "Saved.")
}

func keptCA(have vault.App) *declare.SecretRef {
	if was := declare.AppOf(have).Custom; was != nil {
		return was.CA
	}
	return nil
}

// certificateLife is how long a certificate that a page makes is good for.
const certificateLife = 2 * 365 * 24 * time.Hour

// makeCertificate makes a key pair that waits until its certificate is uploaded.
func (s *Server) makeCertificate(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	if _, _, err := s.Identities.NewCertificate(r.Context(), s.who(r), name, certificateLife); err != nil {
		s.refusedApp(w, r, err)
		return
	}
	s.done(w, r, pageOfApp(name)+"#certificate", "The certificate is made. Download it, upload it in Entra, then use it.")
}

// certificateFile is the certificate to upload. Its key never leaves.
func (s *Server) certificateFile(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := s.brief(r)
	defer cancel()
	_, pem, err := s.Vault.Aside(ctx, r.PathValue("name"))
	if err == nil && pem == "" {
		err = fault.New(fault.NotFound, "download", "no certificate waits to be used")
	}
	if err != nil {
		s.failThing(w, r, err, "No certificate waits", pageOfApp(r.PathValue("name")))
		return
	}
	w.Header().Set("Content-Type", "application/x-pem-file")
	w.Header().Set("Content-Disposition", `attachment; filename="postern-`+notInNames.ReplaceAllString(r.PathValue("name"), "-")+`.pem"`)
	_, _ = w.Write([]byte(pem))
}

// useCertificate puts it in place, once Microsoft takes it.
func (s *Server) useCertificate(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	if err := s.Identities.UseCertificate(r.Context(), s.who(r), name); err != nil {
		s.refusedApp(w, r, err)
		return
	}
	s.done(w, r, pageOfApp(name), "Microsoft takes the certificate. The app proves itself with it from now on.")
}

// deleteApp takes an app away that nobody uses.
func (s *Server) deleteApp(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	if err := s.Identities.DeleteApp(r.Context(), s.who(r), name); err != nil {
		s.refusedApp(w, r, err)
		return
	}
	s.done(w, r, registrations, "App registration "+name+" is deleted.")
}

// refusedApp shows the page of the app again, with why an act was refused.
func (s *Server) refusedApp(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, fault.NotFound) && fault.HintOf(err) == "" {
		s.noApp(w, r, err)
		return
	}
	f := form{Wrong: map[string]string{}}
	s.refused(r, &f, err)
	if reply := fault.ReplyOf(err); reply != nil {
		f.Why = strings.TrimSpace(f.Why + " Microsoft said: " + reply.String())
	}
	s.showApp(w, r, http.StatusConflict, f)
}
