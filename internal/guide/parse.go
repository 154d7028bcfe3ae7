package guide

import (
	"fmt"
	"slices"
	"strings"
)

// parse reads the format that the head of guides.txt describes. It is strict: an unknown
// key, one given twice, or a missing one is an error that names the line or the step.
func parse(text string) ([]Road, error) {
	p := parser{links: map[string]string{}}
	n := 0
	for line := range strings.Lines(text) {
		n++
		if err := p.line(strings.TrimSpace(line)); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
	}
	for _, r := range p.roads {
		if err := r.complete(); err != nil {
			return nil, fmt.Errorf("%s: %w", r.Name, err)
		}
	}
	return p.roads, nil
}

type parser struct {
	links map[string]string
	roads []Road
	seen  map[string]bool // keys of the paragraph being read
	step  bool            // it is a step, and not a road
}

func (p *parser) line(line string) error {
	if line == "" || line[0] == '#' {
		return nil
	}
	if definition, ok := strings.CutPrefix(line, "link "); ok {
		name, url, ok := strings.Cut(definition, " = ")
		if !ok || p.links[name] != "" || !strings.HasPrefix(url, "https://") {
			return fmt.Errorf("%q is not \"name = https address\", or is there twice", definition)
		}
		p.links[name] = url
		return nil
	}
	if line[0] == '[' && strings.HasSuffix(line, "]") {
		return p.open(strings.Trim(line, "[]"))
	}
	key, value, ok := strings.Cut(line, ":")
	value = strings.TrimSpace(value)
	switch {
	case !ok || value == "" || p.seen == nil:
		return fmt.Errorf("%q is not \"key: value\" of a road or step", line)
	case p.seen[key]:
		return fmt.Errorf("%q is there twice", key)
	}
	p.seen[key] = true
	road := &p.roads[len(p.roads)-1]
	if p.step {
		return p.setStep(&road.Steps[len(road.Steps)-1], key, value)
	}
	return setRoad(road, key, value)
}

func (p *parser) open(id string) error {
	road, step, ofStep := strings.Cut(id, ".")
	p.seen, p.step = map[string]bool{}, ofStep
	known := slices.ContainsFunc(p.roads, func(r Road) bool { return r.Name == road })
	switch {
	case road == "" || ofStep && step == "":
		return fmt.Errorf("%q names no road or step", id)
	case !ofStep && known:
		return fmt.Errorf("the road %s is there twice", road)
	case !ofStep:
		p.roads = append(p.roads, Road{Name: road})
		return nil
	case !known || p.roads[len(p.roads)-1].Name != road:
		return fmt.Errorf("%s stands under another road", id)
	}
	last := &p.roads[len(p.roads)-1]
	if slices.ContainsFunc(last.Steps, func(s Step) bool { return s.Name == step }) {
		return fmt.Errorf("%s is there twice", id)
	}
	last.Steps = append(last.Steps, Step{Name: step})
	return nil
}

func setRoad(r *Road, key, value string) error {
	switch key {
	case "title":
		r.Title = value
	case "about":
		r.About = value
	case "warning":
		r.Warning = value
	case "method":
		r.Methods = strings.Fields(value)
	case "purpose":
		r.Purposes = strings.Fields(value)
	default:
		return fmt.Errorf("a road has no %q", key)
	}
	return nil
}

func (p *parser) setStep(s *Step, key, value string) error {
	switch key {
	case "do":
		s.Do = value
	case "see":
		s.See = value
	case "command":
		s.Command = value
	case "link":
		if s.Link = p.links[value]; s.Link == "" {
			return fmt.Errorf("there is no link %q", value)
		}
	case "check":
		if purpose, stage, two := strings.Cut(value, " "); two && slices.Contains(purposes(), purpose) {
			s.Purpose, s.Stage = purpose, stage
		} else {
			s.Stage = value
		}
	case "source":
		s.Source = value
	default:
		return fmt.Errorf("a step has no %q", key)
	}
	return nil
}

func purposes() []string { return []string{"send", "imap", "pop3", "graph", "hve"} }

// complete says what a road lacks.
func (r Road) complete() error {
	switch {
	case r.Title == "" || r.About == "" || len(r.Methods) == 0 || len(r.Purposes) == 0 || len(r.Steps) == 0:
		return fmt.Errorf("title, about, method, purpose and steps are required")
	case slices.ContainsFunc(r.Purposes, func(p string) bool { return !slices.Contains(purposes(), p) }):
		return fmt.Errorf("one of the purposes %v is unknown", r.Purposes)
	}
	for _, s := range r.Steps {
		if s.Do == "" || s.See == "" || s.Source == "" {
			return fmt.Errorf("%s: do, see and source are required", s.Name)
		}
	}
	return nil
}
