package web

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"postern/internal/catalogue"
	"postern/internal/relay"
)

// Queue is what the pages read of the queue. Missing is fault.NotFound.
type Queue interface {
	Search(ctx context.Context, f relay.Filter, patience time.Duration) (found []relay.Message, next string, err error)
	Message(ctx context.Context, id string) (relay.Message, error)
	Body(ctx context.Context, id string) (io.ReadCloser, error)
	CountUpTo(ctx context.Context, s relay.State, most int) (int, error)
}

// QueueActs change the queue and write down who did.
type QueueActs interface {
	Do(ctx context.Context, who string, act relay.Action, id string) error
	DoAll(ctx context.Context, who string, act relay.Action, f relay.Filter, tell func(relay.Done)) (relay.Done, error)
}

// Explainer says more of messages than the queue knows.
type Explainer interface {
	// SayWhy gives those that wait the reason, and until when.
	SayWhy(ctx context.Context, msgs []relay.Message) error
	// Meaning explains the words of the server that refused a message.
	Meaning(ctx context.Context, m relay.Message) (catalogue.Entry, bool)
	// Header is a message's, as long as it is kept.
	Header(ctx context.Context, id string) ([]byte, error)
}

const (
	queueHome   = "/queue"
	queuePage   = 50
	queueCounts = 10_001
	// A search looks so long before the page says how far it came.
	searchPatience = 40 * time.Millisecond
)

func (s *Server) queuePlaces() []place {
	return []place{
		{"GET /queue", viewer, s.queue},
		{"POST /queue", operator, s.changeQueue},
		{"GET /work/{work}", operator, s.showBulk},
		{"POST /work/{work}/cancel", operator, s.cancelBulk},
		{"GET /queue/{id}", viewer, s.showMessage},
		{"POST /queue/{id}", operator, s.changeMessage},
		{"GET /queue/{id}/message.eml", operator, s.download},
	}
}

// queueView is the list of the queue.
type queueView struct {
	sheet
	Form   form
	Tabs   []tab
	Rows   []queued
	Next   string // the page behind; "" on the last
	First  string // the first page, when this is another
	Looked bool   // the search has not come to the end
	Filter url.Values
}

// tab is a state with how many there are.
type tab struct {
	Label, Count, Link string
	Here               bool
}

// queued is a row.
type queued struct {
	relay.Message
	Label label
	To    string
}

func row(m relay.Message) queued {
	q := queued{Message: m, Label: stateOf(m.State)}
	if len(m.Recipients) > 0 {
		q.To = m.Recipients[0].Address.String()
	}
	return q
}

// filterNames are the fields of the filter.
func filterNames() []string { return []string{"text", "account", "device", "state"} }

// kept are those of some fields that say something.
func kept(v url.Values, names []string) url.Values {
	out := url.Values{}
	for _, name := range names {
		if text := strings.TrimSpace(v.Get(name)); text != "" {
			out.Set(name, text)
		}
	}
	return out
}

// at is an address with a query, another field set.
func at(path string, v url.Values, name, value string) string {
	q := url.Values{}
	for k, list := range v {
		q[k] = list
	}
	q.Del(name)
	if value != "" {
		q.Set(name, value)
	}
	if len(q) == 0 {
		return path
	}
	return path + "?" + q.Encode()
}

func queueFilter(v url.Values) relay.Filter {
	return relay.Filter{
		Text: v.Get("text"), Account: v.Get("account"), Device: v.Get("device"), State: relay.State(v.Get("state")),
	}
}

// states are those of the queue, in the order people ask for them.
func states() []relay.State {
	return []relay.State{relay.Queued, relay.Delivering, relay.Held, relay.Failed, relay.Simulated, relay.Delivered}
}

func (s *Server) queue(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := s.brief(r)
	defer cancel()
	q := r.URL.Query()
	p := queueView{sheet: s.sheet(w, r, "Queue", queueHome), Filter: kept(q, filterNames()), Form: blank(q)}
	f := queueFilter(p.Filter)
	f.After, f.Limit, f.Newest = q.Get("after"), queuePage, true
	found, next, err := s.Queue.Search(ctx, f, searchPatience)
	if err == nil {
		err = s.Explain.SayWhy(ctx, found)
	}
	if err != nil {
		s.trouble(r, &p.sheet, err, "The queue could not be looked up whole.")
	}
	for _, m := range found {
		p.Rows = append(p.Rows, row(m))
	}
	p.Looked = next != "" && len(found) < queuePage
	if next != "" {
		p.Next = at(queueHome, p.Filter, "after", next)
	}
	if f.After != "" {
		p.First = at(queueHome, p.Filter, "", "")
	}
	p.Tabs = s.queueTabs(ctx, r, &p)
	s.show(w, r, http.StatusOK, "queue.html", p)
}

// queueTabs leads from state to state. What is counted is the whole queue, whatever the
// filter leaves out.
func (s *Server) queueTabs(ctx context.Context, r *http.Request, p *queueView) []tab {
	now := p.Filter.Get("state")
	tabs := []tab{{Label: "All", Link: at(queueHome, p.Filter, "state", ""), Here: now == ""}}
	for _, state := range states() {
		t := tab{Label: stateOf(state).Text, Link: at(queueHome, p.Filter, "state", string(state)), Here: now == string(state)}
		n, err := s.Queue.CountUpTo(ctx, state, queueCounts)
		if err != nil {
			s.trouble(r, &p.sheet, err, "How many messages there are could not be counted.")
			return append(tabs, t)
		}
		t.Count = counted(n, queueCounts)
		tabs = append(tabs, t)
	}
	return tabs
}

// mailView is one message.
type mailView struct {
	sheet
	Row      queued
	Outcomes []outcome
	Header   string
	Kept     bool // its body is there to be downloaded
	Meaning  *catalogue.Entry
	Who      string
	Acts     []act
}

// outcome is a recipient and what became of it.
type outcome struct {
	relay.Recipient
	Label label
}

// shownHeader bounds the header on a page; the whole is in the download.
const (
	shownHeader     = 16 << 10
	shownRecipients = 200
)

func (s *Server) showMessage(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := s.brief(r)
	defer cancel()
	m, err := s.Queue.Message(ctx, r.PathValue("id"))
	if err != nil {
		s.failThing(w, r, err, "There is no such message", queueHome)
		return
	}
	p := mailView{sheet: s.sheet(w, r, "Message", queueHome)}
	if m.Subject != "" {
		p.Title = shortened(m.Subject, 80)
	}
	one := []relay.Message{m}
	if err := s.Explain.SayWhy(ctx, one); err != nil {
		s.trouble(r, &p.sheet, err, "Why it waits could not be looked up.")
	}
	p.Row = row(one[0])
	for _, to := range m.Recipients[:min(len(m.Recipients), shownRecipients)] {
		p.Outcomes = append(p.Outcomes, outcome{to, outcomeOf(to)})
	}
	if e, ok := s.Explain.Meaning(ctx, m); ok {
		p.Meaning, p.Who = &e, whoActs(e.Who)
	}
	if header, err := s.Explain.Header(ctx, m.ID); err == nil {
		p.Header, p.Kept = string(header[:min(len(header), shownHeader)]), true
		p.Header = strings.ToValidUTF8(p.Header, "\uFFFD")
	}
	p.Acts = actsOn(m.State)
	s.show(w, r, http.StatusOK, "mail.html", p)
}

// download gives the message as it waits to be sent.
func (s *Server) download(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	body, err := s.Queue.Body(r.Context(), id)
	if err != nil {
		s.failThing(w, r, err, "There is no such message", queueHome)
		return
	}
	defer body.Close()
	w.Header().Set("Content-Type", "message/rfc822")
	w.Header().Set("Content-Disposition", `attachment; filename="message.eml"`)
	if _, err := io.Copy(w, body); err != nil && r.Context().Err() == nil {
		s.Log.ErrorContext(r.Context(), "a message was not downloaded whole", "id", id, "error", err)
		panic(http.ErrAbortHandler) // a cut connection is the one way to say so now
	}
}
