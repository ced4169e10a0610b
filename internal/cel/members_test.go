package cel

import (
	"math/rand/v2"
	"strings"
	"testing"
)

// TestMembers: expressions that share what was found in variables give what each gives on
// its own, in whatever order they come.
func TestMembers(t *testing.T) {
	alone, together, vars := new(Env), new(Env), documentScope()
	for i := range vars {
		vars[i].Members = new(Members)
	}
	var list []string
	for expr := range strings.Lines(expressions) {
		if expr = strings.TrimSpace(expr); expr != "" {
			list = append(list, expr)
		}
	}
	programs := map[string]*Program{}
	for _, expr := range list {
		p, err := Compile(expr, vars)
		if err != nil {
			t.Fatalf("%s: %v", expr, err)
		}
		programs[expr] = p
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		setDocument(together)
		r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		for _, expr := range list {
			p, err := Compile(expr, documentScope())
			if err != nil {
				t.Fatal(err)
			}
			setDocument(alone)
			want, wantErr := p.Eval(alone)
			got, err := programs[expr].Eval(together)
			if (err == nil) != (wantErr == nil) || err != nil && err.Error() != wantErr.Error() ||
				got.kind != want.kind || string(got.AppendJSON(nil)) != string(want.AppendJSON(nil)) {
				t.Errorf("%s: %s, %v; alone %s, %v", expr, got.AppendJSON(nil), err, want.AppendJSON(nil), wantErr)
			}
		}
	}
}

// TestMembersOnce: what calls make of a variable is made once while it has a value, and
// anew with the next.
func TestMembersOnce(t *testing.T) {
	vars := []Var{{Name: "r", Members: new(Members)}}
	e := new(Env)
	e.Reset(Limits{})
	for _, doc := range []string{`{"s":"{\"a\":1,\"b\":{\"c\":2}}"}`, `{"s":"{\"a\":3}"}`, `{"s":"{\"b\":null}"}`, `{}`, `{"s":"["}`} {
		e.Set(0, JSON([]byte(doc)))
		one := new(Env)
		for _, expr := range []string{`parse(r.?s).?a`, `parse( r.?s ).?b.?c`, `parse(r.?s).b.c`, `has(parse(r.s).b)`, `parse(r.?s)`, `parse(r.?s).?b`, `parse(r.?s).a == 1`, `parse(r.?s).b.c == "x" || true`} {
			p, err := Compile(expr, vars)
			if err != nil {
				t.Fatal(err)
			}
			one.Reset(Limits{})
			one.Set(0, JSON([]byte(doc)))
			single, err := Compile(expr, []Var{{Name: "r"}})
			if err != nil {
				t.Fatal(err)
			}
			want, wantErr := single.Eval(one)
			got, err := p.Eval(e)
			if (err == nil) != (wantErr == nil) || got.kind != want.kind || string(got.AppendJSON(nil)) != string(want.AppendJSON(nil)) {
				t.Errorf("%s of %s: %s, %v; alone %s, %v", expr, doc, got.AppendJSON(nil), err, want.AppendJSON(nil), wantErr)
			}
		}
	}
	if len(vars[0].Members.calls) != 3 {
		t.Errorf("%d calls, want parse(r.?s), parse( r.?s ) and parse(r.s)", len(vars[0].Members.calls))
	}
}
