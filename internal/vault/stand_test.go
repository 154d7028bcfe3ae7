package vault_test

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"postern/internal/catalogue"
	"postern/internal/entra"
	"postern/internal/fault"
	"postern/internal/mail"
	"postern/internal/outbound"
	"postern/internal/secret"
	"postern/internal/sim365/login"
	"postern/internal/sim365/visitor"
	"postern/internal/sim365/world"
	"postern/internal/vault"
)

const (
	password = "Correct-Horse-7"
	cookie   = "the-cookie-of-this-browser"
)

// stand is a vault over the simulated Entra, on one clock.
type stand struct {
	*testing.T
	world   *world.World
	login   *httptest.Server
	back    *httptest.Server // what stands at the redirect URI
	store   *memory
	db      vault.Store // the store, unless a test brings a real one
	key     string      // the master key's file
	sealer  *vault.Sealer
	vault   *vault.Vault
	app     world.App
	cloud   entra.Cloud
	asked   atomic.Int64 // token requests that no browser began
	refresh http.HandlerFunc
	words   *catalogue.Catalogue

	mu       sync.Mutex
	now      time.Time
	callback url.Values
	log      bytes.Buffer
	grants   []string // grant types of those token requests
	alerts   []vault.Alert
}

func (s *stand) clock() time.Time { s.mu.Lock(); defer s.mu.Unlock(); return s.now }

func (s *stand) pass(d time.Duration) { s.mu.Lock(); defer s.mu.Unlock(); s.now = s.now.Add(d) }

func (s *stand) Write(p []byte) (int, error) { s.mu.Lock(); defer s.mu.Unlock(); return s.log.Write(p) }

func newStand(t *testing.T) *stand {
	t.Helper()
	m := newMemory()
	s := newStandOn(t, m)
	s.store = m
	return s
}

// newStandOn is newStand over another store.
func newStandOn(t *testing.T, db vault.Store) *stand {
	t.Helper()
	s := &stand{T: t, world: world.New(), db: db, key: filepath.Join(t.TempDir(), "master.key"), now: time.Date(2026, 10, 1, 8, 0, 0, 0, time.UTC)}
	s.world.Now = s.clock
	var entraServer http.Handler
	s.login = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.serve(entraServer, w, r) }))
	t.Cleanup(s.login.Close)
	entraServer = login.New(s.world, login.Config{Authority: s.login.URL})
	s.back = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.callback = r.URL.Query()
	}))
	t.Cleanup(s.back.Close)

	tenant := s.world.AddTenant(world.Tenant{Domains: []string{"contoso.com"}})
	for _, upn := range []string{"scan@contoso.com", "eve@contoso.com"} {
		s.world.AddUser(world.User{UPN: upn, Password: password})
	}
	s.app = s.world.AddApp(world.App{
		Name: "Postern", HomeTenant: tenant.ID, Secret: "xyz8Q~a/b+c=d&e", RedirectURIs: []string{s.back.URL + "/register_microsoft_graph_api/"},
		Permissions: []string{"SMTP.Send", "IMAP.AccessAsUser.All", "Mail.Send", "SMTP.SendAsApp"},
	})
	key, _, err := vault.LoadOrCreateKey(s.key)
	s.must(err)
	s.sealer, err = vault.OpenSealer(t.Context(), s.db, key)
	s.must(err)
	s.cloud, err = entra.CloudByName("global")
	s.must(err)
	s.cloud.Name, s.cloud.Authority = entra.Custom, s.login.URL
	s.cloud.CA = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.login.Certificate().Raw}))
	s.vault = s.node("node-a")
	clear := secret.New(s.app.Secret)
	s.must(s.vault.PutApp(t.Context(), vault.App{Name: "m365", Tenant: "contoso.com", ClientID: s.app.ClientID, Cloud: s.cloud}, vault.Proof{Secret: &clear}))
	s.must(s.vault.PutAccount(t.Context(), s.scan(), nil))
	return s
}

// serve counts token requests and lets a test answer them itself.
func (s *stand) serve(next http.Handler, w http.ResponseWriter, r *http.Request) {
	if strings.HasSuffix(r.URL.Path, "/token") {
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		form, _ := url.ParseQuery(string(body))
		if g := form.Get("grant_type"); g == "refresh_token" || g == "client_credentials" || g == "password" {
			s.asked.Add(1)
			s.mu.Lock()
			s.grants = append(s.grants, g)
			h := s.refresh
			s.mu.Unlock()
			if h != nil {
				h(w, r)
				return
			}
		}
	}
	next.ServeHTTP(w, r)
}

// answer replaces the token endpoint for refreshes; nil puts it back.
func (s *stand) answer(h http.HandlerFunc) { s.mu.Lock(); defer s.mu.Unlock(); s.refresh = h }

func (s *stand) node(holder string) *vault.Vault {
	return vault.Open(vault.Config{
		Store: s.db, Sealer: s.sealer, Entra: entra.New(s.clock, outbound.Network{}), PublicURL: s.back.URL, Holder: holder,
		Now: s.clock, Log: slog.New(slog.NewTextHandler(s, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Catalogue: s.words, Alert: func(_ context.Context, a vault.Alert) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.alerts = append(s.alerts, a)
		},
	})
}

// explained gives the vaults opened from now on the catalogue, as Postern does.
func (s *stand) explained() *stand {
	s.Helper()
	var err error
	s.words, err = catalogue.Load()
	s.must(err)
	s.vault = s.node("node-a")
	return s
}

// refuse lets the token endpoint answer 400 with an OAuth error and a number of
// Entra's; 0 for none.
func (s *stand) refuse(value string, number int) {
	s.answer(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		body := map[string]any{"error": value}
		if number > 0 {
			body["error_codes"], body["error_description"] = []int{number}, fmt.Sprintf("AADSTS%d: the peer's own words", number)
		}
		_ = json.NewEncoder(w).Encode(body)
	})
}

// wantAlerts compares the kinds of the alerts raised so far.
func (s *stand) wantAlerts(kinds ...string) {
	s.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	var got []string
	for _, a := range s.alerts {
		got = append(got, a.Kind)
	}
	if !slices.Equal(got, kinds) {
		s.Fatalf("alerts %q, want %q", got, kinds)
	}
}

// credential asks for what signs scan in.
func (s *stand) credential(p vault.Purpose, w vault.Want) (vault.Credential, error) {
	return s.vault.Credential(s.Context(), "scan", p, w)
}

// put declares scan anew; a password of "" is none.
func (s *stand) put(m vault.Method, clear string, purposes ...vault.Purpose) error {
	a := s.scan()
	a.Method, a.Purposes = m, purposes
	if clear == "" {
		return s.vault.PutAccount(s.Context(), a, nil)
	}
	password := secret.New(clear)
	return s.vault.PutAccount(s.Context(), a, &password)
}

func (s *stand) scan() vault.Account {
	return vault.Account{
		Name: "scan", App: "m365", Mailbox: mail.Address{Local: "scan", Domain: "contoso.com"},
		Method: vault.Delegated, Purposes: []vault.Purpose{vault.Send, vault.IMAP},
	}
}

func (s *stand) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *stand) wantKind(err error, kind fault.Kind) {
	s.Helper()
	if fault.KindOf(err) != kind || err == nil {
		s.Fatalf("got %v (%v), want %v", err, fault.KindOf(err), kind)
	}
}

// visit signs somebody in through the pages and returns what the callback got.
func (s *stand) visit(account, upn string) url.Values {
	s.Helper()
	address, err := s.vault.BeginSignIn(s.Context(), account, cookie)
	s.must(err)
	u, err := url.Parse(address)
	s.must(err)
	q := u.Query()
	q.Del("login_hint") // the page would fill in the mailbox, and somebody else may be to sign in
	u.RawQuery = q.Encode()
	p, err := visitor.New(s.cloud.CA).SignIn(s.Context(), u.String(), upn, password)
	if err != nil {
		s.Fatalf("sign in: %v (%s)", err, p.Text)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.callback == nil {
		s.Fatalf("never called back; the page says %q", p.Text)
	}
	return s.callback
}

func (s *stand) signIn() vault.Result {
	s.Helper()
	r, err := s.vault.FinishSignIn(s.Context(), s.visit("scan", "scan@contoso.com"), cookie)
	s.must(err)
	return r
}

func (s *stand) token(p vault.Purpose, fresh bool) string {
	s.Helper()
	t, err := s.vault.Token(s.Context(), "scan", p, fresh)
	s.must(err)
	return t.Reveal()
}

func (s *stand) wantState(want vault.State) vault.Account {
	s.Helper()
	a, err := s.vault.Account(s.Context(), "scan")
	s.must(err)
	if a.State != want {
		s.Fatalf("state is %s (%s), want %s", a.State, a.Reason, want)
	}
	return a
}

func (s *stand) wantAsked(n int64) {
	s.Helper()
	if got := s.asked.Load(); got != n {
		s.Fatalf("%d token requests, want %d", got, n)
	}
}

// wantNoSecret looks for everything secret this world ever made.
func (s *stand) wantNoSecret(where, text string) {
	s.Helper()
	for _, known := range append(s.world.Secrets(), s.app.Secret) {
		if len(known) >= 8 && secret.Scrub(text, secret.New(known)) != text {
			s.Errorf("%s shows a secret beginning with %.4q", where, known)
		}
	}
}
