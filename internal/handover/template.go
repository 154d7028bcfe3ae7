package handover

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"postern/internal/fault"
)

// Template is text with variables in braces: {subject}, {subject:40}, {index:3},
// {date_sent:yyyy-MM-dd}, {from_domain:lower}. {{ and }} stand for braces.
type Template struct{ pieces []piece }

// piece is literal text, or a variable and how it is written.
type piece struct {
	literal string
	name    string // "" for literal text
	width   int    // of text: at most so many characters; of a number: at least so many digits
	layout  string // of a time, as package time has it; "" for the usual one
	upper   bool
	lower   bool
}

const parsing = "parse template"

// templateError names the place, counted in characters from 1.
func templateError(text string, at int, format string, args ...any) *fault.Error {
	return fault.New(fault.Invalid, parsing, "%q, character %d: %s", text, utf8.RuneCountInString(text[:at])+1, fmt.Sprintf(format, args...))
}

// Parse reads a template. Its errors are fault.Invalid and name the place and what is
// known.
func Parse(text string) (Template, error) {
	var t Template
	var literal strings.Builder
	flush := func() {
		if literal.Len() > 0 {
			t.pieces = append(t.pieces, piece{literal: literal.String()})
			literal.Reset()
		}
	}
	for at := 0; at < len(text); at++ {
		c := text[at]
		switch doubled := at+1 < len(text) && text[at+1] == c; {
		case c != '{' && c != '}':
			literal.WriteByte(c)
		case doubled:
			literal.WriteByte(c)
			at++
		case c == '}':
			return Template{}, templateError(text, at, "a closing brace without an opening one").WithHint("write }} for a brace")
		default:
			length := strings.IndexAny(text[at+1:], "{}")
			if length < 0 || text[at+1+length] == '{' {
				return Template{}, templateError(text, at, "the brace is not closed").WithHint("write {{ for a brace")
			}
			p, err := parseVariable(text, at, text[at+1:at+1+length])
			if err != nil {
				return Template{}, err
			}
			flush()
			t.pieces = append(t.pieces, p)
			at += length + 1
		}
	}
	flush()
	return t, nil
}

// parseVariable reads what stands between the braces that open at at.
func parseVariable(text string, at int, inside string) (piece, error) {
	name, modifiers, modified := strings.Cut(inside, ":")
	p := piece{name: name, layout: shortcut(name)}
	value := Vars{}.value(name)
	if value == nil {
		return p, templateError(text, at, "there is no variable {%s}", name).WithHint("known: %s", strings.Join(Variables(), ", "))
	}
	if !modified {
		return p, nil
	}
	if _, is := value.(time.Time); is {
		var err error
		if p.layout, err = layout(modifiers); err == nil && shortcut(name) != "" {
			err = fmt.Errorf("{%s} takes nothing after a colon", name)
		}
		if err != nil {
			return p, templateError(text, at, "%v", err).WithHint("dates are written with yyyy, yy, MM, dd, HH, mm and ss: {date_received:yyyy-MM-dd}")
		}
		return p, nil
	}
	for m := range strings.SplitSeq(modifiers, ":") {
		n, err := strconv.ParseUint(m, 10, 16)
		switch {
		case m == "upper":
			p.upper = true
		case m == "lower":
			p.lower = true
		case err == nil && n > 0 && n <= 1000:
			p.width = int(n)
		default:
			return p, templateError(text, at, "%q cannot stand after {%s:", m, name).
				WithHint("allowed: a number (of characters at most, or of digits at least), upper, lower")
		}
	}
	return p, nil
}

// shortcut is the layout of the variables that are a part of date_received.
func shortcut(name string) string {
	switch name {
	case "yyyy", "MM", "dd", "HH", "mm":
		l, _ := layout(name)
		return l
	}
	return ""
}

// layout is package time's for a pattern.
func layout(pattern string) (string, error) {
	var out strings.Builder
	words := []struct{ word, layout string }{
		{"yyyy", "2006"}, {"yy", "06"}, {"MM", "01"}, {"dd", "02"}, {"HH", "15"}, {"mm", "04"}, {"ss", "05"},
	}
next:
	for rest := pattern; rest != ""; {
		for _, w := range words {
			if after, ok := strings.CutPrefix(rest, w.word); ok {
				out.WriteString(w.layout)
				rest = after
				continue next
			}
		}
		// Anything else that package time would read as a part of a date is none here.
		if !strings.ContainsRune("-._ :T", rune(rest[0])) {
			return "", fmt.Errorf("%q is no date pattern", pattern)
		}
		out.WriteByte(rest[0])
		rest = rest[1:]
	}
	if out.Len() == 0 {
		return "", fmt.Errorf("%q is no date pattern", pattern)
	}
	return out.String(), nil
}

// format writes a variable; times without a layout of their own have usual.
func (p piece) format(v Vars, usual string) string {
	switch value := v.value(p.name).(type) {
	case time.Time:
		if p.layout != "" {
			usual = p.layout
		}
		return value.Format(usual)
	case int64:
		return fmt.Sprintf("%0*d", p.width, value)
	case string:
		return p.shape(strings.ToValidUTF8(value, "\uFFFD"))
	}
	return ""
}

func (p piece) shape(s string) string {
	switch {
	case p.upper:
		s = strings.ToUpper(s)
	case p.lower:
		s = strings.ToLower(s)
	}
	if p.width > 0 {
		n := 0
		for i := range s {
			if n == p.width {
				return s[:i]
			}
			n++
		}
	}
	return s
}

// Text fills the template in as it is, for whoever takes it as data.
func (t Template) Text(v Vars) string {
	var b strings.Builder
	for _, p := range t.pieces {
		if p.name == "" {
			b.WriteString(p.literal)
			continue
		}
		b.WriteString(p.format(v, time.RFC3339))
	}
	return b.String()
}

// variable reports whether the template has any.
func (t Template) variable() bool {
	for _, p := range t.pieces {
		if p.name != "" {
			return true
		}
	}
	return false
}
