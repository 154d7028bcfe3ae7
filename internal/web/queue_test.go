package web_test

import (
	"net/url"
	"strings"
	"testing"

	"postern/internal/relay"
)

func (s *site) adminGet(path string) answer { return s.admin(s.request("GET", path, nil)) }

func (s *site) adminPost(path string, form url.Values) answer {
	return s.admin(s.request("POST", path, form))
}

func TestQueuePage(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.adminGet("/queue").says(t, "The queue is empty")
	one := s.mail.put(1, nil)
	s.mail.put(2, func(m *relay.Message) { m.State, m.Account, m.Device = relay.Held, "bulk", "fax" })
	s.mail.put(3, func(m *relay.Message) { m.State = relay.Failed })
	a := s.adminGet("/queue")
	a.says(t, "Scan <b>1</b>", "waiting 1", "held back 1", "failed 1", "held by hand", "RecipientNotFound", "scan@contoso.com", "a@x.example")
	if strings.Contains(a.body, "<b>1</b>") || strings.Index(a.body, "/queue/"+one.ID) < strings.Index(a.body, "held by hand") {
		t.Error("markup of strangers, or not the newest first")
	}
	s.adminGet("/queue?state=held").says(t, "held by hand", "!RecipientNotFound")
	s.adminGet("/queue?account=bulk").says(t, "fax", "!printer")
	s.adminGet("/queue?text=SCAN+%3Cb%3E3").says(t, "RecipientNotFound", "!held by hand")
	s.adminGet("/queue?text=nowhere").says(t, "No message matches.")
	req := s.request("GET", "/queue?state=held", nil)
	req.Header.Set("Postern-Part", "queue-list")
	if part := s.admin(req); strings.Contains(part.body, "<html") || !strings.Contains(part.body, "held by hand") {
		t.Errorf("the part alone: %s", part.body)
	}
	s.mail.ailing(true)
	if a := s.adminGet("/queue"); a.StatusCode != 200 || !strings.Contains(a.text, "The queue could not be looked up whole") {
		t.Errorf("with a sick database: %d %s", a.StatusCode, a.text)
	}
}

func TestQueueIsPaged(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for i := range 51 {
		s.mail.put(i, nil)
	}
	a := s.adminGet("/queue?account=scan")
	a.says(t, "Scan <b>50</b>", "Older", "!Scan <b>0</b>", "!Newest")
	_, rest, _ := strings.Cut(a.body, `<a href="/queue?account=scan&amp;after=`)
	cursor, _, _ := strings.Cut(rest, `"`)
	s.adminGet("/queue?account=scan&after="+cursor).says(t, "Scan <b>0</b>", "Newest", "!Older", "!Scan <b>50</b>")
}

func TestMessagePage(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	failed := s.mail.put(3, func(m *relay.Message) { m.State = relay.Failed })
	a := s.adminGet("/queue/" + failed.ID)
	a.says(t, "550 5.1.10 <b>RecipientNotFound</b>", "The recipient does not exist. Correct the address.", "Whoever sent the message", "refused for good", "X-One: two",
		"Retry now", "Delete", "!Hold", "a report will be queued", "!sender told")
	s.mail.tell(failed)
	s.adminGet("/queue/"+failed.ID).says(t, "yes, by a report", "sender told")
	if strings.Contains(a.body, "<b>Recip") {
		t.Error("markup of a server")
	}
	d := s.adminGet("/queue/" + failed.ID + "/message.eml")
	if d.Header.Get("Content-Type") != "message/rfc822" || !strings.HasSuffix(d.body, "body "+failed.ID) || !strings.Contains(d.Header.Get("Content-Disposition"), "attachment") {
		t.Errorf("download: %v %q", d.Header, d.body)
	}
	simulated := s.mail.put(4, func(m *relay.Message) { m.State = relay.Simulated })
	s.adminGet("/queue/"+simulated.ID).says(t, "Retry now", "Delete", "!Hold") // it can be sent after all
	if a := s.adminGet("/queue/nobody"); a.StatusCode != 404 || !strings.Contains(a.text, "There is no such message") {
		t.Errorf("missing: %d %s", a.StatusCode, a.text)
	}
}

func TestActsOnTheQueue(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	one, two, three := s.mail.put(1, nil), s.mail.put(2, nil), s.mail.put(3, func(m *relay.Message) { m.State = relay.Failed })
	state := func(id string) relay.State {
		m, err := s.mail.store.Message(t.Context(), id)
		if err != nil {
			return "gone"
		}
		return m.State
	}
	note := func(a answer) answer { return s.adminGet(strings.TrimPrefix(a.Header.Get("Location"), s.url)) }
	note(s.adminPost("/queue", url.Values{"act": {"hold"}})).says(t, "Nothing was ticked")
	note(s.adminPost("/queue", url.Values{"act": {"hold"}, "id": {one.ID, three.ID}})).says(t, "Hold: 1 message. Left as they were: 1.")
	if state(one.ID) != relay.Held || state(two.ID) != relay.Queued {
		t.Errorf("after holding one: %s %s", state(one.ID), state(two.ID))
	}
	s.adminPost("/queue/"+one.ID, url.Values{"act": {"release"}})
	if state(one.ID) != relay.Queued {
		t.Errorf("released: %s", state(one.ID))
	}
	s.adminPost("/queue/"+one.ID, url.Values{"act": {"delete"}}).says(t, "Shall this message be deleted for good?")
	s.adminPost("/queue", url.Values{"act": {"delete"}, "id": {one.ID}}).says(t, "Shall 1 message be deleted for good?")
	if state(one.ID) != relay.Queued {
		t.Error("deleted without a yes")
	}
	s.adminPost("/queue/"+one.ID, url.Values{"act": {"delete"}, "sure": {"1"}})
	if state(one.ID) != "gone" {
		t.Error("not deleted")
	}
	all := url.Values{"act": {"hold"}, "all": {"1"}, "state": {"queued"}}
	s.adminPost("/queue", all).says(t, "all messages that match (state queued)")
	all.Set("sure", "1")
	work := s.adminPost("/queue", all).Header.Get("Location")
	waitUntil(t, "the work to end", func() bool { return strings.Contains(s.adminGet(work).text, "Ended: 1 message done") })
	if state(two.ID) != relay.Held {
		t.Errorf("held with all: %s", state(two.ID))
	}
	if a := s.adminPost("/queue", url.Values{"act": {"burn"}}); a.StatusCode != 409 {
		t.Errorf("an act that is none: %d", a.StatusCode)
	}
	if a := s.adminGet("/queue/work/none"); a.StatusCode != 404 {
		t.Errorf("no such work: %d", a.StatusCode)
	}
	want := "web:admin hold " + one.ID
	s.mail.mu.Lock()
	defer s.mail.mu.Unlock()
	if s.mail.audit[0] != want {
		t.Errorf("audit %v, want first %q", s.mail.audit, want)
	}
}
