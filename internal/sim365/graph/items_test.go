package graph_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"postern/internal/sim365/world"
)

func readWrite(t *world.Token) { t.Scopes = append(t.Scopes, "Mail.ReadWrite") }

// json makes a request and reads its JSON answer.
func (e *estate) json(t *testing.T, method, path, token, body string) (status int, answer map[string]any) {
	t.Helper()
	r := e.request(t, path, token, strings.NewReader(body))
	r.Method = method
	r.Header.Set("Content-Type", "application/json")
	resp, err := e.server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if len(bytes.TrimSpace(b)) > 0 {
		if err := json.Unmarshal(b, &answer); err != nil {
			t.Fatalf("%d %q: %v", resp.StatusCode, b, err)
		}
	}
	return resp.StatusCode, answer
}

func codeOf(answer map[string]any) string {
	problem, _ := answer["error"].(map[string]any)
	code, _ := problem["code"].(string)
	return code
}

const message = `{"subject":"hi","internetMessageId":"<1@x>","toRecipients":[{"emailAddress":{"address":"boss@contoso.com"}}],` +
	`"body":{"contentType":"text","content":"text"},"internetMessageHeaders":[{"name":"X-A","value":"b"}]%s}`

func TestSendMailInJSON(t *testing.T) {
	t.Parallel()
	e := newEstate(t)
	attachments := `,"attachments":[{"@odata.type":"#microsoft.graph.fileAttachment","name":"a.txt","contentType":"text/plain","contentBytes":"QUJD"}]`
	for i, save := range []string{"", `,"saveToSentItems":false`, `,"saveToSentItems":true`} {
		status, answer := e.json(t, http.MethodPost, "/v1.0/me/sendMail", e.token(), `{"message":`+fmt.Sprintf(message, attachments)+save+`}`)
		if status != 202 {
			t.Fatalf("%d %v", status, answer)
		}
		if n := len(e.w.Messages("boss@contoso.com", "INBOX")); n != i+1 {
			t.Errorf("boss has %d messages", n)
		}
	}
	if n := len(e.w.Messages("scan@contoso.com", "Sent Items")); n != 2 {
		t.Errorf("%d of 3 are in Sent Items, want 2", n)
	}
	got := string(e.w.Messages("boss@contoso.com", "INBOX")[0].Raw)
	for _, want := range []string{"To: <boss@contoso.com>\r\n", "X-A: b\r\n", "filename=a.txt", "QUJD", "Message-ID: <1@x>\r\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
}

func TestDrafts(t *testing.T) {
	t.Parallel()
	e := newEstate(t)
	token := e.token(readWrite)
	status, draft := e.json(t, http.MethodPost, "/v1.0/me/messages", token, fmt.Sprintf(message, ""))
	if status != 201 {
		t.Fatalf("%d %v", status, draft)
	}
	at := "/v1.0/me/messages/" + url.PathEscape(draft["id"].(string)) //nolint:forcetypeassert // ours
	find := func(folder string) int {
		t.Helper()
		_, answer := e.json(t, http.MethodGet, "/v1.0/me/mailFolders/"+folder+"/messages?$filter="+url.QueryEscape("internetMessageId eq '<1@x>'"), token, "")
		found, _ := answer["value"].([]any)
		return len(found)
	}
	if find("drafts") != 1 || find("sentitems") != 0 {
		t.Errorf("before: %d, %d", find("drafts"), find("sentitems"))
	}
	for _, step := range []struct {
		method, path, body string
		status             int
	}{
		{http.MethodPatch, at, `{"body":{"contentType":"html","content":"<b>x</b>"}}`, 200},
		{http.MethodPost, at + "/attachments", `{"@odata.type":"#microsoft.graph.fileAttachment","name":"a.txt","contentType":"text/plain","contentBytes":"QUJD"}`, 201},
		{http.MethodPost, at + "/send", "", 202},
		{http.MethodPost, at + "/send", "", 404},
		{http.MethodDelete, at, "", 404},
	} {
		if status, answer := e.json(t, step.method, step.path, token, step.body); status != step.status {
			t.Errorf("%s %s: %d %v, want %d", step.method, step.path, status, answer, step.status)
		}
	}
	if find("drafts") != 0 || find("sentitems") != 1 || len(e.w.Messages("boss@contoso.com", "INBOX")) != 1 {
		t.Errorf("after: %d, %d", find("drafts"), find("sentitems"))
	}
}

func TestItemRefusals(t *testing.T) {
	t.Parallel()
	long := `{"AttachmentItem":{"attachmentType":"file","name":"a","size":%d}}`
	headers := `,"internetMessageHeaders":[` + strings.Repeat(`{"name":"X-A","value":"b"},`, 5) + `{"name":"X-A","value":"b"}]`
	for name, c := range map[string]struct {
		method, path, body string
		token              []func(*world.Token)
		status             int
		code               string
	}{
		"draft, may only send": {http.MethodPost, "/v1.0/me/messages", "{}", nil, 403, "ErrorAccessDenied"},
		"look, may only send":  {http.MethodGet, "/v1.0/me/mailFolders/drafts/messages", "", nil, 403, "ErrorAccessDenied"},
		"too many headers":     {http.MethodPost, "/v1.0/me/messages", strings.Replace(fmt.Sprintf(message, ""), `,"internetMessageHeaders":[{"name":"X-A","value":"b"}]`, headers, 1), []func(*world.Token){readWrite}, 400, "InvalidInternetMessageHeaderCollection"},
		"header not its own":   {http.MethodPost, "/v1.0/me/messages", strings.Replace(fmt.Sprintf(message, ""), "X-A", "Received", 1), []func(*world.Token){readWrite}, 400, "InvalidInternetMessageHeader"},
		"not JSON":             {http.MethodPost, "/v1.0/me/messages", "nonsense", []func(*world.Token){readWrite}, 400, "BadRequest"},
		"too large":            {http.MethodPost, "/v1.0/me/messages", `"` + strings.Repeat("x", 4<<20) + `"`, []func(*world.Token){readWrite}, 413, "ErrorMessageSizeExceeded"},
		"no such draft":        {http.MethodPost, "/v1.0/me/messages/x/send", "", nil, 404, "ErrorItemNotFound"},
		"no such folder":       {http.MethodGet, "/v1.0/me/mailFolders/inbox/messages?$filter=internetMessageId+eq+'x'", "", []func(*world.Token){readWrite}, 404, "ErrorItemNotFound"},
		"another filter":       {http.MethodGet, "/v1.0/me/mailFolders/drafts/messages?$filter=subject+eq+'x'", "", []func(*world.Token){readWrite}, 400, "ErrorInvalidUrlQueryFilter"},
		"upload too small":     {http.MethodPost, "/v1.0/me/messages/x/attachments/createUploadSession", fmt.Sprintf(long, 10), []func(*world.Token){readWrite}, 400, "ErrorInvalidRequest"},
		"upload too large":     {http.MethodPost, "/v1.0/me/messages/x/attachments/createUploadSession", fmt.Sprintf(long, 151<<20), []func(*world.Token){readWrite}, 400, "ErrorInvalidRequest"},
		"upload for nothing":   {http.MethodPost, "/v1.0/me/messages/x/attachments/createUploadSession", fmt.Sprintf(long, 4<<20), []func(*world.Token){readWrite}, 404, "ErrorItemNotFound"},
		"no such upload":       {http.MethodPut, "/upload?authtoken=x", "", nil, 400, "InvalidRequest"}, // it has a token
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEstate(t)
			if status, answer := e.json(t, c.method, c.path, e.token(c.token...), c.body); status != c.status || codeOf(answer) != c.code {
				t.Errorf("got %d %v, want %d %s", status, answer, c.status, c.code)
			}
		})
	}
}

// Pieces must come in order, at the session's own address, and without a token.
func TestUploads(t *testing.T) {
	t.Parallel()
	e := newEstate(t)
	token := e.token(readWrite)
	_, draft := e.json(t, http.MethodPost, "/v1.0/me/messages", token, fmt.Sprintf(message, ""))
	at := "/v1.0/me/messages/" + url.PathEscape(draft["id"].(string)) //nolint:forcetypeassert // ours
	const size = 4<<20 + 1
	_, session := e.json(t, http.MethodPost, at+"/attachments/createUploadSession", token, fmt.Sprintf(`{"AttachmentItem":{"attachmentType":"file","name":"a.bin","size":%d}}`, size))
	address, err := url.Parse(session["uploadUrl"].(string)) //nolint:forcetypeassert // ours
	if err != nil || address.Scheme != "https" {
		t.Fatalf("%v: %v", session, err)
	}
	path := address.RequestURI()
	put := func(first, n int) int {
		t.Helper()
		r := e.request(t, path, "", bytes.NewReader(make([]byte, n)))
		r.Method = http.MethodPut
		r.Header.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", first, first+n-1, size))
		resp, err := e.server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	for _, step := range []struct{ first, n, want int }{
		{1, 10, 416}, {0, size, 413}, {0, 1 << 20, 200}, {0, 1 << 20, 416}, {1 << 20, 3 << 20, 200}, {4 << 20, 1, 201}, {4 << 20, 1, 404},
	} {
		if got := put(step.first, step.n); got != step.want {
			t.Errorf("%d octets from %d: %d, want %d", step.n, step.first, got, step.want)
		}
	}
	if status, _ := e.json(t, http.MethodPost, at+"/send", token, ""); status != 202 {
		t.Fatalf("send: %d", status)
	}
	if got := e.w.Messages("boss@contoso.com", "INBOX"); len(got) != 1 || len(got[0].Raw) < size || !strings.Contains(string(got[0].Raw), "filename=a.bin") {
		t.Errorf("boss got %d messages", len(got))
	}
}

// A fault behind the work answers in its place, and the work is done.
func TestFaultsAfterTheWork(t *testing.T) {
	t.Parallel()
	e := newEstate(t)
	e.w.Arm(world.Fault{Where: "graph", Stage: "after send", Kind: world.FaultStatus, Code: "504"})
	for i, want := range []int{504, 202} {
		if status, _ := e.do(t, e.request(t, "/v1.0/me/sendMail", e.token(), strings.NewReader(encoded(letter)))); status != want {
			t.Errorf("got %d, want %d", status, want)
		}
		if n := len(e.w.Messages("boss@contoso.com", "INBOX")); n != i+1 {
			t.Errorf("boss has %d messages, want %d", n, i+1)
		}
	}
}
