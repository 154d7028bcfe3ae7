package app_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"postern/internal/app"
	"postern/internal/config"
	"postern/internal/fault"
)

// TestCheckConfig finds what otherwise only a start would, and makes nothing.
func TestCheckConfig(t *testing.T) {
	t.Parallel()
	const provider = `oidc_client_id = "11111111-2222-3333-4444-555555555555"` + "\n"
	for name, c := range map[string]struct {
		text string
		says string // "" for nothing
	}{
		"good":               {`hostname = "gate.contoso.com"`, ""},
		"good provider":      {provider + `oidc_tenant = "contoso.com"` + "\n" + `oidc_allow = "domain:contoso.com=viewer"`, ""},
		"rule":               {provider + `oidc_tenant = "contoso.com"` + "\n" + `oidc_allow = "contoso.com=viewer"`, "oidc_allow"},
		"many tenants":       {provider + `oidc_tenant = "organizations"`, "oidc_tenant"},
		"secret file":        {provider + `oidc_tenant = "contoso.com"` + "\n" + `oidc_client_secret_file = "none"`, "oidc_client_secret_file"},
		"certificate":        {`tls_cert = "none.pem"` + "\n" + `tls_key = "none.key"`, "none.pem"},
		"authorities":        {`ca_file = "none.pem"`, "ca_file"},
		"key":                {`master_key = "short"`, "master key"},
		"key service":        {`master_key_url = "nokms://x"`, "master_key_url"},
		"database":           {`database = "postgres://u:hidden@host:port/x"`, "database URL"},
		"data is a file":     {`data_dir = "a-file"`, "is a file"},
		"key file is no key": {`master_key_file = "a-file"`, "master key"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for file, text := range map[string]string{"postern.toml": strings.NewReplacer(`"none`, `"`+dir+`/none`, `"a-file`, `"`+dir+`/a-file`).Replace(c.text), "a-file": "x"} {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			data := filepath.Join(dir, "data")
			cfg, err := config.Load(filepath.Join(dir, "postern.toml"), func(key string) (string, bool) {
				return data, key == "POSTERN_DATA_DIR" && !strings.Contains(c.text, "data_dir")
			}, nil)
			if err != nil {
				t.Fatal(err)
			}
			err = app.CheckConfig(t.Context(), cfg)
			if (err == nil) != (c.says == "") || err != nil && (!errors.Is(err, fault.Invalid) || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "hidden")) {
				t.Errorf("got %v, want %q", err, c.says)
			}
			if _, err := os.Stat(data); err == nil {
				t.Error("a look at the configuration made the data directory")
			}
		})
	}
}
