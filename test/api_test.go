package test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"postern/internal/relay"
	"postern/internal/sim365/visitor"
)

// token makes a token of the API.
func (g *gate) token(name, device, scopes string) string {
	g.t.Helper()
	return strings.TrimSpace(g.postern("tokens", "create", name, "--device", device, "--scope", scopes))
}

// call makes a request of the API and returns its answer, decoded into into when that is not nil.
func (g *gate) call(token, method, path, contentType, body string, into any, headers ...string) *http.Response {
	g.t.Helper()
	resp, err := g.request(token, method, path, contentType, strings.NewReader(body), headers...)
	if err != nil {
		g.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	if into != nil {
		if err := json.Unmarshal(b, into); err != nil {
			g.t.Fatalf("%s %s: %v in %s", method, path, err, b)
		}
	}
	return resp
}

func (g *gate) request(token, method, path, contentType string, body io.Reader, headers ...string) (*http.Response, error) {
	req, err := http.NewRequest(method, "http://"+g.web+"/api/v1"+path, body)
	if err != nil {
		return nil, err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	return (&http.Client{Timeout: time.Minute}).Do(req)
}

// servingGate is a bare gate with more devices that serves.
func servingGate(t testing.TB, devices string, env ...string) *gate {
	t.Helper()
	g := bareGate(t)
	g.env, g.visitor = append(g.env, env...), visitor.New("")
	g.openLog()
	g.apply(bareDocument + devices)
	g.start()
	return g
}

// answer is what the API says, good or bad.
type answer struct {
	ID     string `json:"id"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	Kind   string `json:"kind"`
	Hint   string `json:"hint"`
}

const viaSendmail = "devices:\n  - {name: sendmail, account: scan, password: {env: DEVICE_PASSWORD}}\n"

// sendmailLink is the binary under the name that programs know.
func (g *gate) sendmailLink() string {
	g.t.Helper()
	link := filepath.Join(g.dir, "sendmail")
	if err := os.Symlink(binary(g.t), link); err != nil {
		g.t.Fatal(err)
	}
	return link
}

// TestProgramsThatDoNotSpeakSMTP sends through the API and the commands with the
// programs that people use for it, and finds every message in Microsoft's mailbox.
func TestProgramsThatDoNotSpeakSMTP(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	g.unlimited("scan@contoso.com")
	g.setUp("")
	g.apply(viaSendmail)
	g.env = append(g.env, "TOKEN="+g.token("programs", "scanner", "send"), "API=http://"+g.web+"/api/v1/messages", "SENDMAIL="+g.sendmailLink())
	for _, c := range []struct{ name, program, script, want string }{
		{"curl-json", "sh", `curl -fsS -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' "$API" \
			-d '{"to":["Some One <someone@elsewhere.example>"],"bcc":["hidden@elsewhere.example"],"subject":"curl-json","text":"from curl"}'`, "from curl"},
		{"curl-mime", "sh", `printf 'From: scan@contoso.com\nTo: someone@elsewhere.example\nBcc: hidden@elsewhere.example\nSubject: curl-mime\n\nraw\n' |
			curl -fsS -H "Authorization: Bearer $TOKEN" -H 'Content-Type: message/rfc822' --data-binary @- "$API"`, "raw"},
		{"python-urllib", "python3", `
import base64, json, os, urllib.request
body = json.dumps({"from": "Scanner <scan@contoso.com>", "to": ["someone@elsewhere.example"], "subject": "python-urllib", "text": "see file", "html": "<b>see file</b>",
    "attachments": [{"name": "Übersicht.pdf", "content": base64.b64encode(b"%PDF" * 20000).decode()}]}).encode()
req = urllib.request.Request(os.environ["API"], body, {"Authorization": "Bearer " + os.environ["TOKEN"], "Content-Type": "application/json", "Idempotency-Key": "one"})
first = json.load(urllib.request.urlopen(req)); again = json.load(urllib.request.urlopen(req))
assert first == again and first["id"], (first, again)
`, "application/pdf"},
		{"cron", "sh", `printf 'Subject: cron\n\nout\n.\nnever\n' | "$SENDMAIL" -FCronDaemon -B8BITMIME -oem root`, "\"CronDaemon\" <scan@contoso.com>"},
		{"postern-send", "sh", `echo 'It is done.' | "$SENDMAIL"-as-postern send --to someone@elsewhere.example --bcc hidden@elsewhere.example --subject postern-send --attach "$0"`, "It is done."},
		{"s-nail", "sh", `command -v s-nail >/dev/null || exit 9; echo hello | s-nail -:/ -S mta="$SENDMAIL" -r scan@contoso.com -s s-nail someone@elsewhere.example`, "hello"},
	} {
		t.Run(c.name, func(t *testing.T) {
			need(t, c.program)
			args := []string{"-c", strings.ReplaceAll(c.script, `"$SENDMAIL"-as-postern`, binary(t))}
			if c.name == "postern-send" {
				args = append(args, g.caFile())
			}
			if c.name == "s-nail" {
				if _, err := exec.LookPath("s-nail"); err != nil {
					t.Skip("s-nail is not installed")
				}
			}
			runClient(t, g, exec.Command(c.program, args...))
			waitFor(t, "the message in Sent Items", func() bool { return sentWith(g, c.name) == 1 })
			for _, m := range g.sim.World.Messages("scan@contoso.com", "Sent Items") {
				if headerOf(m.Raw, "Subject") != c.name {
					continue
				}
				if !bytes.Contains(m.Raw, []byte(c.want)) || bytes.Contains(bytes.ToLower(m.Raw), []byte("bcc:")) || bytes.Contains(m.Raw, []byte("never")) {
					t.Errorf("the message reads\n%s", m.Raw)
				}
			}
		})
	}
	g.stop()
}

// TestSendmailExitCodes ends badly in every way that a mail program branches on.
func TestSendmailExitCodes(t *testing.T) {
	t.Parallel()
	g := bareGate(t)
	g.apply(bareDocument + "  - {name: sendmail, account: scan, password: {env: DEVICE_PASSWORD}}\n")
	const text = "Subject: x\n\ntext\n"
	for _, c := range []struct {
		name, stdin string
		env         []string
		args        []string
		code        int
		words       string
	}{
		{"good", text, nil, []string{"a@elsewhere.example"}, 0, ""},
		{"no recipient", text, nil, nil, 64, "no recipient"},
		{"no recipient in the header", text, nil, []string{"-t"}, 64, "no recipient"},
		{"unknown option", text, nil, []string{"-Z"}, 64, "-Z"},
		{"daemon", text, nil, []string{"-bd"}, 64, "-bd"},
		{"bad address", text, nil, []string{"a b@c"}, 64, "recipient"},
		{"bad address in the header", "To: a@b@c, <x\n\n", nil, []string{"-t"}, 65, "read recipients"},
		{"sender of somebody else", text, nil, []string{"-f", "boss@contoso.com", "a@elsewhere.example"}, 77, "may not send as boss@contoso.com"},
		{"From of somebody else", "From: boss@contoso.com\n" + text, nil, []string{"a@elsewhere.example"}, 77, "From header names boss@contoso.com"},
		{"no such device", text, nil, []string{"--device", "nobody", "a@elsewhere.example"}, 78, "nobody"},
		{"no such device in the environment", text, []string{"POSTERN_SENDMAIL_DEVICE=none"}, []string{"a@elsewhere.example"}, 78, "POSTERN_SENDMAIL_DEVICE"},
		{"bad configuration", text, []string{"POSTERN_MAX_MESSAGE=lots"}, []string{"a@elsewhere.example"}, 78, "POSTERN_MAX_MESSAGE"},
		{"too large", text + strings.Repeat("x", 2000), []string{"POSTERN_MAX_MESSAGE=1KB"}, []string{"a@elsewhere.example"}, 65, "larger than"},
		{"no database", text, []string{"POSTERN_DATABASE=postgres://x@127.0.0.1:9/x"}, []string{"a@elsewhere.example"}, 71, "PostgreSQL"},
	} {
		t.Run(c.name, func(t *testing.T) {
			other := *g
			other.t, other.env = t, append(g.env[:len(g.env):len(g.env)], c.env...)
			out, errOut, code := other.try(c.stdin, append([]string{"sendmail"}, c.args...)...)
			if code != c.code || out != "" || !strings.Contains(errOut, c.words) || (code == 0) != (errOut == "") {
				t.Errorf("exit %d, want %d; printed %q and %q", code, c.code, out, errOut)
			}
		})
	}
	if n := len(g.queue()); n != 1 {
		t.Errorf("%d messages are in the queue", n)
	}
}

// TestBadRequests hands the API what programs get wrong, and wants a precise answer.
func TestBadRequests(t *testing.T) {
	t.Parallel()
	g := servingGate(t, "", "POSTERN_MAX_MESSAGE=1MB")
	send, read := g.token("sender", "scanner", "send"), g.token("reader", "", "queue:read")
	letter := func(more string) string { return `{"to":["a@elsewhere.example"]` + more + `}` }
	const asJSON, mime = "application/json", "message/rfc822"
	for _, c := range []struct {
		name, token, path, contentType, body string
		status                               int
		kind, words                          string
	}{
		{"no token", "", "/messages", asJSON, letter(""), 401, "denied", "no valid token"},
		{"wrong token", send[:len(send)-4] + "aaaa", "/messages", asJSON, letter(""), 401, "denied", "not known"},
		{"not a token", "nonsense", "/messages", asJSON, letter(""), 401, "denied", "not known"},
		{"another scope", read, "/messages", asJSON, letter(""), 403, "denied", "lacks the scope send"},
		{"no JSON", send, "/messages", asJSON, "to: a", 400, "invalid", "JSON"},
		{"unknown field", send, "/messages", asJSON, letter(`,"subjekt":"x"`), 400, "invalid", "subjekt"},
		{"two letters", send, "/messages", asJSON, letter("") + letter(""), 400, "invalid", "follows"},
		{"bad base64", send, "/messages", asJSON, letter(`,"attachments":[{"name":"a","content":"%%%"}]`), 400, "invalid", "base64"},
		{"no recipient", send, "/messages", asJSON, `{"subject":"x"}`, 400, "invalid", "no recipient"},
		{"bad recipient", send, "/messages", asJSON, `{"to":["nobody"]}`, 400, "invalid", "to[0]"},
		{"line end in subject", send, "/messages", asJSON, letter(`,"subject":"x\r\nBcc: b@elsewhere.example"`), 400, "invalid", "subject"},
		{"line end in from", send, "/messages", asJSON, letter(`,"from":"x\nBcc: b@c.example <scan@contoso.com>"`), 400, "invalid", "from"},
		{"line end in a name", send, "/messages", asJSON, letter(`,"attachments":[{"name":"a\r\nX: y","content":""}]`), 400, "invalid", "attachments[0]"},
		{"line end in a header", send, "/messages", asJSON, letter(`,"headers":{"X-A":"b\nBcc: c@d.example"}`), 400, "invalid", "X-A"},
		{"line end in a header's name", send, "/messages", asJSON, letter(`,"headers":{"X-A\nBcc":"c@d.example"}`), 400, "invalid", "name of a header"},
		{"forbidden header", send, "/messages", asJSON, letter(`,"headers":{"Bcc":"c@d.example"}`), 400, "invalid", "may not be set"},
		{"another sender", send, "/messages", asJSON, letter(`,"from":"boss@contoso.com"`), 403, "denied", "may not send as boss@contoso.com"},
		{"another From", send, "/messages?to=a@elsewhere.example", mime, "From: boss@contoso.com\n\nx\n", 403, "denied", "From header names boss@contoso.com"},
		{"another type", send, "/messages", "text/plain", "x", 415, "invalid", "text/plain"},
		{"no recipients in MIME", send, "/messages", mime, "Subject: x\n\nx\n", 400, "invalid", "no recipient"},
		{"bad recipient of MIME", send, "/messages?to=nobody", mime, "Subject: x\n\nx\n", 400, "invalid", "nobody"},
		{"huge attachment", send, "/messages", asJSON, letter(`,"attachments":[{"name":"a","content":"` + strings.Repeat("AAAA", 1<<20) + `"}]`), 413, "invalid", "larger than"},
		{"huge MIME", send, "/messages?to=a@elsewhere.example", mime, "Subject: x\n\n" + strings.Repeat(strings.Repeat("x", 70)+"\n", 1<<15), 413, "invalid", "larger than"},
		{"unknown query", send, "/messages?too=a@elsewhere.example", mime, "Subject: x\n\nx\n", 422, "invalid", "too"},
		{"unknown operation", send, "/letters", asJSON, "", 404, "not_found", "/api/v1/letters"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var a answer
			resp := g.call(c.token, http.MethodPost, c.path, c.contentType, c.body, &a)
			if resp.StatusCode != c.status || a.Status != c.status || a.Kind != c.kind || !strings.Contains(a.Detail+a.Hint, c.words) || resp.Header.Get("Content-Type") != "application/problem+json" {
				t.Errorf("%d %s: %+v; want %d, %s, %q", resp.StatusCode, resp.Header.Get("Content-Type"), a, c.status, c.kind, c.words)
			}
		})
	}
	if n := len(g.queue()); n != 0 {
		t.Errorf("%d messages are in the queue", n)
	}
	g.refused(2, []string{"tokens", "create", "x", "--scope", "everything"}, `"everything" is not a scope`, "queue:read")
	g.refused(2, []string{"tokens", "create", "x"}, "needs a device")
	g.refused(2, []string{"tokens", "create", "x", "--device", "nobody"}, `no device "nobody"`)
	g.refused(4, []string{"tokens", "revoke", "x"}, `no token "x"`)
	g.stop()
}

// TestIdempotencyKey repeats a request as it was, changed, under another token, and
// after its message is gone.
func TestIdempotencyKey(t *testing.T) {
	t.Parallel()
	g := servingGate(t, "")
	mine, other := g.token("mine", "scanner", "send,queue:read,queue:write"), g.token("other", "scanner", "send")
	const asJSON = "application/json"
	letter := `{"to":["a@elsewhere.example"],"subject":"one"}`
	var first, again, third, foreign answer
	post := func(token, contentType, body string, into *answer) *http.Response {
		return g.call(token, http.MethodPost, "/messages", contentType, body, into, "Idempotency-Key", "invoice 17")
	}
	if resp := post(mine, asJSON, letter, &first); resp.StatusCode != 202 || first.ID == "" || resp.Header.Get("Location") != "/api/v1/messages/"+first.ID {
		t.Fatalf("%d %+v", resp.StatusCode, first)
	}
	if resp := post(mine, asJSON, letter, &again); resp.StatusCode != 202 || again != first || resp.Header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("repeated: %d %+v, first was %+v", resp.StatusCode, again, first)
	}
	if resp := post(mine, asJSON, letter+" ", &third); resp.StatusCode != 409 || third.Kind != "conflict" || !strings.Contains(third.Detail, first.ID) {
		t.Errorf("changed: %d %+v", resp.StatusCode, third)
	}
	if resp := post(other, asJSON, letter, &foreign); resp.StatusCode != 202 || foreign.ID == first.ID {
		t.Errorf("with another token: %d %+v", resp.StatusCode, foreign)
	}
	if resp := g.call(mine, http.MethodDelete, "/messages/"+first.ID, "", "", nil); resp.StatusCode != 204 {
		t.Errorf("delete: %d", resp.StatusCode)
	}
	if resp := post(mine, asJSON, letter, &again); resp.StatusCode != 202 || again.ID != first.ID || len(g.queue()) != 1 {
		t.Errorf("repeated after it was deleted: %d %+v", resp.StatusCode, again)
	}
	g.stop()
}

// TestKilledBetweenAcceptAndAnswer kills the server while programs hand in messages.
// They repeat each request with its key until it is answered, and every message goes
// into the queue once.
func TestKilledBetweenAcceptAndAnswer(t *testing.T) {
	t.Parallel()
	g := servingGate(t, "")
	token := g.token("t", "scanner", "send")
	large := strings.Repeat("large ", 30_000) // beyond what is kept inline
	const programs, kills = 4, 12
	var answered, replayed atomic.Int64
	stop, all := make(chan struct{}), sync.WaitGroup{}
	for p := range programs {
		all.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				subject := fmt.Sprintf("key-%d-%d", p, n)
				if g.sendUntilAnswered(token, subject, large[:1+rand.IntN(len(large)-1)]) {
					replayed.Add(1)
				}
				answered.Add(1)
			}
		})
	}
	for range kills {
		time.Sleep(time.Duration(rand.IntN(400)) * time.Millisecond) // the random instant is the point
		g.kill()
		g.launch()
		waitFor(t, "postern to come back", g.ready)
	}
	close(stop)
	all.Wait()
	seen := map[string]int{}
	for _, m := range g.queue() {
		seen[m.Subject]++
	}
	for subject, n := range seen {
		if n != 1 {
			t.Errorf("%s is in the queue %d times", subject, n)
		}
	}
	if n := answered.Load(); int64(len(seen)) != n || n < kills {
		t.Errorf("%d messages are in the queue and %d were answered", len(seen), n)
	}
	t.Logf("%d messages, %d of them committed and not answered the first time", answered.Load(), replayed.Load())
	g.stop()
}

// sendUntilAnswered repeats a request as a program does whose server is away, and says
// whether the answer was to an earlier one.
func (g *gate) sendUntilAnswered(token, subject, body string) (replayed bool) {
	deadline := time.Now().Add(time.Minute)
	for time.Now().Before(deadline) {
		resp, err := g.request(token, http.MethodPost, "/messages", "message/rfc822",
			strings.NewReader("To: a@elsewhere.example\nSubject: "+subject+"\n\n"+body), "Idempotency-Key", subject)
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusAccepted {
				return resp.Header.Get("Idempotency-Replayed") == "true"
			}
		}
		time.Sleep(20 * time.Millisecond) // it is away
	}
	g.t.Errorf("%s was not answered within a minute", subject)
	return false
}

// TestQueueThroughTheAPI lists, shows, holds, releases, downloads and deletes, with a
// token for one device and one for all.
func TestQueueThroughTheAPI(t *testing.T) {
	t.Parallel()
	g := servingGate(t, "  - {name: printer, account: scan, password: {env: DEVICE_PASSWORD}}\n")
	one, two := g.token("one", "scanner", "send,queue:read,queue:write"), g.token("two", "printer", "send,queue:read")
	all := g.token("all", "", "queue:read")
	ids := map[string]string{}
	for subject, token := range map[string]string{"invoice 1": one, "invoice 2": one, "scan": two} {
		var a answer
		if resp := g.call(token, http.MethodPost, "/messages?to=a@elsewhere.example", "message/rfc822", "Subject: "+subject+"\n\nbody of "+subject+"\n", &a); resp.StatusCode != 202 {
			t.Fatalf("%d %+v", resp.StatusCode, a)
		}
		ids[subject] = a.ID
	}
	type page struct {
		Messages []relay.Message `json:"messages"`
		Next     string          `json:"next"`
	}
	list := func(token, query string) (p page) {
		if resp := g.call(token, http.MethodGet, "/messages"+query, "", "", &p); resp.StatusCode != 200 {
			t.Errorf("list %s: %d", query, resp.StatusCode)
		}
		return p
	}
	if a, b, c := len(list(one, "").Messages), len(list(two, "").Messages), len(list(all, "").Messages); a != 2 || b != 1 || c != 3 {
		t.Errorf("the tokens see %d, %d and %d messages", a, b, c)
	}
	first := list(all, "?limit=2")
	if rest := list(all, "?limit=2&after="+first.Next); len(first.Messages) != 2 || len(rest.Messages) != 1 || rest.Next != "" {
		t.Errorf("pages of %d and %d", len(first.Messages), len(rest.Messages))
	}
	if m := list(one, "?text=INVOICE%202").Messages; len(m) != 1 || !strings.Contains(m[0].Reason, "nobody has signed in") {
		t.Errorf("found %+v", m)
	}
	var m relay.Message
	if resp := g.call(one, http.MethodPost, "/messages/"+ids["invoice 1"]+"/hold", "", "", &m); resp.StatusCode != 200 || m.State != relay.Held {
		t.Errorf("hold: %d %+v", resp.StatusCode, m)
	}
	if resp := g.call(one, http.MethodPost, "/messages/"+ids["invoice 1"]+"/hold", "", "", nil); resp.StatusCode != 409 {
		t.Errorf("held again: %d", resp.StatusCode)
	}
	for _, act := range []string{"release", "retry"} {
		if resp := g.call(one, http.MethodPost, "/messages/"+ids["invoice 1"]+"/"+act, "", "", &m); resp.StatusCode != 200 || m.State != relay.Queued {
			t.Errorf("%s: %d %+v", act, resp.StatusCode, m)
		}
	}
	for token, want := range map[string]int{one: 404, two: 200, all: 200} {
		for _, path := range []string{"", "/body"} {
			if resp := g.call(token, http.MethodGet, "/messages/"+ids["scan"]+path, "", "", nil); resp.StatusCode != want {
				t.Errorf("%s of another device: %d, want %d", path, resp.StatusCode, want)
			}
		}
	}
	resp, err := g.request(two, http.MethodGet, "/messages/"+ids["scan"]+"/body", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, _ := io.ReadAll(resp.Body); !strings.Contains(string(b), "body of scan") || resp.Header.Get("Content-Type") != "message/rfc822" {
		t.Errorf("downloaded %q", b)
	}
	if resp := g.call(two, http.MethodDelete, "/messages/"+ids["scan"], "", "", nil); resp.StatusCode != 403 {
		t.Errorf("delete without the scope: %d", resp.StatusCode)
	}
	if resp := g.call(one, http.MethodDelete, "/messages/"+ids["invoice 2"], "", "", nil); resp.StatusCode != 204 || len(g.queue()) != 2 {
		t.Errorf("delete: %d", resp.StatusCode)
	}
	if out := g.postern("audit"); !strings.Contains(out, "api:one") || !strings.Contains(out, "create token") {
		t.Errorf("the audit log reads\n%s", out)
	}
	if out := g.postern("tokens", "list"); !strings.Contains(out, "send,queue:read,queue:write") || strings.Contains(out, one) {
		t.Errorf("tokens list printed\n%s", out)
	}
	for _, file := range []string{g.log.Name(), filepath.Join(g.dataDir(), "postern.db"), filepath.Join(g.dataDir(), "postern.db-wal")} {
		if b, err := os.ReadFile(file); err != nil || bytes.Contains(b, []byte(one[len(one)-52:])) {
			t.Errorf("%s: %v, or the token is written there", filepath.Base(file), err)
		}
	}
	g.postern("tokens", "revoke", "one")
	if resp := g.call(one, http.MethodGet, "/messages", "", "", nil); resp.StatusCode != 401 {
		t.Errorf("revoked: %d", resp.StatusCode)
	}
	g.stop()
}

// TestQueueInBulkThroughTheAPI acts on what a filter finds, a page at a time, on nothing of
// another device, and not on all by mistake.
func TestQueueInBulkThroughTheAPI(t *testing.T) {
	t.Parallel()
	g := servingGate(t, "  - {name: printer, account: scan, password: {env: DEVICE_PASSWORD}}\n")
	one, two := g.token("one", "scanner", "send,queue:read,queue:write"), g.token("two", "printer", "send,queue:read")
	for i := range 3 {
		for _, token := range []string{one, two} {
			if resp := g.call(token, http.MethodPost, "/messages?to=a@elsewhere.example", "message/rfc822", fmt.Sprintf("Subject: invoice %d\n\nx\n", i), nil); resp.StatusCode != 202 {
				t.Fatal(resp.Status)
			}
		}
	}
	type acted struct {
		Changed, Skipped int
		First, Next      string
	}
	do := func(token, what string, status int) (a acted) {
		t.Helper()
		if resp := g.call(token, http.MethodPost, "/messages/"+what, "", "", &a); resp.StatusCode != status {
			t.Errorf("%s: %s", what, resp.Status)
		}
		return a
	}
	for what, status := range map[string]int{"delete": 400, "delete?all=true&text=x": 400, "delete?txt=x": 422, "delete?device=printer": 403, "burn?all=true": 404} {
		do(one, what, status)
	}
	do(two, "hold?all=true", 403)
	first := do(one, "hold?text=INVOICE&limit=2", 200)
	if rest := do(one, "hold?text=INVOICE&limit=2&after="+first.Next, 200); first.Changed != 2 || rest.Changed != 1 || rest.Next != "" {
		t.Errorf("held %+v, %+v", first, rest)
	}
	if again := do(one, "retry?all=true", 200); again.Changed != 0 || again.Skipped != 3 || !strings.Contains(again.First, "held") {
		t.Errorf("held ones were tried: %+v", again)
	}
	do(one, "release?text=invoice+1", 200)
	if gone := do(one, "delete?state=held", 200); gone.Changed != 2 {
		t.Errorf("deleted %+v", gone)
	}
	if n := len(g.queue("--device", "printer")); n != 3 || len(g.queue()) != 4 {
		t.Errorf("%d of the other device are left of %d", n, len(g.queue()))
	}
	if n := strings.Count(g.postern("audit", "--limit", "100"), "api:one"); n != 6 {
		t.Errorf("%d lines of the audit log", n)
	}
	g.stop()
}

// TestLargeMessageThroughTheAPI streams, and takes no more memory than a small one.
func TestLargeMessageThroughTheAPI(t *testing.T) {
	t.Parallel()
	g := servingGate(t, "")
	token := g.token("t", "scanner", "send,queue:read")
	before := g.peakMemory()
	line := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 54)) + "\r\n"
	body := io.MultiReader(strings.NewReader("Subject: large\r\n\r\n"), strings.NewReader(strings.Repeat(line, 140<<20/len(line))))
	resp, err := g.request(token, http.MethodPost, "/messages?to=a@elsewhere.example", "message/rfc822", body)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, _ := io.ReadAll(resp.Body); resp.StatusCode != 202 {
		t.Fatalf("%d %s", resp.StatusCode, b)
	}
	if after := g.peakMemory(); after-before > 40<<20 {
		t.Errorf("peak memory went from %d to %d MB", before>>20, after>>20)
	}
	g.stop()
}

// peakMemory is the most that the process has had in memory so far.
func (g *gate) peakMemory() (octets int) {
	g.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", g.cmd.Process.Pid))
	if err != nil {
		g.t.Skip("no /proc here")
	}
	for line := range strings.Lines(string(status)) {
		if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &octets); err == nil {
			return octets << 10
		}
	}
	g.t.Fatal("VmHWM is not in /proc/PID/status")
	return 0
}
