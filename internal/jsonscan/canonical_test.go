package jsonscan

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"sluice/internal/llm"
	"sluice/internal/testkit"
	"strconv"
	"strings"
	"testing"
)

// canonical gives the canonical form of doc, without the members named.
func canonical(c *Canonical, doc string, without ...string) (string, error) {
	var out strings.Builder
	err := c.Write(&out, []byte(doc), func(key []byte) bool {
		for _, name := range without {
			if string(key) == name {
				return true
			}
		}
		return false
	})
	return out.String(), err
}

func TestCanonical(t *testing.T) {
	var c Canonical
	for doc, want := range map[string]string{
		" \"a b\"\n":                          `"a b"`,
		"[ 1 ,\t1.0, -0e+1 , [ ] ,{ } ]":      `[1,1.0,-0e+1,[],{}]`,
		`{"b":1,"a":2}`:                       `{"a":2,"b":1}`,
		`{"b":{"d":[{"f":1,"e":2}],"c":3}}`:   `{"b":{"c":3,"d":[{"e":2,"f":1}]}}`,
		`{"a":1,"ab":2,"":3,"Z":4,"é":5}`:     `{"":3,"Z":4,"a":1,"ab":2,"é":5}`,
		`{"c":0,"\u0062":1,"b":2,"\u0061":3}`: `{"\u0061":3,"\u0062":1,"b":2,"c":0}`,
		`{"b":1,"a":2,"b":0}`:                 `{"a":2,"b":1,"b":0}`,
		`{"a" : "\u0061" , "b" : "\/"}`:       `{"a":"\u0061","b":"\/"}`,
		// The order of a schema's properties is kept, that around it is not.
		`{"type":0,"properties":{"b":{"y":1,"x":2}, "a":1}}`:             `{"properties":{"b":{"x":2,"y":1},"a":1},"type":0}`,
		`{"propertie\u0073":{"b":1,"a":{"properties":[{"b":1,"a":2}]}}}`: `{"propertie\u0073":{"b":1,"a":{"properties":[{"a":2,"b":1}]}}}`,
		`{"properties":{"properties":{"b":1,"a":2},"a":1}}`:              `{"properties":{"properties":{"b":1,"a":2},"a":1}}`,
	} {
		if got, err := canonical(&c, doc); err != nil || got != want {
			t.Errorf("%s became %s, %v, want %s", doc, got, err, want)
		}
	}
}

func TestCanonicalSkip(t *testing.T) {
	var c Canonical
	for doc, want := range map[string]string{
		`{"x":1,"a":1,"x":2,"b":{"x":1}}`: `{"a":1,"b":{"x":1}}`,
		`{"b":1,"a":1,"\u0078":[1, 2]}`:   `{"a":1,"b":1}`,
		` { "x" : { } } `:                 `{}`,
		`[{"x":1}]`:                       `[{"x":1}]`,
		`{"x":{"properties":{}}, "y":1}`:  `{"y":1}`,
	} {
		if got, err := canonical(&c, doc, "x"); err != nil || got != want {
			t.Errorf("%s became %s, %v, want %s", doc, got, err, want)
		}
	}
}

func TestCanonicalFaults(t *testing.T) {
	var c Canonical
	for _, doc := range []string{
		``, ` `, `{`, `{"a"`, `{"a":`, `{"a":1`, `{"a":1,`, `{"a":1,}`, `{a:1}`, `{"a" 1}`, `{"a":1 "b":2}`, `{"a":1]`,
		`[`, `[1`, `[1,`, `[1,]`, `[1 2]`, `[1}`, `{} {}`, `tru`, `{"b":1,"a":x}`, "\"\xff\"", "\ufeff{}",
		strings.Repeat("[", lenientDepth+1) + strings.Repeat("]", lenientDepth+1),
		strings.Repeat(`{"":`, lenientDepth+1) + "1" + strings.Repeat("}", lenientDepth+1),
	} {
		got, err := canonical(&c, doc)
		var fault *Error
		if want := Validate([]byte(doc), lenientDepth); !errors.As(err, &fault) || want == nil || *fault != *want.(*Error) {
			t.Errorf("%.20q: %v, want %v", doc, err, want)
		}
		if got != "" {
			t.Errorf("%.20q: wrote %q", doc, got)
		}
	}
	if got, err := canonical(&c, `{"b":1,"a":2}`); got != `{"a":2,"b":1}` {
		t.Errorf("after faults: %s, %v", got, err)
	}
	full := errors.New("full")
	for _, n := range []int{1, 3 * gather} {
		doc := []byte(`{"a":"` + strings.Repeat("x", n) + `"}`)
		if err := c.Write(failing{full}, doc, nil); err != full {
			t.Errorf("the writer's error became %v", err)
		}
	}
}

type failing struct{ err error }

func (w failing) Write([]byte) (int, error) { return 0, w.err }

// TestCanonicalProperty spells random values in two ways.
func TestCanonicalProperty(t *testing.T) {
	var c Canonical
	for seed := range uint64(2000) {
		spell := func(style uint64, change bool) string {
			m := &maker{value: rand.New(rand.NewPCG(seed, 0)), style: rand.New(rand.NewPCG(seed, style)), change: change}
			return m.make(0)
		}
		a, b, changed := spell(1, false), spell(2, false), spell(2, true)
		formA, errA := canonical(&c, a)
		formB, errB := canonical(&c, b)
		if errA != nil || errB != nil || formA != formB {
			t.Fatalf("%s\nand %s\nbecame %s, %v\nand %s, %v", a, b, formA, errA, formB, errB)
		}
		if form, err := canonical(&c, changed); err != nil || form == formA {
			t.Fatalf("%s\nand %s\nboth became %s, %v", a, changed, form, err)
		}
	}
}

// maker spells a random value, which the first source decides; white space and
// the order of members are the second's. change adds 1 to the first number.
type maker struct {
	value, style *rand.Rand
	change       bool
}

func (m *maker) space() string { return strings.Repeat(" ", m.style.IntN(2)) }

func (m *maker) make(depth int) string {
	n := m.value.IntN(5)
	items := []string{m.scalar()}
	object := m.value.IntN(2) == 0
	for i := range n {
		item := m.scalar()
		if m.value.IntN(3) == 0 && depth < 6 {
			item = m.make(depth + 1)
		}
		if object {
			item = strconv.Quote(strings.Repeat("k", m.value.IntN(2))+strconv.Itoa(i)) + m.space() + ":" + m.space() + item
		}
		items = append(items, m.space()+item+m.space())
	}
	if !object {
		return "[" + strings.Join(items, ",") + "]"
	}
	items[0] = `"first":` + items[0]
	m.style.Shuffle(len(items), func(i, j int) { items[i], items[j] = items[j], items[i] })
	return "{" + m.space() + strings.Join(items, ",") + "}"
}

func (m *maker) scalar() string {
	n := m.value.IntN(1000)
	if m.change {
		m.change, n = false, n+1
	}
	return strconv.Itoa(n)
}

// With skip, what is null is as if it were absent, at the top and where it is alone.
func TestCanonicalNull(t *testing.T) {
	var c Canonical
	skip := func(key []byte) bool { return string(key) == "skip" }
	for doc, want := range map[string]string{
		`{"a":null}`:                             `{}`,
		`{"a":null,"b":1}`:                       `{"b":1}`,
		`{"a":1, "b" : null }`:                   `{"a":1}`,
		`{"b":1,"a":null,"c":2}`:                 `{"b":1,"c":2}`,
		`{"skip":null,"a":1}`:                    `{"a":1}`,
		`{"a":null,"b":1,"a":2}`:                 `{"a":null,"a":2,"b":1}`,
		`{"a":1,"\u0061":null}`:                  `{"a":1,"\u0061":null}`,
		`{"a":null,"a":null}`:                    `{"a":null,"a":null}`,
		`{"a":"null","b":[null],"c":{"d":null}}`: `{"a":"null","b":[null],"c":{"d":null}}`,
		`[{"a":null}]`:                           `[{"a":null}]`,
	} {
		var b bytes.Buffer
		if err := c.Write(&b, []byte(doc), skip); err != nil || b.String() != want {
			t.Errorf("%s: %s, %v, want %s", doc, b.String(), err, want)
		}
	}
	var b bytes.Buffer
	if err := c.Write(&b, []byte(`{"a":null}`), nil); err != nil || b.String() != `{"a":null}` {
		t.Errorf("without skip: %s, %v", b.String(), err)
	}
}

// TestCanonicalLarge would take minutes if the work were quadratic.
func TestCanonicalLarge(t *testing.T) {
	var c Canonical
	var wide, sorted strings.Builder
	for i := range 300_000 {
		wide.WriteString(`,"` + strconv.Itoa(999_999-i) + `":0`)
		sorted.WriteString(`,"` + strconv.Itoa(700_000+i) + `":0`)
	}
	if got, err := canonical(&c, "{"+wide.String()[1:]+"}"); err != nil || got != "{"+sorted.String()[1:]+"}" {
		t.Errorf("a wide object: %v, %.100s", err, got)
	}
	text := strings.Repeat("x", 1000)
	deep := strings.Repeat(`{"b":"`+text+`","a":`, lenientDepth) + "1" + strings.Repeat("}", lenientDepth)
	want := strings.Repeat(`{"a":`, lenientDepth) + "1" + strings.Repeat(`,"b":"`+text+`"}`, lenientDepth)
	if got, err := canonical(&c, deep); err != nil || got != want {
		t.Errorf("a deep object: %v, %.100s", err, got)
	}
	if n := cap(c.pieces)*16 + cap(c.open)*20 + cap(c.keys) + cap(c.buf); n > 3*keepScratch+2*gather || c.s.b != nil {
		t.Errorf("keeps %d bytes", n)
	}
}

func TestCanonicalAllocations(t *testing.T) {
	if testkit.Race {
		t.Skip("the race detector allocates")
	}
	var c Canonical
	doc := []byte(`{"z\u0061":1,"\u0061":2,"tools":[{"b":1,"a":{"d":[1, 2],"c":null}}], "text":"` + strings.Repeat("x", 3000) + `"}`)
	digest := sha256.New()
	skip := func(key []byte) bool { return string(key) == "za" }
	if n := testing.AllocsPerRun(100, func() {
		if err := c.Write(digest, doc, skip); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

// chatOfKilobytes gives a chat request of 2 to 4 KB, a recorded one where there is
// one, else none.
func chatOfKilobytes(t testing.TB) []byte {
	t.Helper()
	for _, in := range testkit.Seeds(t) {
		for _, p := range in.Pairs(t) {
			body := []byte(p.Request)
			if _, ok := Get(body, "messages"); ok && 2000 <= len(body) && len(body) <= 4000 {
				return body
			}
		}
	}
	return nil
}

func BenchmarkCanonical(b *testing.B) {
	docs := map[string][]byte{"chat": chatRequest(20)}
	if recorded := chatOfKilobytes(b); recorded != nil {
		docs["recorded"] = recorded
	}
	for name, doc := range docs {
		b.Run(name+"/validate", func(b *testing.B) {
			b.SetBytes(int64(len(doc)))
			for b.Loop() {
				if Validate(doc, 0) != nil {
					b.Fatal("refused")
				}
			}
		})
		b.Run(name+"/canonical", func(b *testing.B) {
			var c Canonical
			b.SetBytes(int64(len(doc)))
			b.ReportAllocs()
			for b.Loop() {
				if c.Write(io.Discard, doc, nil) != nil {
					b.Fatal("refused")
				}
			}
		})
	}
}

func FuzzCanonical(f *testing.F) {
	for _, s := range []string{
		`{"b":[1,-0.5e+3,true,null],"a":{"\u0062":{ },"b": 2},"":""}`, `{"properties":{"b":1,"a":[{}]}}`, `[1 2]`, `{"a":1,}`,
		`{"\ud800":1,"\udfff":2}`,
	} {
		f.Add([]byte(s))
	}
	var c Canonical
	f.Fuzz(func(t *testing.T, b []byte) {
		var once, twice bytes.Buffer
		err := c.Write(&once, b, nil)
		if fault := Validate(b, lenientDepth); (fault == nil) != (err == nil) {
			t.Fatalf("got %v, Validate says %v", err, fault)
		}
		if err != nil {
			return
		}
		if err := c.Write(&twice, once.Bytes(), nil); err != nil || !bytes.Equal(once.Bytes(), twice.Bytes()) {
			t.Fatalf("%s became %s, %v", once.Bytes(), twice.Bytes(), err)
		}
		var space bytes.Buffer
		if err := json.Compact(&space, b); err != nil || space.Len() != once.Len() {
			t.Fatalf("%s has %d bytes, compact it has %d", once.Bytes(), once.Len(), space.Len())
		}
	})
}

// TestLimits: whoever reads a document, a depth that is not taken is no fault of
// its syntax, and only that is a limit.
func TestLimits(t *testing.T) {
	var c Canonical
	nested := func(depth int, inside string) []byte {
		return []byte(`{"a":` + strings.Repeat("[", depth-1) + inside + strings.Repeat("]", depth-1) + `}`)
	}
	for name, read := range map[string]func([]byte) error{
		"Validate": func(b []byte) error { return Validate(b, lenientDepth) },
		"Members": func(b []byte) error {
			return Members(b, lenientDepth, func([]byte, llm.Span) error { return nil })
		},
		"Canonical": func(b []byte) error { return c.Write(io.Discard, b, nil) },
	} {
		var fault *Error
		if err := read(nested(lenientDepth+1, "")); !errors.As(err, &fault) || !fault.Limit {
			t.Errorf("%s of what is too deep: %v", name, err)
		}
		if err := read(nested(lenientDepth, "x")); !errors.As(err, &fault) || fault.Limit {
			t.Errorf("%s of a fault: %v", name, err)
		}
		if err := read(nested(lenientDepth, "")); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
