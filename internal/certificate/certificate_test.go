package certificate_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/internal/certificate"
	"postern/internal/fault"
	"postern/internal/secret"
)

// kept is a [certificate.Keep] in memory.
type kept struct {
	mu      sync.Mutex
	texts   map[string]secret.Text
	values  map[string][]byte
	turn    string // whose it is; "" nobody's
	refuses error
}

func newKept() *kept {
	return &kept{texts: map[string]secret.Text{}, values: map[string][]byte{}}
}

func (k *kept) KeptSecret(_ context.Context, name string) (secret.Text, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.texts[name], k.refuses
}

func (k *kept) KeepSecret(_ context.Context, name string, clear secret.Text) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.texts[name] = clear
	return k.refuses
}

func (k *kept) Setting(_ context.Context, key string) ([]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if v, ok := k.values[key]; ok {
		return v, k.refuses
	}
	return nil, fault.New(fault.NotFound, "setting", "none")
}

func (k *kept) PutSetting(_ context.Context, key string, value []byte) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.values[key] = value
	return k.refuses
}

func (k *kept) TakeTurn(_ context.Context, _, holder string, now, until time.Time) (bool, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.turn != "" && k.turn != holder {
		return false, nil
	}
	if k.turn = holder; !until.After(now) {
		k.turn = ""
	}
	return true, nil
}

// grudging is an authority that gives nothing: it answers orders with a refusal, and
// remembers who asked.
type grudging struct {
	*httptest.Server

	mu       sync.Mutex
	status   int
	problem  string
	wait     string // Retry-After
	orders   int
	accounts map[string]bool // by their keys
}

func newGrudging(t *testing.T) *grudging {
	g := &grudging{status: http.StatusInternalServerError, problem: "serverInternal", accounts: map[string]bool{}}
	mux := http.NewServeMux()
	mux.HandleFunc("/dir", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]string{"newNonce": g.URL + "/nonce", "newAccount": g.URL + "/account", "newOrder": g.URL + "/order"})
	})
	mux.HandleFunc("/nonce", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Replay-Nonce", "n") })
	mux.HandleFunc("/account", func(w http.ResponseWriter, r *http.Request) {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.accounts[keyOf(t, r)] = true
		w.Header().Set("Location", g.URL+"/account/1")
		w.Header().Set("Replay-Nonce", "n")
		w.WriteHeader(http.StatusCreated)
		_, _ = fmt.Fprint(w, `{"status": "valid"}`)
	})
	mux.HandleFunc("/order", func(w http.ResponseWriter, _ *http.Request) {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.orders++
		w.Header().Set("Replay-Nonce", "n")
		w.Header().Set("Content-Type", "application/problem+json")
		if g.wait != "" {
			w.Header().Set("Retry-After", g.wait)
		}
		w.WriteHeader(g.status)
		_, _ = fmt.Fprintf(w, `{"type": "urn:ietf:params:acme:error:%s", "detail": "not you", "status": %d}`, g.problem, g.status)
	})
	g.Server = httptest.NewServer(mux)
	t.Cleanup(g.Close)
	return g
}

func (g *grudging) asked() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.orders
}

// keyOf is the key that signed a request.
func keyOf(t *testing.T, r *http.Request) string {
	var jws struct{ Protected string }
	if err := json.NewDecoder(r.Body).Decode(&jws); err != nil {
		t.Error(err)
	}
	header, err := base64.RawURLEncoding.DecodeString(jws.Protected)
	var protected struct{ JWK json.RawMessage }
	if err = errors.Join(err, json.Unmarshal(header, &protected)); err != nil || len(protected.JWK) == 0 {
		t.Errorf("a request without a key: %s, %v", header, err)
	}
	return string(protected.JWK)
}

// node is an issuer of one of the nodes, at a time that the test says.
type node struct {
	*certificate.Issuer
	now time.Time
}

func newNode(g *grudging, k *kept, name string) *node {
	n := &node{now: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)}
	n.Issuer = certificate.New(certificate.Config{
		Directory: g.URL + "/dir", Hosts: []string{"gate.contoso.com"}, ByHTTP: true, Keep: k, Holder: name, Client: g.Client(),
		Fallback: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &tls.Certificate{}, nil },
		Now:      func() time.Time { return n.now },
	})
	return n
}

// TestRefusedOrdersAreRare: an authority that refuses is asked again later and later, or
// when it says; under the same account, also by another node and after a restart.
func TestRefusedOrdersAreRare(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status  int
		problem string
		wait    string
		kind    fault.Kind
		waits   []time.Duration
	}{
		"it is down":     {500, "serverInternal", "", fault.Temporary, []time.Duration{time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute, 16 * time.Minute, 32 * time.Minute, time.Hour, time.Hour}},
		"too many":       {429, "rateLimited", "7200", fault.Throttled, []time.Duration{2 * time.Hour, 2 * time.Hour}},
		"refused":        {403, "rejectedIdentifier", "", fault.NeedsAdmin, []time.Duration{time.Minute, 2 * time.Minute}},
		"not understood": {400, "malformed", "", fault.NeedsAdmin, []time.Duration{time.Minute, 2 * time.Minute}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, k := newGrudging(t), newKept()
			g.status, g.problem, g.wait = c.status, c.problem, c.wait
			n := newNode(g, k, "one")
			for i, wait := range c.waits {
				err := n.RunOnce(t.Context())
				if fault.KindOf(err) != c.kind || fault.HintOf(err) == "" || g.asked() != i+1 {
					t.Fatalf("try %d: %v (%v), next %q; %d orders", i+1, err, fault.KindOf(err), fault.HintOf(err), g.asked())
				}
				n.now = n.now.Add(wait - time.Second)
				if err := n.RunOnce(t.Context()); err != nil || g.asked() != i+1 {
					t.Fatalf("%s after try %d: %v, %d orders", wait-time.Second, i+1, err, g.asked())
				}
				n.now = n.now.Add(time.Second)
			}
			if n.Told() == nil {
				t.Error("there is no certificate, and nobody is told")
			}
			for _, other := range []string{"two", "one, started again"} {
				if err := newNode(g, k, other).RunOnce(t.Context()); err == nil {
					t.Errorf("%s got one", other)
				}
			}
			if len(g.accounts) != 1 {
				t.Errorf("%d accounts were used", len(g.accounts))
			}
		})
	}
}

// TestRenewalThatFailsIsQuietForAWhile has a certificate that must be renewed, and cannot.
func TestRenewalThatFailsIsQuietForAWhile(t *testing.T) {
	t.Parallel()
	g, k := newGrudging(t), newKept()
	n := newNode(g, k, "one")
	k.texts["acme/certificate"] = newPair(t, n.now.Add(-60*24*time.Hour), n.now.Add(31*24*time.Hour), "gate.contoso.com")
	shown := func() bool {
		t.Helper()
		c, err := n.Certificate(&tls.ClientHelloInfo{ServerName: "gate.contoso.com"})
		return err == nil && len(c.Certificate) > 0
	}
	if err := n.RunOnce(t.Context()); err != nil || g.asked() != 0 || !shown() {
		t.Fatalf("a day too early: %v, %d orders, shown %v", err, g.asked(), shown())
	}
	n.now = n.now.Add(24 * time.Hour)
	for try := 1; try <= 3; try++ {
		if err := n.RunOnce(t.Context()); err == nil || g.asked() != try || !shown() {
			t.Fatalf("try %d: %v, %d orders, shown %v", try, err, g.asked(), shown())
		}
		if told := n.Told() != nil; told != (try == 3) {
			t.Errorf("after try %d somebody is told: %v", try, told)
		}
		n.now = n.now.Add(time.Hour)
	}
	// Another node was luckier: nothing is wrong any more.
	k.texts["acme/certificate"] = newPair(t, n.now.Add(-time.Hour), n.now.Add(90*24*time.Hour), "gate.contoso.com")
	if err := n.RunOnce(t.Context()); err != nil || n.Told() != nil || n.Trouble() != nil || g.asked() != 3 {
		t.Errorf("%v, told %v, %d orders", err, n.Told(), g.asked())
	}
}

// TestOneNodeAsks: while it is another's turn nobody else does, and what is kept but
// cannot be read is not shown, and no reason to stop.
func TestOneNodeAsks(t *testing.T) {
	t.Parallel()
	g, k := newGrudging(t), newKept()
	n := newNode(g, k, "one")
	k.turn = "two"
	if err := n.RunOnce(t.Context()); err != nil || g.asked() != 0 {
		t.Errorf("%v, %d orders", err, g.asked())
	}
	k.turn, k.texts["acme/certificate"] = "", secret.New("garbage")
	if err := n.RunOnce(t.Context()); err == nil || g.asked() != 1 || k.turn != "" {
		t.Errorf("%v, %d orders, the turn is %q's", err, g.asked(), k.turn)
	}
	if c, err := n.Certificate(&tls.ClientHelloInfo{}); err != nil || len(c.Certificate) != 0 {
		t.Errorf("%v is shown, %v", c, err)
	}
	k.refuses = errors.New("the database is away")
	n.now = n.now.Add(time.Hour)
	if err := n.RunOnce(t.Context()); !errors.Is(err, k.refuses) || g.asked() != 1 {
		t.Errorf("%v, %d orders", err, g.asked())
	}
}

// TestQuestionsOfTheAuthority answers what was asked for, and nothing else.
func TestQuestionsOfTheAuthority(t *testing.T) {
	t.Parallel()
	k := newKept()
	n := newNode(newGrudging(t), k, "one")
	k.values["acme.challenges"] = []byte(`[{"host":"gate.contoso.com","token":"tok","answer":"tok.thumb"}]`)
	get := func(path string) (int, string) {
		w := httptest.NewRecorder()
		n.Challenges().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		return w.Code, w.Body.String()
	}
	for path, want := range map[string]int{"/.well-known/acme-challenge/tok": 200, "/.well-known/acme-challenge/other": 404, "/.well-known/acme-challenge/": 404, "/": 404, "/accounts": 404} {
		if code, body := get(path); code != want || (body == "tok.thumb") != (want == 200) {
			t.Errorf("%s: %d %q", path, code, body)
		}
	}
	if err := askedByTLS(t, n, "Gate.Contoso.com"); err != nil {
		t.Error(err)
	}
	if err := askedByTLS(t, n, "other.contoso.com"); err == nil {
		t.Error("a question that nobody asked was answered")
	}
	k.refuses = errors.New("the database is away")
	if code, body := get("/.well-known/acme-challenge/tok"); code != 503 || strings.Contains(body, "database") {
		t.Errorf("%d %q", code, body)
	}
}

// askedByTLS asks as tls-alpn-01 does (RFC 8737).
func askedByTLS(t *testing.T, n *node, host string) error {
	t.Helper()
	here, there := net.Pipe()
	defer here.Close()
	go func() {
		defer there.Close()
		_ = tls.Server(there, &tls.Config{GetCertificate: n.Certificate, NextProtos: []string{"acme-tls/1"}}).Handshake() // its client tells
	}()
	c := tls.Client(here, &tls.Config{ServerName: host, NextProtos: []string{"acme-tls/1"}, InsecureSkipVerify: true})
	return c.HandshakeContext(t.Context())
}

// newPair is a certificate and its key, as they are kept.
func newPair(t *testing.T, from, until time.Time, host string) secret.Text {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: from, NotAfter: until, DNSNames: []string{host}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return secret.New(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})) +
		string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: private})))
}
