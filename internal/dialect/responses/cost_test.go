//go:build !race

package responses

import (
	"strings"
	"testing"

	"sluice/internal/dialect"
)

// aRequest is of some 2 kB, with a tool and its result.
func aRequest() []byte {
	return []byte(`{"model":"m","stream":true,"temperature":0.5,"instructions":"` + strings.Repeat("Be brief. ", 60) + `","input":[{"role":"user","content":"` +
		strings.Repeat("What is it? ", 40) + `"},{"type":"function_call","call_id":"a","name":"f","arguments":"{\"x\":1}"},` +
		`{"type":"function_call_output","call_id":"a","output":"` + strings.Repeat("ok ", 80) + `"}],"tools":[{"type":"function","name":"f","description":"does","parameters":{"type":"object","properties":{"x":{"type":"integer"}}}}]}`)
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
	body, c := aRequest(), new(dialect.Conversation)
	var dst []byte
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		dst = translate(b, c, dst[:0], body)
	}
}

// pieces are events of a kind each, as they go on.
var pieces = [...]string{
	`{"type":"response.output_text.delta","sequence_number":7,"item_id":"msg_1","output_index":0,"content_index":0,"delta":" word","logprobs":[],"obfuscation":"abcdefgh"}`,
	`{"type":"response.function_call_arguments.delta","sequence_number":7,"item_id":"fc_1","output_index":1,"delta":"{\"a\":"}`,
	`{"type":"response.reasoning_summary_text.delta","sequence_number":7,"item_id":"rs_1","output_index":2,"summary_index":0,"delta":" hm"}`,
}

// repeating reads and writes one event after another. What is held of the reply is let go of
// now and then, as between replies.
func repeating(t testing.TB, data string) func() {
	r, w := new(Reader), new(Writer)
	raw := []byte("event: x\ndata: " + data + "\n\n")
	var dst []byte
	say := func(e *dialect.Event) error { dst = w.Event(dst[:0], e); return nil }
	call := []byte("data: {\"type\":\"response.output_item.added\",\"output_index\":1,\"item\":{\"type\":\"function_call\",\"call_id\":\"c\",\"name\":\"f\"}}\n\n")
	n := 0
	return func() {
		if n%1024 == 0 {
			r.Reset()
			w.Reset(dialect.Reply{ID: "1", Model: "m"})
			if err := r.Event(call, say); err != nil {
				t.Fatal(err)
			}
		}
		n++
		if err := r.Event(raw, say); err != nil || len(dst) == 0 {
			t.Fatal(err)
		}
	}
}

func BenchmarkEvent(b *testing.B) {
	event := repeating(b, pieces[0])
	b.ReportAllocs()
	for b.Loop() {
		event()
	}
}

func BenchmarkReset(b *testing.B) {
	w, r := new(Writer), dialect.Reply{ID: "1", Model: "m", Request: aRequest()}
	b.ReportAllocs()
	for b.Loop() {
		w.Reset(r)
	}
}

func TestAllocations(t *testing.T) {
	for _, data := range pieces {
		event := repeating(t, data)
		for range 2048 {
			event()
		}
		if n := testing.AllocsPerRun(1000, event); n > 0 {
			t.Errorf("%v allocations an event, want 0: %s", n, data)
		}
	}
	body, c := aRequest(), new(dialect.Conversation)
	var dst []byte
	if n := testing.AllocsPerRun(100, func() { dst = translate(t, c, dst[:0], body) }); n > 8 {
		t.Errorf("%v allocations a request, ceiling 8", n)
	}
	w, r := new(Writer), dialect.Reply{ID: "1", Model: "m", Request: body}
	if n := testing.AllocsPerRun(100, func() { w.Reset(r) }); n > 0 {
		t.Errorf("%v allocations a reset, want 0", n)
	}
}

// TestBuffersShrink: what one large reply took is not kept for the next ones.
func TestBuffersShrink(t *testing.T) {
	w := new(Writer)
	w.Reset(dialect.Reply{ID: "1"})
	large := []byte(`"` + strings.Repeat("x", 4*keptRoom) + `"`)
	for _, e := range []dialect.Event{
		one(dialect.Choice{Thinking: large, Signature: large}),
		one(dialect.Choice{Text: large}),
		calls(dialect.ToolCall{Name: b(`"f"`), Arguments: large}),
	} {
		w.Event(nil, &e)
	}
	w.End(nil)
	w.Reset(dialect.Reply{ID: "2"})
	o := &w.open
	kept := cap(w.output) + cap(w.text) + cap(o.text) + cap(o.parts) + cap(o.signature)
	for _, c := range w.calls[:cap(w.calls)] {
		kept += cap(c.arguments)
	}
	if kept > 6*keptRoom {
		t.Errorf("%d bytes are kept", kept)
	}
}
