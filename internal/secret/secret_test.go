package secret_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"postern/internal/secret"
)

const clear = "8Q~very-secret-value"

func TestNeverPrints(t *testing.T) {
	t.Parallel()
	s := secret.New(clear)
	type holder struct {
		Name   string
		Secret secret.Text
		Ptr    *secret.Text
	}
	h := holder{"x", s, &s}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("m", "s", s, "h", h)
	slog.New(slog.NewTextHandler(&log, nil)).Info("m", "s", s, "h", h)
	j, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	for name, out := range map[string]string{
		"%v": fmt.Sprintf("%v", h), "%+v": fmt.Sprintf("%+v", h), "%#v": fmt.Sprintf("%#v", s),
		"%s": fmt.Sprintf("%s", s), "%q": fmt.Sprintf("%q", s), "%x": fmt.Sprintf("%x", s), "%d": fmt.Sprintf("%d", s),
		"json": string(j), "slog": log.String(), "error": fmt.Errorf("bad %v", s).Error(),
	} {
		if strings.Contains(out, clear) || strings.Contains(out, fmt.Sprintf("%x", clear)) {
			t.Errorf("%s shows the secret: %s", name, out)
		}
	}
	if s.Reveal() != clear {
		t.Error("Reveal lost the value")
	}
}

func TestAddress(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"https://hooks.example.com/services/T0/B0/key":  "https://hooks.example.com/…",
		"https://user:pass@erp.example.com:8443/?sig=x": "https://erp.example.com:8443/…",
		"https://erp.example.com/":                      "https://erp.example.com",
		"https://[::1]:80":                              "https://[::1]:80",
		"not an address %zz":                            secret.Redacted,
		"/only/a/path":                                  secret.Redacted,
	} {
		if got := secret.Address(address); got != want {
			t.Errorf("%s is shown as %s, want %s", address, got, want)
		}
	}
}

func TestScrub(t *testing.T) {
	t.Parallel()
	s := secret.New(clear)
	in := strings.Join([]string{
		"plain " + clear,
		"b64 " + base64.StdEncoding.EncodeToString([]byte(clear)),
		"raw " + base64.RawURLEncoding.EncodeToString([]byte(clear)),
		"form client_secret=8Q~very-secret-value&x=1",
	}, "\n")
	out := secret.Scrub(in, s, secret.New("ab"), secret.Text{})
	if strings.Contains(out, clear) || strings.Count(out, secret.Redacted) != 4 {
		t.Errorf("got %q", out)
	}
}

func TestUnecho(t *testing.T) {
	t.Parallel()
	said := secret.New("dXNlcj1zY2FuAWF1dGg9QmVhcmVyIFRPS0VO")
	for in, want := range map[string]string{
		"no such thing": "no such thing",
		`"AUTH XOAUTH2 dXNlcj1zY2FuAWF1dGg9QmVhcmVyIFRPS0VO" is unknown`: `"AUTH XOAUTH2 ` + secret.Redacted,
		"unknown: dXNlcj1zY2FuAWF1dGg9Qm...":                             "unknown: " + secret.Redacted,
	} {
		if got := secret.Unecho(in, said); got != want {
			t.Errorf("%q became %q", in, got)
		}
	}
	if got := secret.Unecho("= is wrong", secret.New("=")); got != "= is wrong" {
		t.Errorf("got %q", got)
	}
}
