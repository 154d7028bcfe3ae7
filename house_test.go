// Package house_test holds the tree to its own plan: who may import whom.
package house_test

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// rule is one room of the import table in .golangci.yml.
type rule struct {
	Files []string `yaml:"files"`
	Allow []string `yaml:"allow"`
}

func (r rule) covers(pkg string) bool {
	rel := strings.TrimPrefix(pkg, "postern/")
	for _, f := range r.Files {
		dir := strings.TrimSuffix(strings.TrimSuffix(strings.TrimPrefix(f, "**/"), "/*.go"), "/**")
		if rel == dir || strings.HasPrefix(rel, dir+"/") {
			return true
		}
	}
	return false
}

// allows follows depguard: an entry is a prefix, a trailing $ makes it exact.
func (r rule) allows(imp string) bool {
	return slices.ContainsFunc(r.Allow, func(a string) bool {
		exact, isExact := strings.CutSuffix(a, "$")
		if isExact {
			return imp == exact
		}
		return imp == a || strings.HasPrefix(imp, a+"/")
	})
}

func table(t *testing.T) map[string]rule {
	t.Helper()
	b, err := os.ReadFile(".golangci.yml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Linters struct {
			Settings struct {
				Depguard struct {
					Rules map[string]rule `yaml:"rules"`
				} `yaml:"depguard"`
			} `yaml:"settings"`
		} `yaml:"linters"`
	}
	if err := yaml.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	return file.Linters.Settings.Depguard.Rules
}

type pkg struct {
	ImportPath string
	Imports    []string
}

func packages(t *testing.T) []pkg {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports", "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []pkg
	dec := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

func TestEveryImportIsInTheTable(t *testing.T) {
	t.Parallel()
	rules := table(t)
	for _, p := range packages(t) {
		if p.ImportPath == "postern" || strings.HasPrefix(p.ImportPath+"/", "postern/test/") || p.ImportPath == "postern/bench" {
			continue // tests and benchmarks only
		}
		name, r, ok := find(rules, p.ImportPath)
		if !ok {
			t.Errorf("%s is in no rule of .golangci.yml: add its room", p.ImportPath)
			continue
		}
		for _, bad := range forbidden(r, p) {
			t.Errorf("%s imports %s, which the room %q does not allow", p.ImportPath, bad, name)
		}
	}
}

func find(rules map[string]rule, imp string) (string, rule, bool) {
	for name, r := range rules {
		if r.covers(imp) {
			return name, r, true
		}
	}
	return "", rule{}, false
}

func forbidden(r rule, p pkg) []string {
	var bad []string
	for _, imp := range p.Imports {
		first, _, _ := strings.Cut(imp, "/")
		standard := !strings.Contains(first, ".") && first != "postern"
		if !standard && imp != p.ImportPath && !r.allows(imp) {
			bad = append(bad, imp)
		}
	}
	return bad
}

func TestAForbiddenImportIsSeen(t *testing.T) {
	t.Parallel()
	rules := table(t)
	for _, c := range []pkg{
		{"postern/internal/mail", []string{"postern/internal/fault"}},
		{"postern/internal/relay", []string{"postern/internal/fetch"}},
		{"postern/internal/relay", []string{"postern/internal/vault"}},
		{"postern/internal/fetch", []string{"postern/internal/relay"}},
		{"postern/internal/sim365/login", []string{"postern/internal/vault"}},
		{"postern/internal/app", []string{"postern/internal/sim365"}},
		{"postern/internal/vault", []string{"github.com/nobody/unlisted"}},
		{"postern/internal/smtp", []string{"postern/internal/mailbox"}},
	} {
		_, r, ok := find(rules, c.ImportPath)
		if !ok || len(forbidden(r, c)) != 1 {
			t.Errorf("%s importing %s goes unseen", c.ImportPath, c.Imports[0])
		}
	}
}

// Only third-party code that go.mod asks for directly has been weighed in
// docs/decisions.md.
func TestEveryDirectDependencyIsExplained(t *testing.T) {
	t.Parallel()
	mod, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	why, err := os.ReadFile(filepath.Join("docs", "decisions.md"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.SplitSeq(string(mod), "\n") {
		f := strings.Fields(strings.TrimPrefix(line, "require "))
		if len(f) < 2 || !strings.Contains(f[0], ".") || strings.Contains(line, "// indirect") || f[0] == "go" {
			continue
		}
		if !strings.Contains(string(why), strings.TrimPrefix(f[0], "github.com/")) {
			t.Errorf("docs/decisions.md does not say why %s (%s) is used", f[0], path.Base(f[0]))
		}
	}
}
