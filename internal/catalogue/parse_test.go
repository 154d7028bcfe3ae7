package catalogue

import (
	"strings"
	"testing"
)

const sound = `link page = https://x.example/
[smtp.a]
code: 535
meaning: It failed.
fix: Mend it.
link: page
who: operator
class: needs_admin
source: 4.1
`

func TestParseRefusesMistakes(t *testing.T) {
	t.Parallel()
	if e, err := parse(sound); err != nil || len(e) != 1 || e[0].Retry != No || e[0].Link != "https://x.example/" {
		t.Fatalf("the sound entry: %+v, %v", e, err)
	}
	for _, c := range []struct{ name, old, new, want string }{
		{"unknown key", "source: 4.1", "source: 4.1\ncolour: red", "unknown key"},
		{"key twice", "code: 535", "code: 535\ncode: 530", "two lines"},
		{"no match", "code: 535\n", "", "matches nothing"},
		{"no meaning", "meaning: It failed.\n", "", "required"},
		{"no colon", "fix: Mend it.", "fix Mend it", "key: value"},
		{"empty value", "fix: Mend it.", "fix:", "key: value"},
		{"unknown link", "link: page", "link: other", "unknown link"},
		{"plain link", "link: page", "link: http://x.example/", "not https"},
		{"plain named link", "= https:", "= http:", "not https"},
		{"link twice", "[smtp.a]", "link page = https://y.example/\n[smtp.a]", "twice"},
		{"bad link", "[smtp.a]", "link other\n[smtp.a]", "name = https"},
		{"who", "who: operator", "who: somebody", "who"},
		{"class", "class: needs_admin", "class: bad", "class"},
		{"retry", "source: 4.1", "source: 4.1\nretry: perhaps", "retry"},
		{"upper case text", "code: 535", "text: Failed", "lower case"},
		{"protocol", "[smtp.a]", "[ftp.a]", "protocol.name"},
		{"not closed", "[smtp.a]", "[smtp.a", "not closed"},
		{"before the first", "[smtp.a]\n", "", "before the first"},
		{"id twice", "source: 4.1", "source: 4.1\n[smtp.a]", "there twice"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := parse(strings.Replace(sound, c.old, c.new, 1))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add(sound)
	f.Add("[smtp.a]\n[smtp.b]\ntext: | \n")
	f.Fuzz(func(t *testing.T, text string) {
		entries, err := parse(text)
		if err != nil {
			return
		}
		for _, e := range entries {
			if err := e.complete(); err != nil {
				t.Errorf("%s came through: %v", e.ID, err)
			}
		}
	})
}

func FuzzLookup(f *testing.F) {
	c, err := Load()
	if err != nil {
		f.Fatal(err)
	}
	f.Add("smtp", "535", "5.7.139", "disabled")
	f.Add("oauth", "invalid_grant", "AADSTS1", "aadsts50011")
	f.Fuzz(func(t *testing.T, protocol, code, enhanced, text string) {
		e, ok := c.Lookup(Query{protocol, code, enhanced, text})
		if ok != (e.ID != "") {
			t.Errorf("found %v, but %q", ok, e.ID)
		}
	})
}
