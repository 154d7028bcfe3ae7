package login

import (
	"cmp"
	"embed"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"postern/internal/sim365/world"
)

//go:embed pages/*.html
var pageFiles embed.FS

func parsePages() *template.Template {
	return template.Must(template.ParseFS(pageFiles, "pages/*.html"))
}

// view is what the templates see.
type view struct {
	Title     string
	Text      string
	Complaint string       // what was wrong with the last entry
	Action    template.URL // where the form goes
	Flow      string
	User      string
	Name      string // prefilled sign-in name
	Accounts  []world.User
	App       string
	Scopes    []permission
	Admin     bool // consenting for the organisation
	MayAdmin  bool // could tick the box for the organisation
	Code      string
	Hidden    []field

	// Of an own-page error.
	Failure  string
	Incident []field
}

type field struct{ Name, Value string }

type permission struct{ Name, Meaning string }

func (s *Server) show(w http.ResponseWriter, status int, page string, v view) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store, no-cache")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "strict-origin-when-cross-origin")
	w.WriteHeader(status)
	if err := s.pages.ExecuteTemplate(w, page+".html", v); err != nil {
		s.config.Log.Error("page", "page", page, "error", err)
	}
}

// ownPage is an error that Microsoft shows itself, with what support asks for.
func (s *Server) ownPage(w http.ResponseWriter, r *http.Request, f *failure) {
	in := s.incident(r)
	w.Header().Set("x-ms-request-id", in.trace)
	s.config.Log.InfoContext(r.Context(), "sign-in stopped on our page", "aadsts", f.number, "trace_id", in.trace)
	s.show(w, http.StatusBadRequest, "failure", view{
		Title: "Sorry, but we’re having trouble signing you in.", Failure: fmt.Sprintf("AADSTS%d: %s", f.number, f.text),
		Incident: []field{
			{"Request Id", in.trace}, {"Correlation Id", in.correlation}, {"Timestamp", in.timestamp}, {"Error code", strconv.Itoa(f.number)},
		},
	})
}

// stagePage shows the page of a stage.
func (s *Server) stagePage(w http.ResponseWriter, r *http.Request, f *flow, st stage, u world.User, complaint string) {
	v := view{
		Complaint: complaint, Flow: f.id, User: u.UPN, Name: f.hint, App: f.app.Name,
		Action: template.URL("/" + url.PathEscape(f.realm.name) + "/signin/" + string(st)),
	}
	page := string(st)
	switch st {
	case stagePick:
		v.Title, v.Accounts = "Pick an account", s.accounts(r, f.realm)
	case stageName:
		v.Title = "Sign in"
	case stagePassword:
		v.Title = "Enter password"
	case stageMFA:
		if f.mfaCode == "" {
			f.mfaCode = sixDigits()
		}
		v.Title, v.Code = "Enter code", f.mfaCode
	case stageConfirm:
		v.Title = "Are you trying to sign in to " + f.app.Name + "?"
	case stageConsent:
		v.Title, v.Scopes = "Permissions requested", s.permissions(f)
		v.Admin, v.MayAdmin = f.admin, u.Admin
		if s.needsAdmin(f, u) {
			page, v.Title = "needsadmin", "Need admin approval"
		}
	}
	s.show(w, http.StatusOK, page, v)
}

// permissions are the lines of the consent page.
func (s *Server) permissions(f *flow) []permission {
	names := f.scopes.all()
	if f.admin {
		names = append(names, f.app.Permissions...)
	}
	var out []permission
	for _, n := range names {
		p := permission{n, meaningOf(n)}
		if !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	if f.scopes.offline {
		out = append(out, permission{"offline_access", "Maintain access to data you have given it access to"})
	}
	if f.scopes.openid || f.scopes.profile || f.scopes.email {
		out = append(out, permission{"openid profile email", "View your basic profile and email address"})
	}
	return out
}

// meaningOf is how Microsoft's consent page words a permission.
func meaningOf(name string) string {
	words := map[string]string{
		"SMTP.Send":             "Send emails from your mailbox using SMTP AUTH",
		"IMAP.AccessAsUser.All": "Read and write access to your mail via IMAP",
		"POP.AccessAsUser.All":  "Read and write access to your mail via POP",
		"EWS.AccessAsUser.All":  "Access your mailboxes via Exchange Web Services",
		"Mail.Send":             "Send mail as you",
		"Mail.Send.Shared":      "Send mail on behalf of others or yourself",
		"Mail.Read":             "Read your mail",
		"Mail.Read.Shared":      "Read mail you can access",
		"Mail.ReadWrite":        "Read and write access to your mail",
		"Mail.ReadWrite.Shared": "Read and write mail you can access",
		"User.Read":             "Sign you in and read your profile",
		"SMTP.SendAsApp":        "Send mail from any mailbox via SMTP AUTH, as the app",
		"IMAP.AccessAsApp":      "Access any mailbox via IMAP, as the app",
		"POP.AccessAsApp":       "Access any mailbox via POP, as the app",
	}
	return words[name]
}

// hidden lists form values in a stable order.
func hidden(values url.Values) []field {
	var out []field
	for name := range values {
		out = append(out, field{name, values.Get(name)})
	}
	slices.SortFunc(out, func(a, b field) int { return cmp.Compare(a.Name, b.Name) })
	return out
}
