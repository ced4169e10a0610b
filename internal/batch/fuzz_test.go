package batch

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"testing"

	"sluice/internal/llm"
)

// FuzzReply divides replies among two callers: both get JSON, every element is one's,
// and what the upstream counted adds up.
func FuzzReply(f *testing.F) {
	f.Add([]byte(`{"object":"list","data":[{"index":1,"embedding":"b"},{"index":0,"embedding":"a"}, {"index":2}],"usage":{"prompt_tokens":7,"total_tokens":7}}`), uint8(0), uint8(3), uint8(1), uint8(1))
	f.Add([]byte(`{"usage":{"prompt_tokens":7,"completion_tokens":5,"total_tokens":12,"d":{"cached_tokens":3},"cost":0.1,"x":[1,-2,"3",null]},"choices":[{"index":0,"text":"a"},{"index":1,"text":"bb"},{"index":2,"text":""},{"index":3,"text":"d"}],"id":"cmpl-1"}`), uint8(1), uint8(2), uint8(2), uint8(1))
	f.Add([]byte(`{"id":"m","results":[{"flagged":true},{ }]}`), uint8(2), uint8(2), uint8(1), uint8(1))
	f.Add([]byte(`{"data":[{},{"index":1}],"usage":{"total_tokens":1e3}}`), uint8(0), uint8(2), uint8(1), uint8(1))
	f.Fuzz(func(t *testing.T, body []byte, which, items, per, cut uint8) {
		k := &all[which%kinds]
		n, each := int(items%8)+2, 1
		if k.choices {
			each = int(per%3) + 1
		}
		r, err := readReply(body, k, n, each)
		if err != nil {
			return
		}
		for i := range n {
			if !r.has(i) {
				return
			}
		}
		r.weigh(k, func(i int) []byte { return []byte(`"` + strings.Repeat("x", i*i) + `"`) })
		at := int(cut)%(n-1) + 1
		var sums []uint64
		elements := 0
		for _, own := range [][2]int{{0, at}, {at, n}} {
			var parts []part
			for i := own[0]; i < own[1]; i++ {
				parts = append(parts, part{r, i})
			}
			got := compose(nil, parts)
			var v map[string]json.RawMessage
			var list []map[string]json.RawMessage
			if err := json.Unmarshal(got, &v); err != nil {
				t.Fatalf("%q became %q: %v", body, got, err)
			}
			if err := json.Unmarshal(v[k.list], &list); err != nil || len(list) != len(parts)*each {
				t.Fatalf("%q became %q: %d elements, %v", body, got, len(list), err)
			}
			elements += len(list)
			for i, n := range numbers(v["usage"]) {
				if len(sums) <= i {
					sums = append(sums, 0)
				}
				sums[i] += n
			}
		}
		if elements != n*each {
			t.Fatalf("%q: %d elements", body, elements)
		}
		if r.usage.End == 0 {
			return
		}
		if want := numbers(body[r.usage.Start:r.usage.End]); !slices.Equal(want, sums) {
			t.Fatalf("%q: %v are counted of %v", body, sums, want)
		}
	})
}

// numbers gives the whole numbers of JSON, but for those in arrays, and 0 for others.
func numbers(raw []byte) (list []uint64) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	depth := 0
	for {
		token, err := d.Token()
		if err != nil {
			return list
		}
		switch v := token.(type) {
		case json.Delim:
			switch v {
			case '[':
				depth++
			case ']':
				depth--
			}
		case json.Number:
			if depth == 0 {
				n, err := strconv.ParseUint(string(v), 10, 62)
				if err != nil { // fractions, and what the first caller has alone, while the others have 0
					n = 0
				}
				list = append(list, n)
			}
		}
	}
}

// FuzzRequest compares what is read of a request with what a decoder reads, and sees
// that the key is all but the items.
func FuzzRequest(f *testing.F) {
	f.Add([]byte(`{"model":"m","input":["a",[1,2],"\ud83d"],"dimensions":2}`), uint8(0))
	f.Add([]byte(`{ "n" : 2 , "prompt" : "a" , "x":{"prompt":"b"}, "seed":null }`), uint8(1))
	f.Add([]byte(`{"input":"a","input":["b"]}`), uint8(2))
	f.Add([]byte(`{"inp\u0075t":["b"],"input":"c"}`), uint8(0))
	f.Add([]byte(`{"prompt":["a"],"n":0}`), uint8(1))
	f.Fuzz(func(t *testing.T, body []byte, which uint8) {
		k := &all[which%kinds]
		var v map[string]json.RawMessage
		if !json.Valid(body) {
			return
		}
		req := &llm.Request{Op: [...]llm.Operation{llm.Embedding, llm.Completion, llm.Passthrough}[k.place], Path: "/v1/x", Body: body}
		var a, b asked
		if !a.read(k, req, ScopeKey) {
			return
		}
		if err := json.Unmarshal(body, &v); err != nil {
			t.Fatalf("%q: %v", body, err)
		}
		items := v[k.member]
		if len(a.inputs.Items) == 0 || !bytes.Equal(items, body[a.inputs.Value.Start:a.inputs.Value.End]) || a.tokens < len(a.inputs.Items) {
			t.Fatalf("%q: %d items at %v", body, len(a.inputs.Items), a.inputs.Value)
		}
		if n := string(v["n"]); k.choices && n != "" && n != "null" && n != strconv.Itoa(a.per) || v["seed"] != nil && k.choices && string(v["seed"]) != "null" {
			t.Fatalf("%q: %d choices", body, a.per)
		}
		// With other items it is of the same kind, with anything else it is not.
		other := *req
		other.Body = slices.Concat(body[:a.inputs.Value.Start], []byte(`["other"]`), body[a.inputs.Value.End:])
		if !b.read(k, &other, ScopeKey) || !bytes.Equal(a.key, b.key) {
			t.Fatalf("%q and %q have the keys %q and %q", body, other.Body, a.key, b.key)
		}
		other.Body = append(other.Body, ' ')
		if !b.read(k, &other, ScopeKey) || bytes.Equal(a.key, b.key) {
			t.Fatalf("%q and %q have the key %q", body, other.Body, b.key)
		}
	})
}

// What cannot be divided the first caller has, and fractions are divided as well.
func TestUsage(t *testing.T) {
	k := &all[completes]
	for usage, want := range map[string][2]string{
		`{"prompt_tokens":10,"total_tokens":10}`: {`{"prompt_tokens":5,"total_tokens":5}`, `{"prompt_tokens":5,"total_tokens":5}`},
		`{ "prompt_tokens" : 3 }`:                {`{ "prompt_tokens" : 2 }`, `{ "prompt_tokens" : 1 }`},
		`{"prompt_tokens":2,"completion_tokens":8,"total_tokens":10,"completion_tokens_details":{"reasoning_tokens":4,"audio":null}}`: {
			`{"prompt_tokens":1,"completion_tokens":4,"total_tokens":5,"completion_tokens_details":{"reasoning_tokens":2,"audio":null}}`,
			`{"prompt_tokens":1,"completion_tokens":4,"total_tokens":5,"completion_tokens_details":{"reasoning_tokens":2,"audio":null}}`},
		`{"cost":0.3}`:                       {`{"cost":0.15}`, `{"cost":0.15}`},
		`{"cost":2.5e-06}`:                   {`{"cost":0.00000125}`, `{"cost":0.00000125}`},
		`{"cost":4.0}`:                       {`{"cost":2.0}`, `{"cost":2.0}`},
		`{"a":-7}`:                           {`{"a":-7}`, `{"a":0}`},
		`{"a":99999999999999999999999}`:      {`{"a":99999999999999999999999}`, `{"a":0}`},
		`{"a":4611686018427387902}`:          {`{"a":2305843009213693951}`, `{"a":2305843009213693951}`},
		`{"service":"x","list":[1,2],"b":1}`: {`{"service":"x","list":[1,2],"b":1}`, `{"service":"x","list":[1,2],"b":0}`},
		`null`:                               {`null`, `null`},
	} {
		r, err := readReply([]byte(`{"choices":[{"index":0,"text":"aa"},{"index":1,"text":"bb"}],"usage":`+usage+`}`), k, 2, 1)
		if err != nil {
			t.Fatal(err)
		}
		r.weigh(k, func(int) []byte { return []byte(`"same"`) })
		for i, want := range want {
			var got struct{ Usage json.RawMessage }
			if err := json.Unmarshal(compose(nil, []part{{r, i}}), &got); err != nil || string(got.Usage) != want {
				t.Errorf("%s: caller %d has %s, want %s (%v)", usage, i, got.Usage, want, err)
			}
		}
	}
}
