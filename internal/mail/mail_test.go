package mail_test

import (
	"strings"
	"testing"
	"time"

	"postern/internal/mail"
)

func TestParseAddress(t *testing.T) {
	t.Parallel()
	good := []string{
		"a@b", "scan@contoso.com", "o'neil+x=y@contoso.co.uk", `"a b"@contoso.com`, `"a\"b"@contoso.com`,
		"root@[127.0.0.1]", "r@[IPv6:::1]", "jörg@münchen.example", "svc_x@sub_domain.example", "\"a@b\"@c.example",
	}
	for _, s := range good {
		a, err := mail.ParseAddress(s)
		if err != nil {
			t.Errorf("%q refused: %v", s, err)
		} else if a.String() != s {
			t.Errorf("%q came back as %q", s, a)
		}
	}
	bad := []string{
		"", "a", "@", "a@", "@b", "a b@c", "a@b c", "a@-b", "a@b-", "a@b..c", ".a@b", "a.@b", "a..b@c", "a@b\r\nRCPT TO:<x@y>",
		"<a@b>", "a,b@c", `"a@b`, `"a"b"@c`, `"a\"@c`, "a@[", "a@[1.2.3.4", "a@[1 2]", "a@b>", "a@b/c", "a\x00@b", "a\xff@b", "a@\xff",
		strings.Repeat("l", 65) + "@b", "a@" + strings.Repeat("d", 64), "a@" + strings.Repeat("d.", 130) + "d",
	}
	for _, s := range bad {
		if a, err := mail.ParseAddress(s); err == nil {
			t.Errorf("%q accepted as %+v", s, a)
		}
	}
}

func FuzzParseAddress(f *testing.F) {
	for _, s := range []string{"a@b", `"a b"@c`, "a@[::1]", "a@b\r\n", "ö@ü"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := mail.ParseAddress(s)
		if err != nil {
			return
		}
		if a.String() != s {
			t.Errorf("%q came back as %q", s, a)
		}
		if strings.ContainsAny(s, "\r\n\x00<>") && s[0] != '"' {
			t.Errorf("%q could break out of a command", s)
		}
	})
}

func TestSame(t *testing.T) {
	t.Parallel()
	a, b := mail.Address{Local: "Scan", Domain: "Contoso.com"}, mail.Address{Local: "scan", Domain: "contoso.COM"}
	if !a.Same(b) || a.Same(mail.Address{Local: "scan", Domain: "contoso.org"}) {
		t.Error("comparison is off")
	}
	if (mail.Address{}).String() != "" || !(mail.Address{}).Null() {
		t.Error("the null sender is not null")
	}
}

func TestMadeAtKnowsWhatIsNoIdentity(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"", "m1", "ILOU", mail.NewID(time.Now()) + "00"} {
		if at, ok := mail.MadeAt(s); ok {
			t.Errorf("%q was made at %v", s, at)
		}
	}
}

func TestNewIDSortsByTime(t *testing.T) {
	t.Parallel()
	now := time.Now()
	seen := map[string]bool{}
	for range 1000 {
		id := mail.NewID(now)
		if len(id) != 26 || seen[id] {
			t.Fatalf("bad or repeated id %q", id)
		}
		seen[id] = true
		if at, ok := mail.MadeAt(id); !ok || at.UnixMilli() != now.UnixMilli() {
			t.Fatalf("%q was made at %v, not %v", id, at, now)
		}
		if later := mail.NewID(now.Add(time.Millisecond)); later <= id {
			t.Fatalf("%q does not sort after %q", later, id)
		}
	}
}
