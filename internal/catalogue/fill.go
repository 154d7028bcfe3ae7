package catalogue

import (
	"net/url"
	"regexp"
	"strings"
	"unicode"
)

// Fill returns the entry with {name} replaced by values[name] wherever there is
// a value. In commands, which stand them in single quotes, values are quoted for
// PowerShell; in links they are escaped, and a link that lacks a value is left
// out, since it would lead nowhere. A value with control characters counts as
// missing: what is filled in may be copied into a shell.
func (e Entry) Fill(values map[string]string) Entry {
	e.Meaning = fill(e.Meaning, values, plain)
	e.Fix = fill(e.Fix, values, plain)
	e.Command = fill(e.Command, values, powerShell)
	e.Link = fill(e.Link, values, url.QueryEscape)
	if strings.ContainsAny(e.Link, "{}") {
		e.Link = ""
	}
	return e
}

func fill(template string, values map[string]string, quote func(string) string) string {
	if !strings.Contains(template, "{") {
		return template
	}
	return regexp.MustCompile(`\{[a-z_]+\}`).ReplaceAllStringFunc(template, func(name string) string {
		v := values[strings.Trim(name, "{}")]
		if v == "" || strings.ContainsFunc(v, unicode.IsControl) {
			return name
		}
		return quote(v)
	})
}

func plain(s string) string { return s }

// powerShell doubles every character that PowerShell reads as a single quote,
// the typographic ones included.
func powerShell(s string) string {
	return strings.NewReplacer("'", "''", "‘", "‘‘", "’", "’’", "‚", "‚‚", "‛", "‛‛").Replace(s)
}
