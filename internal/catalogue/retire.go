package catalogue

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"
	"time"
)

//go:embed retirements.txt
var retirements string

// Certainty is how far a retirement's date can be relied on.
type Certainty string

// The certainties.
const (
	Stated   Certainty = "stated"   // Microsoft has given that time
	Expected Certainty = "expected" // Microsoft will name a day, and has said only by when
	Reported Certainty = "reported" // others say so
)

// Retirement is one statement on when mail servers stop taking passwords.
type Retirement struct {
	Name      string
	Protocol  string   // smtp, imap, pop3
	Servers   []string // host names, lower case
	Ends      time.Time
	Certainty Certainty
	Says      string // one sentence: what ends, and what is left
	Source    string // the page, https
	Dated     string // when it was published or read: 2026-01-27, or 2026-01
}

// Retirements reads the embedded statements. An error is a mistake in the data, which
// a test finds first.
func Retirements() ([]Retirement, error) { return parseRetirements(retirements) }

// lingers is how long a statement is still the one to tell after its time has come.
const lingers = 30 * 24 * time.Hour

// NextRetirement is what to tell of a server now: the statement whose time is near, or
// has just come. Long after the last one, it is the last one.
func NextRetirement(all []Retirement, protocol, server string, now time.Time) (Retirement, bool) {
	var last Retirement
	found := false
	for _, r := range all {
		if r.Protocol != protocol || !slices.Contains(r.Servers, strings.ToLower(server)) {
			continue
		}
		last, found = r, true
		if now.Before(r.Ends.Add(lingers)) {
			break
		}
	}
	return last, found
}

// parseRetirements reads the format that the head of retirements.txt describes, as
// strictly as replies.txt is read.
func parseRetirements(text string) ([]Retirement, error) {
	var all []Retirement
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#':
			continue
		case line[0] == '[' && strings.HasSuffix(line, "]"):
			name := strings.Trim(line, "[]")
			if name == "" || slices.ContainsFunc(all, func(r Retirement) bool { return r.Name == name }) {
				return nil, fmt.Errorf("line %d: %q is empty or there twice", n, line)
			}
			all = append(all, Retirement{Name: name})
			continue
		case len(all) == 0:
			return nil, fmt.Errorf("line %d: %q stands before the first statement", n, line)
		}
		if err := all[len(all)-1].set(line); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
	}
	for i, r := range all {
		if err := r.complete(); err != nil {
			return nil, fmt.Errorf("%s: %w", r.Name, err)
		}
		if i > 0 && all[i-1].Protocol == r.Protocol && slices.Equal(all[i-1].Servers, r.Servers) && !all[i-1].Ends.Before(r.Ends) {
			return nil, fmt.Errorf("%s: it does not come after %s", r.Name, all[i-1].Name)
		}
	}
	return all, nil
}

// set takes one "key: value" line; none is taken twice.
func (r *Retirement) set(line string) error {
	key, value, ok := strings.Cut(line, ":")
	value = strings.TrimSpace(value)
	if !ok || value == "" {
		return fmt.Errorf("%q is not \"key: value\"", line)
	}
	words := map[string]*string{
		"protocol": &r.Protocol, "certainty": (*string)(&r.Certainty), "says": &r.Says, "source": &r.Source, "dated": &r.Dated,
	}
	word, known := words[key]
	switch {
	case known && *word == "":
		*word = value
	case key == "servers" && r.Servers == nil:
		r.Servers = strings.Fields(value)
	case key == "ends" && r.Ends.IsZero():
		day, err := time.Parse(time.DateOnly, value)
		if err != nil {
			return fmt.Errorf("ends: %w", err)
		}
		r.Ends = day.AddDate(0, 0, 1) // the day itself is still good
	default:
		return fmt.Errorf("the key %q is unknown or there twice", key)
	}
	return nil
}

// complete reports what a statement lacks.
func (r Retirement) complete() error {
	_, day := time.Parse(time.DateOnly, r.Dated)
	_, month := time.Parse("2006-01", r.Dated)
	switch {
	case !slices.Contains([]string{SMTP, IMAP, POP3}, r.Protocol):
		return fmt.Errorf("protocol %q is unknown", r.Protocol)
	case len(r.Servers) == 0 || r.Ends.IsZero() || r.Says == "":
		return fmt.Errorf("servers, ends and says are required")
	case !slices.Contains([]Certainty{Stated, Expected, Reported}, r.Certainty):
		return fmt.Errorf("certainty %q is unknown", r.Certainty)
	case !strings.HasPrefix(r.Source, "https://"):
		return fmt.Errorf("the source %q is not https", r.Source)
	case day != nil && month != nil:
		return fmt.Errorf("dated %q is no day and no month", r.Dated)
	}
	for _, s := range r.Servers {
		if s != strings.ToLower(s) {
			return fmt.Errorf("server %q is not lower case", s)
		}
	}
	return nil
}
