package fetch

import (
	"fmt"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// maxName is the longest name in octets; file systems allow 255, and a consumer
// may want to append something.
const maxName = 200

// manifestSuffix is what consumers wait for.
const manifestSuffix = ".manifest.json"

// safeName makes a file name of what a sender called the n-th file: one that stays
// in its directory and means the same on Linux, Windows and macOS. It never
// returns "", a name with a separator, a control character or a leading dot, one
// that Windows reserves, or one that passes for a manifest.
func safeName(original, contentType string, n int) string {
	name := original
	if i := strings.LastIndexAny(name, `/\`); i >= 0 {
		name = name[i+1:]
	}
	name = strings.Map(safeRune, norm.NFC.String(strings.ToValidUTF8(name, "_")))
	name = shorten(strings.TrimLeft(name, ". "))
	if name == "" {
		return fmt.Sprintf("attachment-%d%s", n, extension(contentType))
	}
	if contentType == "message/rfc822" && !strings.EqualFold(path.Ext(name), ".eml") {
		name = shorten(name + ".eml")
	}
	if reserved(name) {
		name = shorten("_" + name)
	}
	if stem, ext := splitName(name); strings.EqualFold(ext, manifestSuffix) {
		name = shorten(stem + ".manifest_.json") // a sender writes no manifests
	}
	return name
}

// safeRune drops what cannot be seen, among it the marks that make exe.txt of
// txt.exe, and replaces what Windows or a shell would stumble over.
func safeRune(r rune) rune {
	switch {
	case unicode.IsControl(r), unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Co):
		return -1
	case strings.ContainsRune(`<>:"/\|?*`, r), r == utf8.RuneError:
		return '_'
	case unicode.IsSpace(r):
		return ' '
	}
	return r
}

// shorten cuts a name to maxName octets, between characters, keeping its extension.
func shorten(name string) string { return withSuffix(name, "", maxName) }

// withSuffix puts a suffix before the extension and cuts the stem so that all fits.
func withSuffix(name, suffix string, limit int) string {
	stem, ext := splitName(name)
	if room := limit - len(ext) - len(suffix); len(stem) > room {
		for room > 0 && !utf8.RuneStart(stem[room]) {
			room--
		}
		stem = stem[:room]
	}
	return strings.TrimRight(stem+suffix+ext, ". ")
}

// splitName cuts a name before its extension, if it has one.
func splitName(name string) (stem, ext string) {
	for _, double := range []string{manifestSuffix, ".tar.gz"} {
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

// reserved reports the device names of Windows, which no extension makes harmless.
func reserved(name string) bool {
	stem, _, _ := strings.Cut(name, ".")
	stem = strings.ToUpper(strings.TrimRight(stem, " "))
	switch stem {
	case "CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$":
		return true
	}
	for _, device := range []string{"COM", "LPT"} {
		if digit, ok := strings.CutPrefix(stem, device); ok && utf8.RuneCountInString(digit) == 1 && strings.ContainsAny(digit, "0123456789¹²³") {
			return true
		}
	}
	return false
}

// unique returns name, or name with " (2)" and so on, whichever is the first that
// is not taken.
func unique(name string, taken func(string) bool) string {
	if !taken(name) {
		return name
	}
	for n := 2; ; n++ {
		if other := withSuffix(name, fmt.Sprintf(" (%d)", n), maxName); !taken(other) {
			return other
		}
	}
}

// extension is the usual one of a media type. The system's own table is not asked:
// the same mail must give the same names everywhere.
func extension(contentType string) string {
	switch contentType {
	case "application/pdf":
		return ".pdf"
	case "application/zip", "application/x-zip-compressed":
		return ".zip"
	case "application/xml", "text/xml":
		return ".xml"
	case "application/json":
		return ".json"
	case "application/ms-tnef":
		return ".tnef"
	case "application/msword":
		return ".doc"
	case "application/vnd.ms-excel":
		return ".xls"
	case "application/vnd.openxmlformats-officedocument.wordprocessingml.document":
		return ".docx"
	case "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet":
		return ".xlsx"
	case "application/pkcs7-signature", "application/x-pkcs7-signature":
		return ".p7s"
	case "application/pkcs7-mime", "application/x-pkcs7-mime":
		return ".p7m"
	case "image/jpeg":
		return ".jpg"
	case "image/png":
		return ".png"
	case "image/gif":
		return ".gif"
	case "image/tiff":
		return ".tif"
	case "image/svg+xml":
		return ".svg"
	case "text/plain":
		return ".txt"
	case "text/html":
		return ".html"
	case "text/csv":
		return ".csv"
	case "text/calendar":
		return ".ics"
	case "text/vcard":
		return ".vcf"
	case "message/rfc822":
		return ".eml"
	}
	return ".bin"
}
