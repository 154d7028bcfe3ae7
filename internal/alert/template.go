package alert

import (
	"errors"
	"fmt"
	htmltemplate "html/template"
	"io"
	"reflect"
	"slices"
	"strings"
	"text/template"
	"text/template/parse"
	"time"

	"postern/internal/fault"
)

// Values are the variables of templates; all of them are text, "" where there is none.
type Values struct {
	Event    string // account_needs_sign_in …
	Account  string
	What     string // one sentence
	Why      string // the server's words
	NextStep string
	Until    string // when it ends, or is tried again
	Link     string
	Time     string // when it was noticed
	Host     string // by which node
	ID       string // of the alert, the same on each try
	Route    string
}

// Variables are the names of the variables, as a template writes them.
func Variables() []string {
	t := reflect.TypeFor[Values]()
	all := make([]string, 0, t.NumField())
	for i := range t.NumField() {
		all = append(all, "."+t.Field(i).Name)
	}
	return all
}

// values are an alert's.
func values(a Alert) Values {
	n := a.News
	return Values{
		Event: string(n.Event), Account: n.Account, What: n.What, Why: n.Why, NextStep: n.Next, Until: moment(n.Until), Link: n.Link,
		Time: moment(n.At), Host: n.Host, ID: a.ID, Route: a.Route,
	}
}

func moment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04 MST")
}

// The built-in templates.
const (
	DefaultSubject = "Postern: {{.What}}"
	DefaultText    = `{{.What}}.
{{if .Why}}
Why: {{.Why}}
{{end}}{{if .NextStep}}
Next step: {{.NextStep}}
{{end}}{{if .Until}}
Until: {{.Until}}
{{end}}
{{.Event}}{{if .Account}}, account {{.Account}}{{end}}, noticed by {{.Host}} at {{.Time}}
{{.Link}}
`
)

// Bounds of a template and of what it makes.
const (
	maxTemplate = 16 << 10
	maxRendered = 64 << 10
	maxSubject  = 200 // characters
)

// functions are all that a template may call: what compares, and no printf, which can
// make a gigabyte of one variable.
var functions = [...]string{"and", "or", "not", "eq", "ne"}

// writer is what text/template and html/template have in common.
type writer interface {
	Execute(w io.Writer, data any) error
}

// wording is a route's checked templates.
type wording struct{ subject, text, html writer }

// templates reads the route's templates, the built-in ones where it has none.
func (r Route) templates() (w wording, err error) {
	for _, t := range []struct {
		name, own, builtIn string
		at                 *writer
	}{{"subject", r.Subject, DefaultSubject, &w.subject}, {"text", r.Text, DefaultText, &w.text}, {"html", r.HTML, "", &w.html}} {
		source := t.own
		if source == "" {
			source = t.builtIn
		}
		if source == "" {
			continue
		}
		if *t.at, err = readTemplate(t.name, source); err != nil {
			return w, err
		}
	}
	return w, nil
}

// readTemplate parses a template that says nothing but text, variables and conditions.
// What it names and is not known is fault.Invalid, with what there is.
func readTemplate(name, source string) (writer, error) {
	if len(source) > maxTemplate {
		return nil, invalid("%s: a template may have %d octets", name, maxTemplate)
	}
	plain, err := template.New(name).Parse(source)
	if err != nil {
		return nil, invalid("%s: %s", name, strings.TrimPrefix(err.Error(), "template: "))
	}
	if len(plain.Templates()) > 1 {
		return nil, invalid("%s: define and block are not allowed", name)
	}
	if plain.Tree == nil {
		return plain, nil
	}
	if err := checkNode(plain.Root); err != nil {
		return nil, invalid("%s: %w", name, err)
	}
	if name != "html" {
		return plain, nil
	}
	page, err := htmltemplate.New(name).Parse(source)
	if err == nil { // it finds what it cannot escape when it is first used
		err = page.Execute(io.Discard, Values{})
	}
	if err != nil {
		return nil, invalid("html: %s", strings.TrimPrefix(err.Error(), "html/template:"))
	}
	return page, nil
}

// checkNode walks through a template, into branches that may never be taken too.
func checkNode(n parse.Node) error {
	switch n := n.(type) {
	case *parse.ListNode:
		return checkList(n)
	case *parse.TextNode, *parse.CommentNode:
		return nil
	case *parse.ActionNode:
		return checkPipe(n.Pipe)
	case *parse.IfNode:
		return errors.Join(checkPipe(n.Pipe), checkList(n.List), checkList(n.ElseList))
	}
	return fmt.Errorf("%s is not allowed; allowed are variables, if and else", n)
}

func checkList(n *parse.ListNode) error {
	if n == nil {
		return nil
	}
	for _, c := range n.Nodes {
		if err := checkNode(c); err != nil {
			return err
		}
	}
	return nil
}

func checkPipe(p *parse.PipeNode) error {
	if len(p.Decl) > 0 {
		return fmt.Errorf("%s: variables of your own are not allowed", p)
	}
	for _, c := range p.Cmds {
		for _, arg := range c.Args {
			if err := checkArg(arg); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkArg(n parse.Node) error {
	switch n := n.(type) {
	case *parse.FieldNode:
		if len(n.Ident) != 1 || !slices.Contains(Variables(), n.String()) {
			return fmt.Errorf("%s is not known; allowed: %s", n, strings.Join(Variables(), ", "))
		}
		return nil
	case *parse.IdentifierNode:
		if !slices.Contains(functions[:], n.Ident) {
			return fmt.Errorf("%s is not a function here; allowed: %s", n.Ident, strings.Join(functions[:], ", "))
		}
		return nil
	case *parse.PipeNode:
		return checkPipe(n)
	case *parse.StringNode, *parse.BoolNode:
		return nil
	}
	return fmt.Errorf("%s is not allowed; allowed are %s", n, strings.Join(Variables(), ", "))
}

// render fills a template in. What it makes is bounded.
func render(t writer, v Values) (string, error) {
	var b bounded
	if err := t.Execute(&b, v); err != nil {
		return "", fault.New(fault.Invalid, "write the alert", "%w", err).WithHint("mend the route's template; test it with: postern alerts test --route NAME")
	}
	return b.String(), nil
}

// subjectLine makes one line of bounded length of it.
func subjectLine(s string) string {
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }), " ")
	if all := []rune(s); len(all) > maxSubject {
		s = string(all[:maxSubject-1]) + "…"
	}
	return s
}

// bounded is a text that does not grow without end.
type bounded struct{ strings.Builder }

// Write is for io.Writer.
func (b *bounded) Write(p []byte) (int, error) {
	if b.Len()+len(p) > maxRendered {
		return 0, fmt.Errorf("it makes more than %d octets", maxRendered)
	}
	return b.Builder.Write(p)
}
