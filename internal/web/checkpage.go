package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"postern/internal/check"
	"postern/internal/declare"
	"postern/internal/fault"
	"postern/internal/guide"
	"postern/internal/mail"
	"postern/internal/secret"
	"postern/internal/vault"
)

// Checks try connections and know the way to one.
type Checks interface {
	// TryConnection really connects and signs in; onStage hears of each stage.
	TryConnection(ctx context.Context, w CheckWish, onStage func(check.Stage)) (check.Report, error)
	// KnownChecks are what the last checks of an account found.
	KnownChecks(ctx context.Context, account string) ([]check.Report, error)
	// Guides are all roads; RoadsFor are those of an account, the likeliest first; RoadOf is
	// one, filled in for an account, or for nobody when "".
	Guides() ([]guide.Road, error)
	RoadsFor(acct vault.Account) ([]guide.Road, error)
	RoadOf(ctx context.Context, road, account string) (guide.Road, error)
}

// CheckWish is what is to be checked.
type CheckWish struct {
	Account string
	Purpose vault.Purpose
	TestTo  mail.Address      // where a test message is really sent; null for nowhere
	Unsaved *declare.Document // the account and its app as they would be; nil: as saved
}

const checkHome = "/check"

func (s *Server) checkPlaces() []place {
	return []place{
		{"GET /check", viewer, s.checkForm},
		{"POST /check", operator, s.beginCheck},
		{"GET /checks/{work}", viewer, s.showCheck},
		{"GET /checks/{work}/report.txt", viewer, s.checkText},
		{"GET /checks/{work}/report.json", viewer, s.checkJSON},
		{"POST /checks/{work}/cancel", operator, s.cancelCheck},
	}
}

// checkFormPage is where a check begins.
type checkFormPage struct {
	sheet
	Form     form
	Accounts []choice
	Purposes []choice
	Known    []check.Report // what the last checks of the chosen account found
	More     bool
}

func (s *Server) checkForm(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	s.showCheckForm(w, r, http.StatusOK, blank(url.Values{"account": {q.Get("account")}, "purpose": {q.Get("purpose")}}))
}

func (s *Server) showCheckForm(w http.ResponseWriter, r *http.Request, status int, f form) {
	ctx, cancel := s.brief(r)
	defer cancel()
	p := checkFormPage{sheet: s.sheet(w, r, "Check a connection", checkHome), Form: f}
	p.Accounts = s.accountChoices(ctx, r, &p.sheet, func(vault.Account) bool { return true })
	p.Purposes = options("send|Sending (SMTP)", "imap|Reading by IMAP", "pop3|Reading by POP3", "graph|Sending (Graph)", "hve|High Volume Email")
	for _, name := range unsavedFields() {
		p.More = p.More || f.Get(name) != "" || f.Wrong[name] != ""
	}
	if name := f.Get("account"); name != "" {
		var err error
		if p.Known, err = s.Checks.KnownChecks(ctx, name); err != nil {
			s.trouble(r, &p.sheet, err, "What the last check found could not be looked up.")
		}
	}
	s.show(w, r, status, "check.html", p)
}

// unsavedFields are the values that may be tried before they are saved.
func unsavedFields() []string {
	return []string{"mailbox", "tenant", "client_id", "secret", "password"}
}

// unsaved reports whether any of them was typed.
func (f form) unsaved() bool {
	return slices.ContainsFunc(unsavedFields(), func(name string) bool { return f.Values.Get(name) != "" })
}

// checkRun is how far a check is.
type checkRun struct {
	Wish   CheckWish
	Step   string // the stage that proves a guide's step
	Back   string // that guide
	Stages []check.Stage
	Report check.Report
}

// beginCheck has a check begin, and goes on to the page that shows it as it comes.
func (s *Server) beginCheck(w http.ResponseWriter, r *http.Request) {
	f := typed(r)
	f.need("account", "purpose")
	run := checkRun{Wish: CheckWish{Account: f.Get("account"), Purpose: vault.Purpose(f.Get("purpose"))}, Step: f.Get("step")}
	if back := f.Get("guide"); strings.HasPrefix(back, guideHome+"/") {
		run.Back = back
	}
	if to := f.Get("send_test"); to != "" {
		var err error
		if run.Wish.TestTo, err = mail.ParseAddress(to); err != nil {
			f.wrong("send_test", "Type a mail address, such as you@example.com.")
		}
	}
	if f.unsaved() && !visitOf(r.Context()).user.Role.May(admin) { // with an app's permission they are any mailbox of the tenant
		s.refuseRole(w, r, admin)
		return
	}
	if f.good() {
		s.wishUnsaved(r, &f, &run.Wish)
	}
	if !f.good() {
		s.showCheckForm(w, r, http.StatusUnprocessableEntity, f)
		return
	}
	id, err := s.checks.start(r.Context(), run, func(ctx context.Context, change func(func(*checkRun))) error {
		report, err := s.Checks.TryConnection(ctx, run.Wish, func(st check.Stage) { change(func(c *checkRun) { c.Stages = append(c.Stages, st) }) })
		change(func(c *checkRun) { c.Report = report })
		return err
	})
	if err != nil {
		f.refuse(err)
		s.showCheckForm(w, r, http.StatusServiceUnavailable, f)
		return
	}
	http.Redirect(w, r, "/checks/"+id, http.StatusSeeOther)
}

// wishUnsaved looks the account up, and takes over what was typed in place of its values.
func (s *Server) wishUnsaved(r *http.Request, f *form, w *CheckWish) {
	d, err := s.Vault.Describe(r.Context(), w.Account)
	switch {
	case errors.Is(err, fault.NotFound):
		f.wrong("account", "There is no such account.")
	case err == nil && !d.Account.May(w.Purpose):
		f.wrong("purpose", fmt.Sprintf("The account is not for this; it is for %v.", d.Account.Purposes))
	}
	if !f.unsaved() || !f.good() {
		return
	}
	reg, appErr := s.Vault.App(r.Context(), d.Account.App)
	if err = errors.Join(err, appErr); err != nil {
		f.refuse(err)
		return
	}
	app, acct := declare.AppOf(reg), declare.AccountOf(d.Account)
	for name, to := range map[string]*string{"mailbox": &acct.Mailbox, "tenant": &app.Tenant, "client_id": &app.ClientID} {
		if v := f.Get(name); v != "" {
			*to = v
		}
	}
	for name, to := range map[string]**declare.SecretRef{"secret": &app.Secret, "password": &acct.Password} {
		if v := f.Values.Get(name); v != "" {
			*to = &declare.SecretRef{Value: secret.New(v)}
		}
	}
	w.Unsaved = &declare.Document{Apps: []declare.App{app}, Accounts: []declare.Account{acct}}
}

// checkView shows a check.
type checkView struct {
	sheet
	checkRun
	Ended       time.Time
	Error, Next string
	Here        string
	Text        string       // the report, to be copied
	Proof       *check.Stage // of a guide's step
}

func (s *Server) showCheck(w http.ResponseWriter, r *http.Request) {
	k := s.checks.of(r.PathValue("work"))
	if k == nil {
		s.noWork(w, r, "This check ended some time ago, or Postern was restarted meanwhile", checkHome)
		return
	}
	state, ended, err := k.look()
	p := checkView{sheet: s.sheet(w, r, "Check of "+state.Wish.Account, checkHome), checkRun: state, Ended: ended, Here: "/checks/" + url.PathEscape(r.PathValue("work"))}
	switch {
	case errors.Is(err, errCancelled):
		p.Error = "It was cancelled."
	case err != nil:
		p.Error, p.Next = because(err), sentence(fault.HintOf(err))
	case !ended.IsZero():
		p.Text = state.Report.Text()
	}
	if i := slices.IndexFunc(state.Stages, func(st check.Stage) bool { return st.Name == state.Step }); i >= 0 {
		p.Proof = &state.Stages[i]
	}
	if ended.IsZero() {
		p.Again = 2
	} else {
		w.Header().Set(settledHeader, "1")
	}
	s.show(w, r, http.StatusOK, "checkrun.html", p)
}

// ended is the report of a check that has ended; a page says that there is none.
func (s *Server) ended(w http.ResponseWriter, r *http.Request) (check.Report, bool) {
	if k := s.checks.of(r.PathValue("work")); k != nil {
		if state, ended, err := k.look(); !ended.IsZero() && err == nil {
			return state.Report, true
		}
	}
	s.noWork(w, r, "There is no report of this check", checkHome)
	return check.Report{}, false
}

func (s *Server) checkText(w http.ResponseWriter, r *http.Request) {
	if report, ok := s.ended(w, r); ok {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = fmt.Fprint(w, report.Text()) // the peer is gone: nobody to tell
	}
}

func (s *Server) checkJSON(w http.ResponseWriter, r *http.Request) {
	if report, ok := s.ended(w, r); ok {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Disposition", `attachment; filename="check.json"`)
		_ = json.NewEncoder(w).Encode(report) // likewise
	}
}

func (s *Server) cancelCheck(w http.ResponseWriter, r *http.Request) {
	if k := s.checks.of(r.PathValue("work")); k != nil {
		k.cancel()
	}
	http.Redirect(w, r, "/checks/"+url.PathEscape(r.PathValue("work")), http.StatusSeeOther)
}
