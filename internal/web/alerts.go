package web

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"postern/internal/alert"
	"postern/internal/check"
	"postern/internal/declare"
	"postern/internal/fault"
	"postern/internal/secret"
	"postern/internal/vault"
)

// Alerts are the routes by which people hear of trouble.
type Alerts interface {
	Routes(ctx context.Context) ([]alert.Route, error)
	AlertRoute(ctx context.Context, name string) (alert.Route, error)
	DeleteAlertRoute(ctx context.Context, who, name string) error
	AlertHistory(ctx context.Context, f alert.Filter) ([]alert.Alert, error)
	// TestAlert really sends one message the way a route says, saved or not.
	TestAlert(ctx context.Context, saved string, given alert.Route, signWith secret.Text) (check.Report, error)
}

const alertsPath = "/alerts"

func (s *Server) alertPlaces() []place {
	return []place{
		{"GET /alerts", viewer, s.alertList},
		{"GET /new/alert", admin, s.newAlert},
		{"POST /new/alert", admin, s.createAlert},
		{"POST /preview/alert", admin, s.previewAlert},
		{"GET /alerts/{name}", viewer, s.alertPage},
		{"POST /alerts/{name}", admin, s.changeAlert},
		{"POST /alerts/{name}/delete", admin, s.deleteAlert},
	}
}

// alertListPage is the routes, and what was told by them.
type alertListPage struct {
	sheet
	Routes  []alert.Route
	History []alert.Alert
	Form    form
	Next    string // where the next page begins
}

// historyRows is how much of the history a page shows.
const historyRows = 50

func (s *Server) alertList(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := s.brief(r)
	defer cancel()
	p := alertListPage{sheet: s.sheet(w, r, "Alerts", alertsPath), Form: blank(r.URL.Query())}
	var err error
	if p.Routes, err = s.Alerts.Routes(ctx); err != nil {
		s.trouble(r, &p.sheet, err, "The routes could not be looked up.")
	}
	f := alert.Filter{Route: p.Form.Get("route"), State: alert.State(p.Form.Get("state")), Before: p.Form.Get("before"), Limit: historyRows}
	if p.History, err = s.Alerts.AlertHistory(ctx, f); err != nil {
		s.trouble(r, &p.sheet, err, "What was told could not be looked up.")
	}
	if len(p.History) == historyRows {
		p.Next = alertsPath + "?" + url.Values{"route": {f.Route}, "state": {string(f.State)}, "before": {p.History[historyRows-1].ID}}.Encode()
	}
	s.show(w, r, http.StatusOK, "alerts.html", p)
}

// alertFormPage is the form of a route.
type alertFormPage struct {
	sheet
	Form      form
	Name      string // of the saved route; "" for a new one
	ByMail    bool
	Accounts  []choice
	Events    []choice
	Variables string
	Defaults  [2]string // subject and text, when the route has none of its own
	Preview   alertPreview
	Made      string // the webhook's secret, when it was just made
	Test      *check.Report
	Wording   bool // the templates are open
}

// alertShow is what an act adds to the page.
type alertShow struct {
	form form
	made secret.Text
	said string
	test *check.Report
}

func (s *Server) newAlert(w http.ResponseWriter, r *http.Request) {
	by := r.URL.Query().Get("by")
	if by != "webhook" {
		by = "mail"
	}
	s.alertAs(w, r, http.StatusOK, "", alertShow{form: blank(url.Values{"by": {by}})})
}

func (s *Server) alertPage(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := s.brief(r)
	defer cancel()
	route, err := s.Alerts.AlertRoute(ctx, r.PathValue("name"))
	if err != nil {
		s.failAlert(w, r, err)
		return
	}
	values := alertValues(route)
	if !route.ByMail() && !visitOf(r.Context()).user.Role.May(admin) {
		values.Set("webhook", secret.Address(route.Webhook))
	}
	s.alertAs(w, r, http.StatusOK, route.Name, alertShow{form: shown(values)})
}

func (s *Server) alertAs(w http.ResponseWriter, r *http.Request, status int, name string, show alertShow) {
	ctx, cancel := s.brief(r)
	defer cancel()
	title := "New alert route"
	if name != "" {
		title = name
	}
	f := show.form
	p := alertFormPage{sheet: s.sheet(w, r, title, alertsPath), Form: f, Name: name, ByMail: f.Get("by") != "webhook", Events: eventChoices(),
		Variables: strings.Join(alert.Variables(), " "), Defaults: [2]string{alert.DefaultSubject, alert.DefaultText},
		Preview: s.alertPreview(f), Made: show.made.Reveal(), Test: show.test}
	for _, field := range []string{"subject", "text", "html"} {
		p.Wording = p.Wording || f.Get(field) != "" || f.Wrong[field] != ""
	}
	if show.said != "" {
		p.Note = show.said
	}
	if p.ByMail {
		p.Accounts = s.accountChoices(ctx, r, &p.sheet, func(a vault.Account) bool { return sends(a) || a.Name == f.Get("account") })
	}
	s.show(w, r, status, "alertform.html", p)
}

// alert reads the form as a document would say it.
func (f *form) alert(name string) declare.Alert {
	d := declare.Alert{Name: name, Events: f.Values["events"], PerHour: f.count("per_hour"), Disabled: f.Get("disabled") != ""}
	if f.Get("by") == "webhook" {
		f.need("webhook")
		d.Webhook = f.Get("webhook")
		if clear := f.Values.Get("secret"); clear != "" {
			d.Secret = &declare.SecretRef{Value: secret.New(clear)}
		}
		return d
	}
	f.need("account", "to")
	d.Account, d.To, d.FromName, d.ReplyTo = f.Get("account"), f.Lines("to"), f.Get("from_name"), f.Get("reply_to")
	d.Subject, d.Text, d.HTML = f.Get("subject"), f.template("text"), f.template("html")
	return d
}

// template is a field with the line ends that templates are written with.
func (f form) template(name string) string {
	return strings.TrimSpace(strings.ReplaceAll(f.Values.Get(name), "\r\n", "\n"))
}

// alertFields are the fields that errors of a route may name.
func alertFields() []string {
	return []string{"name", "account", "to", "reply_to", "subject", "text", "html", "webhook", "secret", "per_hour"}
}

func (s *Server) createAlert(w http.ResponseWriter, r *http.Request) {
	f := typed(r)
	f.need("name")
	name := f.Get("name")
	doc := f.alert(name)
	if f.Get("act") == "test" {
		s.testAlert(w, r, "", f, doc)
		return
	}
	if name != "" {
		if _, err := s.Alerts.AlertRoute(r.Context(), name); err == nil {
			f.wrong("name", "There is a route of this name. Choose another, or change that one.")
		}
	}
	s.saveAlert(w, r, "", f, doc)
}

func (s *Server) changeAlert(w http.ResponseWriter, r *http.Request) {
	f, name := typed(r), r.PathValue("name")
	now, err := s.Alerts.AlertRoute(r.Context(), name)
	if err != nil {
		s.failAlert(w, r, err)
		return
	}
	doc := f.alert(name)
	if f.Get("act") == "test" {
		s.testAlert(w, r, name, f, doc)
		return
	}
	f.overtaken(alertValues(now))
	s.saveAlert(w, r, name, f, doc)
}

// saveAlert saves a route. A secret that was made for its webhook is shown this once.
func (s *Server) saveAlert(w http.ResponseWriter, r *http.Request, saved string, f form, doc declare.Alert) {
	var done []declare.Change
	var err error
	if f.good() {
		if done, err = s.apply(r, declare.Document{Alerts: []declare.Alert{doc}}); err != nil {
			s.refused(r, &f, err, alertFields()...)
		}
	}
	switch {
	case !f.good():
		s.alertAs(w, r, http.StatusUnprocessableEntity, saved, alertShow{form: f})
	case !done[0].Password.Empty():
		f.Values.Del(seenField) // it is another now, by this very form
		s.alertAs(w, r, http.StatusOK, doc.Name, alertShow{form: f, made: done[0].Password, said: "Saved. The secret that signs is shown this once."})
	default:
		s.done(w, r, alertsPath, "Route "+doc.Name+" is saved. Test it, so that you know it reaches you.")
	}
}

// alertTestFor is how long somebody who tests a route waits: a little less than the
// server lets an answer take.
const alertTestFor = 50 * time.Second

// testAlert really sends one message with the values as they were typed.
func (s *Server) testAlert(w http.ResponseWriter, r *http.Request, saved string, f form, doc declare.Alert) {
	delete(f.Wrong, "name") // a test needs none
	route, err := doc.Route()
	if err == nil && f.good() {
		err = route.Check()
	}
	if err != nil {
		s.refused(r, &f, fieldError(err), alertFields()...)
	}
	if !f.good() {
		s.alertAs(w, r, http.StatusUnprocessableEntity, saved, alertShow{form: f})
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), alertTestFor)
	defer cancel()
	report, err := s.Alerts.TestAlert(ctx, saved, route, secret.New(f.Values.Get("secret")))
	if err != nil {
		f.refuse(err)
		report = check.Report{Headline: "The test could not be made. " + f.Why}
		f.Why = ""
	}
	s.alertAs(w, r, http.StatusOK, saved, alertShow{form: f, test: &report})
}

// fieldError has an error of a document's part say its field first.
func fieldError(err error) error {
	if fault.As(err) == nil {
		return fault.Wrap(fault.Invalid, "read the form", err)
	}
	return err
}

func (s *Server) deleteAlert(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	if err := s.Alerts.DeleteAlertRoute(r.Context(), s.who(r), name); err != nil {
		s.failAlert(w, r, err)
		return
	}
	s.done(w, r, alertsPath, "Route "+name+" is deleted. What still waited for it is told to nobody.")
}

func (s *Server) failAlert(w http.ResponseWriter, r *http.Request, err error) {
	s.failThing(w, r, err, "There is no such alert route", alertsPath)
}

// alertValues are a route's settings as its form has them.
func alertValues(route alert.Route) url.Values {
	d := declare.AlertOf(route)
	v := url.Values{"by": {"mail"}, "name": {d.Name}, "account": {d.Account}, "to": {strings.Join(d.To, "\n")}, "from_name": {d.FromName}, "reply_to": {d.ReplyTo},
		"subject": {d.Subject}, "text": {d.Text}, "html": {d.HTML}, "webhook": {d.Webhook}, "events": d.Events}
	if d.Webhook != "" {
		v.Set("by", "webhook")
	}
	if d.PerHour > 0 {
		v.Set("per_hour", strconv.Itoa(d.PerHour))
	}
	if d.Disabled {
		v.Set("disabled", "on")
	}
	return v
}

// alertPreview is what a route's templates make of a sample.
type alertPreview struct{ Subject, Text, HTML, Wrong string }

func (s *Server) alertPreview(f form) alertPreview {
	r := alert.Route{Name: f.Get("name"), Subject: f.Get("subject"), Text: f.template("text"), HTML: f.template("html")}
	l, err := alert.Write(r, []alert.Alert{sampleAlert(s.PublicURL, s.now())})
	if err != nil {
		var p form
		p.refuse(err)
		return alertPreview{Wrong: p.Why}
	}
	return alertPreview{Subject: l.Subject, Text: l.Text, HTML: l.HTML}
}

func (s *Server) previewAlert(w http.ResponseWriter, r *http.Request) {
	s.show(w, r, http.StatusOK, "alertpreview.html", s.alertPreview(typed(r)))
}
