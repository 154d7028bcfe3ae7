package house_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestWhoIsWrittenDown: whatever is told who wants a change writes that down, or passes it
// to what does.
func TestWhoIsWrittenDown(t *testing.T) {
	t.Parallel()
	writes := []string{"Record", "WriteDown", "Audit", "changing", "changed"}
	told := 0
	for _, dir := range []string{"internal/app", "internal/relay", "internal/fetch", "internal/people"} {
		for _, f := range functions(t, dir) {
			if !f.Name.IsExported() || !hasText(f, "who") || slices.Contains(writes, f.Name.Name) {
				continue
			}
			told++
			if !calls(f.Body, func(name string, args []ast.Expr) bool {
				return slices.Contains(writes, name) || slices.ContainsFunc(args, isWho)
			}) {
				t.Errorf("%s: %s is told who, and does not write it down", dir, f.Name)
			}
		}
	}
	if told < 30 {
		t.Errorf("only %d such functions were found: this test looks in the wrong place", told)
	}
}

// TestNobodyChangesThingsUnseen: commands, pages and API change what is kept by what is
// told who wants it, and never past it.
func TestNobodyChangesThingsUnseen(t *testing.T) {
	t.Parallel()
	changes := []string{"Put", "Delete", "Disconnect", "Keep", "Use", "Hold", "Rename", "Requeue", "Set", "Swap", "Drop", "Release", "Reset", "End", "NewLink", "NewConsentLink", "OpenLink"}
	harmless := []string{"UseToken"} // that a token was used is no change by hand
	for _, dir := range []string{"cmd/postern", "internal/web", "internal/api"} {
		for _, f := range functions(t, dir) {
			ast.Inspect(f, func(n ast.Node) bool {
				s, ok := n.(*ast.SelectorExpr)
				if !ok || slices.Contains(harmless, s.Sel.Name) {
					return true
				}
				of, ok := s.X.(*ast.SelectorExpr)
				if ok && (of.Sel.Name == "Store" || of.Sel.Name == "Vault") && slices.ContainsFunc(changes, func(p string) bool { return strings.HasPrefix(s.Sel.Name, p) }) {
					t.Errorf("%s: %s calls %s.%s, and nobody writes it down", dir, f.Name, of.Sel.Name, s.Sel.Name)
				}
				return true
			})
		}
	}
}

// functions are all that a package's own files declare.
func functions(t *testing.T, dir string) (all []*ast.FuncDecl) {
	t.Helper()
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range files {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, e.Name()), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Body != nil {
				all = append(all, fn)
			}
		}
	}
	return all
}

// hasText reports whether a function has a parameter of that name that is a string.
func hasText(f *ast.FuncDecl, name string) bool {
	for _, field := range f.Type.Params.List {
		if kind, ok := field.Type.(*ast.Ident); ok && kind.Name == "string" && slices.ContainsFunc(field.Names, func(n *ast.Ident) bool { return n.Name == name }) {
			return true
		}
	}
	return false
}

func isWho(e ast.Expr) bool {
	id, ok := e.(*ast.Ident)
	return ok && id.Name == "who"
}

// calls reports whether a body calls something like that.
func calls(body ast.Node, like func(name string, args []ast.Expr) bool) (found bool) {
	ast.Inspect(body, func(n ast.Node) bool {
		c, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		switch f := c.Fun.(type) {
		case *ast.SelectorExpr:
			found = found || like(f.Sel.Name, c.Args)
		case *ast.Ident:
			found = found || like(f.Name, c.Args)
		}
		return !found
	})
	return found
}
