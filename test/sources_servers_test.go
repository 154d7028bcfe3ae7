package test

import (
	"context"
	"crypto/x509"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"postern/internal/mail"
	"postern/internal/mailbox"
	"postern/internal/secret"
	"postern/internal/sim365"
	"postern/internal/sim365/world"
)

// host is a mail server that sources are read from.
type host struct {
	roots  *x509.CertPool
	root   []byte                 // PEM
	ways   map[string]mail.Server // "IMAPS", "IMAP STARTTLS", "POP3S", "POP3 STLS"
	login  func(user string) mailbox.Login
	user   func(t *testing.T) string // a mailbox that nobody else uses
	append func(t *testing.T, user string, raw ...string)
	slow   bool // to take messages: it flushes each of them to disk several times
}

// config says how to reach the server, directly.
func (h *host) config(way string) mailbox.Config {
	return mailbox.Config{Server: h.ways[way], RootCAs: h.roots, Timeout: 30 * time.Second}
}

var lastUser atomic.Int64

// simulated is the simulated Exchange Online, which takes tokens only.
func simulated(t *testing.T) *host {
	sim, err := sim365.Start(t.Context(), sim365.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sim.Stop)
	contoso := sim.Contoso()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(sim.CAPEM()))
	return &host{
		roots: roots,
		ways:  map[string]mail.Server{"IMAPS": sim.IMAP(), "POP3S": sim.POP3()},
		user: func(t *testing.T) string {
			t.Helper()
			name := fmt.Sprintf("u%d@contoso.com", lastUser.Add(1))
			sim.World.AddUser(world.User{TenantID: contoso.Tenant.ID, UPN: name, ObjectID: world.NewID()})
			return name
		},
		login: func(user string) mailbox.Login {
			u, _ := sim.World.User(user)
			return mailbox.Login{User: user, Token: secret.New(sim.World.IssueAccess(world.Token{
				TenantID: contoso.Tenant.ID, ClientID: contoso.App.ClientID, Resource: world.ExchangeResource,
				Scopes: []string{"IMAP.AccessAsUser.All", "POP.AccessAsUser.All"}, UserID: u.ObjectID, UPN: user,
			}).Raw)}
		},
		append: func(t *testing.T, user string, raw ...string) {
			t.Helper()
			for _, r := range raw {
				sim.Exchange.Append(user, "INBOX", []byte(r), time.Now())
			}
		},
	}
}

const sourceDovecotConf = `
base_dir = DIR/run
state_dir = DIR/state
log_path = DIR/log
protocols = imap pop3
listen = 127.0.0.1
ssl = required
ssl_cert = <DIR/cert.pem
ssl_key = <DIR/key.pem
disable_plaintext_auth = yes
auth_mechanisms = plain
auth_failure_delay = 0
mail_location = maildir:DIR/mail/%u
mail_max_userip_connections = 100
mail_fsync = never
pop3_lock_session = yes
first_valid_uid = 1
passdb {
  driver = static
  args = password=not-for-telling
}
userdb {
  driver = static
  args = uid=nobody gid=nogroup home=DIR/mail/%u
}
namespace inbox {
  inbox = yes
  separator = /
  mailbox Archive {
    auto = create
    special_use = \Archive
  }
}
service anvil {
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
service imap-login {
  inet_listener imap {
    port = PORT_0
  }
  inet_listener imaps {
    port = PORT_1
    ssl = yes
  }
}
service pop3-login {
  inet_listener pop3 {
    port = PORT_2
  }
  inet_listener pop3s {
    port = PORT_3
    ssl = yes
  }
}
`

// realDovecot is Debian's Dovecot with every way in, and passwords.
func realDovecot(t *testing.T) *host {
	need(t, "dovecot")
	h, addresses, dir := passwordHost(t, "IMAP STARTTLS", "IMAPS", "POP3 STLS", "POP3S")
	mkdirFor(t, filepath.Join(dir, "mail"), "nobody")
	conf := withPorts(sourceDovecotConf, dir, addresses)
	path := filepath.Join(dir, "dovecot.conf")
	writeFile(t, path, []byte(conf))
	background(t, dir, exec.Command("dovecot", "-F", "-c", path))
	awaitAll(t, addresses)
	return h
}

const cyrusConf = `configdirectory: DIR/config
partition-default: DIR/spool
defaultpartition: default
admins: cyrus
allowplaintext: no
autocreate_inbox_folders: Archive
autocreate_quota: 0
sasl_pwcheck_method: auxprop
sasl_auxprop_plugin: sasldb
sasl_sasldb_path: DIR/sasldb2
sasl_mech_list: PLAIN
tls_server_cert: DIR/cert.pem
tls_server_key: DIR/key.pem
tls_client_ca_dir: /etc/ssl/certs
sievedir: DIR/sieve
syslog_prefix: postern-test
proc_path: DIR/proc
mboxname_lockpath: DIR/lock
unixhierarchysep: no
altnamespace: no
imapidlepoll: 1
`

const cyrusServices = `START {
  recover cmd="/usr/sbin/cyrus ctl_cyrusdb -C DIR/imapd.conf -r"
}
SERVICES {
  imap cmd="BIN/imapd -C DIR/imapd.conf" listen="127.0.0.1:PORT_0" prefork=0
  imaps cmd="BIN/imapd -s -C DIR/imapd.conf" listen="127.0.0.1:PORT_1" prefork=0
  pop3 cmd="BIN/pop3d -C DIR/imapd.conf" listen="127.0.0.1:PORT_2" prefork=0
  pop3s cmd="BIN/pop3d -s -C DIR/imapd.conf" listen="127.0.0.1:PORT_3" prefork=0
}
EVENTS {
}
`

// cyrusBin is where scripts/deps unpacks Cyrus's servers: Debian does not let them be
// installed beside Dovecot's.
const cyrusBin = "/usr/local/lib/postern-test/cyrus"

// realCyrus is Debian's Cyrus: another delimiter, folders under INBOX, no spare words.
func realCyrus(t *testing.T) *host {
	for _, program := range []string{"cyrmaster", "saslpasswd2", cyrusBin + "/imapd", cyrusBin + "/pop3d"} {
		need(t, program)
	}
	h, addresses, dir := passwordHost(t, "IMAP STARTTLS", "IMAPS", "POP3 STLS", "POP3S")
	for _, sub := range []string{"config", "config/db", "config/socket", "config/log", "config/msg", "config/proc", "config/ptclient", "spool", "spool/stage.", "sieve", "proc", "lock"} {
		mkdirFor(t, filepath.Join(dir, sub), "cyrus")
	}
	conf, services := filepath.Join(dir, "imapd.conf"), filepath.Join(dir, "cyrus.conf")
	writeFile(t, conf, []byte(withPorts(cyrusConf, dir, addresses)))
	writeFile(t, services, []byte(strings.ReplaceAll(withPorts(cyrusServices, dir, addresses), "BIN", cyrusBin)))
	for _, f := range []string{"cert.pem", "key.pem"} {
		chown(t, filepath.Join(dir, f), "cyrus")
	}
	h.slow = true
	h.user = func(t *testing.T) string {
		t.Helper()
		name := fmt.Sprintf("u%d", lastUser.Add(1))
		db := filepath.Join(dir, "sasldb2")
		set := exec.Command("saslpasswd2", "-p", "-c", "-u", hostname(t), "-f", db, name)
		set.Stdin = strings.NewReader(sourcePassword)
		if out, err := set.CombinedOutput(); err != nil {
			t.Fatalf("saslpasswd2: %v: %s", err, out)
		}
		chown(t, db, "cyrus")
		return name
	}
	background(t, dir, exec.Command("cyrmaster", "-C", conf, "-M", services, "-p", filepath.Join(dir, "pid"), "-D"))
	awaitAll(t, addresses)
	return h
}

func hostname(t *testing.T) string {
	t.Helper()
	name, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	return name
}

const sourcePassword = "not-for-telling"

// passwordHost is a server to come that listens for the ways in this order, with a
// directory that holds its certificate.
func passwordHost(t *testing.T, ways ...string) (*host, []string, string) {
	t.Helper()
	if os.Getuid() != 0 {
		skipOrFail(t, "mail servers have users of their own, and need root")
	}
	dir, ca := rootDir(t), newTestCA(t)
	writeFile(t, filepath.Join(dir, "cert.pem"), ca.cert)
	writeFile(t, filepath.Join(dir, "key.pem"), ca.key)
	h := &host{roots: ca.pool, root: ca.root, ways: make(map[string]mail.Server)}
	var addresses []string
	for _, way := range ways {
		a := freeAddress(t)
		n, err := strconv.Atoi(port(a))
		if err != nil {
			t.Fatal(err)
		}
		mode := mail.Implicit
		if strings.HasSuffix(way, "TLS") && strings.Contains(way, " ") {
			mode = mail.STARTTLS
		}
		h.ways[way] = mail.Server{Host: "localhost", Port: n, TLS: mode}
		addresses = append(addresses, a)
	}
	h.user = func(*testing.T) string { return fmt.Sprintf("u%d@contoso.com", lastUser.Add(1)) }
	h.login = func(user string) mailbox.Login {
		return mailbox.Login{User: user, Password: secret.New(sourcePassword)}
	}
	h.append = h.appendByIMAP
	return h, addresses, dir
}

func withPorts(conf, dir string, addresses []string) string {
	pairs := []string{"DIR", dir}
	for i, a := range addresses {
		pairs = append(pairs, fmt.Sprint("PORT_", i), port(a))
	}
	return strings.NewReplacer(pairs...).Replace(conf)
}

func awaitAll(t *testing.T, addresses []string) {
	t.Helper()
	for _, a := range addresses {
		waitFor(t, "server at "+a, func() bool { return dials(a) })
	}
}

// admin is a connection of somebody else to the same mailbox.
func (h *host) admin(t *testing.T, user string) *imapclient.Client {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	conn, err := mailbox.Connect(ctx, h.config("IMAPS"), mailbox.Protocol{Name: "imap"})
	if err != nil {
		t.Fatal(err)
	}
	c := imapclient.New(conn, nil)
	t.Cleanup(func() { _ = c.Close() })
	if err := c.Login(user, sourcePassword).Wait(); err != nil {
		t.Fatal(err)
	}
	return c
}

func (h *host) appendByIMAP(t *testing.T, user string, raw ...string) {
	t.Helper()
	c := h.admin(t, user)
	var commands []*imapclient.AppendCommand
	for _, r := range raw {
		cmd := c.Append("INBOX", int64(len(r)), &goimap.AppendOptions{Time: time.Now()})
		if _, err := cmd.Write([]byte(r)); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Close(); err != nil {
			t.Fatal(err)
		}
		commands = append(commands, cmd)
	}
	for _, cmd := range commands {
		if _, err := cmd.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	_ = c.Close()
}
