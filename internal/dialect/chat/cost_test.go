//go:build !race

package chat

import (
	"encoding/json"
	"strings"
	"testing"

	"sluice/internal/dialect"
	"sluice/internal/jsonscan"
)

const chunk = `data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":" word"},"logprobs":null,"finish_reason":null}]}` + "\n\n"

// request is of some 2 kB, with a tool and its result.
func request() []byte {
	return []byte(`{"model":"m","stream":true,"temperature":0.5,"messages":[{"role":"system","content":"` + strings.Repeat("Be brief. ", 60) + `"},{"role":"user","content":"` +
		strings.Repeat("What is it? ", 40) + `"},{"role":"assistant","content":null,"tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{\"x\":1}"}}]},` +
		`{"role":"tool","tool_call_id":"a","content":"` + strings.Repeat("ok ", 80) + `"}],"tools":[{"type":"function","function":{"name":"f","description":"does","parameters":{"type":"object","properties":{"x":{"type":"integer"}}}}}]}`)
}

func translate(t testing.TB, c *dialect.Conversation, dst, body []byte) []byte {
	c.Reset()
	if err := (Dialect{}).ReadRequest(c, body); err != nil {
		t.Fatal(err)
	}
	out, err := Dialect{}.WriteRequest(dst, c, dialect.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return out.Body
}

func BenchmarkRequest(b *testing.B) {
	body, c := request(), new(dialect.Conversation)
	var dst []byte
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		dst = translate(b, c, dst[:0], body)
	}
}

func BenchmarkEvent(b *testing.B) {
	event := chunks(b)
	b.ReportAllocs()
	for b.Loop() {
		event()
	}
}

// chunks reads and writes one event after another.
func chunks(t testing.TB) func() {
	r, w, raw := Dialect{}.NewReader(), Dialect{}.NewWriter(), []byte(chunk)
	w.Reset(dialect.Reply{ID: "1", Model: "m"})
	var dst []byte
	say := func(e *dialect.Event) error { dst = w.Event(dst[:0], e); return nil }
	return func() {
		if err := r.Event(raw, say); err != nil || len(dst) == 0 {
			t.Fatal(err)
		}
	}
}

// thoughts writes one piece of a thought that is to be signed after another, now and then with the
// signature.
func thoughts() func() {
	w := Dialect{}.NewWriter()
	w.Reset(dialect.Reply{ID: "1", Model: "m"})
	piece := &dialect.Event{Choices: []dialect.Choice{{Thinking: []byte(`" word"`), Signs: true}}}
	signed := &dialect.Event{Choices: []dialect.Choice{{Signature: []byte(`"c2ln"`)}}}
	var dst []byte
	return func() {
		dst = w.Event(dst[:0], piece)
		dst = w.Event(dst, piece)
		dst = w.Event(dst, signed)
	}
}

func BenchmarkThoughts(b *testing.B) {
	write := thoughts()
	b.ReportAllocs()
	for b.Loop() {
		write()
	}
}

func TestAllocations(t *testing.T) {
	if n := testing.AllocsPerRun(100, chunks(t)); n > 0 {
		t.Errorf("%v allocations an event, want 0", n)
	}
	if n := testing.AllocsPerRun(100, thoughts()); n > 0 {
		t.Errorf("%v allocations a thought that is to be signed, want 0", n)
	}
	body, c := request(), new(dialect.Conversation)
	var dst []byte
	if n := testing.AllocsPerRun(100, func() { dst = translate(t, c, dst[:0], body) }); n > 10 {
		t.Errorf("%v allocations a request, ceiling 10", n)
	}
}

// FuzzRequest: whatever is asked, what goes on is JSON.
func FuzzRequest(f *testing.F) {
	f.Add(request())
	for _, s := range []string{
		`{"messages":[]}`, `{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,AA"}},{"type":"file","file":{"file_data":"x"}},{"type":"input_audio","input_audio":{"data":"AA","format":"wav"}}]}]}`,
		`{"messages":[{"role":"assistant","reasoning_details":[{"text":"a","signature":"b"},{"data":"c"}],"function_call":{"name":"f","arguments":{}}}],"response_format":{"type":"json_schema"},"stop":["a"]}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if jsonscan.Validate(body, 100) != nil || len(body) == 0 || !dialect.IsObject(body) {
			return
		}
		var c dialect.Conversation
		if (Dialect{}).ReadRequest(&c, body) != nil {
			return
		}
		out, err := Dialect{}.WriteRequest(nil, &c, dialect.Options{})
		if err != nil || !json.Valid(out.Body) {
			t.Errorf("%s became %s, %v", body, out.Body, err)
		}
	})
}

// FuzzReply: whatever a service sends, what goes on is a stream of JSON, and a whole reply.
func FuzzReply(f *testing.F) {
	f.Add([]byte(chunk))
	for _, s := range []string{
		`{"choices":[{"index":-1,"delta":{"tool_calls":[{"index":99999999999,"id":"a","function":{"name":"f","arguments":{"a":1}}}]},"finish_reason":"stop"}]}`,
		`{"error":{"message":"m","code":1}}`, `{"choices":[{"message":{"content":[{"text":"a"},{"text":"b"}],"annotations":[{"url_citation":{"url":"u"}}]}}],"usage":{"prompt_tokens":1}}`,
	} {
		f.Add([]byte("data: " + s + "\n\n"))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, w := Dialect{}.NewReader(), Dialect{}.NewWriter()
		w.Reset(dialect.Reply{ID: "1", Model: "m", IncludeUsage: true})
		said := dialect.Said{Max: 1 << 20}
		var out []byte
		if err := r.Event(raw, func(e *dialect.Event) error {
			out = w.Event(out, e)
			return said.Add(e)
		}); err != nil {
			return
		}
		for _, event := range strings.Split(strings.TrimSuffix(string(w.End(out)), "\n\n"), "\n\n") {
			data, ok := strings.CutPrefix(event, "data: ")
			if !ok || data != "[DONE]" && !json.Valid([]byte(data)) {
				t.Errorf("%q became %q", raw, event)
			}
		}
		w.Reset(dialect.Reply{ID: "1", Model: "m"})
		if whole := w.Whole(nil, &said); !json.Valid(whole) {
			t.Errorf("%q became %s", raw, whole)
		}
	})
}
