// Package guide leads through what must be set up at Microsoft, road by road and step by
// step: what to do, where, what to see then, and which stage of the connection check
// proves it. The guides are data, in guides.txt.
//
// It knows no account and asks nobody: whoever shows a guide fills in the account's
// values and runs the check.
package guide

import (
	_ "embed"
	"regexp"
	"slices"

	"postern/internal/catalogue"
)

//go:embed guides.txt
var guides string

// Road is one way into a mailbox.
type Road struct {
	Name     string   `json:"name"`
	Title    string   `json:"title"`
	About    string   `json:"about"`             // when to take it
	Warning  string   `json:"warning,omitempty"` // what to know before
	Methods  []string `json:"methods"`           // of the accounts it is for
	Purposes []string `json:"purposes"`          // likewise; the first is checked
	Steps    []Step   `json:"steps"`
}

// Step is one thing to do. Its texts may hold placeholders until [Road.Fill].
type Step struct {
	Name    string `json:"name"`
	Do      string `json:"do"`
	See     string `json:"see"`
	Link    string `json:"link,omitempty"`
	Command string `json:"command,omitempty"`
	Purpose string `json:"purpose,omitempty"` // whose check has the stage; "" for the road's first that the account has
	Stage   string `json:"stage,omitempty"`   // of the check, that proves the step
	Source  string `json:"source"`
}

// Guides are all the roads.
type Guides struct{ roads []Road }

// Load reads the embedded guides. An error is a mistake in the data, which a test finds
// first.
func Load() (*Guides, error) {
	roads, err := parse(guides)
	if err != nil {
		return nil, err
	}
	return &Guides{roads: roads}, nil
}

// Roads are all of them, in the order in which to consider them.
func (g *Guides) Roads() []Road { return slices.Clone(g.roads) }

// Road finds one by its name.
func (g *Guides) Road(name string) (Road, bool) {
	i := slices.IndexFunc(g.roads, func(r Road) bool { return r.Name == name })
	if i < 0 {
		return Road{}, false
	}
	return g.roads[i], true
}

// For are the roads of an account with that method, for any of its purposes, the one it
// most likely takes first. Where none is for what the account does, the way to sign in is
// still that of its method: the first road with it.
func (g *Guides) For(method string, purposes ...string) []Road {
	var fit, other []Road
	for _, r := range g.roads {
		switch {
		case !slices.Contains(r.Methods, method):
		case slices.ContainsFunc(purposes, func(p string) bool { return slices.Contains(r.Purposes, p) }):
			fit = append(fit, r)
		default:
			other = append(other, r)
		}
	}
	if len(fit) == 0 {
		return other[:min(1, len(other))]
	}
	return fit
}

// Fill puts values in the place of {names}, as the catalogue does in its entries: quoted
// in commands, escaped in links; a link that lacks a value is left out. Elsewhere what has
// no value stands as <name>.
func (r Road) Fill(values map[string]string) Road {
	head := catalogue.Entry{Meaning: r.About, Fix: r.Warning}.Fill(values)
	r.About, r.Warning = open(head.Meaning), open(head.Fix)
	r.Steps = slices.Clone(r.Steps)
	for i, s := range r.Steps {
		e := catalogue.Entry{Meaning: s.See, Fix: s.Do, Command: s.Command, Link: s.Link}.Fill(values)
		s.See, s.Do, s.Command, s.Link = open(e.Meaning), open(e.Fix), open(e.Command), e.Link
		r.Steps[i] = s
	}
	return r
}

// open shows what is still to be filled in.
func open(text string) string {
	return regexp.MustCompile(`\{([a-z_]+)\}`).ReplaceAllString(text, "<$1>")
}

// Check is the purpose and the stage that prove a step, for an account with these
// purposes; "" when no check can.
func (r Road) Check(s Step, purposes []string) (purpose, stage string) {
	if s.Stage == "" {
		return "", ""
	}
	if s.Purpose != "" {
		if !slices.Contains(purposes, s.Purpose) {
			return "", ""
		}
		return s.Purpose, s.stageFor(s.Purpose)
	}
	for _, p := range r.Purposes {
		if slices.Contains(purposes, p) {
			return p, s.stageFor(p)
		}
	}
	return "", ""
}

// stageFor is the step's stage as the purpose's check calls it: what sending proves by
// naming the sender, reading proves by opening the mailbox.
func (s Step) stageFor(purpose string) string {
	reads := purpose == "imap" || purpose == "pop3" || purpose == "graph"
	switch {
	case s.Stage == "sender" && reads:
		return "mailbox"
	case s.Stage == "mailbox" && !reads:
		return "sender"
	}
	return s.Stage
}
