package fetch

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestSafeName(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ in, contentType, want string }{
		{"invoice.pdf", "application/pdf", "invoice.pdf"},
		{"", "application/pdf", "attachment-3.pdf"},
		{"...", "image/png", "attachment-3.png"},
		{" . .", "x/y", "attachment-3.bin"},
		{"../../x", "", "x"},
		{`..\..\x`, "", "x"},
		{"dir/", "application/zip", "attachment-3.zip"},
		{"CON", "", "_CON"},
		{"con.txt", "", "_con.txt"},
		{"Com1.tar.gz", "", "_Com1.tar.gz"},
		{"LPT¹", "", "_LPT¹"},
		{"com10.txt", "", "com10.txt"},
		{"nul .txt", "", "_nul .txt"},
		{"name. . .", "", "name"},
		{"a:b<c>|d?.txt", "", "a_b_c__d_.txt"},
		{"tab\tnewline\n.txt", "", "tabnewline.txt"},
		{"forwarded", "message/rfc822", "forwarded.eml"},
		{"Übergrößen.pdf", "", "Übergrößen.pdf"},
		{"bad\xff\xfeutf8.txt", "", "bad_utf8.txt"},
		{strings.Repeat("é", 300) + ".pdf", "", strings.Repeat("é", 98) + ".pdf"},
		{"x." + strings.Repeat("y", 300), "", "x." + strings.Repeat("y", 198)},
	} {
		if got := safeName(tt.in, tt.contentType, 3); got != tt.want {
			t.Errorf("%.60q: %q, want %q", tt.in, got, tt.want)
		}
	}
}

func TestUnique(t *testing.T) {
	t.Parallel()
	taken := map[string]bool{"a.pdf": true, "a (2).pdf": true, "b": true, "x.tar.gz": true, "m.manifest.json": true}
	for in, want := range map[string]string{
		"a.pdf": "a (3).pdf", "b": "b (2)", "c": "c", "x.tar.gz": "x (2).tar.gz", "m.manifest.json": "m (2).manifest.json",
	} {
		if got := unique(in, func(s string) bool { return taken[s] }); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
	long := strings.Repeat("ü", 98) + ".pdf"
	if got := unique(long, func(s string) bool { return s == long }); len(got) > maxName || !strings.HasSuffix(got, " (2).pdf") || !utf8.ValidString(got) {
		t.Errorf("long: %q", got)
	}
}

func FuzzSafeName(f *testing.F) {
	for _, s := range []string{"", "a.pdf", "../x", "CON.", "..manifest.json", "a.manifest.json", "\u202egpj", strings.Repeat("a.", 200)} {
		f.Add(s, "message/rfc822")
	}
	f.Fuzz(func(t *testing.T, in, contentType string) {
		for _, name := range []string{
			safeName(in, contentType, 1),
			unique(safeName(in, contentType, 1), func(s string) bool {
				return !strings.Contains(s, "(2)") && len(s) < 1000 && s == safeName(in, contentType, 1)
			}),
		} {
			switch {
			case name == "" || len(name) > maxName || !utf8.ValidString(name):
				t.Errorf("%q: length or encoding of %q", in, name)
			case strings.ContainsAny(name, `/\:<>"|?*`) || strings.ContainsFunc(name, unicode.IsControl):
				t.Errorf("%q: unsafe character in %q", in, name)
			case name[0] == '.' || name[0] == ' ' || strings.HasSuffix(name, ".") || strings.HasSuffix(name, " "):
				t.Errorf("%q: dots or blanks around %q", in, name)
			case reserved(name):
				t.Errorf("%q: reserved %q", in, name)
			case strings.HasSuffix(strings.ToLower(name), manifestSuffix):
				t.Errorf("%q: %q passes for a manifest", in, name)
			}
		}
	})
}
