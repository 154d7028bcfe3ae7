package handover_test

import (
	"context"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/internal/handover"
)

// gateway is versitygw, an S3 server that is not ours, over a directory, with a proxy
// before it that makes trouble.
type gateway struct {
	root  string
	proxy *httptest.Server

	// S3 puts an object as a whole. This server writes its metadata first, refuses others
	// the name from then on, and says until the end that there is no such object: nobody
	// may come between.
	whole sync.RWMutex

	mu      sync.Mutex
	mode    mode
	puts    int
	waiting chan struct{}
}

// built is where the server is, built once for all tests.
var built = sync.OnceValues(func() (string, error) { //nolint:gochecknoglobals // one build a process
	ctx, cancel := context.WithTimeout(context.Background(), 9*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, "../../scripts/versitygw").Output()
	return strings.TrimSpace(string(out)), err
})

func newGateway(t *testing.T) *gateway {
	t.Helper()
	binary, err := built()
	if err != nil {
		if os.Getenv("POSTERN_TEST_REQUIRE") != "" {
			t.Fatal("scripts/versitygw: ", err)
		}
		t.Skip("scripts/versitygw: ", err)
	}
	g := &gateway{root: t.TempDir(), waiting: make(chan struct{}, 8)}
	if err := os.Mkdir(filepath.Join(g.root, "mail"), 0o755); err != nil {
		t.Fatal(err)
	}
	short, err := os.MkdirTemp("", "s3") // a socket's name may be 100 octets long
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(short) })
	at := filepath.Join(short, "socket")
	cmd := exec.Command(binary, "--port", at, "--quiet", "posix", "--sidecar", t.TempDir(), g.root)
	cmd.Env = []string{"ROOT_ACCESS_KEY=postern", "ROOT_SECRET_KEY=" + rightKey}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for deadline := time.Now().Add(20 * time.Second); ; {
		if c, err := net.Dial("unix", at); err == nil {
			_ = c.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("versitygw does not listen")
		}
		<-time.After(10 * time.Millisecond)
	}
	g.front(t, at)
	return g
}

// front starts the proxy; the host stays what was signed.
func (g *gateway) front(t *testing.T, at string) {
	way := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", at)
	}}
	t.Cleanup(way.CloseIdleConnections)
	proxy := &httputil.ReverseProxy{Transport: way, Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(&url.URL{Scheme: "http", Host: "server"})
		r.Out.Host = r.In.Host
	}}
	behind := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet || r.Method == http.MethodHead {
			g.whole.RLock()
			defer g.whole.RUnlock()
		} else {
			g.whole.Lock()
			defer g.whole.Unlock()
		}
		proxy.ServeHTTP(w, r)
	})
	g.proxy = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.mu.Lock()
		now := g.mode
		if r.Method == http.MethodPut {
			g.puts++
		}
		if (now == cut || now == busy) && r.Method == http.MethodPut {
			g.mode = fine
		}
		g.mu.Unlock()
		switch {
		case r.Method != http.MethodPut || now == fine:
			behind.ServeHTTP(w, r)
		case now == full:
			w.WriteHeader(http.StatusInsufficientStorage)
		case now == slow:
			_, _ = io.Copy(io.Discard, r.Body) // only then does a server see its client leave
			g.waiting <- struct{}{}
			<-r.Context().Done()
		case now == busy:
			w.WriteHeader(http.StatusConflict)
		case now == cut:
			behind.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		}
	}))
	t.Cleanup(g.proxy.Close)
}

func (g *gateway) spec() handover.Object {
	return handover.Object{URL: "s3://mail/in", Endpoint: g.proxy.URL, Region: "us-east-1", KeyID: "postern"}
}

func (g *gateway) target(t *testing.T, key string, timeout int) handover.Target {
	spec := g.spec()
	spec.TimeoutSeconds = timeout
	return open(t, handover.Spec{Object: &spec}, key)
}

func (g *gateway) trouble(m mode) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.mode = m
}

func (g *gateway) reached() <-chan struct{} { return g.waiting }

// arrived looks behind the server: objects are files there.
func (g *gateway) arrived() map[string]string {
	got := make(map[string]string)
	root := filepath.Join(g.root, "mail")
	_ = filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		name, _ := filepath.Rel(root, path)
		got[filepath.ToSlash(name)] = digest(string(b))
		return err
	})
	return got
}
