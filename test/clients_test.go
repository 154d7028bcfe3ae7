package test

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postern/internal/sim365/world"
)

// TestLegacyClients sends through the door with programs that know host, port,
// user and password and nothing else, and finds every message in Microsoft's
// mailbox afterwards.
func TestLegacyClients(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	g.unlimited("scan@contoso.com")
	g.setUp("")
	ca := filepath.Join(g.dataDir(), "tls.crt")
	mail := filepath.Join(g.dir, "mail.eml")
	host, prt := "localhost", port(g.smtp)

	for _, c := range []struct {
		name string
		cmd  func(subject string) *exec.Cmd
	}{
		{"python3", func(subject string) *exec.Cmd {
			return exec.Command("python3", "-c", `
import os, smtplib, ssl, sys
from email.message import EmailMessage
m = EmailMessage()
m["From"], m["To"], m["Subject"] = "scan@contoso.com", "someone@elsewhere.example", sys.argv[1]
m.set_content("from smtplib\n.a line that begins with a dot\n")
with smtplib.SMTP("localhost", int(sys.argv[2])) as s:
    s.starttls(context=ssl.create_default_context(cafile=sys.argv[3]))
    s.login("scanner", os.environ["DEVICE_PASSWORD"])
    s.send_message(m)
`, subject, prt, ca)
		}},
		{"swaks", func(subject string) *exec.Cmd {
			return exec.Command("swaks", "--server", host, "--port", prt, "--tls", "--tls-verify", "--tls-ca-path", ca, "--auth", "LOGIN", "--auth-user", "scanner",
				"--auth-password", devicePassword, "--from", "scan@contoso.com", "--to", "someone@elsewhere.example", "--header", "Subject: "+subject, "--helo", "printer")
		}},
		{"msmtp", func(subject string) *exec.Cmd {
			cmd := exec.Command("msmtp", "--host="+host, "--port="+prt, "--tls=on", "--tls-trust-file="+ca, "--auth=plain", "--user=scanner",
				"--passwordeval=printenv DEVICE_PASSWORD", "--from=scan@contoso.com", "someone@elsewhere.example")
			cmd.Stdin = strings.NewReader("From: scan@contoso.com\nTo: someone@elsewhere.example\nSubject: " + subject + "\n\nfrom msmtp\n")
			return cmd
		}},
		{"curl", func(subject string) *exec.Cmd {
			writeFile(t, mail, []byte("From: scan@contoso.com\r\nTo: someone@elsewhere.example\r\nSubject: "+subject+"\r\n\r\nfrom curl\r\n"))
			return exec.Command("curl", "-sS", "--url", "smtp://"+host+":"+prt, "--ssl-reqd", "--cacert", ca, "--user", "scanner:"+devicePassword,
				"--mail-from", "scan@contoso.com", "--mail-rcpt", "someone@elsewhere.example", "-T", mail)
		}},
		{"s-nail", func(subject string) *exec.Cmd {
			cmd := exec.Command("s-nail", "-:/", "-S", "v15-compat", "-S", "mta=smtp://scanner:"+devicePassword+"@"+host+":"+prt, "-S", "smtp-use-starttls", "-S", "smtp-auth=login",
				"-S", "tls-verify=strict", "-S", "tls-ca-file="+ca, "-S", "tls-ca-no-defaults", "-S", "hostname=printer", "-r", "scan@contoso.com", "-s", subject, "someone@elsewhere.example")
			cmd.Stdin = strings.NewReader("from s-nail\n.\nstill from s-nail\n")
			return cmd
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			need(t, c.name)
			subject := "sent by " + c.name
			runClient(t, g, c.cmd(subject))
			waitFor(t, "the message in Sent Items", func() bool { return sentWith(g, subject) == 1 })
		})
	}
	t.Run("wrong password", func(t *testing.T) {
		cmd := exec.Command("curl", "-sS", "--url", "smtp://"+host+":"+prt, "--ssl-reqd", "--cacert", ca, "--user", "scanner:wrong-password",
			"--mail-from", "scan@contoso.com", "--mail-rcpt", "someone@elsewhere.example", "-T", mail)
		if out, err := cmd.CombinedOutput(); err == nil {
			t.Errorf("curl was let in: %s", out)
		}
	})
	t.Run("foreign sender", func(t *testing.T) {
		c, err := g.login(g.doorTLS())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := c.Mail("boss@contoso.com"); err == nil || !strings.Contains(err.Error(), "550") && !strings.Contains(err.Error(), "5.7") {
			t.Errorf("MAIL FROM a stranger: %v", err)
		}
	})
	g.stop()
}

// runClient runs a mail program with the gate's environment.
func runClient(t *testing.T, g *gate, cmd *exec.Cmd) string {
	t.Helper()
	cmd.Env = append(g.env, "HOME="+g.dir)
	done := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
	defer done.Stop()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", cmd.Args[0], err, out)
	}
	return string(out)
}

func sentWith(g *gate, subject string) int {
	n := 0
	for _, m := range g.sim.World.Messages("scan@contoso.com", "Sent Items") {
		if headerOf(m.Raw, "Subject") == subject {
			n++
		}
	}
	return n
}

// TestSimulatorWithRealClients logs in to the simulated Exchange with programs
// that speak XOAUTH2 themselves: what they accept, the simulator may answer.
func TestSimulatorWithRealClients(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	g.setUp("")
	token := userToken(t, g, "scan", "IMAP.AccessAsUser.All", "SMTP.Send", "POP.AccessAsUser.All")
	if err := g.sim.Deliver("scan@contoso.com", simpleMail("a@b.example", "scan@contoso.com", "hello from outside", "<sim-1@b.example>")); err != nil {
		t.Fatal(err)
	}
	env := append(g.env, "TOKEN="+token)
	ca := g.caFile()
	for name, cmd := range map[string]*exec.Cmd{
		"imaplib": exec.Command("python3", "-c", `
import imaplib, os, ssl, sys
c = imaplib.IMAP4_SSL("localhost", int(sys.argv[1]), ssl_context=ssl.create_default_context(cafile=sys.argv[2]))
c.authenticate("XOAUTH2", lambda _: ("user=scan@contoso.com\x01auth=Bearer %s\x01\x01" % os.environ["TOKEN"]).encode())
assert c.select("INBOX", readonly=True)[0] == "OK"
uids = c.uid("SEARCH", None, "ALL")[1][0].split()
assert len(uids) == 1, uids
body = c.uid("FETCH", uids[0], "(BODY.PEEK[])")[1][0][1]
assert b"hello from outside" in body
c.logout()
`, fmt.Sprint(g.sim.IMAP().Port), ca),
		"curl imaps": exec.Command("curl", "-sS", "--url", fmt.Sprintf("imaps://localhost:%d/INBOX;UID=1", g.sim.IMAP().Port), "--cacert", ca,
			"--user", "scan@contoso.com", "--oauth2-bearer", token, "--login-options", "AUTH=XOAUTH2"),
		"swaks smtp": exec.Command("python3", "-c", `
import base64, os, smtplib, ssl, sys
s = smtplib.SMTP("localhost", int(sys.argv[1]))
s.starttls(context=ssl.create_default_context(cafile=sys.argv[2])); s.ehlo()
blob = base64.b64encode(("user=scan@contoso.com\x01auth=Bearer %s\x01\x01" % os.environ["TOKEN"]).encode()).decode()
code, text = s.docmd("AUTH XOAUTH2 " + blob)
assert (code, text) == (235, b"2.7.0 Authentication successful"), (code, text)
s.sendmail("scan@contoso.com", ["x@elsewhere.example"], "From: scan@contoso.com\r\nSubject: sent by smtplib itself\r\n\r\nhi\r\n")
s.quit()
`, fmt.Sprint(g.sim.SMTP().Port), ca),
	} {
		t.Run(name, func(t *testing.T) {
			need(t, cmd.Args[0])
			cmd.Env = env
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			} else if name == "curl imaps" && !strings.Contains(string(out), "hello from outside") {
				t.Errorf("curl got %q", out)
			}
		})
	}
	g.stop()
}

// userToken gets an access token for a mailbox of the fixture straight from the world.
func userToken(t *testing.T, g *gate, user string, scopes ...string) string {
	t.Helper()
	u, ok := g.sim.World.User(user + "@contoso.com")
	if !ok {
		t.Fatalf("no user %s", user)
	}
	return g.sim.World.IssueAccess(world.Token{
		TenantID: g.contoso.Tenant.ID, ClientID: g.contoso.App.ClientID, Resource: "https://outlook.office.com",
		Scopes: scopes, UserID: u.ObjectID, UPN: u.UPN,
	}).Raw
}
