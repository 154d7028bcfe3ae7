package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const dovecotConf = `
base_dir = DIR/run
state_dir = DIR/state
log_path = DIR/log
protocols = imap
listen = 127.0.0.1
ssl = required
ssl_cert = <DIR/cert.pem
ssl_key = <DIR/key.pem
auth_mechanisms = plain login
mail_location = maildir:DIR/mail/%u
first_valid_uid = 1
SETTINGS
passdb {
  driver = static
  args = password=PASSWORD PASSDB
}
userdb {
  driver = static
  args = uid=nobody gid=nogroup home=DIR/mail/%u
}
service imap-login {
  LOGIN
  inet_listener imap {
    port = 0
  }
  inet_listener imaps {
    port = PORT
    ssl = yes
  }
}
`

// imapServer is what one Dovecot has that others have not.
type imapServer struct {
	settings string // lines
	passdb   string // beside the password
	login    string // lines of service imap-login
}

// serveDovecot runs a Dovecot until it answers at an address.
func (b *bench) serveDovecot(ctx context.Context, dir, addr string, i imapServer) (gateway, error) {
	cert, key, err := selfSigned()
	if err != nil {
		return gateway{}, err
	}
	conf := strings.NewReplacer("DIR", dir, "PORT", portOf(addr), "PASSWORD", fetchPassword,
		"SETTINGS", i.settings, "PASSDB", i.passdb, "LOGIN", i.login).Replace(dovecotConf)
	if err := os.MkdirAll(filepath.Join(dir, "mail"), 0o755); err != nil { //nolint:gosec // dovecot's own users must enter
		return gateway{}, err
	}
	for name, text := range map[string][]byte{"cert.pem": cert, "key.pem": key, "dovecot.conf": []byte(conf)} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil { //nolint:gosec // other users read it
			return gateway{}, err
		}
	}
	own := exec.CommandContext(ctx, "sh", "-c", `chown -R nobody:nogroup "$0/mail" && chmod 755 "$0" "$1"`, dir, b.work) //nolint:gosec // our own directories
	if out, err := own.CombinedOutput(); err != nil {
		return gateway{}, fmt.Errorf("%w: %s", err, out)
	}
	return startGateway(ctx, addr, exec.CommandContext(ctx, "dovecot", "-F", "-c", filepath.Join(dir, "dovecot.conf"))) //nolint:gosec // our own file
}
