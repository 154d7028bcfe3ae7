package handover_test

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"postern/internal/extract"
	"postern/internal/handover"
)

// What the page shows is taken.
func TestTheExamplesInTheDocumentation(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/handover.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for _, block := range strings.Split(string(page), "```yaml\n")[1:] {
		text, _, _ := strings.Cut(block, "```")
		var spec handover.Spec
		dec := yaml.NewDecoder(bytes.NewReader([]byte(text)))
		dec.KnownFields(true)
		if err := dec.Decode(&spec); err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		if _, err := handover.New(spec, handover.With{Name: extract.SafeName}); err != nil {
			t.Errorf("%v in\n%s", err, text)
		}
		seen[spec.Kind()] = true
	}
	if !seen["object"] || !seen["webhook"] || !seen["command"] {
		t.Errorf("examples of %v only", seen)
	}
	for _, name := range handover.Variables() {
		if !strings.Contains(string(page), "`"+name+"`") {
			t.Errorf("the page does not name %s", name)
		}
	}
	const template, path = "{yyyy}/{MM}/{from_domain}/{subject:40} {filename}", "2026/01/fabrikam.example/Invoice 2026_017 invoice 017.pdf"
	p, err := handover.ParsePath(template)
	if err != nil || p.Preview(extract.SafeName) != path || !strings.Contains(string(page), "    "+template+"\n    "+path+"\n") {
		t.Errorf("%q, %v", p.Preview(extract.SafeName), err)
	}
}
