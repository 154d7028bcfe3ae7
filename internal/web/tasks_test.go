package web_test

import (
	"context"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"postern/internal/fault"
	"postern/internal/fetch"
	"postern/internal/handover"
	"postern/internal/secret"
)

func TestTasksPage(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.adminGet("/tasks").says(t, "There is no task yet")
	s.mail.task("letters", func(t *fetch.Task) { t.Disabled = true })
	s.mail.task("invoices", nil)
	s.mail.entry("invoices", 1, fetch.Parked)
	must(t, s.mail.store.PutRun(t.Context(), fetch.Run{ID: "run1", Task: "invoices", Started: time.Now().Add(-time.Hour), Ended: time.Now(), Looked: 12, Saved: 3, Failed: 1, Error: "<b>NO</b> LOGIN failed"}))
	must(t, s.mail.store.PutLines(t.Context(), "run1", 0, fetch.Line{At: time.Now(), Text: "uid 1 done: <i>hello</i>"}))
	s.adminGet("/tasks").says(t, "invoices", "last run failed", "12 looked at, 3 taken, 1 failed", "1 parked", "every 5m", "letters", "switched off", "/srv/in", "now")
	s.adminGet("/tasks?text=LETT").says(t, "letters", "!12 looked at")
	a := s.adminGet("/tasks/invoices")
	a.says(t, "<b>NO</b> LOGIN failed", "invoices@contoso.com", "Get Refresh Token", "Run now", "Dry run")
	if strings.Contains(a.body, "<b>NO</b>") {
		t.Error("markup of a server")
	}
	s.adminGet("/tasks/invoices/runs/run1").says(t, "<i>hello</i>", "<b>NO</b> LOGIN failed", "What became of each message")
	for _, path := range []string{"/tasks/nobody", "/tasks/invoices/runs/none", "/tasks/nobody/edit"} {
		if a := s.adminGet(path); a.StatusCode != 404 {
			t.Errorf("%s: %d", path, a.StatusCode)
		}
	}
	s.mail.ailing(true)
	if a := s.adminGet("/tasks"); a.StatusCode != 200 || !strings.Contains(a.text, "could not be looked up") {
		t.Errorf("with a sick database: %d %s", a.StatusCode, a.text)
	}
}

func TestActsOnTasks(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.mail.task("invoices", nil)
	note := func(a answer) answer { return s.adminGet(strings.TrimPrefix(a.Header.Get("Location"), s.url)) }
	note(s.adminPost("/tasks/invoices/run", nil)).says(t, "It runs as soon as there is room.")
	if a := s.adminPost("/tasks/invoices/stop", nil); a.StatusCode != 409 || !strings.Contains(a.text, "not running") {
		t.Errorf("stopping what does not run: %d %s", a.StatusCode, a.text)
	}
	s.adminPost("/tasks/invoices/delete", nil).says(t, "Shall the task invoices be deleted")
	s.adminPost("/tasks/invoices/delete", url.Values{"sure": {"1"}})
	if _, err := s.mail.store.Task(t.Context(), "invoices"); fault.KindOf(err) != fault.NotFound {
		t.Errorf("after deleting: %v", err)
	}
	s.mail.mu.Lock()
	defer s.mail.mu.Unlock()
	if diff := cmp.Diff([]string{"web:admin run task invoices", "web:admin delete task invoices"}, s.mail.audit); diff != "" {
		t.Error(diff)
	}
}

// fields are what a form holds when it is sent as it was shown.
func fields(page string) url.Values {
	v := url.Values{}
	for _, part := range strings.Split(page, "<input ")[1:] {
		tag, _, _ := strings.Cut(part, ">")
		get := func(name string) string {
			_, rest, found := strings.Cut(" "+tag, " "+name+`="`)
			if !found {
				return ""
			}
			value, _, _ := strings.Cut(rest, `"`)
			return unescape(value)
		}
		if kind := get("type"); (kind == "checkbox" || kind == "radio") && !strings.Contains(tag, " checked") || get("name") == "" {
			continue
		}
		v.Add(get("name"), get("value"))
	}
	for _, part := range strings.Split(page, "<textarea ")[1:] {
		_, name, _ := strings.Cut(part, `name="`)
		name, _, _ = strings.Cut(name, `"`)
		_, text, _ := strings.Cut(part, ">")
		text, _, _ = strings.Cut(text, "</textarea>")
		v.Set(name, unescape(text))
	}
	for _, part := range strings.Split(page, "<select ")[1:] {
		_, name, _ := strings.Cut(part, `name="`)
		name, _, _ = strings.Cut(name, `"`)
		list, _, _ := strings.Cut(part, "</select>")
		for _, option := range strings.Split(list, "<option ")[1:] {
			_, value, _ := strings.Cut(option, `value="`)
			value, rest, _ := strings.Cut(value, `"`)
			if !v.Has(name) || strings.HasPrefix(rest, " selected") {
				v.Set(name, unescape(value))
			}
		}
	}
	return v
}

func unescape(s string) string {
	return strings.NewReplacer("&#34;", `"`, "&#39;", "'", "&lt;", "<", "&gt;", ">", "&#43;", "+", "&amp;", "&").Replace(s)
}

// Whatever a task says, the form shows it and says the same when it is sent back.
func TestTheTaskFormKeepsEverything(t *testing.T) {
	t.Parallel()
	pattern := func(text string) fetch.Patterns {
		p, err := fetch.NewPattern(text)
		must(t, err)
		return fetch.Patterns{p}
	}
	var since fetch.Date
	must(t, since.UnmarshalText([]byte("2026-01-31")))
	dir := filepath.Join(t.TempDir(), "in")
	for name, spec := range map[string]fetch.Spec{
		"plain": {Handover: fetch.Handover{Directory: dir}, Schedule: fetch.Schedule{Every: fetch.Duration(time.Minute)}},
		"rules": {
			Source: fetch.Origin{Folders: []string{"Invoices", "Sub/*"}, Exclude: []string{"Sub/x"}, Which: fetch.Untagged, Start: fetch.StartAll, Since: since, MaxAge: fetch.Duration(48 * time.Hour), Search: `OR SUBJECT "a" SUBJECT b`},
			Rules: []fetch.Rule{
				{Name: "pdf", Match: fetch.Match{From: pattern("*@contoso.com"), To: pattern("in"), Subject: pattern(`/inv-\d+/`), Body: pattern("!spam & <co>"), SkipAutomatic: true},
					Take: fetch.Take{Save: []fetch.Kind{fetch.Attachments, fetch.EML}, Names: pattern("*.pdf"), Types: []string{"application/pdf"}, MinSize: 1 << 10, MaxSize: 20 << 20, Inline: true, AnyMessage: true}},
				{Skip: true},
			},
			Nested: fetch.Open, Handover: fetch.Handover{Directory: dir, Path: "{yyyy}/{filename}", Clash: handover.ClashSkip},
			After: fetch.Action{Do: fetch.Tag, To: "Done"}, Unmatched: fetch.Action{Do: fetch.Move, To: "Rest & more"}, Failure: fetch.Failure{Do: fetch.Action{Do: fetch.Flag}, Tries: 5},
			MakeFolders: true, Schedule: fetch.Schedule{Watch: true, Cron: "0 6 * * 1-5", Zone: "Europe/Berlin"}, Limits: fetch.Limits{Messages: 9, Bytes: 1 << 30, Message: 5 << 20},
		},
		"object": {Handover: fetch.Handover{Directory: dir, Act: fetch.ActSaved, Each: fetch.EachAttachment, Spec: handover.Spec{Object: &handover.Object{
			URL: "s3://bucket/x", Endpoint: "https://s3.example.com", Region: "eu", KeyID: "AK", Name: "{filename}", Clash: handover.ClashFail, TimeoutSeconds: 9}}}},
		"webhook": {Handover: fetch.Handover{Spec: handover.Spec{Webhook: &handover.Webhook{URL: "https://hooks.example.com/x?a=1&b=2", Format: handover.FormatMultipart, LimitMB: 3, LinkLocal: true}}}},
		"command": {Source: fetch.Origin{Protocol: fetch.POP3}, Handover: fetch.Handover{Spec: handover.Spec{Command: &handover.Command{Path: "/bin/cp", Args: []string{"{saved_path}", "/srv"}, Env: map[string]string{"A": "b=c", "D": "e"}, Dir: "/tmp", TimeoutSeconds: 5}}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.mail.task("it", func(task *fetch.Task) { task.Spec = spec })
			sent := fields(s.adminGet("/tasks/it/edit").body)
			if a := s.adminPost("/tasks/it/edit", sent); a.StatusCode != 303 {
				t.Fatalf("%d %s", a.StatusCode, a.text)
			}
			got := s.applied[0].Tasks[0]
			if diff := cmp.Diff(spec, got.Spec, cmp.AllowUnexported()); diff != "" || got.Name != "it" || got.Account != "invoices" || got.Key != nil {
				t.Errorf("%s", diff)
			}
		})
	}
}

func TestNewTask(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	v := fields(s.adminGet("/new/task").body)
	for name, value := range map[string]string{"name": "invoices", "account": "scan", "directory": "relative", "path": "{nothing}", "every": "soon", "limit_messages": "many", "rule0_subject": "/(/", "key": "s3cret"} {
		v.Set(name, value)
	}
	a := s.adminPost("/new/task", v)
	a.says(t, `"soon" is not a duration`, "Type a whole number", "/(/")
	if a.StatusCode != 422 || len(s.applied) > 0 || strings.Contains(a.body, "s3cret") {
		t.Errorf("%d, applied %d", a.StatusCode, len(s.applied))
	}
	if again := fields(a.body); again.Get("directory") != "relative" || again.Get("rule0_subject") != "/(/" {
		t.Errorf("what was typed is gone: %v", again)
	}
	for name, value := range map[string]string{"every": "10m", "limit_messages": "", "rule0_subject": ""} {
		v.Set(name, value)
	}
	s.adminPost("/new/task", v).says(t, `"relative" is not an absolute path`)
	v.Set("directory", t.TempDir())
	a = s.adminPost("/new/task", v)
	a.says(t, "there is no variable {nothing}")
	if !strings.Contains(a.body, `aria-describedby="f-path-hint f-path-wrong"`) {
		t.Error("the field is not marked")
	}
	v.Set("path", "{yyyy}/{filename}")
	if a := s.adminPost("/new/task", v); a.StatusCode != 303 || a.Header.Get("Location") != "/tasks/invoices" {
		t.Errorf("%d %s", a.StatusCode, a.text)
	}
	if got := s.applied[0].Tasks[0]; got.Handover.Path != "{yyyy}/{filename}" || got.Schedule.Every != fetch.Duration(10*time.Minute) || got.Rules != nil {
		t.Errorf("%+v", got)
	}
	s.mail.task("invoices", nil)
	s.adminPost("/new/task", v).says(t, "There is a task of this name.")
	v.Set("name", "new")
	s.adminPost("/new/task", v).leads(t, "/tasks/new")
}

// A mail server and user name are enough: the account behind them is made too.
func TestNewTaskWithItsServer(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	v := fields(s.adminGet("/new/task").body)
	for name, value := range map[string]string{"name": "bills", "directory": t.TempDir(), "road": "server", "host": "mail.fabrikam.example", "user": "bills@fabrikam.example", "encryption": "implicit"} {
		v.Set(name, value)
	}
	s.adminPost("/new/task", v).says(t, "Fill this in")
	v.Set("password", "hunter2hunter2")
	if a := s.adminPost("/new/task", v); a.StatusCode != 303 {
		t.Fatalf("%d %s", a.StatusCode, a.text)
	}
	doc := s.applied[0]
	if app := doc.Apps[0]; app.Cloud != "custom" || app.Custom.IMAP.Host != "mail.fabrikam.example" || app.Custom.IMAP.Port != 993 {
		t.Errorf("%+v", app)
	}
	if acct := doc.Accounts[0]; acct.SignIn != "app_password" || acct.Password.Value != secret.New("hunter2hunter2") || acct.App != doc.Apps[0].Name || doc.Tasks[0].Account != acct.Name {
		t.Errorf("%+v", acct)
	}
	v.Set("host", "outlook.office365.com")
	v.Set("app", "contoso")
	v.Set("user", "bills@contoso.com")
	if a := s.adminPost("/new/task", v); a.StatusCode != 303 {
		t.Fatalf("%d %s", a.StatusCode, a.text)
	}
	if doc := s.applied[1]; len(doc.Apps) != 0 || doc.Accounts[0].Password != nil || doc.Accounts[0].App != "contoso" {
		t.Errorf("%+v", doc)
	}
}

func TestRulesAreAddedAndLeftOut(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	v := fields(s.adminGet("/new/task").body)
	v.Set("rule0_subject", "first")
	v.Set("add_rule", "1")
	v = fields(s.adminPost("/new/task", v).body)
	v.Set("rule1_subject", "second")
	if v.Get("rules") != "2" || len(v["rule1_save"]) != 2 {
		t.Fatalf("after adding: %v", v)
	}
	v.Set("drop_rule", "0")
	v = fields(s.adminPost("/new/task", v).body)
	if v.Get("rules") != "1" || v.Get("rule0_subject") != "second" || v.Has("rule1_subject") {
		t.Errorf("after leaving out: %v", v)
	}
}

func TestPreview(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	v := url.Values{"name": {"x"}, "account": {"scan"}, "directory": {t.TempDir()}, "path": {"{yyyy}/{from_domain}/{filename}"}, "when": {"cron"}, "cron": {"0 6 * * *"}}
	a := s.adminPost("/preview/task", v)
	if !strings.Contains(a.body, "2026/fabrikam.example/invoice 017.pdf") || strings.Count(a.body, "06:00:00 UTC") != 5 || strings.Contains(a.body, "<html") {
		t.Errorf("preview: %s", a.body)
	}
	v.Set("path", "{yyyy/<b>")
	if a := s.adminPost("/preview/task", v); !strings.Contains(a.body, "the brace is not closed") || strings.Contains(a.body, "<b>") {
		t.Errorf("preview of what is wrong: %s", a.body)
	}
}

// A dry run comes bit by bit, and can be cancelled.
func TestDryRun(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.mail.task("invoices", nil)
	tried := make(chan fetch.Task, 1)
	s.mail.try = func(ctx context.Context, task fetch.Task, opts fetch.Options) (fetch.Run, error) {
		tried <- task
		opts.Progress(fetch.Event{Folder: "INBOX", UID: "7", Subject: "Offer <b>7</b>", State: fetch.Saved, Files: []fetch.File{{Name: "a.pdf", Size: 2048}}, Run: fetch.Run{Looked: 1, Saved: 1, Files: 1}})
		<-ctx.Done()
		return fetch.Run{Looked: 1}, ctx.Err()
	}
	at := s.adminPost("/tasks/invoices/try", nil).Header.Get("Location")
	if task := <-tried; task.Created.IsZero() {
		t.Error("a saved task is tried as if it were new")
	}
	waitUntil(t, "the first message", func() bool { return strings.Contains(s.adminGet(at).text, "a.pdf") })
	s.adminGet(at).says(t, "Under way:", "Offer <b>7</b>", "would be saved", "2.0 KB")
	s.adminPost(at+"/cancel", nil)
	waitUntil(t, "the end", func() bool { return strings.Contains(s.adminGet(at).text, "It was cancelled.") })

	v := fields(s.adminGet("/new/task").body)
	v.Set("directory", filepath.Join(t.TempDir(), "not-made"))
	v.Set("account", "scan")
	if a := s.adminPost("/try/task", v); a.StatusCode != 303 {
		t.Fatalf("%d %s", a.StatusCode, a.text)
	}
	if task := <-tried; !task.Created.IsZero() || task.Account != "scan" {
		t.Errorf("tried before it is saved: %+v", task)
	}
	v.Set("directory", "")
	s.adminPost("/try/task", v).says(t, "a place for the files is needed")
	if len(s.applied) > 0 {
		t.Error("a dry run saved something")
	}
}
