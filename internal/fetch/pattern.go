package fetch

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// Pattern is a text that is looked for, without regard to case:
//
//	invoice        stands somewhere in it
//	*@contoso.com  is all of it, * standing for anything and ? for one character
//	/inv-\d+/      is found by the regular expression (RE2)
//	!newsletter    is not; before any of the others
type Pattern struct {
	text   string
	negate bool
	expr   *regexp.Regexp
}

// maxPattern bounds the text of a pattern.
const maxPattern = 1000

// NewPattern reads a pattern.
func NewPattern(text string) (Pattern, error) {
	p := Pattern{text: text}
	if len(text) > maxPattern {
		return p, fmt.Errorf("a pattern has at most %d octets", maxPattern)
	}
	rest, negate := strings.CutPrefix(text, "!")
	p.negate = negate
	if rest = strings.TrimSpace(rest); rest == "" {
		return p, errors.New("an empty pattern fits nothing")
	}
	source := regexp.QuoteMeta(rest)
	switch {
	case len(rest) > 1 && rest[0] == '/' && rest[len(rest)-1] == '/':
		source = rest[1 : len(rest)-1]
	case strings.ContainsAny(rest, "*?"):
		source = `^` + strings.NewReplacer(`\*`, `.*`, `\?`, `.`).Replace(source) + `$`
	}
	expr, err := regexp.Compile("(?is)" + source)
	if err != nil {
		return p, fmt.Errorf("%q: %w", text, err)
	}
	p.expr = expr
	return p, nil
}

// UnmarshalText reads a pattern.
func (p *Pattern) UnmarshalText(text []byte) (err error) {
	*p, err = NewPattern(string(text))
	return err
}

// MarshalText writes it as it was read.
func (p Pattern) MarshalText() ([]byte, error) { return []byte(p.text), nil }

// String is the text as it was read.
func (p Pattern) String() string { return p.text }

// Equal reports whether both look for the same.
func (p Pattern) Equal(q Pattern) bool { return p.text == q.text }

// Patterns fit when one of them does, or there are only negated ones, and no negated
// one does. None fit anything.
type Patterns []Pattern

// UnmarshalYAML also takes one pattern where a list is allowed.
func (ps *Patterns) UnmarshalYAML(unmarshal func(any) error) error {
	var one Pattern
	if err := unmarshal(&one); err == nil {
		*ps = Patterns{one}
		return nil
	}
	return unmarshal((*[]Pattern)(ps))
}

// Fit reports whether the patterns fit one of the values.
func (ps Patterns) Fit(values ...string) bool {
	wanted, found := false, false
	for _, p := range ps {
		hit := false
		for _, v := range values {
			hit = hit || p.expr.MatchString(v)
		}
		if p.negate && hit {
			return false
		}
		if !p.negate {
			wanted, found = true, found || hit
		}
	}
	return found || !wanted
}
