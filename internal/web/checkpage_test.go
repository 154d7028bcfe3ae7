package web_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/internal/check"
	"postern/internal/fault"
	"postern/internal/guide"
	"postern/internal/people"
	"postern/internal/vault"
	"postern/internal/web"
)

// fakeChecks checks nothing, as slowly as a test wants.
type fakeChecks struct {
	mu    sync.Mutex
	asked []web.CheckWish
	gate  chan struct{} // closed: the check may go on past its first stage; nil: at once
	err   error
	known []check.Report
}

const markup = "535 5.7.3 <script>alert(1)</script>"

func (f *fakeChecks) TryConnection(ctx context.Context, w web.CheckWish, onStage func(check.Stage)) (check.Report, error) {
	f.mu.Lock()
	f.asked = append(f.asked, w)
	f.mu.Unlock()
	r := check.Report{Account: w.Account, Purpose: check.Purpose(w.Purpose), Headline: "sign-in failed: refused"}
	for _, s := range []check.Stage{
		{Name: "dns", Status: check.OK, Summary: "It has an address."},
		{Name: "sign-in", Status: check.Fail, Summary: "Refused.", Next: "Do this.", Command: "Set-It 'x'", Link: "https://portal.example/", Reply: markup},
	} {
		onStage(s)
		r.Stages = append(r.Stages, s)
		if f.gate != nil {
			select {
			case <-f.gate:
			case <-ctx.Done():
				return r, context.Cause(ctx)
			}
		}
	}
	return r, f.err
}

func (f *fakeChecks) KnownChecks(context.Context, string) ([]check.Report, error) {
	return f.known, f.err
}

func (f *fakeChecks) Guides() ([]guide.Road, error) {
	g, err := guide.Load()
	if err != nil {
		return nil, err
	}
	return g.Roads(), nil
}

func (f *fakeChecks) RoadsFor(acct vault.Account) ([]guide.Road, error) {
	g, err := guide.Load()
	if err != nil {
		return nil, err
	}
	return g.For(string(acct.Method), string(acct.Purposes[0])), nil
}

func (f *fakeChecks) RoadOf(_ context.Context, road, account string) (guide.Road, error) {
	g, err := guide.Load()
	if err != nil {
		return guide.Road{}, err
	}
	r, ok := g.Road(road)
	if !ok {
		return r, fault.New(fault.NotFound, "read a guide", "there is none")
	}
	return r.Fill(map[string]string{"account": account, "mailbox": account + "@contoso.com"}), nil
}

func (f *fakeChecks) last(t *testing.T) web.CheckWish {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.asked) == 0 {
		t.Fatal("nothing was checked")
	}
	return f.asked[len(f.asked)-1]
}

// TestCheckPage begins a check, looks on while it runs, and reads what came of it.
func TestCheckPage(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.checks.known = []check.Report{{Purpose: "send", Headline: "known from yesterday"}}
	s.adminGet("/check?account=scan&purpose=send").says(t, "known from yesterday", "scan – scan@contoso.com")
	s.checks.gate = make(chan struct{})
	a := s.adminPost("/check", url.Values{"account": {"scan"}, "purpose": {"send"}})
	at := strings.TrimPrefix(a.Header.Get("Location"), s.url)
	if a.StatusCode != 303 || !strings.HasPrefix(at, "/checks/") {
		t.Fatalf("%d to %q", a.StatusCode, at)
	}
	eventually(t, func() bool { return strings.Contains(s.adminGet(at).text, "It has an address.") })
	running := s.adminGet(at)
	running.says(t, "Checking send", "!Refused.")
	if !strings.Contains(running.body, `http-equiv="refresh"`) || s.adminGet(at+"/report.txt").StatusCode != 404 {
		t.Error("a page without JavaScript would never see the end, or there is a report already")
	}
	close(s.checks.gate)
	eventually(t, func() bool { return strings.Contains(s.adminGet(at).text, "sign-in failed: refused") })
	ended := s.adminGet(at)
	ended.says(t, "Refused.", "Do this.", "Set-It 'x'", markup)
	if strings.Contains(ended.body, "<script>alert") || strings.Contains(ended.body, `http-equiv="refresh"`) || !strings.Contains(ended.body, `href="https://portal.example/"`) {
		t.Error("markup of a server, a page that never rests, or no link")
	}
	if text := s.adminGet(at + "/report.txt"); !strings.Contains(text.body, markup) || text.Header.Get("Content-Type") != "text/plain; charset=utf-8" {
		t.Errorf("%s", text.body)
	}
	var r check.Report
	if err := json.Unmarshal([]byte(s.adminGet(at+"/report.json").body), &r); err != nil || len(r.Stages) != 2 {
		t.Errorf("%v %+v", err, r)
	}
	if s.adminGet("/checks/nobody").StatusCode != 404 {
		t.Error("a check that there is not")
	}
}

// TestCheckOfUnsavedValues takes over what is typed, and keeps it in a form that is refused.
func TestCheckOfUnsavedValues(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	const typedSecret = "abc8Q~the-secret-that-was-typed"
	s.adminPost("/check", url.Values{"account": {"scan"}, "purpose": {"send"}, "send_test": {"you@example.com"}, "tenant": {"other.example"}, "secret": {typedSecret}})
	eventually(t, func() bool { s.checks.mu.Lock(); defer s.checks.mu.Unlock(); return len(s.checks.asked) == 1 })
	w := s.checks.last(t)
	if w.Unsaved == nil || w.TestTo.String() != "you@example.com" || w.Unsaved.Apps[0].Tenant != "other.example" || w.Unsaved.Apps[0].Secret.Value.Reveal() != typedSecret || w.Unsaved.Accounts[0].Mailbox != "scan@contoso.com" {
		t.Errorf("%+v", w)
	}
	for field, values := range map[string]url.Values{
		"There is no such account": {"account": {"nobody"}, "purpose": {"send"}, "secret": {typedSecret}},
		"The account is not for":   {"account": {"scan"}, "purpose": {"hve"}, "tenant": {"kept.example"}},
		"Type a mail address":      {"account": {"scan"}, "purpose": {"send"}, "send_test": {"nobody at all"}},
		"Fill this in":             {"account": {""}, "purpose": {"send"}},
	} {
		a := s.adminPost("/check", values)
		a.says(t, field)
		if a.StatusCode != 422 || strings.Contains(a.body, typedSecret) || values.Has("tenant") && !strings.Contains(a.body, "kept.example") {
			t.Errorf("%s: %d", field, a.StatusCode)
		}
	}
	s.checks.err = errors.New("the database is away")
	a := s.adminPost("/check", url.Values{"account": {"scan"}, "purpose": {"send"}})
	at := strings.TrimPrefix(a.Header.Get("Location"), s.url)
	eventually(t, func() bool { return strings.Contains(s.adminGet(at).text, "The check could not be made") })
	s.adminGet("/check?account=scan").says(t, "could not be looked up")
}

// TestGuidePages fill in an account, and check a step.
func TestGuidePages(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.adminGet("/guides").says(t, "A person signs in once", "An app password")
	s.adminGet("/guides/delegated").says(t, "Choose an account", "!Check this step")
	a := s.adminGet("/guides/delegated?account=scan")
	a.says(t, "scan@contoso.com", "Check this step", "You should see")
	if s.adminGet("/guides/nowhere").StatusCode != 404 {
		t.Error("a guide that there is not")
	}
	done := s.adminPost("/check", url.Values{"account": {"scan"}, "purpose": {"send"}, "step": {"sign-in"}, "guide": {"/guides/delegated?account=scan#step-smtp"}})
	at := strings.TrimPrefix(done.Header.Get("Location"), s.url)
	eventually(t, func() bool { return strings.Contains(s.adminGet(at).text, "This step: fail.") })
	s.adminGet(at).says(t, "Back to the guide")
	away := s.adminPost("/check", url.Values{"account": {"scan"}, "purpose": {"send"}, "guide": {"https://elsewhere.example/"}})
	if strings.Contains(s.adminGet(strings.TrimPrefix(away.Header.Get("Location"), s.url)).body, "elsewhere.example") {
		t.Error("a page leads elsewhere")
	}
}

// eventually looks until something is so, for at most 20 seconds.
func eventually(t *testing.T, so func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !so(); {
		if time.Now().After(end) {
			t.Fatal("it did not come about within 20 s")
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// TestWorkOfAnotherNode: a page that a balancer sent to the wrong node says so, and asks
// again; one that is of no node is gone.
func TestWorkOfAnotherNode(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for _, path := range []string{"/checks/", "/tries/", "/work/"} {
		a := s.adminGet(path + "ABC.OTHER.gate-2.example")
		a.says(t, "Another node does this", "the node at gate-2.example", "this is the node at gate-1.example", "sticky sessions")
		if a.StatusCode != 503 || a.Header.Get("Refresh") == "" {
			t.Errorf("%s: %d, refresh %q", path, a.StatusCode, a.Header.Get("Refresh"))
		}
		for _, gone := range []string{"ABC", "ABC.HERE.gate-1.example", "ABC.<b>.x"} {
			if a := s.adminGet(path + url.PathEscape(gone)); a.StatusCode != 404 || strings.Contains(a.body, "Another node") {
				t.Errorf("%s%s: %d", path, gone, a.StatusCode)
			}
		}
	}
}

// Values that are not saved reach further than operators may: with an app's permission
// they would be any mailbox of the tenant.
func TestOperatorsCheckWhatIsSaved(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.people.user("olga", people.Operator)
	ask := func(more ...string) answer {
		return s.do(s.as("olga", s.page("POST", "/check", append([]string{"account", "scan", "purpose", "send"}, more...)...)))
	}
	for _, name := range []string{"mailbox", "tenant", "client_id", "secret", "password"} {
		if a := ask(name, "boss@contoso.com"); a.StatusCode != http.StatusForbidden {
			t.Errorf("an operator tries another %s: %d", name, a.StatusCode)
		}
	}
	if len(s.checks.asked) > 0 {
		t.Errorf("it was checked: %+v", s.checks.asked)
	}
	s.do(s.as("olga", s.page("GET", "/check"))).says(t, "Send a test message", "!With other values")
	if a := ask(); a.StatusCode != http.StatusSeeOther {
		t.Errorf("what is saved: %d", a.StatusCode)
	}
}
