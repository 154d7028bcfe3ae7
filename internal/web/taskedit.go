package web

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"

	"postern/internal/declare"
	"postern/internal/fault"
	"postern/internal/fetch"
	"postern/internal/mail"
	"postern/internal/secret"
	"postern/internal/vault"
)

// taskFormView is the form of a task.
type taskFormView struct {
	sheet
	Form     form
	Name     string // of the task that is changed; "" for a new one
	Path     string // where the form goes
	Rules    []ruleView
	Accounts []choice
	Apps     []choice
	More     map[string]bool // the parts that are open
	Preview  taskPreview
}

// ruleView is one rule of the form.
type ruleView struct {
	Form   form
	Number int
	Alone  bool
}

// At names a field of the rule.
func (r ruleView) At(name string) string { return ruleField(r.Number, name) }

// Place is its number as people count.
func (r ruleView) Place() int { return r.Number + 1 }

// Last is its number when it is to be left out.
func (r ruleView) Last() string { return strconv.Itoa(r.Number) }

// newTask shows the form with what suits most.
func (s *Server) newTask(w http.ResponseWriter, r *http.Request) {
	t := fetch.Task{Account: r.URL.Query().Get("account")}
	t.Schedule.Every = fetch.Duration(5 * time.Minute)
	v := taskValues(t)
	v.Set("road", "account")
	s.showTaskForm(w, r, http.StatusOK, blank(v), "")
}

func (s *Server) editTask(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := s.brief(r)
	defer cancel()
	t, err := s.Tasks.Task(ctx, r.PathValue("name"))
	if err != nil {
		s.failTask(w, r, err)
		return
	}
	s.showTaskForm(w, r, http.StatusOK, shown(taskValues(t)), t.Name)
}

func (s *Server) showTaskForm(w http.ResponseWriter, r *http.Request, status int, f form, name string) {
	ctx, cancel := s.brief(r)
	defer cancel()
	p := taskFormView{Form: f, Name: name, Path: "/new/task"}
	if p.sheet = s.sheet(w, r, "New task", tasksHome); name != "" {
		p.Title, p.Path = "Change "+name, taskPath(name)+"/edit"
	}
	p.Accounts = s.accountChoices(ctx, r, &p.sheet, func(a vault.Account) bool { return fetches(a) || a.Name == f.Get("account") })
	p.Apps = s.appChoices(ctx, r, &p.sheet)
	for i := range f.rules() {
		p.Rules = append(p.Rules, ruleView{Form: f, Number: i, Alone: f.rules() == 1})
	}
	p.More = opened(f)
	p.Preview = preview(f.task(name))
	p.Form.Wrong = f.Wrong
	s.show(w, r, status, "taskform.html", p)
}

// fetches reports whether an account is for reading mail.
func fetches(a vault.Account) bool { return a.May(vault.IMAP) || a.May(vault.POP3) }

// appChoices are the app registrations that a person can sign in with.
func (s *Server) appChoices(ctx context.Context, r *http.Request, p *sheet) (out []choice) {
	apps, err := s.Vault.Apps(ctx)
	if err != nil {
		s.trouble(r, p, err, "The app registrations could not be looked up.")
	}
	for _, a := range apps {
		if a.ClientID != "" && len(out) < mostListed {
			out = append(out, choice{Value: a.Name, Label: a.Name})
		}
	}
	return out
}

// parts are the parts of the form that are closed at first, with their fields.
func parts() map[string][]string {
	return map[string][]string{
		"source":   {"exclude", "since", "max_age", "search"},
		"path":     {"path"},
		"target":   {"target", "each", "act", "object_url", "webhook_url", "command_path", "ca", "timeout_seconds"},
		"mailbox":  {"unmatched_to", "failure_to", "tries", "make_folders"},
		"limits":   {"limit_messages", "limit_bytes", "limit_message"},
		"schedule": {"zone"},
	}
}

// opened are the parts that say something, or in which something is wrong.
func opened(f form) map[string]bool {
	open := map[string]bool{}
	usual := taskValues(fetch.Task{})
	for part, fields := range parts() {
		open[part] = slices.ContainsFunc(fields, func(name string) bool { return f.Wrong[name] != "" || f.Get(name) != usual.Get(name) })
	}
	for i := range f.rules() {
		for _, name := range []string{"body", "names", "types", "min_size", "max_size", "inline", "any_message", "skip", "skip_automatic"} {
			if at := ruleField(i, name); f.Get(at) != "" || f.Wrong[at] != "" {
				open[strconv.Itoa(i)] = true
			}
		}
	}
	return open
}

// reform changes how many rules the form has, and reports whether that was asked for.
func (f form) reform() bool {
	n := f.rules()
	if f.Get("add_rule") != "" && n < mostRules {
		f.Values.Set("rules", strconv.Itoa(n+1))
		for _, kind := range []fetch.Kind{fetch.Attachments, fetch.List} {
			f.Values.Add(ruleField(n, "save"), string(kind))
		}
		return true
	}
	out, err := strconv.Atoi(f.Get("drop_rule"))
	if err != nil || out < 0 || out >= n || n == 1 {
		return false
	}
	for i := out; i < n; i++ {
		for _, name := range []string{"name", "from", "to", "subject", "body", "skip_automatic", "skip", "save", "names", "types", "min_size", "max_size", "inline", "any_message"} {
			delete(f.Values, ruleField(i, name))
			if next, is := f.Values[ruleField(i+1, name)]; is {
				f.Values[ruleField(i, name)] = next
			}
		}
	}
	f.Values.Set("rules", strconv.Itoa(n-1))
	return true
}

// createTask makes a task, and with it, if that is wanted, the account it reads.
func (s *Server) createTask(w http.ResponseWriter, r *http.Request) {
	f := typed(r)
	if f.reform() {
		s.showTaskForm(w, r, http.StatusOK, f, "")
		return
	}
	f.need("name")
	name := f.Get("name")
	if name != "" {
		if _, err := s.Tasks.Task(r.Context(), name); err == nil {
			f.wrong("name", "There is a task of this name. Choose another, or change that one.")
		}
	}
	s.saveTask(w, r, f, "", name)
}

func (s *Server) changeTask(w http.ResponseWriter, r *http.Request) {
	f, name := typed(r), r.PathValue("name")
	now, err := s.Tasks.Task(r.Context(), name)
	if err != nil {
		s.failTask(w, r, err)
		return
	}
	if f.reform() {
		s.showTaskForm(w, r, http.StatusOK, f, name)
		return
	}
	f.overtaken(taskValues(now))
	s.saveTask(w, r, f, name, name)
}

// saveTask saves what the form says; old is the name of a task that is there already.
func (s *Server) saveTask(w http.ResponseWriter, r *http.Request, f form, old, name string) {
	doc := declare.Document{}
	if old == "" && f.Get("road") == "server" {
		doc = s.server(r.Context(), f)
	} else {
		f.need("account")
	}
	d := f.task(name)
	if len(doc.Accounts) == 1 {
		d.Account = doc.Accounts[0].Name
	}
	if f.good() {
		f.checkTask(taskOf(d))
	}
	doc.Tasks = []declare.Task{d}
	if f.good() {
		if _, err := s.apply(r, doc); err != nil {
			s.refused(r, &f, err, "name", "account", "key")
		}
	}
	if !f.good() {
		s.showTaskForm(w, r, http.StatusUnprocessableEntity, f, old)
		return
	}
	note := "Saved. A dry run says what it would take."
	if len(doc.Accounts) == 1 && doc.Accounts[0].Password == nil {
		note = "Saved. Now get the refresh token, so that it can read the mailbox."
	}
	s.done(w, r, taskPath(name), note)
}

// taskOf is what a declared task comes to, for a look at it.
func taskOf(d declare.Task) fetch.Task {
	return fetch.Task{Name: d.Name, Account: d.Account, Disabled: d.Disabled, Spec: d.Spec}
}

// server makes the account, and for a server of one's own the app, behind the fields of
// a mail server.
func (s *Server) server(ctx context.Context, f form) (doc declare.Document) {
	f.need("host", "user")
	host, protocol := f.Get("host"), vault.Purpose(f.Get("protocol"))
	account := declare.Account{Name: f.Get("user"), Mailbox: f.Get("user"), Purposes: []string{string(protocol)}}
	if _, err := mail.ParseAddress(account.Mailbox); err != nil && account.Mailbox != "" {
		f.wrong("user", "Write the mailbox's whole address, such as scan@contoso.com.")
	}
	if _, err := s.Vault.Describe(ctx, account.Name); err == nil {
		f.wrong("user", "There is an account of this name already: choose it above.")
	} else if !errors.Is(err, fault.NotFound) && account.Name != "" {
		f.wrong("user", "Whether there is such an account could not be looked up. Try again.")
	}
	if OffersMicrosoft(host) {
		f.need("app")
		account.App = f.Get("app")
		doc.Accounts = []declare.Account{account}
		return doc
	}
	f.need("password")
	clear := f.Values.Get("password")
	server := &mail.Server{Host: host, Port: f.count("port"), TLS: mail.TLSMode(f.Get("encryption"))}
	if server.Port == 0 {
		server.Port = map[vault.Purpose]map[mail.TLSMode]int{
			vault.IMAP: {mail.Implicit: 993, mail.STARTTLS: 143}, vault.POP3: {mail.Implicit: 995, mail.STARTTLS: 110},
		}[protocol][server.TLS]
	}
	app := declare.App{Name: string(protocol) + "." + host + "." + strconv.Itoa(server.Port), Cloud: "custom", Custom: &declare.Custom{IMAP: server}}
	if protocol == vault.POP3 {
		app.Custom.IMAP, app.Custom.POP3 = nil, server
	}
	account.App, account.SignIn, account.Password = app.Name, string(vault.AppPassword), &declare.SecretRef{Value: secret.New(clear)}
	return declare.Document{Apps: []declare.App{app}, Accounts: []declare.Account{account}}
}

// taskPreview is what the templates make of a sample message, and when it runs.
type taskPreview struct {
	Samples []fetch.Sample
	Times   []time.Time
	When    string
	Wrong   string
}

func preview(d declare.Task) taskPreview {
	t := taskOf(d)
	const soon = 5
	p := taskPreview{Samples: t.Samples(), When: t.Schedule.When(), Times: t.Schedule.Times(time.Now(), soon)}
	if err := t.Check(); err != nil {
		p.Wrong = because(err)
	}
	return p
}

// previewTask answers a form that is being filled in.
func (s *Server) previewTask(w http.ResponseWriter, r *http.Request) {
	f := typed(r)
	p := preview(f.task(f.Get("name")))
	for _, field := range slices.Sorted(maps.Keys(f.Wrong)) {
		p.Wrong = f.Wrong[field]
	}
	s.show(w, r, http.StatusOK, "preview.html", p)
}

// tryForm runs dry what a form says, saved or not.
func (s *Server) tryForm(w http.ResponseWriter, r *http.Request) {
	f := typed(r)
	old, d := f.Get("old"), f.task(f.Get("name"))
	if old != "" {
		d.Name = old
	}
	if f.Get("road") == "server" && old == "" {
		f.wrong("road", "A dry run needs an account that is saved. Save the task first, and run it dry then.")
	} else {
		f.need("account")
	}
	t := taskOf(d)
	if f.good() {
		f.checkTask(t)
	}
	if !f.good() {
		s.showTaskForm(w, r, http.StatusUnprocessableEntity, f, old)
		return
	}
	if have, err := s.Tasks.Task(r.Context(), old); err == nil {
		t.Created = have.Created
	}
	s.beginTry(w, r, t, f, "")
}
