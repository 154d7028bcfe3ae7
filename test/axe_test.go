package test

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// violation is one rule of accessibility that a page breaks, as axe-core tells it.
type violation struct {
	ID     string `json:"id"`
	Impact string `json:"impact"` // minor, moderate, serious, critical
	Help   string `json:"help"`
	Nodes  []struct {
		HTML    string `json:"html"`
		Summary string `json:"failureSummary"`
	} `json:"nodes"`
}

// axe is the linter's script, which pages themselves could not load: the browser's own
// protocol puts it there.
func axe(t *testing.T) string {
	t.Helper()
	modules(t, "axe")
	script, err := os.ReadFile("axe/node_modules/axe-core/axe.min.js")
	if err != nil {
		t.Fatal(err)
	}
	return string(script)
}

// accessible wants the page that is open to break no rule of WCAG 2.2 AA seriously, in
// the light and in the dark.
func (b *browser) accessible(name, script string) {
	b.t.Helper()
	b.do(chromedp.Evaluate[chromedp.Void](script))
	for _, scheme := range []string{"light", "dark"} {
		b.do(prefers(scheme))
		b.lint(name + ", " + scheme)
	}
}

// lint runs the linter, which the page has; with all rules, unless some are named.
func (b *browser) lint(name string, rules ...string) {
	b.t.Helper()
	if len(rules) == 0 {
		rules = []string{"wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"}
	}
	raw := result(b, chromedp.Evaluate[string](fmt.Sprintf(`axe.run(document, {runOnly: %q.split(" "), resultTypes: ["violations"]})
		.then(r => JSON.stringify({broken: r.violations, kept: r.passes.length}))`, strings.Join(rules, " ")), chromedp.EvalAwaitPromise))
	var found struct {
		Broken []violation `json:"broken"`
		Kept   int         `json:"kept"` // rules
	}
	if err := json.Unmarshal([]byte(raw), &found); err != nil {
		b.t.Fatal(err)
	}
	if found.Kept == 0 {
		b.t.Errorf("%s: the linter looked at nothing", name)
	}
	for _, v := range found.Broken {
		if v.Impact != "serious" && v.Impact != "critical" {
			continue
		}
		for _, n := range v.Nodes {
			b.t.Errorf("%s: %s (%s): %s\n%s", name, v.ID, v.Impact, v.Help, strings.TrimSpace(n.HTML+"\n"+n.Summary))
		}
	}
}
