package test

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// traveller is somebody who has never seen Postern, and counts what it asks of them.
type traveller struct {
	*browser
	script string // the accessibility linter
	typed  int    // fields filled in at Postern
	steps  int    // buttons and links pressed at Postern
}

// types fills a field in.
func (j *traveller) types(field, text string) {
	j.t.Helper()
	j.fill(chromedp.CSS("#f-"+field), text)
	j.typed++
}

// goes presses something of Postern's.
func (j *traveller) goes(selector chromedp.CSS) {
	j.t.Helper()
	j.press(selector)
	j.steps++
}

// finds waits for a page, and looks whether everybody can use it.
func (j *traveller) finds(heading, name string) {
	j.t.Helper()
	j.browser.sees(heading)
	j.accessible(name, j.script)
	j.look("journey-" + name)
}

// mostTyped is how many fields may be typed from a fresh install to a connection that
// works. docs/getting-started.md says how many they are.
const mostTyped = 8

// TestJourney goes from a fresh install to the first mail of a printer, in a browser.
// The simulator's servers stand in the place of Microsoft's presets: one apply names
// them before the journey begins.
func TestJourney(t *testing.T) {
	t.Parallel()
	chrome, script := chromium(t), axe(t)
	need(t, "swaks")
	g := newGate(t)
	g.unlimited("scan@contoso.com")
	g.start()
	g.apply(g.serversOnly())
	j := &traveller{browser: newBrowser(t, chrome), script: script}

	j.firstRun(g)
	j.account(g)
	if j.typed > mostTyped {
		t.Errorf("%d fields were typed until the connection was successful, at most %d may be", j.typed, mostTyped)
	}
	t.Logf("fresh install to “Connection successful”: %d fields typed, %d clicks at Postern", j.typed, j.steps)
	j.around(g)
	password := j.device()
	j.mail(g, password)
	j.content()
	g.stop()
}

// serversOnly is an app registration that says where the simulator's servers are.
func (g *gate) serversOnly() string {
	s := g.sim
	return fmt.Sprintf(`
apps:
  - name: simulator
    cloud: custom
    custom:
      authority: %s
      graph: %s
      smtp: {host: localhost, port: %d, tls: starttls}
      imap: {host: localhost, port: %d, tls: implicit}
      ca: {file: %s}
`, s.Authority(), s.Graph(), s.SMTP().Port, s.IMAP().Port, g.caFile())
}

// firstRun makes the administrator.
func (j *traveller) firstRun(g *gate) {
	j.t.Helper()
	j.open(g.url())
	j.finds("Set Postern up", "setup")
	j.types("code", strings.TrimSpace(g.postern("admin", "code")))
	j.types("name", "ada")
	j.types("password", "four words make one")
	j.types("again", "four words make one")
	j.goes("main button")
	j.finds("Overview", "overview-first")
}

// account enters app registration and mailbox on one page, signs in at Microsoft and
// comes back to the check.
func (j *traveller) account(g *gate) {
	j.t.Helper()
	j.goes(`nav a[href="/accounts"]`)
	j.finds("Accounts", "accounts-none")
	j.goes(`a[href="/new/account"]`)
	j.do(chromedp.WaitVisible(chromedp.CSS("#f-cloud")), chromedp.SetValue(chromedp.CSS("#f-cloud"), "as:simulator"))
	j.finds("New account", "account-new")
	j.types("client_id", g.contoso.App.ClientID)
	j.types("tenant", "contoso.onmicrosoft.com")
	j.types("secret", g.contoso.App.Secret)
	j.types("mailbox", "scan@contoso.com")
	j.goes("form.account > .buttons button")
	j.identify()
	j.browser.sees("Permissions requested")
	j.press("#idSIButton9")
	j.checked()
}

// around looks at what the account's pages say by then.
func (j *traveller) around(g *gate) {
	j.t.Helper()
	j.open(g.url() + "/accounts/scan")
	j.finds("scan", "account")
	j.open(g.url() + "/accounts/scan/edit")
	j.finds("Change scan", "account-edit")
	j.open(g.url() + "/apps/contoso")
	j.finds("contoso", "app")
	j.open(g.url() + "/apps")
	j.finds("App registrations", "apps")
	j.open(g.url() + "/accounts")
	j.finds("Accounts", "accounts")
}

// checked has the connection checked on the page that the sign-in ended at.
func (j *traveller) checked() {
	j.t.Helper()
	waitFor(j.t, "the browser to come back to the check", func() bool {
		return strings.HasSuffix(result(j.browser, chromedp.Location()), "/check?account=scan&purpose=send")
	})
	j.finds("Check a connection", "check")
	j.goes(`form[action="/check"] button`)
	waitFor(j.t, "the connection to be successful", func() bool { // asked of the page itself, which renews its parts meanwhile
		return result(j.browser, chromedp.Evaluate[bool](`document.querySelector("#outcome")?.innerText === "Connection successful"`))
	})
	j.accessible("checkrun", j.script)
	j.look("journey-checkrun")
}

// device makes one for the printer, and reads its password off the setup card.
func (j *traveller) device() (password string) {
	j.t.Helper()
	j.goes(`nav a[href="/devices"]`)
	j.finds("Devices", "devices-none")
	j.goes(`main a[href="/new/device"]`)
	j.finds("New device", "device-new")
	j.types("name", "printer")
	j.goes(`form[action="/new/device"] button`)
	j.do(chromedp.WaitVisible(chromedp.CSS("#card-password")))
	j.finds("printer", "device-made")
	return strings.TrimSpace(result(j.browser, chromedp.Text(chromedp.CSS("#card-password"))))
}

// mail is sent as the setup card says, by a client that is not ours, and seen.
func (j *traveller) mail(g *gate, password string) {
	j.t.Helper()
	cmd := exec.Command("swaks", "--server", "localhost", "--port", port(g.smtp), "--tls", "--tls-verify", "--tls-ca-path", filepath.Join(g.dataDir(), "tls.crt"),
		"--auth", "LOGIN", "--auth-user", "printer", "--auth-password", password, "--from", "scan@contoso.com", "--to", "someone@elsewhere.example",
		"--header", "Subject: first scan", "--helo", "printer")
	if out, err := cmd.CombinedOutput(); err != nil {
		j.t.Fatalf("swaks: %v\n%s", err, out)
	}
	waitFor(j.t, "the mail to be delivered", func() bool { return len(g.queue("--state", "delivered")) == 1 })
	j.goes(`nav a[href="/queue"]`)
	j.finds("Queue", "queue")
	if text := j.text(); !strings.Contains(text, "first scan") || !strings.Contains(text, "delivered") {
		j.t.Errorf("the queue does not show the mail:\n%s", text)
	}
	j.goes(`.stack tbody a`)
	j.do(chromedp.WaitVisible(chromedp.CSS("main h1")))
	j.accessible("message", j.script)
	j.look("journey-message")
	j.open(g.url())
	j.finds("Overview", "overview")
}
