package test

import (
	"bytes"
	"errors"
	"fmt"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// bareGate is a gate with nobody behind it, for what goes wrong on this side.
func bareGate(t testing.TB) *gate {
	t.Helper()
	g := &gate{t: t, dir: t.TempDir(), web: freeAddress(t), smtp: freeAddress(t)}
	g.env = append(os.Environ(), "POSTERN_DATA_DIR="+g.dataDir(), "POSTERN_WEB_LISTEN="+g.web, "POSTERN_SMTP_LISTEN="+g.smtp,
		"POSTERN_PUBLIC_URL="+g.url(), "POSTERN_HOSTNAME=localhost", "POSTERN_LOG_FORMAT=json", "DEVICE_PASSWORD="+devicePassword)
	return g
}

// bareDocument needs nobody to answer.
const bareDocument = `
apps:
  - {name: contoso, tenant: contoso.onmicrosoft.com, client_id: 11111111-2222-3333-4444-555555555555, secret: {value: abc8Q~not-a-real-secret-000000000000000}}
accounts:
  - {name: scan, app: contoso, mailbox: scan@contoso.com, purposes: [send]}
devices:
  - {name: scanner, account: scan, password: {env: DEVICE_PASSWORD}}
`

// refused wants a command to fail within a minute and a half with this code and
// one line that says all the words; beside it only a next step and log lines.
func (g *gate) refused(code int, args []string, words ...string) {
	g.t.Helper()
	out, errOut, got := g.try("", args...)
	if got != code || out != "" {
		g.t.Errorf("postern %s: exit %d, want %d, and printed %q", strings.Join(args, " "), got, code, out)
	}
	said := 0
	for line := range strings.Lines(errOut) {
		switch {
		case strings.HasPrefix(line, "postern: "):
			said++
		case !strings.HasPrefix(line, "next:    ") && !strings.HasPrefix(line, "{"):
			g.t.Errorf("postern %s: what is this line? %s", strings.Join(args, " "), line)
		}
	}
	if said != 1 {
		g.t.Errorf("postern %s: %d lines say why, want one:\n%s", strings.Join(args, " "), said, errOut)
	}
	for _, w := range words {
		if !strings.Contains(errOut, w) {
			g.t.Errorf("postern %s: nothing is said of %q:\n%s", strings.Join(args, " "), w, errOut)
		}
	}
}

func TestBadConfiguration(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, file, env string
		args            []string
		want            []string
	}{
		{"unknown key", "data_dir = \"x\"\nweb_listn = \":1\"\n", "", nil, []string{"p.toml:2:1:", `"web_listn"`, "allowed: acme_directory, acme_email,", "web_listen"}},
		{"bad value", "\nlog_level = \"loud\"\n", "", nil, []string{"p.toml:2:", "log_level:", "allowed: debug, info, warn, error"}},
		{"wrong type", "data_dir = 5\n", "", nil, []string{"p.toml:1:", "data_dir: a text in quotes is wanted"}},
		{"no TOML", "data_dir = \"x\n", "", nil, []string{"p.toml:1:"}},
		{"environment", "", "POSTERN_MAX_MESSAGE=lots", nil, []string{"POSTERN_MAX_MESSAGE:", "150MB"}},
		{"flag value", "", "", []string{"--smtp-listen", "nonsense"}, []string{"--smtp-listen:", `"nonsense"`, "host:port"}},
		{"unknown flag", "", "", []string{"--nope"}, []string{"unknown flag: --nope", "--help"}},
		{"surplus word", "", "", []string{"now"}, []string{`"now"`, "--help"}},
		{"missing file", "", "", []string{"--config", "nope.toml"}, []string{"nope.toml", "no such file"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			g := bareGate(t)
			args := append([]string{"serve"}, c.args...)
			if c.file != "" {
				writeFile(t, filepath.Join(g.dir, "p.toml"), []byte(c.file))
				args = append(args, "--config", "p.toml")
			}
			if c.env != "" {
				g.env = append(g.env, c.env)
			}
			g.refused(2, args, c.want...)
			if _, err := os.Stat(g.dataDir()); err == nil {
				t.Error("a data directory was made all the same")
			}
		})
	}
}

// TestMasterKeyIsGuarded tries the ways to lose the key. None may end in a new key
// or a changed database: with the right key back, everything is there.
func TestMasterKeyIsGuarded(t *testing.T) {
	t.Parallel()
	g, other := bareGate(t), bareGate(t)
	g.apply(bareDocument)
	other.postern("accounts", "list")
	key := filepath.Join(g.dataDir(), "master.key")
	right, wrong := readFile(t, key), readFile(t, filepath.Join(other.dataDir(), "master.key"))
	for _, c := range []struct {
		name    string
		content []byte // nil: no file
		mode    os.FileMode
		want    []string
	}{
		{"another key", wrong, 0o600, []string{"does not open this database", "master_key_file"}},
		{"missing", nil, 0, []string{"master.key is missing", "sealed with it", "POSTERN_MASTER_KEY"}},
		{"readable by others", right, 0o640, []string{"can be read or changed by others", "chmod 600"}},
		{"empty", []byte{}, 0o600, []string{"not a Tink", "whole content"}},
		{"cut short", right[:len(right)/2], 0o600, []string{"not a Tink"}},
	} {
		if err := os.Remove(key); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		if c.content != nil {
			if err := os.WriteFile(key, c.content, c.mode); err != nil {
				t.Fatal(err)
			}
		}
		for _, args := range [][]string{{"accounts", "list"}, {"serve"}} {
			g.refused(2, args, c.want...)
		}
		if now, err := os.ReadFile(key); !bytes.Equal(now, c.content) || (err != nil) != (c.content == nil) {
			t.Errorf("%s: the key file was changed to %d octets (%v)", c.name, len(now), err)
		}
	}
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}
	g.env = append(g.env, "POSTERN_MASTER_KEY="+string(right))
	if out := g.apply(bareDocument); strings.Contains(out, "created") || strings.Contains(out, ": changed") {
		t.Errorf("with the right key from the environment not all is as it was:\n%s", out)
	}
}

func readFile(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestDataDirNotWritable(t *testing.T) {
	t.Parallel()
	g := bareGate(t)
	if os.Geteuid() == 0 { // whom modes do not stop
		mount(t, g, syscall.MS_RDONLY, "")
	} else if err := os.Mkdir(g.dataDir(), 0o500); err != nil {
		t.Fatal(err)
	}
	g.refused(1, []string{"serve"}, "the data directory cannot be written to", "give the user that runs Postern the right to write")
}

// mount puts a file system of its own under the data directory.
func mount(t testing.TB, g *gate, flags uintptr, options string) {
	t.Helper()
	if err := os.Mkdir(g.dataDir(), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", g.dataDir(), "tmpfs", flags, options); err != nil {
		t.Skip("mount: " + err.Error()) // a container without the privilege
	}
	t.Cleanup(func() {
		if g.cmd != nil {
			g.kill() // before the ground goes
		}
		if err := syscall.Unmount(g.dataDir(), 0); err != nil {
			t.Error(err)
		}
	})
}

func TestDamagedDatabase(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func([]byte) []byte{
		"garbage":           func(b []byte) []byte { return bytes.Repeat([]byte("no database "), len(b)/12) },
		"garbage inside":    func(b []byte) []byte { return append(b[:100:100], bytes.Repeat([]byte{0xa5}, len(b)-100)...) },
		"cut in the middle": func(b []byte) []byte { return b[:len(b)/2] },
		"cut to a stump":    func(b []byte) []byte { return b[:50] },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := bareGate(t)
			g.apply(bareDocument)
			path := filepath.Join(g.dataDir(), "postern.db")
			damaged := damage(readFile(t, path))
			writeFile(t, path, damaged)
			for _, args := range [][]string{{"accounts", "list"}, {"serve"}} {
				g.refused(1, args, "the database file is damaged", "restore from a backup")
			}
			if !bytes.Equal(readFile(t, path), damaged) {
				t.Error("the damaged file was written to: perhaps somebody could have saved it")
			}
		})
	}
}

// later is a refusal that asks the client to come again; anything else fails the test.
func later(t testing.TB, err error) bool {
	t.Helper()
	var reply *textproto.Error
	if errors.As(err, &reply) && reply.Code/100 == 4 {
		return true
	}
	t.Errorf("the door said %v, want 4xx", err)
	return false
}

// offer hands one message in, on a session of its own.
func (g *gate) offer(subject string, size int) error {
	g.t.Helper()
	c, err := g.login(g.doorTLS())
	if err != nil {
		return err
	}
	defer c.Close()
	raw := simpleMail("scan@contoso.com", "someone@elsewhere.example", subject, fmt.Sprintf("<%s@test.example>", strings.ReplaceAll(subject, " ", "-")))
	return submit(c, "scan@contoso.com", "someone@elsewhere.example", append(raw, strings.Repeat(strings.Repeat("x", 70)+"\r\n", size/72)...))
}

// within is waitFor with a patience of its own.
func within(t testing.TB, patience time.Duration, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("waited %s for %s", patience, what)
		}
		time.Sleep(50 * time.Millisecond)
	}
}
