package test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"postern/internal/web"
)

// tour is a walk through every page of a house.
type tour struct {
	*browser
	house  *house
	script string          // the accessibility linter
	name   string          // of the pictures
	seen   map[string]bool // patterns of web's table; true: thoroughly
}

// noPages are the patterns that answer with something else than a page.
func noPages() []string {
	return []string{
		"GET /healthz", "GET /readyz", "GET /postern.css", "GET /postern.js", // for machines
		"GET /apps/{name}/certificate", "GET /audit/download", "GET /queue/{id}/message.eml", // files
		"GET /checks/{work}/report.txt", "GET /checks/{work}/report.json",
	}
}

// TestEveryPage walks through an empty house and a full one, by every page there is: each
// can be used by everybody, at a telephone and at a desk, by day and by night.
func TestEveryPage(t *testing.T) {
	t.Parallel()
	chrome, script := chromium(t), axe(t)
	h := newHouse(t)
	stranger := &tour{newBrowser(t, chrome), h, script, "stranger", map[string]bool{}}
	stranger.visit("GET /setup", "/setup")
	stranger.answer("/setup", "code", "made up", "name", "ada")
	ada := &tour{newBrowser(t, chrome), h, script, "empty", stranger.seen}
	ada.logsIn("admin", h.adminPassword())
	ada.emptyHouse()

	h.furnish(t)
	ada.name = "full"
	ada.lists()
	ada.accounts()
	ada.mail()
	ada.mistakes()
	ada.works()
	ada.outside(chrome)
	ada.complete()
	h.stop()
}

// complete wants every page of the table to have been seen.
func (v *tour) complete() {
	v.t.Helper()
	for _, pattern := range web.Patterns() {
		if !v.seen[pattern] && strings.HasPrefix(pattern, "GET ") && !slices.Contains(noPages(), pattern) {
			v.t.Errorf("nobody looked at %s: visit it in this test", pattern)
		}
		delete(v.seen, pattern)
	}
	for pattern := range v.seen {
		v.t.Errorf("%s is no page of the table", pattern)
	}
}

// logsIn comes in by the login page. Live updates rest, so that pages stand still.
func (v *tour) logsIn(name, password string) {
	v.t.Helper()
	v.open(v.house.url() + "/login")
	v.fill("#f-name", name)
	v.fill("#f-password", password)
	v.do(loading(chromedp.Click(chromedp.CSS("main button"))), chromedp.Evaluate[chromedp.Void](`localStorage.setItem("postern-still", "1")`))
}

// visit opens a page and looks at it.
func (v *tour) visit(pattern string, paths ...string) {
	v.t.Helper()
	for _, path := range paths {
		v.open(v.house.url() + path)
		if at := result(v.browser, chromedp.Location()); at != v.house.url()+path {
			v.t.Fatalf("%s leads to %s", path, at)
		}
		v.examine(path, !v.seen[pattern] && v.name != "empty")
		v.seen[pattern] = v.seen[pattern] || v.name != "empty"
	}
}

// answer sends a form, and looks at the page that comes of it.
func (v *tour) answer(path string, fields ...string) {
	v.t.Helper()
	v.send(path, fields...)
	v.examine("post"+path, false)
}

// send sends a form and waits for the page that comes of it.
func (v *tour) send(path string, fields ...string) {
	v.t.Helper()
	var inputs strings.Builder
	for i := 0; i+1 < len(fields); i += 2 {
		fmt.Fprintf(&inputs, "[%q, %q],", fields[i], fields[i+1])
	}
	v.do(loading(chromedp.Evaluate[chromedp.Void](fmt.Sprintf(`{
		const form = document.body.appendChild(document.createElement("form"));
		form.method = "post";
		form.action = %q;
		for (const [name, value] of [%s]) Object.assign(form.appendChild(document.createElement("input")), { type: "hidden", name, value });
		form.submit();
	}`, path, inputs.String()))))
}

// loading is an action that leads to another page, which it waits for.
func loading(a chromedp.Action[chromedp.Void]) chromedp.Action[chromedp.Void] {
	return func(ctx context.Context, t *chromedp.Target) (chromedp.Void, error) {
		_, err := chromedp.RunResponse(ctx, a)
		return chromedp.Void{}, err
	}
}

// emptyHouse looks at the pages before there is anything to show.
func (v *tour) emptyHouse() {
	for _, path := range []string{"/queue", "/tasks", "/ledger", "/sessions", "/accounts", "/apps", "/devices", "/alerts", "/check", "/settings", "/users", "/audit"} {
		v.visit("GET "+path, path)
	}
	v.visit("GET /{$}", "/")
	for _, what := range []string{"account", "app", "device", "task"} {
		v.visit("GET /new/"+what, "/new/"+what)
	}
}

// lists are the pages of what there is many of, and those of the settings.
func (v *tour) lists() {
	v.visit("GET /{$}", "/", "/?span=1h")
	v.visit("GET /queue", "/queue", "/queue?state=failed", "/queue?text=nothing+like+it")
	v.visit("GET /tasks", "/tasks")
	v.visit("GET /ledger", "/ledger", "/ledger?task=invoices&state=parked")
	v.visit("GET /sessions", "/sessions")
	v.visit("GET /accounts", "/accounts", "/accounts?q=nothing+like+it")
	v.visit("GET /apps", "/apps")
	v.visit("GET /devices", "/devices")
	v.visit("GET /alerts", "/alerts")
	v.visit("GET /settings", "/settings")
	v.visit("GET /users", "/users")
	v.visit("GET /audit", "/audit")
	v.visit("GET /me", "/me")
	v.visit("GET /me/password", "/me/password")
	v.visit("GET /me/codes", "/me/codes")
	v.visit("GET /user/{name}", "/user/admin", "/user/bob", "/user/carol", "/user/coder", "/user/invoices@contoso.com")
	v.visit("GET /users/new", "/users/new")
	v.visit("GET /guides", "/guides")
	v.visit("GET /guides/{road}", v.links("/guides", `main a[href^="/guides/"]`)...)
	v.visit("GET /guides/{road}", v.links("/accounts/machine", `main a[href^="/guides/"]`)...)
	v.open(v.house.url() + "/there/is/no/such/page")
	v.examine("no-such-page", true)
}

// accounts are the pages of accounts, app registrations, devices and alert routes.
func (v *tour) accounts() {
	for _, a := range []string{"scan", "invoices", "noauth", "machine", "bulk", "old", "rehearsal", "accounts-payable-invoices-and-reminders-emea"} {
		v.visit("GET /accounts/{name}", "/accounts/"+a)
	}
	v.visit("GET /new/account", "/new/account")
	v.visit("GET /accounts/{name}/edit", "/accounts/scan/edit", "/accounts/bulk/edit", "/accounts/old/edit")
	v.visit("GET /accounts/{name}/signin", "/accounts/invoices/signin?since=4102444800")
	v.answer("/accounts/invoices/link")
	v.answer("/accounts/invoices/consent")
	v.send("/accounts/invoices/device")
	v.visit("GET /accounts/{name}/device", "/accounts/invoices/device?still")
	v.send("/accounts/invoices/device/cancel")
	v.visit("GET /check", "/check", "/check?account=scan&purpose=send", "/check?account=invoices")
	v.visit("GET /new/app", "/new/app")
	v.visit("GET /apps/{name}", "/apps/contoso")
	v.answer("/apps/contoso/certificate")
	v.visit("GET /new/device", "/new/device")
	v.visit("GET /devices/{name}", "/devices/scanner", "/devices/old-fax", "/devices/reader", "/devices/multifunction-printer-second-floor-east-wing")
	v.visit("GET /new/alert", "/new/alert", "/new/alert?by=webhook")
	v.visit("GET /alerts/{name}", "/alerts/admins", "/alerts/ops")
}

// mail is the pages of single messages, tasks and runs.
func (v *tour) mail() {
	for _, m := range v.house.queue() {
		v.visit("GET /queue/{id}", "/queue/"+m.ID)
	}
	v.visit("GET /new/task", "/new/task")
	for _, t := range []string{"invoices", "broken", "letters-of-the-whole-house"} {
		v.visit("GET /tasks/{name}", "/tasks/"+t)
		v.visit("GET /tasks/{name}/edit", "/tasks/"+t+"/edit")
	}
	for _, t := range []string{"invoices", "broken"} {
		v.visit("GET /tasks/{name}/runs/{run}", v.links("/tasks/"+t, `main a[href*="/runs/"]`)...)
	}
	v.visit("GET /ledger/entry", v.links("/ledger?task=invoices", `main tbody a[href^="/ledger/entry"]`)...)
}

// mistakes are the answers to forms that nobody could put into effect.
func (v *tour) mistakes() {
	for _, path := range []string{"/new/account", "/new/app", "/new/device", "/users/new", "/check", "/me/password", "/me/codes"} {
		v.answer(path)
	}
	v.answer("/accounts/scan/edit", "mailbox", "no address", "purposes", "send", "road", "delegated")
	v.answer("/new/task", "rules", "1", "start", "all", "when", "every", "every", "often")
	v.answer("/new/alert", "by", "mail")
	v.answer("/new/alert", "by", "webhook", "webhook", "ftp://elsewhere")
	v.answer("/settings", "to", "no address", "through", "scan")
	v.answer("/devices/scanner", "account", "scan", "senders", "no address", "max_size", "much")
}

// works are what somebody begins on a page, and what comes of it.
func (v *tour) works() {
	v.answer("/new/device", "name", "copier", "account", "scan", "doors", "smtp")
	v.answer("/devices/scanner/test", "door", "smtp_listen", "password", devicePassword)
	v.answer("/devices/scanner/test", "door", "smtp_listen", "password", "another")
	v.answer("/new/alert", "by", "webhook", "name", "new", "webhook", v.house.receiver.URL+"/new")
	v.answer("/alerts/ops", "by", "webhook", "webhook", v.house.receiver.URL+"/hook", "act", "test")
	v.answer("/queue", "all", "1", "text", "nothing like it", "act", "delete")
	v.answer("/users/new", "name", "dora", "role", "viewer", "way", "link")
	v.answer("/users/new", "name", "emil", "role", "viewer", "way", "password")
	for pattern, begin := range map[string]func(){
		"GET /checks/{work}": func() { v.send("/check", "account", "scan", "purpose", "send") },
		"GET /tries/{work}":  func() { v.send("/tasks/invoices/try", "look", "newest") },
		"GET /work/{work}":   func() { v.send("/queue", "all", "1", "text", "nothing like it", "act", "hold", "sure", "1") },
	} {
		begin()
		at := strings.TrimPrefix(result(v.browser, chromedp.Location()), v.house.url())
		waitFor(v.t, at+" to end", func() bool {
			v.open(v.house.url() + at)
			return !result(v.browser, chromedp.Evaluate[bool](`!!document.querySelector("form[action$='/cancel']")`))
		})
		v.visit(pattern, at)
	}
	v.send("/check", "account", "invoices", "purpose", "imap")
	v.examine("check-that-fails", true)
}

// outside are the pages for people who are not logged in, or not all the way.
func (v *tour) outside(chrome context.Context) {
	b := &tour{newBrowser(v.t, chrome), v.house, v.script, "outside", v.seen}
	b.visit("GET /login", "/login")
	b.answer("/login", "name", "coder", "password", "wrong")
	b.visit("GET /login/callback", "/login/callback?code=made-up&state=made-up")
	b.visit("GET /signin/{token}", strings.TrimPrefix(v.house.link("invoices"), v.house.url()), "/signin/made-up")
	b.visit("GET "+web.CallbackPath+"{$}", web.CallbackPath+"?code=made-up&state=made-up")
	invitation := strings.TrimSpace(v.house.postern("users", "add", "frida", "--role", "viewer"))
	b.visit("GET "+web.WelcomePath+"{token}", strings.TrimPrefix(invitation, v.house.url()), web.WelcomePath+"made-up")

	b.logsIn("coder", coderPassword)
	b.visit("GET /queue", "/queue") // as somebody who may only look
	b.visit("GET /accounts/{name}", "/accounts/scan")
	b.visit("GET /check", "/check")
	b.open(v.house.url() + "/settings")
	b.examine("not-for-you", true)
	b.open(v.house.url() + "/me/codes")
	b.fill("#f-code", oneTimeCode(v.t, result(b.browser, chromedp.Evaluate[string](`document.body.innerHTML`))))
	b.press("main form button")
	b.do(chromedp.WaitVisible(chromedp.CSS(".recovery")))
	b.examine("recovery", true)
	b.visit("GET /me/codes", "/me/codes")
	other := &tour{newBrowser(v.t, chrome), v.house, v.script, "half", v.seen}
	other.logsIn("coder", coderPassword)
	other.visit("GET /login/code", "/login/code")
	other.answer("/login/code", "code", "000000")
}

// links are the addresses of a page's links.
func (v *tour) links(path, selector string) []string {
	v.t.Helper()
	v.open(v.house.url() + path)
	all := result(v.browser, chromedp.Evaluate[[]string](fmt.Sprintf(`[...new Set([...document.querySelectorAll(%q)].map(a => a.getAttribute("href")))]`, selector)))
	if len(all) == 0 {
		v.t.Fatalf("%s has no link %s", path, selector)
	}
	return all
}
