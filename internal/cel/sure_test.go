package cel

import (
	"slices"
	"strings"
	"testing"
)

// TestSure: what is called sure is there, or an error, whatever the input lacks.
func TestSure(t *testing.T) {
	vars := []Var{{Name: "req"}, {Name: "model", Type: stringType}}
	for expr, want := range map[string]bool{
		`"a"`: true, `1`: true, `null`: false, `model`: true, `req`: false,
		`req.a`: true, `req.a.b[0]`: true, `req.?a`: false, `req.?a.b`: false, `(req.?a).b`: false, `req.a[?0]`: false,
		`req.?a.or(req.?b)`: false, `req.?a.orValue(1)`: true, `req.?a.orValue(null)`: false, `req.?a.orValue(req.b)`: true,
		`has(req.a)`: true, `has(req.a) ? 1 : null`: false, `[req.a]`: true, `req.a + 1`: true, `!req.a`: true, `req.a == 1 || req.b`: true,
		`json(req.a)`: true, `json(req.?a)`: false, `list(req.?a)`: false, `size(req.a)`: true, `parse(req.a)`: false, `req.a.split(",", -1)`: true,
	} {
		p, err := Compile(expr, vars)
		if err != nil {
			t.Fatal(err)
		}
		if p.Sure() != want {
			t.Errorf("%s: sure %v, want %v", expr, p.Sure(), want)
		}
		if !want {
			continue
		}
		for _, doc := range []string{`{}`, `{"a":null}`, `{"a":{"b":[1]},"b":true}`, `{"a":"x,y","b":1}`} {
			var e Env
			e.NullIsAbsent = true
			e.Reset(Limits{})
			e.Set(0, JSON([]byte(doc)))
			e.Set(1, Text([]byte("m")))
			if v, err := p.Eval(&e); err == nil && v.Kind() == None {
				t.Errorf("%s is absent for %s", expr, doc)
			}
		}
	}
}

// TestReads: the one place that an expression reads.
func TestReads(t *testing.T) {
	vars := []Var{{Name: "req"}, {Name: "m"}}
	for expr, want := range map[string]string{
		`req.a`: "0.a", `m.?content`: "1.content", `parts(m.?content)`: "1.content", `req.a.b[0].c`: "0.a.b[].c", `req["a"]`: "0.a", `m`: "1",
		`has(req.a) ? req.a : "x"`: "0.a", `req.a + req.b`: "", `req.a + m.a`: "", `"x"`: "", `req.a[m.i]`: "", `!(req.?a).b`: "0.a", `(-req.n)`: "0.n", `req.a in [1, 2]`: "0.a",
	} {
		p, err := Compile(expr, vars)
		if err != nil {
			t.Fatal(err)
		}
		slot, members, ok := p.Reads()
		got := ""
		if ok {
			got = string(rune('0'+slot)) + members
		}
		if got != want {
			t.Errorf("%s: %q, want %q", expr, got, want)
		}
	}
}

// TestMembersNamed: what an expression looks for in a variable.
func TestMembersNamed(t *testing.T) {
	vars := []Var{{Name: "req"}, {Name: "m"}}
	for expr, want := range map[string]string{
		`req.a.b + req.?c`: "a c", `has(req.messages) ? m.x : req["prompt"]`: "messages prompt", `json(req)`: "*", `req[m.a]`: "*", `m.a`: "",
		`[req.a]`: "a", `parts(req.a[req.i])`: "a i", `(req.?a).b.or(req.c)`: "a c",
	} {
		p, err := Compile(expr, vars)
		if err != nil {
			t.Fatal(err)
		}
		names, any := p.Members(0)
		slices.Sort(names)
		got := strings.Join(names, " ")
		if any {
			got += "*"
		}
		if got != want {
			t.Errorf("%s: %q, want %q", expr, got, want)
		}
	}
}
