package fetch

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"postern/internal/fault"
)

// Every mistake is told with the field it is in, when the task is saved.
func TestCheckNamesTheField(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{}`:                              "handover.directory: a place",
		`{"handover":{"directory":"in"}}`: "handover.directory: \"in\" is not an absolute path",
		`{"handover":{"directory":"/in","clash":"burn"}}`:                                       "handover.clash: \"burn\" is not known; allowed: rename",
		`{"handover":{"directory":"/in","path":"{nobody}"}}`:                                    "handover.path: ",
		`{"handover":{"directory":"/in","path":"../x"}}`:                                        "handover.path: ",
		`{"handover":{"directory":"/in","each":"attachment"}}`:                                  "handover.each, act: they are only used",
		`{"handover":{"webhook":{"url":"https://x.example"},"path":"x"}}`:                       "handover.path, clash: they are only used",
		`{"handover":{"webhook":{"url":"https://x.example"},"act":"saved"}}`:                    "handover.act: saved is only used with directory",
		`{"handover":{"webhook":{"url":"gopher://x"}}}`:                                         "handover.webhook: ",
		`{"handover":{"webhook":{"url":"https://x.example"},"command":{"path":"/x"}}}`:          "handover.webhook: ",
		`{"handover":{"directory":"/in"},"after":"move"}`:                                       "after: move needs a folder",
		`{"handover":{"directory":"/in"},"after":"tag a b"}`:                                    "after: tag needs a keyword",
		`{"handover":{"directory":"/in"},"unmatched":"tag"}`:                                    "unmatched: tag needs a keyword",
		`{"handover":{"directory":"/in"},"failure":{"do":"delete"}}`:                            "failure.do: \"delete\" is not for messages that failed",
		`{"handover":{"directory":"/in"},"failure":{"tries":-1}}`:                               "failure.tries: ",
		`{"handover":{"directory":"/in"},"limits":{"messages":-1}}`:                             "limits.messages: ",
		`{"handover":{"directory":"/in"},"nested":"eat"}`:                                       "nested: \"eat\" is not known; allowed: keep, open",
		`{"handover":{"directory":"/in"},"source":{"protocol":"smtp"}}`:                         "source.protocol: \"smtp\" is not known",
		`{"handover":{"directory":"/in"},"source":{"which":"old"}}`:                             "source.which: \"old\" is not known",
		`{"handover":{"directory":"/in"},"source":{"which":"untagged"}}`:                        "source.which: untagged needs an action",
		`{"handover":{"directory":"/in"},"source":{"folders":[""]}}`:                            "source.folders: a folder without a name",
		`{"handover":{"directory":"/in"},"source":{"search":"ALL\r\nx LOGOUT"}}`:                "source.search: it must be one line",
		`{"handover":{"directory":"/in"},"source":{"search":"SUBJECT order FORM x"}}`:           "source.search: search expression: ",
		`{"handover":{"directory":"/in"},"rules":[{},{"take":{"save":["pdf"]}}]}`:               "rules[1].take.save: \"pdf\" is not known",
		`{"handover":{"directory":"/in"},"rules":[{"take":{"save":["manifest"]}}]}`:             "rules[0].take.save: a manifest of nothing",
		`{"handover":{"directory":"/in"},"rules":[{"take":{"types":["pdf"]}}]}`:                 "rules[0].take.types: ",
		`{"handover":{"directory":"/in"},"rules":[{"take":{"min_size":"2","max_size":"1"}}]}`:   "rules[0].take.min_size: ",
		`{"handover":{"directory":"/in"},"rules":[{"name":"a"},{"name":"a"}]}`:                  "rules[1].name: ",
		`{"handover":{"directory":"/in"},"source":{"protocol":"pop3","folders":["Archive"]}}`:   "source.folders: POP3 knows no folders",
		`{"handover":{"directory":"/in"},"source":{"protocol":"pop3","which":"unread"}}`:        "source.which: POP3 knows no flags",
		`{"handover":{"directory":"/in"},"source":{"protocol":"pop3","search":"ALL"}}`:          "source.search: POP3 knows no search",
		`{"handover":{"directory":"/in"},"source":{"protocol":"pop3"},"after":"read"}`:          "after: POP3 knows no flags",
		`{"handover":{"directory":"/in"},"source":{"protocol":"pop3"},"failure":{"do":"flag"}}`: "failure.do: POP3 knows no flags",
	} {
		var s Spec
		must(t, json.Unmarshal([]byte(text), &s))
		err := Task{Name: "t", Spec: s}.Check()
		if !errors.Is(err, fault.Invalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\n  %v\n  want %q", text, err, want)
		}
	}
	for _, good := range []string{
		`{"handover":{"directory":"/in"},"source":{"protocol":"pop3","folders":["inbox"]},"after":"delete"}`,
		`{"handover":{"directory":"/in","webhook":{"url":"https://x.example"},"act":"saved"}}`,
	} {
		var s Spec
		must(t, json.Unmarshal([]byte(good), &s))
		if err := (Task{Name: "t", Spec: s}).Check(); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
}

// What reads as a word is written so that it reads the same.
func FuzzWords(f *testing.F) {
	for _, s := range []string{"5m", "30d", "10MB", "1GB", "move A b", "tag x", "/a+/", "!*.pdf", "2026-01-31", "-1", "99999999999d", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		same := func(read func(string) (string, error)) {
			first, err := read(text)
			if err != nil {
				return
			}
			if second, err := read(first); err != nil || second != first {
				t.Errorf("%q is written %q, and that %q, %v", text, first, second, err)
			}
		}
		same(func(s string) (string, error) {
			var d Duration
			err := d.UnmarshalText([]byte(s))
			b, _ := d.MarshalText()
			return string(b), err
		})
		same(func(s string) (string, error) {
			var z Size
			err := z.UnmarshalText([]byte(s))
			b, _ := z.MarshalText()
			return string(b), err
		})
		same(func(s string) (string, error) {
			var d Date
			err := d.UnmarshalText([]byte(s))
			b, _ := d.MarshalText()
			return string(b), err
		})
		same(func(s string) (string, error) {
			var a Action
			err := a.UnmarshalText([]byte(s))
			return a.String(), err
		})
		if p, err := NewPattern(text); err == nil {
			Patterns{p}.Fit(text, "")
		}
	})
}
