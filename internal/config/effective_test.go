package config_test

import (
	"strings"
	"testing"

	"postern/internal/config"
)

func TestSettingsSayWhereTheyAreFrom(t *testing.T) {
	t.Parallel()
	path := write(t, `smtp_listen = ":2525"
database = "postgres://gate:topsecret@db/postern?sslpassword=topsecret&sslmode=require"
proxy = "http://me:topsecret@proxy:3128"
keep_messages = "60d"
log_level = "warn"
`)
	env := func(k string) (string, bool) {
		v, ok := map[string]string{"POSTERN_MASTER_KEY": "topsecret", "POSTERN_MAX_MESSAGE": "20MB", "POSTERN_SMTP_LISTEN": "off"}[k]
		return v, ok
	}
	c, err := config.Load(path, env, map[string]string{"alert_queue_age": "90m", "acme_email": "a@contoso.com"})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]config.Setting{}
	for _, s := range c.Settings() {
		got[s.Name] = s
		if strings.Contains(s.Value, "topsecret") {
			t.Errorf("%s shows a secret: %s", s.Name, s.Value)
		}
		if s.Help == "" || s.Name == "" {
			t.Errorf("a setting has no name or meaning: %+v", s)
		}
	}
	if len(got) != len(config.Keys()) {
		t.Errorf("%d settings of %d keys", len(got), len(config.Keys()))
	}
	for name, want := range map[string][2]string{
		"smtp_listen":     {"off", "POSTERN_SMTP_LISTEN"},
		"database":        {"postgres://gate:xxxxx@db/postern?sslmode=require&sslpassword=xxxxx", path},
		"proxy":           {"http://me:xxxxx@proxy:3128", path},
		"master_key":      {"set, not shown", "POSTERN_MASTER_KEY"},
		"max_message":     {"20MB", "POSTERN_MAX_MESSAGE"},
		"alert_queue_age": {"1h30m", "--alert-queue-age"},
		"keep_messages":   {"60d", path},
		"log_level":       {"warn", path},
		"web_listen":      {":9090", "default"},
		"simulate":        {"off", "default"},
		"public_url":      {"http://localhost:9090", "default"},
		"ca_file":         {"", "default"},
		"resend_window":   {"10m", "default"},
		"alert_disk_free": {"1GB", "default"},
	} {
		if g := got[name]; g.Value != want[0] || g.From != want[1] {
			t.Errorf("%s is %q from %q, want %q from %q", name, g.Value, g.From, want[0], want[1])
		}
	}
}
