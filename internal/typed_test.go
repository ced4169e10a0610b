//go:build !race

package internal

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"

	"sluice/internal/llm"
)

// module begins the paths of Sluice's packages, by whichever it is built: that of a
// release's module is its publisher's address.
var module = strings.TrimSuffix(reflect.TypeFor[llm.Operation]().PkgPath(), "internal/llm")

// typed is a package with what the compiler knows of it.
type typed struct {
	path  string
	fset  *token.FileSet
	files []*ast.File
	info  *types.Info
}

// at is where a node stands.
func (p *typed) at(n ast.Node) string { return p.fset.Position(n.Pos()).String() }

// ours gives Sluice's packages, without their tests.
func ours(t *testing.T) []*typed {
	t.Helper()
	all, err := checked()
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 20 {
		t.Errorf("only %d packages were looked at", len(all))
	}
	return all
}

// source gives a package of one file.
func source(t *testing.T, text string) *typed {
	t.Helper()
	imp, err := compiled()
	if err != nil {
		t.Fatal(err)
	}
	p := newTyped("p")
	f, err := parser.ParseFile(p.fset, "p.go", text, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	p.files = []*ast.File{f}
	if err := p.check(imp); err != nil {
		t.Fatal(err)
	}
	return p
}

func newTyped(path string) *typed {
	return &typed{path: path, fset: token.NewFileSet(), info: &types.Info{
		Types: make(map[ast.Expr]types.TypeAndValue), Defs: make(map[*ast.Ident]types.Object),
		Uses: make(map[*ast.Ident]types.Object), Selections: make(map[*ast.SelectorExpr]*types.Selection),
	}}
}

func (p *typed) check(imp importing) error {
	_, err := (&types.Config{Importer: imp(p.fset)}).Check(p.path, p.fset, p.files, p.info)
	return err
}

// checked has Sluice's packages.
var checked = sync.OnceValues(func() (all []*typed, err error) {
	pkgs, err := listed()
	if err != nil {
		return nil, err
	}
	imp, err := compiled()
	if err != nil {
		return nil, err
	}
	for path, listed := range pkgs {
		if !strings.HasPrefix(path, module) {
			continue
		}
		p := newTyped(path)
		for _, name := range listed.GoFiles {
			f, err := parser.ParseFile(p.fset, filepath.Join(listed.Dir, name), nil, parser.SkipObjectResolution)
			if err != nil {
				return nil, err
			}
			p.files = append(p.files, f)
		}
		if err := p.check(imp); err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
})

// pkg is what go list says of a package.
type pkg struct {
	ImportPath, Dir, Export string
	GoFiles                 []string
}

// listed has Sluice's packages and those that they need, all of them compiled.
var listed = sync.OnceValues(func() (map[string]pkg, error) {
	out, err := exec.Command("go", "list", "-deps", "-export", "-json=ImportPath,Dir,Export,GoFiles", module+"internal/...", module+"cmd/...").Output()
	if err != nil {
		return nil, fmt.Errorf("list packages: %w", err)
	}
	all := make(map[string]pkg)
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, err
		}
		all[p.ImportPath] = p
	}
})

// importing makes what imports compiled packages.
type importing func(*token.FileSet) types.Importer

var compiled = sync.OnceValues(func() (importing, error) {
	pkgs, err := listed()
	return func(fset *token.FileSet) types.Importer {
		return importer.ForCompiler(fset, "gc", func(path string) (io.ReadCloser, error) {
			if p, ok := pkgs[path]; ok {
				return os.Open(p.Export)
			}
			return nil, fmt.Errorf("package %s is not listed", path)
		})
	}, err
})
