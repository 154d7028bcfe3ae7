package test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// bridgeClients are programs that know a name and a password, before a Dovecot that
// takes tokens only. The mailbox holds count messages, and one more in the folder Done.
type bridgeClients struct {
	upstream
	imap, imaps, pop3, pop3s string
	ca, dir                  string
	ids                      []string // of the messages in INBOX
}

const clientsMailbox = "scan@contoso.com"

func newBridgeClients(t *testing.T) *bridgeClients {
	t.Helper()
	c := &bridgeClients{imap: freeAddress(t), imaps: freeAddress(t), pop3: freeAddress(t), pop3s: freeAddress(t), dir: rootDir(t)}
	c.upstream = newUpstream(t, "  - {name: reader, account: scan, password: {env: DEVICE_PASSWORD}, doors: [imap, pop3]}\n",
		"POSTERN_IMAP_LISTEN="+c.imap, "POSTERN_IMAPS_LISTEN="+c.imaps, "POSTERN_POP3_LISTEN="+c.pop3, "POSTERN_POP3S_LISTEN="+c.pop3s)
	c.ca = filepath.Join(c.dir, "door.pem")
	pem, err := os.ReadFile(filepath.Join(c.dataDir(), "tls.crt"))
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, c.ca, pem)
	for i := range 25 {
		id := fmt.Sprintf("<client-%d@fabrikam.example>", i)
		files := map[string]string{fmt.Sprintf("Rechnung ü %d.pdf", i): strings.Repeat(fmt.Sprintf("%%PDF %d\r\n", i), 500*(i+1))}
		raw := append([]byte("Return-Path: <supplier@fabrikam.example>\r\n"), mailWith(fmt.Sprintf("Grüße %d", i), id, files)...)
		c.mail.deliver(t, clientsMailbox, raw)
		c.ids = append(c.ids, id)
	}
	slices.Sort(c.ids)
	c.mail.makeFolder(t, clientsMailbox, "Done")
	return c
}

// run starts a client in a directory of its own and returns what it said.
func (c *bridgeClients) run(t *testing.T, dir string, env []string, program string, args ...string) string {
	t.Helper()
	need(t, program)
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = dir
	cmd.Env = append(append(os.Environ(), "HOME="+dir, "MAIL_PASSWORD="+devicePassword), env...)
	out, err := cmd.CombinedOutput()
	said := strings.ReplaceAll(string(out), devicePassword, "(the password)")
	if err != nil {
		t.Fatalf("%s: %v, and said:\n%s", program, errors.Join(err, ctx.Err()), said)
	}
	return said
}

// home is a directory for one client, with its configuration.
func (c *bridgeClients) home(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := rootDir(t)
	for name, text := range files {
		text = strings.NewReplacer("DIR", dir, "CA", c.ca, "PASSWORD", devicePassword,
			"IMAPS_PORT", port(c.imaps), "POP3S_PORT", port(c.pop3s), "IMAP_PORT", port(c.imap), "POP3_PORT", port(c.pop3)).Replace(text)
		writeFile(t, filepath.Join(dir, name), []byte(text))
		if err := os.Chmod(filepath.Join(dir, name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// found compares the Message-IDs in files with what is in the mailbox.
func (c *bridgeClients) found(t *testing.T, files ...string) {
	t.Helper()
	var got []string
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			if id, ok := strings.CutPrefix(line, "Message-ID: "); ok {
				got = append(got, strings.TrimSpace(id))
			}
		}
	}
	c.same(t, got)
}

func (c *bridgeClients) same(t *testing.T, got []string) {
	t.Helper()
	slices.Sort(got)
	if !slices.Equal(got, c.ids) {
		t.Errorf("%d messages, want %d: %q", len(got), len(c.ids), got)
	}
}

// inside are the files of a directory.
func inside(t *testing.T, parts ...string) (files []string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(parts...))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		files = append(files, filepath.Join(filepath.Join(parts...), e.Name()))
	}
	return files
}

// TestBridgeClients lets programs that were not made for Microsoft read a mailbox that
// takes tokens only, unchanged: configured with a name and a password.
func TestBridgeClients(t *testing.T) {
	t.Parallel()
	c := newBridgeClients(t)
	for name, client := range map[string]func(*testing.T){
		"mbsync": c.mbsync, "getmail over IMAP": c.getmailIMAP, "getmail over POP3": c.getmailPOP3,
		"fetchmail over IMAP": c.fetchmailIMAP, "fetchmail over POP3": c.fetchmailPOP3,
		"neomutt": c.neomutt, "curl": c.curl, "Python": c.python, "imapflow": c.imapflow,
	} {
		t.Run(name, client)
	}
	c.stop()
}

func (c *bridgeClients) mbsync(t *testing.T) {
	dir := c.home(t, map[string]string{"rc": `
IMAPAccount a
Host localhost
Port IMAPS_PORT
User reader
Pass "PASSWORD"
SSLType IMAPS
CertificateFile CA

IMAPStore far
Account a

MaildirStore near
Path DIR/mail/
Inbox DIR/mail/INBOX
SubFolders Verbatim

Channel c
Far :far:
Near :near:
Patterns *
Create Near
SyncState *
`})
	mkdirFor(t, filepath.Join(dir, "mail"), "root")
	for range 2 { // the second finds nothing new
		c.run(t, dir, nil, "mbsync", "-q", "-c", filepath.Join(dir, "rc"), "c")
	}
	c.found(t, append(inside(t, dir, "mail/INBOX/new"), inside(t, dir, "mail/INBOX/cur")...)...)
	if _, err := os.Stat(filepath.Join(dir, "mail", "Done")); err != nil {
		t.Error(err)
	}
}

const getmailrc = `
[retriever]
type = RETRIEVER
server = localhost
port = PORT
username = reader
password = PASSWORD
ca_certs = CA
MORE
[destination]
type = MDA_lmtp
host = 127.0.0.1
port = INTO
override = reader@localhost
[options]
read_all = false
delete = false
delivered_to = false
received = false
`

// getmail delivers over LMTP here: for a file it makes a process for each message, and
// waits in vain for one that ends before it has begun to wait.
func (c *bridgeClients) getmail(t *testing.T, retriever, at, more string) {
	t.Helper()
	into := newLMTPSink(t)
	dir := c.home(t, map[string]string{"rc": strings.NewReplacer("RETRIEVER", retriever, "PORT", at, "MORE", more, "INTO", port(into.addr)).Replace(getmailrc)})
	c.run(t, dir, nil, "getmail", "--getmaildir", dir, "--rcfile", "rc")
	if out := c.run(t, dir, nil, "getmail", "--getmaildir", dir, "--rcfile", "rc"); !strings.Contains(out, " 0 messages") {
		t.Errorf("the second run: %s", out)
	}
	c.same(t, into.taken())
}

func (c *bridgeClients) getmailIMAP(t *testing.T) {
	c.getmail(t, "SimpleIMAPSSLRetriever", "IMAPS_PORT", `mailboxes = ("INBOX",)`)
}

func (c *bridgeClients) getmailPOP3(t *testing.T) {
	c.getmail(t, "SimplePOP3SSLRetriever", "POP3S_PORT", "")
}

func (c *bridgeClients) fetchmail(t *testing.T, words string) {
	t.Helper()
	dir := c.home(t, map[string]string{"rc": "poll localhost " + words + " user reader password \"PASSWORD\" is root here ssl sslcertck sslcertfile CA keep fetchall mda \"cat >> DIR/mbox\"\n"})
	c.run(t, dir, []string{"FETCHMAILHOME=" + dir}, "fetchmail", "-s", "-f", filepath.Join(dir, "rc"), "--pidfile", filepath.Join(dir, "pid"), "--idfile", filepath.Join(dir, "ids"))
	c.found(t, filepath.Join(dir, "mbox"))
}

func (c *bridgeClients) fetchmailIMAP(t *testing.T) {
	c.fetchmail(t, "proto imap service "+port(c.imaps))
}
func (c *bridgeClients) fetchmailPOP3(t *testing.T) {
	c.fetchmail(t, "proto pop3 service "+port(c.pop3s))
}

// neomutt wants a terminal; script gives it one.
func (c *bridgeClients) neomutt(t *testing.T) {
	need(t, "neomutt")
	dir := c.home(t, map[string]string{"rc": `
set imap_user = "reader"
set imap_pass = "PASSWORD"
set ssl_ca_certificates_file = "CA"
set certificate_file = "CA"
set ssl_force_tls = yes
set mbox_type = mbox
set copy = no
set confirm_append = no
set header_cache = ""
set folder = "imaps://localhost:IMAPS_PORT/"
set quit = yes
`, "rc2": ""})
	keys := `push "<tag-pattern>~A<enter><tag-prefix><copy-message>` + dir + `/mbox<enter>y<quit>"`
	c.run(t, dir, []string{"TERM=xterm", "COLUMNS=120", "LINES=40"}, "script", "-qec",
		fmt.Sprintf("neomutt -n -F %s/rc -f imaps://localhost:%s/INBOX -e '%s'", dir, port(c.imaps), keys), "/dev/null")
	c.found(t, filepath.Join(dir, "mbox"))
}

func (c *bridgeClients) curl(t *testing.T) {
	var all []string
	dir := c.home(t, map[string]string{"netrc": "machine localhost login reader password PASSWORD\n"})
	curl := func(args ...string) string {
		return c.run(t, dir, nil, "curl", append([]string{"-sS", "--netrc-file", "netrc", "--cacert", c.ca, "--ssl-reqd"}, args...)...)
	}
	for i := range c.ids { // each by its own login, over all doors in turn
		address := []string{
			fmt.Sprintf("imaps://localhost:%s/INBOX;MAILINDEX=%d", port(c.imaps), i+1), fmt.Sprintf("imap://localhost:%s/INBOX;MAILINDEX=%d", port(c.imap), i+1),
			fmt.Sprintf("pop3s://localhost:%s/%d", port(c.pop3s), i+1), fmt.Sprintf("pop3://localhost:%s/%d", port(c.pop3), i+1),
		}[i%4]
		path := filepath.Join(dir, strconv.Itoa(i))
		writeFile(t, path, []byte(curl(address)))
		all = append(all, path)
	}
	c.found(t, all...)
	if out := curl("imaps://localhost:" + port(c.imaps)); !strings.Contains(out, "Done") {
		t.Errorf("folders: %s", out)
	}
}

const pythonClient = `
import email, imaplib, json, os, poplib, ssl, sys
imaps, imap, pop3s, pop3, ca = sys.argv[1:]
tls, word = ssl.create_default_context(cafile=ca), os.environ["MAIL_PASSWORD"]
ids = {}
def mid(raw): return email.message_from_bytes(raw)["Message-ID"]
for name in "imaps", "imap":
    m = imaplib.IMAP4_SSL("localhost", int(imaps), ssl_context=tls) if name == "imaps" else imaplib.IMAP4("localhost", int(imap))
    if name == "imap":
        m.starttls(tls)
        m.authenticate("PLAIN", lambda _: b"\0reader\0" + word.encode())
    else:
        m.login("reader", word)
    m.select("INBOX", readonly=True)
    ids[name] = [mid(m.fetch(n, "(BODY.PEEK[])")[1][0][1]) for n in m.search(None, "ALL")[1][0].split()]
    m.logout()
for name in "pop3s", "pop3":
    p = poplib.POP3_SSL("localhost", int(pop3s), context=tls) if name == "pop3s" else poplib.POP3("localhost", int(pop3))
    if name == "pop3":
        p.stls(tls)
    p.user("reader"); p.pass_(word)
    ids[name] = [mid(b"\r\n".join(p.retr(i + 1)[1])) for i in range(p.stat()[0])]
    p.quit()
m = imaplib.IMAP4_SSL("localhost", int(imaps), ssl_context=tls)  # writes as well: append, flag, copy, expunge
m.login("reader", word)
m.append("Done", None, None, b"From: a@b.example\r\nMessage-ID: <appended@b.example>\r\n\r\nwritten by a client\r\n")
m.select("Done")
m.store("1", "+FLAGS", r"(\Seen)")
ids["appended"] = [mid(m.fetch("1", "(RFC822)")[1][0][1])]
m.store("1", "+FLAGS", r"(\Deleted)")
m.expunge()
ids["left"] = m.search(None, "ALL")[1][0].decode()
m.logout()
print(json.dumps(ids))
`

func (c *bridgeClients) python(t *testing.T) {
	dir := c.home(t, nil)
	out := c.run(t, dir, nil, "python3", "-c", pythonClient, port(c.imaps), port(c.imap), port(c.pop3s), port(c.pop3), c.ca)
	var got struct {
		IMAPS, IMAP, POP3S, POP3, Appended []string
		Left                               string
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, ids := range [][]string{got.IMAPS, got.IMAP, got.POP3S, got.POP3} {
		c.same(t, ids)
	}
	if !slices.Equal(got.Appended, []string{"<appended@b.example>"}) || got.Left != "" {
		t.Errorf("appended %q, left %q", got.Appended, got.Left)
	}
}

func (c *bridgeClients) imapflow(t *testing.T) {
	modules(t, "imapflow")
	client, err := filepath.Abs("imapflow/client.mjs")
	if err != nil {
		t.Fatal(err)
	}
	out := c.run(t, c.home(t, nil), nil, "node", client, port(c.imaps), c.ca, "reader")
	var got struct {
		Folders, IDs, Errors []string
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	c.same(t, got.IDs)
	if !slices.Equal(got.Folders, []string{"Done", "INBOX"}) || len(got.Errors) > 0 {
		t.Errorf("folders %q, errors %q", got.Folders, got.Errors)
	}
}
