package check_test

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/internal/check"
	"postern/internal/outbound"
	"postern/internal/secret"
)

// proxy is an HTTP proxy with a password. It leads to the town, or to nowhere.
type proxy struct {
	w     *town
	deny  string // this host:port
	mu    sync.Mutex
	asked []string
}

const proxyPassword = "proxy-Pa55word"

func (p *proxy) serve(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go p.tunnel(conn)
		}
	}()
	return l.Addr().String()
}

func (p *proxy) tunnel(conn net.Conn) {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	br := bufio.NewReader(conn)
	req, err := http.ReadRequest(br)
	if err != nil {
		return
	}
	p.mu.Lock()
	p.asked = append(p.asked, req.Method+" "+req.Host)
	p.mu.Unlock()
	want := "Basic " + base64.StdEncoding.EncodeToString([]byte("postern:"+proxyPassword))
	to, ok := p.w.at[req.Host]
	switch {
	case req.Header.Get("Proxy-Authorization") != want:
		_, _ = io.WriteString(conn, "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
		return
	case req.Host == p.deny || !ok:
		_, _ = io.WriteString(conn, "HTTP/1.1 403 Forbidden\r\n\r\n")
		return
	}
	next, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer next.Close()
	_, _ = io.WriteString(conn, "HTTP/1.1 200 Connection established\r\n\r\n")
	go func() { _, _ = io.Copy(next, br); _ = next.Close() }()
	_, _ = io.Copy(conn, next)
}

// TestThroughAProxy goes through it to web hosts, past it to mail hosts, and says which
// of them it was that refused.
func TestThroughAProxy(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		password string
		deny     string
		down     bool
		status   check.Status
		summary  string
		next     string
	}{
		{"lets through", proxyPassword, "", false, check.OK, "lets this machine through. TLS 1.3 with a certificate for login.microsoftonline.com by " + ownIssuer, ""},
		{"refuses the host", proxyPassword, "login.microsoftonline.com:443", false, check.Fail, "does not let this machine through to login.microsoftonline.com:443", "ask whoever keeps the proxy"},
		{"refuses the password", "wrong-Pa55word", "", false, check.Fail, "does not let this machine through", "does not take its name or password"},
		{"is down", proxyPassword, "", true, check.Fail, "tcp: ", "Check that the proxy"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := build(t, microsoft())
			p := &proxy{w: w, deny: c.deny}
			s := w.stroll(t)
			if w.at["proxy.example:3128"] = p.serve(t); c.down {
				w.at["proxy.example:3128"] = "127.0.0.1:0"
			}
			s.deps.Web = outbound.Network{Proxy: secret.New("http://postern:" + c.password + "@proxy.example:3128")}
			delete(w.at, "graph.windows.net:443") // the proxy refuses what it cannot find
			r := s.run(t)
			h := host(t, r, "login.microsoftonline.com", 443)
			if h.Status != c.status || !strings.Contains(h.Summary, c.summary) || !strings.Contains(h.Next, c.next) {
				t.Errorf("%swant %s … %s …\nnext … %s …", h.Text(), c.status, c.summary, c.next)
			}
			if smtp := host(t, r, "smtp.office365.com", 587); smtp.Status != check.OK {
				t.Errorf("mail goes past the proxy:\n%s", smtp.Text())
			}
			if c.status == check.OK && (!r.OK || r.Clock.Status != check.OK || host(t, r, "graph.windows.net", 443).Status != check.Fail) {
				t.Error(r.Text())
			}
			for _, asked := range p.asked {
				if !strings.HasPrefix(asked, "CONNECT ") || !strings.HasSuffix(asked, ":443") {
					t.Errorf("the proxy was asked for %q", asked)
				}
			}
			all, err := json.Marshal(r)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(all), c.password) {
				t.Errorf("the proxy's password is in the report:\n%s", all)
			}
		})
	}
}
