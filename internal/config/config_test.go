package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postern/internal/config"
	"postern/internal/fault"
)

func noEnv(string) (string, bool) { return "", false }

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "postern.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	c, err := config.Load("", noEnv, nil)
	if err != nil {
		t.Fatal(err)
	}
	if c.WebListen.String() != ":9090" || c.PublicURL.String() != "http://localhost:9090" || c.MaxMessage != 150<<20 {
		t.Errorf("defaults are off: %+v", c)
	}
}

func TestFlagBeatsEnvironmentBeatsFile(t *testing.T) {
	t.Parallel()
	path := write(t, "data_dir = \"file\"\nweb_listen = \"127.0.0.1:1\"\nhostname = \"file\"\n")
	env := func(k string) (string, bool) {
		v, ok := map[string]string{"POSTERN_DATA_DIR": "env", "POSTERN_WEB_LISTEN": "127.0.0.1:2"}[k]
		return v, ok
	}
	c, err := config.Load(path, env, map[string]string{"web_listen": "127.0.0.1:3"})
	if err != nil {
		t.Fatal(err)
	}
	if c.DataDir != "env" || c.WebListen.String() != "127.0.0.1:3" || c.Hostname != "file" {
		t.Errorf("order is off: %+v", c)
	}
}

func TestErrorsNameFileLineKeyAndWhatIsAllowed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"unknown key": {"data_dir = \"x\"\nweb_listne = \":1\"\n", []string{"postern.toml:2:", "web_listne", "allowed:", "web_listen"}},
		"level":       {"\nlog_level = \"loud\"\n", []string{"postern.toml:2:", "log_level", "debug, info, warn, error"}},
		"listen":      {"web_listen = \"9090\"\n", []string{"postern.toml:1:", "web_listen", "host:port"}},
		"url":         {"public_url = \"http://x/y\"\n", []string{"postern.toml:1:", "public_url", "without a path"}},
		"type":        {"data_dir = 7\n", []string{"postern.toml:1:", "data_dir: a text in quotes is wanted"}},
		"syntax":      {"data_dir = \n", []string{"postern.toml:1:"}},
		"size":        {"max_message = \"huge\"\n", []string{"max_message", "150MB"}},
		"tls":         {"tls_cert = \"a\"\n", []string{"tls_cert and tls_key"}},
		"proxy":       {"proxy = \"ftp://u:hidden@p:1\"\n", []string{"postern.toml:1:", "proxy", "socks5://"}},
		"two keys":    {"master_key_url = \"awskms://x\"\nmaster_key_file = \"f\"\n", []string{"exclude each other"}},
		"one port":    {"smtp_listen = \":2525\"\nsmtps_listen = \"127.0.0.1:2525\"\n", []string{"smtp_listen and smtps_listen", "2525"}},
		"database":    {"database = \"mysql://x\"\n", []string{"database", "postgres://"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := config.Load(write(t, c.text), noEnv, nil)
			if !errors.Is(err, fault.Invalid) {
				t.Fatalf("got %v", err)
			}
			if strings.Contains(err.Error(), "hidden") {
				t.Errorf("%q quotes a password", err)
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q does not say %q", err, w)
				}
			}
		})
	}
}

func TestListenersMayShareAPortAtDifferentAddresses(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"smtp_listen = \"127.0.0.1:2525\"\nsmtps_listen = \"127.0.0.2:2525\"\n",
		"smtp_listen = \":0\"\nsmtps_listen = \":0\"\n",
	} {
		if _, err := config.Load(write(t, text), noEnv, nil); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestEnvironmentAndFlagErrorsNameTheirSource(t *testing.T) {
	t.Parallel()
	_, err := config.Load("", func(k string) (string, bool) { return "loud", k == "POSTERN_LOG_LEVEL" }, nil)
	if err == nil || !strings.Contains(err.Error(), "POSTERN_LOG_LEVEL") {
		t.Errorf("got %v", err)
	}
	_, err = config.Load("", noEnv, map[string]string{"log_level": "loud"})
	if err == nil || !strings.Contains(err.Error(), "--log-level") {
		t.Errorf("got %v", err)
	}
}

func TestMissingFileIsSaid(t *testing.T) {
	t.Parallel()
	if _, err := config.Load(filepath.Join(t.TempDir(), "none.toml"), noEnv, nil); !errors.Is(err, fault.Invalid) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestExampleIsReadable(t *testing.T) {
	t.Parallel()
	text := strings.NewReplacer("\n# master_key = \"\"", "", "# ", "").Replace(config.Example())
	var kept []string
	for line := range strings.SplitSeq(text, "\n") {
		if strings.Contains(line, " = \"") {
			kept = append(kept, line)
		}
	}
	if _, err := config.Load(write(t, strings.Join(kept, "\n")), noEnv, nil); err != nil {
		t.Errorf("the example does not load: %v", err)
	}
}

func FuzzSize(f *testing.F) {
	f.Add("150MB")
	f.Add("1 GiB")
	f.Fuzz(func(t *testing.T, s string) {
		var n config.Size
		if n.UnmarshalText([]byte(s)) == nil && n <= 0 {
			t.Errorf("%q became %d", s, n)
		}
	})
}

func TestSpan(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]time.Duration{"10m": 10 * time.Minute, "30d": 720 * time.Hour, "1h30m": 90 * time.Minute, " off ": 0} {
		var s config.Span
		if err := s.UnmarshalText([]byte(in)); err != nil || s.Duration != want {
			t.Errorf("%q: %v, %v", in, s, err)
		}
	}
	for _, in := range []string{"", "10", "-1h", "0s", "1.5d", "70000d", "d", "never"} {
		var s config.Span
		if err := s.UnmarshalText([]byte(in)); err == nil {
			t.Errorf("%q gave %v", in, s)
		}
	}
}
