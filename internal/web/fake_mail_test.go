package web_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/internal/catalogue"
	"postern/internal/fault"
	"postern/internal/fetch"
	"postern/internal/mail"
	"postern/internal/relay"
	"postern/internal/store"
	"postern/internal/web"
)

// mailRoom is a real queue and ledger, in a database of the test's own.
type mailRoom struct {
	t              *testing.T
	store          *store.Store
	acts           relay.Operator
	fetch.Operator // of tasks

	// try answers dry runs.
	try func(ctx context.Context, t fetch.Task, opts fetch.Options) (fetch.Run, error)

	mu     sync.Mutex
	broken error // answers every look at the queue
	audit  []string
}

func newMailRoom(t *testing.T) *mailRoom {
	t.Helper()
	dir := t.TempDir()
	db, err := furnished()
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "postern.db"), db, 0o600))
	st, err := store.OpenSQLite(t.Context(), dir, store.Options{})
	must(t, err)
	t.Cleanup(func() { _ = st.Close() })
	m := &mailRoom{t: t, store: st}
	m.acts = relay.Operator{Relay: relay.New(relay.Config{Store: st}), Audit: func(_ context.Context, d relay.Deed) error {
		return m.WriteDown(context.Background(), d.Who, string(d.What), d.Subject, d.Detail)
	}}
	m.Operator = fetch.Operator{Fetcher: fetch.New(fetch.Config{Ledger: st}), Audit: func(ctx context.Context, d fetch.ByHand) error {
		return m.WriteDown(ctx, d.Who, d.What, d.Subject, d.Detail)
	}}
	return m
}

// Try is for the test to answer.
func (m *mailRoom) Try(ctx context.Context, t fetch.Task, opts fetch.Options) (fetch.Run, error) {
	return m.try(ctx, t, opts)
}

// furnished is a database with the accounts in it, made once: each test has a copy.
var furnished = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "postern-web-test-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()
	st, err := store.OpenSQLite(ctx, dir, store.Options{})
	if err != nil {
		return nil, err
	}
	err = st.PutApp(ctx, contosoApp())
	for _, d := range accounts() {
		err = errors.Join(err, st.PutAccount(ctx, d.Account))
	}
	if err := errors.Join(err, st.Close()); err != nil {
		return nil, err
	}
	return os.ReadFile(filepath.Join(dir, "postern.db"))
})

// waitUntil looks again and again, for a while.
func waitUntil(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !f(); {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
		time.Sleep(5 * time.Millisecond) // polling
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (m *mailRoom) WriteDown(_ context.Context, who, what, subject, _ string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.audit = append(m.audit, who+" "+what+" "+subject)
	return nil
}

func (m *mailRoom) ill() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.broken
}

// configure gives the room to the pages.
func (m *mailRoom) configure(cfg *web.Config) {
	cfg.Queue, cfg.QueueActs, cfg.Explain = sickly{m.store, m}, m.acts, m
	cfg.Tasks, cfg.TaskActs = sickly{m.store, m}, m
}

// sickly is a store that can be ill.
type sickly struct {
	*store.Store
	room *mailRoom
}

func (s sickly) Search(ctx context.Context, f relay.Filter, patience time.Duration) ([]relay.Message, string, error) {
	if err := s.room.ill(); err != nil {
		return nil, "", err
	}
	return s.Store.Search(ctx, f, patience)
}

func (s sickly) SearchEntries(ctx context.Context, f fetch.Filter, patience time.Duration) ([]fetch.Entry, string, error) {
	if err := s.room.ill(); err != nil {
		return nil, "", err
	}
	return s.Store.SearchEntries(ctx, f, patience)
}

func (s sickly) Standings(ctx context.Context, now time.Time, name string) ([]fetch.Standing, error) {
	if err := s.room.ill(); err != nil {
		return nil, err
	}
	return s.Store.Standings(ctx, now, name)
}

// task saves one as it stands.
func (m *mailRoom) task(name string, change func(*fetch.Task)) {
	m.t.Helper()
	t := fetch.Task{Name: name, Account: "invoices"}
	t.Handover.Directory, t.Schedule.Every = "/srv/in", fetch.Duration(5*time.Minute)
	if change != nil {
		change(&t)
	}
	must(m.t, m.store.PutTask(m.t.Context(), t))
}

// entry enters a message in the ledger.
func (m *mailRoom) entry(task string, n int, state fetch.EntryState) fetch.Entry {
	m.t.Helper()
	e := fetch.Entry{
		Key:       fetch.Key{Task: task, Folder: "invoices@contoso.com/INBOX", UIDValidity: 7, UID: fmt.Sprint(n)},
		MessageID: fmt.Sprintf("<%d@x>", n), Digest: "ab12", State: state, Attempts: 1, Run: "run1", Updated: time.Date(2026, 11, 3, 9, 0, n, 0, time.UTC),
		Files: []fetch.File{{Name: fmt.Sprintf("2026/invoice %d.pdf", n), Original: "<i>.pdf", Size: 2048, SHA256: "cd34"}},
		About: fetch.About{From: "Ada <ada@fabrikam.example>", Subject: fmt.Sprintf("Invoice <b>%d</b>", n)},
	}
	if state == fetch.Parked {
		e.Reason = "the disk is full"
	}
	must(m.t, m.store.PutEntries(m.t.Context(), e))
	return e
}

func (m *mailRoom) SayWhy(_ context.Context, msgs []relay.Message) error {
	for i := range msgs {
		if msgs[i].State == relay.Held {
			msgs[i].Reason = "held by hand, until it is released"
		}
	}
	return nil
}

func (m *mailRoom) Meaning(_ context.Context, msg relay.Message) (catalogue.Entry, bool) {
	return catalogue.Entry{Meaning: "the recipient does not exist", Fix: "correct the address", Who: catalogue.User, Link: "https://example.com/x"}, msg.State == relay.Failed
}

func (m *mailRoom) Header(ctx context.Context, id string) ([]byte, error) {
	body, err := m.store.Body(ctx, id)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	b, err := io.ReadAll(body)
	head, _, _ := strings.Cut(string(b), "\r\n\r\n")
	return []byte(head), err
}

// put queues a message as it stands.
func (m *mailRoom) put(n int, change func(*relay.Message)) relay.Message {
	m.t.Helper()
	at := time.Date(2026, 11, 3, 9, 30, n, 0, time.UTC)
	msg := relay.Message{
		ID: mail.FirstID(at), Account: "scan", Device: "printer", From: mail.Address{Local: "scan", Domain: "contoso.com"},
		Recipients: []relay.Recipient{{Address: mail.Address{Local: "a", Domain: "x.example"}, State: relay.Waiting}},
		MessageID:  fmt.Sprintf("<%d@contoso.com>", n), Subject: fmt.Sprintf("Scan <b>%d</b>", n), Accepted: at, NotBefore: at,
	}
	if change != nil {
		change(&msg)
	}
	state := msg.State
	msg.State = ""
	must(m.t, m.store.PutMessage(m.t.Context(), &msg, strings.NewReader("Subject: "+msg.Subject+"\r\nX-One: two\r\n\r\nbody "+msg.ID)))
	switch state {
	case relay.Held:
		must(m.t, m.store.HoldMessage(m.t.Context(), msg.ID))
	case relay.Failed:
		m.finish(msg, "550 5.1.10 <b>RecipientNotFound</b>")
	case relay.Simulated:
		m.end(msg, func(c *relay.Message, now time.Time) {
			c.State, c.Done, c.Recipients[0].State = relay.Simulated, now, relay.Spared
		})
	}
	return msg
}

// finish lets a message fail.
func (m *mailRoom) finish(msg relay.Message, words string) {
	m.t.Helper()
	m.end(msg, func(c *relay.Message, now time.Time) {
		c.State, c.Attempts, c.Reason, c.Done, c.Kind = relay.Failed, 1, words, now, "permanent"
		c.Recipients[0].State, c.Recipients[0].Reply = relay.Refused, words
		c.Bounce = relay.BounceDue
	})
}

// end lets a try of a message end.
func (m *mailRoom) end(msg relay.Message, how func(c *relay.Message, now time.Time)) {
	m.t.Helper()
	now := time.Date(2026, 11, 3, 10, 0, 0, 0, time.UTC)
	claimed, err := m.store.ClaimMessages(m.t.Context(), relay.Claim{Holder: "h", Now: now, Until: now.Add(time.Hour), Most: 100, PerAccount: 100})
	must(m.t, err)
	for _, c := range claimed {
		if c.ID == msg.ID {
			how(&c, now)
			must(m.t, m.store.FinishMessage(m.t.Context(), "h", c, relay.Spent{At: now}))
		}
	}
	must(m.t, m.store.ReleaseLeases(m.t.Context(), "h"))
}

// tell queues the report on a message that failed.
func (m *mailRoom) tell(failed relay.Message) {
	m.t.Helper()
	report := relay.Message{ID: mail.FirstID(failed.Accepted.Add(time.Minute)), Account: "scan", From: failed.From,
		About: failed.ID, Tells: []mail.Address{failed.Recipients[0].Address}, Accepted: failed.Accepted, NotBefore: failed.Accepted}
	must(m.t, m.store.PutMessage(m.t.Context(), &report, strings.NewReader("\r\n")))
}

func (m *mailRoom) ailing(on bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.broken = nil
	if on {
		m.broken = fault.New(fault.Temporary, "look", "disk full")
	}
}

// declaredTasks takes what documents say of tasks, whose accounts are in the fake vault.
type declaredTasks struct{ *store.Store }

func (declaredTasks) PutTask(context.Context, fetch.Task) error { return nil }
