package fetch

import (
	"path"
	"slices"
	"strings"

	"postern/internal/extract"
)

// rules are those of the task; one that takes every attachment, when there are none.
func (t Task) rules() []Rule {
	if len(t.Rules) == 0 {
		return []Rule{{}}
	}
	return t.Rules
}

// fitsHeader reports whether a message's header is what the rule is for.
func (m Match) fitsHeader(s extract.Summary) bool {
	return m.From.Fit(written(s.From)...) && m.To.Fit(written(s.To, s.Cc)...) && m.Subject.Fit(s.Subject) &&
		(!m.SkipAutomatic || !s.AutoReply && !s.Bounce)
}

// written lists addresses both bare and with their names.
func written(lists ...[]extract.Address) []string {
	var out []string
	for _, list := range lists {
		for _, a := range list {
			out = append(out, a.Address)
			if a.Name != "" {
				out = append(out, person(a))
			}
		}
	}
	return out
}

func person(a extract.Address) string {
	if a.Name == "" || a.Address == "" {
		return a.Name + a.Address
	}
	return a.Name + " <" + a.Address + ">"
}

// candidates are the rules that the header fits, in order, up to one that fits whatever
// follows it.
func candidates(rules []Rule, s extract.Summary) []Rule {
	var out []Rule
	for _, r := range rules {
		if r.Match.fitsHeader(s) {
			out = append(out, r)
			if r.Skip && len(r.Match.Body) == 0 {
				break
			}
		}
	}
	return out
}

// readsHeader reports that fitsHeader does not fit all.
func (m Match) readsHeader() bool {
	return len(m.From)+len(m.To)+len(m.Subject) > 0 || m.SkipAutomatic
}

// idle reports that none of the rules takes anything.
func idle(rules []Rule) bool {
	return !slices.ContainsFunc(rules, func(r Rule) bool { return !r.Skip })
}

// saves reports whether a kind of file is kept.
func (t Take) saves(k Kind) bool {
	if len(t.Save) == 0 {
		return k == Attachments || k == List
	}
	return slices.Contains(t.Save, k)
}

// kindOf is what a part would be saved as; false when it never is.
func kindOf(p extract.Part) (Kind, bool) {
	switch p.Kind {
	case extract.BodyText:
		return Text, true
	case extract.BodyHTML:
		return HTML, true
	case extract.Report:
		return "", false
	}
	return Attachments, true
}

// wants reports whether a part may be kept, as far as can be said before it is read.
func (t Take) wants(p extract.Part) bool {
	kind, ok := kindOf(p)
	switch {
	case !ok:
		return false
	case kind != Attachments:
		return t.saves(kind)
	}
	return t.wantsFile(p.Name, p.Type(), p.Detected, p.Inline)
}

func (t Take) wantsFile(name, declared, detected string, inline bool) bool {
	if inline && !t.Inline || !t.Names.Fit(name) {
		return false
	}
	if detected == "" {
		detected = declared
	}
	fits := func(pattern string) bool {
		ok, err := path.Match(strings.ToLower(pattern), detected)
		return ok && err == nil
	}
	return len(t.Types) == 0 || slices.ContainsFunc(t.Types, fits)
}

// wantsSize is asked once a part was read.
func (t Take) wantsSize(n int64) bool {
	return n >= int64(t.MinSize) && (t.MaxSize == 0 || n <= int64(t.MaxSize))
}
