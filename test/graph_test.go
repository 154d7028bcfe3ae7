package test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	netmail "net/mail"
	"slices"
	"strings"
	"testing"

	"postern/internal/sim365/world"
)

// graphGate has two accounts that send through Graph: post may use nothing else, both
// would rather use SMTP, which is switched off for its mailbox.
func graphGate(t *testing.T) *gate {
	t.Helper()
	g := newGate(t)
	g.unlimited("invoices@contoso.com", "noauth@contoso.com")
	g.start()
	g.apply(strings.Replace(g.document(`  - {name: poster, account: post, password: {env: DEVICE_PASSWORD}}
  - {name: either, account: both, password: {env: DEVICE_PASSWORD}}
`), "\ndevices:", `
  - {name: post, app: contoso, mailbox: invoices@contoso.com, purposes: [graph]}
  - {name: both, app: contoso, mailbox: noauth@contoso.com, purposes: [send, graph]}
devices:`, 1))
	g.signIn("post", "invoices@contoso.com")
	g.signIn("both", "noauth@contoso.com")
	return g
}

// letter submits a message to several recipients, whatever its headers say.
func (g *gate) letter(device, from string, raw []byte, to ...string) {
	g.t.Helper()
	c, err := g.loginAs(device, g.doorTLS())
	if err != nil {
		g.t.Fatal(err)
	}
	defer c.Close()
	if err := c.Mail(from); err != nil {
		g.t.Fatal(err)
	}
	for _, rcpt := range to {
		if err := c.Rcpt(rcpt); err != nil {
			g.t.Fatal(err)
		}
	}
	w, err := c.Data()
	if err != nil {
		g.t.Fatal(err)
	}
	if _, err := w.Write(raw); err != nil {
		g.t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		g.t.Fatal(err)
	}
}

// copies are what reached whom of a Message-ID, Sent Items apart, by recipient.
func (g *gate) copies(messageID string) map[string][]world.Stored {
	found := map[string][]world.Stored{}
	for _, m := range g.sim.World.AllMessages() {
		if m.Folder != "Sent Items" && strings.Contains(string(m.Raw), messageID) {
			found[m.Mailbox] = append(found[m.Mailbox], m)
		}
	}
	return found
}

// arrives waits for a message to reach all of those, and wants nobody else to have it
// and nobody twice once the queue is done with it.
func (g *gate) arrives(messageID, via string, to ...string) map[string][]world.Stored {
	g.t.Helper()
	var m queued
	waitFor(g.t, messageID+" to be delivered", func() bool {
		m = g.queued(messageID)
		return m.State == "delivered" || m.State == "failed"
	})
	got := g.copies(messageID)
	var names []string
	for who, all := range got {
		names = append(names, who)
		if len(all) != 1 || all[0].Via != via {
			g.t.Errorf("%s got %s %d times, by %s", who, messageID, len(all), all[0].Via)
		}
	}
	slices.Sort(names)
	slices.Sort(to)
	if m.State != "delivered" || !slices.Equal(names, to) {
		g.t.Errorf("%s is %s (%s); it reached %q, want %q", messageID, m.State, m.Reason, names, to)
	}
	return got
}

type queued struct {
	ID         string
	State      string
	Reason     string
	MessageID  string `json:"message_id"`
	Attempts   int
	Recipients []struct{ Reply string }
}

func (g *gate) queued(messageID string) queued {
	g.t.Helper()
	var all []queued
	if err := json.Unmarshal([]byte(g.postern("queue", "list", "--json")), &all); err != nil {
		g.t.Fatal(err)
	}
	for _, m := range all {
		if m.MessageID == messageID {
			return m
		}
	}
	return queued{}
}

// TestSendThroughGraph sends through Graph with the real binary: who gets it is what
// the envelope says, large mail included, and an answer that is lost sends nothing twice.
func TestSendThroughGraph(t *testing.T) {
	t.Parallel()
	g := graphGate(t)
	const from = "invoices@contoso.com"
	t.Run("the envelope decides", func(t *testing.T) {
		raw := []byte("From: invoices@contoso.com\r\nTo: Scan <scan@contoso.com>, never@elsewhere.example\r\nCc: Team: admin@contoso.com, never2@elsewhere.example;\r\n" +
			"Bcc: never3@elsewhere.example\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nMessage-ID: <envelope@test.example>\r\n\r\ntext\r\n")
		g.letter("poster", from, raw, "scan@contoso.com", "admin@contoso.com", "hidden@elsewhere.example")
		got := g.arrives("<envelope@test.example>", "graph", "scan@contoso.com", "admin@contoso.com", "hidden@elsewhere.example")
		for who, all := range got {
			text := string(all[0].Raw)
			if strings.Contains(text, "hidden@") || strings.Contains(text, "never") || !strings.Contains(text, "\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n") ||
				!strings.HasSuffix(text, "\r\n\r\ntext\r\n") {
				t.Errorf("%s got %s", who, text)
			}
		}
		m := g.queued("<envelope@test.example>")
		if len(m.Recipients) != 3 || !strings.HasPrefix(m.Recipients[0].Reply, "202") {
			t.Errorf("recipients %+v", m.Recipients)
		}
	})
	t.Run("20 MB", func(t *testing.T) {
		content := strings.Repeat("0123456789abcdef", 20<<20/16*3/4)
		var lines strings.Builder
		for chunk := range slices.Chunk([]byte(content), 57) {
			lines.WriteString(base64.StdEncoding.EncodeToString(chunk) + "\r\n")
		}
		raw := "From: invoices@contoso.com\r\nTo: scan@contoso.com\r\nSubject: large\r\nMessage-ID: <large@test.example>\r\nMIME-Version: 1.0\r\n" +
			"Content-Type: multipart/mixed; boundary=sep\r\n\r\n--sep\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>see attached</p>\r\n--sep\r\n" +
			"Content-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename=scan.pdf\r\n\r\n" + lines.String() + "--sep--\r\n"
		g.letter("poster", from, []byte(raw), "scan@contoso.com", "hidden@elsewhere.example")
		got := g.arrives("<large@test.example>", "graph", "scan@contoso.com", "hidden@elsewhere.example")
		if len(got["scan@contoso.com"]) != 1 {
			t.FailNow()
		}
		text, files := unpack(t, got["scan@contoso.com"][0].Raw)
		if text != "<p>see attached</p>" || files["scan.pdf"] != content {
			t.Errorf("text %q; the file has %d octets, want %d", text, len(files["scan.pdf"]), len(content))
		}
		if g.sim.World.Count("graph_upload") == 0 {
			t.Error("it did not go by an upload session")
		}
	})
	for name, f := range map[string]world.Fault{
		"504 after the work": {Stage: "after send", Kind: world.FaultStatus, Code: "504"},
		"cut after the work": {Stage: "send", Kind: world.FaultDropAfter},
	} {
		t.Run(name, func(t *testing.T) {
			f.Where, f.Mailbox = "graph", from
			g.sim.World.Arm(f)
			id := "<" + strings.ReplaceAll(name, " ", "-") + "@test.example>"
			g.letter("poster", from, simpleMail(from, "scan@contoso.com", name, id), "scan@contoso.com")
			g.arrives(id, "graph", "scan@contoso.com")
		})
	}
	t.Run("killed at the answer", func(t *testing.T) {
		g.sim.World.Arm(world.Fault{Where: "graph", Mailbox: from, Stage: "after send", Kind: world.FaultSlow, Delay: 1 << 40})
		before := g.sim.World.Count("graph_message")
		const id = "<killed@test.example>"
		g.letter("poster", from, simpleMail(from, "scan@contoso.com", "killed", id), "scan@contoso.com")
		waitFor(t, "Graph to have it", func() bool { return g.sim.World.Count("graph_message") > before })
		g.kill()
		g.start()
		g.arrives(id, "graph", "scan@contoso.com")
	})
	g.stop()
}

// TestLookRefused: without the permission to look, a message whose answer was lost
// waits, and is never sent a second time.
func TestLookRefused(t *testing.T) {
	t.Parallel()
	g := graphGate(t)
	const from, id = "invoices@contoso.com", "<unknown@test.example>"
	g.sim.World.Arm(world.Fault{Where: "graph", Mailbox: from, Stage: "after send", Kind: world.FaultStatus, Code: "504"})
	g.sim.World.Arm(world.Fault{Where: "graph", Mailbox: from, Stage: "lookup", Kind: world.FaultReply, Code: "403 ErrorAccessDenied Access is denied.", Times: -1})
	g.letter("poster", from, simpleMail(from, "scan@contoso.com", "unknown", id), "scan@contoso.com")
	tried := func(n int) func() bool { return func() bool { return g.queued(id).Attempts >= n } }
	waitFor(t, "a first try", tried(1))
	g.postern("queue", "retry", g.queued(id).ID)
	waitFor(t, "a second try", tried(2))
	m := g.queued(id)
	if m.State != "queued" || !strings.Contains(m.Reason, "may have been sent already") || !strings.Contains(m.Reason, "ErrorAccessDenied") {
		t.Errorf("%s because %q", m.State, m.Reason)
	}
	if n := len(g.copies(id)["scan@contoso.com"]); n != 1 {
		t.Errorf("it was sent %d times", n)
	}
	var accounts []struct{ Name, State string }
	if err := json.Unmarshal([]byte(g.postern("accounts", "list", "--json")), &accounts); err != nil {
		t.Fatal(err)
	}
	for _, a := range accounts {
		if a.Name == "post" && a.State != "active" {
			t.Errorf("the account is %s", a.State)
		}
	}
	g.stop()
}

// TestFallsBackToGraph: SMTP AUTH is off, so mail goes through Graph and nothing is
// paused; the queue and the account say so.
func TestFallsBackToGraph(t *testing.T) {
	t.Parallel()
	g := graphGate(t)
	const from = "noauth@contoso.com"
	for i := range 3 {
		id := fmt.Sprintf("<fallback-%d@test.example>", i)
		g.letter("either", from, simpleMail(from, "scan@contoso.com", "fallback", id), "scan@contoso.com")
		g.arrives(id, "graph", "scan@contoso.com")
	}
	if n := g.sim.World.Count("smtp_auth_refused"); n != 1 {
		t.Errorf("SMTP was tried %d times", n)
	}
	if out := g.postern("accounts", "show", "both"); !strings.Contains(out, "5.7.139") || !strings.Contains(out, "graph until") || !strings.Contains(out, "active") {
		t.Errorf("the account says\n%s", out)
	}
	g.stop()
}

// unpack takes apart what arrived.
func unpack(t *testing.T, raw []byte) (text string, files map[string]string) {
	t.Helper()
	m, err := netmail.ReadMessage(strings.NewReader(string(raw)))
	if err != nil {
		t.Fatal(err)
	}
	_, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	files = map[string]string{}
	for parts := multipart.NewReader(m.Body, params["boundary"]); ; {
		p, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			return text, files
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(base64.NewDecoder(base64.StdEncoding, p))
		if err != nil {
			t.Fatal(err)
		}
		if name := p.FileName(); name != "" {
			files[name] = string(b)
		} else {
			text = string(b)
		}
	}
}

// A test of an alert route is no message of the queue, and goes through Graph all the same.
func TestAlertTestThroughGraph(t *testing.T) {
	t.Parallel()
	g := graphGate(t)
	out := g.postern("alerts", "test", "--account", "post", "--to", "scan@contoso.com")
	if !strings.Contains(out, "The test was sent") || g.sim.World.Count("graph_message") != 1 {
		t.Errorf("Graph got %d messages\n%s", g.sim.World.Count("graph_message"), out)
	}
}
