package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const postfixConf = `
compatibility_level = 3.6
queue_directory = DIR/queue
data_directory = DIR/data
mail_owner = postfix
setgid_group = postdrop
myhostname = localhost
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks =
alias_maps =
local_recipient_maps =
relayhost = [127.0.0.1]:SINK
maillog_file = DIR/log
maillog_file_prefixes = DIR
smtpd_tls_security_level = encrypt
smtpd_tls_auth_only = yes
smtpd_tls_cert_file = DIR/cert.pem
smtpd_tls_key_file = DIR/key.pem
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = inet:SASL
smtpd_relay_restrictions = permit_sasl_authenticated, reject
smtpd_recipient_restrictions = check_recipient_access texthash:DIR/unknown, permit
line_length_limit = 16384
message_size_limit = 1000000
`

// startPostfix is Debian's Postfix as a submission server that asks Dovecot about
// tokens, and passes on what it takes to sink.
func startPostfix(t *testing.T, certPEM, keyPEM []byte, sasl, sink string) (addr string) {
	t.Helper()
	need(t, "/usr/sbin/postfix")
	if os.Getuid() != 0 {
		skipOrFail(t, "Postfix needs root")
	}
	master, err := os.ReadFile("/etc/postfix/master.cf.proto")
	if err != nil {
		if master, err = os.ReadFile("/etc/postfix/master.cf"); err != nil {
			t.Fatal(err)
		}
	}
	dir := rootDir(t)
	addr = freeAddress(t)
	for _, sub := range []string{"queue", "data"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	chown(t, filepath.Join(dir, "data"), "postfix")
	chrooted := regexp.MustCompile(`(?m)^(\S+\s+\S+\s+\S+\s+\S+\s+)y\s`) // a queue of our own has no /etc to look into
	text := strings.Replace(chrooted.ReplaceAllString(string(master), "${1}n "), "smtp      inet", port(addr)+"      inet", 1)
	writeFile(t, filepath.Join(dir, "master.cf"), []byte(text))
	writeFile(t, filepath.Join(dir, "main.cf"), []byte(strings.NewReplacer("DIR", dir, "SINK", port(sink), "SASL", sasl).Replace(postfixConf)))
	writeFile(t, filepath.Join(dir, "cert.pem"), certPEM)
	writeFile(t, filepath.Join(dir, "key.pem"), keyPEM)
	writeFile(t, filepath.Join(dir, "unknown"), []byte("nobody@elsewhere.example 550 5.1.1 there is nobody here\nlater@elsewhere.example 450 4.2.1 come back later\n"))
	background(t, dir, exec.Command("/usr/sbin/postfix", "-c", dir, "start-fg"))
	t.Cleanup(func() {
		if out, err := exec.Command("/usr/sbin/postfix", "-c", dir, "stop").CombinedOutput(); err != nil { // its master left our process group
			t.Errorf("%v: %s", err, out)
		}
		if t.Failed() {
			logTail(t, filepath.Join(dir, "log"))
		}
	})
	waitFor(t, "postfix at "+addr, func() bool { return dials(addr) })
	return addr
}

// TestSendThroughRealPostfix signs in to Postfix with XOAUTH2, and meets what it says
// to recipients and sizes.
func TestSendThroughRealPostfix(t *testing.T) {
	t.Parallel()
	need(t, "dovecot")
	need(t, "/usr/sbin/smtp-sink")
	g := newGate(t)
	ca := newTestCA(t)
	g.extraCA = string(ca.root)
	u := upstream{gate: g, sink: startSink(t)}
	u.mail = startDovecot(t, ca.cert, ca.key, []byte(g.sim.CAPEM()), g.sim.Authority()+"/introspect", u.sink.Addr)
	u.mail.Submission = startPostfix(t, ca.cert, ca.key, u.mail.SASL, u.sink.Addr)
	g.start()
	g.apply(u.document(""))
	g.signIn("scan", "scan@contoso.com")
	const from = "scan@contoso.com"
	arrived := func(what string) {
		t.Helper()
		waitFor(t, what+" in the sink", func() bool { return strings.Contains(u.sink.taken(t), "Subject: "+what) })
	}
	t.Run("several in one connection", func(t *testing.T) {
		for i := range 5 {
			what := fmt.Sprintf("postfix-%d.", i)
			g.letter("scanner", from, simpleMail(from, "them@elsewhere.example", what, fmt.Sprintf("<pf-%d@test.example>", i)), "them@elsewhere.example")
			arrived(what)
		}
	})
	t.Run("each recipient has an outcome", func(t *testing.T) {
		g.letter("scanner", from, simpleMail(from, "them@elsewhere.example", "partly", "<partly@test.example>"), "them@elsewhere.example", "nobody@elsewhere.example")
		arrived("partly")
		waitFor(t, "the outcome", func() bool { return g.queued("<partly@test.example>").State == "failed" })
		if m := g.queued("<partly@test.example>"); !strings.HasPrefix(m.Recipients[0].Reply, "250 2.0.0") || !strings.Contains(m.Recipients[1].Reply, "550 5.1.1") || !strings.Contains(m.Recipients[1].Reply, "there is nobody here") {
			t.Errorf("%+v", m)
		}
	})
	t.Run("later", func(t *testing.T) {
		g.letter("scanner", from, simpleMail(from, "later@elsewhere.example", "later", "<later@test.example>"), "later@elsewhere.example")
		waitFor(t, "a try", func() bool { return g.queued("<later@test.example>").Attempts > 0 })
		if m := g.queued("<later@test.example>"); m.State != "queued" || !strings.Contains(m.Reason, "450 4.2.1") {
			t.Errorf("%+v", m)
		}
	})
	t.Run("too large", func(t *testing.T) {
		raw := append(simpleMail(from, "them@elsewhere.example", "too-large", "<too-large@test.example>"), strings.Repeat(strings.Repeat("x", 70)+"\r\n", 20_000)...)
		g.letter("scanner", from, raw, "them@elsewhere.example")
		waitFor(t, "the refusal", func() bool { return g.queued("<too-large@test.example>").State == "failed" })
		if m := g.queued("<too-large@test.example>"); m.Attempts != 1 || !strings.Contains(m.Reason, "size") {
			t.Errorf("%+v", m)
		}
	})
	u.stop()
}
