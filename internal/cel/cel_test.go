package cel

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"sluice/internal/testkit"
)

// eval evaluates with one variable, req.
func eval(t testing.TB, expr, doc string, typ *Type, e *Env) (string, error) {
	t.Helper()
	p, err := Compile(expr, []Var{{Name: "req", Type: typ}})
	if err != nil {
		return "", err
	}
	e.Reset(Limits{})
	e.Set(0, JSON([]byte(doc)))
	v, err := p.Eval(e)
	if v.Kind() == None {
		return "nothing", err
	}
	return string(v.AppendJSON(nil)), err
}

// TestOurs: what CEL does not have, and what passes without a change.
func TestOurs(t *testing.T) {
	const doc = ` {"n": 1.50, "e": 1E2, "s": "a\u0062\/", "half": "\ud83d", "nil": null, "o": {"a" : [1, 2]}, "text": "{\"a\": [1]}",
		"list": [{"type": "image"}], "bad": "{", "big": 123456789012345678901234567890} `
	for _, c := range []struct{ expr, want string }{
		{`req.n`, `1.50`},
		{`req.e`, `1E2`},
		{`req.big`, `123456789012345678901234567890`},
		{`req.s`, `"a\u0062\/"`},
		{`req.s + ""`, `"ab/"`},
		{`req.half`, `"` + "\ufffd" + `"`},
		{`req.o`, `{"a" : [1, 2]}`},
		{`json(req.o)`, `"{\"a\" : [1, 2]}"`},
		{`json(req.s)`, `"\"a\\u0062\\/\""`},
		{`json(req.half)`, `"\"` + "\ufffd" + `\""`},
		{`json(req.n)`, `"1.50"`},
		{`json(["a", 1 + 1, 0.5, true, null])`, `"[\"a\",2,0.5,true,null]"`},
		{`json(req.?q)`, `nothing`},
		{`json(req.?o)`, `"{\"a\" : [1, 2]}"`},
		{`parse(req.text).a[0] + 1`, `2`},
		{`parse(req.?q)`, `nothing`},
		{`parse(json(req.o)) == req.o`, `true`},
		{`parts(req.s)`, `[{"type":"text","text":"a\u0062\/"}]`},
		{`parts("x")[0].text`, `"x"`},
		{`parts(req.list)`, `[{"type": "image"}]`},
		{`parts(req.nil)`, `[]`},
		{`parts(req.?q)`, `nothing`},
		{`list(req.n)`, `[1.50]`},
		{`list(req.list)`, `[{"type": "image"}]`},
		{`list(req.nil)`, `[]`},
		{`list(req.?q)`, `nothing`},
		{`base64("hi")`, `"aGk="`},
		{`unbase64("aGk=")`, `"hi"`},
		{`hex(req.s)`, `"61622f"`},
		{`unhex("6869")`, `"hi"`},
		{`double("-Infinity")`, `"-Infinity"`},
		{`"data:image/png;base64,AAAA".split(",", 2)[1]`, `"AAAA"`},
	} {
		if got, err := eval(t, c.expr, doc, nil, new(Env)); err != nil || got != c.want {
			t.Errorf("%s: %s, %v, want %s", c.expr, got, err, c.want)
		}
	}
}

func TestNullIsAbsent(t *testing.T) {
	const doc = `{"a": null, "b": {"c": null}, "d": 1}`
	for _, c := range []struct{ expr, want, absent string }{
		{`req.?a`, `null`, `nothing`},
		{`req.a`, `null`, `null`},
		{`req.?a.or(req.?d)`, `null`, `1`},
		{`req.?b.c`, `null`, `nothing`},
		{`has(req.a)`, `true`, `false`},
		{`has(req.b.c) || has(req.d)`, `true`, `true`},
	} {
		for _, on := range []bool{false, true} {
			want := c.want
			if on {
				want = c.absent
			}
			if got, err := eval(t, c.expr, doc, nil, &Env{NullIsAbsent: on}); err != nil || got != want {
				t.Errorf("%s, %v: %s, %v, want %s", c.expr, on, got, err, want)
			}
		}
	}
}

// TestFaults: every fault says what is wrong and where.
func TestFaults(t *testing.T) {
	for _, c := range []struct{ expr, want string }{
		{``, `unexpected end, at 1 of ""`},
		{`reg.x`, `unknown variable "reg"; known are req, at 1 of "reg.x"`},
		{`req.`, `unexpected end, at 5 of "req."`},
		{`req..x`, `unexpected ".", at 5 of "req..x"`},
		{`req.in`, `unexpected "in", at 5 of "req.in"`},
		{`req x`, `unexpected "x", at 5 of "req x"`},
		{`(req`, `unexpected end, expected ")", at 5 of "(req"`},
		{`req[1`, `unexpected end, expected "]", at 6 of "req[1"`},
		{`req * 2`, `unexpected "*", at 5 of "req * 2"`},
		{`"abc`, `a string without an end, at 1 of "\"abc"`},
		{`"a\qb"`, `unknown escape in a string, at 3 of "\"a\\qb\""`},
		{`99999999999999999999`, `the number is too large, at 1 of "99999999999999999999"`},
		{`for`, `"for" is a reserved word, at 1 of "for"`},
		{`sizes(req)`, `unknown function "sizes"; known are has, base64, double, hex, int, json, list, parse, parts, size, string, tensor, turns, unbase64, unhex, at 1 of "sizes(req)"`},
		{`req.beginsWith("x")`, `unknown function "beginsWith"; known are has, contains, endsWith, size, split, startsWith, at 5 of "req.beginsWith(\"x\")"`},
		{`size()`, `size takes 1 arguments, a method's first before its point, at 1 of "size()"`},
		{`has(req)`, `has takes a selection, as has(a.b), at 1 of "has(req)"`},
		{`1 == "a"`, `an int never equals a string, at 3 of "1 == \"a\""`},
		{`"a" - "b"`, `expected an int or a double, this is a string, at 1 of "\"a\" - \"b\""`},
		{`!1`, `expected a bool, this is an int, at 2 of "!1"`},
		{`1 in 1`, `expected a list or a map, this is an int, at 6 of "1 in 1"`},
		{`"a".b`, `a string has no member "b", at 5 of "\"a\".b"`},
		{`req[null]`, `an index is a string or an int, this is null, at 5 of "req[null]"`},
		{`size(1)`, `expected a string or a list or a map, this is an int, at 6 of "size(1)"`},
		{strings.Repeat("(", 70) + "1", `nested too deeply, at 65 of "` + strings.Repeat("(", 70) + `1"`},
		// The rest is found when it is evaluated.
		{`req.q`, `there is no member "q", at 5 of "req.q"`},
		{`req.n.q`, `an int has no members, at 7 of "req.n.q"`},
		{`req.l[7]`, `there is no such element, at 6 of "req.l[7]"`},
		{`req.n + req.s`, `this does not take an int and a string, at 7 of "req.n + req.s"`},
		{`req.?n + 1`, `this takes no optional int: use orValue, at 8 of "req.?n + 1"`},
		{`req.n.orValue(1)`, `what stands before is no optional: write .? before its name, at 7 of "req.n.orValue(1)"`},
		{`req.n ? 1 : 2`, `a condition is a bool, not an int, at 1 of "req.n ? 1 : 2"`},
		{`parse(req.s)`, `the string is no JSON: invalid JSON at byte 0: expected a value, at 1 of "parse(req.s)"`},
		{`parts(req.n)`, `content is a string or a list, not an int, at 1 of "parts(req.n)"`},
		{`unhex("80")`, `the bytes are no text in UTF-8, at 1 of "unhex(\"80\")"`},
		{`int(req.s)`, `the string is no int, at 1 of "int(req.s)"`},
		{`9223372036854775807 + req.n`, `the number is too large, at 21 of "9223372036854775807 + req.n"`},
	} {
		got, err := eval(t, c.expr, `{"n": 1, "s": "x", "l": [1]}`, nil, new(Env))
		if fault, ok := errors.AsType[*Error](err); !ok || fault.Error() != c.want {
			t.Errorf("%s: %s, %v\nwant %s", c.expr, got, err, c.want)
		}
	}
}

// TestTypes: what is known of a variable is checked, read and filled in.
func TestTypes(t *testing.T) {
	number := &Type{Kind: Int, Zero: Integer(0)}
	usage := &Type{Kind: Map, Zero: JSON([]byte("{}")), Field: func(name string) (*Type, error) {
		if name == "tokens" {
			return number, nil
		}
		return nil, errors.New("no field of that name")
	}}
	typ := &Type{Kind: Map, Field: func(name string) (*Type, error) {
		switch name {
		case "usage":
			return usage, nil
		case "list":
			return &Type{Kind: List, Elem: number, Zero: JSON([]byte("[]"))}, nil
		case "any":
			return nil, nil
		}
		return nil, errors.New("no field of that name")
	}}
	for _, c := range []struct{ expr, doc, want string }{
		{`req.usage.tokens + 1`, `{"usage": {"tokens": "41"}}`, `42`},
		{`req.usage.tokens`, `{"usage": {"tokens": "9223372036854775807"}}`, `9223372036854775807`},
		{`req.usage.tokens`, `{}`, `0`},
		{`req.?usage.tokens`, `{}`, `nothing`},
		{`req.?usage.tokens`, `{"usage":{}}`, `nothing`},
		{`has(req.usage.tokens)`, `{}`, `false`},
		{`req.list[1] + size(req.list)`, `{"list": ["1", "2"]}`, `4`},
		{`2 in req.list`, `{"list": ["1", "2"]}`, `true`},
		{`(req.list + req.list)[3]`, `{"list": ["1", "2"]}`, `2`},
		{`req.any.x`, `{"any": {"x": "1"}}`, `"1"`},
		{`size(req.list)`, `{}`, `0`},
	} {
		if got, err := eval(t, c.expr, c.doc, typ, new(Env)); err != nil || got != c.want {
			t.Errorf("%s of %s: %s, %v, want %s", c.expr, c.doc, got, err, c.want)
		}
	}
	for _, c := range []struct{ expr, want string }{
		{`req.usages`, `no field of that name, at 5 of "req.usages"`},
		{`req.usage.q`, `no field of that name, at 11 of "req.usage.q"`},
		{`req.?usage.q`, `no field of that name, at 12 of "req.?usage.q"`},
		{`req.usage.tokens.q`, `an int has no member "q", at 18 of "req.usage.tokens.q"`},
		{`req.list.q`, `a list has no member "q", at 10 of "req.list.q"`},
		{`req.list["q"]`, `a list has no member "q", at 9 of "req.list[\"q\"]"`},
		{`req.usage.tokens == "1"`, `an int never equals a string, at 18 of "req.usage.tokens == \"1\""`},
	} {
		if _, err := Compile(c.expr, []Var{{Name: "req", Type: typ}}); err == nil || err.Error() != c.want {
			t.Errorf("%s: %v\nwant %s", c.expr, err, c.want)
		}
	}
}

// TestLimits: a short expression may ask for much, of a document that repeats itself.
func TestLimits(t *testing.T) {
	var members strings.Builder
	for i := range 4096 {
		fmt.Fprintf(&members, `"k%d":1,`, i)
	}
	big := `{"s": "` + strings.Repeat("x", 1<<16) + `", "l": [` + strings.Repeat("1,", 1<<14) + `1], "o": {` + members.String() + `"z":1}}`
	for _, expr := range []string{
		`req.l == req.l && req.l == req.l && req.l == req.l && req.l == req.l`,
		`size(` + strings.Repeat("req.s + ", 100) + `"") == 0`,
		strings.Repeat("req.l + ", 100) + `[]`,
		`size(req.o) + size(req.o)`,
		`req.o == req.o`,
		`[req.l[16000], req.l[16000], req.l[16000], req.l[16000], req.l[16000], req.l[16000]]`,
		strings.Repeat(`"b" in req.l || `, 10) + `true && false`,
	} {
		p, err := Compile(expr, []Var{{Name: "req"}})
		if err != nil {
			t.Fatal(err)
		}
		var e Env
		e.Reset(Limits{Steps: 60_000, Bytes: 1 << 20})
		e.Set(0, JSON([]byte(big)))
		v, err := p.Eval(&e)
		if fault, ok := errors.AsType[*Error](err); !ok || !fault.Limit {
			t.Errorf("%.40s: kind %v, %v", expr, v.Kind(), err)
		}
	}
	deep := strings.Repeat("[", 200) + strings.Repeat("]", 200)
	if _, err := eval(t, `req == req`, deep, nil, new(Env)); err == nil {
		t.Error("a comparison without end")
	}
}

const chat = `{"model":"m","messages":[{"role":"user","content":"Hello, how are you?"},{"role":"assistant","content":"Fine."}],"temperature":0.7,"stop":["a","b"],"max_tokens":100}`

var paths = []string{`req.?temperature`, `req.?max_completion_tokens.or(req.?max_tokens)`, `req.messages[1].content`, `req.messages[0].role == "user" ? "a" : "b"`}

// TestAllocations: nothing is allocated once an Env has grown.
func TestAllocations(t *testing.T) {
	if testkit.Race {
		t.Skip("the race detector allocates")
	}
	for _, expr := range append([]string{`parts(req.messages[0].content)`, `json(req.messages) + "x"`, `[1, 2] + req.stop`, `size(req.stop) in [1, 2]`}, paths...) {
		p, err := Compile(expr, []Var{{Name: "req"}})
		if err != nil {
			t.Fatal(err)
		}
		e, doc := new(Env), JSON([]byte(chat))
		if n := testing.AllocsPerRun(100, func() {
			e.Reset(Limits{})
			e.Set(0, doc)
			if _, err := p.Eval(e); err != nil {
				t.Fatal(err)
			}
		}); n > 0 {
			t.Errorf("%s: %v allocations", expr, n)
		}
	}
}

func BenchmarkEval(b *testing.B) {
	for _, expr := range paths {
		p, err := Compile(expr, []Var{{Name: "req"}})
		if err != nil {
			b.Fatal(err)
		}
		b.Run(expr, func(b *testing.B) {
			e, doc := new(Env), JSON([]byte(chat))
			e.Reset(Limits{Steps: 1 << 60, Bytes: 1 << 60})
			e.Set(0, doc)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := p.Eval(e); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
