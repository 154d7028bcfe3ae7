package outbound_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"postern/internal/fault"
	"postern/internal/outbound"
	"postern/internal/secret"
)

const (
	user     = "gateway"
	password = "pr0xy-p@ss/word"
	escaped  = "pr0xy-p%40ss%2Fword"
)

// get asks for the site's page by a network's way.
func get(t *testing.T, n outbound.Network, ca string) (string, error) {
	t.Helper()
	transport, err := n.Transport(ca)
	if err != nil {
		return "", err
	}
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+target+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return "", n.Unreachable("ask", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}

func TestEveryKindOfProxy(t *testing.T) {
	t.Parallel()
	for _, scheme := range []string{"http", "https", "socks5"} {
		for name, login := range map[string]string{"open": "", "with a password": user + ":" + escaped + "@"} {
			t.Run(scheme+" "+name, func(t *testing.T) {
				t.Parallel()
				s := newSite(t)
				wants := ""
				if login != "" {
					wants = user
				}
				n := outbound.Network{Proxy: secret.New(scheme + "://" + login + s.proxy(scheme, wants, password)), CA: s.ca}
				got, err := get(t, n, "")
				if err != nil || got != "hello from "+target || s.hits.Load() != 1 {
					t.Errorf("got %q, %v (hint %q) by %d ways through the proxy", got, err, fault.HintOf(err), s.hits.Load())
				}
			})
		}
	}
}

// What a proxy refuses is a fault of the proxy, says which setting to look at, and
// never shows the password.
func TestAProxyThatRefuses(t *testing.T) {
	t.Parallel()
	for _, scheme := range []string{"http", "https", "socks5"} {
		for name, login := range map[string]string{"no password": "", "a wrong password": user + ":wrong-secret@"} {
			t.Run(scheme+" "+name, func(t *testing.T) {
				t.Parallel()
				s := newSite(t)
				at := s.proxy(scheme, user, password)
				_, err := get(t, outbound.Network{Proxy: secret.New(scheme + "://" + login + at), CA: s.ca}, "")
				wantBlamed(t, err, scheme+"://"+at, "setting proxy")
				if scheme != "socks5" && !strings.Contains(err.Error(), "407") {
					t.Errorf("the error does not say 407: %v", err)
				}
				if s.hits.Load() != 0 {
					t.Error("it went through")
				}
			})
		}
	}
	t.Run("one that may not reach the host", func(t *testing.T) {
		t.Parallel()
		s := newSite(t)
		at := s.proxy("http", "", "")
		n := outbound.Network{Proxy: secret.New("http://" + at), CA: s.ca}
		transport, err := n.Transport("")
		if err != nil {
			t.Fatal(err)
		}
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://elsewhere.test/", nil)
		_, err = (&http.Client{Transport: transport}).Do(req)
		wantBlamed(t, n.Unreachable("ask", err), "elsewhere.test:443", "http://"+at)
	})
}

// wantBlamed checks a fault of the proxy and that nobody learns a password from it.
func wantBlamed(t *testing.T, err error, in ...string) {
	t.Helper()
	if !errors.Is(err, fault.Temporary) {
		t.Fatalf("%v is %v, want it temporary", err, fault.KindOf(err))
	}
	for _, want := range in {
		if !strings.Contains(fault.HintOf(err), want) {
			t.Errorf("the hint does not say %q: %q", want, fault.HintOf(err))
		}
	}
	shown := fmt.Sprintf("%v %+v %#v %s", err, err, fault.As(err), fault.HintOf(err))
	for _, hidden := range []string{password, escaped, "wrong-secret"} {
		if strings.Contains(shown, hidden) {
			t.Errorf("%q is shown: %s", hidden, shown)
		}
	}
}

func TestAProxyThatIsDown(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := l.Addr().String()
	_ = l.Close()
	for _, scheme := range []string{"http", "https", "socks5"} {
		_, err := get(t, outbound.Network{Proxy: secret.New(scheme + "://" + user + ":" + escaped + "@" + at)}, "")
		wantBlamed(t, err, scheme+"://"+at, "setting proxy", "does it run")
	}
}

// A TLS proxy whose authority nobody knows is told from a site that nobody knows.
func TestUnknownAuthorities(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	at := s.proxy("https", "", "")
	_, err := get(t, outbound.Network{Proxy: secret.New("https://" + at)}, "")
	wantBlamed(t, err, "https://"+at, "ca_file")
	plain := outbound.Network{Proxy: secret.New("http://" + s.proxy("http", "", ""))}
	_, err = get(t, plain, "")
	wantBlamed(t, err, target, "on the way", "CA")
	for name, n := range map[string]outbound.Network{"the network's": {Proxy: plain.Proxy, CA: s.ca}, "the caller's": plain} {
		ca := ""
		if n.CA == "" {
			ca = s.ca
		}
		if _, err := get(t, n, ca); err != nil {
			t.Errorf("with %s bundle: %v", name, err)
		}
	}
	if _, err := plain.Transport("no certificate"); !errors.Is(err, fault.NeedsAdmin) {
		t.Errorf("a bundle of nothing: %v", err)
	}
}

func TestWhoIsReachedPastTheProxy(t *testing.T) {
	t.Parallel()
	n := outbound.Network{Proxy: secret.New("socks5://proxy.test:1080"), Direct: "graph.test, .contoso.com,10.0.0.0/8,192.0.2.7"}
	transport, err := n.Transport("")
	if err != nil {
		t.Fatal(err)
	}
	for host, direct := range map[string]bool{
		"login.test": false, "graph.test": true, "www.graph.test": true, "contoso.com": false, "login.contoso.com": true,
		"10.1.2.3": true, "11.1.2.3": false, "192.0.2.7": true, "localhost": true, "127.0.0.1:9090": true, "[::1]": true,
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+host+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		u, err := transport.Proxy(req)
		if err != nil || (u == nil) != direct {
			t.Errorf("%s goes by %v, %v; direct should be %v", host, u, err, direct)
		}
	}
}

// httpproxy would send what cannot be parsed past the proxy, in silence.
func TestAProxyThatCannotBeMeant(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"ftp://" + user + ":hunter2@p:1", "http://", "http://u:hunter2@[::1", "socks4://p:1", "://hunter2", "http://u:hunter2@p:port"} {
		_, err := outbound.Network{Proxy: secret.New(bad)}.Transport("")
		if !errors.Is(err, fault.NeedsAdmin) || fault.HintOf(err) == "" || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestTheProxyOfTheEnvironment(t *testing.T) {
	s := newSite(t)
	at := s.proxy("http", user, password)
	t.Setenv("https_proxy", "")
	t.Setenv("no_proxy", "")
	t.Setenv("NO_PROXY", "other.test")
	t.Setenv("HTTPS_PROXY", "http://"+user+":wrong-secret@"+at)
	_, err := get(t, outbound.Network{CA: s.ca}, "")
	wantBlamed(t, err, at, "HTTPS_PROXY")
	t.Setenv("HTTPS_PROXY", user+":"+escaped+"@"+at) // the scheme may be left out there
	if got, err := get(t, outbound.Network{CA: s.ca}, ""); err != nil || s.hits.Load() != 1 {
		t.Errorf("got %q, %v", got, err)
	}
	transport, err := outbound.Network{Direct: target}.Transport("")
	if err != nil {
		t.Fatal(err)
	}
	for host, direct := range map[string]bool{target: true, "other.test": true, "third.test": false} {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+host, nil)
		if u, err := transport.Proxy(req); err != nil || (u == nil) != direct {
			t.Errorf("%s goes by %v, %v", host, u, err)
		}
	}
}

func TestUnreachableWithoutAProxy(t *testing.T) {
	t.Parallel()
	n := outbound.Network{Proxy: secret.New("http://proxy.test:3128")}
	if h := fault.HintOf(n.Unreachable("ask", context.Canceled)); h != "" {
		t.Errorf("somebody gave up, and is told %q", h)
	}
	if err := n.Unreachable("ask", context.DeadlineExceeded); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(fault.HintOf(err), "HTTPS") {
		t.Errorf("%v, hint %q", err, fault.HintOf(err))
	}
}
