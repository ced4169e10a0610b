//go:build !race

package outline

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"sluice/internal/jsonscan"
	"sluice/internal/llm"
)

// completion is a reply of 1 kB.
var completion = fmt.Appendf(nil, `{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":%q,`+
	`"refusal":null},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":150,"completion_tokens":180,"total_tokens":330}}`,
	strings.Repeat("It lets water through. ", 32))

// said is an outline in words.
func said(t testing.TB, body string) string {
	t.Helper()
	o := Read([]byte(body))
	if !o.Read {
		t.Errorf("%s was not read", body)
	}
	var words []string
	for _, w := range []struct {
		is   bool
		word string
	}{{o.Failed, "failed"}, {o.Nothing, "nothing"}, {o.Choices, "choices"}, {o.Output, "output"}, {o.Twice, "twice"}} {
		if w.is {
			words = append(words, w.word)
		}
	}
	for _, p := range []struct {
		name string
		part llm.Part
	}{{"id", o.ID}, {"status", o.Status}, {"usage", o.Usage}} {
		if b := p.part.Of([]byte(body)); b != nil {
			words = append(words, p.name+"="+string(b))
		}
	}
	return strings.Join(words, " ")
}

func TestRead(t *testing.T) {
	for body, want := range map[string]string{
		string(completion): `choices id="chatcmpl-1" usage={"prompt_tokens":150,"completion_tokens":180,"total_tokens":330}`,
		` { "id" : "r" , "status" : "completed" , "output" : [ ] , "error" : null , "usage" : { } } `: `output id="r" status="completed" usage={ }`,

		// Failures, with or without what was made before.
		`{"error":{"message":"x"}}`:                                     `failed nothing`,
		`{"error":"x","choices":null,"output":null,"data":null}`:        `failed nothing`,
		`{"error":"x","data":[]}`:                                       `failed`,
		`{"error":"x","output":[]}`:                                     `failed output`,
		`{"choices":[{"error":{}}]}`:                                    `failed choices`,
		`{"choices":[{"error":null},{"finish_reason":"error"}]}`:        `failed choices`,
		`{"type":"error","message":"x"}`:                                `failed nothing`,
		`{"type":"response.failed"}`:                                    `failed nothing`,
		`{"type":"response.incomplete","response":{"error":{}}}`:        `failed nothing`,
		`{"response":{"a":[1],"error":1},"type":"response.incomplete"}`: `failed nothing`,
		`{"e\u0072ror":1}`:                                              `failed nothing`,

		// What only looks like one.
		`{"response":{"error":{}},"type":"x"}`:                           `nothing`,
		`{"type":"response.incomplete","response":{"error":null}}`:       `nothing`,
		`{"choices":[{"message":{"error":1,"finish_reason":"error"}}]}`:  `choices`,
		`{"choices":{"error":1}}`:                                        ``,
		`{"choices":[["error"],"error",{"finish_reason":"\"error\""}]}`:  `choices`,
		`{"choices":[{"message":{"content":"\"}],\"error\":{\\\""}}]}`:   `choices`,
		`{"metadata":{"id":"x","usage":{},"status":"x"},"output":false}`: `output`,

		// Of two the first counts, and the last usage.
		`{"id":"a","id":"b","status":1,"status":2,"usage":1,"usage":2}`:                      `nothing twice id="a" status=1 usage=2`,
		`{"error":null,"error":1,"choices":[],"choices":[1],"type":"a","type":"error"}`:      `twice`,
		`{"choices":[{"error":null,"error":1,"finish_reason":"a","finish_reason":"error"}]}`: `choices twice`,
		`{"output":null,"output":1,"data":null,"data":1}`:                                    `nothing twice`,
		`{"id":"a","id":"b","usage":1,"usage":2,"model":1,"model":2}`:                        `nothing id="a" usage=2`,

		// What is no object says nothing, and what is cut what stands before.
		``: `nothing`, `null`: `nothing`, `[{"error":1}]`: `nothing`, `"error"`: `nothing`, `{}`: `nothing`,
		`{"id":"a","error":{"x":`:            `nothing id="a"`,
		`{"choices":[{"error":1}`:            `failed choices`,
		`{"choices":[{"error":1`:             `failed`,
		`{"choices":[{} {"finish_reason"::1`: `choices`,
	} {
		if got := said(t, body); got != want {
			t.Errorf("%s:\n got %s\nwant %s", body, got, want)
		}
		if got, want := Fails([]byte(body)), strings.Contains(want, "failed") && strings.Contains(body, "error"); got != want {
			t.Errorf("%s: fails: %v, want %v", body, got, want)
		}
	}
}

func TestReadAllocatesNothing(t *testing.T) {
	if n := testing.AllocsPerRun(100, func() { Read(completion) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// strict reads a reply as Read does, which is JSON and an object, one question after
// the other.
func strict(body []byte) (o llm.Outline) {
	has := func(b []byte, path ...string) bool {
		v, ok := jsonscan.Get(b, path...)
		return ok && string(b[v.Start:v.End]) != "null"
	}
	part := func(name string) (p llm.Part) {
		if v, ok := jsonscan.Get(body, name); ok {
			p = llm.Part{Start: uint32(v.Start), End: uint32(v.End)}
		}
		return p
	}
	twice := func(b []byte, names ...string) {
		var seen []string
		_ = jsonscan.Members(b, 0, func(key []byte, _ llm.Span) error {
			for _, name := range names {
				if string(key) == name {
					o.Twice = o.Twice || slices.Contains(seen, name)
					seen = append(seen, name)
				}
			}
			return nil
		})
	}
	is := func(b []byte, name string, words ...string) bool {
		v, ok := jsonscan.Get(b, name)
		for _, word := range words {
			if ok && string(b[v.Start:v.End]) == `"`+word+`"` {
				return true
			}
		}
		return false
	}
	o = llm.Outline{
		Read: true, Nothing: !has(body, "choices") && !has(body, "output") && !has(body, "data"), Output: has(body, "output"),
		Failed: has(body, "error") || is(body, "type", "error", "response.failed") || is(body, "type", "response.incomplete") && has(body, "response", "error"),
		ID:     part("id"), Status: part("status"),
	}
	twice(body, "status", "error", "type", "choices", "output", "data", "response")
	if v, ok := jsonscan.Get(body, "choices"); ok {
		list := body[v.Start:v.End]
		jsonscan.Elements(list, func(v llm.Span) bool {
			choice := list[v.Start:v.End]
			o.Choices = true
			if choice[0] == '{' {
				twice(choice, "error", "finish_reason")
				o.Failed = o.Failed || has(choice, "error") || is(choice, "finish_reason", "error")
			}
			return true
		})
	}
	_ = jsonscan.Members(body, 0, func(key []byte, v llm.Span) error {
		if string(key) == "usage" {
			o.Usage = llm.Part{Start: uint32(v.Start), End: uint32(v.End)}
		}
		return nil
	})
	return o
}

// FuzzRead: what is a JSON object is read as by a strict reader, and what is not does
// no harm.
func FuzzRead(f *testing.F) {
	f.Add(completion)
	f.Add([]byte(`{"type":"response.incomplete","response":{"error":{}},"id":"\"","status":"a","output":[],"data":null,"usage":{"a":[1,{"b":2}]},"usage":null}`))
	f.Add([]byte(`{"choices":[{"error":null,"finish_reason":"error"},[],1,"]"],"e\u0072ror":"\\","error":1}`))
	f.Add([]byte(`{"choices":[{"error":`))
	f.Fuzz(func(t *testing.T, body []byte) {
		got := Read(body)
		for _, p := range []llm.Part{got.ID, got.Status, got.Usage} {
			if p.Start > p.End || int(p.End) > len(body) {
				t.Fatalf("%q: %+v", body, got)
			}
		}
		if object := bytes.TrimLeft(body, " \t\r\n"); len(object) == 0 || object[0] != '{' || jsonscan.Validate(body, 0) != nil {
			return
		}
		if want := strict(body); got != want {
			t.Errorf("%q:\n got %+v\nwant %+v", body, got, want)
		}
	})
}

// FuzzSaid: whatever a model says is none of what the reply says of itself.
func FuzzSaid(f *testing.F) {
	f.Add(`error`)
	f.Add(`"}}],"error":{"type":"response.failed"},"usage":1,"id":"x\`)
	f.Fuzz(func(t *testing.T, text string) {
		type m map[string]any
		b, err := json.Marshal(m{"choices": []m{{"message": m{"content": text, "error": text}}}, "model": text, "type": "x" + text, "id": "own", "usage": m{"a": text}})
		if err != nil {
			t.Fatal(err)
		}
		o := Read(b)
		if o.Failed || !o.Choices || string(o.ID.Of(b)) != `"own"` || !bytes.HasPrefix(o.Usage.Of(b), []byte(`{"a":"`)) {
			t.Errorf("%s: %+v", b, o)
		}
	})
}

func BenchmarkRead(b *testing.B) {
	numbers := []byte(`{"object":"list","data":[{"object":"embedding","index":0,"embedding":[` + strings.Repeat("-0.0123456789,", 1535) + `0]}],"usage":{"prompt_tokens":9}}`)
	for _, c := range []struct {
		name string
		body []byte
	}{{"chat", completion}, {"embedding", numbers}} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(int64(len(c.body)))
			b.ReportAllocs()
			for b.Loop() {
				Read(c.body)
			}
		})
	}
}
