//go:build !race

package replay

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strconv"
	"testing"

	"github.com/openai/openai-go/v3"

	"sluice/internal/llm"
	"sluice/internal/testkit"
)

type object = map[string]any

func decode(t testing.TB, raw []byte) (o object) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(&o); err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	return o
}

// whole reads the chunks of a stream into the reply that they tell.
func whole(t testing.TB, datas [][]byte, usage bool) object {
	t.Helper()
	reply, choices := object{}, []any{}
	for i, data := range datas {
		chunk := decode(t, data)
		list := chunk["choices"].([]any)
		if u, ok := chunk["usage"]; ok != usage || (u != nil) != (len(list) == 0) {
			t.Fatalf("chunk %d: %s", i, data)
		}
		for _, c := range list {
			c := c.(object)
			if n := len(choices); n == 0 || choices[n-1].(object)["index"] != c["index"] {
				choices = append(choices, object{})
			}
			merge(choices[len(choices)-1].(object), c)
		}
		delete(chunk, "choices")
		merge(reply, chunk)
	}
	reply["choices"] = choices
	return reply
}

// merge adds what a chunk says.
func merge(to, from object) {
	for key, v := range from {
		switch o, ok := v.(object); {
		case ok && key == "delta":
			if to[key] == nil {
				to[key] = object{}
			}
			merge(to[key].(object), o)
		case key == "text" && to[key] != nil:
			to[key] = to[key].(string) + v.(string)
		case v != nil || to[key] == nil:
			to[key] = v
		}
	}
}

// streamed gives what a stream tells of a reply: each choice's message as a
// delta, with what streams always have.
func streamed(reply object, usage bool) object {
	if reply["object"] != "text_completion" {
		reply["object"] = "chat.completion.chunk"
	}
	tokens := reply["usage"]
	delete(reply, "usage")
	if usage {
		reply["usage"] = tokens // or null
	}
	delete(reply, "error")
	for i, c := range reply["choices"].([]any) {
		c := c.(object)
		delete(c, "delta")
		if _, ok := c["index"]; !ok {
			c["index"] = json.Number(strconv.Itoa(i))
		}
		if _, ok := c["logprobs"]; !ok {
			c["logprobs"] = nil
		}
		message, ok := c["message"].(object)
		if !ok {
			continue
		}
		if message["role"] == nil {
			message["role"] = "assistant"
		}
		calls, _ := message["tool_calls"].([]any)
		for n, call := range calls {
			if call := call.(object); call["index"] == nil {
				call["index"] = json.Number(strconv.Itoa(n))
			}
		}
		c["delta"] = message
		delete(c, "message")
	}
	return reply
}

func checkChunks(t *testing.T, op llm.Operation, body []byte) (ok bool) {
	t.Helper()
	for _, usage := range []bool{false, true} {
		_, datas, sound := stream(t, op, body, usage)
		if ok = sound; !ok {
			return false
		}
		want := streamed(decode(t, body), usage)
		if got := whole(t, datas, usage); !reflect.DeepEqual(got, want) {
			a, _ := json.Marshal(got)
			b, _ := json.Marshal(want)
			t.Errorf("%s\nreads as\n%s\nwant\n%s", body, a, b)
		}
	}
	return ok
}

func TestRecordedChats(t *testing.T) {
	testkit.Each(t, testChats)
}

func testChats(t *testing.T, in testkit.Inputs) {
	refused := 0
	for _, body := range recorded(t, in)[llm.Chat] {
		if !checkChunks(t, llm.Chat, body) {
			refused++
		}
	}
	if refused > 1 { // one is the reply of a test server
		t.Errorf("refused %d", refused)
	}
}

func TestChunks(t *testing.T) {
	for op, bodies := range map[llm.Operation][]string{
		llm.Chat: {
			samples[llm.Chat],
			// What servers leave out or add.
			`{"choices":[{"message":{},"finish_reason":"stop"},{"delta":{},"message":{"tool_calls":[{"index":4},{}]},"finish_reason":"tool_calls"}]}`,
			`{"error":null,"choices":[{"index":3,"message":{"tool_calls":null,"function_call":{"name":"f","arguments":""}},"finish_reason":"function_call"}],"usage":null}`,
		},
		llm.Completion: {samples[llm.Completion], `{"object":"text_completion","choices":[{"text":"","finish_reason":"stop","stop_reason":7}]}`},
	} {
		for _, body := range bodies {
			if !checkChunks(t, op, []byte(body)) {
				t.Errorf("refused %s", body)
			}
		}
	}
}

// TestChunksText fixes the bytes once.
func TestChunksText(t *testing.T) {
	body := `{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"logprobs":null,` +
		`"finish_reason":"stop"}],"usage":{"total_tokens":3}, "x":[ 1 ]}`
	const head = `{"object":"chat.completion.chunk","id":"c","created":1,"model":"m"`
	want := `data: ` + head + `,"x":[ 1 ],"choices":[{"index":0,"delta":{"role":"assistant","content":"hi"},"logprobs":null,"finish_reason":null}],"usage":null}` + "\n\n" +
		`data: ` + head + `,"choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}],"usage":null}` + "\n\n" +
		`data: ` + head + `,"choices":[],"usage":{"total_tokens":3}}` + "\n\n" +
		"data: [DONE]\n\n"
	if got, ends, ok := Append(nil, nil, llm.Chat, []byte(body), true); !ok || string(got) != want || len(ends) != 4 {
		t.Errorf("%v, %v\n%s", ok, ends, got)
	}
}

// TestChunksSDK reads chats with OpenAI's own accumulator.
func TestChunksSDK(t *testing.T) {
	testkit.Each(t, testChunksSDK)
}

func testChunksSDK(t *testing.T, in testkit.Inputs) {
	bodies := append(recorded(t, in)[llm.Chat], []byte(samples[llm.Chat]))
	for _, body := range bodies {
		var want openai.ChatCompletion
		_, datas, ok := stream(t, llm.Chat, body, true)
		if !ok || json.Unmarshal(body, &want) != nil {
			continue
		}
		var got openai.ChatCompletionAccumulator
		for _, data := range datas {
			var chunk openai.ChatCompletionChunk
			if err := json.Unmarshal(data, &chunk); err != nil {
				t.Fatalf("%s: %v", data, err)
			}
			if !got.AddChunk(chunk) {
				t.Fatalf("%s does not fit", data)
			}
		}
		if got.ID != want.ID || got.Model != want.Model || got.Usage.TotalTokens != want.Usage.TotalTokens || len(got.Choices) != len(want.Choices) {
			t.Errorf("%s became %+v", body, got)
			continue
		}
		for i, w := range want.Choices {
			g := got.Choices[i]
			if g.Message.Content != w.Message.Content || g.Message.Refusal != w.Message.Refusal || g.FinishReason != w.FinishReason ||
				len(g.Message.ToolCalls) != len(w.Message.ToolCalls) || len(g.Logprobs.Content) != len(w.Logprobs.Content) {
				t.Errorf("%s: choice %d became %+v", body, i, g)
				continue
			}
			for n, call := range w.Message.ToolCalls {
				if c := g.Message.ToolCalls[n]; c.ID != call.ID || c.Function.Name != call.Function.Name || c.Function.Arguments != call.Function.Arguments {
					t.Errorf("%s: call %d became %+v", body, n, c)
				}
			}
		}
	}
}
