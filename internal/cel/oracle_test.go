//go:build !race

// Nothing here does two things at once, and compiling cel-go for the race detector as well takes
// longer than all tests of the package.

package cel

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"strconv"
	"strings"
	"testing"

	official "cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"cel.dev/cel-go/ext"

	"sluice/internal/jsonscan"
)

// oracle evaluates with cel-go.
type oracle struct {
	env  *official.Env
	vars map[string]any
}

func newOracle(t testing.TB) *oracle {
	t.Helper()
	env, err := official.NewEnv(official.OptionalTypes(), ext.Strings(), official.CrossTypeNumericComparisons(true))
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(strings.NewReader(document))
	d.UseNumber()
	var doc any
	if err := d.Decode(&doc); err != nil {
		t.Fatal(err)
	}
	return &oracle{env, numbers(doc).(map[string]any)}
}

// numbers has ints and doubles for numbers as the package reads them.
func numbers(v any) any {
	switch v := v.(type) {
	case json.Number:
		if n, err := strconv.ParseInt(v.String(), 10, 64); err == nil {
			return n
		}
		f, _ := v.Float64()
		return f
	case map[string]any:
		for k, e := range v {
			v[k] = numbers(e)
		}
	case []any:
		for i, e := range v {
			v[i] = numbers(e)
		}
	}
	return v
}

func (o *oracle) eval(expr string) (any, error) {
	ast, issues := o.env.Parse(expr)
	if issues.Err() != nil {
		return nil, fmt.Errorf("parse: %w", issues.Err())
	}
	program, err := o.env.Program(ast, official.EvalOptions(official.OptOptimize))
	if err != nil {
		return nil, err
	}
	out, _, err := program.Eval(o.vars)
	if err != nil {
		return nil, err
	}
	if opt, ok := out.(*types.Optional); ok {
		if !opt.HasValue() {
			return "none", nil
		}
		out = opt.GetValue()
	}
	return plainOf(out), nil
}

func plainOf(v ref.Val) any {
	switch v := v.(type) {
	case types.Null:
		return nil
	case *types.Optional:
		if !v.HasValue() {
			return "none"
		}
		return []any{"optional", plainOf(v.GetValue())}
	case traits.Mapper:
		out := map[string]any{}
		for it := v.Iterator(); it.HasNext() == types.True; {
			k := it.Next()
			out[string(k.(types.String))] = plainOf(v.Get(k))
		}
		return out
	case traits.Lister:
		out := []any{}
		for it := v.Iterator(); it.HasNext() == types.True; {
			out = append(out, plainOf(it.Next()))
		}
		return out
	}
	return v.Value()
}

func ourPlain(v Value) any {
	if v.opt {
		if v.kind == None {
			return "none"
		}
		v.opt = false
		return []any{"optional", ourPlain(v)}
	}
	switch v.kind {
	case None:
		return "none"
	case Null:
		return nil
	case Bool:
		return v.num == 1
	case Int:
		return int64(v.num)
	case Double:
		return v.float()
	case String:
		if v.plain {
			return string(v.raw())
		}
		return string(jsonscan.AppendText(nil, v.raw()))
	case List:
		out := []any{}
		it := v.Items(nil)
		for e, ok := it.Next(); ok; e, ok = it.Next() {
			out = append(out, ourPlain(e))
		}
		return out
	}
	out := map[string]any{}
	m := v.members()
	for k, e, ok := m.step(); ok; k, e, ok = m.step() {
		out[string(jsonscan.AppendText(nil, k))] = ourPlain(JSON(e))
	}
	return out
}

func same(a, b any) bool {
	if x, ok := a.(float64); ok {
		y, ok := b.(float64)
		return ok && (x == y || math.IsNaN(x) && math.IsNaN(y))
	}
	if x, ok := a.([]any); ok {
		y, ok := b.([]any)
		if !ok || len(x) != len(y) {
			return false
		}
		for i := range x {
			if !same(x[i], y[i]) {
				return false
			}
		}
		return true
	}
	return reflect.DeepEqual(a, b)
}

// compare has both evaluate an expression. Where ours does not compile there is
// nothing to compare; compiled reports whether it did.
func (o *oracle) compare(t *testing.T, e *Env, expr string) (compiled bool) {
	t.Helper()
	p, err := Compile(expr, documentScope())
	if err != nil {
		return false
	}
	setDocument(e)
	got, gotErr := p.Eval(e)
	want, wantErr := o.eval(expr)
	switch {
	case (gotErr == nil) != (wantErr == nil):
		t.Errorf("%s\n gives %v, %v\n cel-go: %v, %v", expr, ourPlain(*got), gotErr, want, wantErr)
	case gotErr == nil && !same(ourPlain(*got), want):
		t.Errorf("%s\n gives %#v\n cel-go: %#v", expr, ourPlain(*got), want)
	case gotErr == nil:
		if text := got.AppendJSON(nil); jsonscan.Validate(text, 0) != nil && got.kind != None {
			t.Errorf("%s: %s is no JSON", expr, text)
		}
	}
	return true
}

// TestOracle: all of the language, each with what it may mean.
func TestOracle(t *testing.T) {
	o, e := newOracle(t), new(Env)
	for expr := range strings.Lines(expressions) {
		if expr = strings.TrimSpace(expr); expr != "" && !o.compare(t, e, expr) {
			_, err := Compile(expr, documentScope())
			t.Errorf("%s: %v", expr, err)
		}
	}
}

// expression makes a random one.
func expression(r *rand.Rand, depth int) string {
	sub := func() string { return expression(r, depth-1) }
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	if depth <= 0 || r.IntN(8) == 0 {
		return pick("a", "l", "s", "t", "i", "f", "o", "a.b", "a.?q", "a.?b", "a.n", "l[4]", "o.x", "a.z", "a.l",
			"1", "0", "2.5", "-1", `"12"`, `"x"`, `""`, "true", "false", "null", "[]", "9223372036854775807", `double("NaN")`, `"three"`, `"b"`, "1e3")
	}
	switch r.IntN(14) {
	case 0, 1:
		return "(" + sub() + ")" + pick(".", ".?") + pick("b", "c", "q", "n", "x", "k", "function", "eb")
	case 2:
		return "(" + sub() + ")" + pick("[", "[?") + sub() + "]"
	case 3:
		return sub() + pick(".b", ".?c", ".q", ".?q.b", "[0]", `["b"]`, `[?"x"]`)
	case 4, 5:
		return "(" + sub() + pick(" == ", " != ", " < ", " <= ", " > ", " >= ", " in ") + sub() + ")"
	case 6:
		return "(" + sub() + pick(" && ", " || ") + sub() + pick("", " && "+sub()) + ")"
	case 7:
		return "(" + sub() + pick(" + ", " - ") + sub() + ")"
	case 8:
		return pick("size(", "string(", "int(", "double(") + sub() + ")"
	case 9:
		return "(" + sub() + ")" + pick(".or(", ".orValue(") + sub() + ")"
	case 10:
		return "(" + sub() + ")" + pick(".startsWith(", ".endsWith(", ".contains(") + sub() + ")"
	case 11:
		return "(" + sub() + " ? " + sub() + " : " + sub() + ")"
	case 12:
		return "[" + sub() + ", " + sub() + "]"
	default:
		return pick("!", "-", "!!", "--") + "(" + sub() + ")"
	}
}

// TestOracleRandom compares expressions that nobody thought of.
func TestOracleRandom(t *testing.T) {
	o, e := newOracle(t), new(Env)
	r := rand.New(rand.NewPCG(1, 2))
	n := 4000
	if testing.Short() {
		n = 500
	}
	compiled := 0
	for range n {
		if o.compare(t, e, expression(r, 1+r.IntN(4))) {
			compiled++
		}
	}
	if compiled < n/3 {
		t.Errorf("only %d of %d compiled", compiled, n)
	}
}

// FuzzOracle compares what the fuzzer thinks of, and what its number makes.
func FuzzOracle(f *testing.F) {
	for expr := range strings.Lines(expressions) {
		f.Add(strings.TrimSpace(expr), uint64(0))
	}
	o, e := newOracle(f), new(Env)
	f.Fuzz(func(t *testing.T, expr string, seed uint64) {
		o.compare(t, e, expr)
		o.compare(t, e, expression(rand.New(rand.NewPCG(seed, 1)), 4))
	})
}
