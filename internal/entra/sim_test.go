package entra_test

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/internal/entra"
	"postern/internal/fault"
	"postern/internal/outbound"
	"postern/internal/secret"
	"postern/internal/sim365/login"
	"postern/internal/sim365/visitor"
	"postern/internal/sim365/world"
)

const password = "Passw0rd! of 1 scanner"

// sim is the simulated Entra with one tenant, one app and one person, and a client.
type sim struct {
	*testing.T
	world  *world.World
	app    world.App
	client *entra.Client
	reg    entra.Registration

	mu       sync.Mutex
	ahead    time.Duration // of the real time: everybody's clock
	requests []url.Values  // posted forms
	back     url.Values    // what the browser came back with
	home     string        // where it comes back to
}

func newSim(t *testing.T) *sim {
	t.Helper()
	s := &sim{T: t, world: world.New()}
	s.world.Now = s.now
	var entraServer http.Handler
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", s.now().UTC().Format(http.TimeFormat))
		entraServer.ServeHTTP(&recorded{w, s, r}, r)
	}))
	t.Cleanup(srv.Close)
	entraServer = login.New(s.world, login.Config{Authority: srv.URL})
	home := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.back = r.URL.Query()
	}))
	t.Cleanup(home.Close)
	s.home = home.URL + "/register_microsoft_graph_api/"

	tenant := s.world.AddTenant(world.Tenant{Domains: []string{"contoso.com"}})
	s.world.AddUser(world.User{UPN: "scan@contoso.com", Password: password})
	s.world.AddUser(world.User{UPN: "admin@contoso.com", Password: password, Admin: true})
	s.app = s.world.AddApp(world.App{
		Name: "Postern", HomeTenant: tenant.ID, PublicClient: true, RedirectURIs: []string{s.home},
		Permissions: []string{"SMTP.Send", "IMAP.AccessAsUser.All", "SMTP.SendAsApp"},
	})
	cloud, err := entra.CloudByName("global")
	if err != nil {
		t.Fatal(err)
	}
	cloud.Name, cloud.Authority = entra.Custom, srv.URL
	cloud.CA = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}))
	s.reg = entra.Registration{Cloud: cloud, Tenant: "contoso.com", ClientID: s.app.ClientID}
	s.client = entra.New(s.now, outbound.Network{})
	return s
}

// recorded notes the form of a POST once the simulator has parsed it.
type recorded struct {
	http.ResponseWriter
	s *sim
	r *http.Request
}

func (w *recorded) WriteHeader(status int) {
	if w.r.Method == http.MethodPost {
		w.s.mu.Lock()
		w.s.requests = append(w.s.requests, w.r.PostForm)
		w.s.mu.Unlock()
	}
	w.ResponseWriter.WriteHeader(status)
}

func (s *sim) now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Now().Add(s.ahead)
}

func (s *sim) pass(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ahead += d
}

// posted is the last form that was posted.
func (s *sim) posted() url.Values {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.requests) == 0 {
		return nil
	}
	return s.requests[len(s.requests)-1]
}

func (s *sim) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatalf("%v (hint %q)", err, fault.HintOf(err))
	}
}

// wantNoSecret looks for everything secret this world made, and for what was typed.
func (s *sim) wantNoSecret(err error, more ...string) {
	s.Helper()
	shown := err.Error() + fault.HintOf(err)
	for _, known := range append(s.world.Secrets(), append(more, password)...) {
		if len(known) >= 8 && secret.Scrub(shown, secret.New(known)) != shown {
			s.Errorf("an error shows a secret that begins with %.4q", known)
		}
	}
}

func (s *sim) scopes() []string { return entra.Scopes(s.reg.Cloud, []string{"send"}) }

// wantGrant checks tokens of the person.
func (s *sim) wantGrant(t entra.Tokens) {
	s.Helper()
	known, err := s.world.CheckToken(t.Access.Reveal())
	if err != nil || known.UPN != "scan@contoso.com" || t.Refresh.Empty() || t.Identity.Username != "scan@contoso.com" || t.Identity.ObjectID != known.UserID {
		s.Errorf("token %+v, %v; identity %+v", known, err, t.Identity)
	}
}

func TestDeviceGrant(t *testing.T) {
	t.Parallel()
	s := newSim(t)
	d, err := s.client.BeginDevice(t.Context(), s.reg, s.scopes())
	s.must(err)
	if !strings.Contains(d.Message, d.UserCode) || d.Interval != 5*time.Second || d.Expires.Sub(s.now()).Round(time.Minute) != 15*time.Minute {
		t.Errorf("device code %+v", d)
	}
	if f := s.posted(); f.Get("scope") != "https://outlook.office.com/SMTP.Send openid profile email offline_access" || f.Get("client_id") != s.app.ClientID {
		t.Errorf("asked with %v", f)
	}
	for _, want := range []error{entra.ErrPending, entra.ErrSlowDown} { // the second comes at once
		if _, err := s.client.PollDevice(t.Context(), s.reg, d); err != want { //nolint:errorlint // nothing is wrapped around it
			t.Errorf("%v, want %v", err, want)
		}
	}
	s.decide(d, "Continue")
	s.pass(6 * time.Second)
	got, err := s.client.PollDevice(t.Context(), s.reg, d)
	s.must(err)
	s.wantGrant(got)
	_, err = s.client.PollDevice(t.Context(), s.reg, d)
	if fault.KindOf(err) != fault.NeedsSignIn {
		t.Errorf("a code used twice: %v", err)
	}
	s.wantNoSecret(err, d.Code.Reveal())
}

func TestDeviceGrantRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil func(*sim, *entra.DeviceCode)
		want  fault.Kind
	}{
		"declined": {func(s *sim, d *entra.DeviceCode) { s.decide(*d, "Cancel") }, fault.Denied},
		"too late": {func(s *sim, _ *entra.DeviceCode) { s.pass(16 * time.Minute) }, fault.NotFound},
		"unknown":  {func(_ *sim, d *entra.DeviceCode) { d.Code = secret.New("a code nobody gave") }, fault.NotFound},
		"an outage": {func(s *sim, _ *entra.DeviceCode) {
			s.world.Arm(world.Fault{Where: "token", Kind: world.FaultStatus, Code: "503", Times: 1})
		}, fault.Temporary},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSim(t)
			d, err := s.client.BeginDevice(t.Context(), s.reg, s.scopes())
			s.must(err)
			c.spoil(s, &d)
			_, err = s.client.PollDevice(t.Context(), s.reg, d)
			if fault.KindOf(err) != c.want || err == nil || c.want != fault.Temporary && fault.HintOf(err) == "" {
				t.Errorf("%v is %v, want %v; hint %q", err, fault.KindOf(err), c.want, fault.HintOf(err))
			}
			s.wantNoSecret(err, d.Code.Reveal())
		})
	}
}

// decide answers the device's sign-in, page by page, and Continue or Cancel at its end.
func (s *sim) decide(d entra.DeviceCode, button string) {
	s.Helper()
	v := visitor.New(s.reg.Cloud.CA)
	p, err := v.Get(s.Context(), d.Page+"?otc="+d.UserCode)
	for range 8 {
		s.must(err)
		if len(p.Forms) == 0 {
			return
		}
		press := ""
		if strings.HasPrefix(p.Title, "Are you trying") {
			press = button
		}
		p, err = v.Submit(s.Context(), p, p.Forms[0], map[string]string{"loginfmt": "scan@contoso.com", "passwd": password}, press)
	}
	s.Fatalf("never came to an end; the page says %q", p.Text)
}

func TestPasswordGrant(t *testing.T) {
	t.Parallel()
	s := newSim(t)
	s.world.UpdateApp(s.app.ClientID, func(a *world.App) { a.AdminConsent[a.HomeTenant] = true })
	got, err := s.client.Password(t.Context(), s.reg, "scan@contoso.com", secret.New(password), s.scopes())
	s.must(err)
	s.wantGrant(got)
	if f := s.posted(); f.Get("grant_type") != "password" || f.Has("client_secret") || f.Get("password") != password {
		t.Error("not asked as it should be")
	}
	_, err = s.client.Password(t.Context(), s.reg, "scan@contoso.com", secret.New("a wrong password"), s.scopes())
	if r := fault.ReplyOf(err); fault.KindOf(err) != fault.NeedsSignIn || r == nil || r.Enhanced != "50126" {
		t.Errorf("a wrong password: %v", err)
	}
	s.wantNoSecret(err, "a wrong password")
}

func TestPasswordsThatNeverLeave(t *testing.T) {
	t.Parallel()
	s := newSim(t)
	for name, c := range map[string]struct{ tenant, user, password string }{
		"common":         {"common", "scan@contoso.com", password},
		"consumers":      {"Consumers", "scan@contoso.com", password},
		"blank before":   {"contoso.com", "scan@contoso.com", " " + password},
		"blank after":    {"contoso.com", "scan@contoso.com", password + "\u00a0"},
		"newline after":  {"contoso.com", "scan@contoso.com", password + "\n"},
		"no user":        {"contoso.com", "", password},
		"no password":    {"contoso.com", "scan@contoso.com", ""},
		"no such tenant": {"evil.example/..", "scan@contoso.com", password},
	} {
		r := s.reg
		r.Tenant = c.tenant
		_, err := s.client.Password(t.Context(), r, c.user, secret.New(c.password), s.scopes())
		if fault.KindOf(err) != fault.Invalid {
			t.Errorf("%s: %v", name, err)
			continue
		}
		s.wantNoSecret(err)
	}
	if s.posted() != nil {
		t.Error("something was sent")
	}
}

func TestAdminConsent(t *testing.T) {
	t.Parallel()
	s := newSim(t)
	ask := entra.ConsentRequest{Redirect: s.home, State: "the state", Scopes: []string{s.reg.Cloud.AppOnly + "/.default"}}
	address, err := s.client.ConsentURL(t.Context(), s.reg, ask)
	s.must(err)
	visit := func(who string) url.Values {
		if _, err := visitor.New(s.reg.Cloud.CA).SignIn(t.Context(), address, who, password); err != nil {
			t.Fatal(err)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.back
	}
	q := visit("admin@contoso.com")
	if err := entra.Consented(q); err != nil || q.Get("state") != "the state" {
		t.Errorf("%v: %v", q, err)
	}
	if app, _ := s.world.App(s.app.ClientID); !app.AdminConsent[s.app.HomeTenant] {
		t.Error("nothing was consented to")
	}
	s.world.Arm(world.Fault{Where: "authorize", Kind: world.FaultReply, Code: "AADSTS65004", Times: 1})
	q = visit("admin@contoso.com")
	if err := entra.Consented(q); q.Get("admin_consent") != "True" || fault.KindOf(err) != fault.Denied {
		t.Errorf("a refusal that looks like consent, %v, is %v", q, err)
	}
	for _, tenant := range []string{"common", "consumers", "Common", "", "a@b"} {
		r := s.reg
		r.Tenant = tenant
		if got, err := s.client.ConsentURL(t.Context(), r, ask); fault.KindOf(err) != fault.Invalid {
			t.Errorf("tenant %q: %q, %v", tenant, got, err)
		}
	}
	r := s.reg
	r.Tenant = "organizations"
	if got, err := s.client.ConsentURL(t.Context(), r, ask); err != nil || !strings.HasPrefix(got, s.reg.Cloud.Authority+"/organizations/v2.0/adminconsent?") {
		t.Errorf("organizations: %q, %v", got, err)
	}
	r.Tenant = "nobody.example"
	if _, err := s.client.ConsentURL(t.Context(), r, ask); fault.KindOf(err) != fault.NeedsAdmin {
		t.Errorf("a tenant that is not there: %v", err)
	}
	ask.Scopes = nil
	if _, err := s.client.ConsentURL(t.Context(), s.reg, ask); fault.KindOf(err) != fault.Invalid {
		t.Errorf("no scopes: %v", err)
	}
}

// The certificate goes before the secret, and the simulator checks the assertion as
// Entra documents it.
func TestClientCertificate(t *testing.T) {
	t.Parallel()
	s := newSim(t)
	good, other := newCertificate(t), newCertificate(t)
	s.world.UpdateApp(s.app.ClientID, func(a *world.App) { a.Certificate, a.AdminConsent[a.HomeTenant] = good.Leaf.Raw, true })
	r := s.reg
	r.Secret, r.Certificate = secret.New("a secret that is wrong"), &good
	got, err := s.client.ClientCredentials(t.Context(), r, r.Cloud.AppOnly)
	s.must(err)
	if known, err := s.world.CheckToken(got.Access.Reveal()); err != nil || known.AppAuth != "2" {
		t.Errorf("token %+v, %v", known, err)
	}
	f := s.posted()
	if f.Has("client_secret") || f.Get("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" {
		t.Errorf("sent a secret (%t) or no assertion", f.Has("client_secret"))
	}

	first := f.Get("client_assertion")
	_, err = s.client.ClientCredentials(t.Context(), r, r.Cloud.AppOnly)
	s.must(err)
	if s.posted().Get("client_assertion") == first {
		t.Error("an assertion was used twice")
	}
	r.Certificate = &other
	_, err = s.client.ClientCredentials(t.Context(), r, r.Cloud.AppOnly)
	if rep := fault.ReplyOf(err); fault.KindOf(err) != fault.NeedsAdmin || rep == nil || rep.Enhanced != "700027" {
		t.Errorf("another certificate: %v", err)
	}
	s.wantNoSecret(err, s.posted().Get("client_assertion"))

	sent := len(s.requests)
	s.pass(2 * 365 * 24 * time.Hour)
	r.Certificate = &good
	_, err = s.client.ClientCredentials(t.Context(), r, r.Cloud.AppOnly)
	if fault.KindOf(err) != fault.NeedsAdmin || !strings.Contains(err.Error(), "it ended on") || !strings.Contains(fault.HintOf(err), "upload") || len(s.requests) != sent {
		t.Errorf("a certificate that has ended: %v, hint %q", err, fault.HintOf(err))
	}
}
