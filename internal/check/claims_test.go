package check

import (
	"encoding/base64"
	"testing"
)

func TestDecodeLeavesOpaqueTokensAlone(t *testing.T) {
	t.Parallel()
	encode := func(s string) string { return "e30." + base64.RawURLEncoding.EncodeToString([]byte(s)) + ".x" }
	for _, token := range []string{"", "opaque", "a.b", "a.!.c", encode("no json"), encode(`{"aud":7}`), encode(`{"roles":"one"}`), "a.b.c.d"} {
		if c, ok := decode(token); ok {
			t.Errorf("%q was read as %+v", token, c)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add("a.eyJhdWQiOlsieCJdfQ.c")
	f.Add("a.e30=.c")
	f.Fuzz(func(t *testing.T, token string) {
		if c, ok := decode(token); ok {
			_ = (&checking{Deps: Deps{}.withDefaults()}).timeFits(c) // whatever a token claims, nothing may panic
		}
	})
}
