package test

import (
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// dovecot is Debian's Dovecot with IMAPS, POP3S and submission, XOAUTH2 only; it
// asks the running identity provider whether a token is good.
type dovecot struct {
	IMAPS, POP3S, Submission string // host:port
	SASL                     string // where other servers ask who may log in
	mail                     string // maildirs, one per user
	log                      string
}

const dovecotConf = `
base_dir = DIR/run
state_dir = DIR/state
log_path = DIR/log
protocols = imap pop3 submission
listen = 127.0.0.1
ssl = required
ssl_cert = <DIR/cert.pem
ssl_key = <DIR/key.pem
disable_plaintext_auth = yes
auth_mechanisms = xoauth2 oauthbearer
auth_verbose = yes
auth_failure_delay = 0
mail_location = maildir:DIR/mail/%u
mail_access_groups = nogroup
first_valid_uid = 1
submission_relay_host = 127.0.0.1
submission_relay_port = SINK
hostname = localhost
passdb {
  driver = oauth2
  mechanisms = xoauth2 oauthbearer
  args = DIR/oauth2.conf.ext
}
userdb {
  driver = static
  args = uid=nobody gid=nogroup home=DIR/mail/%u
}
# No growing delays for an address that often fails: all tests come from one.
service anvil {
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
service auth {
  inet_listener {
    port = SASL_PORT
  }
}
service imap-login {
  inet_listener imap {
    port = 0
  }
  inet_listener imaps {
    port = IMAPS_PORT
    ssl = yes
  }
}
service pop3-login {
  inet_listener pop3 {
    port = 0
  }
  inet_listener pop3s {
    port = POP3S_PORT
    ssl = yes
  }
}
service submission-login {
  inet_listener submission {
    port = SUBMISSION_PORT
  }
}
`

// startDovecot starts it with the given certificate. introspect is the URL that
// vouches for tokens, sink the port that takes submitted mail.
func startDovecot(t *testing.T, certPEM, keyPEM, caPEM []byte, introspect, sink string) *dovecot {
	t.Helper()
	need(t, "dovecot")
	if os.Getuid() != 0 {
		skipOrFail(t, "Dovecot's own users need root")
	}
	dir := rootDir(t)
	d := &dovecot{IMAPS: freeAddress(t), POP3S: freeAddress(t), Submission: freeAddress(t), SASL: freeAddress(t), mail: filepath.Join(dir, "mail"), log: filepath.Join(dir, "log")}
	mkdirFor(t, d.mail, "nobody")
	writeFile(t, filepath.Join(dir, "cert.pem"), certPEM)
	writeFile(t, filepath.Join(dir, "key.pem"), keyPEM)
	writeFile(t, filepath.Join(dir, "ca.pem"), caPEM)
	writeFile(t, filepath.Join(dir, "oauth2.conf.ext"), fmt.Appendf(nil, `introspection_mode = post
introspection_url = %s
username_attribute = username
active_attribute = active
active_value = true
tls_ca_cert_file = %s/ca.pem
force_introspection = yes
`, introspect, dir))
	conf := strings.NewReplacer("DIR", dir, "IMAPS_PORT", port(d.IMAPS), "POP3S_PORT", port(d.POP3S), "SUBMISSION_PORT", port(d.Submission), "SASL_PORT", port(d.SASL), "SINK", port(sink)).Replace(dovecotConf)
	path := filepath.Join(dir, "dovecot.conf")
	writeFile(t, path, []byte(conf))
	background(t, dir, exec.Command("dovecot", "-F", "-c", path))
	t.Cleanup(func() {
		if t.Failed() {
			logTail(t, d.log)
		}
	})
	for _, a := range []string{d.IMAPS, d.POP3S, d.Submission} {
		waitFor(t, "dovecot at "+a, func() bool { return dials(a) })
	}
	return d
}

// deliver puts a message into a user's INBOX.
func (d *dovecot) deliver(t *testing.T, user string, raw []byte) {
	t.Helper()
	dir := filepath.Join(d.mail, user)
	for _, sub := range []string{"", "tmp", "cur", "new"} {
		mkdirFor(t, filepath.Join(dir, sub), "nobody")
	}
	name := fmt.Sprintf("%d.%d.test", time.Now().UnixNano(), os.Getpid())
	tmp := filepath.Join(dir, "tmp", name)
	writeFile(t, tmp, raw)
	chown(t, tmp, "nobody")
	if err := os.Rename(tmp, filepath.Join(dir, "new", name)); err != nil {
		t.Fatal(err)
	}
}

// smtpSink is Postfix's own black hole; it keeps what it takes in one file.
type smtpSink struct {
	Addr string
	file string
}

func startSink(t *testing.T) *smtpSink {
	t.Helper()
	need(t, "/usr/sbin/smtp-sink")
	dir := rootDir(t)
	s := &smtpSink{Addr: freeAddress(t), file: filepath.Join(dir, "mail")}
	args := []string{"-D", s.file, s.Addr, "100"}
	if os.Getuid() == 0 {
		mkdirFor(t, dir, "nobody")
		args = append([]string{"-u", "nobody"}, args...)
	}
	background(t, dir, exec.Command("/usr/sbin/smtp-sink", args...))
	waitFor(t, "smtp-sink", func() bool { return dials(s.Addr) })
	return s
}

// taken returns everything the sink has kept.
func (s *smtpSink) taken(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(s.file)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return string(b)
}

func TestRealServersStart(t *testing.T) {
	t.Parallel()
	ca := newTestCA(t)
	sink := startSink(t)
	d := startDovecot(t, ca.cert, ca.key, ca.root, "https://localhost:1/introspect", sink.Addr)
	for _, a := range []string{d.IMAPS, d.POP3S} {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		c, err := (&tls.Dialer{Config: &tls.Config{RootCAs: ca.pool, ServerName: "localhost", MinVersion: tls.VersionTLS12}}).DialContext(ctx, "tcp", a)
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
	}
}

// makeFolder adds a folder beside INBOX.
func (d *dovecot) makeFolder(t *testing.T, user, name string) {
	t.Helper()
	for _, sub := range []string{"", "tmp", "cur", "new"} {
		mkdirFor(t, filepath.Join(d.mail, user, "."+name, sub), "nobody")
	}
}

// count says how many messages lie in a folder: "" is INBOX, ".Name" another.
func (d *dovecot) count(t *testing.T, user, folder string) int {
	t.Helper()
	return d.flagged(t, user, folder, "")
}

// flagged counts a folder's messages that have all of the maildir flags.
func (d *dovecot) flagged(t *testing.T, user, folder, flags string) int {
	t.Helper()
	n := 0
	for _, sub := range []string{"new", "cur"} {
		files, err := os.ReadDir(filepath.Join(d.mail, user, folder, sub))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			_, has, _ := strings.Cut(f.Name(), ":2,")
			if strings.Trim(flags, has) == "" {
				n++
			}
		}
	}
	return n
}

// bodies lists how many messages each finished IMAP session has downloaded, by
// Dovecot's own account.
func (d *dovecot) bodies(t *testing.T) []string {
	t.Helper()
	b, err := os.ReadFile(d.log)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, m := range regexp.MustCompile(`body_count=(\d+)`).FindAllSubmatch(b, -1) {
		all = append(all, string(m[1]))
	}
	return all
}
