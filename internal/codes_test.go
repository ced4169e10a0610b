//go:build !race

package internal

import (
	"go/ast"
	"go/constant"
	"go/token"
	"go/types"
	"testing"
)

// TestCodesAreForClients: nobody outside of llm, but for tests, asks what the code of
// an llm.Error or a perf.Exchange is. An upstream may use any code of ours for
// something else, and a code that is spelled in two places is soon spelled in two
// ways: what kind of failure it is stands in the Fault.
func TestCodesAreForClients(t *testing.T) {
	for _, p := range ours(t) {
		if p.path == module+"internal/llm" {
			continue
		}
		for _, at := range codesAsked(p) {
			t.Errorf("%s asks what an error's code is: ask for its Fault", at)
		}
	}
}

// The check is tested, so that a slip in it does not let everything by.
func TestCodesAsked(t *testing.T) {
	head := "package p\nimport (\"slices\"; \"strings\"; \"" + module + "internal/llm\"; \"" + module + "internal/perf\")\n" +
		"const busy = \"busy\"\nvar _ = slices.Contains[[]string]; var _ = strings.ToUpper\nfunc f(e *llm.Error, x *perf.Exchange, m map[string]bool, s string) any {\n"
	for body, want := range map[string]int{
		`return e.Code == "busy"`: 1,
		`return busy != e.Code`:   1,
		`return x.Code == busy`:   1,
		`c := strings.ToUpper(e.Code); d := c[1:]; return d == busy`:    1,
		`var c = e.Code; return c == busy`:                              1,
		`switch e.Code { case "", "a": return 1; case "b": }; return 0`: 2,
		`return strings.HasPrefix(e.Code, "upstream_")`:                 1,
		`return slices.Contains([]string{"a"}, e.Code)`:                 1,
		`return m[e.Code]`: 1,

		`return e.Code == ""`:                         0,
		`return e.Code == x.Code`:                     0,
		`return e.Message == "busy" || s == busy`:     0,
		`return len(e.Code) == 3`:                     0,
		`e.Code = "busy"; return e.Code`:              0,
		`return &llm.Error{Code: "busy", Message: s}`: 0,
		`return e.Fault == llm.Busy`:                  0,
	} {
		if found := codesAsked(source(t, head+body+"\n}\n")); len(found) != want {
			t.Errorf("%s: %v found", body, found)
		}
	}
}

// codesAsked gives the places in a package where a code is compared or looked up.
func codesAsked(p *typed) (found []string) {
	c := codes{info: p.info, copies: make(map[types.Object]bool)}
	for before := -1; before < len(c.copies); { // a copy may be of a copy further down
		before = len(c.copies)
		for _, f := range p.files {
			ast.Inspect(f, c.copied)
		}
	}
	for _, f := range p.files {
		ast.Inspect(f, func(n ast.Node) bool {
			for range c.asked(n) {
				found = append(found, p.at(n))
			}
			return true
		})
	}
	return found
}

// codes knows where codes are in a package.
type codes struct {
	info   *types.Info
	copies map[types.Object]bool // variables that hold one
}

// copied takes note of a variable that is given a code.
func (c *codes) copied(n ast.Node) bool {
	var to, from []ast.Expr
	switch n := n.(type) {
	case *ast.AssignStmt:
		to, from = n.Lhs, n.Rhs
	case *ast.ValueSpec:
		for _, id := range n.Names {
			to = append(to, id)
		}
		from = n.Values
	}
	for i, e := range to {
		id, ok := e.(*ast.Ident)
		if !ok || len(from) != len(to) || !c.isText(from[i]) || !c.holds(from[i]) {
			continue
		}
		if o := c.info.ObjectOf(id); o != nil {
			c.copies[o] = true
		}
	}
	return true
}

// holds reports whether an expression is made of a code.
func (c *codes) holds(e ast.Expr) (yes bool) {
	ast.Inspect(e, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.Ident:
			yes = yes || c.copies[c.info.ObjectOf(n)]
		case *ast.SelectorExpr:
			if s := c.info.Selections[n]; s != nil && s.Kind() == types.FieldVal && s.Obj().Name() == "Code" && s.Obj().Pkg() != nil {
				from := s.Obj().Pkg().Path()
				yes = yes || from == module+"internal/llm" || from == module+"internal/perf"
			}
		}
		return !yes
	})
	return yes
}

func (c *codes) isText(e ast.Expr) bool {
	t := c.info.TypeOf(e)
	b, ok := t.(*types.Basic)
	return ok && b.Info()&types.IsString != 0
}

// isWord reports whether an expression is a constant text that is not empty.
func (c *codes) isWord(e ast.Expr) bool {
	v := c.info.Types[e].Value
	return v != nil && v.Kind() == constant.String && constant.StringVal(v) != ""
}

// asked counts the times that a node asks what a code is.
func (c *codes) asked(n ast.Node) (times int) {
	switch n := n.(type) {
	case *ast.BinaryExpr:
		compares := n.Op == token.EQL || n.Op == token.NEQ
		if compares && (c.holds(n.X) && c.isWord(n.Y) || c.holds(n.Y) && c.isWord(n.X)) {
			return 1
		}
	case *ast.SwitchStmt:
		if n.Tag == nil || !c.isText(n.Tag) || !c.holds(n.Tag) {
			return 0
		}
		for _, clause := range n.Body.List {
			for _, e := range clause.(*ast.CaseClause).List {
				if c.isWord(e) {
					times++
				}
			}
		}
	case *ast.IndexExpr:
		if c.isText(n.Index) && c.holds(n.Index) {
			return 1
		}
	case *ast.CallExpr:
		if t, ok := c.info.TypeOf(n).(*types.Basic); !ok || t.Info()&types.IsBoolean == 0 {
			return 0
		}
		for _, arg := range n.Args {
			if c.isText(arg) && c.holds(arg) {
				return 1
			}
		}
	}
	return times
}
