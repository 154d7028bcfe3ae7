package test

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/internal/fetch"
)

// hookServer is a webhook that keeps what it was sent, by Idempotency-Key.
type hookServer struct {
	*httptest.Server
	mu     sync.Mutex
	got    map[string][]string // contents
	answer func() int
}

func newHookServer(t *testing.T) *hookServer {
	t.Helper()
	r := &hookServer{got: map[string][]string{}, answer: func() int { return http.StatusOK }}
	r.Server = httptest.NewServer(http.HandlerFunc(r.take))
	t.Cleanup(r.Close)
	return r
}

func (r *hookServer) take(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	r.mu.Lock()
	defer r.mu.Unlock()
	var notice struct {
		Files []struct{ Content []byte }
	}
	if err != nil || json.Unmarshal(body, &notice) != nil || req.Header.Get("Postern-Signature") == "" {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if code := r.answer(); code != http.StatusOK {
		w.WriteHeader(code)
		return
	}
	key := req.Header.Get("Idempotency-Key")
	var files []string
	for _, f := range notice.Files {
		files = append(files, string(f.Content))
	}
	if had, again := r.got[key]; again && !slices.Equal(had, files) {
		w.WriteHeader(http.StatusUnprocessableEntity) // the same key for something else
		return
	}
	r.got[key] = files
	_, _ = io.WriteString(w, "thank you")
}

func (r *hookServer) contents() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []string
	for _, files := range r.got {
		all = append(all, files...)
	}
	slices.Sort(all)
	return all
}

func (g *gate) invoice(t *testing.T, n int, files map[string]string) {
	t.Helper()
	if err := g.sim.Deliver("invoices@contoso.com", mailWith(fmt.Sprint("invoice ", n), fmt.Sprintf("<f%d@x.example>", n), files)); err != nil {
		t.Fatal(err)
	}
}

// ledger reads the ledger of the task by state and subject.
func (g *gate) ledger(args ...string) []fetch.Entry {
	g.t.Helper()
	var entries []fetch.Entry
	if err := json.Unmarshal([]byte(g.postern(append([]string{"fetch", "ledger", "invoices", "--json"}, args...)...)), &entries); err != nil {
		g.t.Fatal(err)
	}
	return entries
}

// TestFetchByRules takes mail by rules into folders made by a template, follows it in the
// ledger, and has it taken again.
func TestFetchByRules(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	g.setUp(`tasks:
  - name: invoices
    account: invoices
    source: {start: all, which: unread}
    rules:
      - {name: orders, match: {subject: order}, take: {save: [attachments, eml]}}
      - {name: pdf, take: {names: ["*.pdf", "!*draft*"]}}
    handover: {directory: ` + g.inbox() + `, path: "{rule}/{filename}", clash: overwrite}
    after: move Archive
    unmatched: flag
`)
	g.invoice(t, 1, map[string]string{"a.pdf": "alpha", "draft.pdf": "no"})
	g.invoice(t, 2, map[string]string{"b.txt": "no"})
	if err := g.sim.Deliver("invoices@contoso.com", mailWith("An order", "<o1@x.example>", map[string]string{"o.csv": "1;2"})); err != nil {
		t.Fatal(err)
	}
	if out := g.postern("fetch", "preview", "invoices"); !strings.Contains(out, "would be saved") || !strings.Contains(out, "pdf/a.pdf") || !strings.Contains(out, "orders/An order.eml") {
		t.Errorf("the preview:\n%s", out)
	}
	if out := g.postern("fetch", "run", "invoices"); !strings.Contains(out, "3 looked at, 2 taken, 3 files, 0 failed") {
		t.Errorf("the run:\n%s", out)
	}
	for _, name := range []string{"pdf/a.pdf", "orders/o.csv", "orders/An order.eml"} {
		if _, err := os.Stat(filepath.Join(g.inbox(), name)); err != nil {
			t.Error(err)
		}
	}
	if n := len(g.sim.Exchange.Folder("invoices@contoso.com", "Archive")); n != 2 {
		t.Errorf("%d messages in Archive", n)
	}
	left := g.sim.Exchange.Folder("invoices@contoso.com", "INBOX")
	if len(left) != 1 || !strings.Contains(strings.ToLower(fmt.Sprint(left[0].Flags)), "flagged") {
		t.Errorf("left behind: %+v", left)
	}
	if done := g.ledger("--state", "done", "--text", "ORDER"); len(done) != 1 || done[0].Rule != "orders" || len(done[0].Files) != 2 {
		t.Errorf("the ledger: %+v", done)
	}
	if out := g.postern("fetch", "log", "invoices"); !strings.Contains(out, "orders/o.csv") || !strings.Contains(out, "3 looked at") {
		t.Errorf("the log:\n%s", out)
	}
	if out := g.postern("fetch", "ledger", "reset", "invoices", "--state", "no_match"); out != "1 message forgotten\n" {
		t.Errorf("reset: %s", out)
	}
	if out := g.postern("fetch", "run", "invoices"); !strings.Contains(out, "1 looked at, 0 taken") {
		t.Errorf("after the reset:\n%s", out)
	}
	if out := g.postern("audit"); !strings.Contains(out, "fetch reset") {
		t.Errorf("the audit log:\n%s", out)
	}
	if _, errOut, code := g.try("", "fetch", "stop", "invoices"); code == 0 || !strings.Contains(errOut, "not running") {
		t.Errorf("stopping what does not run: %d %s", code, errOut)
	}
	g.stop()
}

// TestFetchToAWebhook hands mail to a webhook that fails at first, and follows and steers
// it over the API.
func TestFetchToAWebhook(t *testing.T) {
	t.Parallel()
	g, hook := newGate(t), newHookServer(t)
	var down sync.Map
	down.Store("down", true)
	hook.answer = func() int {
		if _, is := down.Load("down"); is {
			return http.StatusInternalServerError
		}
		return http.StatusOK
	}
	writeFile(t, filepath.Join(g.dir, "key"), []byte("a-key-that-signs"))
	g.setUp(`tasks:
  - name: invoices
    account: invoices
    key: {file: ` + filepath.Join(g.dir, "key") + `}
    source: {start: all}
    handover: {webhook: {url: ` + hook.URL + `}, each: attachment}
    after: delete
    schedule: {watch: true, every: 1s}
`)
	g.invoice(t, 1, map[string]string{"a.pdf": "alpha", "b.pdf": "beta"})
	g.invoice(t, 2, map[string]string{"c.pdf": "gamma"})
	waitFor(t, "the messages to be staged", func() bool { return len(g.ledger("--state", "staged")) == 2 })
	if n := len(g.sim.Exchange.Folder("invoices@contoso.com", "INBOX")); n != 2 {
		t.Errorf("%d messages in the mailbox while the webhook is down", n)
	}
	down.Delete("down")
	waitFor(t, "the deliveries", func() bool { return len(hook.contents()) == 3 })
	waitFor(t, "the mailbox to be empty", func() bool { return len(g.sim.Exchange.Folder("invoices@contoso.com", "INBOX")) == 0 })
	waitFor(t, "the ledger to be done", func() bool { return len(g.ledger("--state", "done")) == 2 })

	read, write := g.token("reader", "", "fetch:read"), g.token("writer", "", "fetch:read,fetch:write")
	var tasks struct{ Tasks []fetch.Task }
	if r := g.call(read, http.MethodGet, "/tasks", "", "", &tasks); r.StatusCode != http.StatusOK || len(tasks.Tasks) != 1 || tasks.Tasks[0].Handover.Webhook == nil {
		t.Errorf("tasks: %d %+v", r.StatusCode, tasks)
	}
	var ledger struct{ Messages []fetch.Entry }
	if r := g.call(read, http.MethodGet, "/tasks/invoices/ledger?state=done&text=invoice+2", "", "", &ledger); r.StatusCode != http.StatusOK || len(ledger.Messages) != 1 || ledger.Messages[0].Files[0].Receipt == "" {
		t.Errorf("ledger: %d %+v", r.StatusCode, ledger)
	}
	var runs struct{ Runs []fetch.Run }
	if r := g.call(read, http.MethodGet, "/tasks/invoices/runs?limit=500", "", "", &runs); r.StatusCode != http.StatusOK || len(runs.Runs) == 0 {
		t.Errorf("runs: %d %+v", r.StatusCode, runs)
	}
	for path, want := range map[string]int{
		"/tasks/none/run": http.StatusNotFound, "/tasks/invoices/run": http.StatusAccepted,
		"/tasks/invoices/ledger/reset": http.StatusBadRequest, "/tasks/invoices/ledger/reset?state=lost": http.StatusBadRequest,
	} {
		if r := g.call(write, http.MethodPost, path, "", "", nil); r.StatusCode != want {
			t.Errorf("POST %s: %d, want %d", path, r.StatusCode, want)
		}
	}
	if r := g.call(read, http.MethodPost, "/tasks/invoices/run", "", "", nil); r.StatusCode != http.StatusForbidden {
		t.Errorf("a token that only reads: %d", r.StatusCode)
	}
	if out := g.postern("export"); strings.Contains(out, "a-key-that-signs") {
		t.Error("the key is in the export")
	}
	g.stop()
}

// TestFetchIsStopped stops a run on the server from another process.
func TestFetchIsStopped(t *testing.T) {
	t.Parallel()
	g, hook := newGate(t), newHookServer(t)
	release := make(chan struct{})
	var once sync.Once
	t.Cleanup(func() { once.Do(func() { close(release) }) })
	hook.answer = func() int {
		select {
		case <-release:
		case <-time.After(30 * time.Second):
		}
		return http.StatusOK
	}
	g.setUp(`tasks:
  - {name: invoices, account: invoices, start: all, every: 1h, handover: {webhook: {url: ` + hook.URL + `}}, key: {value: a-key-that-signs}}
`)
	g.invoice(t, 1, map[string]string{"a.pdf": "alpha"})
	g.postern("fetch", "list")
	writer := g.token("writer", "", "fetch:write")
	g.call(writer, http.MethodPost, "/tasks/invoices/run", "", "", nil)
	waitFor(t, "the message to be staged", func() bool { return len(g.ledger("--state", "staged")) == 1 })
	if out := g.postern("fetch", "stop", "invoices"); !strings.Contains(out, "told to stop") {
		t.Errorf("stop: %s", out)
	}
	waitFor(t, "the run to be stopped", func() bool {
		var runs []fetch.Run
		_ = json.Unmarshal([]byte(g.postern("fetch", "runs", "invoices", "--json")), &runs)
		return len(runs) > 0 && runs[0].Stopped != ""
	})
	once.Do(func() { close(release) })
	g.call(writer, http.MethodPost, "/tasks/invoices/run", "", "", nil)
	waitFor(t, "the delivery", func() bool { return slices.Equal(hook.contents(), []string{"alpha"}) })
	g.stop()
}

// TestFetchIsKilledAtRandomInstants kills `postern serve` while it fetches over IMAP to a
// webhook and over POP3 to a folder. Every attachment is in the folder once, every one
// came to the webhook under one key however often, and no message is left behind.
func TestFetchIsKilledAtRandomInstants(t *testing.T) {
	t.Parallel()
	kills := 12
	if text := os.Getenv("POSTERN_TEST_FETCH_KILLS"); text != "" {
		if _, err := fmt.Sscan(text, &kills); err != nil {
			t.Fatal(err)
		}
	}
	g, hook := newGate(t), newHookServer(t)
	g.unlimited("scan@contoso.com", "invoices@contoso.com")
	g.setUp(`tasks:
  - {name: hook, account: invoices, start: all, every: 1s, after: delete, key: {value: a-key-that-signs},
     handover: {webhook: {url: ` + hook.URL + `}, each: attachment}}
  - {name: folder, account: scan, start: all, every: 1s, after: delete, directory: ` + g.inbox() + `, source: {protocol: pop3}}
`)
	sent := 0
	for range kills {
		for range 3 {
			sent++
			for mailbox, kind := range map[string]string{"invoices@contoso.com": "hook", "scan@contoso.com": "folder"} {
				raw := mailWith(kind, fmt.Sprintf("<%s-%d@x.example>", kind, sent), map[string]string{
					fmt.Sprintf("a-%05d.bin", sent): fmt.Sprintf("first %s %d", kind, sent), fmt.Sprintf("b-%05d.bin", sent): fmt.Sprintf("second %s %d", kind, sent),
				})
				if err := g.sim.Deliver(mailbox, raw); err != nil {
					t.Fatal(err)
				}
			}
		}
		waitFor(t, "postern to come back", g.ready)
		time.Sleep(time.Duration(rand.IntN(1500)) * time.Millisecond) // the random instant is the point
		g.kill()
		g.launch()
	}
	waitFor(t, "postern to come back", g.ready)
	waitLong(t, "the mailboxes to be empty", func() bool {
		return len(g.sim.Exchange.Folder("invoices@contoso.com", "INBOX")) == 0 && len(g.sim.Exchange.Folder("scan@contoso.com", "INBOX")) == 0
	})
	if got := hook.contents(); len(got) != 2*sent || len(slices.Compact(got)) != 2*sent {
		t.Errorf("the webhook has %d attachments, %d different ones, want %d", len(got), len(slices.Compact(got)), 2*sent)
	}
	seen := map[string]int{}
	files, _ := filepath.Glob(filepath.Join(g.inbox(), "*.bin"))
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		seen[string(b)]++
	}
	if len(files) != 2*sent || len(seen) != 2*sent {
		t.Errorf("the folder has %d files with %d different contents, want %d", len(files), len(seen), 2*sent)
	}
	t.Logf("%d kills: %d messages by either way, each attachment once", kills, sent)
	g.stop()
}

// waitLong is for what takes as long as there is to do.
func waitLong(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(5 * time.Minute)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("waited five minutes for %s", what)
		}
		time.Sleep(50 * time.Millisecond)
	}
}
