package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"postern/internal/relay"
	"postern/internal/sim365/world"
)

// php runs a script whose mail() goes through Postern's sendmail, as a web server would
// run it, and returns what it printed.
func (g *gate) php(t *testing.T, sendmail, script string) string {
	t.Helper()
	cmd := exec.Command("php", "-n", "-d", "sendmail_path="+sendmail+" -t -i", "-d", "error_reporting=0", "-r", script)
	cmd.Env, cmd.Dir = g.env, g.dir
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("php: %v\n%s", err, out)
	}
	return string(out)
}

// TestPHPMail sends with PHP's own mail(), and looks at envelope and text of what arrives.
func TestPHPMail(t *testing.T) {
	t.Parallel()
	need(t, "php")
	g := newGate(t)
	g.unlimited("scan@contoso.com")
	g.setUp("")
	g.apply(strings.Replace(viaSendmail, "account: scan,", "account: scan, senders: [alias@contoso.com],", 1))
	g.sim.World.SetPolicy("scan@contoso.com", func(p *world.MailboxPolicy) { p.SendAs = append(p.SendAs, "alias@contoso.com") })
	link := g.sendmailLink()
	line := strings.Repeat("0123456789", 130) // longer than mail should have them (RFC 5322 §2.1.1)
	for _, c := range []struct {
		name, script string
		from         string
		to           []string
		want, not    []string
	}{
		{
			"all in the header",
			`mail("Some One <one@elsewhere.example>, two@elsewhere.example", "NAME", "first\n.\n..\nlast", ["From" => "Shop <scan@contoso.com>", "Cc" => "three@elsewhere.example", "Bcc" => "four@elsewhere.example"])`,
			"scan@contoso.com",
			[]string{"four@elsewhere.example", "one@elsewhere.example", "three@elsewhere.example", "two@elsewhere.example"},
			[]string{"\r\nFrom: Shop <scan@contoso.com>\r\n", "\r\nTo: Some One <one@elsewhere.example>, two@elsewhere.example\r\n", "\r\n\r\nfirst\r\n.\r\n..\r\nlast\r\n", "\r\nMessage-ID: <", "\r\nDate: "},
			[]string{"four@", "Bcc"},
		},
		{
			"no From", `mail("one@elsewhere.example", "NAME", "text")`,
			"scan@contoso.com", []string{"one@elsewhere.example"}, []string{"From: <scan@contoso.com>\r\n"}, nil,
		},
		{
			"the envelope's sender", `mail("one@elsewhere.example", "NAME", "text", "From: alias@contoso.com", "-falias@contoso.com")`,
			"alias@contoso.com", []string{"one@elsewhere.example"}, []string{"\r\nFrom: alias@contoso.com\r\n"}, nil,
		},
		{
			"8 bits", `mail("one@elsewhere.example", "NAME", "Grüße, 日本語", "From: scan@contoso.com\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit")`,
			"scan@contoso.com", []string{"one@elsewhere.example"}, []string{"Grüße, 日本語"}, nil,
		},
		{
			"a long line", `mail("one@elsewhere.example", "NAME", "` + line + `\nafter", "From: scan@contoso.com")`,
			"scan@contoso.com", []string{"one@elsewhere.example"}, []string{"\r\n" + line + "\r\nafter\r\n"}, nil,
		},
		{
			"line ends of all kinds", `mail("one@elsewhere.example", "NAME", "a\r\nb\nc\rd\n\n.\r\ne", "From: scan@contoso.com\nX-One: 1")`,
			"scan@contoso.com", []string{"one@elsewhere.example"}, []string{"\r\n\r\na\r\nb\r\nc\r\nd\r\n\r\n.\r\ne\r\n", "\r\nX-One: 1\r\n"}, nil,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if out := g.php(t, link, "echo "+strings.ReplaceAll(c.script, "NAME", "php "+c.name)+` ? "sent" : "failed";`); out != "sent" {
				t.Fatalf("mail() says %q", out)
			}
			waitFor(t, "the message in Sent Items", func() bool { return sentWith(g, "php "+c.name) == 1 })
			m := g.sentAs(t, "php "+c.name)
			to := slices.Sorted(slices.Values(m.To))
			if m.From != c.from || !slices.Equal(to, c.to) {
				t.Errorf("it went from %s to %q", m.From, to)
			}
			for _, want := range c.want {
				if !strings.Contains(string(m.Raw), want) {
					t.Errorf("it lacks %.80q:\n%.2000s", want, m.Raw)
				}
			}
			for _, not := range c.not {
				if strings.Contains(string(m.Raw), not) {
					t.Errorf("it tells %q:\n%.2000s", not, m.Raw)
				}
			}
		})
	}
	before := len(g.queue())
	for name, script := range map[string]string{
		"a stranger's envelope": `mail("one@elsewhere.example", "x", "text", "", "-fboss@contoso.com")`,
		"a stranger's From":     `mail("one@elsewhere.example", "x", "text", "From: boss@contoso.com")`,
		"no recipient":          `mail("", "x", "text")`,
		"no database":           `putenv("POSTERN_DATABASE=postgres://x@127.0.0.1:9/x") && mail("one@elsewhere.example", "x", "text")`,
	} {
		if out := g.php(t, link, "echo "+script+` ? "sent" : "failed";`); out != "failed" {
			t.Errorf("%s: mail() says %q", name, out)
		}
	}
	if n := len(g.queue()) - before; n != 0 {
		t.Errorf("%d messages were queued that mail() calls failed", n)
	}
	g.stop()
}

// TestProgramsOverPipes has swaks start sendmail -bs and speak SMTP with it, as Symfony
// and Laravel do, and a shell say all at once.
func TestProgramsOverPipes(t *testing.T) {
	t.Parallel()
	need(t, "swaks")
	g := newGate(t)
	g.unlimited("scan@contoso.com")
	g.setUp("")
	g.apply(strings.Replace(viaSendmail, "account: scan,", "account: scan, networks: [192.0.2.0/24], per_minute: 2,", 1))
	link := g.sendmailLink()
	runClient(t, g, exec.Command("swaks", "--pipe", link+" -bs -i", "--from", "scan@contoso.com", "--to", "one@elsewhere.example,two@elsewhere.example",
		"--header", "Subject: by swaks", "--body", "first\n.\nlast"))
	waitFor(t, "the message in Sent Items", func() bool { return sentWith(g, "by swaks") == 1 })
	if m := g.sentAs(t, "by swaks"); len(m.To) != 2 || !strings.Contains(string(m.Raw), "first\r\n.\r\nlast") || !strings.Contains(string(m.Raw), "with LOCAL id") {
		t.Errorf("to %q:\n%s", m.To, m.Raw)
	}
	const more = `printf 'EHLO x\r\nMAIL FROM:<scan@contoso.com>\r\nRCPT TO:<one@elsewhere.example>\r\nDATA\r\nSubject: NAME\r\n\r\nx\r\n.\r\n' | "$SENDMAIL" -bs`
	g.env = append(g.env, "SENDMAIL="+link)
	if out := runClient(t, g, exec.Command("sh", "-c", strings.Replace(more, "NAME", "by a shell", 1))); !strings.Contains(out, "250 2.0.0 Ok: queued as ") {
		t.Errorf("it is told\n%s", out)
	}
	waitFor(t, "the shell's message", func() bool { return sentWith(g, "by a shell") == 1 })
	// Every session is a process of its own; what a device may send counts for all of them.
	if out := runClient(t, g, exec.Command("sh", "-c", strings.Replace(more, "NAME", "one too many", 1))); !strings.Contains(out, "\r\n451 ") {
		t.Errorf("it is told\n%s", out)
	}
	g.stop()
}

// sentAs is the message with that subject in Sent Items.
func (g *gate) sentAs(t *testing.T, subject string) world.Stored {
	t.Helper()
	for _, m := range g.sim.World.Messages("scan@contoso.com", "Sent Items") {
		if headerOf(m.Raw, "Subject") == subject {
			return m
		}
	}
	t.Fatalf("nothing was sent as %q", subject)
	return world.Stored{}
}

// TestSendmailsOtherNames asks for the queue, and for aliases, as programs do that know
// sendmail's other names.
func TestSendmailsOtherNames(t *testing.T) {
	t.Parallel()
	g := bareGate(t)
	g.apply(bareDocument + "  - {name: sendmail, account: scan, password: {env: DEVICE_PASSWORD}}\n")
	run := func(name, stdin string, args ...string) string {
		t.Helper()
		link := filepath.Join(g.dir, name)
		if err := os.Symlink(binary(t), link); err != nil && !os.IsExist(err) {
			t.Fatal(err)
		}
		cmd := exec.Command(link, args...)
		cmd.Env, cmd.Dir, cmd.Stdin = g.env, g.dir, strings.NewReader(stdin)
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s %q: %v", name, args, err)
		}
		return string(out)
	}
	if out := run("newaliases", ""); out != "" {
		t.Errorf("newaliases prints %q", out)
	}
	if out := run("mailq", ""); out != "Mail queue is empty\n" {
		t.Errorf("mailq prints %q", out)
	}
	run("sendmail", "Subject: one\n\nx\n", "a@elsewhere.example")
	run("sendmail", "Subject: two\n\nx\n", "b@elsewhere.example")
	for _, m := range g.queue() {
		if m.Subject == "two" {
			g.postern("queue", "hold", m.ID)
		}
	}
	for _, out := range []string{run("mailq", ""), run("sendmail", "", "-bp")} {
		if !strings.Contains(out, "a@elsewhere.example") || !strings.Contains(out, "b@elsewhere.example") || !strings.Contains(out, string(relay.Held)) || strings.Contains(out, "empty") {
			t.Errorf("mailq prints %q", out)
		}
	}
}
