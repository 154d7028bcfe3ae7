package test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// typist is somebody who has no mouse.
type typist struct {
	*browser
	g *gate
}

// at is whether the focus is on an element, and can be seen there.
const at = `(() => {
	const e = document.activeElement;
	if (!e?.matches(%q)) return "";
	const s = getComputedStyle(e), r = e.getBoundingClientRect();
	if (s.outlineStyle === "none" || parseFloat(s.outlineWidth) < 2) return "it has no outline";
	if (r.right <= 0 || r.bottom <= 0 || r.left >= innerWidth || r.top >= innerHeight) return "it is out of sight";
	return "here";
})()`

// reach presses Tab, or goes back by Shift and Tab, until an element is in focus.
func (k *typist) reach(selector string, modifiers ...chromedp.Modifier) {
	k.t.Helper()
	k.do(chromedp.WaitReady(chromedp.CSS(selector)))
	for range 200 {
		k.do(chromedp.KeyEvent(kb.Tab, chromedp.KeyModifiers(modifiers...)))
		switch said := result(k.browser, chromedp.Evaluate[string](fmt.Sprintf(at, selector))); said {
		case "here":
			return
		case "":
		default:
			waitFor(k.t, selector+", of which "+said, func() bool { // it may still be scrolled to
				return result(k.browser, chromedp.Evaluate[string](fmt.Sprintf(at, selector))) == "here"
			})
			return
		}
	}
	k.t.Fatalf("no Tab leads to %s:\n%s", selector, k.text())
}

// keys types, or presses keys that have no letter.
func (k *typist) keys(keys string) {
	k.t.Helper()
	k.do(chromedp.KeyEvent(keys))
}

// follow goes to an element and presses Enter.
func (k *typist) follow(selector string) {
	k.t.Helper()
	k.reach(selector)
	k.keys(kb.Enter)
}

// TestKeyboard does the chief things without a mouse.
func TestKeyboard(t *testing.T) {
	t.Parallel()
	chrome := chromium(t)
	g := newGate(t)
	g.unlimited("scan@contoso.com")
	g.start()
	g.apply(g.document(`tasks:
  - {name: bills, account: invoices, start: all, directory: ` + g.inbox() + `}
`))
	g.signIn("invoices", "invoices@contoso.com")
	g.invoice(t, 1, map[string]string{"a.pdf": "alpha"})
	if err := legacyMail(g, "scanner", devicePassword); err != nil { // nobody has signed in to its account: it waits
		t.Fatal(err)
	}
	k := &typist{newBrowser(t, chrome), g}
	k.logsIn(g.adminPassword())
	k.makesAccount()
	k.makesDevice()
	k.holds()
	k.tries()
	k.folds()
	k.carriesAPhone()
	k.content()
	g.stop()
}

// logsIn types into the page as it comes, and skips the navigation of the next.
func (k *typist) logsIn(password string) {
	k.open(k.g.url() + "/login")
	k.do(chromedp.WaitReady(chromedp.CSS("#f-name:focus")))
	k.keys("admin")
	k.reach("#f-password")
	k.keys(password + kb.Enter)
	k.sees("Overview")
	k.follow("a.skip")
	k.reach("main *") // the next stop is on the page, not in the navigation
	k.reach(`nav a[href="/audit"], .side .you *`, chromedp.ModifierShift)
}

// makesAccount chooses by arrow keys and ticks by the space bar.
func (k *typist) makesAccount() {
	k.follow(`nav a[href="/accounts"]`)
	k.sees("Accounts")
	k.follow(`main a[href="/new/account"]`)
	k.sees("New account")
	k.reach(`input[name="road"]`)
	k.keys(kb.ArrowDown) // the app itself has permission
	k.reach("#f-app")
	k.keys("contoso")
	k.reach("#f-mailbox")
	k.keys("shared@contoso.com")
	k.reach(`input[name="purposes"][value="imap"]`)
	k.keys(" ")
	k.follow(`form.account > .buttons button`)
	k.says("Check a connection", "Account shared is saved.")
	if out := k.g.postern("accounts", "show", "shared"); !strings.Contains(out, "application") || !strings.Contains(out, "imap") {
		k.t.Errorf("what was chosen by keys came to\n%s", out)
	}
}

// makesDevice looks at the setup card.
func (k *typist) makesDevice() {
	k.follow(`nav a[href="/devices"]`)
	k.sees("Devices")
	k.follow(`main a[href="/new/device"]`)
	k.sees("New device")
	k.reach("#f-name")
	k.keys("printer")
	k.reach("#f-account")
	k.keys("scan")
	k.follow(`form[action="/new/device"] button`)
	k.says("printer", "Setup card for printer")
}

// holds a message and lets it go again.
func (k *typist) holds() {
	for _, step := range []struct{ act, said string }{{"hold", "Hold: 1 message."}, {"release", "Release: 1 message."}} {
		k.follow(`nav a[href="/queue"]`)
		k.sees("Queue")
		k.reach(`input[name="id"]`)
		k.keys(" ")
		k.follow(fmt.Sprintf(`button[value=%q]`, step.act))
		k.do(chromedp.WaitVisible(chromedp.CSS(`p.note[role="status"]`)))
		k.says("Queue", step.said)
	}
	if waiting := k.g.queue("--state", "queued"); len(waiting) != 1 {
		k.t.Errorf("%d messages wait after the release", len(waiting))
	}
}

// tries a task, which takes nothing.
func (k *typist) tries() {
	k.follow(`nav a[href="/tasks"]`)
	k.sees("Tasks")
	k.follow(`main a[href="/tasks/bills"]`)
	k.follow(`form[action="/tasks/bills/try"] button`)
	k.do(chromedp.WaitVisible(chromedp.Search(`//*[contains(text(),"Ended:")]`)))
	k.says("Dry run", "would be saved", "a.pdf")
	if files, err := os.ReadDir(filepath.Join(k.g.inbox())); err == nil && len(files) > 0 {
		k.t.Errorf("a dry run left %v", files)
	}
}

// folds opens what is folded away, and answers the question before what cannot be undone.
func (k *typist) folds() {
	k.open(k.g.url() + "/accounts/shared")
	const folded = `details:has(form[action="/accounts/shared/delete"])`
	k.reach(folded + " > summary")
	for i, key := range []string{" ", kb.Enter, " "} {
		k.keys(key)
		open := i%2 == 0
		if now := result(k.browser, chromedp.Evaluate[bool](fmt.Sprintf(`document.querySelector(%q).open`, folded))); now != open {
			k.t.Errorf("open is %v, want %v", now, open)
		}
	}
	asked := make(chan string, 1)
	err := chromedp.Listen(k.ctx, func(ev any) {
		if e, ok := ev.(*page.EventJavascriptDialogOpening); ok {
			asked <- e.Message
			go func() { // the listener must not wait for the browser
				_, _ = chromedp.Call(k.ctx, page.HandleJavaScriptDialog, page.HandleJavaScriptDialogParams{Accept: true})
			}()
		}
	})
	noError(k.t, err)
	k.follow(folded + " button")
	if question := <-asked; !strings.Contains(question, "shared") {
		k.t.Errorf("it asked %q", question)
	}
	k.says("Accounts", "deleted")
}

// carriesAPhone goes through the navigation, which scrolls sideways there.
func (k *typist) carriesAPhone() {
	k.do(chromedp.EmulateViewport(390, 844))
	k.open(k.g.url() + "/")
	k.sees("Overview")
	k.follow(`nav a[href="/audit"]`)
	k.says("Audit log", "hold", "release")
}
