package web_test

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"postern/internal/people"
	"postern/internal/secret"
)

func TestInvitation(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.admin(s.page("GET", "/users/new")).says(t, "A link to choose a password", "!With the provider")
	bad := s.admin(s.page("POST", "/users/new", "name", "Jane Doe", "mail", "jane@contoso.com", "role", "operator", "way", "link"))
	if bad.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(bad.body, `value="Jane Doe"`) || !strings.Contains(bad.body, `aria-describedby="f-name-hint f-name-wrong"`) {
		t.Errorf("a bad name: %d\n%s", bad.StatusCode, bad.body)
	}
	once := s.admin(s.page("POST", "/users/new", "name", "Jane", "mail", "jane@contoso.com", "role", "operator", "way", "link"))
	once.says(t, "shown this once")
	link := regexp.MustCompile(`/welcome/[A-Za-z0-9_.-]+`).FindString(once.body)
	if link == "" {
		t.Fatalf("no link:\n%s", once.text)
	}
	if taken := s.admin(s.page("POST", "/users/new", "name", "jane", "role", "viewer", "way", "password")); taken.StatusCode != http.StatusConflict {
		t.Errorf("a name twice: %d", taken.StatusCode)
	}
	s.admin(s.page("GET", "/users")).says(t, "jane", "invited", "operator")
	s.get(link).says(t, "Welcome, jane")
	s.get(link).says(t, "Welcome, jane") // looking does not use it up
	long := "correct horse battery staple"
	if a := s.do(s.page("POST", link, "password", long, "again", "something else")); a.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(a.body, "f-again-wrong") {
		t.Errorf("two passwords: %d", a.StatusCode)
	}
	s.do(s.page("POST", link, "password", long, "again", long)).leadsTo(t, "/")
	s.do(s.page("GET", "/me")).says(t, "jane", "operator")
	for _, used := range []string{link, "/welcome/nobody.made-up", "/welcome/made-up"} {
		if a := s.get(used); a.StatusCode != http.StatusNotFound || !strings.Contains(a.text, "This invitation is over") {
			t.Errorf("%.15s: %d", used, a.StatusCode)
		}
	}
	once = s.admin(s.page("POST", "/user/jane/invite")) // for somebody who forgot the password
	link = regexp.MustCompile(`/welcome/[A-Za-z0-9_.-]+`).FindString(once.body)
	s.people.later(49 * time.Hour)
	if a := s.get(link); a.StatusCode != http.StatusNotFound {
		t.Errorf("an invitation of two days ago: %d", a.StatusCode)
	}
}

func TestAdministratorsChangeUsers(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.people.user("jane", people.Viewer)
	s.as("jane", s.request("GET", "/", nil))
	act := func(what string, form ...string) answer { return s.admin(s.page("POST", "/user/jane/"+what, form...)) }
	jane := func() int { return s.do(s.as("jane", s.request("GET", "/users", nil))).StatusCode }
	if got := jane(); got != http.StatusForbidden {
		t.Errorf("a viewer at /users: %d", got)
	}
	act("role", "role", "admin").leadsTo(t, "/user/jane")
	if got := jane(); got != http.StatusOK {
		t.Errorf("an administrator at /users, at once: %d", got)
	}
	if a := act("role", "role", "emperor"); a.StatusCode != http.StatusUnprocessableEntity {
		t.Errorf("no such role: %d", a.StatusCode)
	}
	act("sessions").leadsTo(t, "/user/jane")
	if got := jane(); got != http.StatusSeeOther {
		t.Errorf("after all sessions were ended: %d", got)
	}
	delete(s.people.keys, "jane")
	jane()
	act("disable").leadsTo(t, "/user/jane")
	if got := jane(); got != http.StatusSeeOther {
		t.Errorf("shut out: %d", got)
	}
	s.admin(s.page("GET", "/user/jane")).says(t, "disabled", "Let in again", "Not logged in anywhere")
	if a := s.logIn("jane", password); a.StatusCode != http.StatusForbidden {
		t.Errorf("a disabled user logs in: %d", a.StatusCode)
	}
	act("enable").leadsTo(t, "/user/jane")
	s.logIn("jane", password).leadsTo(t, "/")
	for _, path := range []string{"/user/nobody", "/user/nobody/disable", "/user/jane/explode"} {
		method := "POST"
		if path == "/user/nobody" {
			method = "GET"
		}
		if a := s.admin(s.page(method, path)); a.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %d", path, a.StatusCode)
		}
	}
	act("role", "role", "viewer")
	for _, what := range []string{"disable", "role"} {
		a := s.admin(s.page("POST", "/user/admin/"+what, "role", "viewer"))
		if a.says(t, "the only administrator who can log in"); a.StatusCode != http.StatusConflict {
			t.Errorf("%s of the last administrator: %d", what, a.StatusCode)
		}
	}
}

func TestPasswordIsChanged(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.as("admin", s.request("GET", "/", nil))
	elsewhere := s.people.keys["admin"]
	s.logIn("admin", password).leadsTo(t, "/")
	long := "correct horse battery staple"
	if a := s.do(s.page("POST", "/me/password", "old", "wrong-password", "password", long, "again", long)); a.StatusCode != http.StatusForbidden || !strings.Contains(a.body, "f-old-wrong") {
		t.Errorf("without the old one: %d", a.StatusCode)
	}
	s.do(s.page("POST", "/me/password", "old", password, "password", long, "again", long)).leadsTo(t, "/me")
	s.do(s.page("GET", "/me")).says(t, "Your password is changed.")
	if _, _, err := s.people.Who(t.Context(), elsewhere); err == nil {
		t.Error("another session lives on")
	}
	if a := s.logIn("admin", password); a.StatusCode != http.StatusForbidden {
		t.Errorf("the old password: %d", a.StatusCode)
	}
	s.logIn("admin", long).leadsTo(t, "/")
}

func TestAuditLog(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	write := func(d people.Deed) {
		t.Helper()
		if err := s.people.audit(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		s.people.later(time.Minute)
	}
	type record struct {
		Mailbox  string      `json:"mailbox"`
		Limit    int         `json:"limit"`
		Password string      `json:"password_hash"`
		Secret   secret.Text `json:"client_secret"`
	}
	write(people.Deed{Who: "web:jane", What: "change account", Subject: "scan",
		Before: record{"a@contoso.com", 3, "hash-before", secret.New("clear-before")}, After: record{"<b>@contoso.com", 3, "hash-after", secret.New("clear-after")}})
	write(people.Deed{Who: "cli:root", What: "hold", Subject: "=cmd()", Detail: "100% of it"})
	for i := range 120 {
		write(people.Deed{Who: "api:erp", What: "retry", Subject: fmt.Sprint("m", i)})
	}
	a := s.admin(s.page("GET", "/audit?who=jane&what=account"))
	a.says(t, "web:jane", "change account", "mailbox : a@contoso.com → <b>@contoso.com", "!limit", "!clear-", "!hash-", "!retry")
	s.admin(s.page("GET", "/audit?who=100%25")).says(t, "Nothing fits")
	s.admin(s.page("GET", "/audit?since=2026-11-22")).says(t, "Nothing fits")
	s.admin(s.page("GET", "/audit?since=2026-11-21&until=2026-11-21&subject=m119")).says(t, "m119")
	if bad := s.admin(s.page("GET", "/audit?since=yesterday")); bad.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(bad.body, "f-since-wrong") {
		t.Errorf("a bad day: %d", bad.StatusCode)
	}
	seen, next := 0, "/audit?what=retry"
	for next != "" {
		page := s.admin(s.page("GET", next))
		seen += strings.Count(page.body, `data-label="Who"`)
		older := regexp.MustCompile(`href="(/audit\?[^"]*before=[^"]*)">Older`).FindStringSubmatch(page.body)
		next = ""
		if older != nil {
			next = strings.ReplaceAll(older[1], "&amp;", "&")
		}
	}
	if seen != 120 {
		t.Errorf("page by page there are %d lines, want 120", seen)
	}
	rows, err := csv.NewReader(strings.NewReader(s.admin(s.page("GET", "/audit/download?as=csv")).body)).ReadAll()
	if err != nil || len(rows) < 123 {
		t.Fatalf("%d rows: %v", len(rows), err)
	}
	for _, row := range rows {
		if strings.HasPrefix(row[4], "=") {
			t.Errorf("a spreadsheet would run %q", row[4])
		}
	}
	down := s.admin(s.page("GET", "/audit/download?as=json&who=jane"))
	var line people.Line
	if err := json.Unmarshal([]byte(down.body), &line); err != nil || line.What != "change account" || !strings.Contains(string(line.After), `@contoso.com`) {
		t.Errorf("%v: %s", err, down.body)
	}
	if strings.Contains(down.body, "clear-") || strings.Contains(down.body, "hash-") {
		t.Errorf("a secret is in the log: %s", down.body)
	}
}
