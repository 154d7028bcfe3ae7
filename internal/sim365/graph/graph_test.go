package graph_test

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"postern/internal/sim365/exchange"
	"postern/internal/sim365/graph"
	"postern/internal/sim365/world"
)

type estate struct {
	w      *world.World
	server *httptest.Server
	tenant world.Tenant
	scan   world.User
	app    world.App
}

func newEstate(t *testing.T) *estate {
	t.Helper()
	e := &estate{w: world.New()}
	e.tenant = e.w.AddTenant(world.Tenant{Domains: []string{"contoso.com"}})
	e.scan = e.w.AddUser(world.User{UPN: "scan@contoso.com"})
	e.w.AddUser(world.User{UPN: "boss@contoso.com"})
	e.app = e.w.AddApp(world.App{HomeTenant: e.tenant.ID})
	mail, err := exchange.Start(e.w, exchange.Config{TLS: &tls.Config{MinVersion: tls.VersionTLS12}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(mail.Close)
	e.server = httptest.NewServer(graph.Handler(e.w, mail))
	t.Cleanup(e.server.Close)
	return e
}

func (e *estate) token(change ...func(*world.Token)) string {
	t := world.Token{TenantID: e.tenant.ID, ClientID: e.app.ClientID, Resource: world.GraphResource,
		Scopes: []string{"Mail.Send"}, UserID: e.scan.ObjectID, UPN: e.scan.UPN}
	for _, f := range change {
		f(&t)
	}
	return e.w.IssueAccess(t).Raw
}

func appOnly(t *world.Token) {
	t.UserID, t.UPN, t.Scopes, t.Roles = "", "", nil, []string{"Mail.Send"}
}

func (e *estate) request(t *testing.T, path, token string, body io.Reader) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, e.server.URL+path, body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "text/plain")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return r
}

// do returns the status and Graph's error code.
func (e *estate) do(t *testing.T, r *http.Request) (int, string) {
	t.Helper()
	resp, err := e.server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode == http.StatusTooManyRequests && resp.Header.Get("Retry-After") == "" {
		t.Error("429 without Retry-After")
	}
	if len(b) == 0 {
		return resp.StatusCode, ""
	}
	var answer struct {
		Error struct {
			Code, Message string
			InnerError    map[string]string
		}
	}
	if err := json.Unmarshal(b, &answer); err != nil {
		t.Fatalf("%d %q: %v", resp.StatusCode, b, err)
	}
	if answer.Error.Message == "" || answer.Error.InnerError["request-id"] != resp.Header.Get("request-id") {
		t.Errorf("error body %q lacks message or request id", b)
	}
	return resp.StatusCode, answer.Error.Code
}

const letter = "From: Scan <scan@contoso.com>\r\nTo: boss@contoso.com\r\nBcc: x@fabrikam.com,\r\n y@fabrikam.com\r\nSubject: hi\r\n\r\nBcc: not a header\r\n"

func encoded(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func TestSendMailKeepsAndDelivers(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		path  string
		token func(*world.Token)
	}{
		"delegated, me":   {"/v1.0/me/sendMail", func(*world.Token) {}},
		"delegated, name": {"/v1.0/users/scan@contoso.com/sendMail", func(*world.Token) {}},
		"application":     {"/v1.0/users/SCAN@contoso.com/sendMail", appOnly},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEstate(t)
			if status, code := e.do(t, e.request(t, c.path, e.token(c.token), strings.NewReader(encoded(letter)))); status != 202 || code != "" {
				t.Fatalf("%d %s", status, code)
			}
			sent := e.w.Messages("scan@contoso.com", "Sent Items")
			if len(sent) != 1 || string(sent[0].Raw) != letter || sent[0].Via != "graph" {
				t.Errorf("Sent Items: %+v", sent)
			}
			want := strings.Replace(letter, "Bcc: x@fabrikam.com,\r\n y@fabrikam.com\r\n", "", 1)
			for who, folder := range map[string]string{"boss@contoso.com": "INBOX", "x@fabrikam.com": "", "y@fabrikam.com": ""} {
				if got := e.w.Messages(who, folder); len(got) != 1 || string(got[0].Raw) != want {
					t.Errorf("%s got %+v", who, got)
				}
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	const me, other = "/v1.0/me/sendMail", "/v1.0/users/boss@contoso.com/sendMail"
	is := func(f ...func(*world.Token)) []func(*world.Token) { return f }
	for name, c := range map[string]struct {
		path, body string
		token      []func(*world.Token)
		status     int
		code       string
	}{
		"not base64":       {me, "From: plain", is(), 400, "ErrorMimeContentInvalidBase64String"},
		"not MIME":         {me, encoded("no header at all"), is(), 400, "ErrorMimeContentInvalidBase64String"},
		"empty":            {me, "", is(), 400, "ErrorMimeContentInvalidBase64String"},
		"nobody to get it": {me, encoded("From: scan@contoso.com\r\n\r\n"), is(), 400, "ErrorInvalidRecipients"},
		"too large":        {me, strings.Repeat("A", 4<<20+4), is(), 413, "ErrorMessageSizeExceeded"},
		"From of another":  {me, encoded("From: boss@contoso.com\r\nTo: a@b.c\r\n\r\n"), is(), 403, "ErrorSendAsDenied"},
		"another's box":    {other, encoded(letter), is(), 403, "ErrorAccessDenied"},
		"no permission":    {me, encoded(letter), is(func(t *world.Token) { t.Scopes = []string{"User.Read"} }), 403, "ErrorAccessDenied"},
		"no role":          {other, encoded(letter), is(appOnly, func(t *world.Token) { t.Roles = nil }), 403, "ErrorAccessDenied"},
		"Exchange token":   {me, encoded(letter), is(func(t *world.Token) { t.Resource = world.ExchangeResource }), 401, "InvalidAuthenticationToken"},
		"expired":          {me, encoded(letter), is(func(t *world.Token) { t.Expires = time.Now().Add(-time.Second) }), 401, "InvalidAuthenticationToken"},
		"me without user":  {me, encoded(letter), is(appOnly), 400, "BadRequest"},
		"no such user":     {"/v1.0/users/who@contoso.com/sendMail", encoded(letter), is(appOnly), 404, "ErrorInvalidUser"},
		"another tenant":   {other, encoded(letter), is(appOnly, func(t *world.Token) { t.TenantID = world.ConsumersTenant }), 404, "ErrorInvalidUser"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEstate(t)
			status, code := e.do(t, e.request(t, c.path, e.token(c.token...), strings.NewReader(c.body)))
			if status != c.status || code != c.code {
				t.Errorf("got %d %s, want %d %s", status, code, c.status, c.code)
			}
			if n := len(e.w.AllMessages()); n != 0 {
				t.Errorf("%d messages kept", n)
			}
		})
	}
}

func TestWithoutTokenOrMIME(t *testing.T) {
	t.Parallel()
	e := newEstate(t)
	if status, code := e.do(t, e.request(t, "/v1.0/me/sendMail", "", nil)); status != 401 || code != "InvalidAuthenticationToken" {
		t.Errorf("no token: %d %s", status, code)
	}
	r := e.request(t, "/v1.0/me/sendMail", e.token(), strings.NewReader("{}"))
	r.Header.Set("Content-Type", "application/json")
	if status, code := e.do(t, r); status != 400 || code != "ErrorInvalidRecipients" {
		t.Errorf("empty JSON: %d %s", status, code)
	}
	r = e.request(t, "/v1.0/me/sendMail", e.token(), strings.NewReader("<mail/>"))
	r.Header.Set("Content-Type", "text/xml")
	if status, _ := e.do(t, r); status != 415 {
		t.Errorf("XML: %d", status)
	}
}

func TestPolicies(t *testing.T) {
	t.Parallel()
	for code, set := range map[string]func(*world.MailboxPolicy){
		"ErrorQuotaExceeded":          func(p *world.MailboxPolicy) { p.Full = true },
		"MailboxNotEnabledForRESTAPI": func(p *world.MailboxPolicy) { p.NoLicence = true },
	} {
		e := newEstate(t)
		e.w.SetPolicy("scan@contoso.com", set)
		if _, got := e.do(t, e.request(t, "/v1.0/me/sendMail", e.token(), strings.NewReader(encoded(letter)))); got != code {
			t.Errorf("got %s, want %s", got, code)
		}
	}
}

// Four requests hold their bodies back; the fifth is one too many until one ends.
func TestFiveAtOnceAreThrottled(t *testing.T) {
	t.Parallel()
	e := newEstate(t)
	token := e.token()
	var bodies []*io.PipeWriter
	results := make(chan int, 4)
	for range 4 {
		read, write := io.Pipe()
		bodies = append(bodies, write)
		r := e.request(t, "/v1.0/me/sendMail", token, read)
		go func() {
			resp, err := e.server.Client().Do(r)
			if err != nil {
				results <- 0
				return
			}
			resp.Body.Close()
			results <- resp.StatusCode
		}()
	}
	try := func() (int, string) {
		return e.do(t, e.request(t, "/v1.0/me/sendMail", token, strings.NewReader(encoded(letter))))
	}
	deadline := time.Now().Add(10 * time.Second)
	status, code := try() // the four may still be on their way
	for status != 429 && time.Now().Before(deadline) {
		status, code = try()
	}
	if status != 429 || code != "ApplicationThrottled" {
		t.Fatalf("got %d %s", status, code)
	}
	for _, b := range bodies {
		if _, err := io.WriteString(b, encoded(letter)); err != nil {
			t.Fatal(err)
		}
		b.Close()
		if status := <-results; status != 202 {
			t.Errorf("one of the four: %d", status)
		}
	}
	if status, _ := try(); status != 202 {
		t.Errorf("afterwards: %d", status)
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		fault world.Fault
		want  string
		kept  int
	}{
		{world.Fault{Kind: world.FaultStatus, Code: "504"}, "504 ", 0},
		{world.Fault{Kind: world.FaultStatus, Code: "nonsense"}, "503 ", 0},
		{world.Fault{Kind: world.FaultReply, Code: "503 ErrorServerBusy The server cannot service this request right now."}, "503 ErrorServerBusy", 0},
		{world.Fault{Kind: world.FaultSlow, Delay: time.Millisecond}, "202 ", 3},
		{world.Fault{Kind: world.FaultDrop}, "", 0},
		{world.Fault{Kind: world.FaultHalfClose}, "", 0},
		{world.Fault{Kind: world.FaultDropAfter}, "", 3},
		{world.Fault{Kind: world.FaultBackoff}, "202 ", 3},
	} {
		t.Run(string(c.fault.Kind)+c.fault.Code, func(t *testing.T) {
			t.Parallel()
			e := newEstate(t)
			c.fault.Where, c.fault.Mailbox = "graph", "scan@contoso.com"
			e.w.Arm(c.fault)
			body := strings.NewReader(encoded(strings.Replace(letter, ",\r\n y@fabrikam.com", "", 1)))
			r := e.request(t, "/v1.0/me/sendMail", e.token(), body)
			r.GetBody = nil // no repetition by the transport
			got := ""
			if c.want != "" {
				status, code := e.do(t, r)
				got = fmt.Sprintf("%d %s", status, code)
			} else if resp, err := e.server.Client().Do(r); err == nil {
				resp.Body.Close()
				got = resp.Status
			}
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if n := len(e.w.AllMessages()); n != c.kept {
				t.Errorf("%d messages kept, want %d", n, c.kept)
			}
		})
	}
}

func TestGarbage(t *testing.T) {
	t.Parallel()
	e := newEstate(t)
	e.w.Arm(world.Fault{Where: "graph", Kind: world.FaultGarbage})
	resp, err := e.server.Client().Do(e.request(t, "/v1.0/me/sendMail", e.token(), strings.NewReader(encoded(letter))))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var v any
	if err := json.NewDecoder(resp.Body).Decode(&v); err == nil {
		t.Errorf("garbage parsed as %v", v)
	}
}
