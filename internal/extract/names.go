package extract

import (
	"fmt"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// maxName is the longest name in octets; file systems allow 255, and a consumer may
// want to append something. UTF-16 units, which Windows counts, are never more.
const maxName = 200

// maxDecomposed is the longest name in octets on a file system that stores accents
// apart, as HFS+ and some shares do.
const maxDecomposed = 255

// ManifestSuffix is what consumers of a folder wait for; no sender's file has it.
const ManifestSuffix = ".manifest.json"

// SafeName makes a file name of what a sender called the n-th file: one that stays
// in its directory and means the same on Linux, Windows and macOS. It never
// returns "", a name with a separator, a control or invisible character, a leading
// dot, dash or blank, a trailing dot or blank, one that Windows reserves, or one that
// passes for a manifest; and it is a fixed point of itself.
func SafeName(original, contentType string, n int) string {
	name := original
	if i := strings.LastIndexAny(name, `/\`); i >= 0 {
		name = name[i+1:]
	}
	name = norm.NFC.String(strings.Map(safeRunes(), norm.NFD.String(strings.ToValidUTF8(name, "_"))))
	name = shorten(strings.TrimLeft(name, ". "))
	if name == "" {
		return fmt.Sprintf("attachment-%d%s", n, extension(contentType))
	}
	if isMessage(contentType) && !strings.EqualFold(path.Ext(name), ".eml") {
		name = WithSuffix(name+".eml", "")
	}
	if name[0] == '-' { // an option, to many a command
		name = "_" + name[1:]
	}
	if reserved(name) {
		name = shorten("_" + name)
	}
	if stem, ext := splitName(name); strings.EqualFold(ext, ManifestSuffix) {
		name = stem + "_" + ext[1:] // as long as before: cutting might bring the suffix back
	}
	return name
}

// maxMarks is how many marks one letter keeps; no script needs more. Beyond 30 in a row
// their normal form has invisible marks between them (UAX #15 §13).
const maxMarks = 8

// safeRunes is safeRune for one name in NFD, which drops heaps of marks as well.
func safeRunes() func(rune) rune {
	marks := 0
	return func(r rune) rune {
		switch r = safeRune(r); {
		case r < 0:
			return r
		case !unicode.Is(unicode.M, r):
			marks = 0
		case marks == maxMarks:
			return -1
		default:
			marks++
		}
		return r
	}
}

// safeRune drops what cannot be seen, among it the marks that make exe.txt of
// txt.exe, and replaces what Windows or a shell would stumble over; also the wide
// forms of separators, which Windows narrows for old programs.
func safeRune(r rune) rune {
	switch {
	case r == utf8.RuneError, strings.ContainsRune(`<>:"/\|?*`, r), strings.ContainsRune("／＼：∕⁄∖", r):
		return '_'
	case unicode.IsControl(r), unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Co, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector):
		return -1
	case unicode.IsSpace(r), r == '\u2800': // the empty Braille pattern looks like one
		return ' '
	}
	return r
}

// shorten cuts a name to what fits, between characters, keeping its extension.
func shorten(name string) string { return WithSuffix(name, "") }

// WithSuffix puts a suffix before the extension of a safe name and cuts the stem so
// that all fits.
func WithSuffix(name, suffix string) string {
	stem, ext := splitName(name)
	for {
		whole := strings.TrimRight(stem+suffix+ext, ". ")
		over := max(len(whole)-maxName, (len(norm.NFD.String(whole))-maxDecomposed+2)/3)
		if over <= 0 || stem == "" {
			return whole
		}
		stem = cutRunes(stem, over)
	}
}

// cutRunes takes at least n octets off the end, or all there is.
func cutRunes(s string, n int) string {
	cut := max(0, len(s)-n)
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut]
}

// splitName cuts a name before its extension, if it has one.
func splitName(name string) (stem, ext string) {
	for _, double := range []string{ManifestSuffix, ".tar.gz"} {
		if cut := len(name) - len(double); cut > 0 && strings.EqualFold(name[cut:], double) {
			return name[:cut], name[cut:]
		}
	}
	ext = path.Ext(name)
	if len(ext) > 20 || len(ext) == len(name) {
		ext = ""
	}
	return strings.TrimSuffix(name, ext), ext
}

// reserved reports the device names of Windows, which no extension makes harmless,
// and the names that make its Explorer or its drives do something.
func reserved(name string) bool {
	if strings.EqualFold(name, "desktop.ini") || strings.EqualFold(name, "autorun.inf") {
		return true
	}
	stem, _, _ := strings.Cut(name, ".")
	stem = strings.ToUpper(strings.TrimRight(stem, " "))
	switch stem {
	case "CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$", "CLOCK$":
		return true
	}
	for _, device := range []string{"COM", "LPT"} {
		if digit, ok := strings.CutPrefix(stem, device); ok && utf8.RuneCountInString(digit) == 1 && strings.ContainsAny(digit, "0123456789¹²³") {
			return true
		}
	}
	return false
}

// Unique returns name, or name with " (2)" and so on, whichever is the first that is not
// taken; where numbers are missing between those taken, it may be behind them. It asks
// seldom: a folder may hold a hundred thousand files of one name.
func Unique(name string, taken func(string) bool) string {
	if !taken(name) {
		return name
	}
	numbered := func(n int) string { return WithSuffix(name, fmt.Sprintf(" (%d)", n)) }
	last, free := 1, 2
	for taken(numbered(free)) {
		last, free = free, 2*free
	}
	for free-last > 1 {
		if n := (last + free) / 2; taken(numbered(n)) {
			last = n
		} else {
			free = n
		}
	}
	return numbered(free)
}

// Fold returns the same for two names that some file system takes for one: it is
// blind to case and to how accents are put together.
func Fold(name string) string {
	return norm.NFC.String(cases.Fold().String(norm.NFD.String(name)))
}
