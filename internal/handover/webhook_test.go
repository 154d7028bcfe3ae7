package handover_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"postern/internal/extract"
	"postern/internal/fault"
	"postern/internal/handover"
	"postern/internal/outbound"
	"postern/internal/secret"
)

func zeros(size int64) string {
	sum := sha256.New()
	_, _ = io.CopyN(sum, nothing{}, size)
	return hex.EncodeToString(sum.Sum(nil))
}

type nothing struct{}

func (nothing) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// sink counts what it is sent.
type sink struct {
	*httptest.Server
	size atomic.Int64
}

func newSink(t *testing.T) *sink {
	s := &sink{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		s.size.Store(n)
	}))
	t.Cleanup(s.Close)
	return s
}

func TestWhatAStatusAsksFor(t *testing.T) {
	t.Parallel()
	const date = "Sat, 31 Jan 2026 10:01:30 GMT"
	now := time.Date(2026, 1, 31, 10, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		status int
		after  string
		kind   fault.Kind
		wait   time.Duration
	}{
		{400, "", fault.Permanent, 0}, {413, "", fault.Permanent, 0}, {415, "", fault.Permanent, 0}, {422, "", fault.Permanent, 0},
		{401, "", fault.NeedsAdmin, 0}, {403, "", fault.NeedsAdmin, 0}, {404, "", fault.NeedsAdmin, 0}, {405, "", fault.NeedsAdmin, 0}, {410, "", fault.NeedsAdmin, 0},
		{408, "", fault.Temporary, 0}, {409, "", fault.Temporary, 0}, {425, "", fault.Temporary, 0},
		{429, "", fault.Temporary, 0}, {429, "120", fault.Temporary, 2 * time.Minute}, {503, date, fault.Temporary, 90 * time.Second},
		{503, "Thu, 01 Jan 1970 00:00:00 GMT", fault.Temporary, 0}, {429, "1000000", fault.Temporary, 24 * time.Hour}, {429, "soon", fault.Temporary, 0},
		{500, "", fault.Temporary, 0}, {502, "", fault.Temporary, 0}, {507, "", fault.Temporary, 0},
		{301, "", fault.NeedsAdmin, 0}, {304, "", fault.NeedsAdmin, 0},
	} {
		t.Run(http.StatusText(c.status)+" "+c.after, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				w.Header().Set("Retry-After", c.after)
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, strings.Repeat("why\x1b[31m ", 10000))
			}))
			t.Cleanup(server.Close)
			target, err := handover.New(handover.Spec{Webhook: &handover.Webhook{URL: server.URL}},
				handover.With{Key: secret.New(rightKey), Name: extract.SafeName, Now: func() time.Time { return now }})
			if err != nil {
				t.Fatal(err)
			}
			_, err = target.Deliver(t.Context(), staged(t, "one", two))
			e := fault.As(err)
			if e == nil || e.Kind != c.kind || e.RetryAfter != c.wait {
				t.Fatalf("%v is %v, wait %v", err, fault.KindOf(err), e.RetryAfter)
			}
			if len(err.Error()) > 3000 || strings.ContainsAny(err.Error(), "\x1b\n") || c.status != 304 && !strings.Contains(err.Error(), "why") {
				t.Errorf("the words are %d long: %.200q", len(err.Error()), err)
			}
		})
	}
}

func TestARequestSaysWhatTheDocumentationSays(t *testing.T) {
	t.Parallel()
	r := newReceiver(t, handover.FormatJSON)
	if receipt := deliver(t, r.target(t, rightKey, 0), staged(t, "task/7/1", two)); receipt != "200 thank you" {
		t.Errorf("the receipt is %q", receipt)
	}
	h := r.last.Header
	if h.Get("Idempotency-Key") != "task/7/1" || h.Get("Postern-Delivery") != "task/7/1" || h.Get("Content-Type") != "application/json" || r.last.ContentLength < 100000 {
		t.Errorf("%v, %d octets", h, r.last.ContentLength)
	}
	if m, ok := r.notice["manifest"].(map[string]any); !ok || m["subject"] != "Invoice" || r.notice["version"] != 1.0 {
		t.Errorf("%v", r.notice["manifest"])
	}
	if err := r.target(t, rightKey, 0).Check(t.Context()); err != nil || r.notice["test"] != true {
		t.Errorf("%v, %v", r.notice, err)
	}
	odd := staged(t, "ä\r\nX: y", two)
	deliver(t, r.target(t, rightKey, 0), odd)
	if key := r.last.Header.Get("Idempotency-Key"); len(key) != 64 {
		t.Errorf("an odd id became %q", key)
	}
}

func TestTooMuchForJSON(t *testing.T) {
	t.Parallel()
	s := newSink(t)
	target := open(t, handover.Spec{Webhook: &handover.Webhook{URL: s.URL, LimitMB: 1}}, rightKey)
	d := staged(t, "one", map[string]string{"a": strings.Repeat("x", 1<<20), "b": "x"})
	if _, err := target.Deliver(t.Context(), d); !errors.Is(err, fault.Permanent) || !strings.Contains(fault.HintOf(err), "multipart") || s.size.Load() != 0 {
		t.Errorf("%v, next %q", err, fault.HintOf(err))
	}
}

func TestRedirectsStayThere(t *testing.T) {
	t.Parallel()
	r := newReceiver(t, handover.FormatMultipart)
	elsewhere := newSink(t)
	var to atomic.Value
	var status atomic.Int32
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/there" {
			r.ServeHTTP(w, req)
			return
		}
		_, _ = io.Copy(io.Discard, req.Body)
		http.Redirect(w, req, to.Load().(string), int(status.Load()))
	}))
	t.Cleanup(front.Close)
	target := open(t, handover.Spec{Webhook: &handover.Webhook{URL: front.URL + "/here", Format: handover.FormatMultipart}}, rightKey)
	for _, c := range []struct {
		to     string
		status int32
		ok     bool
	}{{"/there", 307, true}, {"/there", 308, true}, {"/there", 302, false}, {"/there", 303, false}, {elsewhere.URL, 307, false}, {elsewhere.URL, 301, false}, {"/here", 308, false}} {
		to.Store(c.to)
		status.Store(c.status)
		_, err := target.Deliver(t.Context(), staged(t, c.to, two))
		if (err == nil) != c.ok || err != nil && !errors.Is(err, fault.NeedsAdmin) {
			t.Errorf("%d to %s: %v is %v", c.status, c.to, err, fault.KindOf(err))
		}
	}
	expect(t, r, two["a.pdf"])
	if elsewhere.size.Load() != 0 {
		t.Error("another host was sent the message")
	}
}

func TestAddressesOfCredentialsAreRefused(t *testing.T) {
	t.Parallel()
	for _, host := range []string{
		"169.254.169.254", "[fe80::1]", "[::ffff:169.254.169.254]", "169.254.170.2:80", "100.100.100.200", "168.63.129.16",
		"[fd00:ec2::254]", "0.0.0.0", "[::]", "224.0.0.1",
	} {
		_, err := handover.New(handover.Spec{Webhook: &handover.Webhook{URL: "http://" + host + "/latest/meta-data"}}, handover.With{Key: secret.New(rightKey)})
		if !errors.Is(err, fault.NeedsAdmin) || !strings.Contains(fault.HintOf(err), "link_local") {
			t.Errorf("%s: %v", host, err)
		}
		if _, err := handover.New(handover.Spec{Webhook: &handover.Webhook{URL: "http://" + host + "/", LinkLocal: true}}, handover.With{}); err != nil {
			t.Errorf("%s cannot be allowed: %v", host, err)
		}
	}
	// Whatever is connected to is judged, whoever named it: here, a proxy.
	way := outbound.Network{Proxy: secret.New("http://169.254.1.1:3128")}
	target, err := handover.New(handover.Spec{Webhook: &handover.Webhook{URL: "http://receiver.example/"}}, handover.With{Key: secret.New(rightKey), Network: way, Name: extract.SafeName})
	if err != nil {
		t.Fatal(err)
	}
	if err := target.Check(t.Context()); !errors.Is(err, fault.NeedsAdmin) || !strings.Contains(fault.HintOf(err), "link_local") {
		t.Errorf("connecting: %v", err)
	}
}

func TestWebhooksThatAreNone(t *testing.T) {
	t.Parallel()
	for _, spec := range []handover.Webhook{{}, {URL: "example.com"}, {URL: "ftp://example.com"}, {URL: "https://me:pw@example.com"}, {URL: "https://example.com", Format: "xml"}} {
		_, err := handover.New(handover.Spec{Webhook: &spec}, handover.With{})
		if !errors.Is(err, fault.Invalid) || fault.HintOf(err) == "" || strings.Contains(err.Error(), "pw") {
			t.Errorf("%+v: %v", spec, err)
		}
	}
	target := open(t, handover.Spec{Webhook: &handover.Webhook{URL: "http://127.0.0.1:1/"}}, "")
	if err := target.Check(t.Context()); !errors.Is(err, fault.NeedsAdmin) || !strings.Contains(err.Error(), "key") {
		t.Errorf("without a key: %v", err)
	}
	away := open(t, handover.Spec{Webhook: &handover.Webhook{URL: "http://127.0.0.1:1/x?token=tell-nobody"}}, rightKey)
	_, err := away.Deliver(t.Context(), staged(t, "one", two))
	if e := fault.As(err); e == nil || e.Kind != fault.Temporary || e.Ambiguous || e.Hint == "" || strings.Contains(err.Error(), "tell-nobody") {
		t.Errorf("nobody there: %v", err)
	}
	for _, spec := range []handover.Spec{{}, {Webhook: &handover.Webhook{}, Command: &handover.Command{}}} {
		if _, err := handover.New(spec, handover.With{}); !errors.Is(err, fault.Invalid) {
			t.Errorf("%+v: %v", spec, err)
		}
	}
}

// The example in the documentation takes what we send, and nothing else.
func TestTheReceiverInTheDocumentation(t *testing.T) {
	t.Parallel()
	python, err := exec.LookPath("python3")
	if err != nil {
		if os.Getenv("POSTERN_TEST_REQUIRE") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, python, "../../docs/receiver.py", dir, "0")
	cmd.Env = append(os.Environ(), "POSTERN_KEY="+rightKey)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	address := strings.TrimSpace(strings.TrimPrefix(line, "listening on "))
	for _, format := range []handover.Format{handover.FormatJSON, handover.FormatMultipart} {
		spec := handover.Spec{Webhook: &handover.Webhook{URL: address, Format: format}}
		if err := open(t, spec, rightKey).Check(t.Context()); err != nil {
			t.Fatal(err)
		}
		d := staged(t, "delivery "+string(format), two)
		deliver(t, open(t, spec, rightKey), d)
		deliver(t, open(t, spec, rightKey), d)
		if _, err := open(t, spec, wrongKey).Deliver(t.Context(), staged(t, "forged", two)); !errors.Is(err, fault.NeedsAdmin) {
			t.Errorf("%s: a wrong signature: %v", format, err)
		}
	}
	var got []string
	files, _ := filepath.Glob(filepath.Join(dir, "*", "*.pdf"))
	for _, f := range files {
		b, _ := os.ReadFile(f)
		got = append(got, digest(string(b)))
	}
	if len(got) != 4 || strings.Count(strings.Join(got, " "), digest(two["a.pdf"])) != 2 {
		t.Errorf("%d files: %v", len(got), files)
	}
}
