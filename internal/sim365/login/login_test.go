package login_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/internal/sim365/login"
	"postern/internal/sim365/visitor"
	"postern/internal/sim365/world"
)

const (
	password = "Passw0rd! with blanks"
	outlook  = "https://outlook.office.com/"
	verifier = "0123456789-0123456789-0123456789-0123456789"
	fullMail = "openid profile email offline_access " + outlook + "SMTP.Send " + outlook + "IMAP.AccessAsUser.All"
)

// stand is a login server, a world with one tenant and one app, and the app's
// callback, which records what it is sent.
type stand struct {
	*testing.T
	world    *world.World
	server   *httptest.Server
	callback *httptest.Server
	tenant   world.Tenant
	user     world.User
	admin    world.User
	app      world.App

	mu   sync.Mutex
	now  time.Time
	back []url.Values
}

func newStand(t *testing.T) *stand {
	t.Helper()
	s := &stand{T: t, world: world.New(), now: time.Date(2026, 10, 1, 8, 0, 0, 0, time.UTC)}
	s.world.Now = func() time.Time { s.mu.Lock(); defer s.mu.Unlock(); return s.now }
	s.callback = httptest.NewServer(http.HandlerFunc(s.calledBack))
	t.Cleanup(s.callback.Close)
	var handler http.Handler
	s.server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler.ServeHTTP(w, r) }))
	t.Cleanup(s.server.Close)
	handler = login.New(s.world, login.Config{Authority: s.server.URL})

	s.tenant = s.world.AddTenant(world.Tenant{Domains: []string{"contoso.com"}})
	s.world.AddTenant(world.Tenant{Domains: []string{"fabrikam.com"}})
	s.user = s.world.AddUser(world.User{UPN: "scan@contoso.com", Password: password, DisplayName: "Scanner"})
	s.admin = s.world.AddUser(world.User{UPN: "admin@contoso.com", Password: password, Admin: true})
	s.world.AddUser(world.User{UPN: "eve@fabrikam.com", Password: password})
	s.app = s.world.AddApp(world.App{
		Name: "Postern", HomeTenant: s.tenant.ID, Secret: "xyz8Q~a/b+c=d&e", RedirectURIs: []string{s.callback.URL + "/back"},
		Permissions: []string{"SMTP.Send", "IMAP.AccessAsUser.All", "SMTP.SendAsApp", "IMAP.AccessAsApp"},
	})
	return s
}

func (s *stand) calledBack(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	s.mu.Lock()
	s.back = append(s.back, r.Form)
	s.mu.Unlock()
	_, _ = io.WriteString(w, "<title>back at the app</title>")
}

func (s *stand) pass(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = s.now.Add(d)
}

// lastBack is what the app was last sent, nil if it never was.
func (s *stand) lastBack() url.Values {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.back) == 0 {
		return nil
	}
	return s.back[len(s.back)-1]
}

func (s *stand) visitor() *visitor.Visitor {
	return visitor.New(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.server.Certificate().Raw})))
}

// authorizeURL is a good request, with the given parameters over it; "-" takes one away.
func (s *stand) authorizeURL(tenant string, over url.Values) string {
	q := url.Values{
		"client_id": {s.app.ClientID}, "response_type": {"code"}, "redirect_uri": {s.app.RedirectURIs[0]}, "scope": {fullMail},
		"state": {"st&te"}, "nonce": {"n0nce"}, "code_challenge": {challenge(verifier)}, "code_challenge_method": {"S256"},
	}
	return s.server.URL + "/" + tenant + "/oauth2/v2.0/authorize?" + merge(q, over).Encode()
}

func merge(q, over url.Values) url.Values {
	for k, v := range over {
		if v[0] == "-" {
			q.Del(k)
		} else {
			q[k] = v
		}
	}
	return q
}

func challenge(v string) string {
	sum := sha256.Sum256([]byte(v))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// code signs the user in through the pages and returns the authorization code.
func (s *stand) code(over url.Values) string {
	s.Helper()
	p, err := s.visitor().SignIn(s.Context(), s.authorizeURL("contoso.com", over), s.user.UPN, password)
	if err != nil {
		s.Fatalf("sign in: %v (%s)", err, p.Text)
	}
	code := s.lastBack().Get("code")
	if code == "" {
		s.Fatalf("no code; the app got %v, the page says %q", s.lastBack(), p.Text)
	}
	return code
}

type answer struct {
	Status       int
	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token"`
	IDToken      string `json:"id_token"`
	Scope        string `json:"scope"`
	ExpiresIn    int    `json:"expires_in"`
	TokenType    string `json:"token_type"`
	Error        string `json:"error"`
	Description  string `json:"error_description"`
	Codes        []int  `json:"error_codes"`
	Suberror     string `json:"suberror"`
	TraceID      string `json:"trace_id"`
	Correlation  string `json:"correlation_id"`
	Timestamp    string `json:"timestamp"`
	ErrorURI     string `json:"error_uri"`
	UserCode     string `json:"user_code"`
	DeviceCode   string `json:"device_code"`
	Verification string `json:"verification_uri"`
	Interval     int    `json:"interval"`
}

func (a answer) number() int {
	if len(a.Codes) == 0 {
		return 0
	}
	return a.Codes[0]
}

// post calls a token endpoint; a broken answer is returned as err.
func (s *stand) post(path string, form url.Values) (answer, error) {
	s.Helper()
	resp, err := s.server.Client().PostForm(s.server.URL+path, form)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	a := answer{Status: resp.StatusCode}
	return a, json.NewDecoder(resp.Body).Decode(&a)
}

func (s *stand) token(tenant string, form, over url.Values) answer {
	s.Helper()
	a, err := s.post("/"+tenant+"/oauth2/v2.0/token", merge(form, over))
	if err != nil {
		s.Fatalf("token: %v", err)
	}
	return a
}

// redeemForm is a good redemption of a code.
func (s *stand) redeemForm(code string) url.Values {
	return url.Values{
		"grant_type": {"authorization_code"}, "client_id": {s.app.ClientID}, "client_secret": {s.app.Secret}, "code": {code},
		"redirect_uri": {s.app.RedirectURIs[0]}, "code_verifier": {verifier}, "scope": {outlook + "SMTP.Send " + outlook + "IMAP.AccessAsUser.All openid profile offline_access"},
	}
}

func (s *stand) refreshForm(token string) url.Values {
	return url.Values{"grant_type": {"refresh_token"}, "client_id": {s.app.ClientID}, "client_secret": {s.app.Secret}, "refresh_token": {token}}
}

// signedIn returns a whole set of tokens.
func (s *stand) signedIn() answer {
	s.Helper()
	a := s.token("contoso.com", s.redeemForm(s.code(nil)), nil)
	if a.RefreshToken == "" {
		s.Fatalf("no refresh token: %+v", a)
	}
	return a
}

// wantRefusal checks the whole shape of an error answer.
func (s *stand) wantRefusal(a answer, number int, oauth string) {
	s.Helper()
	if a.number() != number || a.Error != oauth {
		s.Errorf("got %d %s (%s), want %d %s", a.number(), a.Error, a.Description, number, oauth)
		return
	}
	for _, part := range []string{"AADSTS" + itoa(number) + ": ", " Trace ID: " + a.TraceID, " Correlation ID: " + a.Correlation, " Timestamp: " + a.Timestamp} {
		if !strings.Contains(a.Description, part) {
			s.Errorf("description %q lacks %q", a.Description, part)
		}
	}
	if strings.Contains(a.Description, "%!") || strings.Contains(a.Description, "%s") || a.Status < 400 || !strings.HasSuffix(a.ErrorURI, "code="+itoa(number)) {
		s.Errorf("badly formed refusal: %+v", a)
	}
}
