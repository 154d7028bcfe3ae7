package web_test

import (
	"net/url"
	"strings"
	"testing"

	"postern/internal/fetch"
)

func TestLedgerPages(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.adminGet("/ledger").says(t, "The ledger is empty")
	s.mail.task("invoices", nil)
	s.mail.task("letters", nil)
	done := s.mail.entry("invoices", 1, fetch.Done)
	s.mail.entry("letters", 2, fetch.Parked)
	a := s.adminGet("/ledger")
	a.says(t, "Invoice <b>1</b>", "Invoice <b>2</b>", "done", "parked", "the disk is full", "2026/invoice 1.pdf")
	if strings.Contains(a.body, "<b>1</b>") {
		t.Error("markup of a sender")
	}
	s.adminGet("/ledger?state=attention").says(t, "Invoice <b>2</b>", "!Invoice <b>1</b>")
	s.adminGet("/ledger?task=invoices").says(t, "Invoice <b>1</b>", "!Invoice <b>2</b>")
	s.adminGet("/ledger?text=INVOICE+1").says(t, "Invoice <b>1</b>", "!Invoice <b>2</b>")
	s.adminGet("/ledger?run=other").says(t, "No message matches.")
	if a := s.adminGet("/ledger?after=nonsense"); a.StatusCode != 200 || !strings.Contains(a.text, "could not be looked up") {
		t.Errorf("a cursor that is none: %d", a.StatusCode)
	}
	entry := "/ledger/entry?at=" + url.QueryEscape(done.Mark().String())
	s.adminGet(entry).says(t, "Invoice <b>1</b>", "cd34", "ab12", "<i>.pdf", "2.0 KB", "UIDVALIDITY 7", "Take again", "Forget")
	for _, path := range []string{"/ledger/entry", "/ledger/entry?at=" + (fetch.Mark{Key: fetch.Key{Task: "x"}}).String()} {
		if a := s.adminGet(path); a.StatusCode != 404 && a.StatusCode != 409 {
			t.Errorf("%s: %d", path, a.StatusCode)
		}
	}
}

func TestLedgerIsPaged(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.mail.task("invoices", nil)
	for i := range 51 {
		s.mail.entry("invoices", i, fetch.Done)
	}
	a := s.adminGet("/ledger?task=invoices")
	a.says(t, "Invoice <b>50</b>", "Older", "!Invoice <b>0</b>")
	_, rest, _ := strings.Cut(a.body, `<a href="/ledger?after=`)
	cursor, _, _ := strings.Cut(rest, `&amp;task`)
	s.adminGet("/ledger?task=invoices&after="+cursor).says(t, "Invoice <b>0</b>", "Newest", "!Older")
}

func TestActsOnTheLedger(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.mail.task("invoices", nil)
	s.mail.task("letters", nil)
	one, two, three, moving := s.mail.entry("invoices", 1, fetch.Parked), s.mail.entry("invoices", 2, fetch.Done), s.mail.entry("letters", 3, fetch.Parked), s.mail.entry("letters", 4, fetch.Staged)
	state := func(e fetch.Entry) fetch.EntryState {
		now, err := s.mail.store.Entry(t.Context(), e.Key)
		if err != nil {
			return "gone"
		}
		return now.State
	}
	note := func(a answer) answer { return s.adminGet(strings.TrimPrefix(a.Header.Get("Location"), s.url)) }
	note(s.adminPost("/ledger", url.Values{"act": {"reprocess"}})).says(t, "Nothing was ticked")
	note(s.adminPost("/ledger", url.Values{"act": {"reprocess"}, "id": {one.Mark().String(), moving.Mark().String()}})).says(t, "Take again: 1 message. Left as they were: 1 message")
	if state(one) != fetch.EntryFailed || state(moving) != fetch.Staged {
		t.Errorf("un-parked: %s %s", state(one), state(moving))
	}
	s.adminPost("/ledger", url.Values{"act": {"reset"}, "id": {two.Mark().String()}}).says(t, "Shall 1 message be forgotten")
	s.adminPost("/ledger", url.Values{"act": {"reset"}, "id": {two.Mark().String()}, "sure": {"1"}})
	if state(two) != "gone" {
		t.Errorf("forgotten: %s", state(two))
	}
	all := url.Values{"act": {"reprocess"}, "all": {"1"}, "state": {"parked"}}
	s.adminPost("/ledger", all).says(t, "all messages that match (state parked)")
	all.Set("sure", "1")
	work := s.adminPost("/ledger", all).Header.Get("Location")
	waitUntil(t, "the work to end", func() bool { return strings.Contains(s.adminGet(work).text, "Ended: 1 message done") })
	if state(three) != fetch.EntryFailed {
		t.Errorf("un-parked with all: %s", state(three))
	}
}
