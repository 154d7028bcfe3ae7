package extract

import (
	"fmt"
	"strings"
	"testing"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

func TestSafeName(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ in, contentType, want string }{
		{"invoice.pdf", "application/pdf", "invoice.pdf"},
		{"", "application/pdf", "attachment-3.pdf"},
		{"", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "attachment-3.xlsx"},
		{"", "image/jpeg", "attachment-3.jpg"},
		{"", "text/calendar", "attachment-3.ics"},
		{"", "message/rfc822", "attachment-3.eml"},
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
		{"Desktop.INI", "", "_Desktop.INI"},
		{"-rf", "", "_rf"},
		{"a.txt::$DATA", "", "a.txt__$DATA"},
		{"name. . .", "", "name"},
		{"a:b<c>|d?.txt", "", "a_b_c__d_.txt"},
		{"tab\tnewline\n.txt", "", "tabnewline.txt"},
		{"gpj\u202eexe.\u200bjpg\u2066", "", "gpjexe.jpg"},
		{"\u3164", "text/plain", "attachment-3.txt"},
		{"cafe\u0301.txt", "", "café.txt"},
		{"forwarded", "message/rfc822", "forwarded.eml"},
		{"Re: all of it.", "message/rfc822", "Re_ all of it.eml"},
		{strings.Repeat("x", 300), "message/rfc822", strings.Repeat("x", 196) + ".eml"},
		{"x.Manifest.JSON", "", "x_Manifest.JSON"},
		{"Übergrößen.pdf", "", "Übergrößen.pdf"},
		{"bad\xff\xfeutf8.txt", "", "bad_utf8.txt"},
		{strings.Repeat("é", 300) + ".pdf", "", strings.Repeat("é", 83) + ".pdf"},
		{strings.Repeat("😀", 300) + ".pdf", "", strings.Repeat("😀", 49) + ".pdf"},
		{"x." + strings.Repeat("y", 300), "", "x." + strings.Repeat("y", 198)},
	} {
		if got := SafeName(tt.in, tt.contentType, 3); got != tt.want {
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
		if got := Unique(in, func(s string) bool { return taken[s] }); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
	long := SafeName(strings.Repeat("ü", 98)+".pdf", "", 1)
	if got := Unique(long, func(s string) bool { return s == long }); len(got) > maxName || !strings.HasSuffix(got, " (2).pdf") || !utf8.ValidString(got) {
		t.Errorf("long: %q", got)
	}
}

// A folder may hold a hundred thousand files of one name.
func TestUniqueAsksSeldom(t *testing.T) {
	t.Parallel()
	const many = 100_000
	there := map[string]bool{"a.pdf": true}
	for n := 2; n <= many; n++ {
		there[fmt.Sprintf("a (%d).pdf", n)] = true
	}
	asked := 0
	taken := func(s string) bool { asked++; return there[s] }
	if got := Unique("a.pdf", taken); got != fmt.Sprintf("a (%d).pdf", many+1) || asked > 40 {
		t.Errorf("%s after %d questions", got, asked)
	}
	delete(there, "a (2).pdf")
	if got := Unique("a.pdf", taken); got != "a (2).pdf" {
		t.Errorf("%s is taken in place of one that is free", got)
	}
	delete(there, "a (70000).pdf")
	if got := Unique("a.pdf", taken); there[got] {
		t.Errorf("%s is taken already", got)
	}
}

func TestFold(t *testing.T) {
	t.Parallel()
	for _, same := range [][2]string{{"A.PDF", "a.pdf"}, {"caf\u00e9", "CAFE\u0301"}, {"ΣΑΣ", "σας"}, {"Straße", "STRASSE"}} {
		if Fold(same[0]) != Fold(same[1]) {
			t.Errorf("%q and %q clash on some file systems", same[0], same[1])
		}
	}
	if Fold("a.pdf") == Fold("b.pdf") {
		t.Error("all names are the same")
	}
}

// checkName fails unless name, made from in, is safe everywhere.
func checkName(t *testing.T, in, name string) {
	t.Helper()
	switch {
	case name == "" || len(name) > maxName || !utf8.ValidString(name):
		t.Errorf("%q: length or encoding of %q", in, name)
	case len(utf16.Encode([]rune(norm.NFD.String(name)))) > 255 || len(norm.NFD.String(name)) > 255:
		t.Errorf("%q: too long, decomposed: %q", in, name)
	case !norm.NFC.IsNormalString(name):
		t.Errorf("%q: %q is not in NFC", in, name)
	case strings.ContainsAny(name, `/\:<>"|?*`) || strings.ContainsFunc(name, unicode.IsControl) || strings.ContainsFunc(name, func(r rune) bool { return unicode.Is(unicode.Cf, r) }):
		t.Errorf("%q: unsafe character in %q", in, name)
	case strings.ContainsRune(".- ", rune(name[0])) || strings.HasSuffix(name, ".") || strings.HasSuffix(name, " "):
		t.Errorf("%q: dots or blanks around %q", in, name)
	case reserved(name):
		t.Errorf("%q: reserved %q", in, name)
	case strings.HasSuffix(strings.ToLower(name), ManifestSuffix):
		t.Errorf("%q: %q passes for a manifest", in, name)
	}
}

func FuzzSafeName(f *testing.F) {
	for _, s := range []string{"", "a.pdf", "../x", "CON.", "..manifest.json", "a.manifest.json", "\u202egpj", strings.Repeat("a.", 200), strings.Repeat("\u0390", 200), strings.Repeat("\u0344", 20) + "\u0348.pdf"} {
		f.Add(s, "message/rfc822")
		f.Add(s, "")
	}
	f.Fuzz(func(t *testing.T, in, contentType string) {
		name := SafeName(in, contentType, 1)
		checkName(t, in, name)
		if again := SafeName(name, contentType, 1); again != name {
			t.Errorf("%q becomes %q, and that %q", in, name, again)
		}
		second := Unique(name, func(s string) bool { return s == name })
		checkName(t, in, second)
		if Fold(second) == Fold(name) {
			t.Errorf("%q and %q clash", name, second)
		}
	})
}
