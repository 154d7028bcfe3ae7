package test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// upstream is a gate whose sign-in is simulated and whose mail servers are real.
type upstream struct {
	*gate
	mail *dovecot
	sink *smtpSink
}

// newUpstream starts everything; the document's accounts are signed in.
func newUpstream(t *testing.T, more string, env ...string) upstream {
	t.Helper()
	need(t, "dovecot")
	need(t, "/usr/sbin/smtp-sink")
	g := newGate(t)
	g.env = append(g.env, env...)
	ca := newTestCA(t)
	g.extraCA = string(ca.root)
	u := upstream{gate: g, sink: startSink(t)}
	u.mail = startDovecot(t, ca.cert, ca.key, []byte(g.sim.CAPEM()), g.sim.Authority()+"/introspect", u.sink.Addr)
	g.start()
	g.apply(u.document(more))
	for _, a := range []string{"scan", "invoices"} {
		g.signIn(a, a+"@contoso.com")
	}
	return u
}

// document is the usual one with Dovecot's ports in place of the simulator's, and
// an account for a mailbox that somebody else will sign in to.
func (u upstream) document(more string) string {
	at := func(p int) string { return fmt.Sprintf("port: %d,", p) }
	s := u.sim
	return strings.NewReplacer(
		at(s.SMTP().Port), "port: "+port(u.mail.Submission)+",",
		at(s.IMAP().Port), "port: "+port(u.mail.IMAPS)+",",
		at(s.POP3().Port), "port: "+port(u.mail.POP3S)+",",
		"\ndevices:", "\n  - {name: stranger, app: contoso, mailbox: invoices@contoso.com, purposes: [send, imap, pop3], shared: true}\ndevices:",
	).Replace(u.gate.document(more))
}

// TestSendThroughRealSubmission sends what is hard to carry through the door, the
// queue and Dovecot's submission service, and finds it unchanged behind them.
func TestSendThroughRealSubmission(t *testing.T) {
	t.Parallel()
	u := newUpstream(t, "")
	conf := u.doorTLS()
	for name, body := range map[string]string{
		"dots":  ".\r\n..\r\n.leading dot\r\nand a dot at the end.\r\n.\r\n",
		"8-bit": "Grüße aus dem zweiten Stock — 日本語\r\nlatin: \xe4\xf6\xfc\xdf\r\n",
		"long":  strings.Repeat("x", 998) + "\r\n" + strings.Repeat("é", 499) + "\r\n",
		"large": strings.Repeat(strings.Repeat("0123456789", 7)+"\r\n", 40_000),
		"empty": "",
	} {
		begin, end := "begin of "+name+"\r\n", "end of "+name+"\r\n"
		raw := slices.Concat(simpleMail("scan@contoso.com", "someone@elsewhere.example", "hard: "+name, "<"+name+"@test.example>"), []byte(begin+body+end))
		c, err := u.login(conf)
		if err != nil {
			t.Fatal(err)
		}
		if err := submit(c, "scan@contoso.com", "someone@elsewhere.example", raw); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		_ = c.Quit()
		waitFor(t, name+" in the sink", func() bool { return strings.Contains(u.sink.taken(t), strings.TrimSpace(end)) })
		got := strings.ReplaceAll(u.sink.taken(t), "\r\n", "\n") // the sink keeps lines as its system writes them
		if _, after, _ := strings.Cut(got, "Subject: hard: "+name+"\n"); !strings.Contains(after, strings.ReplaceAll(begin+body+end, "\r\n", "\n")) {
			t.Errorf("%s did not arrive as it was sent; the sink has\n%.2000q", name, after)
		}
	}
	if got := u.sink.taken(t); strings.Contains(got, "Bcc:") || !strings.Contains(got, "<scan@contoso.com>") {
		t.Errorf("the envelope's sender is missing:\n%.500s", got)
	}
	u.stop()
}

// TestFetchFromRealIMAP runs tasks against Dovecot's IMAP and looks at the maildir.
func TestFetchFromRealIMAP(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	task := func(name, more string) string {
		return fmt.Sprintf("  - {name: %s, account: invoices, directory: %s, start: all, %s}\n", name, filepath.Join(dir, name), more)
	}
	u := newUpstream(t, "tasks:\n"+task("look", "after: nothing")+task("read", "after: read")+task("move", "after: move, move_to: Done")+task("delete", "after: delete"))
	const user = "invoices@contoso.com"
	want := map[string]string{}
	for i := range 3 {
		files := map[string]string{
			fmt.Sprintf("invoice %d.pdf", i):  strings.Repeat(fmt.Sprintf("%%PDF %d ", i), 3000),
			fmt.Sprintf("Rechnung-%d.xml", i): fmt.Sprintf("<rechnung nr=\"%d\"/>", i),
		}
		for name, content := range files {
			want[name] = content
		}
		u.mail.deliver(t, user, mailWith(fmt.Sprintf("invoice %d", i), fmt.Sprintf("<invoice-%d@fabrikam.example>", i), files))
	}

	u.fetches(t, "look", 3, 6)
	if n := u.mail.flagged(t, user, "", "S"); n != 0 {
		t.Errorf("looking marked %d messages as read", n)
	}
	for name, content := range want {
		if b, err := os.ReadFile(filepath.Join(dir, "look", name)); err != nil || string(b) != content {
			t.Errorf("%s: %d octets, %v", name, len(b), err)
		}
	}
	u.fetches(t, "look", 0, 0)
	var bodies []string
	waitFor(t, "Dovecot's account of two sessions", func() bool { bodies = u.mail.bodies(t); return len(bodies) == 2 })
	if !slices.Equal(bodies, []string{"3", "0"}) {
		t.Errorf("Dovecot gave out so many messages in the two runs: %v", bodies)
	}
	if names, _ := filepath.Glob(filepath.Join(dir, "look", "[^.]*")); len(names) != 9 {
		t.Errorf("after the second run there are %d files: %v", len(names), names)
	}

	u.fetches(t, "read", 3, 6)
	if n := u.mail.flagged(t, user, "", "S"); n != 3 {
		t.Errorf("%d of 3 messages are marked as read", n)
	}

	if out, errOut, code := u.try("", "fetch", "run", "move"); code == 0 || !strings.Contains(errOut, `no folder "Done"`) {
		t.Errorf("a missing target: exit %d\n%s%s", code, out, errOut)
	}
	u.mail.makeFolder(t, user, "Done")
	u.fetches(t, "move", 3, 6)
	if here, there := u.mail.count(t, user, ""), u.mail.count(t, user, ".Done"); here != 0 || there != 3 {
		t.Errorf("after the move: %d in INBOX, %d in the target", here, there)
	}

	u.mail.deliver(t, user, mailWith("last", "<last@fabrikam.example>", map[string]string{"last.txt": "last"}))
	u.fetches(t, "delete", 1, 1)
	if n := u.mail.count(t, user, ""); n != 0 {
		t.Errorf("%d messages are left after deleting", n)
	}
	u.fetches(t, "delete", 0, 0)
	u.stop()
}

// fetches runs a task and wants so many messages taken and files stored.
func (u upstream) fetches(t *testing.T, task string, taken, files int) {
	t.Helper()
	out := u.postern("fetch", "run", task)
	if !strings.HasSuffix(out, fmt.Sprintf("%d taken, %d files, 0 failed\n", taken, files)) {
		t.Errorf("fetch run %s: want %d taken, %d files\n%s", task, taken, files, out)
	}
}

// TestCheckRealServers checks each protocol against Dovecot, POP3's token in two
// steps included.
func TestCheckRealServers(t *testing.T) {
	t.Parallel()
	u := newUpstream(t, "")
	u.mail.deliver(t, "scan@contoso.com", simpleMail("a@b.example", "scan@contoso.com", "one", "<one@b.example>"))
	out := u.postern("check", "scan")
	if n := strings.Count(out, "\nConnection successful"); n != 3 {
		t.Errorf("%d of 3 purposes are successful:\n%s", n, out)
	}
	if !strings.Contains(out, "1 message") {
		t.Errorf("the mailbox was not looked into:\n%s", out)
	}
	u.stop()
}

// TestRealServersRefuseTokens lets Dovecot refuse: a token that ended is replaced
// on the spot, and where no token will do, the account pauses and the check says why.
func TestRealServersRefuseTokens(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	u := newUpstream(t, fmt.Sprintf(`  - {name: stranger, account: stranger, password: {env: DEVICE_PASSWORD}}
tasks:
  - {name: inbox, account: invoices, directory: %s, start: all}
`, dir))
	t.Run("ended token", func(t *testing.T) {
		u.mail.deliver(t, "invoices@contoso.com", mailWith("late", "<late@fabrikam.example>", map[string]string{"late.txt": "late"}))
		u.endTokens(t)
		u.fetches(t, "inbox", 1, 1)
		u.send(t, "scanner", "scan@contoso.com", "with a new token")
		waitFor(t, "the message in the sink", func() bool { return strings.Contains(u.sink.taken(t), "with a new token") })
		if n := u.sim.World.Count("refresh"); n != 2 {
			t.Errorf("%d refreshes for two accounts", n)
		}
	})
	t.Run("somebody else's token", func(t *testing.T) {
		u.signIn("stranger", "scan@contoso.com") // Dovecot knows no Full Access: the token names another user
		for _, purpose := range []string{"send", "imap", "pop3"} {
			out, _, code := u.try("", "check", "stranger", "--for", purpose)
			if code != 3 || !strings.Contains(out, "\nsign-in failed: ") || !strings.Contains(out, "server: ") {
				t.Errorf("exit %d\n%s", code, out)
			}
		}
		u.send(t, "stranger", "invoices@contoso.com", "never to arrive")
		u.paused(t, "stranger", "smtp AUTH: 535 5.7.8")
	})
	t.Run("revoked sign-in", func(t *testing.T) {
		u.endTokens(t)
		u.sim.World.RevokeSessions("scan@contoso.com")
		u.stop() // the connection that is still signed in goes with it
		u.start()
		u.send(t, "scanner", "scan@contoso.com", "to wait")
		u.paused(t, "scan", "AADSTS50173")
		out, _, code := u.try("", "check", "scan", "--for", "imap")
		if code != 3 || !strings.Contains(out, "AADSTS50173") || !strings.Contains(out, "Sign the mailbox in again.") {
			t.Errorf("exit %d\n%s", code, out)
		}
	})
	if got := u.sink.taken(t); strings.Contains(got, "never to arrive") || strings.Contains(got, "to wait") {
		t.Error("mail went out in spite of a refused sign-in")
	}
	u.stop()
}

// endTokens ends every access token, once the newest is too old for Postern to
// trust it for its youth.
func (u upstream) endTokens(t *testing.T) {
	t.Helper()
	all := u.sim.World.Tokens()
	newest := all[len(all)-1].Issued
	waitFor(t, "the tokens to be a few seconds old", func() bool { return time.Since(newest) > 3*time.Second })
	u.sim.World.ExpireTokens()
}

// send submits one message as a device.
func (u upstream) send(t *testing.T, device, from, subject string) {
	t.Helper()
	c, err := u.loginAs(device, u.doorTLS())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	id := "<" + strings.ReplaceAll(subject, " ", "-") + "@test.example>"
	if err := submit(c, from, "someone@elsewhere.example", simpleMail(from, "someone@elsewhere.example", subject, id)); err != nil {
		t.Fatal(err)
	}
}

// paused waits until an account waits for a sign-in, and wants the reason to name why.
func (u upstream) paused(t *testing.T, account, why string) {
	t.Helper()
	var found struct{ Name, State, Reason string }
	waitFor(t, account+" to be paused", func() bool {
		var all []struct{ Name, State, Reason string }
		if err := json.Unmarshal([]byte(u.postern("accounts", "list", "--json")), &all); err != nil {
			t.Fatal(err)
		}
		for _, a := range all {
			if a.Name == account {
				found = a
			}
		}
		return found.State == "needs_sign_in"
	})
	if !strings.Contains(found.Reason, why) {
		t.Errorf("%s is paused because %q, want %q", account, found.Reason, why)
	}
}
