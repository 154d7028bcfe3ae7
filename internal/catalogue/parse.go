package catalogue

import (
	"fmt"
	"slices"
	"strings"
)

// parse reads the format that the head of replies.txt describes. It is strict:
// an unknown key, a key given twice, a missing or unknown value is an error
// that names the line or the entry.
func parse(text string) ([]Entry, error) {
	p := parser{links: make(map[string]string), ids: make(map[string]bool)}
	n := 0
	for line := range strings.Lines(text) {
		n++
		if err := p.line(strings.TrimSpace(line)); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
	}
	if err := p.close(); err != nil {
		return nil, err
	}
	return p.entries, nil
}

type parser struct {
	links   map[string]string
	ids     map[string]bool
	entries []Entry
	current *Entry          // the paragraph being read, nil before the first
	seen    map[string]bool // its keys
}

func (p *parser) line(line string) error {
	if line == "" || line[0] == '#' {
		return nil
	}
	if definition, ok := strings.CutPrefix(line, "link "); ok {
		return p.define(definition)
	}
	if id, ok := strings.CutPrefix(line, "["); ok {
		id, ok = strings.CutSuffix(id, "]")
		if !ok {
			return fmt.Errorf("%q is not closed", line)
		}
		return p.open(id)
	}
	key, value, ok := strings.Cut(line, ":")
	value = strings.TrimSpace(value)
	switch {
	case !ok || value == "":
		return fmt.Errorf("%q is not \"key: value\"", line)
	case p.current == nil:
		return fmt.Errorf("%q stands before the first entry", line)
	case p.seen[key] && key != "example":
		return fmt.Errorf("%s has two lines %q", p.current.ID, key)
	}
	p.seen[key] = true
	return p.set(key, value)
}

func (p *parser) define(definition string) error {
	name, url, ok := strings.Cut(definition, " = ")
	switch {
	case !ok || strings.Contains(name, ":") || url == "":
		return fmt.Errorf("%q is not \"name = https address\"", definition)
	case p.links[name] != "":
		return fmt.Errorf("link %s is defined twice", name)
	}
	p.links[name] = url
	return nil
}

func (p *parser) open(id string) error {
	if err := p.close(); err != nil {
		return err
	}
	protocol, name, ok := strings.Cut(id, ".")
	switch {
	case !ok || name == "" || !slices.Contains([]string{OAuth, SMTP, HVE, IMAP, POP3, Graph}, protocol):
		return fmt.Errorf("%q is not protocol.name", id)
	case p.ids[id]:
		return fmt.Errorf("%s is there twice", id)
	}
	p.ids[id] = true
	p.current = &Entry{ID: id, Protocol: protocol, Retry: No}
	p.seen = make(map[string]bool)
	return nil
}

func (p *parser) set(key, value string) error {
	e := p.current
	switch key {
	case "aadsts":
		e.Match.AADSTS = strings.Fields(value)
	case "code":
		e.Match.Code = strings.Fields(value)
	case "enhanced":
		e.Match.Enhanced = strings.Fields(value)
	case "text":
		e.Match.Text = strings.Split(value, " | ")
	case "meaning":
		e.Meaning = value
	case "fix":
		e.Fix = value
	case "command":
		e.Command = value
	case "link":
		return p.link(value)
	case "who":
		e.Who = Who(value)
	case "class":
		e.Class = Class(value)
	case "retry":
		e.Retry = Retry(value)
	case "source":
		e.Source = value
	case "example":
		e.Examples = append(e.Examples, value)
	default:
		return fmt.Errorf("%s has the unknown key %q", e.ID, key)
	}
	return nil
}

func (p *parser) link(value string) error {
	if !strings.Contains(value, ":") {
		url, ok := p.links[value]
		if !ok {
			return fmt.Errorf("%s names the unknown link %q", p.current.ID, value)
		}
		value = url
	}
	if !strings.HasPrefix(value, "https://") {
		return fmt.Errorf("%s: the link %q is not https", p.current.ID, value)
	}
	p.current.Link = value
	return nil
}

// close ends the paragraph being read.
func (p *parser) close() error {
	if p.current == nil {
		return nil
	}
	e := *p.current
	p.current = nil
	if err := e.complete(); err != nil {
		return fmt.Errorf("%s: %w", e.ID, err)
	}
	p.entries = append(p.entries, e)
	return nil
}

// complete reports what an entry lacks.
func (e Entry) complete() error {
	m := e.Match
	switch {
	case len(m.AADSTS)+len(m.Code)+len(m.Enhanced)+len(m.Text) == 0:
		return fmt.Errorf("matches nothing")
	case e.Meaning == "" || e.Fix == "" || e.Source == "":
		return fmt.Errorf("meaning, fix and source are required")
	case !slices.Contains([]Who{Operator, User, TenantAdmin, Microsoft, Nobody}, e.Who):
		return fmt.Errorf("who %q is unknown", e.Who)
	case !slices.Contains([]Class{Temporary, Throttled, Quota, NeedsSignIn, NeedsAdmin, Permanent}, e.Class):
		return fmt.Errorf("class %q is unknown", e.Class)
	case !slices.Contains([]Retry{No, Once, Refresh, Poll, Backoff, Hourly}, e.Retry):
		return fmt.Errorf("retry %q is unknown", e.Retry)
	}
	for _, text := range m.Text {
		if text != strings.ToLower(text) || strings.TrimSpace(text) == "" {
			return fmt.Errorf("text %q is empty or not lower case", text)
		}
	}
	return nil
}
