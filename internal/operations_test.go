//go:build !race

package internal

import (
	"go/ast"
	"go/token"
	"go/types"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sluice/internal/llm"
)

// TestTablesOfOperations: whatever has a place for each operation has
// llm.Operations places, so that one more of them never reaches beyond its end.
func TestTablesOfOperations(t *testing.T) {
	tables := 0
	for _, p := range ours(t) {
		found, fit := misfits(p)
		for _, at := range found {
			t.Errorf("%s goes by how many operations there are now: use llm.Operations", at)
		}
		tables += fit
	}
	if tables < 2 {
		t.Errorf("only %d tables were looked at", tables)
	}
}

// The check is tested, so that a slip in it does not let everything by.
func TestMisfits(t *testing.T) {
	head := "package p\nimport \"" + module + "internal/llm\"\nvar good [llm.Operations]int\nvar bad [8]int\nvar m map[llm.Operation]int\n"
	for text, want := range map[string]int{
		`func f(op llm.Operation) int { return bad[op] }`:                          1,
		`func f(op llm.Operation) int { return (&bad)[op] }`:                       1,
		`func f(op llm.Operation) int { return bad[:][op] }`:                       1,
		`func f(op llm.Operation) int { return bad[int(op)] }`:                     1,
		`var a [llm.GetModel + 1]int`:                                              1,
		`const n = int(llm.GetModel) + 1`:                                          1,
		`var a = [...]string{llm.Chat: "x", llm.Embedding: "y"}`:                   1,
		`func f(op llm.Operation) bool { return op <= llm.GetModel }`:              1,
		`func f() { for op := llm.Passthrough; op < llm.ListModels; op++ { } }`:    1,
		`func f(op llm.Operation) int { return good[op.Known()] + good[int(op)] }`: 0,
		`var a = [llm.Operations]string{llm.Chat: "x"}`:                            0,
		`func f(op llm.Operation) int { return m[op] }`:                            0,
		`func f(op llm.Operation) bool { return op == llm.Chat }`:                  0,
		`func f() { for op := range llm.Operations { good[op]++ } }`:               0,
		`func f(op llm.Operation) bool { return op < llm.Operations }`:             0,
	} {
		if found, _ := misfits(source(t, head+text+"\n")); len(found) != want {
			t.Errorf("%s: %v found", text, found)
		}
	}
}

// misfits gives the places in a package that go by how many operations there are and
// not by llm.Operations, and counts the indexes of tables that fit.
func misfits(p *typed) (found []string, fit int) {
	for _, f := range p.files {
		ast.Inspect(f, func(n ast.Node) bool {
			wrong := false
			switch n := n.(type) {
			case *ast.IndexExpr:
				if places := length(p.info.TypeOf(n.X)); places != unbounded && p.isOperation(n.Index) {
					wrong = places != int64(llm.Operations)
					fit++
				}
			case *ast.CompositeLit:
				for _, e := range n.Elts {
					kv, ok := e.(*ast.KeyValueExpr)
					places := length(p.info.TypeOf(n))
					wrong = wrong || ok && places != unbounded && p.isOperation(kv.Key) && places != int64(llm.Operations)
				}
			case *ast.BinaryExpr:
				switch n.Op {
				case token.ADD, token.SUB, token.LSS, token.LEQ, token.GTR, token.GEQ:
					wrong = p.isLast(n.X) || p.isLast(n.Y)
				}
			}
			if wrong {
				found = append(found, p.at(n))
			}
			return true
		})
	}
	return found, fit
}

// unbounded is the length of what has a place for any index.
const unbounded = -1

// length gives how many places a type has: an array's, 0 for a slice's, which nobody
// knows.
func length(t types.Type) int64 {
	if t == nil {
		return unbounded
	}
	t = t.Underlying()
	if ptr, ok := t.(*types.Pointer); ok {
		t = ptr.Elem().Underlying()
	}
	switch t := t.(type) {
	case *types.Array:
		return t.Len()
	case *types.Slice:
		return 0
	}
	return unbounded
}

// isOperation reports whether an expression is an operation, or one that was
// converted.
func (p *typed) isOperation(e ast.Expr) bool {
	if call, ok := e.(*ast.CallExpr); ok && len(call.Args) == 1 && p.info.Types[call.Fun].IsType() {
		e = call.Args[0]
	}
	t := p.info.TypeOf(e)
	return t != nil && t.String() == module+"internal/llm.Operation"
}

// isLast reports whether a number is made of an operation, and not of how many there
// are.
func (p *typed) isLast(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.ParenExpr:
		return p.isLast(e.X)
	case *ast.CallExpr:
		return len(e.Args) == 1 && p.info.Types[e.Fun].IsType() && p.isLast(e.Args[0])
	case *ast.SelectorExpr:
		return p.isLast(e.Sel)
	case *ast.Ident:
		c, ok := p.info.Uses[e].(*types.Const)
		return ok && c.Type().String() == module+"internal/llm.Operation" && c.Name() != "Operations"
	}
	return false
}

// TestOperationsAreDocumented: docs/metrics.md names each value of the label.
func TestOperationsAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	list := regexp.MustCompile("`operation` of requests is one of ([^;]*);").FindSubmatch(text)
	if list == nil {
		t.Fatal("there is no list of operations")
	}
	var named, want []string
	for _, name := range regexp.MustCompile("`([^`]*)`").FindAllStringSubmatch(string(list[1]), -1) {
		named = append(named, name[1])
	}
	for op := range llm.Operations {
		want = append(want, op.String())
	}
	slices.Sort(named)
	slices.Sort(want)
	if !slices.Equal(named, want) {
		t.Errorf("documented are %s, and there are %s", strings.Join(named, " "), strings.Join(want, " "))
	}
}
