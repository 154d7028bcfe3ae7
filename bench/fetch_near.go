package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// mailboxServer is a Dovecot with one full mailbox.
type mailboxServer struct {
	dir, port, ca string
	count         map[string]int // of messages, by mailbox
	stop          func()
}

// The mailboxes, and the password of all.
const (
	everything    = "all@contoso.com"
	share         = "few@contoso.com"
	multitude     = "many@contoso.com"
	fetchPassword = "of-no-meaning"
)

// startMailbox fills a mailbox and serves it.
func (b *bench) startMailbox(ctx context.Context, count int) (*mailboxServer, error) {
	addr := freeAddress()
	m := &mailboxServer{dir: filepath.Join(b.work, "dovecot"), port: portOf(addr), ca: filepath.Join(b.work, "dovecot/cert.pem"),
		count: map[string]int{everything: count, share: count / fetchShare, multitude: count * fetchMany}}
	for user, count := range m.count {
		if err := m.fill(user, count); err != nil {
			return nil, err
		}
	}
	g, err := b.serveDovecot(ctx, m.dir, addr, imapServer{})
	m.stop = g.stop
	return m, err
}

// letter is the i-th message.
func letter(i int) []byte {
	head := fmt.Sprintf("From: Bill <bill@example.com>\r\nTo: u@contoso.com\r\nSubject: message %d\r\nMessage-ID: <%d@example.com>\r\n"+
		"Date: Tue, 3 Mar 2026 04:05:06 +0000\r\nMIME-Version: 1.0\r\n", i, i)
	text := strings.Repeat("Words of the message, as they come, one line after the other, and so on.\r\n", 135)
	if i%10 != 0 {
		return []byte(head + "Content-Type: text/plain\r\n\r\n" + text)
	}
	attachment := strings.Repeat(strings.Repeat("QUJD", 19)+"\r\n", 50<<10*4/3/78)
	return []byte(head + "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\n" + text +
		"\r\n--b\r\nContent-Type: application/pdf; name=a.pdf\r\nContent-Disposition: attachment; filename=a.pdf\r\n" +
		"Content-Transfer-Encoding: base64\r\n\r\n" + attachment + "--b--\r\n")
}

// fill puts messages into a mailbox.
func (m *mailboxServer) fill(user string, count int) error {
	inbox := filepath.Join(m.dir, "mail", user, "cur")
	if err := os.MkdirAll(inbox, 0o755); err != nil { //nolint:gosec // dovecot's own users must enter
		return err
	}
	for i := range count {
		path := filepath.Join(inbox, fmt.Sprintf("%d.M%d.bench:2,", 1_700_000_000+i, i))
		if err := os.WriteFile(path, letter(i), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// config writes a program's configuration for its eyes only.
func config(dir, name, text string) (string, error) {
	path := filepath.Join(dir, name)
	return path, os.WriteFile(path, []byte(text), 0o600)
}

func (m *mailboxServer) mbsync(ctx context.Context) fetcher {
	return fetcher{name: "mbsync", into: "mail", count: m.count[everything], prepare: func(dir string) (*exec.Cmd, error) {
		rc, err := config(dir, "rc", strings.NewReplacer("DIR", dir, "PORT", m.port, "CA", m.ca, "PASSWORD", fetchPassword, "USER", everything).Replace(`
IMAPAccount a
Host localhost
Port PORT
User USER
Pass PASSWORD
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
Patterns INBOX
Sync Pull
Create Near
SyncState DIR/
`))
		if err == nil {
			err = os.Mkdir(filepath.Join(dir, "mail"), 0o700)
		}
		return exec.CommandContext(ctx, "mbsync", "-q", "-c", rc, "c"), err //nolint:gosec // our own file
	}}
}

func (m *mailboxServer) getmail(ctx context.Context) fetcher {
	return getmail(ctx, m.count[share], fmt.Sprintf("server = localhost\nport = %s\nusername = %s\npassword = %s\nca_certs = %s\n", m.port, share, fetchPassword, m.ca))
}

// mended is getmail6 without a race of its own: it begins to listen for the end of the
// process that delivers a message after it has begun that process, misses it now and
// then, waits in vain and gives up. Here it asks for the end instead.
const mended = `import os, runpy, sys
import getmailcore.baseclasses as base
base.ForkingBase._prepare_child = lambda self: None
base.ForkingBase._wait_for_child = lambda self, pid: os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
sys.argv[0] = sys.argv.pop(1)
runpy.run_path(sys.argv[0], run_name="__main__")
`

// getmail reads by the given words.
func getmail(ctx context.Context, count int, words string) fetcher {
	return fetcher{name: "getmail6", into: "mail/new", count: count, prepare: func(dir string) (*exec.Cmd, error) {
		for _, sub := range []string{"mail", "mail/new", "mail/cur", "mail/tmp"} {
			if err := os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil {
				return nil, err
			}
		}
		rc, err := config(dir, "rc", "[retriever]\ntype = SimpleIMAPSSLRetriever\nmailboxes = (\"INBOX\",)\n"+words+
			"[destination]\ntype = Maildir\npath = "+dir+"/mail/\n[options]\nread_all = false\ndelete = false\nverbose = 0\ndelivered_to = false\nreceived = false\n")
		if err != nil {
			return nil, err
		}
		program, err := exec.LookPath("getmail")
		if err != nil {
			return nil, err
		}
		cmd := exec.CommandContext(ctx, "/usr/bin/python3", "-c", mended, program, "--getmaildir", dir, "--rcfile", rc) //nolint:gosec // our own words
		return cmd, asNobody(ctx, cmd, dir)
	}}
}

// asNobody is for who refuses to deliver as root.
func asNobody(ctx context.Context, cmd *exec.Cmd, dir string) error {
	if os.Getuid() != 0 {
		return nil
	}
	const nobody, nogroup = 65534, 65534
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nogroup}}
	cmd.Env = append(os.Environ(), "HOME="+dir)
	return exec.CommandContext(ctx, "chown", "-R", "nobody:nogroup", dir).Run() //nolint:gosec // our own directory
}

// fetchmail stores nothing itself: dd does, with a flush as the others.
func (m *mailboxServer) fetchmail(ctx context.Context) fetcher {
	return fetcher{name: "fetchmail", into: "mail", count: m.count[share], prepare: func(dir string) (*exec.Cmd, error) {
		if err := os.Mkdir(filepath.Join(dir, "mail"), 0o700); err != nil {
			return nil, err
		}
		rc, err := config(dir, "rc", fmt.Sprintf("poll localhost proto imap service %s user %s password %s is root here ssl sslcertck sslcertfile %s keep fetchall mda \"exec dd of=%s/mail/$$ conv=fsync status=none\"\n",
			m.port, share, fetchPassword, m.ca, dir))
		cmd := exec.CommandContext(ctx, "fetchmail", "-s", "-f", rc, "--pidfile", filepath.Join(dir, "pid"), "--idfile", filepath.Join(dir, "ids")) //nolint:gosec // our own files
		cmd.Env = append(os.Environ(), "FETCHMAILHOME="+dir)
		return cmd, err
	}}
}

func (m *mailboxServer) postern(b *bench, user string) fetcher {
	return b.posternFetch(m.count[user], fmt.Sprintf(`
apps:
  - name: server
    cloud: custom
    custom: {authority: https://localhost, imap: {host: localhost, port: %s, tls: implicit}, ca: {file: %s}}
accounts:
  - {name: box, app: server, mailbox: %s, sign_in: app_password, password: {env: BENCH_SECRET}, purposes: [imap]}
`, m.port, m.ca, user), fetchPassword)
}

// posternFetch runs a task that keeps whole messages; the account is called box, and its
// secret is in BENCH_SECRET.
func (b *bench) posternFetch(count int, doc, secret string) fetcher {
	return fetcher{name: "postern", into: "mail", count: count, prepare: func(dir string) (*exec.Cmd, error) {
		env := append(os.Environ(), "POSTERN_DATA_DIR="+filepath.Join(dir, "data"), "POSTERN_LOG_LEVEL=error", "BENCH_SECRET="+secret)
		apply := exec.Command(b.binary, "apply", "-f", "-") //nolint:gosec,noctx // our own binary
		apply.Env, apply.Stderr = env, os.Stderr
		apply.Stdin = strings.NewReader(doc + fmt.Sprintf(`
tasks:
  - name: all
    account: box
    source: {start: all}
    rules: [{take: {save: [eml], any_message: true}}]
    handover: {directory: %s}
`, filepath.Join(dir, "mail")))
		if err := apply.Run(); err != nil {
			return nil, err
		}
		cmd := exec.Command(b.binary, "fetch", "run", "all") //nolint:gosec,noctx // our own binary
		cmd.Env = env
		return cmd, nil
	}}
}
