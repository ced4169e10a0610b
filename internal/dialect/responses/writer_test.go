//go:build !race

package responses

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"sluice/internal/dialect"
	"sluice/internal/llm"
	"sluice/internal/sse"
	"sluice/internal/testkit"
)

// asking has tools of all kinds, and line ends where JSON may have them.
const asking = `{
 "model": "m", "instructions": "be brief", "input": "x", "temperature": 0.2, "store": true, "metadata": {"a": "b"},
 "text": {"verbosity": "low"},

 "tools": [
  {"type": "function", "name": "f", "parameters": {"type": "object",

   "properties": {}}},
  {"type": "function", "name": "g", "parameters": null, "strict": true}, {"type": "function", "name": "h"},
  {"type": "custom", "name": "apply\u005fpatch"},
  {"type": "local_shell"}],
 "tool_choice": {"type": "function", "name": "f"}, "user": "u", "max_output_tokens": 7
}`

// play writes events as a stream and, gathered, as a whole reply.
func play(t *testing.T, request string, max int, events ...dialect.Event) (stream, whole []byte) {
	t.Helper()
	w := new(Writer)
	r := reply([]byte(request))
	r.Max = max
	w.Reset(r)
	var said dialect.Said
	for i := range events {
		stream = w.Event(stream, &events[i])
		if err := said.Add(&events[i]); err != nil {
			t.Fatal(err)
		}
	}
	stream = w.End(stream)
	w.Reset(r)
	return stream, w.Whole(nil, &said)
}

func one(c dialect.Choice) dialect.Event { return dialect.Event{Choices: []dialect.Choice{c}} }

func calls(list ...dialect.ToolCall) dialect.Event { return one(dialect.Choice{ToolCalls: list}) }

// namesOf are the names of a stream's events, without what all have.
func namesOf(t *testing.T, stream []byte) (list []string) {
	t.Helper()
	for _, raw := range split(t, stream) {
		if name := sse.Name(raw); name != nil {
			list = append(list, strings.TrimPrefix(string(name), "response."))
		}
	}
	return list
}

// output is the last response of a stream, which has to be that which came whole.
func output(t *testing.T, stream, whole []byte) map[string]any {
	t.Helper()
	var list [][]byte
	for _, raw := range split(t, stream) {
		if data, ok := sse.Data(raw, nil); ok {
			list = append(list, data)
		}
	}
	var e struct{ Response map[string]any }
	if err := json.Unmarshal(list[len(list)-1], &e); err != nil {
		t.Fatal(err)
	}
	var w map[string]any
	if err := json.Unmarshal(whole, &w); err != nil {
		t.Fatalf("%v in %s", err, whole)
	}
	if got, want := fmt.Sprint(w), fmt.Sprint(e.Response); got != want {
		t.Errorf("whole it is\n%s, as a stream\n%s", got, want)
	}
	return e.Response
}

func checked(t *testing.T, stream []byte) {
	t.Helper()
	testkit.Each(t, func(t *testing.T, in testkit.Inputs) { validator{described: true}.stream(t, in, t.Name(), stream) })
}

// TestOrder: all events that OpenAI sends, in its order.
func TestOrder(t *testing.T) {
	stream, whole := play(t, asking, 0,
		dialect.Event{ID: b(`"chatcmpl-1"`), Model: b(`"real"`)},
		one(dialect.Choice{Thinking: b(`"hm"`)}),
		one(dialect.Choice{Thinking: b(`"m"`), Signature: b(`"sig"`)}),
		one(dialect.Choice{Signature: b(`"sealed"`)}),
		one(dialect.Choice{Text: b(`"Hel"`), Logprobs: b(`{"content":[{"token":"Hel","logprob":-0.5,"bytes":[72,101,108],"top_logprobs":[{"token":"Hi","logprob":-1}]}]}`)}),
		one(dialect.Choice{Text: b(`"lo"`), Citations: []dialect.Citation{{URL: b(`"https://h"`), Start: 1, End: 3}, {Title: b(`"a file"`)}}}),
		one(dialect.Choice{Refusal: b(`"no"`)}),
		dialect.Event{Choices: []dialect.Choice{{Index: 1, Text: b(`"another choice"`)}}},
		calls(dialect.ToolCall{Index: 0, ID: b(`"c1"`), Name: b(`"f"`)}),
		calls(dialect.ToolCall{Index: 0, Arguments: b(`"{\"a\":"`)}),
		calls(dialect.ToolCall{Index: 0, Arguments: b(`"1}"`)}),
		calls(dialect.ToolCall{Index: 1, Name: b(`"g"`), Arguments: b(`"{}"`)}),
		dialect.Event{Choices: []dialect.Choice{{Finish: dialect.ToolsCalled}}, Usage: dialect.Usage{Prompt: 9, Completion: 5, Cached: 3, CacheWritten: 2, Reasoning: 1}},
	)
	want := strings.Fields(`created in_progress
		output_item.added reasoning_summary_part.added reasoning_summary_text.delta reasoning_summary_text.delta reasoning_summary_text.done reasoning_summary_part.done output_item.done
		output_item.added output_item.done
		output_item.added content_part.added output_text.delta output_text.delta output_text.annotation.added output_text.done content_part.done
			content_part.added refusal.delta refusal.done content_part.done output_item.done
		output_item.added function_call_arguments.delta function_call_arguments.delta function_call_arguments.done output_item.done
		output_item.added function_call_arguments.delta function_call_arguments.done output_item.done
		completed`)
	if got := namesOf(t, stream); !slices.Equal(got, want) {
		t.Errorf("events\n%q, want\n%q", got, want)
	}
	checked(t, stream)
	r := output(t, stream, whole)
	for name, want := range map[string]string{
		"id": "resp_chatcmpl-1", "model": "real", "object": "response", "status": "completed", "store": "false", "temperature": "0.2", "top_p": "1", "instructions": "be brief",
		"metadata": "map[a:b]", "text": "map[format:map[type:text] verbosity:low]", "user": "u", "max_output_tokens": "7", "created_at": "1.7672256e+09", "parallel_tool_calls": "true",
		"tool_choice": "map[name:f type:function]", "previous_response_id": "<nil>",
		"usage": "map[input_tokens:9 input_tokens_details:map[cache_write_tokens:2 cached_tokens:3] output_tokens:5 output_tokens_details:map[reasoning_tokens:1] total_tokens:14]",
		"tools": "[map[name:f parameters:map[properties:map[] type:object] strict:false type:function] map[name:g parameters:<nil> strict:true type:function] map[name:h parameters:<nil> strict:false type:function] map[name:apply_patch type:custom] map[type:local_shell]]",
	} {
		if got := fmt.Sprint(r[name]); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	items := fmt.Sprint(r["output"])
	for _, want := range []string{
		"map[encrypted_content:sig id:rs_chatcmpl-1_0 summary:[map[text:hmm type:summary_text]] type:reasoning]",
		"map[encrypted_content:sealed id:rs_chatcmpl-1_1 summary:[] type:reasoning]",
		"logprobs:[map[bytes:[72 101 108] logprob:-0.5 token:Hel top_logprobs:[map[bytes:[72 105] logprob:-1 token:Hi]]]] text:Hello",
		"annotations:[map[end_index:3 start_index:1 title: type:url_citation url:https://h]]",
		"map[refusal:no type:refusal]", "map[arguments:{\"a\":1} call_id:c1 id:fc_chatcmpl-1_3 name:f status:completed type:function_call]", "call_id:call_chatcmpl-1_4",
	} {
		if !strings.Contains(items, want) {
			t.Errorf("%s is not in %s", want, items)
		}
	}
	for size := 1; size < 200; size += 7 { // cut anywhere
		var splitter sse.Splitter
		var again dialect.Said
		r := new(Reader)
		for rest := stream; len(rest) > 0; {
			n := min(size, len(rest))
			events, err := splitter.Feed(rest[:n], nil)
			if err != nil {
				t.Fatal(err)
			}
			for i := range events {
				if err := r.Event(events[i].Raw, again.Add); err != nil {
					t.Fatal(err)
				}
			}
			rest = rest[n:]
		}
		if got, want := summarizeSaid(&again).normal(), last(t, stream).summary().normal(); got != want {
			t.Fatalf("cut every %d bytes it says\n%s, want\n%s", size, got, want)
		}
	}
	if strings.Contains(string(stream), "another choice") {
		t.Error("another choice was told of")
	}
}

// TestCustomCalls: calls of tools that are no functions become what the client knows.
func TestCustomCalls(t *testing.T) {
	stream, whole := play(t, asking, 0,
		calls(dialect.ToolCall{Index: 0, ID: b(`"c1"`), Name: b(`"apply_patch"`), Arguments: b(`"{\"input\":\"*** Be"`)}),
		calls(dialect.ToolCall{Index: 0, Arguments: b(`"gin\\n\"}"`)}),
		calls(dialect.ToolCall{Index: 1, ID: b(`"c2"`), Name: b(`"local_shell"`), Arguments: b(`"{\"type\":\"x\",\"command\":[\"ls\",\n\"-l\"],\"timeout_ms\":5}"`)}),
		calls(dialect.ToolCall{Index: 2, ID: b(`"c3"`), Name: b(`"apply_patch"`), Arguments: b(`"no JSON\n"`)}),
		calls(dialect.ToolCall{Index: 3, ID: b(`"c4"`), Name: b(`"apply_patch"`)}),
		calls(dialect.ToolCall{Index: 4, ID: b(`"c5"`), Name: b(`"local_shell"`), Arguments: b(`"{\"command\":\"ls -l\",\"env\":{\"A\":\"b\"}}"`)}),
		one(dialect.Choice{Finish: dialect.ToolsCalled}),
	)
	checked(t, stream)
	got := fmt.Sprint(output(t, stream, whole)["output"])
	want := "[map[call_id:c1 id:ctc_1_0 input:*** Begin\n name:apply_patch type:custom_tool_call]" +
		" map[action:map[command:[ls -l] env:map[] timeout_ms:5 type:exec] call_id:c2 id:lsh_1_1 status:completed type:local_shell_call]" +
		" map[call_id:c3 id:ctc_1_2 input:no JSON\n name:apply_patch type:custom_tool_call] map[call_id:c4 id:ctc_1_3 input: name:apply_patch type:custom_tool_call]" +
		" map[action:map[command:[bash -lc ls -l] env:map[A:b] type:exec] call_id:c5 id:lsh_1_4 status:completed type:local_shell_call]]"
	if got != want {
		t.Errorf("calls are\n%s, want\n%s", got, want)
	}
	again := readStream(t, stream, nil)
	if p := again.said.Choices[0].Parts[0]; dialect.String(p.Arguments) != `{"input":"*** Begin\n"}` {
		t.Errorf("read again %s", p.Arguments)
	}
}

// TestInterleavedCalls: pieces of calls may come in any order, and after something else.
func TestInterleavedCalls(t *testing.T) {
	stream, whole := play(t, "", 0,
		calls(dialect.ToolCall{Index: 0, ID: b(`"a"`), Name: b(`"f"`)}, dialect.ToolCall{Index: 7, ID: b(`"b"`), Name: b(`"g"`), Arguments: b(`"{\"x\""`)}),
		calls(dialect.ToolCall{Index: 0, Arguments: b(`"{\"y\":"`)}),
		one(dialect.Choice{Text: b(`"meanwhile"`)}),
		calls(dialect.ToolCall{Index: 7, Arguments: b(`":1}"`)}, dialect.ToolCall{Index: 0, Arguments: b(`"2}"`)}),
		one(dialect.Choice{Text: b(`"."`)}),
	)
	checked(t, stream)
	items := output(t, stream, whole)["output"].([]any)
	var got []string
	for _, v := range items {
		item := v.(map[string]any)
		got = append(got, fmt.Sprint(item["type"], item["arguments"]))
	}
	if want := []string{`function_call{"y":2}`, `function_call{"x":1}`, `message<nil>`}; !slices.Equal(got, want) {
		t.Errorf("items are %v, want %v", got, want)
	}
}

// TestNoArguments: the arguments of a call that has none are an empty object.
func TestNoArguments(t *testing.T) {
	for name, v := range map[string][]byte{"none": nil, "an empty text": b(`""`)} {
		stream, whole := play(t, "", 0, calls(dialect.ToolCall{ID: b(`"a"`), Name: b(`"f"`), Arguments: v}), one(dialect.Choice{Finish: dialect.ToolsCalled}))
		checked(t, stream)
		item := output(t, stream, whole)["output"].([]any)[0].(map[string]any)
		if deltas := strings.Count(string(stream), `"delta":"{}"`); item["arguments"] != "{}" || deltas != 1 {
			t.Errorf("%s: %v, %d deltas", name, item["arguments"], deltas)
		}
	}
}

// TestIncomplete: a reply that was cut short says why, and what of it is not whole.
func TestIncomplete(t *testing.T) {
	for why, want := range map[dialect.Finish]string{
		dialect.Length:        "incomplete map[reason:max_output_tokens] completed incomplete",
		dialect.ContentFilter: "incomplete map[reason:content_filter] completed incomplete",
		dialect.Stop:          "completed <nil> completed completed",
		dialect.Paused:        "completed <nil> completed completed",
		dialect.Going:         "completed <nil> completed completed",
	} {
		stream, whole := play(t, "", 0, one(dialect.Choice{Text: b(`"Hel"`)}), calls(dialect.ToolCall{ID: b(`"c"`), Name: b(`"f"`), Arguments: b(`"{\"a"`)}), one(dialect.Choice{Finish: why}))
		checked(t, stream)
		r := output(t, stream, whole)
		items := r["output"].([]any)
		got := fmt.Sprint(r["status"], " ", r["incomplete_details"], " ", items[0].(map[string]any)["status"], " ", items[1].(map[string]any)["status"])
		if got != want {
			t.Errorf("%d: %s, want %s", why, got, want)
		}
	}
	stream, whole := play(t, "", 0)
	checked(t, stream)
	if r := output(t, stream, whole); r["status"] != "completed" || r["id"] != "resp_1" || r["model"] != "m" || r["usage"] != nil {
		t.Errorf("of nothing: %s", whole)
	}
}

// TestFail: a stream fails with what is whole of it, or before it began.
func TestFail(t *testing.T) {
	w := new(Writer)
	w.Reset(reply(nil))
	got := string(w.Fail(nil, &llm.Error{Status: 502, Code: "upstream_error", Message: "It \"broke\"."}))
	if want := "event: error\ndata: {\"type\":\"error\",\"sequence_number\":0,\"code\":\"upstream_error\",\"message\":\"It \\\"broke\\\".\",\"param\":null}\n\n"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if more := w.End(w.Event(w.Fail(nil, &llm.Error{}), &dialect.Event{})); len(more) > 0 {
		t.Errorf("after the end: %s", more)
	}
	for want, e := range map[string]llm.Error{
		"map[code:server_error message:The model's service failed.]": {Status: 502},
		"map[code:rate_limit_exceeded message:Slow down.]":           {Status: 429, Message: "Slow down."},
	} {
		w.Reset(reply(nil))
		events := []dialect.Event{one(dialect.Choice{Text: b(`"Hello"`)}), one(dialect.Choice{Thinking: b(`"hm"`)})}
		var stream []byte
		for i := range events {
			stream = w.Event(stream, &events[i])
		}
		stream = w.End(w.Fail(stream, &e))
		checked(t, stream)
		r := last(t, stream)
		var raw map[string]any
		data, _ := sse.Data(split(t, stream)[len(split(t, stream))-2], nil)
		if err := json.Unmarshal(data, &raw); err != nil {
			t.Fatal(err)
		}
		if failure := raw["response"].(map[string]any)["error"]; fmt.Sprint(failure) != want || r.Status != "failed" || len(r.Output) != 1 || w.Full() {
			t.Errorf("failed with %v %+v, want %s", failure, r, want)
		}
	}
	said := dialect.Said{Error: &dialect.Failure{Message: b(`"bad"`), Code: b(`"server_error"`)}}
	w.Reset(reply(nil))
	if whole := string(w.Whole(nil, &said)); !strings.Contains(whole, `"status":"failed","error":{"code":"server_error","message":"bad"}`) {
		t.Error(whole)
	}
	w.Reset(reply(nil))
	if got := string(w.Event(nil, &dialect.Event{Error: said.Error})); !strings.Contains(got, `"type":"error"`) {
		t.Error(got)
	}
}

// TestFull: a reply that is larger than is held fails, however it grows.
func TestFull(t *testing.T) {
	for name, e := range map[string]func(i int) dialect.Event{
		"text":      func(int) dialect.Event { return one(dialect.Choice{Text: b(`"0123456789"`)}) },
		"thoughts":  func(int) dialect.Event { return one(dialect.Choice{Signature: b(`"x"`)}) },
		"parts":     func(i int) dialect.Event { return one(dialect.Choice{Text: b(`"x"`), Refusal: b(`"y"`)}) },
		"calls":     func(i int) dialect.Event { return calls(dialect.ToolCall{Index: i, Name: b(`"f"`)}) },
		"arguments": func(int) dialect.Event { return calls(dialect.ToolCall{Name: b(`"f"`), Arguments: b(`"{ "`)}) },
		"citations": func(int) dialect.Event {
			return one(dialect.Choice{Citations: []dialect.Citation{{URL: b(`"https://h"`)}}})
		},
	} {
		w := new(Writer)
		r := reply(nil)
		r.Max = 10_000
		w.Reset(r)
		var stream []byte
		for i := 0; i < 10_000 && !w.Full(); i++ {
			one := e(i)
			stream = w.Event(stream, &one)
		}
		if !w.Full() || len(w.End(nil)) > 0 {
			t.Errorf("%s: is held without end", name)
		}
		if r := last(t, stream); r == nil || r.Status != "failed" || r.Error.Code != "upstream_reply_too_large" {
			t.Errorf("%s: ended in %+v", name, r)
		}
	}
	w := new(Writer)
	w.Reset(reply(nil))
	for i := 0; i <= maxItems && !w.Full(); i++ {
		one := calls(dialect.ToolCall{Index: i, Name: b(`"f"`), Arguments: b(`"{"`)})
		w.Event(nil, &one)
	}
	if !w.Full() {
		t.Error("there is no end to calls")
	}
}

// TestIDs: ids of services that are strange, or long, are none of the reply's.
func TestIDs(t *testing.T) {
	for id, want := range map[string]string{
		`"resp_abc"`:                           "resp_abc rs_abc_0",
		`"gen-1.2"`:                            "resp_gen-1.2 rs_gen-1.2_0",
		`"\n\u0000日本"`:                         "resp_1 rs_1_0",
		`""`:                                   "resp_1 rs_1_0",
		`"` + strings.Repeat("x", 99999) + `"`: "resp_" + strings.Repeat("x", maxBase) + " rs_" + strings.Repeat("x", maxBase) + "_0",
	} {
		stream, _ := play(t, "", 0, dialect.Event{ID: b(id), Choices: []dialect.Choice{{Thinking: b(`"x"`)}}})
		for _, one := range strings.Fields(want) {
			if !strings.Contains(string(stream), `"id":"`+one+`"`) {
				t.Errorf("%.40s: no %s", id, one)
			}
		}
		valid(t, bytes.TrimPrefix(bytes.SplitN(stream, []byte("\n"), 3)[1], []byte("data: ")))
	}
}

// TestReadErrors: what tells of a failure, in whichever shape.
func TestReadErrors(t *testing.T) {
	for raw, want := range map[string]string{
		`{"type":"error","code":"server_error","message":"bad","param":null}`: "server_error: bad",
		`{"type":"error","error":{"type":"t","code":"c","message":"m"}}`:      "c: m",
		`{"error":{"message":"m"}}`:                                           ": m",
		`{"error":"m"}`:                                                       ": m",
		`{"type":"response.failed","response":{"id":"r","status":"failed","error":{"code":"c","message":"m"}}}`:                        "c: m",
		`{"type":"response.failed","response":{"status":"failed","error":null}}`:                                                       ": The response did not complete: its status is failed.",
		`{"type":"response.completed","response":{"status":"in_progress"}}`:                                                            ": The response did not complete: its status is in_progress.",
		`{"type":"response.incomplete","response":{"status":"incomplete","error":{"code":"c","message":"m"},"incomplete_details":{}}}`: "c: m",
	} {
		c := readStream(t, []byte("data: "+raw+"\n\n"), nil)
		if got := summarizeSaid(&c.said).Failure; got != want {
			t.Errorf("%s tells of %q, want %q", raw, got, want)
		}
	}
	var said dialect.Said
	if err := (Dialect{}).NewReader().Whole([]byte(`{"id":"r","status":"failed","error":{"code":"c","message":"m"},"output":[]}`), func(e *dialect.Event) error { return said.Add(e) }); err != nil || summarizeSaid(&said).Failure != "c: m" {
		t.Errorf("%+v %v", said, err)
	}
}

// TestSparseStreams: services leave events out, and what they told of then comes with others.
func TestSparseStreams(t *testing.T) {
	const end = `{"type":"response.completed","response":{"id":"r","status":"completed","output":[{"type":"message","content":[{"type":"output_text","text":"again"}]}]}}`
	for _, c := range []struct {
		events []string
		want   string
	}{
		{[]string{end}, "again"},
		{[]string{`{"type":"response.output_text.delta","delta":"a"}`, end}, "a"},
		{[]string{`{"type":"response.output_item.done","output_index":0,"item":{"type":"message","content":[{"type":"output_text","text":"whole","annotations":[{"type":"url_citation","url":"u"}]}]}}`, end}, "whole[u]"},
		{[]string{`{"type":"response.output_item.done","output_index":0,"item":{"type":"function_call","call_id":"c","name":"f","arguments":"{}"}}`, end}, "c f {}"},
		{[]string{`{"type":"response.function_call_arguments.delta","output_index":0,"delta":"{"}`, `{"type":"response.output_item.done","output_index":0,"item":{"type":"function_call","call_id":"c","name":"f","arguments":"{}"}}`, end}, "c f {}"},
		{[]string{`{"type":"response.output_item.added","output_index":0,"item":{"type":"custom_tool_call","call_id":"c","name":"f","input":""}}`, `{"type":"response.custom_tool_call_input.delta","output_index":0,"delta":"a\"\n"}`, end}, `c f {"input":"a\"\n"}`},
		{[]string{`{"type":"response.output_item.done","output_index":3,"item":{"type":"custom_tool_call","call_id":"c","name":"f","input":"x"}}`, `{"type":"response.output_item.done","output_index":3,"item":{"type":"custom_tool_call","call_id":"c","name":"f","input":"x"}}`, end}, `c f {"input":"x"}`},
		{[]string{`{"type":"response.reasoning_text.delta","output_index":0,"content_index":0,"delta":"a"}`, `{"type":"response.reasoning_summary_text.delta","output_index":0,"summary_index":0,"delta":"b"}`, `{"type":"response.reasoning_summary_text.delta","output_index":0,"summary_index":1,"delta":"c"}`, end}, "(a\n\nb\n\nc)"},
	} {
		stream := ""
		for _, e := range c.events {
			stream += "data: " + e + "\n\n"
		}
		s := summarizeSaid(&readStream(t, []byte(stream), nil).said)
		got := s.Text
		if s.Cited != nil {
			got += fmt.Sprint(s.Cited)
		}
		if s.Thinking != "" {
			got += "(" + s.Thinking + ")"
		}
		for _, one := range s.Calls {
			got += one.ID + " " + one.Name + " " + one.Arguments
		}
		if got != c.want || s.Finish != "completed" {
			t.Errorf("%v says %q %q, want %q", c.events, got, s.Finish, c.want)
		}
	}
}

// TestHostileStreams: what no service sends is read without harm, and ends.
func TestHostileStreams(t *testing.T) {
	r := new(Reader)
	var failed bool
	say := func(e *dialect.Event) error { failed = failed || e.Error != nil; return nil }
	for i := range 2 * maxItems {
		raw := fmt.Sprintf("data: {\"type\":\"response.output_item.added\",\"output_index\":%d,\"item\":{\"type\":\"function_call\",\"call_id\":\"c\",\"name\":\"f\"}}\n\n", i*1_000_003)
		if err := r.Event([]byte(raw), say); err != nil && !errors.Is(err, dialect.ErrBroken) {
			t.Fatal(err)
		}
	}
	if !failed || len(r.items) > maxItems {
		t.Errorf("%d items are kept", len(r.items))
	}
	r.Reset()
	failed = false
	for _, raw := range []string{
		"data: {\"type\":\"response.output_text.delta\",\"output_index\":-99999999999,\"content_index\":1e400,\"delta\":\"x\"}\n\n",
		"data: " + strings.Repeat("[", 100_000) + "\n\n", "data: {\"type\":7}\n\n", "data: {\"type\":\"response.completed\"}\n\n", ": c\n\n", "data\n\n", "data: [DONE]\n\n", "\xff\x00",
		"data: {\"type\":\"response.output_item.done\",\"item\":[]}\n\n", "data: {\"type\":\"response.output_text.annotation.added\",\"annotation\":7}\n\n",
		"data: {\"type\":\"response.output_text.delta\",\ndata: \"delta\":\"two lines\"}\n\n",
	} {
		if err := r.Event([]byte(raw), say); err != nil && !errors.Is(err, dialect.ErrBroken) {
			t.Fatal(err)
		}
	}
	if failed {
		t.Error("an error was told of")
	}
}

// FuzzReply: whatever a service sends, what is written of it is sound, and says the same when
// it is read again.
func FuzzReply(f *testing.F) {
	for _, in := range testkit.Seeds(f) {
		for i, s := range in.Streams(f) {
			if s.API == "openai-responses" && i%4 == 0 && len(s.Body) < 8_000 {
				f.Add(s.Body)
			}
		}
	}
	for _, s := range []string{
		`{"type":"response.output_item.added","output_index":1,"item":{"type":"custom_tool_call","call_id":"c","name":"f"}}`,
		`{"type":"response.output_text.delta","delta":"x","logprobs":[{"token":"x","logprob":-1,"top_logprobs":[{}]}]}`,
		`{"type":"response.reasoning_summary_text.delta","summary_index":1,"delta":"x"}`,
	} {
		f.Add([]byte("data: " + s + "\n\n"))
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		var splitter sse.Splitter
		events, err := splitter.Feed(stream, nil)
		if err != nil {
			return
		}
		r, w := new(Reader), new(Writer)
		w.Reset(reply([]byte(asking)))
		var said dialect.Said
		var written []byte
		failed := false
		for i := range events {
			_ = r.Event(events[i].Raw, func(e *dialect.Event) error {
				if failed = failed || e.Error != nil; failed {
					return nil
				}
				written = w.Event(written, e)
				return said.Add(e)
			})
		}
		written = w.End(written)
		l := &listener{t: t}
		for _, raw := range split(t, written) {
			if data, ok := sse.Data(raw, nil); ok {
				valid(t, data)
				l.hear(data)
			}
		}
		l.end()
		w.Reset(reply([]byte(asking)))
		valid(t, w.Whole(nil, &said))
		if w.Full() {
			return
		}
		again := readStream(t, written, nil)
		if got, want := textsOf(&again.said), textsOf(&said); got != want {
			t.Errorf("says %q, and read again %q", want, got)
		}
	})
}

// textsOf is what a reply says in words.
func textsOf(s *dialect.Said) string {
	sum := summarizeSaid(s)
	return sum.Text + "|" + sum.Refusal + "|" + strings.ReplaceAll(sum.Thinking, "\n\n", "")
}
