package handover_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/internal/extract"
	"postern/internal/handover"
	"postern/internal/outbound"
	"postern/internal/secret"
)

const rightKey, wrongKey = "a-key-that-nothing-may-print", "a-key-that-is-not-the-one-at-all"

// mode is what goes wrong in a world.
type mode string

const (
	fine mode = ""
	cut  mode = "cut"  // the work is done and the answer is lost, once
	full mode = "full" // there is no room
	slow mode = "slow" // there is no answer
	busy mode = "busy" // another is putting the same name, once; of object stores
)

// world is a receiver of one kind, and how to reach it.
type world interface {
	target(t *testing.T, key string, timeout int) handover.Target
	trouble(m mode)
	arrived() map[string]string // by name: the digest of what is there
	reached() <-chan struct{}   // told when a slow receiver has the request
}

// staged writes files where a task would.
func staged(t *testing.T, id string, files map[string]string) handover.Delivery {
	t.Helper()
	d := handover.Delivery{ID: id, Vars: handover.Sample(), Manifest: []byte(`{"version":1,"subject":"Invoice"}`)}
	for i, name := range sorted(files) {
		path := filepath.Join(t.TempDir(), "part")
		if err := os.WriteFile(path, []byte(files[name]), 0o600); err != nil {
			t.Fatal(err)
		}
		d.Files = append(d.Files, handover.File{
			Path: path, Name: name, ContentType: "application/pdf", SHA256: digest(files[name]), Size: int64(len(files[name])), Index: i + 1,
		})
	}
	return d
}

func sorted(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }

func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

func open(t *testing.T, spec handover.Spec, key string) handover.Target {
	t.Helper()
	target, err := handover.New(spec, handover.With{Key: secret.New(key), Network: outbound.Network{}, Name: extract.SafeName})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = target.Close() })
	return target
}

// receiver is a webhook's other side, made from the documentation alone.
type receiver struct {
	*httptest.Server
	format handover.Format

	mu      sync.Mutex
	mode    mode
	seen    map[string]bool // idempotency keys
	files   map[string]string
	waiting chan struct{}
	last    *http.Request
	notice  map[string]any
}

func newReceiver(t *testing.T, format handover.Format) *receiver {
	r := &receiver{format: format, seen: make(map[string]bool), files: make(map[string]string), waiting: make(chan struct{}, 8)}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) target(t *testing.T, key string, timeout int) handover.Target {
	return open(t, handover.Spec{Webhook: &handover.Webhook{URL: r.URL + "/hook?token=abc", Format: r.format, TimeoutSeconds: timeout}}, key)
}

func (r *receiver) trouble(m mode) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mode = m
}

func (r *receiver) reached() <-chan struct{} { return r.waiting }

func (r *receiver) arrived() map[string]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.files)
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.mode
	r.last = req
	switch {
	case now == slow:
		r.waiting <- struct{}{}
		r.mu.Unlock()
		<-req.Context().Done()
		r.mu.Lock()
		return
	case now == full:
		w.WriteHeader(http.StatusInsufficientStorage)
		return
	case !signed(req, body):
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprintf(w, "you signed with %s", wrongKey) // what must not come into a receipt
		return
	}
	if key := req.Header.Get("Idempotency-Key"); !r.seen[key] {
		r.seen[key] = true
		r.take(req, body)
	}
	if now == cut {
		r.mode = fine
		panic(http.ErrAbortHandler)
	}
	fmt.Fprintf(w, "thank you")
}

// signed verifies a request as docs/handover.md says.
func signed(req *http.Request, body []byte) bool {
	var at, v1 string
	for field := range strings.SplitSeq(req.Header.Get("Postern-Signature"), ",") {
		switch name, value, _ := strings.Cut(field, "="); name {
		case "t":
			at = value
		case "v1":
			v1 = value
		}
	}
	unix, err := strconv.ParseInt(at, 10, 64)
	if err != nil || time.Since(time.Unix(unix, 0)).Abs() > 5*time.Minute {
		return false
	}
	mac := hmac.New(sha256.New, []byte(rightKey))
	fmt.Fprintf(mac, "%s.%s", at, body)
	return hex.EncodeToString(mac.Sum(nil)) == v1
}

func (r *receiver) take(req *http.Request, body []byte) {
	kind, params, _ := mime.ParseMediaType(req.Header.Get("Content-Type"))
	text := body
	parts := make(map[string]string)
	if kind == "multipart/form-data" {
		form, err := multipart.NewReader(strings.NewReader(string(body)), params["boundary"]).ReadForm(1 << 20)
		if err != nil {
			return
		}
		text = []byte(form.Value["notice"][0])
		for name, files := range form.File {
			f, _ := files[0].Open()
			b, _ := io.ReadAll(f)
			parts[name] = string(b)
		}
	}
	var n struct {
		Delivery string
		Files    []struct{ Name, SHA256, Content, Part string }
	}
	if json.Unmarshal(text, &n) != nil || json.Unmarshal(text, &r.notice) != nil {
		return
	}
	for _, f := range n.Files {
		content := parts[f.Part]
		if f.Part == "" {
			b, _ := base64.StdEncoding.DecodeString(f.Content)
			content = string(b)
		}
		if digest(content) == f.SHA256 {
			r.files[n.Delivery+" "+f.Name] = f.SHA256
		}
	}
}

// program is a command; this test binary plays it (TestMain).
type program struct{ dir string }

func (p program) target(t *testing.T, key string, timeout int) handover.Target {
	me, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return open(t, handover.Spec{Command: &handover.Command{
		Path: me, Args: []string{"{subject}", "{filename}", "fixed"}, Dir: p.dir,
		Env: map[string]string{"PLAY": "program", "KEY": key}, TimeoutSeconds: timeout,
	}}, "")
}

func (p program) trouble(m mode) {
	if err := os.WriteFile(filepath.Join(p.dir, "mode"), []byte(m), 0o600); err != nil {
		panic(err)
	}
}

func (p program) arrived() map[string]string {
	got := make(map[string]string)
	names, _ := filepath.Glob(filepath.Join(p.dir, "*.file"))
	for _, name := range names {
		b, _ := os.ReadFile(name)
		got[filepath.Base(name)] = digest(string(b))
	}
	return got
}

func (p program) reached() <-chan struct{} {
	c := make(chan struct{})
	go func() {
		for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
			if _, err := os.Stat(filepath.Join(p.dir, "waiting")); err == nil {
				close(c)
				return
			}
			<-time.After(5 * time.Millisecond)
		}
	}()
	return c
}

// forever waits for a signal that nobody sends: a bare select is a deadlock to the
// runtime.
func forever() {
	never := make(chan os.Signal, 1)
	signal.Notify(never, os.Interrupt)
	<-never
}

// play is the program: it takes each delivery once.
func play() int {
	b, _ := os.ReadFile("mode")
	now := mode(b)
	var n struct {
		Delivery string
		Files    []struct{ Name, Path string }
	}
	switch {
	case os.Getenv("KEY") != rightKey:
		fmt.Println("I may not")
		return 77
	case now == full:
		fmt.Fprintln(os.Stderr, "no room")
		return 75
	case now == slow:
		_ = os.WriteFile("waiting", nil, 0o600)
		forever()
	}
	if json.NewDecoder(os.Stdin).Decode(&n) != nil || n.Delivery != os.Getenv("POSTERN_DELIVERY") {
		return 65
	}
	for _, f := range n.Files {
		content, err := os.ReadFile(f.Path)
		if err != nil {
			return 74
		}
		_ = os.WriteFile(digest(n.Delivery)[:8]+" "+f.Name+".file", content, 0o600)
	}
	if now == cut {
		_ = os.WriteFile("mode", nil, 0o600)
		me, _ := os.FindProcess(os.Getpid())
		_ = me.Kill()
		forever()
	}
	fmt.Println("took", os.Args[1:])
	return 0
}

func TestMain(m *testing.M) {
	switch os.Getenv("PLAY") {
	case "program":
		os.Exit(play())
	case "script":
		os.Exit(script())
	}
	os.Exit(m.Run())
}
