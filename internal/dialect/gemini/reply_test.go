//go:build !race

package gemini

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"sluice/internal/dialect"
	"sluice/internal/dialect/chat"
	"sluice/internal/jsonscan"
	"sluice/internal/llm"
)

// translated reads a stream of one dialect and writes it in another.
func translated(t testing.TB, from, to dialect.Dialect, stream string) string {
	t.Helper()
	r, w := from.NewReader(), to.NewWriter()
	w.Reset(dialect.Reply{ID: "1", Model: "m", IncludeUsage: true})
	var out []byte
	for _, raw := range split(t, []byte(stream)) {
		if err := r.Event(raw, func(e *dialect.Event) error {
			out = w.Event(out, e)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	return string(w.End(out))
}

// chunks are those of a stream of the API, as the list that it is without alt=sse.
func chunks(stream string) string {
	var list []string
	for _, event := range strings.Split(strings.TrimSuffix(stream, "\n\n"), "\n\n") {
		list = append(list, strings.TrimPrefix(event, "data: "))
	}
	return "[" + strings.Join(list, ",") + "]"
}

func delta(s string) string {
	return `data: {"id":"x","model":"y","choices":[{"index":0,"delta":` + s + `}]}` + "\n\n"
}

const finished = `data: {"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}` + "\n\n" +
	`data: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":7,"prompt_tokens_details":{"cached_tokens":2},"completion_tokens_details":{"reasoning_tokens":3}}}` + "\n\ndata: [DONE]\n\n"

const lastUsage = `"usageMetadata":{"promptTokenCount":5,"candidatesTokenCount":4,"totalTokenCount":12,"cachedContentTokenCount":2,"thoughtsTokenCount":3},"modelVersion":"y","responseId":"x"`

// TestCallsOfChat: arguments come in pieces, in any order, and leave whole.
func TestCallsOfChat(t *testing.T) {
	begins := func(i int, arguments string) string {
		return delta(fmt.Sprintf(`{"tool_calls":[{"index":%d,"id":"c%d","function":{"name":"f%d","arguments":%q}}]}`, i, i, i, arguments))
	}
	more := func(i int, arguments string) string {
		return delta(fmt.Sprintf(`{"tool_calls":[{"index":%d,"function":{"arguments":%q}}]}`, i, arguments))
	}
	chunk := func(parts string) string {
		return `{"candidates":[{"content":{"parts":[` + parts + `],"role":"model"},"index":0}],"modelVersion":"y","responseId":"x"},`
	}
	last := func(parts, reason string) string {
		return `{"candidates":[{"content":{"parts":[` + parts + `],"role":"model"},"finishReason":"` + reason + `","index":0}],` + lastUsage + `}`
	}
	call := func(i int, args string) string {
		return fmt.Sprintf(`{"functionCall":{"name":"f%d","id":"c%d","args":%s}}`, i, i, args)
	}
	for _, c := range []struct{ name, stream, want string }{
		{"in pieces", begins(0, "") + more(0, `{"a":`) + more(0, ` "b\n`) + more(0, `"}`), last(call(0, `{"a": "b\n"}`), "STOP")},
		{"the first leaves when the next begins", begins(0, `{"a":1}`) + begins(1, `{}`) + more(1, " "), chunk(call(0, `{"a":1}`)) + last(call(1, `{}`), "STOP")},
		{"and when a text does", begins(0, `{"a":1}`) + delta(`{"content":"T"}`), chunk(call(0, `{"a":1}`)+`,{"text":"T"}`) + last(`{"text":""}`, "STOP")},
		{"in turns", begins(0, ``) + begins(1, `{"b`) + more(0, `{"a":1}`) + begins(2, `{}`) + more(1, `":2}`), chunk(call(0, `{"a":1}`)) + last(call(1, `{"b":2}`)+","+call(2, `{}`), "STOP")},
		{"without arguments", begins(0, ``), last(call(0, `{}`), "STOP")},
		{"a call that was cut", begins(0, `{"a":`), last(`{"text":""}`, "MALFORMED_FUNCTION_CALL")},
		{"thought before it", delta(`{"reasoning_content":"T"}`) + delta(`{"reasoning_details":[{"signature":"AA=="}]}`) + begins(0, `{}`),
			chunk(`{"text":"T","thought":true}`) + last(strings.Replace(call(0, `{}`), `}}}`, `}},"thoughtSignature":"AA=="}`, 1), "STOP")},
		{"thought before a text", delta(`{"reasoning_details":[{"signature":"AA=="}]}`) + delta(`{"content":"T"}`), chunk(`{"text":"T","thoughtSignature":"AA=="}`) + last(`{"text":""}`, "STOP")},
		{"thought before nothing", delta(`{"reasoning_details":[{"signature":"AA=="}]}`), last(`{"text":"","thoughtSignature":"AA=="}`, "STOP")},
		{"nothing", "", last(`{"text":""}`, "STOP")},
		{"likelihoods", `data: {"id":"x","model":"y","choices":[{"index":0,"delta":{"content":"T"},"logprobs":{"content":[{"token":"T","logprob":-0.5,"bytes":[84],"top_logprobs":[{"token":"T","logprob":-0.5},{"token":"U","logprob":-1}]}]}}]}` + "\n\n",
			`{"candidates":[{"content":{"parts":[{"text":"T"}],"role":"model"},"index":0,"logprobsResult":{"chosenCandidates":[{"token":"T","logProbability":-0.5}],"topCandidates":[{"candidates":[{"token":"T","logProbability":-0.5},{"token":"U","logProbability":-1}]}]}}],"modelVersion":"y","responseId":"x"},` + last(`{"text":""}`, "STOP")},
	} {
		stream := c.stream
		if stream == "" {
			stream = delta(`{"content":""}`)
		}
		equal(t, c.name, []byte(chunks(translated(t, chat.Dialect{}, Dialect{}, stream+finished))), "["+c.want+"]")
	}
}

// TestCitations: offsets count bytes here and characters elsewhere.
func TestCitations(t *testing.T) {
	stream := `data: {"candidates":[{"content":{"parts":[{"text":"Grüße \u00fcb"}]}}],"modelVersion":"y","responseId":"x"}` + "\n\n" +
		`data: {"candidates":[{"content":{"parts":[{"text":"er \ud83d\ude00 und aus"}]},"finishReason":"STOP","groundingMetadata":{"groundingChunks":[{"web":{"uri":"https://a","title":"A"}},{"retrievedContext":{"title":"D","text":"words"}}],` +
		`"groundingSupports":[{"segment":{"startIndex":8,"endIndex":13,"text":"über"},"groundingChunkIndices":[0,1,7,-1]},{"segment":{"startIndex":14,"endIndex":18},"groundingChunkIndices":[0]},{"segment":{"startIndex":1,"endIndex":999},"groundingChunkIndices":[0]},{"segment":{"partIndex":1,"endIndex":2},"groundingChunkIndices":[0]}]}}],"usageMetadata":{"promptTokenCount":1}}` + "\n\n"
	_, said := through(t, []byte(stream))
	var got []string
	for _, p := range said.Choices[0].Parts {
		for _, c := range p.Citations {
			got = append(got, fmt.Sprintf("%d-%d %s %s %s", c.Start, c.End, c.URL, c.Title, c.Cited))
		}
	}
	want := []string{`6-10 "https://a" "A" "über"`, `6-10  "D" "words"`, `11-12 "https://a" "A" `, `0-0 "https://a" "A" `, `0-0 "https://a" "A" `}
	if !slices.Equal(got, want) {
		t.Errorf("cites %q, want %q", got, want)
	}
	w := Dialect{}.NewWriter()
	w.Reset(dialect.Reply{})
	equal(t, "written", w.Whole(nil, said), `{"candidates":[{"content":{"parts":[{"text":"Grüße über 😀 und aus"}],"role":"model"},"finishReason":"STOP","index":0,"groundingMetadata":{"groundingChunks":[{"web":{"uri":"https://a","title":"A"}},{"retrievedContext":{"title":"D","text":"words"}}],
		"groundingSupports":[{"segment":{"startIndex":8,"endIndex":13,"text":"über"},"groundingChunkIndices":[0]},{"segment":{"startIndex":8,"endIndex":13,"text":"words"},"groundingChunkIndices":[1]},{"segment":{"startIndex":14,"endIndex":18},"groundingChunkIndices":[0]},{"segment":{},"groundingChunkIndices":[0]},{"segment":{},"groundingChunkIndices":[0]}]}}],
		"usageMetadata":{"promptTokenCount":1,"candidatesTokenCount":0,"totalTokenCount":1},"modelVersion":"y","responseId":"x"}`)
}

// TestOffsets compares with what the text itself says.
func TestOffsets(t *testing.T) {
	var o offsets
	text := ""
	for _, piece := range []string{"plain ", "\"\\n\t", "ä", strings.Repeat("ö😀x", 40), "", "中文 and more"} {
		b, err := json.Marshal(piece)
		if err != nil {
			t.Fatal(err)
		}
		o.add(b)
		text += piece
		chars := 0
		for i := range text {
			if n, ok := o.characters(i); n != chars || !ok {
				t.Fatalf("%d bytes of %q are %d characters (%v), want %d", i, text, n, ok, chars)
			}
			if n, ok := o.bytes(chars); n != i || !ok {
				t.Fatalf("%d characters of %q are %d bytes (%v), want %d", chars, text, n, ok, i)
			}
			chars++
		}
		if n, ok := o.bytes(chars); n != len(text) || !ok {
			t.Fatalf("%q has %d bytes (%v)", text, n, ok)
		}
	}
	for _, n := range []int{-1, len(text) + 1} {
		if _, ok := o.characters(n); ok {
			t.Errorf("%d bytes are known", n)
		}
		if _, ok := o.bytes(n); ok {
			t.Errorf("%d characters are known", n)
		}
	}
}

// TestEndings: how a reply ends is told truly.
func TestEndings(t *testing.T) {
	for body, want := range map[string]string{
		`{"candidates":[{"finishReason":"MAX_TOKENS"}]}`:                                                                     "0:2",
		`{"candidates":[{"finishReason":"PROHIBITED_CONTENT"}]}`:                                                             "0:4",
		`{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f"}}]},"finishReason":"STOP"}]}`:                       "0:3",
		`{"candidates":[{"index":1,"content":{"parts":[{"text":"a"}]},"finishReason":"OTHER"},{"finishReason":"STOP"}]}`:     "1:1",
		`{"promptFeedback":{"blockReason":"SAFETY"},"usageMetadata":{"promptTokenCount":3}}`:                                 "0:4",
		`{"candidates":[{"content":{"parts":[{"text":"a"}]},"finishReason":"MALFORMED_FUNCTION_CALL","finishMessage":"m"}]}`: `0:0 error "m" "MALFORMED_FUNCTION_CALL"`,
		`{"candidates":[{"finishReason":"UNEXPECTED_TOOL_CALL"}]}`:                                                           ` error "The model's reply was not sound." "UNEXPECTED_TOOL_CALL"`,
		`{"error":{"code":503,"message":"m","status":"UNAVAILABLE"}}`:                                                        ` error "m" "UNAVAILABLE"`,
	} {
		var said dialect.Said
		r := Dialect{}.NewReader()
		if err := r.Whole([]byte(body), said.Add); err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, c := range said.Choices[:min(1, len(said.Choices))] {
			got += fmt.Sprintf("%d:%d", c.Index, c.Finish)
		}
		if said.Error != nil {
			got += fmt.Sprintf(" error %s %s", said.Error.Message, said.Error.Code)
		}
		if got != want {
			t.Errorf("%s: %q, want %q", body, got, want)
		}
	}
	for why, want := range map[dialect.Finish]string{dialect.Length: "MAX_TOKENS", dialect.ContentFilter: "SAFETY", dialect.Stop: "STOP", dialect.Paused: "STOP"} {
		w := Dialect{}.NewWriter()
		w.Reset(dialect.Reply{ID: "1", Model: "m"})
		out := w.End(w.Event(nil, &dialect.Event{Choices: []dialect.Choice{{Index: 1, Text: []byte(`"T"`), Finish: why}}}))
		equal(t, want, []byte(chunks(string(out))), `[{"candidates":[{"content":{"parts":[{"text":"T"}],"role":"model"},"index":1}],"modelVersion":"m","responseId":"1"},
			{"candidates":[{"content":{"parts":[{"text":""}],"role":"model"},"finishReason":"`+want+`","index":1}],"usageMetadata":{"promptTokenCount":0,"candidatesTokenCount":0,"totalTokenCount":0},"modelVersion":"m","responseId":"1"}]`)
	}
}

// TestToChatStream: parts in any order keep it, and calls come with ids of their own.
func TestToChatStream(t *testing.T) {
	out := translated(t, Dialect{}, chat.Dialect{}, `data: {"candidates":[{"content":{"parts":[{"text":"a"},{"text":"t","thought":true},{"text":"b"},{"functionCall":{"name":"f","args":{"x": "y"}}},{"functionCall":{"name":"g","args":{}},"thoughtSignature":"AA=="},{"text":"c"}]},"finishReason":"STOP",`+
		`"logprobsResult":{"chosenCandidates":[{"token":"a","logProbability":-1}],"topCandidates":[{"candidates":[{"token":"a","tokenId":5,"logProbability":-1}]}]}}],"usageMetadata":{"promptTokenCount":2,"toolUsePromptTokenCount":1,"candidatesTokenCount":3,"thoughtsTokenCount":4,"cachedContentTokenCount":1,"totalTokenCount":10}}`+"\n\n")
	var text, thought, arguments []string
	finish := ""
	var usage []byte
	for _, event := range strings.Split(out, "\n\n") {
		var chunk struct {
			Choices []struct {
				Delta struct {
					Content   string
					Reasoning string `json:"reasoning_content"`
					Calls     []struct {
						Index    int
						ID       string
						Function struct{ Name, Arguments string }
					} `json:"tool_calls"`
				}
				Logprobs json.RawMessage
				Finish   string `json:"finish_reason"`
			}
			Usage json.RawMessage
		}
		if json.Unmarshal([]byte(strings.TrimPrefix(event, "data: ")), &chunk) != nil {
			continue
		}
		if string(chunk.Usage) != "null" {
			usage = chunk.Usage
		}
		for _, c := range chunk.Choices {
			if c.Delta.Content != "" {
				text = append(text, c.Delta.Content)
			}
			if c.Delta.Reasoning != "" {
				thought = append(thought, c.Delta.Reasoning)
			}
			for _, call := range c.Delta.Calls {
				arguments = append(arguments, fmt.Sprint(call.Index, call.ID != "", call.Function.Name, call.Function.Arguments))
			}
			if string(c.Logprobs) != "null" {
				equal(t, "likelihoods", c.Logprobs, `{"content":[{"token":"a","logprob":-1,"bytes":null,"top_logprobs":[{"token":"a","logprob":-1,"bytes":null}]}]}`)
			}
			finish += c.Finish
		}
	}
	equal(t, "usage", usage, `{"prompt_tokens":3,"completion_tokens":7,"total_tokens":10,"prompt_tokens_details":{"cached_tokens":1},"completion_tokens_details":{"reasoning_tokens":4}}`)
	if got := fmt.Sprint(text, thought, arguments, finish); got != `[a b c] [t] [0 truef{"x": "y"} 1 trueg{}]tool_calls` {
		t.Errorf("says %s", got)
	}
}

// TestHostile: what a service of ill will sends is bounded.
func TestHostile(t *testing.T) {
	r, w := Dialect{}.NewReader(), Dialect{}.NewWriter()
	w.Reset(dialect.Reply{})
	var failed *dialect.Failure
	calls := 0
	say := func(e *dialect.Event) error {
		for _, c := range e.Choices {
			calls += len(c.ToolCalls)
		}
		if e.Error != nil {
			failed = e.Error
		}
		return nil
	}
	many := `data: {"candidates":[{"content":{"parts":[` + strings.Repeat(`{"functionCall":{"name":"f"}},`, 9999) + `{}]}}]}` + "\n\n"
	if err := r.Event([]byte(many), say); err != nil || failed == nil || calls != dialect.MaxCalls {
		t.Errorf("%d calls were read, %+v, %v", calls, failed, err)
	}
	failed = nil
	if err := r.Event([]byte(many), say); err != nil || failed != nil || calls != dialect.MaxCalls {
		t.Error("a reply that failed goes on")
	}
	r.Reset()
	for _, raw := range []string{"", "data: \n\n", "data: [1,2]\n\n", "data: {\n\n", "event: x\n\n", "data: {\"candidates\":[{\"index\":-5},{\"index\":99999999999999999999}]}\n\n",
		"data: " + strings.Repeat("[", 1000) + strings.Repeat("]", 1000) + "\n\n", `data: {"candidates":7,"usageMetadata":[],"error":"x"}` + "\n\n"} {
		if err := r.Event([]byte(raw), say); err != nil && !errors.Is(err, dialect.ErrBroken) {
			t.Errorf("%.80q: %v", raw, err)
		}
	}
	// One call without end is not held without bound.
	piece := []byte(`"` + strings.Repeat("x", 1<<20) + `"`)
	var out []byte
	for range 32 {
		out = w.Event(out, &dialect.Event{Choices: []dialect.Choice{{ToolCalls: []dialect.ToolCall{{Name: []byte(`"f"`), Arguments: piece}}}}})
	}
	if got := string(w.End(out)); strings.Count(got, "upstream_reply_too_large") != 0 || strings.Count(got, "UPSTREAM_REPLY_TOO_LARGE") != 1 || len(got) > 1000 {
		t.Errorf("a call without end became %d bytes: %.300s", len(got), got)
	}
	holder, ok := w.(dialect.Holder)
	if !ok || !holder.Full() {
		t.Error("it does not say so")
	}
	w.Reset(dialect.Reply{Max: 1000})
	if w.Event(nil, &dialect.Event{Choices: []dialect.Choice{{ToolCalls: []dialect.ToolCall{{Name: []byte(`"f"`), Arguments: piece[:1000]}}}}}); holder.Full() {
		t.Error("it is full of what it may hold")
	}
	if w.Event(nil, &dialect.Event{Choices: []dialect.Choice{{ToolCalls: []dialect.ToolCall{{Arguments: piece[:100]}}}}}); !holder.Full() {
		t.Error("it holds more than it may")
	}
	w.Reset(dialect.Reply{})
	out = out[:0]
	for i := range 5000 {
		out = w.Event(out, &dialect.Event{Choices: []dialect.Choice{{ToolCalls: []dialect.ToolCall{{Index: i, Name: []byte(`"f"`), Arguments: []byte(`"{"`)}}}}})
	}
	if got := string(w.End(out)); strings.Count(got, "UPSTREAM_REPLY_TOO_LARGE") != 1 {
		t.Errorf("calls without end became %.300s", got)
	}
	w.Reset(dialect.Reply{})
	for i := range 5000 {
		out = w.Event(out[:0], &dialect.Event{Choices: []dialect.Choice{{Index: i - 10, Text: []byte(`"x"`)}}})
	}
	if n := strings.Count(string(w.End(nil)), `"index"`); n != maxCandidates {
		t.Errorf("%d candidates are told apart, want %d", n, maxCandidates)
	}
}

// TestFail: a stream that failed ends in the API's error.
func TestFail(t *testing.T) {
	w := Dialect{}.NewWriter()
	w.Reset(dialect.Reply{})
	got := string(w.Fail(nil, llm.Errorf(429, "rate", "slow")))
	if want := `data: {"error":{"code":429,"message":"slow","status":"RESOURCE_EXHAUSTED","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"RATE","domain":"sluice"}]}}` + "\n\n"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if err := jsonscan.Validate(Dialect{}.AppendError(nil, llm.Errorf(500, "a\"b", "c\"d")), 9); err != nil {
		t.Error(err)
	}
}

// TestReuse: nothing of a reply is in the next one.
func TestReuse(t *testing.T) {
	r, w := Dialect{}.NewReader(), Dialect{}.NewWriter()
	stream := func(raw string) string {
		r.Reset()
		w.Reset(dialect.Reply{ID: "1", Model: "m"})
		var out []byte
		for _, raw := range split(t, []byte(raw)) {
			if err := r.Event(raw, func(e *dialect.Event) error { out = w.Event(out, e); return nil }); err != nil {
				t.Fatal(err)
			}
		}
		return string(w.End(out))
	}
	first := `data: {"candidates":[{"content":{"parts":[{"text":"ä"},{"functionCall":{"id":"a","name":"f","args":{"x":1}},"thoughtSignature":"AA=="}]},"groundingMetadata":{"groundingChunks":[{"web":{"uri":"u"}}]}}],"responseId":"x","modelVersion":"y"}` + "\n\n" +
		`data: {"candidates":[{"index":3,"content":{"parts":[{"functionCall":{"name":"g"}},{"text":"","thoughtSignature":"BB=="}]},"finishReason":"MAX_TOKENS"}],"usageMetadata":{"promptTokenCount":3}}` + "\n\n"
	second := `data: {"candidates":[{"content":{"parts":[{"functionCall":{"name":"h"}}]},"finishReason":"STOP"}]}` + "\n\n"
	want := [2]string{stream(first), stream(second)}
	fresh := translated(t, Dialect{}, Dialect{}, second)
	if want[1] != fresh {
		t.Errorf("after another reply %s, want %s", want[1], fresh)
	}
	if got := stream(first); got != want[0] {
		t.Errorf("again %s, want %s", got, want[0])
	}
}
