package fetch

import (
	"errors"
	"testing"
	"time"

	"postern/internal/fault"
)

func FuzzParseMark(f *testing.F) {
	f.Add(Mark{time.UnixMilli(1700000000123), Key{"invoices", "scan@contoso.com/INBOX", 7, "4711"}}.String())
	f.Add(Mark{Updated: time.UnixMilli(5)}.String())
	f.Add("")
	f.Add("nonsense")
	f.Fuzz(func(t *testing.T, text string) {
		m, err := ParseMark(text)
		if err != nil {
			if !errors.Is(err, fault.Invalid) || fault.HintOf(err) == "" {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		again, err := ParseMark(m.String())
		if err != nil || again != m {
			t.Fatalf("%q became %v, then %v: %v", text, m, again, err)
		}
	})
}
