package test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	goimap "github.com/emersion/go-imap/v2"

	"postern/internal/fetch"
)

// fetchKills is how often the process is killed: POSTERN_TEST_KILLS times, or a few.
func fetchKills(t *testing.T) int {
	t.Helper()
	s := os.Getenv("POSTERN_TEST_KILLS")
	if s == "" {
		return 12
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal("POSTERN_TEST_KILLS: ", err)
	}
	return n
}

// TestFetchKilledAtRandomInstants kills `postern serve` while six tasks take mail over
// IMAP and POP3, from the simulated Exchange and from Dovecot, to folders, webhooks and
// an object store. Every file is in its folder and in its store exactly once; a webhook
// may be told again, under the same key the same; no message is left behind.
func TestFetchKilledAtRandomInstants(t *testing.T) {
	t.Parallel()
	g, box := newGate(t), realDovecot(t)
	g.unlimited("scan@contoso.com", "invoices@contoso.com")
	k := &fetchKill{g: g, box: box, hook: newKeyedHook(t), store: startObjectStore(t), known: make(map[string]bool)}
	g.setUp("")
	g.apply(k.document(t))
	n, amid := fetchKills(t), 0
	for i := range n {
		k.arrive(t, 3)
		if i%4 > 0 { // mostly when the tasks have begun, or few would be struck at work
			seen := k.sessions()
			waitFor(t, "a task to begin", func() bool { return k.sessions() > seen })
			time.Sleep(time.Duration(rand.IntN(250)) * time.Millisecond) // the random instant is the point
		} else {
			time.Sleep(time.Duration(rand.IntN(1200)) * time.Millisecond)
		}
		g.kill()
		if k.atWork(t) {
			amid++
		}
		g.launch()
		if i%10 == 9 { // now and then let it come up whole, so that work gets done
			waitFor(t, "postern to come back", g.ready)
			time.Sleep(time.Duration(rand.IntN(2000)) * time.Millisecond)
		}
	}
	waitFor(t, "postern to come back", g.ready)
	k.settle(t)
	for _, r := range k.routes {
		k.judge(t, r)
	}
	t.Logf("%d kills, %d of them with files on their way, %d messages, %d attachments, %d requests to the webhook of which %d were repeats", n, amid, 6*k.arrived, 12*k.arrived, k.hook.requests, k.hook.repeats)
	g.stop()
}

// TestFetchKilledWhileGroupsOverlap kills `postern serve` while it takes so much mail from
// Dovecot to a folder that one group of messages is committed while the next is read.
func TestFetchKilledWhileGroupsOverlap(t *testing.T) {
	t.Parallel()
	const each = 1100 // at a time: five groups, described in two parts
	g, box := newGate(t), realDovecot(t)
	k := &fetchKill{g: g, box: box, known: make(map[string]bool)}
	r := fetchRoute{"ahead", k.dovecot(t, func(s *goimap.StatusData) uint32 { return *s.NumMessages }), k.folder(t, "ahead")}
	whole := k.folder(t, "whole")
	k.routes = []fetchRoute{r}
	g.setUp("")
	g.apply(dovecotApp(t, g, box) + "accounts:\n" + dovecotAccount("real", r.user) +
		fmt.Sprintf("tasks:\n  - {name: %s, account: real, source: {start: all}, %s, every: 1s}\n", r.task, r.words) +
		fmt.Sprintf("  - {name: whole, account: real, source: {start: all}, rules: [{name: whole, take: {save: [eml], any_message: true}}], %s, every: 1s}\n", whole.words))
	n, amid := max(3, fetchKills(t)/15), 0 // Dovecot takes long to append where tens of thousands are
	for range n {
		g.kill()
		if k.atWork(t) {
			amid++
		}
		k.arrive(t, each) // while nobody takes it
		g.launch()
		waitFor(t, "postern to come back", g.ready)
		time.Sleep(time.Duration(rand.IntN(900)) * time.Millisecond) // the random instant is the point
	}
	deadline := time.Now().Add(3 * time.Minute)
	for _, task := range []string{r.task, "whole"} {
		for done := 0; done < k.arrived; time.Sleep(300 * time.Millisecond) {
			entries := g.entries(task)
			if done = len(entries) - len(unfinished(entries)); time.Now().After(deadline) {
				t.Errorf("%s: %d of %d messages are done after three minutes", task, done, k.arrived)
				break
			}
		}
	}
	k.judge(t, r)
	kept := whole.taken()
	for content, n := range kept {
		if n != 1 {
			t.Errorf("a message is there %d times: %.80q", n, content)
		}
	}
	if len(kept) != k.arrived {
		t.Errorf("%d messages of %d are there", len(kept), k.arrived)
	}
	t.Logf("%d kills, %d of them with files on their way, %d messages", n, amid, k.arrived)
	g.stop()
}

// fetchKill is the load and what becomes of it.
type fetchKill struct {
	g       *gate
	box     *host
	hook    *keyedHook
	store   *objectStore
	routes  []fetchRoute
	arrived int             // messages put into each mailbox
	known   map[string]bool // staged files that earlier kills left behind
}

// fetchRoute is one task, from a mailbox of its own.
type fetchRoute struct {
	task string
	killMailbox
	killTarget
}

type killMailbox struct {
	user string
	put  func(raw ...string)
	left func() int // messages whose mailbox action is not made
}

type killTarget struct {
	words string                // that declare it
	taken func() map[string]int // how often each content is there; manifests are ""
}

// document declares the tasks, and lists what there is to know of each.
func (k *fetchKill) document(t *testing.T) string {
	t.Helper()
	all := func(s *goimap.StatusData) uint32 { return *s.NumMessages }
	unread := func(s *goimap.StatusData) uint32 { return *s.NumUnseen }
	accounts, tasks := "accounts:\n", "tasks:\n"
	for _, r := range []struct {
		task, account, protocol string
		from                    killMailbox
		to                      killTarget
		after                   string
	}{
		{"folder-imap", "invoices", "imap", k.exchange("invoices@contoso.com"), k.folder(t, "a"), "move Archive"},
		{"folder-pop3", "real0", "pop3", k.dovecot(t, all), k.folder(t, "b"), "delete"},
		{"hook-imap", "real1", "imap", k.dovecot(t, all), k.webhook("a", "attachment"), "move Archive"},
		{"hook-pop3", "scan", "pop3", k.exchange("scan@contoso.com"), k.webhook("b", "message"), "delete"},
		{"object-imap", "real2", "imap", k.dovecot(t, unread), k.object(t, "a"), "read"},
		{"object-pop3", "real3", "pop3", k.dovecot(t, all), k.object(t, "b"), "delete"},
	} {
		if strings.HasPrefix(r.account, "real") {
			accounts += dovecotAccount(r.account, r.from.user)
		}
		tasks += fmt.Sprintf("  - {name: %s, account: %s, source: {protocol: %s, start: all}, %s, after: %s, every: 1s}\n", r.task, r.account, r.protocol, r.to.words, r.after)
		k.routes = append(k.routes, fetchRoute{r.task, r.from, r.to})
	}
	return dovecotApp(k.g.t, k.g, k.box) + accounts + tasks
}

// dovecotApp declares an app that leads to a server with passwords.
func dovecotApp(t testing.TB, g *gate, box *host) string {
	t.Helper()
	root := filepath.Join(g.dir, "dovecot.pem")
	writeFile(t, root, box.root)
	return fmt.Sprintf(`apps:
  - name: dovecot
    cloud: custom
    custom: {authority: https://localhost, imap: {host: localhost, port: %d, tls: implicit}, pop3: {host: localhost, port: %d, tls: starttls}, ca: {file: %s}}
`, box.ways["IMAPS"].Port, box.ways["POP3 STLS"].Port, root)
}

func dovecotAccount(name, user string) string {
	return fmt.Sprintf("  - {name: %s, app: dovecot, mailbox: %s, sign_in: app_password, password: {value: %s}, purposes: [imap, pop3]}\n", name, user, sourcePassword)
}

// exchange is a mailbox of the simulator.
func (k *fetchKill) exchange(user string) killMailbox {
	servers := k.g.sim.Exchange
	put := func(raw ...string) {
		for _, r := range raw {
			servers.Append(user, "INBOX", []byte(r), time.Now())
		}
	}
	return killMailbox{user, put, func() int { return len(servers.Folder(user, "INBOX")) }}
}

// dovecot is a mailbox of the real server.
func (k *fetchKill) dovecot(t *testing.T, count func(*goimap.StatusData) uint32) killMailbox {
	t.Helper()
	user := k.box.user(t)
	return killMailbox{user, func(raw ...string) { k.box.append(t, user, raw...) }, func() int { return int(count(k.status(t, user))) }}
}

func (k *fetchKill) folder(t *testing.T, name string) killTarget {
	t.Helper()
	dir := filepath.Join(k.g.dir, "folder", name)
	return killTarget{"handover: {directory: " + dir + "}", func() map[string]int { return contentsBelow(t, dir) }}
}

func (k *fetchKill) webhook(name, each string) killTarget {
	return killTarget{
		fmt.Sprintf("key: {value: %s}, handover: {webhook: {url: %s/%s}, each: %s}", hookKey, k.hook.URL, name, each),
		func() map[string]int { return k.hook.contents("/" + name) },
	}
}

func (k *fetchKill) object(t *testing.T, name string) killTarget {
	t.Helper()
	return killTarget{
		fmt.Sprintf("key: {value: %s}, handover: {object: {url: s3://mail/%s, endpoint: %s, region: us-east-1, key_id: postern}}", hookKey, name, k.store.url),
		func() map[string]int { return contentsBelow(t, filepath.Join(k.store.root, "mail", name)) },
	}
}

// sessions counts those that the simulator has had, of which two tasks are the reason.
func (k *fetchKill) sessions() int {
	return k.g.sim.World.Count("imap_session") + k.g.sim.World.Count("pop3_session")
}

// atWork reports whether files lie staged: the process was killed before they were in
// place, or before their target had them.
func (k *fetchKill) atWork(t *testing.T) bool {
	t.Helper()
	before := len(k.known)
	for _, pattern := range []string{"folder/*", "data/spool/*"} {
		parts, err := filepath.Glob(filepath.Join(k.g.dir, pattern, ".postern-*.part"))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range parts {
			k.known[p] = true
		}
	}
	return len(k.known) > before
}

func (k *fetchKill) status(t *testing.T, user string) *goimap.StatusData {
	t.Helper()
	c := k.box.admin(t, user)
	defer c.Close()
	s, err := c.Status("INBOX", &goimap.StatusOptions{NumMessages: true, NumUnseen: true}).Wait()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// arrive puts messages with two attachments into every mailbox. Their names return, so
// that there are clashes.
func (k *fetchKill) arrive(t *testing.T, count int) {
	t.Helper()
	for _, r := range k.routes {
		var raws []string
		for n := k.arrived + 1; n <= k.arrived+count; n++ {
			raws = append(raws, string(mailWith("attachments", fmt.Sprintf("<%s-%d@fabrikam.example>", r.task, n), map[string]string{
				fmt.Sprintf("a-%d.bin", n%7): killContent(r.task, n, "first", 200),
				fmt.Sprintf("b-%d.bin", n%5): killContent(r.task, n, "second", 2000),
			})))
		}
		r.put(raws...)
	}
	k.arrived += count
}

func killContent(task string, n int, which string, times int) string {
	return strings.Repeat(fmt.Sprintf("%s %d %s ", task, n, which), times)
}

// settle waits until nothing is left in the mailboxes, and nothing on its way.
func (k *fetchKill) settle(t *testing.T) {
	t.Helper()
	deadline := time.Now().Add(3 * time.Minute)
	for _, r := range k.routes {
		for r.left() > 0 || len(unfinished(k.g.entries(r.task))) > 0 {
			if time.Now().After(deadline) {
				t.Errorf("%s: %d messages are left after three minutes; %+v", r.task, r.left(), unfinished(k.g.entries(r.task)))
				break
			}
			time.Sleep(300 * time.Millisecond)
		}
	}
}

// entries is a task's ledger, whole.
func (g *gate) entries(task string) []fetch.Entry {
	g.t.Helper()
	var entries []fetch.Entry
	out := g.postern("fetch", "ledger", task, "--json", "--limit", "50000")
	if err := json.Unmarshal([]byte(out), &entries); err != nil {
		g.t.Fatal(err)
	}
	return entries
}

// unfinished are the messages that did not come to their end.
func unfinished(entries []fetch.Entry) []fetch.Entry {
	return slices.DeleteFunc(entries, func(e fetch.Entry) bool { return e.State == fetch.Done })
}

func (k *fetchKill) judge(t *testing.T, r fetchRoute) {
	t.Helper()
	taken := r.taken()
	manifests := taken[""]
	delete(taken, "")
	for n := 1; n <= k.arrived; n++ {
		for _, content := range []string{killContent(r.task, n, "first", 200), killContent(r.task, n, "second", 2000)} {
			if taken[content] != 1 {
				t.Errorf("%s: the attachment %.30q is there %d times", r.task, content, taken[content])
			}
			delete(taken, content)
		}
	}
	for content := range taken {
		t.Errorf("%s: what is %.60q?", r.task, content)
	}
	if manifests != k.arrived && !strings.HasPrefix(r.task, "hook-") {
		t.Errorf("%s: %d manifests of %d messages", r.task, manifests, k.arrived)
	}
}

// contentsBelow counts the contents of files, of which no name begins with a dot;
// manifests are counted as "".
func contentsBelow(t *testing.T, root string) map[string]int {
	t.Helper()
	got := make(map[string]int)
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case strings.HasPrefix(e.Name(), "."):
			if e.IsDir() {
				return fs.SkipDir
			}
			return nil
		case e.IsDir():
			return nil
		case strings.HasSuffix(e.Name(), ".manifest.json"):
			got[""]++
			return nil
		}
		b, err := os.ReadFile(path)
		got[string(b)]++
		return err
	})
	if err != nil {
		t.Error(err)
	}
	return got
}

const hookKey = "a-key-for-hooks-and-stores"

// keyedHook is a webhook that verifies what it is sent, keeps it by Idempotency-Key and
// path, and makes trouble: of the first tries it refuses some, and takes some without
// an answer.
type keyedHook struct {
	*httptest.Server
	t *testing.T

	mu       sync.Mutex
	got      map[string][]string // contents by path and key
	tried    map[string]bool
	requests int
	repeats  int // of what was taken before
}

func newKeyedHook(t *testing.T) *keyedHook {
	t.Helper()
	h := &keyedHook{t: t, got: make(map[string][]string), tried: make(map[string]bool)}
	h.Server = httptest.NewServer(h)
	t.Cleanup(h.Close)
	return h
}

func (h *keyedHook) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return // the sender was killed
	}
	var notice struct {
		Delivery string
		Files    []struct {
			Content []byte
			SHA256  string
		}
	}
	key := req.Header.Get("Idempotency-Key")
	if err := json.Unmarshal(body, &notice); err != nil || notice.Delivery != key || key == "" || !rightlySigned(req.Header.Get("Postern-Signature"), body) {
		h.t.Errorf("a request with key %q for delivery %q: %v", key, notice.Delivery, err)
		w.WriteHeader(http.StatusForbidden)
		return
	}
	var files []string
	for _, f := range notice.Files {
		files = append(files, string(f.Content))
		if sum := sha256.Sum256(f.Content); hex.EncodeToString(sum[:]) != f.SHA256 {
			h.t.Errorf("%s: not the content its digest promises", key)
		}
	}
	switch h.take(req.URL.Path+" "+key, files) {
	case refuse:
		w.WriteHeader(http.StatusInternalServerError)
	case cutOff:
		panic(http.ErrAbortHandler)
	}
}

// hookAnswer is that of a webhook to a request.
type hookAnswer int

const (
	accept hookAnswer = iota
	refuse
	cutOff
)

// take keeps a delivery, and says how to answer.
func (h *keyedHook) take(key string, files []string) hookAnswer {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.requests++
	first := !h.tried[key]
	h.tried[key] = true
	if first && len(h.tried)%7 == 0 {
		return refuse
	}
	if had, again := h.got[key]; again {
		h.repeats++
		if !slices.Equal(had, files) {
			h.t.Errorf("%s came again with something else", key)
		}
	}
	h.got[key] = files
	if first && len(h.tried)%11 == 0 {
		return cutOff
	}
	return accept
}

// contents counts what deliveries to a path brought.
func (h *keyedHook) contents(path string) map[string]int {
	h.mu.Lock()
	defer h.mu.Unlock()
	got := make(map[string]int)
	for key, files := range h.got {
		if strings.HasPrefix(key, path+" ") {
			for _, f := range files {
				got[f]++
			}
		}
	}
	return got
}

// rightlySigned verifies a signature as docs/handover.md says.
func rightlySigned(signature string, body []byte) bool {
	at, v1, _ := strings.Cut(strings.TrimPrefix(signature, "t="), ",v1=")
	seconds, err := strconv.ParseInt(at, 10, 64)
	mac := hmac.New(sha256.New, []byte(hookKey))
	fmt.Fprintf(mac, "%s.%s", at, body)
	return err == nil && time.Since(time.Unix(seconds, 0)).Abs() < 5*time.Minute && hmac.Equal([]byte(hex.EncodeToString(mac.Sum(nil))), []byte(v1))
}

// objectStore is an S3 server that is not ours, over a directory.
type objectStore struct{ root, url string }

func startObjectStore(t *testing.T) *objectStore {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "../scripts/versitygw").Output()
	if err != nil {
		skipOrFail(t, "scripts/versitygw: "+err.Error())
	}
	dir, at := t.TempDir(), freeAddress(t)
	s := &objectStore{root: filepath.Join(dir, "root"), url: "http://" + at}
	for _, d := range []string{filepath.Join(s.root, "mail"), filepath.Join(dir, "sidecar")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(strings.TrimSpace(string(out)), "--port", at, "--quiet", "posix", "--sidecar", filepath.Join(dir, "sidecar"), s.root)
	cmd.Env = []string{"ROOT_ACCESS_KEY=postern", "ROOT_SECRET_KEY=" + hookKey}
	background(t, dir, cmd)
	waitFor(t, "the object store", func() bool { return dials(at) })
	return s
}
