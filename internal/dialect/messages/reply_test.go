//go:build !race

package messages

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"sluice/internal/dialect"
	"sluice/internal/llm"
)

// listen reads a stream whose events are lines of data, into a reply and as a list of what was
// said at a time.
func listen(t testing.TB, lines ...string) (said dialect.Said, log []string) {
	t.Helper()
	r := Dialect{}.NewReader()
	for _, line := range lines {
		if err := r.Event([]byte("event: x\ndata: "+line+"\n\n"), func(e *dialect.Event) error {
			log = append(log, describe(e))
			return said.Add(e)
		}); err != nil {
			t.Fatal(err)
		}
	}
	return said, log
}

// describe tells an event in one line.
func describe(e *dialect.Event) string {
	var s []string
	add := func(name string, v any) { s = append(s, fmt.Sprintf("%s=%s", name, v)) }
	if e.ID != nil {
		add("id", e.ID)
	}
	if e.Usage.Known() {
		add("usage", fmt.Sprint(e.Usage))
	}
	if e.Error != nil {
		add("error", fmt.Sprintf("%s %s", e.Error.Type, e.Error.Message))
	}
	for _, c := range e.Choices {
		for name, v := range map[string][]byte{"thinking": c.Thinking, "signature": c.Signature, "text": c.Text, "stopped": c.Stopped} {
			if v != nil {
				add(name, v)
			}
		}
		for _, one := range c.Citations {
			add("cite", fmt.Sprintf("%s %d-%d", one.URL, one.Start, one.End))
		}
		for _, one := range c.ToolCalls {
			add("call", fmt.Sprintf("%d %s %s %s", one.Index, one.ID, one.Name, one.Arguments))
		}
		if c.Finish != dialect.Going {
			add("finish", fmt.Sprint(c.Finish))
		}
	}
	return strings.Join(s, ", ")
}

func opens(index int, v string) string {
	return fmt.Sprintf(`{"type":"content_block_start","index":%d,"content_block":%s}`, index, v)
}

func goes(index int, v string) string {
	return fmt.Sprintf(`{"type":"content_block_delta","index":%d,"delta":%s}`, index, v)
}

func closes(index int) string { return fmt.Sprintf(`{"type":"content_block_stop","index":%d}`, index) }

const start = `{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[],"usage":{"input_tokens":10,"cache_read_input_tokens":100,"cache_creation_input_tokens":1000,"output_tokens":1}}}`

// TestStream: what a service streams, in events.
func TestStream(t *testing.T) {
	said, log := listen(t, start, `{"type":"ping"}`,
		opens(0, `{"type":"thinking","thinking":"","signature":""}`), goes(0, `{"type":"thinking_delta","thinking":"hm"}`), goes(0, `{"type":"signature_delta","signature":"s1"}`), closes(0),
		opens(1, `{"type":"redacted_thinking","data":"xx"}`), closes(1),
		opens(2, `{"type":"server_tool_use","id":"srv","name":"web_search","input":{}}`), goes(2, `{"type":"input_json_delta","partial_json":"{}"}`), closes(2),
		opens(3, `{"type":"text","text":""}`), goes(3, `{"type":"text_delta","text":"It is \ud83d\ude00 "}`), closes(3),
		opens(4, `{"type":"text","text":"","citations":[]}`), goes(4, `{"type":"citations_delta","citation":{"type":"web_search_result_location","url":"u","title":"t","cited_text":"c","encrypted_index":"e"}}`), goes(4, `{"type":"text_delta","text":"grün"}`), closes(4),
		opens(5, `{"type":"tool_use","id":"a","name":"f","input":{}}`), goes(5, `{"type":"input_json_delta","partial_json":""}`), goes(5, `{"type":"input_json_delta","partial_json":"{\"x\":"}`), goes(5, `{"type":"input_json_delta","partial_json":"1}"}`), closes(5),
		opens(6, `{"type":"tool_use","id":"b","name":"g","input":{}}`), closes(6),
		opens(7, `{"type":"tool_use","id":"c","name":"h","input":{"y":"z"}}`), goes(7, `{"type":"input_json_delta","partial_json":"{}"}`), closes(7),
		`{"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"input_tokens":0,"output_tokens":50,"output_tokens_details":{"thinking_tokens":20}}}`,
		`{"type":"message_stop"}`, `[]`, `{"type":"content_block_delta"}`)
	want := []string{
		`id="msg_1", usage={1110 1 100 1000 0}`,
		`thinking=""`, `thinking="hm"`, `signature="s1"`,
		`signature="xx"`,
		`text="It is \ud83d\ude00 "`, `text="grün"`, `cite="u" 8-12`,
		`call=0 "a" "f" `, `call=0   "{\"x\":"`, `call=0   "1}"`,
		`call=1 "b" "g" `, `call=1   "{}"`,
		`call=2 "c" "h" "{\"y\":\"z\"}"`,
		fmt.Sprintf(`usage={1110 50 100 1000 20}, finish=%d`, dialect.ToolsCalled),
	}
	if got, want := strings.Join(log, "\n"), strings.Join(want, "\n"); got != want {
		t.Errorf("events are\n%s\nwant\n%s", got, want)
	}
	if len(said.Choices) != 1 || len(said.Choices[0].Parts) != 6 {
		t.Errorf("%+v", said)
	}
}

// TestFailures: an error is told in an event, and as a whole reply.
func TestFailures(t *testing.T) {
	const body = `{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"r"}`
	_, log := listen(t, start, body)
	if len(log) != 2 || log[1] != `error="overloaded_error" "Overloaded"` {
		t.Errorf("%q", log)
	}
	said := whole(t, body)
	if said.Error == nil || string(said.Error.Type) != `"overloaded_error"` {
		t.Errorf("%+v", said)
	}
}

func whole(t testing.TB, body string) (said dialect.Said) {
	t.Helper()
	if err := (Dialect{}).NewReader().Whole([]byte(body), said.Add); err != nil {
		t.Fatal(err)
	}
	return said
}

// TestFinish: why a reply ended comes and goes by the same name.
func TestFinish(t *testing.T) {
	for reason, want := range map[string]struct {
		finish dialect.Finish
		back   string
	}{
		"end_turn": {dialect.Stop, "end_turn"}, "stop_sequence": {dialect.Stop, "stop_sequence"}, "max_tokens": {dialect.Length, "max_tokens"}, "tool_use": {dialect.ToolsCalled, "tool_use"},
		"refusal": {dialect.ContentFilter, "refusal"}, "pause_turn": {dialect.Paused, "pause_turn"}, "model_context_window_exceeded": {dialect.Length, "max_tokens"}, "new": {dialect.Stop, "end_turn"},
	} {
		sequence := "null"
		if reason == "stop_sequence" {
			sequence = `"END"`
		}
		said := whole(t, `{"type":"message","id":"i","model":"m","content":[{"type":"text","text":"a"}],"stop_reason":"`+reason+`","stop_sequence":`+sequence+`,"usage":{"input_tokens":1,"output_tokens":2}}`)
		if got := said.Choices[0].Finish; got != want.finish {
			t.Errorf("%s is %d, want %d", reason, got, want.finish)
		}
		w := Dialect{}.NewWriter()
		w.Reset(dialect.Reply{})
		same(t, string(w.Whole(nil, &said)), `{"id":"i","type":"message","role":"assistant","model":"m","content":[{"type":"text","text":"a"}],"stop_reason":"`+want.back+`","stop_sequence":`+sequence+
			`,"usage":{"input_tokens":1,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":2}}`)
	}
}

// speak writes events as a stream, whose data it lists.
func speak(t testing.TB, events ...dialect.Event) (stream string, data []string) {
	t.Helper()
	w := Dialect{}.NewWriter()
	w.Reset(dialect.Reply{ID: "r1", Model: "asked"})
	var out []byte
	for i := range events {
		out = w.Event(out, &events[i])
	}
	out = w.End(out)
	for _, event := range strings.Split(strings.TrimSuffix(string(out), "\n\n"), "\n\n") {
		name, v, _ := strings.Cut(event, "\ndata: ")
		var typed struct{ Type string }
		if err := json.Unmarshal([]byte(v), &typed); err != nil || name != "event: "+typed.Type {
			t.Fatalf("%q: %v", event, err)
		}
		data = append(data, v)
	}
	return string(out), data
}

func says(c dialect.Choice) dialect.Event { return dialect.Event{Choices: []dialect.Choice{c}} }

func b(s string) []byte { return []byte(s) }

// TestWriteStream: the events of a stream, in the order that clients rely on.
func TestWriteStream(t *testing.T) {
	_, data := speak(t,
		dialect.Event{ID: b(`"chatcmpl-1"`), Choices: []dialect.Choice{{Text: b(`""`)}}},
		says(dialect.Choice{Thinking: b(`"hm"`)}), says(dialect.Choice{Signature: b(`"s"`)}), says(dialect.Choice{Signature: b(`"xx"`)}), says(dialect.Choice{Thinking: b(`""`)}),
		says(dialect.Choice{Text: b(`"It is"`)}), says(dialect.Choice{Index: 1, Text: b(`"another"`)}),
		says(dialect.Choice{Citations: []dialect.Citation{{URL: b(`"u"`), Title: b(`"t"`)}, {Title: b(`"file"`)}}}),
		says(dialect.Choice{ToolCalls: []dialect.ToolCall{{Index: 0, ID: b(`"a"`), Name: b(`"f"`)}}}),
		says(dialect.Choice{ToolCalls: []dialect.ToolCall{{Index: 0, Arguments: b(`"{\"x\":\"}\""`)}}}),
		says(dialect.Choice{ToolCalls: []dialect.ToolCall{{Index: 0, Arguments: b(`"}"`)}}}),
		says(dialect.Choice{ToolCalls: []dialect.ToolCall{{Index: 1, Name: b(`"g"`), Arguments: b(`"{"`)}, {Index: 2, ID: b(`"c"`), Name: b(`"h"`), Arguments: b(`"{\"y\":"`)}}}),
		says(dialect.Choice{ToolCalls: []dialect.ToolCall{{Index: 1, Arguments: b(`"}"`)}, {Index: 2, Arguments: b(`"1}"`)}}, Finish: dialect.Stop}),
		dialect.Event{Usage: dialect.Usage{Prompt: 30, Completion: 7, Cached: 20, CacheWritten: 4, Reasoning: 3}},
	)
	want := []string{
		`{"type":"message_start","message":{"id":"chatcmpl-1","type":"message","role":"assistant","model":"asked","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":0,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":0}}}`,
		opens(0, `{"type":"thinking","thinking":"","signature":""}`), goes(0, `{"type":"thinking_delta","thinking":"hm"}`), goes(0, `{"type":"signature_delta","signature":"s"}`), closes(0),
		opens(1, `{"type":"redacted_thinking","data":"xx"}`), closes(1),
		opens(2, `{"type":"thinking","thinking":"","signature":""}`), closes(2),
		opens(3, `{"type":"text","text":""}`), goes(3, `{"type":"text_delta","text":"It is"}`),
		goes(3, `{"type":"citations_delta","citation":{"type":"web_search_result_location","url":"u","title":"t","cited_text":"","encrypted_index":""}}`), closes(3),
		opens(4, `{"type":"tool_use","id":"a","name":"f","input":{}}`), goes(4, `{"type":"input_json_delta","partial_json":"{\"x\":\"}\""}`), goes(4, `{"type":"input_json_delta","partial_json":"}"}`), closes(4),
		opens(5, `{"type":"tool_use","id":"toolu_r1_2","name":"g","input":{}}`), goes(5, `{"type":"input_json_delta","partial_json":"{"}`),
		opens(6, `{"type":"tool_use","id":"c","name":"h","input":{}}`), goes(6, `{"type":"input_json_delta","partial_json":"{\"y\":"}`),
		goes(5, `{"type":"input_json_delta","partial_json":"}"}`), goes(6, `{"type":"input_json_delta","partial_json":"1}"}`), closes(6), closes(5),
		`{"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"input_tokens":6,"cache_creation_input_tokens":4,"cache_read_input_tokens":20,"output_tokens":7,"output_tokens_details":{"thinking_tokens":3}}}`,
		`{"type":"message_stop"}`,
	}
	if got, want := strings.Join(data, "\n"), strings.Join(want, "\n"); got != want {
		t.Errorf("events are\n%s\nwant\n%s", got, want)
	}
}

// TestWriteEnds: streams that say little end as whole ones do.
func TestWriteEnds(t *testing.T) {
	for name, c := range map[string]struct {
		events []dialect.Event
		reason string
	}{
		"nothing":       {nil, `"stop_reason":"end_turn","stop_sequence":null`},
		"a refusal":     {[]dialect.Event{says(dialect.Choice{Refusal: b(`"No."`), Finish: dialect.Stop})}, `"stop_reason":"refusal"`},
		"a sequence":    {[]dialect.Event{says(dialect.Choice{Text: b(`"a"`), Finish: dialect.Stop, Stopped: b(`"END"`)})}, `"stop_reason":"stop_sequence","stop_sequence":"END"`},
		"a limit":       {[]dialect.Event{says(dialect.Choice{ToolCalls: []dialect.ToolCall{{Name: b(`"f"`), Arguments: b(`"{"`)}}, Finish: dialect.Length})}, `"stop_reason":"max_tokens"`},
		"an error told": {[]dialect.Event{{Error: &dialect.Failure{}}}, `"stop_reason":"end_turn"`},
	} {
		stream, data := speak(t, c.events...)
		if n := len(data); !strings.Contains(data[n-2], c.reason) || data[n-1] != `{"type":"message_stop"}` || strings.Count(stream, "message_start\"") != 1 ||
			strings.Count(stream, "event: content_block_start") != strings.Count(stream, "event: content_block_stop") {
			t.Errorf("%s: %s", name, stream)
		}
	}
}

// TestWholeReplies are there again when they were read and written.
func TestWholeReplies(t *testing.T) {
	const reply = `{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[{"type":"thinking","thinking":"hm","signature":"s"},{"type":"thinking","thinking":"","signature":"t"},{"type":"redacted_thinking","data":"xx"},
		{"type":"text","text":"It is so.","citations":[{"type":"web_search_result_location","url":"u","title":"t","cited_text":"c","encrypted_index":""}]},
		{"type":"tool_use","id":"a","name":"f","input":{"x":"\"\\\n"}},{"type":"tool_use","id":"b","name":"g","input":{}}],
		"stop_reason":"tool_use","stop_sequence":null,"usage":{"input_tokens":1,"cache_creation_input_tokens":2,"cache_read_input_tokens":3,"output_tokens":4,"output_tokens_details":{"thinking_tokens":2}}}`
	said := whole(t, reply)
	w := Dialect{}.NewWriter()
	w.Reset(dialect.Reply{ID: "x", Model: "y"})
	same(t, string(w.Whole(nil, &said)), reply)
	if c := said.Choices[0].Parts[3].Citations[0]; c.Start != 0 || c.End != 9 {
		t.Errorf("%+v", c)
	}
	same(t, string(w.Whole(nil, &dialect.Said{})), `{"id":"msg_x","type":"message","role":"assistant","model":"y","content":[],"stop_reason":"end_turn","stop_sequence":null,
		"usage":{"input_tokens":0,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":0}}`)
}

// TestErrors: the type of an error is that of its status.
func TestErrors(t *testing.T) {
	for status, want := range map[int]string{
		400: "invalid_request_error", 401: "authentication_error", 402: "billing_error", 403: "permission_error", 404: "not_found_error", 409: "invalid_request_error", 413: "request_too_large",
		429: "rate_limit_error", 500: "api_error", 502: "api_error", 503: "overloaded_error", 504: "timeout_error", 529: "overloaded_error",
	} {
		e := llm.Errorf(status, "c", "a \"message\"")
		body := `{"type":"error","error":{"type":"` + want + `","message":"a \"message\"","details":{"error_code":"c"}}}`
		if got := string(Dialect{}.AppendError(nil, e)); got != body {
			t.Errorf("%d: %s", status, got)
		}
		if got := string(Dialect{}.NewWriter().Fail(nil, e)); got != "event: error\ndata: "+body+"\n\n" {
			t.Errorf("%d: %q", status, got)
		}
	}
}

// TestErrorWithoutCode has no details.
func TestErrorWithoutCode(t *testing.T) {
	same(t, string(Dialect{}.AppendError(nil, &llm.Error{Status: 400, Message: "a"})), `{"type":"error","error":{"type":"invalid_request_error","message":"a"}}`)
}

// TestReaderIsBounded: calls without end are an error, blocks that are never closed are not
// held, and citations are told before there are too many.
func TestReaderIsBounded(t *testing.T) {
	r := Dialect{}.NewReader().(*reader)
	var last string
	say := func(e *dialect.Event) error { last = describe(e); return nil }
	for i := range 2 * dialect.MaxCalls {
		_ = r.Event([]byte("data: "+opens(i*1_000_000, `{"type":"tool_use","id":"a","name":"f"}`)+"\n\n"), say)
		_ = r.Event([]byte("data: "+goes(-i, `{"type":"input_json_delta","partial_json":"x"}`)+"\n\n"), say)
		_ = r.Event([]byte("data: "+opens(i, `{"type":"text","text":""}`)+"\n\n"), say)
	}
	if len(r.calls) != dialect.MaxCalls || !strings.HasPrefix(last, "error=") {
		t.Errorf("%d calls are held, and the last event was %s", len(r.calls), last)
	}
	r.Reset()
	told := 0
	for range 10 * maxHeld {
		_ = r.Event([]byte("data: "+goes(0, `{"type":"citations_delta","citation":{"url":"`+strings.Repeat("u", 1000)+`"}}`)+"\n\n"), func(e *dialect.Event) error {
			told += len(e.Choices[0].Citations)
			return nil
		})
		if len(r.held) > maxHeld || len(r.text) > maxHeldBytes+2000 {
			t.Fatalf("%d citations are held, in %d bytes", len(r.held), len(r.text))
		}
	}
	if told < 9*maxHeld {
		t.Errorf("%d citations were told", told)
	}
}
