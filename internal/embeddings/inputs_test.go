//go:build !race

package embeddings

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"sluice/internal/llm"
)

func TestSplit(t *testing.T) {
	var in Inputs // one for all
	for input, want := range map[string]string{
		`"a"`:                 `"a"`,
		`""`:                  `""`,
		` [ "a" ,"b\"]," ] `:  `"a" "b\"],"`,
		`[1,2]`:               `[1,2]`,
		`[[1, 2],[ 3 ]]`:      `[1, 2] [ 3 ]`,
		`["a",[1],"\u0061"]`:  `"a" [1] "\u0061"`,
		`[]`:                  ``,
		`{}`:                  ``,
		`7`:                   ``,
		`null`:                ``,
		`["a",7]`:             ``,
		`[[]]`:                ``,
		`[["a"]]`:             ``,
		`[[[1]]]`:             ``,
		`[{"text":"a"}]`:      ``,
		`[1.5]`:               ``,
		`[-1]`:                ``,
		`["a",null]`:          ``,
		`[true]`:              ``,
		`["a",["b"],"c","d"]`: ``,
	} {
		for _, after := range []bool{false, true} {
			req := call(input, after)
			var got []string
			if in.Split(listed(), req.Body) {
				for _, at := range in.Items {
					got = append(got, string(req.Body[at.Start:at.End]))
				}
				if v := string(req.Body[in.Value.Start:in.Value.End]); v != strings.TrimSpace(input) {
					t.Errorf("%s: the value is %s", input, v)
				}
			}
			if s := strings.Join(got, " "); s != want {
				t.Errorf("%s: got %s, want %s", input, s, want)
			}
		}
	}
	if in.Split(listed(), []byte(`{"model":"m"}`)) || in.Split(listed(), []byte(`[]`)) {
		t.Error("a body without input was split")
	}
	for n, want := range map[int]bool{MaxInputs: true, MaxInputs + 1: false} {
		if got := in.Split(listed(), call("["+strings.Repeat(`"a",`, n-1)+`"b"]`, false).Body); got != want {
			t.Errorf("%d inputs: %v", n, got)
		}
	}
}

func TestWith(t *testing.T) {
	var in Inputs
	other := call(`["x",[7,8]]`, true)
	foreign := split(t, &in, other.Body)
	for _, test := range []struct {
		input  string
		choose func(own [][]byte) [][]byte
		want   string
	}{
		{`["a", "b" , "c"]`, func(own [][]byte) [][]byte { return own }, `["a","b","c"]`},
		{`["a", "b" , "c"]`, func(own [][]byte) [][]byte { return own[1:2] }, `["b"]`},
		{`[[1, 2],"b"]`, func(own [][]byte) [][]byte { return own[:1] }, `[[1, 2]]`},
		{`"a"`, func(own [][]byte) [][]byte { return own }, `["a"]`},
		{`[1,2]`, func(own [][]byte) [][]byte { return append(own, foreign...) }, `[[1,2],"x",[7,8]]`},
		{`["a"]`, func(own [][]byte) [][]byte { return nil }, `[]`},
	} {
		for _, after := range []bool{false, true} {
			req := call(test.input, after)
			before := string(req.Body)
			own := split(t, &in, req.Body)
			got, err := in.With(make([]byte, 0, 8), req, test.choose(own))
			if err != nil {
				t.Fatal(err)
			}
			if want := strings.Replace(before, test.input, test.want, 1); string(got.Body) != want || got.BodyLen != int64(len(want)) || string(req.Body) != before {
				t.Errorf("%s became %s, want %s", before, got.Body, want)
			}
			if s := got.ModelSpan; string(got.Body[s.Start:s.End]) != `"m"` || got.Model != "m" || got.Op != llm.Embedding {
				t.Errorf("the model stands at %v of %s", s, got.Body)
			}
			if slices.ContainsFunc(in.edits, func(r llm.Replacement) bool { return r.With != nil }) {
				t.Error("a body is kept alive")
			}
		}
	}
}

// FuzzSplit compares what is split with what a decoder finds, and makes calls with a
// part of that.
func FuzzSplit(f *testing.F) {
	f.Add([]byte(`{"input":["a",[1,2],"\ud83d"],"model":"m","dimensions":2}`), uint64(5))
	f.Add([]byte(`{ "model":"m", "user":"u", "input" : "a" }`), uint64(1))
	f.Add([]byte(`{"input":[1,2]}`), uint64(0))
	f.Add([]byte(`{"input":[[1],[2 ,3]], "input":[1.5]}`), uint64(2))
	f.Fuzz(func(t *testing.T, body []byte, some uint64) {
		var in Inputs
		if !json.Valid(body) || !in.Split(listed(), body) {
			return
		}
		var inputs [][]byte
		for i, at := range in.Items {
			if at.Start < in.Value.Start || at.End > in.Value.End || i > 0 && at.Start < in.Items[i-1].End {
				t.Fatalf("%q: input %d at %v of %v", body, i, at, in.Value)
			}
			var text string
			var tokens []json.Number
			raw := body[at.Start:at.End]
			if json.Unmarshal(raw, &text) != nil && (json.Unmarshal(raw, &tokens) != nil || len(tokens) == 0) {
				t.Fatalf("%q: input %d is %s", body, i, raw)
			}
			if some>>(i%64)&1 == 1 {
				inputs = append(inputs, raw)
			}
		}
		req := &llm.Request{Body: body, BodyLen: int64(len(body))}
		if at := bytes.Index(body, []byte(`"model":"m"`)); at >= 0 && (at+11 <= in.Value.Start || at >= in.Value.End) {
			req.ModelSpan = llm.Span{Start: at + 8, End: at + 11}
		}
		got, err := in.With(nil, req, inputs)
		if err != nil {
			t.Fatalf("%q with %q: %v", body, inputs, err)
		}
		want := fmt.Sprintf("%s[%s]%s", body[:in.Value.Start], bytes.Join(inputs, []byte(",")), body[in.Value.End:])
		if string(got.Body) != want || !json.Valid(got.Body) {
			t.Fatalf("%q with %q: %s", body, inputs, got.Body)
		}
		if s := got.ModelSpan; s.End > 0 && string(got.Body[s.Start:s.End]) != `"m"` {
			t.Fatalf("the model stands at %v of %s", s, got.Body)
		}
		if len(inputs) == 0 {
			return
		}
		if again := split(t, &in, got.Body); !slices.EqualFunc(again, inputs, bytes.Equal) {
			t.Fatalf("%q with %q: split again into %q", body, inputs, again)
		}
	})
}

// Splitting takes no memory, and a call with other inputs a few bytes beside its
// body.
func TestInputsAllocations(t *testing.T) {
	req := call("["+strings.Repeat(`"some text",[1,2,3],`, 500)+`"b"]`, false)
	var in Inputs
	inputs := split(t, &in, req.Body)
	if n := testing.AllocsPerRun(50, func() { in.Split(listed(), req.Body) }); n > 0 {
		t.Errorf("split with %v allocations", n)
	}
	dst := make([]byte, 0, len(req.Body))
	var got llm.Request
	n := testing.AllocsPerRun(50, func() { got, _ = in.With(dst, req, inputs[:700]) })
	if n > 1 || len(got.Body) == 0 {
		t.Errorf("made with %v allocations", n)
	}
}

func BenchmarkWith(b *testing.B) {
	req := call("["+strings.Repeat(`"`+strings.Repeat("word ", 200)+`",`, 1000)+`"b"]`, false)
	var in Inputs
	inputs := split(b, &in, req.Body)
	var dst []byte
	b.SetBytes(int64(len(req.Body)))
	b.ReportAllocs()
	for b.Loop() {
		if !in.Split(listed(), req.Body) {
			b.Fatal("not split")
		}
		got, err := in.With(dst[:0], req, inputs[:500])
		if err != nil {
			b.Fatal(err)
		}
		dst = got.Body
	}
}
