package guide

import (
	"strings"
	"testing"
)

func TestMistakesInTheDataAreFound(t *testing.T) {
	t.Parallel()
	const good = "[r]\ntitle: T\nabout: A.\nmethod: delegated\npurpose: send\n[r.a]\ndo: D.\nsee: S.\nsource: 1.1\n"
	if _, err := parse(good); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		good + "[r]\n":                            "twice",
		good + "[r.a]\n":                          "twice",
		good + "[x.b]\n":                          "another road",
		good + "do: again.\n":                     "twice",
		good + "verb: x\n":                        "no \"verb\"",
		good + "link: nowhere\n":                  "no link",
		good + "link x = http://a\n":              "https",
		"title: T\n":                              "of a road or step",
		"[r]\nwhat: T\n":                          "no \"what\"",
		"[r]\ntitle: T\n":                         "required",
		strings.Replace(good, "see: S.\n", "", 1): "required",
		strings.Replace(good, ": send\n", ": telex\n", 1):  "unknown",
		strings.Replace(good, "[r.a]", "[r.]", 1):          "names no",
		strings.Replace(good, "source: 1.1", "source:", 1): "key: value",
	} {
		if _, err := parse(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("[r]\ntitle: T\n[r.a]\ndo: D.\ncheck: imap mailbox\n")
	f.Add(guides)
	f.Fuzz(func(t *testing.T, text string) {
		roads, err := parse(text)
		for _, r := range roads {
			if err == nil && r.complete() != nil {
				t.Errorf("%q was taken", text)
			}
		}
	})
}
