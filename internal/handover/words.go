package handover

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxWords bounds what is kept of what a target said, in octets.
const maxWords = 2000

// bounded makes a peer's words fit for ledgers, pages and terminals.
func bounded(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\n':
			return r
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsGraphic(r):
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
	s = strings.TrimSpace(s)
	if len(s) <= maxWords {
		return s
	}
	cut := maxWords
	for !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}
