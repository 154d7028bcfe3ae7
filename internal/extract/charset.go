package extract

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/html/charset"
	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/ianaindex"
	"golang.org/x/text/encoding/unicode"
)

// findEncoding knows charsets under the names that mail uses for them. The WHATWG
// table comes first: it takes iso-8859-1 for the Windows-1252 that it mostly is.
func findEncoding(label string) (enc encoding.Encoding, known bool) {
	label = strings.ToLower(strings.Trim(label, " \t\"'"))
	if strings.HasPrefix(label, "cp-") {
		label = "cp" + label[len("cp-"):]
	}
	if label == "utf-16" {
		return unicode.UTF16(unicode.BigEndian, unicode.UseBOM), true // RFC 2781 §4.3
	}
	if enc, err := htmlindex.Get(label); err == nil && enc != encoding.Replacement {
		return enc, true
	}
	for _, name := range []string{label, "cs" + label} {
		if enc, err := ianaindex.MIME.Encoding(name); err == nil && enc != nil {
			return enc, true
		}
	}
	return nil, false
}

// saysNothing are labels for text of which the sender did not know better.
func saysNothing(label string) bool {
	switch strings.ToLower(label) {
	case "", "us-ascii", "ascii", "ansi_x3.4-1968", "unknown-8bit", "x-unknown", "unknown", "default", "binary":
		return true
	}
	return false
}

// toUTF8 decodes octets of a header. What is of no charset, or of an unknown one, is
// UTF-8 if it can be, else Windows-1252, which it mostly is.
func toUTF8(label string, octets []byte) (s string, known bool) {
	known = saysNothing(label)
	if !known {
		var enc encoding.Encoding
		if enc, known = findEncoding(label); known && enc != unicode.UTF8 {
			if out, err := enc.NewDecoder().Bytes(octets); err == nil {
				return string(out), true
			}
		}
	}
	if !utf8.Valid(octets) {
		if out, err := charmap.Windows1252.NewDecoder().Bytes(octets); err == nil {
			return string(out), known
		}
	}
	return strings.ToValidUTF8(string(octets), "\uFFFD"), known
}

// bodyEncoding chooses by the declared charset, or by the beginning of the content.
func bodyEncoding(l leaf, head []byte) (enc encoding.Encoding, known bool) {
	if bytes.HasPrefix(head, []byte("\xef\xbb\xbf")) {
		return unicode.UTF8BOM, true
	}
	if !saysNothing(l.charset) {
		if enc, known := findEncoding(l.charset); known {
			return enc, true
		}
	} else {
		known = true
	}
	if l.Kind == BodyHTML {
		enc, _, _ := charset.DetermineEncoding(head[:min(len(head), 1024)], "text/html")
		return enc, known
	}
	if validBeginning(head) {
		return unicode.UTF8, known
	}
	return charmap.Windows1252, known
}

// validBeginning is utf8.Valid for text that may be cut within a character.
func validBeginning(p []byte) bool {
	for i := 1; i < utf8.UTFMax && i <= len(p); i++ {
		if utf8.RuneStart(p[len(p)-i]) {
			if !utf8.FullRune(p[len(p)-i:]) {
				p = p[:len(p)-i]
			}
			break
		}
	}
	return utf8.Valid(p)
}
