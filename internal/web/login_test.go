package web_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"postern/internal/people"
	"postern/internal/secret"
	"postern/internal/web"
)

// logIn sends name and password from the site's own browser.
func (s *site) logIn(name, password string, more ...string) answer {
	s.t.Helper()
	return s.do(s.page("POST", "/login", append([]string{"name", name, "password", password}, more...)...))
}

func (a answer) leadsTo(t *testing.T, path string) {
	t.Helper()
	if a.StatusCode != http.StatusSeeOther || a.Header.Get("Location") != path {
		t.Errorf("%s %s: %d to %q, want 303 to %q", a.Request.Method, a.Request.URL, a.StatusCode, a.Header.Get("Location"), path)
	}
}

func TestLogin(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.do(s.page("GET", "/accounts?q=scan")).leadsTo(t, "/login?back=%2Faccounts%3Fq%3Dscan")
	form := s.do(s.page("GET", "/login?back=%2Faccounts%3Fq%3Dscan"))
	form.says(t, "Log in", "Name or mail address", "!Sign in with")
	if !strings.Contains(form.body, `name="back" value="/accounts?q=scan"`) {
		t.Error("the form does not know where to go on to")
	}
	wrong := s.logIn("Jane", "no-such-password", "back", "/accounts?q=scan")
	wrong.says(t, "Name or password is wrong")
	if wrong.StatusCode != http.StatusForbidden || !strings.Contains(wrong.body, `value="Jane"`) || strings.Contains(wrong.body, "no-such-password") || !strings.Contains(wrong.body, `value="/accounts?q=scan"`) {
		t.Errorf("%d: %s", wrong.StatusCode, wrong.body)
	}
	if empty := s.logIn("", ""); empty.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(empty.body, `aria-describedby="f-name-wrong"`) {
		t.Errorf("nothing typed: %d %s", empty.StatusCode, empty.body)
	}
	in := s.logIn(" ADMIN ", password, "back", "/accounts?q=scan")
	in.leadsTo(t, "/accounts?q=scan")
	c := in.cookie("postern_session")
	if c == nil || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Secure || len(c.Value) < 43 {
		t.Fatalf("cookie %+v", c)
	}
	s.do(s.page("GET", "/accounts")).says(t, "scan@contoso.com", "Log out", "admin")
	s.do(s.page("GET", "/login?back=/users")).leadsTo(t, "/users")
	s.do(s.page("POST", "/logout")).leadsTo(t, "/login")
	s.do(s.page("GET", "/login")).says(t, "You are logged out.")
	req := s.page("GET", "/accounts") // whoever kept the cookie has nothing
	req.AddCookie(c)
	s.do(req).leadsTo(t, "/login?back=%2Faccounts")
}

// Whatever a browser brings, it leaves with a session of its own, and the one before
// is over.
func TestSessionIsNewAtLogin(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	forged := "an-attackers-own-session-an-attackers-own-ses"
	req := s.page("POST", "/login", "name", "admin", "password", password)
	req.AddCookie(&http.Cookie{Name: "postern_session", Value: forged})
	first := s.do(req).cookie("postern_session").Value
	if first == forged {
		t.Fatal("the browser's own key was taken")
	}
	second := s.logIn("admin", password).cookie("postern_session").Value
	for key, want := range map[string]int{forged: 401, first: 401, second: 200} {
		req := s.request("GET", "/accounts", nil)
		req.AddCookie(&http.Cookie{Name: "postern_session", Value: key})
		h := record(s.handler(s.url), req)
		if h.Code != want {
			t.Errorf("session %.9s: %d, want %d", key, h.Code, want)
		}
	}
}

func TestCookiesOverHTTPS(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	h := s.handler("https://gate.example")
	ask := func(r *http.Request) *httptest.ResponseRecorder { return record(h, r) }
	form := strings.NewReader("name=admin&password=" + password)
	r := httptest.NewRequestWithContext(t.Context(), "POST", "https://gate.example/login", form)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := ask(r)
	var found bool
	for _, c := range w.Result().Cookies() {
		if c.Name == "__Host-postern_session" && c.Secure && c.Path == "/" && c.Domain == "" {
			found = true
		}
	}
	if !found {
		t.Errorf("%d, cookies %v", w.Code, w.Result().Cookies())
	}
	r = httptest.NewRequestWithContext(t.Context(), "GET", "http://192.0.2.7:9090/login", nil)
	if body := ask(r).Body.String(); !strings.Contains(body, "Log in at <a href=\"https://gate.example/\">") {
		t.Errorf("nothing says where a login works:\n%s", body)
	}
}

func TestSessionsEnd(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	open := func() int { return s.admin(s.request("GET", "/me", nil)).StatusCode }
	for range 5 { // used, it lives on
		if s.people.later(11 * time.Hour); open() != http.StatusOK {
			t.Fatal("a session in use is over")
		}
	}
	if s.people.later(12 * time.Hour); open() != http.StatusSeeOther {
		t.Error("an unused session lives on")
	}
	clear(s.people.keys)
	for range 16 {
		s.people.later(11 * time.Hour)
		open()
	}
	if s.people.later(11 * time.Hour); open() != http.StatusSeeOther {
		t.Error("a session lives for ever when it is used")
	}
	s.people.administrator() // ends them all
	clear(s.people.keys)
	s.as("admin", s.request("GET", "/", nil))
	mine := s.people.keys["admin"]
	clear(s.people.keys)
	a := s.admin(s.page("GET", "/me")) // from another browser
	ids := regexp.MustCompile(`name="session" value="([0-9a-f]{64})"`).FindStringSubmatch(a.body)
	if ids == nil {
		t.Fatalf("no session to end:\n%s", a.text)
	}
	a.says(t, "this one", "192.0.2.1", "a test")
	s.admin(s.page("POST", "/me/sessions/end", "session", ids[1])).leadsTo(t, "/me")
	if _, _, err := s.people.Who(t.Context(), mine); err == nil {
		t.Error("a session that was ended lets in")
	}
	s.admin(s.page("POST", "/me/sessions/end", "session", ids[1])).leadsTo(t, "/me")
	u := s.people.user("jane", people.Viewer)
	theirs, _ := s.people.Sessions(t.Context(), u.ID)
	s.admin(s.page("POST", "/me/sessions/end", "session", theirs[0].ID))
	if left, _ := s.people.Sessions(t.Context(), u.ID); len(left) != len(theirs) {
		t.Error("another's session was ended from one's own page")
	}
}

// Every page asks for its role, and shows nobody more.
func TestRoles(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	h := s.handler(s.url)
	for _, r := range people.Roles() {
		s.people.user("one-"+string(r), r)
	}
	s.people.user("gone", people.Admin)
	s.as("gone", s.request("GET", "/", nil)) // logs in, and is shut out
	if err := s.people.Disable(t.Context(), "cli:test", "gone", true); err != nil {
		t.Fatal(err)
	}
	fill := regexp.MustCompile(`\{[^}]*\}`)
	seen := map[people.Role]int{}
	for _, p := range h.Places() {
		if !p.Least.Known() {
			t.Errorf("%s asks for the role %q", p.Pattern, p.Least)
		}
		seen[p.Least]++
		method, path, _ := strings.Cut(p.Pattern, " ")
		path = fill.ReplaceAllStringFunc(path, func(w string) string {
			if w == "{$}" {
				return ""
			}
			return "nobody-there"
		})
		ask := func(user string) int {
			req := s.page(method, path)
			if user != "" {
				s.as(user, req)
			}
			return record(h, req).Code
		}
		for _, r := range people.Roles() {
			if refused := ask("one-"+string(r)) == http.StatusForbidden; refused == r.May(p.Least) {
				t.Errorf("%s as %s: refused %t, needs %s", p.Pattern, r, refused, p.Least)
			}
		}
		for _, user := range []string{"", "gone"} {
			if got := ask(user); got != http.StatusSeeOther {
				t.Errorf("%s as %q: %d", p.Pattern, user, got)
			}
		}
		if method != http.MethodGet && p.Least == people.Viewer && !strings.HasPrefix(path, "/me/") && !strings.Contains(path, "preview") {
			t.Errorf("%s lets a viewer act", p.Pattern)
		}
	}
	if len(seen) < 3 {
		t.Errorf("the roles are not all in use: %v", seen)
	}
	s.do(s.as("one-viewer", s.page("GET", "/accounts"))).says(t, "scan@contoso.com", "!Get refresh token", "!Users", "!Audit log")
	s.do(s.as("one-viewer", s.page("GET", "/users"))).says(t, "This is not for you to do", "You are here as one-viewer", "needs the role admin")
}

func TestOwnPath(t *testing.T) {
	t.Parallel()
	for back, want := range map[string]string{
		"/accounts?q=a%20b#x": "/accounts?q=a%20b#x", "/": "/", "": "/", "accounts": "/", "//evil.example": "/", "/\\evil.example": "/",
		"https://evil.example/": "/", "javascript:alert(1)": "/", "\\\\evil.example": "/", "/\t/evil.example": "/", "/\n/evil.example": "/",
		"///evil.example": "/", "/login": "/", "/login/code": "/", "/logout": "/", "/setup": "/", "/loginx": "/loginx", "%2F%2Fevil.example": "/",
		"http:/evil.example": "/", "/%zz": "/", "/a//evil.example": "/a//evil.example",
	} {
		if got := web.OwnPath(back); got != want {
			t.Errorf("%q leads to %q, want %q", back, got, want)
		}
	}
	s := newSite(t)
	s.logIn("admin", password, "back", "//evil.example/").leadsTo(t, "/")
	s.do(s.page("GET", "/login?back=https%3A%2F%2Fevil.example")).leadsTo(t, "/")
}

// FuzzOwnPath lets nothing lead away.
func FuzzOwnPath(f *testing.F) {
	for _, seed := range []string{"/a?b#c", "//e", "/\\e", "https://e", "/\x00/e", "/login/../x", "\u2028//e"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, back string) {
		got := web.OwnPath(back)
		if !strings.HasPrefix(got, "/") || strings.HasPrefix(got, "//") || strings.ContainsAny(got, "\\\t\r\n\x00") {
			t.Errorf("%q leads to %q", back, got)
		}
	})
}

func TestWrongPasswordsAreSlowedDown(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.people.user("jane", people.Viewer)
	for i := range 10 {
		if a := s.logIn("admin", fmt.Sprint("wrong-", i)); a.StatusCode != http.StatusForbidden {
			t.Fatalf("guess %d: %d", i, a.StatusCode)
		}
	}
	a := s.logIn("admin", password)
	a.says(t, "too many wrong tries", "Wait 10 minutes")
	if a.StatusCode != http.StatusTooManyRequests || a.Header.Get("Retry-After") != "600" || a.cookie("postern_session") != nil {
		t.Errorf("the eleventh, which is right: %d after %s", a.StatusCode, a.Header.Get("Retry-After"))
	}
	for i := range 10 {
		s.logIn(fmt.Sprint("nobody-", i), "wrong")
	}
	if a := s.logIn("jane", password); a.StatusCode != http.StatusTooManyRequests {
		t.Errorf("another user from an address that guesses: %d", a.StatusCode)
	}
	s.people.later(10*time.Minute + time.Second)
	s.logIn("admin", password).leadsTo(t, "/")
	for i := range 25 { // others cannot lock out where somebody was in before
		_, err := s.people.Login(t.Context(), "admin", secret.New("wrong"), people.From{Address: fmt.Sprintf("198.51.100.%d", i)})
		if err == nil {
			t.Fatal("a wrong password let in")
		}
	}
	s.logIn("admin", password).leadsTo(t, "/")
}

func TestOneTimeCodes(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.logIn("admin", password).leadsTo(t, "/")
	page := s.do(s.page("GET", "/me/codes"))
	page.says(t, "Scan this", "type the secret")
	key := regexp.MustCompile(`name="secret" value="([A-Z2-7]+)"`).FindStringSubmatch(page.body)
	if key == nil || !strings.Contains(page.body, `src="data:image/png;base64,`) {
		t.Fatalf("no secret to scan:\n%s", page.body)
	}
	code := func() string {
		c, err := totp.GenerateCode(key[1], s.people.now())
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	wrong := s.do(s.page("POST", "/me/codes", "secret", key[1], "code", "000000"))
	if wrong.says(t, "This is not the code of this moment"); wrong.StatusCode != http.StatusForbidden || !strings.Contains(wrong.body, key[1]) {
		t.Errorf("a wrong first code: %d", wrong.StatusCode)
	}
	first := code()
	on := s.do(s.page("POST", "/me/codes", "secret", key[1], "code", first[:3]+" "+first[3:]))
	recovery := regexp.MustCompile(`<li><code>([0-9a-z-]{19})</code>`).FindAllStringSubmatch(on.body, -1)
	if len(recovery) != 10 {
		t.Fatalf("%d recovery codes:\n%s", len(recovery), on.text)
	}
	s.do(s.page("POST", "/logout"))

	half := s.logIn("admin", password, "back", "/accounts")
	half.leadsTo(t, "/login/code?back=%2Faccounts")
	if half.cookie("postern_session") != nil {
		t.Error("the password alone let in")
	}
	req := s.request("GET", "/accounts", nil) // the half session is none
	req.AddCookie(&http.Cookie{Name: "postern_session", Value: half.cookie("postern_half").Value})
	if a := s.do(req); a.StatusCode != http.StatusUnauthorized {
		t.Errorf("with half a session: %d", a.StatusCode)
	}
	give := func(code string) answer {
		return s.do(s.page("POST", "/login/code", "code", code, "back", "/accounts"))
	}
	if a := give(first); a.StatusCode != http.StatusForbidden { // the one that turned them on
		t.Errorf("a code used twice: %d", a.StatusCode)
	}
	s.people.later(31 * time.Second)
	second := code()
	give(second).leadsTo(t, "/accounts")

	s.do(s.page("POST", "/logout"))
	s.logIn("admin", password)
	if a := give(second); a.StatusCode != http.StatusForbidden {
		t.Errorf("a code replayed: %d", a.StatusCode)
	}
	give(strings.ToUpper(recovery[0][1])).leadsTo(t, "/accounts")
	s.do(s.page("GET", "/me")).says(t, "on, 9 recovery codes are left")
	s.do(s.page("POST", "/logout"))
	s.logIn("admin", password)
	if a := give(recovery[0][1]); a.StatusCode != http.StatusForbidden {
		t.Errorf("a recovery code used twice: %d", a.StatusCode)
	}
	for range 4 {
		give("123456")
	}
	a := give(recovery[1][1])
	if a.says(t, "too many wrong codes"); a.StatusCode != http.StatusNotFound {
		t.Errorf("the sixth try: %d", a.StatusCode)
	}
	s.people.later(11 * time.Minute)
	s.logIn("admin", password)
	s.people.later(11 * time.Minute)
	if a := give(code()); a.StatusCode != http.StatusNotFound {
		t.Errorf("a code that came too late: %d", a.StatusCode)
	}
	s.logIn("admin", password)
	give(code()).leadsTo(t, "/accounts")
	if a := s.do(s.page("POST", "/me/codes/change", "old", "wrong-password", "do", "off")); a.StatusCode != http.StatusForbidden {
		t.Errorf("turned off without the password: %d", a.StatusCode)
	}
	s.do(s.page("POST", "/me/codes/change", "old", password, "do", "renew")).says(t, "Recovery codes")
	s.do(s.page("POST", "/me/codes/change", "old", password, "do", "off")).leadsTo(t, "/me")
	s.do(s.page("POST", "/logout"))
	s.logIn("admin", password).leadsTo(t, "/")
}

// newEmptySite is one that nobody has set up.
func newEmptySite(t *testing.T) *site {
	t.Helper()
	return newSiteOf(t, newCrowd(t, slog.New(slog.DiscardHandler)))
}

func TestFirstRun(t *testing.T) {
	t.Parallel()
	s := newEmptySite(t)
	for _, path := range []string{"/", "/accounts", "/login", "/me", "/users", "/audit"} {
		s.do(s.page("GET", path)).leadsTo(t, "/setup")
	}
	if a := s.get("/healthz"); a.StatusCode != http.StatusOK {
		t.Errorf("health: %d", a.StatusCode)
	}
	code, err := s.people.SetupCode(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := s.people.SetupCode(t.Context(), false); again.Reveal() != code.Reveal() {
		t.Error("asked again, the code is another one")
	}
	give := func(fields ...string) answer { return s.do(s.page("POST", "/setup", fields...)) }
	long := "correct horse battery staple"
	for name, c := range map[string]struct {
		fields []string
		field  string
	}{
		"no code":    {[]string{"name", "jane", "password", long, "again", long}, "code"},
		"wrong code": {[]string{"code", "wrong", "name", "jane", "password", long, "again", long}, "code"},
		"short":      {[]string{"code", code.Reveal(), "name", "jane", "password", "short", "again", "short"}, "password"},
		"its name":   {[]string{"code", code.Reveal(), "name", "jane.longname", "password", "jane.longname", "again", "jane.longname"}, "password"},
		"two others": {[]string{"code", code.Reveal(), "name", "jane", "password", long, "again", long + "!"}, "again"},
		"bad name":   {[]string{"code", code.Reveal(), "name", "jane doe", "password", long, "again", long}, "name"},
		"bad mail":   {[]string{"code", code.Reveal(), "name", "jane", "mail", "jane", "password", long, "again", long}, "mail"},
	} {
		a := give(c.fields...)
		if a.StatusCode == http.StatusSeeOther || !strings.Contains(a.body, `id="f-`+c.field+`-wrong"`) || strings.Contains(a.body, long) {
			t.Errorf("%s: %d\n%s", name, a.StatusCode, a.text)
		}
		if !strings.Contains(a.body, `value="jane`) {
			t.Errorf("%s: what was typed is lost", name)
		}
	}
	in := give("code", " "+strings.ToUpper(code.Reveal())+" ", "name", "Jane", "mail", "Jane@Contoso.com", "password", long, "again", long)
	in.leadsTo(t, "/")
	s.do(s.page("GET", "/users")).says(t, "jane", "jane@contoso.com", "admin", "you")
	s.do(s.page("GET", "/setup")).leadsTo(t, "/login")
	other := newBrowser(t)
	s.client = other
	give("code", code.Reveal(), "name", "eve", "password", long, "again", long).leadsTo(t, "/login")
	s.do(s.page("GET", "/login")).says(t, "set up already")
	if _, err := s.people.SetupCode(t.Context(), false); err == nil {
		t.Error("there is still a code")
	}
	s.logIn("JANE@contoso.com", long).leadsTo(t, "/")
}

func TestOfTwoSetUpsOneSucceeds(t *testing.T) {
	t.Parallel()
	s := newEmptySite(t)
	code, err := s.people.SetupCode(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	h := s.handler(s.url)
	var all sync.WaitGroup
	var mu sync.Mutex
	in := 0
	for i := range 8 {
		all.Go(func() {
			w := record(h, s.page("POST", "/setup", "code", code.Reveal(), "name", fmt.Sprint("user", i), "password", "correct horse battery", "again", "correct horse battery"))
			mu.Lock()
			defer mu.Unlock()
			if w.Code == http.StatusSeeOther && w.Header().Get("Location") == "/" {
				in++
			}
		})
	}
	all.Wait()
	if users, _ := s.people.Users(t.Context()); in != 1 || len(users) != 1 {
		t.Errorf("%d came in, there are %d users", in, len(users))
	}
}

func TestSetUpCodeIsNotGuessed(t *testing.T) {
	t.Parallel()
	s := newEmptySite(t)
	code, _ := s.people.SetupCode(t.Context(), false)
	for range 20 {
		s.do(s.page("POST", "/setup", "code", "guess", "name", "eve", "password", "correct horse battery", "again", "correct horse battery"))
	}
	a := s.do(s.page("POST", "/setup", "code", code.Reveal(), "name", "eve", "password", "correct horse battery", "again", "correct horse battery"))
	if a.StatusCode != http.StatusTooManyRequests || a.Header.Get("Retry-After") == "" {
		t.Errorf("after twenty guesses: %d", a.StatusCode)
	}
}
