package declare_test

import (
	"strings"
	"testing"

	"postern/internal/vault"
)

func TestTransport(t *testing.T) {
	t.Parallel()
	for written, want := range map[string]string{"": "", "auto": "", "smtp": vault.OverSMTP, " graph ": vault.OverGraph} {
		m := newMemory()
		a := m.applier(map[string]string{"CLIENT_SECRET": "x"})
		doc := document(t, strings.Replace(whole, "    purposes: [send, imap]\n", "    purposes: [send, imap, graph]\n    transport: \""+written+"\"\n", 1))
		apply(t, a, doc)
		if got := m.accounts["scan"].Transport; got != want {
			t.Errorf("%q became %q, want %q", written, got, want)
		}
		if out := exported(t, a); strings.Contains(out, "transport: "+want+"\n") != (want != "") {
			t.Errorf("%q is exported as\n%s", written, out)
		}
		if again := apply(t, a, doc); !strings.Contains(again, "account scan unchanged") {
			t.Errorf("applied again, %q is a change: %s", written, again)
		}
	}
}
