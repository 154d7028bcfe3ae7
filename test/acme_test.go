package test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/smtp"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"postern/internal/alert"
)

// authority is Pebble, with a DNS server that says that every name is here.
type authority struct {
	directory     string
	http, tlsALPN string // where it asks
	ca            testCA // of its own HTTPS
	cmd           *exec.Cmd
}

// newAuthority starts one that gives certificates for so many seconds.
func newAuthority(t *testing.T, seconds int) *authority {
	t.Helper()
	out, err := exec.Command("../scripts/pebble").Output()
	if err != nil {
		skipOrFail(t, "Pebble cannot be built: "+err.Error())
	}
	bin, dir := strings.TrimSpace(string(out)), t.TempDir()
	a := &authority{http: freeAddress(t), tlsALPN: freeAddress(t), ca: newTestCA(t)}
	listen, dns := freeAddress(t), freeAddress(t)
	a.directory = "https://" + listen + "/dir"
	writeFile(t, filepath.Join(dir, "cert.pem"), a.ca.cert)
	writeFile(t, filepath.Join(dir, "key.pem"), a.ca.key)
	writeFile(t, filepath.Join(dir, "pebble.json"), fmt.Appendf(nil, `{"pebble": {"listenAddress": %q, "managementListenAddress": %q,
		"certificate": "cert.pem", "privateKey": "key.pem", "httpPort": %s, "tlsPort": %s,
		"profiles": {"default": {"description": "short", "validityPeriod": %d}}}}`, listen, freeAddress(t), port(a.http), port(a.tlsALPN), seconds))
	background(t, dir, exec.Command(filepath.Join(bin, "pebble-challtestsrv"), "-defaultIPv4", "127.0.0.1", "-defaultIPv6", "", "-dnsserver", dns,
		"-http01", "", "-https01", "", "-tlsalpn01", "", "-doh", "", "-management", freeAddress(t)))
	a.cmd = exec.Command(filepath.Join(bin, "pebble"), "-config", "pebble.json", "-dnsserver", dns)
	a.cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1")
	background(t, dir, a.cmd)
	waitFor(t, "Pebble to listen", func() bool { return dials(listen) })
	return a
}

// gateFor is a gate that gets its certificates there.
func (a *authority) gateFor(t *testing.T, env ...string) *gate {
	t.Helper()
	g := newGate(t)
	ca := filepath.Join(g.dir, "authority.pem")
	writeFile(t, ca, a.ca.root)
	g.env = append(g.env, append(env, "POSTERN_ACME_HOSTS=gate.contoso.com,mail.contoso.com", "POSTERN_ACME_EMAIL=admin@contoso.com",
		"POSTERN_ACME_DIRECTORY="+a.directory, "POSTERN_CA_FILE="+ca)...)
	return g
}

// shown is the certificate that the SMTP door shows.
func (g *gate) shown() *x509.Certificate {
	g.t.Helper()
	c, err := smtp.Dial(g.smtp)
	if err != nil {
		g.t.Fatal(err)
	}
	defer c.Close()
	if err := c.StartTLS(&tls.Config{InsecureSkipVerify: true}); err != nil { // it is looked at, whoever signed it
		g.t.Fatal(err)
	}
	state, _ := c.TLSConnectionState()
	return state.PeerCertificates[0]
}

func byPebble(c *x509.Certificate) bool {
	return strings.Contains(c.Issuer.CommonName, "Pebble") && len(c.DNSNames) == 2
}

// TestACME gets a certificate, renews it, and loses its authority: mail goes on, and
// somebody hears of it.
func TestACME(t *testing.T) {
	t.Parallel()
	ops := newReceiver(t, 0)
	a := newAuthority(t, 15)
	https := freeAddress(t)
	g := a.gateFor(t, "POSTERN_ACME_LISTEN="+a.http, "POSTERN_HTTPS_LISTEN="+https)
	g.start()
	g.apply("alerts:\n  - {name: ops, webhook: \"" + ops.URL + "\", events: [certificate]}\n")
	waitFor(t, "a certificate", func() bool { return byPebble(g.shown()) })
	first := g.shown()
	c, err := tls.Dial("tcp", https, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2", "http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	if s := c.ConnectionState(); !byPebble(s.PeerCertificates[0]) || s.NegotiatedProtocol != "h2" {
		t.Errorf("the pages show %v over %q", s.PeerCertificates[0].Issuer, s.NegotiatedProtocol)
	}
	_ = c.Close()
	waitFor(t, "its renewal", func() bool { return g.shown().SerialNumber.Cmp(first.SerialNumber) != 0 })

	_ = syscall.Kill(-a.cmd.Process.Pid, syscall.SIGKILL)
	within(t, 2*time.Minute, "the alert", func() bool {
		for _, e := range g.alerts("--route", "ops") {
			if e.News.Event == alert.Certificate && strings.Contains(e.News.What, "by ACME") {
				return true
			}
		}
		return false
	})
	waitFor(t, "the webhook", func() bool { return len(ops.calls()) > 0 })
	last := g.shown()
	if !byPebble(last) {
		t.Errorf("the door shows %v", last.Issuer)
	}
	g.stop()
	g.start() // what is kept serves on, though it has ended and nobody renews it
	if again := g.shown(); again.SerialNumber.Cmp(last.SerialNumber) != 0 {
		t.Errorf("after a restart the door shows %v", again.Issuer)
	}
	g.stop()
}

// TestACMEByTLS has no port 80, and no certificate at all until the authority asked.
func TestACMEByTLS(t *testing.T) {
	t.Parallel()
	a := newAuthority(t, 3600)
	g := a.gateFor(t, "POSTERN_HTTPS_LISTEN="+a.tlsALPN)
	g.start()
	waitFor(t, "a certificate", func() bool { return byPebble(g.shown()) })
	g.stop()
}

// counted puts something between the gate and the authority that counts what is asked
// for, and is the authority's directory from then on.
func (a *authority) counted(t *testing.T) (count func(what string) int) {
	t.Helper()
	target, err := url.Parse(a.directory)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(a.ca.cert, a.ca.key)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	asked := map[string]int{}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { // the addresses that Pebble hands out lead back here
			r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = target.Scheme, target.Host, r.In.Host
		},
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: a.ca.pool}},
		ModifyResponse: func(resp *http.Response) error {
			mu.Lock()
			defer mu.Unlock()
			asked[fmt.Sprint(resp.StatusCode, " ", resp.Request.URL.Path)]++
			return nil
		},
	}
	between := httptest.NewUnstartedServer(proxy)
	between.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	between.StartTLS()
	t.Cleanup(between.Close)
	a.directory = between.URL + target.Path
	return func(what string) int {
		mu.Lock()
		defer mu.Unlock()
		return asked[what]
	}
}

// What Pebble answers where.
const (
	acmeNewAccount = "201 /sign-me-up"
	acmeOrder      = "201 /order-plz"
)

// TestACMEIsAskedNoMoreThanNeeded: what proves the hostnames does not reach the gate, so
// that somebody is told; then it does. A restart asks for nothing, other hostnames ask
// under the account that there is.
func TestACMEIsAskedNoMoreThanNeeded(t *testing.T) {
	t.Parallel()
	ops := newReceiver(t, 0)
	a := newAuthority(t, 3600)
	count := a.counted(t)
	at := freeAddress(t)
	g := a.gateFor(t, "POSTERN_ACME_LISTEN="+at)
	g.start()
	g.apply("alerts:\n  - {name: ops, webhook: \"" + ops.URL + "\", events: [certificate]}\n")
	var told alert.News
	within(t, time.Minute, "the alert", func() bool {
		for _, e := range g.alerts("--route", "ops") {
			told = e.News
		}
		return told.Event == alert.Certificate
	})
	if !strings.Contains(told.Why, "could not see that") || !strings.Contains(told.Next, "port 80") || !strings.Contains(told.Next, "acme_listen") {
		t.Errorf("it says %+v", told)
	}
	if c := g.shown(); byPebble(c) || count(acmeOrder) != 1 || count(acmeNewAccount) != 1 {
		t.Errorf("the door shows %v after %d orders of %d accounts", c.Issuer, count(acmeOrder), count(acmeNewAccount))
	}
	g.stop()

	leads(t, a.http, at) // as a firewall that was opened
	g.start()
	waitFor(t, "a certificate", func() bool { return byPebble(g.shown()) })
	first := g.shown()
	for _, end := range []func(){g.stop, g.kill} {
		end()
		g.start()
		if c := g.shown(); c.SerialNumber.Cmp(first.SerialNumber) != 0 {
			t.Errorf("after a restart the door shows %v", c.SerialNumber)
		}
	}
	g.stop()
	g.env = append(g.env, "POSTERN_ACME_HOSTS=gate.contoso.com,smtp.contoso.com")
	g.start()
	waitFor(t, "one for the other names", func() bool { return slices.Contains(g.shown().DNSNames, "smtp.contoso.com") })
	if count(acmeOrder) != 3 || count(acmeNewAccount) != 1 {
		t.Errorf("%d orders of %d accounts; want one that failed, one that did not, and one for other names, all of one account", count(acmeOrder), count(acmeNewAccount))
	}
	g.stop()
}

// leads makes one address lead to another.
func leads(t *testing.T, from, to string) {
	t.Helper()
	l, err := net.Listen("tcp", from)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer in.Close()
				out, err := net.Dial("tcp", to)
				if err != nil {
					return
				}
				defer out.Close()
				go func() { _, _ = io.Copy(out, in) }() // until in is closed
				_, _ = io.Copy(in, out)
			}()
		}
	}()
}

// TestACMEWithoutAuthority takes mail under its own certificate while there is no other.
func TestACMEWithoutAuthority(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	g.env = append(g.env, "POSTERN_ACME_HOSTS=gate.contoso.com", "POSTERN_ACME_LISTEN="+freeAddress(t), "POSTERN_ACME_DIRECTORY=https://"+freeAddress(t)+"/dir")
	g.start()
	if c := g.shown(); len(c.Issuer.Organization) == 0 || c.Issuer.Organization[0] != "Postern" {
		t.Errorf("the door shows %v", c.Issuer)
	}
	if _, err := net.Dial("tcp", g.smtp); err != nil {
		t.Error(err)
	}
	g.stop()
}
