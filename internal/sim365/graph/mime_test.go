package graph

import (
	"bytes"
	"strings"
	"testing"
)

func TestWithoutBcc(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"A: 1\r\nBcc: x\r\n y\r\n\tz\r\nB: 2\r\n\r\nBcc: body": "A: 1\r\nB: 2\r\n\r\nBcc: body",
		"bCC : x\nA: 1\n\nb":   "A: 1\n\nb",
		"A: 1\r\nBcc: x":       "A: 1\r\n",
		"Bccx: kept\r\n\r\n":   "Bccx: kept\r\n\r\n",
		"":                     "",
		"Bcc: x\r\nBcc: y\r\n": "",
	} {
		if got := string(withoutBcc([]byte(in))); got != want {
			t.Errorf("%q gave %q, want %q", in, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("From: a@b.c\r\nTo: x@y.z\r\nBcc: q@r.s,\r\n t@u.v\r\n\r\nbody"))
	f.Add([]byte("Bcc:"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := parse(raw)
		if err != nil {
			return
		}
		if len(m.delivered) > len(raw) || !bytes.Equal(withoutBcc(m.delivered), m.delivered) {
			t.Fatalf("%q: %q", raw, m.delivered)
		}
		again, err := parse(m.delivered)
		if err != nil {
			return // nothing but Bcc was there
		}
		if len(again.to) > len(m.to) || strings.Join(again.from, " ") != strings.Join(m.from, " ") {
			t.Fatalf("%q lost or won addresses: %v, %v", raw, m, again)
		}
	})
}
