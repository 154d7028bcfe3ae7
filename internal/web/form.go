package web

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"postern/internal/fault"
)

// form is what somebody typed and what is wrong with it. A form that is refused comes
// back with everything typed but passwords, and says beside each field what to change.
type form struct {
	Values url.Values
	Wrong  map[string]string // field → what to change
	Why    string            // what is wrong with no field in particular
}

// blank is a form before anybody typed, with its defaults.
func blank(defaults url.Values) form { return form{Values: defaults, Wrong: map[string]string{}} }

// typed reads a form that was sent. One that cannot be read, or is too long, says so.
func typed(r *http.Request) form {
	f := blank(nil)
	if err := r.ParseForm(); err != nil {
		f.Why = "The form could not be read. Send it again."
	}
	f.Values = r.PostForm
	return f
}

// Get is a field without the blanks around it, which come along when people paste.
func (f form) Get(name string) string { return strings.TrimSpace(f.Values.Get(name)) }

// Ticked reports whether a box has its tick, or one of several boxes of that name.
func (f form) Ticked(name, value string) bool { return slices.Contains(f.Values[name], value) }

// Lines are a field's lines, or words between commas, without the empty ones.
func (f form) Lines(name string) []string {
	return strings.FieldsFunc(f.Values.Get(name), func(r rune) bool { return r == '\n' || r == '\r' || r == ',' || r == ' ' })
}

// wrong says what to change in a field; the first word on it stays.
func (f form) wrong(name, say string) {
	if f.Wrong[name] == "" {
		f.Wrong[name] = say
	}
}

// need says of each empty field that it must be filled in.
func (f form) need(names ...string) {
	for _, name := range names {
		if f.Get(name) == "" {
			f.wrong(name, "Fill this in.")
		}
	}
}

// count reads a field that holds a number which is not below 0; empty is 0.
func (f form) count(name string) int { return f.whole(name, "Type a whole number.") }

// whole is count with words of one's own for what to change.
func (f form) whole(name, say string) int {
	text := f.Get(name)
	if text == "" {
		return 0
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		f.wrong(name, say)
		return 0
	}
	return n
}

// refuse says what an error of the rooms below means for the form as a whole.
func (f *form) refuse(err error) {
	f.Why = sentence(fault.HintOf(err))
	if e := fault.As(err); e != nil && e.Err != nil {
		f.Why = strings.TrimSpace(sentence(e.Err.Error()) + " " + f.Why)
	}
	if f.Why == "" {
		f.Why = "This could not be saved now. The log says why; try again in a minute."
	}
}

// good reports whether nothing is wrong.
func (f form) good() bool { return len(f.Wrong) == 0 && f.Why == "" }

// field is one input as its template draws it.
type field struct {
	Name, Label, Hint, Value, Wrong, Type, Complete string
	Required, Focus                                 bool
	Rows                                            int // of a text area
	Choices                                         []choice
	Ticks                                           bool // several of the choices
}

// choice is one of the values that a field may have.
type choice struct {
	Value, Label, Hint string
	Chosen             bool
}

// ID ties label, hint and error to the input.
func (f field) ID() string { return "f-" + f.Name }

// Described names what explains the input, for aria-describedby.
func (f field) Described() string {
	var ids []string
	if f.Hint != "" {
		ids = append(ids, f.ID()+"-hint")
	}
	if f.Wrong != "" {
		ids = append(ids, f.ID()+"-wrong")
	}
	return strings.Join(ids, " ")
}

// input draws a field: {{template "field" (input .Form "name" "Label" "hint" "required" "type=password")}}.
// Words are: required, focus, type=…, complete=… (autocomplete), hint=…. Anything else is the hint.
func input(f form, name, label string, words ...string) field {
	d := field{Name: name, Label: label, Type: "text", Value: f.Values.Get(name), Wrong: f.Wrong[name], Complete: "off"}
	for _, w := range words {
		key, value, _ := strings.Cut(w, "=") // a hint may hold a sign of equality: only known words are taken apart
		switch key {
		case "required":
			d.Required = true
		case "focus":
			d.Focus = true
		case "type":
			d.Type = value
		case "complete":
			d.Complete = value
		case "area":
			d.Rows = 4
		case "lines": // a few short ones
			d.Rows = 2
		default:
			d.Hint = w
		}
	}
	if d.Type == "password" {
		d.Value = "" // never sent back
	}
	return d
}

// pick draws a field with choices, which are "value|Label|hint": radio buttons or a
// list, by the template; several makes them boxes to tick.
func pick(f form, name, label, hint string, several bool, choices []choice) field {
	d := field{Name: name, Label: label, Hint: hint, Wrong: f.Wrong[name], Ticks: several, Choices: slices.Clone(choices)}
	for i, c := range d.Choices {
		d.Choices[i].Chosen = f.Ticked(name, c.Value)
	}
	return d
}

// options makes choices of "value|Label|hint" texts, for templates.
func options(texts ...string) []choice {
	out := make([]choice, len(texts))
	for i, t := range texts {
		parts := append(strings.SplitN(t, "|", 3), "", "")
		out[i] = choice{Value: parts[0], Label: parts[1], Hint: parts[2]}
		if out[i].Label == "" {
			out[i].Label = parts[0]
		}
	}
	return out
}
