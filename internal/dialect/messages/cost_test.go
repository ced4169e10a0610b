//go:build !race

package messages

import (
	"encoding/json"
	"strings"
	"testing"

	"sluice/internal/dialect"
	"sluice/internal/dialect/chat"
	"sluice/internal/jsonscan"
)

// request is of some 2 kB, with a tool and its result.
func request() []byte {
	return []byte(`{"model":"m","max_tokens":1000,"stream":true,"temperature":0.5,"system":"` + strings.Repeat("Be brief. ", 60) + `","messages":[{"role":"user","content":"` +
		strings.Repeat("What is it? ", 40) + `"},{"role":"assistant","content":[{"type":"tool_use","id":"a","name":"f","input":{"x":1}}]},` +
		`{"role":"user","content":[{"type":"tool_result","tool_use_id":"a","content":[{"type":"text","text":"` + strings.Repeat("ok ", 80) + `"}]}]}],"tools":[{"name":"f","description":"does","input_schema":{"type":"object","properties":{"x":{"type":"integer"}}}}]}`)
}

// translate reads and writes a request.
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

func BenchmarkReadRequest(b *testing.B) {
	body, c := request(), new(dialect.Conversation)
	b.ReportAllocs()
	for b.Loop() {
		c.Reset()
		if err := (Dialect{}).ReadRequest(c, body); err != nil {
			b.Fatal(err)
		}
	}
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

// pieces reads and writes one event after another, of text and of arguments by turns.
func pieces(t testing.TB) func() {
	r, w := Dialect{}.NewReader(), Dialect{}.NewWriter()
	w.Reset(dialect.Reply{ID: "1", Model: "m"})
	var dst []byte
	say := func(e *dialect.Event) error { dst = w.Event(dst[:0], e); return nil }
	event := func(line string) []byte { return []byte("event: content_block_delta\ndata: " + line + "\n\n") }
	for _, line := range []string{start, opens(0, `{"type":"text","text":""}`), opens(1, `{"type":"tool_use","id":"a","name":"f","input":{}}`), goes(1, `{"type":"input_json_delta","partial_json":"{\"a\":[\""}`)} {
		if err := r.Event(event(line), say); err != nil {
			t.Fatal(err)
		}
	}
	lines := [][]byte{event(goes(0, `{"type":"text_delta","text":" word"}`)), event(goes(1, `{"type":"input_json_delta","partial_json":"\\n more"}`))}
	n := 0
	return func() {
		dst = dst[:0]
		if err := r.Event(lines[n%2], say); err != nil || len(dst) == 0 {
			t.Fatal(err)
		}
		n++
	}
}

func BenchmarkEvent(b *testing.B) {
	event := pieces(b)
	b.ReportAllocs()
	for b.Loop() {
		event()
	}
}

func TestAllocations(t *testing.T) {
	if n := testing.AllocsPerRun(1000, pieces(t)); n > 0 {
		t.Errorf("%v allocations an event, want 0", n)
	}
	body, c := request(), new(dialect.Conversation)
	var dst []byte
	if n := testing.AllocsPerRun(100, func() { dst = translate(t, c, dst[:0], body) }); n > 10 {
		t.Errorf("%v allocations a request, ceiling 10", n)
	}
}

// FuzzRequest: whatever is asked, what goes on is JSON, asked in this dialect or in another.
func FuzzRequest(f *testing.F) {
	f.Add(request())
	for _, s := range []string{
		`{"messages":[],"system":[{"type":"text","text":"a"}]}`,
		`{"messages":[{"role":"user","content":[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AA"}},{"type":"document","source":{"type":"text","data":"x\ud800\n"}},{"type":"document","source":{"type":"content","content":"x"},"cache_control":{}}]}]}`,
		`{"messages":[{"role":"assistant","content":[{"type":"thinking","thinking":"a","signature":"b"},{"type":"redacted_thinking","data":"c"},{"type":"tool_use","name":"\u0022"},{"type":"text","text":"a \\n\n "}]}],"thinking":{"type":"enabled","budget_tokens":1e400},"max_tokens":2000}`,
		`{"messages":[{"role":"user","content":"a"},{"role":"system","content":"b"}],"model":"claude-opus-4-8","tools":[{"type":"x"},{"name":"f","input_schema":{ }}],"tool_choice":{"type":"any"},"output_config":{"effort":"max","format":{"type":"json_schema","schema":{}}},"temperature":2}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if jsonscan.Validate(body, 100) != nil || !dialect.IsObject(body) {
			return
		}
		for _, way := range [][2]dialect.Dialect{{Dialect{}, Dialect{}}, {Dialect{}, chat.Dialect{}}, {chat.Dialect{}, Dialect{}}} {
			c := dialect.Conversation{Model: dialect.String(jsonscan.Member(body, "model"))}
			if way[0].ReadRequest(&c, body) != nil {
				continue
			}
			out, err := way[1].WriteRequest(nil, &c, dialect.Options{})
			if err == nil && !json.Valid(out.Body) {
				t.Errorf("%s became %s", body, out.Body)
			}
		}
	})
}

// FuzzReply: whatever a service sends, what goes on is a stream whose blocks begin, go on
// and end in order, and a whole reply.
func FuzzReply(f *testing.F) {
	f.Add([]byte(strings.Join([]string{start, opens(0, `{"type":"text","text":"a"}`), goes(0, `{"type":"citations_delta","citation":{"url":"u"}}`), closes(0)}, "\n")))
	f.Add([]byte(strings.Join([]string{opens(9, `{"type":"tool_use","id":"a","name":"f","input":{"a":1}}`), opens(-3, `{"type":"tool_use"}`), goes(-3, `{"type":"input_json_delta","partial_json":" {\"a\":\"\\u00"}`), goes(-3, `{"type":"input_json_delta","partial_json":"7d\"}"}`), closes(9)}, "\n")))
	f.Add([]byte(strings.Join([]string{opens(0, `{"type":"thinking","thinking":"a","signature":"b"}`), opens(0, `{"type":"redacted_thinking","data":"c"}`), `{"type":"message_delta","delta":{"stop_reason":"stop_sequence","stop_sequence":"x"},"usage":{"output_tokens":-4,"input_tokens":999999999999999}}`, `{"type":"error","error":"x"}`}, "\n")))
	f.Add([]byte(`{"type":"message","content":[{"type":"text","text":"\ud83d\ude00"},{"type":"tool_use","input":[1]}],"stop_reason":7,"usage":{}}`))
	f.Fuzz(func(t *testing.T, lines []byte) {
		r, w := Dialect{}.NewReader(), Dialect{}.NewWriter()
		w.Reset(dialect.Reply{ID: "1", Model: "m"})
		said := dialect.Said{Max: 1 << 20}
		var out []byte
		say := func(e *dialect.Event) error {
			out = w.Event(out, e)
			return said.Add(e)
		}
		for line := range strings.Lines(string(lines)) {
			if r.Event([]byte("data: "+line+"\n\n"), say) != nil {
				return
			}
		}
		wellFormed(t, string(w.End(out)))
		w.Reset(dialect.Reply{ID: "1", Model: "m"})
		if whole := w.Whole(nil, &said); !json.Valid(whole) {
			t.Errorf("%q became %s", lines, whole)
		}
		if jsonscan.Validate(lines, 100) == nil {
			r.Reset()
			w.Reset(dialect.Reply{})
			out = nil
			if r.Whole(lines, say) == nil {
				wellFormed(t, string(w.End(out)))
			}
		}
	})
}

// wellFormed checks the order of a stream's events.
func wellFormed(t *testing.T, stream string) {
	t.Helper()
	open, next, ended := map[int]bool{}, 0, 0
	for i, event := range strings.Split(strings.TrimSuffix(stream, "\n\n"), "\n\n") {
		name, data, _ := strings.Cut(event, "\ndata: ")
		var e struct {
			Type  string
			Index int
		}
		if err := json.Unmarshal([]byte(data), &e); err != nil || name != "event: "+e.Type || (i == 0) != (e.Type == "message_start") {
			t.Fatalf("%q in %q: %v", event, stream, err)
		}
		ok := true
		switch e.Type {
		case "content_block_start":
			ok = e.Index == next
			open[next] = true
			next++
		case "content_block_delta":
			ok = open[e.Index]
		case "content_block_stop":
			ok = open[e.Index]
			delete(open, e.Index)
		case "message_delta":
			ok = len(open) == 0
			ended++
		case "message_stop":
			ok = ended == 1
			ended++
		}
		if !ok {
			t.Fatalf("%q in %q", event, stream)
		}
	}
	if ended != 2 {
		t.Fatalf("%q does not end", stream)
	}
}
