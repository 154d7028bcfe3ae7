package test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/chromedp/chromedp"
)

// TestTaskJourney makes a task in a real browser, tries it, runs it, and follows a
// message into the ledger.
func TestTaskJourney(t *testing.T) {
	t.Parallel()
	chrome := chromium(t)
	g := newGate(t)
	g.setUp("")
	g.invoice(t, 1, map[string]string{"a.pdf": "alpha"})
	g.invoice(t, 2, map[string]string{"b.txt": "beta"})
	b := g.home(t, chrome)

	b.press(`nav a[href="/tasks"]`)
	b.says("Tasks", "There is no task yet")
	b.press(`main a[href="/new/task"]`)
	b.sees("New task")
	b.fill("#f-name", "bills")
	b.do(chromedp.SetValue(chromedp.CSS("#f-account"), "invoices"))
	b.fill("#f-directory", g.inbox())
	b.press(`label:has(input[name="start"][value="all"])`)
	b.press(`label:has(input[name="when"][value="manual"])`)
	b.press(`details:has(#f-path) > summary`)
	b.fill("#f-path", "{from_domain}/{filename}")
	b.do(chromedp.WaitVisible(chromedp.Search(`//*[@id="preview"]//*[text()="fabrikam.example/invoice 017.pdf"]`))) // as it is typed
	b.look("task-new")
	b.press(`form.task .buttons button:not([formaction])`)
	b.says("bills", "Saved.", "has not run yet", "by hand")

	b.press(`form[action="/tasks/bills/try"] button`)
	b.do(chromedp.WaitVisible(chromedp.Search(`//*[contains(text(),"Ended:")]`)))
	b.says("Dry run", "would be saved", "a.pdf", "b.txt")
	b.look("task-dry-run")
	if files, err := os.ReadDir(g.inbox()); err != nil || len(files) > 0 {
		t.Errorf("after the dry run: %v %v", files, err)
	}
	b.press(`main a[href="/tasks/bills"]`)
	b.sees("bills")
	b.press(`form[action="/tasks/bills/run"] button`)
	b.do(chromedp.WaitVisible(chromedp.CSS(`#main table .pill.good`))) // the page renews itself
	b.look("task")
	found, err := filepath.Glob(filepath.Join(g.inbox(), "*", "a.pdf"))
	if err != nil || len(found) != 1 {
		t.Errorf("the files: %v %v", found, err)
	}
	b.press(`#main tbody th a`)
	b.says("Run of bills", "all right", "a.pdf", "2 looked at")
	b.look("task-run")
	b.press(`main a[href*="/ledger?"]`)
	b.says("Ledger", "invoice 1", "invoice 2", "done")
	b.look("ledger")
	b.do(chromedp.SetValue(chromedp.CSS("#f-text"), "a.pdf"))
	b.press(`form[role="search"] button`)
	b.do(chromedp.WaitNotPresent(chromedp.Search(`//tbody//a[text()="invoice 2"]`)))
	b.says("Ledger", "invoice 1")
	b.press(`#main tbody a[href^="/ledger/entry"]`)
	b.says("invoice 1", "a.pdf", "SHA-256", "Take again")
	b.look("entry")
	b.press(`button[value="reprocess"]`)
	b.says("Ledger", "Take again: 1 message.")
	b.content()
	g.stop()
}
