package web_test

import (
	"net/url"
	"testing"
	"time"

	"postern/internal/bridge"
	"postern/internal/fetch"
	"postern/internal/relay"
)

func TestMailPagesFitEveryScreen(t *testing.T) {
	t.Parallel()
	ctx := openBrowser(t)
	s := newSite(t)
	s.enters(ctx)
	for i := range 6 {
		s.mail.put(i, func(m *relay.Message) {
			m.State = []relay.State{relay.Queued, relay.Held}[i%2]
			m.Subject = []string{"Scan of the contract", "Mahnung", "AVeryLongSubjectWithoutAnyBlankInItThatHasToBreakSomewhereOrOther"}[i%3]
		})
	}
	failed := s.mail.put(7, func(m *relay.Message) { m.State = relay.Failed })
	s.mail.task("invoices", nil)
	s.mail.task("letters-of-the-whole-house", func(t *fetch.Task) { t.Disabled, t.Handover.Path = true, "{yyyy}/{filename}" })
	e := s.mail.entry("invoices", 1, fetch.Parked)
	s.mail.entry("invoices", 2, fetch.Done)
	must(t, s.mail.store.PutRun(t.Context(), fetch.Run{ID: "run1", Task: "invoices", Started: time.Now().Add(-time.Hour), Ended: time.Now(), Looked: 12, Saved: 3, Failed: 1}))
	must(t, s.mail.store.PutLines(t.Context(), "run1", 0, fetch.Line{At: time.Now(), Text: "uid 1 done: Invoice 1 → 2026/invoice 1.pdf"}))
	s.readers.open = []bridge.Session{reading("tickets"), reading("the-probe-of-the-monitoring-that-has-a-long-name")}
	fitEveryScreen(t, ctx, s, "mail", []string{
		"/queue", "/queue/" + failed.ID, "/tasks", "/new/task", "/tasks/invoices", "/tasks/letters-of-the-whole-house/edit", "/tasks/invoices/runs/run1",
		"/ledger", "/ledger/entry?at=" + url.QueryEscape(e.Mark().String()), "/sessions",
	})
}
