//go:build !race

package internal

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestAlone: a test whose file is not built with the race detector, which make norace runs,
// starts nothing beside itself, and neither does what it tests: the detector has nothing to find.
func TestAlone(t *testing.T) {
	n := 0
	beside := make(map[string][]string)
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, path, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil || !plainOnly(f) || !hasTests(f) {
			return err
		}
		n++
		found := starts(fset, f)
		for _, folder := range append(imported(f), filepath.ToSlash(filepath.Dir(path))) {
			found = append(found, startsIn(t, folder, beside)...)
		}
		for _, at := range found {
			t.Errorf("%s is not built with the race detector, and %s starts something beside it", path, at)
		}
		return nil
	})
	if err != nil || n < 20 {
		t.Errorf("%d files, %v", n, err)
	}
}

// The check is tested, so that a slip in it does not let everything by.
func TestStarts(t *testing.T) {
	for body, want := range map[string]int{
		`go f()`: 1, `go func() {}()`: 1, `wg.Go(f)`: 1, `t.Parallel()`: 1, `context.AfterFunc(ctx, f)`: 1, `b.RunParallel(f)`: 1, `synctest.Test(t, f)`: 1,
		`f()`: 0, `mu.Lock()`: 0, `t.Run("go", f)`: 0, `c.Parallel = true`: 0,
	} {
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, "p.go", "package p\nfunc _() {\n"+body+"\n}\n", parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		if found := starts(fset, f); len(found) != want {
			t.Errorf("%s: %v", body, found)
		}
	}
}

// plainOnly reports whether a file is built only without the race detector.
func plainOnly(f *ast.File) bool {
	for _, group := range f.Comments {
		for _, c := range group.List {
			if c.Pos() < f.Package && c.Text == "//go:build !race" {
				return true
			}
		}
	}
	return false
}

func hasTests(f *ast.File) bool {
	return slices.ContainsFunc(f.Decls, func(d ast.Decl) bool {
		fn, ok := d.(*ast.FuncDecl)
		return ok && (strings.HasPrefix(fn.Name.Name, "Test") || strings.HasPrefix(fn.Name.Name, "Fuzz"))
	})
}

// imported are the folders of those of Sluice's packages that a file imports, from here, but
// for testkit, of which each test knows what it uses.
func imported(f *ast.File) (folders []string) {
	for _, i := range f.Imports {
		path, _ := strconv.Unquote(i.Path.Value)
		if folder, ok := strings.CutPrefix(path, module+"internal/"); ok && folder != "testkit" {
			folders = append(folders, folder)
		}
	}
	return folders
}

// startsIn gives the places where the code of a folder, or of what that imports, starts
// something. Folders that were looked at are kept in known.
func startsIn(t *testing.T, folder string, known map[string][]string) []string {
	t.Helper()
	if found, ok := known[folder]; ok {
		return found
	}
	known[folder] = nil
	files, err := filepath.Glob(filepath.Join(filepath.FromSlash(folder), "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, starts(fset, f)...)
		for _, below := range imported(f) {
			found = append(found, startsIn(t, below, known)...)
		}
	}
	known[folder] = found
	return found
}

// starts gives the places in a file where something is started that goes on beside it.
func starts(fset *token.FileSet, f *ast.File) (found []string) {
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			found = append(found, fset.Position(n.Pos()).String())
		case *ast.CallExpr:
			call, ok := n.Fun.(*ast.SelectorExpr)
			if !ok {
				break
			}
			x, _ := call.X.(*ast.Ident)
			if slices.Contains([]string{"Go", "Parallel", "AfterFunc", "RunParallel"}, call.Sel.Name) || x != nil && slices.Contains([]string{"synctest", "httptest"}, x.Name) {
				found = append(found, fset.Position(n.Pos()).String())
			}
		}
		return true
	})
	return found
}
