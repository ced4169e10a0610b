package cel

import (
	"bytes"
	"strings"
	"testing"

	"sluice/internal/jsonscan"
)

// document is what the variables of the comparisons are members of.
const document = `{
	"a": {"b": {"c": 1, "d": "x"}, "n": null, "t": true, "e\u0062": 7, "l": [], "z": 0, "s": "", "dup": 1, "dup": 2, "function": {"name": "f"}},
	"l": [1, 2.5, "three", null, [4], {"k": "v"}, true, 9223372036854775807, 1e3, -0, 12345678901234567890],
	"s": "héllo \"wörld\" \n\u00e9\ud83d\ude00",
	"t": "12",
	"i": 42,
	"f": 2.0,
	"o": {"x": [{"y": 1}, {"y": "2"}, {}], "k,": {"": 3}}
}`

var documentVars = []string{"a", "l", "s", "t", "i", "f", "o"}

// setDocument gives an Env the variables.
func setDocument(e *Env) {
	e.Reset(Limits{})
	doc := JSON([]byte(document))
	for i, name := range documentVars {
		raw, _ := e.lookup(0, &doc, []byte(name))
		e.Set(i, JSON(raw))
	}
}

func documentScope() (vars []Var) {
	for _, name := range documentVars {
		vars = append(vars, Var{Name: name})
	}
	return vars
}

// expressions are all of the language, a line each.
const expressions = `
	a.b.c
	a.b.d + "y"
	a.?b.c
	a.?q.c
	a.?b.q
	a.?n.q
	a.?t.q
	a.n.?q
	s.?q
	i.?q
	l.?q
	a.b.q
	a.n
	a.eb
	a.dup
	a.function.name
	has(a.b)
	has(a.q)
	has(a.q.r)
	has(a.n)
	has(a.?q.r)
	has(a.?b.c)
	has(a.n.q)
	has(s.q)
	has(l.q)
	a["b"]["c"]
	a["b"].c
	a["q"]
	a[?"q"]
	a[?"b"].c
	a[1]
	a[?1]
	l[0]
	l[0.0]
	l[0.5]
	l[?0.5]
	l[-1]
	l[99]
	l[?99]
	l[?-1]
	l["x"]
	l[?"x"]
	l[true]
	l[4][0]
	l[5].k
	o.x[1].y
	o["k,"][""]
	o.?x[0].y
	o.?x[9].y
	o.?x[a.q].y
	o.?w[a.q].y
	o.x[o.x[0].y].y
	s[0]
	i[0]
	a[t]
	size(s)
	size(l)
	size(a)
	size(i)
	s.size()
	size([])
	size("")
	size(a.?b)
	size(a.?q)
	string(1)
	string(1.5)
	string(1e21)
	string(123456789012345678.0)
	string(1e20)
	string(1e-5)
	string(0.0001)
	string(-0.0)
	string(true)
	string("x")
	string(s)
	string(l)
	string(f)
	string(l[8])
	string(double("NaN"))
	string(double("-inf"))
	int("42")
	int(" 42")
	int("+42")
	int("4.2")
	int(t)
	int(4.9)
	int(-4.9)
	int(9223372036854775807.0)
	int(-9223372036854775808.0)
	double("1.5")
	double("x")
	double("1e400")
	double("0x1p4")
	double("1_0")
	double(1)
	double(f)
	1 + 2
	1 + 2.0
	1.5 + 2.5
	"a" + "b"
	"a" + 1
	[1] + [2, "x"]
	l + [1]
	l + l
	[1] + 1
	9223372036854775807 + 1
	-9223372036854775808 - 1
	-9223372036854775808
	-(-9223372036854775808)
	0x7fffffffffffffff
	-0x10
	1 - 2
	1.0 - 0.5
	1 - 0.5
	- 1
	-i
	-f
	-s
	--i
	--s
	---i
	--1
	-1.5
	.5 + 1.0
	1.0 < double("NaN")
	1 < double("NaN")
	1 >= double("NaN")
	"x" < double("NaN")
	true < double("NaN")
	null < double("NaN")
	l < double("NaN")
	a.?t < double("NaN")
	double("NaN") < a.?t
	double("NaN") < null
	double("NaN") >= 1
	5e2
	!true
	!!true
	!!s
	!s
	-1 + 2 - -3
	true && true
	true && false
	false && a.q
	a.q && false
	a.q && true
	true || a.q
	a.q || true
	a.q || false
	s && false
	false || s
	a.q || s
	true ? 1 : 2
	false ? a.q : "ok"
	a.q ? 1 : 2
	1 == 1 ? 2 : 3
	i ? 1 : 2
	true ? 1 : false ? 2 : 3
	1 == 1
	1 == 1.0
	1.0 == f
	i == 42
	f == 2
	s == "x"
	s == i
	t == "12"
	null == null
	a.n == null
	a.b == null
	null != 1
	a == a
	a.b == o.x[0]
	o.x[0] == o.x[0]
	l == l
	l == [1]
	[1, 2] == [1.0, 2]
	[1] == [1, 2]
	[] == []
	l[7] == 9223372036854775807
	l[7] == 9223372036854775807.0
	l[7] < 9223372036854775808.0
	l[10] == 12345678901234567890.0
	9007199254740993 == 9007199254740992.0
	a.?q == a.?q
	a.?b == a.b
	a.?q == null
	a.?b == a.?b
	a.?n == a.?q
	1 < 2
	1 < 1.5
	2.5 > 2
	1 <= 1
	1 >= 2
	"a" < "b"
	"é" < "z"
	s > t
	false < true
	l < l
	null < null
	1 < t
	a < a
	double("NaN") < 1.0
	double("NaN") == double("NaN")
	1 < 2 == true
	1 in l
	2.5 in l
	1.0 in l
	"three" in l
	null in l
	[4] in l
	"nope" in l
	"b" in a
	"q" in a
	1 in a
	null in a
	"a" in s
	a.?q in l
	i in [41, 42]
	!("x" in a)
	a.?q.or(a.?b).c
	a.?q.or(a.?r)
	a.?q.or(a.?r).orValue(5)
	a.?b.or(a.q)
	a.?q.or(1)
	a.b.or(a.?b)
	a.?q.orValue(1)
	a.?b.orValue(1)
	a.?n.orValue(1)
	a.q.orValue(1)
	a.?q.orValue(a.q)
	a.?q.orValue(a.?b)
	a.?q.orValue(a.?b).c
	(a.?q).b
	(a.?b).c
	(a.?b).?c
	(a.b).c
	[a.?q, 1]
	[a.?b.c]
	a.?q + 1
	a.?b.c + 1
	!a.?t
	a.?t ? 1 : 2
	a.?t && true
	a.?t && false
	"abc".startsWith("a")
	"abc".endsWith("bc")
	"abc".contains("")
	s.contains("wör")
	i.contains("x")
	a.?s.contains("x")
	"a,b,c".split(",", 2)
	"a,b,c".split(",", 0)
	"a,b,c".split(",", -1)
	"a,b,c".split(",", 1)
	"".split(",", 2)
	"".split("", 2)
	"héy".split("", -1)
	"héy".split("", 2)
	"abc".split("abc", 9)
	"a" // a comment
	'a"b' + "a'b" + '\'' + "\"\\\n\t\x41\u00e9\U0001F600\101\?\a\b\f\r\v\` + "`" + `"
	a.if
	((((1))))
	a.b.c == 1 && l[0] == 1 || false
`

// FuzzEval has any document in the place of the one above: it ends, and what it gives
// is JSON.
func FuzzEval(f *testing.F) {
	for expr := range strings.Lines(expressions) {
		f.Add(strings.TrimSpace(expr), []byte(document))
	}
	f.Add(`parts(s)`, []byte(`"a\n"`))
	f.Add(`json(parse(s))`, []byte(`"[1]"`))
	f.Add(`unhex(hex(s)) + unbase64(base64(s))`, []byte(`"a\ud83d"`))
	e := new(Env)
	f.Fuzz(func(t *testing.T, expr string, doc []byte) {
		p, err := Compile(expr, documentScope())
		if err != nil || jsonscan.Validate(doc, 0) != nil {
			return
		}
		e.Reset(Limits{Steps: 1 << 14, Bytes: 1 << 20})
		for i := range documentVars {
			e.Set(i, JSON(doc))
		}
		before := bytes.Clone(doc)
		v, err := p.Eval(e)
		if err == nil && v.kind != None {
			if text := v.AppendJSON(nil); jsonscan.Validate(text, 0) != nil {
				t.Errorf("%s of %s: %s", expr, doc, text)
			}
		}
		if !bytes.Equal(before, doc) {
			t.Error("the document was changed")
		}
	})
}
