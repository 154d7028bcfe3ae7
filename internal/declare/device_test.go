package declare_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"postern/internal/declare"
	"postern/internal/fault"
)

func TestDevicePolicyGoesInAndOut(t *testing.T) {
	t.Parallel()
	const doc = `devices:
  - name: printer
    account: scan
    password: {value: "long enough"}
    senders: [scans@contoso.com]
    from: rewrite
    networks: [192.0.2.7, 10.1.0.0/16, "2001:db8::/32"]
    no_login: true
    max_size: 10MB
    per_minute: 5
`
	m := newMemory()
	d, err := declare.Parse("test.yaml", strings.NewReader(doc))
	if err != nil {
		t.Fatal(err)
	}
	a := m.applier(nil)
	if _, err := a.Apply(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	p := m.devices["printer"].Policy
	if !p.Rewrite || !p.NoLogin || p.MaxSize != 10<<20 || p.PerMinute != 5 || len(p.Networks) != 3 || p.Networks[0].String() != "192.0.2.7/32" {
		t.Errorf("kept %+v", p)
	}
	out, err := a.Export(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := out.Write(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"from: rewrite", "- 192.0.2.7/32", "no_login: true", "max_size: 10MB", "per_minute: 5"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
	again, err := declare.Parse("out.yaml", &b)
	if err != nil {
		t.Fatal(err)
	}
	changes, err := a.Apply(t.Context(), again)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range changes {
		if c.Action != "unchanged" {
			t.Errorf("applied again: %+v", c)
		}
	}
}

func TestDevicePolicyThatCannotBe(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"from: always":                              "allowed: refuse, rewrite",
		"networks: [office]":                        "is no network",
		"no_login: true":                            "networks it may come from",
		"no_login: true, networks: [0.0.0.0/0]":     "open relay",
		"max_size: much":                            "not a size",
		"max_size: -1MB":                            "not a size",
		"per_minute: -1":                            "below 0",
		"networks: [192.0.2.7/33], no_login: false": "is no network",
	} {
		d, err := declare.Parse("test.yaml", strings.NewReader("devices:\n  - {name: p, account: scan, password: {value: \"long enough\"}, "+line+"}\n"))
		if err == nil {
			_, err = newMemory().applier(nil).Apply(t.Context(), d)
		}
		if !errors.Is(err, fault.Invalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", line, err)
		}
	}
}
