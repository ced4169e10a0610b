package presets

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/dynamicpb"

	"sluice/internal/protobuf/mapping"
)

func message(t testing.TB, c *mapping.Call, text string) []byte {
	t.Helper()
	m := dynamicpb.NewMessage(c.Method.Output())
	if err := protojson.Unmarshal([]byte(text), m); err != nil {
		t.Fatal(err)
	}
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// whole puts the messages of a reply together, as a client sees it who wants no stream:
// the choices, each as text, calls and the reason of its end; the tokens.
func whole(t *testing.T, c *mapping.Call, messages ...string) string {
	t.Helper()
	r, all := c.NewReader(), mapping.Collector{}
	for _, m := range messages {
		e, err := r.Read(message(t, c, m))
		if err != nil {
			t.Fatal(err)
		}
		if e.Error != nil {
			return "error: " + string(e.Error.Message)
		}
		if err := all.Add(e); err != nil {
			t.Fatal(err)
		}
	}
	w := mapping.Writer{ID: "id", Model: "m"}
	return brief(t, w.AppendReply(nil, all.Event()))
}

// streamed is whole, of the chunks that a client gets who wants a stream.
func streamed(t *testing.T, c *mapping.Call, messages ...string) string {
	t.Helper()
	r, w := c.NewReader(), mapping.Writer{ID: "id", Model: "m", IncludeUsage: true}
	var out []byte
	var u mapping.Usage
	for _, m := range messages {
		e, err := r.Read(message(t, c, m))
		if err != nil {
			t.Fatal(err)
		}
		if e.Error != nil {
			return "error: " + string(e.Error.Message)
		}
		out, u = w.AppendChunks(out, e), e.Usage
	}
	return joined(t, w.AppendEnd(out, u))
}

type openAI struct {
	Choices []struct {
		Index          int
		Message, Delta struct {
			Content   string
			Reasoning string `json:"reasoning_content"`
			Calls     []struct {
				Index    int
				ID       string
				Function struct{ Name, Arguments string }
			} `json:"tool_calls"`
		}
		Finish *string `json:"finish_reason"`
	}
	Usage *struct {
		Prompt     int `json:"prompt_tokens"`
		Completion int `json:"completion_tokens"`
		Total      int `json:"total_tokens"`
	}
}

func brief(t *testing.T, reply []byte) string {
	t.Helper()
	var o openAI
	if err := json.Unmarshal(reply, &o); err != nil {
		t.Fatalf("%s: %v", reply, err)
	}
	var s []string
	for _, c := range o.Choices {
		line := fmt.Sprintf("%d %q", c.Index, c.Message.Content)
		if c.Message.Reasoning != "" {
			line += " thought " + c.Message.Reasoning
		}
		for _, call := range c.Message.Calls {
			line += fmt.Sprintf(" %s(%s)", call.Function.Name, call.Function.Arguments)
		}
		s = append(s, line+" "+*c.Finish)
	}
	return strings.Join(append(s, fmt.Sprint(o.Usage.Prompt, "+", o.Usage.Completion, "=", o.Usage.Total)), "; ")
}

func joined(t *testing.T, events []byte) string {
	t.Helper()
	var whole openAI
	for event := range strings.SplitSeq(strings.TrimSuffix(string(events), "\n\n"), "\n\n") {
		var o openAI
		if err := json.Unmarshal([]byte(strings.TrimPrefix(event, "data: ")), &o); err != nil {
			t.Fatalf("%s: %v", event, err)
		}
		for _, c := range o.Choices {
			for c.Index >= len(whole.Choices) {
				whole.Choices = append(whole.Choices, c)
				whole.Choices[len(whole.Choices)-1].Index = len(whole.Choices) - 1
			}
			to := &whole.Choices[c.Index]
			to.Message.Content += c.Delta.Content
			to.Message.Reasoning += c.Delta.Reasoning
			for _, call := range c.Delta.Calls {
				for call.Index >= len(to.Message.Calls) {
					to.Message.Calls = append(to.Message.Calls, call)
					to.Message.Calls[len(to.Message.Calls)-1].Function.Arguments = ""
				}
				to.Message.Calls[call.Index].Function.Arguments += call.Function.Arguments
			}
			if c.Finish != nil {
				to.Finish = c.Finish
			}
		}
		if o.Usage != nil {
			whole.Usage = o.Usage
		}
	}
	b, err := json.Marshal(&whole)
	if err != nil {
		t.Fatal(err)
	}
	return brief(t, b)
}

// tritonReply is one that Triton sends: tensors in a row, as bytes.
func tritonReply(text, finish string, in, out uint32) string {
	bytesOf := func(s string) string {
		return base64.StdEncoding.EncodeToString(append(binary.LittleEndian.AppendUint32(nil, uint32(len(s))), s...))
	}
	number := func(n uint32) string {
		return base64.StdEncoding.EncodeToString(binary.LittleEndian.AppendUint32(nil, n))
	}
	return `{"inferResponse":{"outputs":[{"name":"finish_reason","datatype":"BYTES","shape":["1"]},{"name":"text_output","datatype":"BYTES","shape":["1"]},
		{"name":"num_output_tokens","datatype":"UINT32","shape":["1"]},{"name":"num_input_tokens","datatype":"UINT32","shape":["1"]}],
		"rawOutputContents":["` + bytesOf(finish) + `","` + bytesOf(text) + `","` + number(out) + `","` + number(in) + `"]}}`
}

func sglangChunk(text string) string {
	return `{"jsonChunk":"` + base64.StdEncoding.EncodeToString([]byte(text)) + `"}`
}

var long = strings.Repeat("ö", 100) // its length is no ASCII

// TestReplies: every service says the same in its own words, and a client hears the same.
func TestReplies(t *testing.T) {
	const (
		text  = `0 "Hello, wörld" stop; 12+5=17`
		tools = `0 "" look({"at":"sky"}) ask({}) tool_calls; 12+5=17`
		cut   = `0 "Hel" length; 12+5=17`
	)
	google := func(usage string) map[string][]string {
		return map[string][]string{
			text:                                 {`{"candidates":[{"content":{"parts":[{"text":"Hello, "}]}}],"usageMetadata":{"promptTokenCount":12,"totalTokenCount":12}}`, `{"candidates":[{"content":{"parts":[{"text":"wörld"}]},"finishReason":"STOP"}],` + usage + `}`},
			tools:                                {`{"candidates":[{"content":{"parts":[{"functionCall":{"name":"look","args":{"at":"sky"}}},{"functionCall":{"name":"ask"}}]},"finishReason":"STOP"}],` + usage + `}`},
			cut:                                  {`{"candidates":[{"content":{"parts":[{"text":"Hel"}]},"finishReason":"MAX_TOKENS"}],` + usage + `}`},
			`0 "I see" thought hm stop; 12+5=17`: {`{"candidates":[{"content":{"parts":[{"text":"hm","thought":true},{"text":"I see"}]},"finishReason":"OTHER"}],` + usage + `}`},
			`0 "" content_filter; 12+0=12`:       {`{"promptFeedback":{"blockReason":"SAFETY"},"usageMetadata":{"promptTokenCount":12,"totalTokenCount":12}}`},
			`0 "a" stop; 12+5=17`:                {`{"candidates":[{"content":{"parts":[{"text":"a"}]},"finishReason":99}],` + usage + `}`}, // a reason that nobody knows yet
		}
	}
	usage := `"usage":{"promptTokens":12,"completionTokens":5,"totalTokens":17}`
	for name, replies := range map[string]map[string][]string{
		"xai": {
			text:                              {`{"outputs":[{"delta":{"content":"Hello, ","role":"ROLE_ASSISTANT"}}],"usage":{"promptTokens":12,"completionTokens":3}}`, `{"outputs":[{"delta":{"content":"wörld"},"finishReason":"REASON_STOP"}],` + usage + `}`},
			tools:                             {`{"outputs":[{"delta":{"toolCalls":[{"id":"a","function":{"name":"look","arguments":"{\"at\":\"sky\"}"}},{"id":"b","function":{"name":"ask","arguments":"{}"}}]},"finishReason":"REASON_TOOL_CALLS"}],` + usage + `}`},
			cut:                               {`{"outputs":[{"delta":{"content":"Hel"},"finishReason":"REASON_MAX_LEN"}],` + usage + `}`},
			`0 "a" stop; 1 "b" stop; 12+5=17`: {`{"outputs":[{"delta":{"content":"a"}},{"index":1,"delta":{"content":"b"},"finishReason":99}],` + usage + `}`},
		},
		"gemini": google(`"usageMetadata":{"promptTokenCount":10,"toolUsePromptTokenCount":2,"candidatesTokenCount":3,"thoughtsTokenCount":2,"totalTokenCount":17}`),
		"vertex": google(`"usageMetadata":{"promptTokenCount":12,"candidatesTokenCount":3,"thoughtsTokenCount":2,"totalTokenCount":17}`),
		"triton-vllm": {
			text:                              {tritonReply("Hello, ", "None", 12, 3), tritonReply("wörld", "stop", 12, 2)},
			cut:                               {tritonReply("Hel", "None", 12, 4), tritonReply("", "length", 12, 1)},
			`0 "` + long + `" stop; 12+5=17`:  {tritonReply(long, "stop", 12, 5)},
			`error: "the model is not there"`: {`{"errorMessage":"the model is not there"}`},
			`0 "typed" stop; 3+2=5`:           {`{"inferResponse":{"outputs":[{"name":"text_output","datatype":"BYTES","contents":{"bytesContents":["dHlwZWQ="]}},{"name":"finish_reason","datatype":"BYTES","contents":{"bytesContents":["c3RvcA=="]}},{"name":"num_output_tokens","datatype":"UINT32","contents":{"uintContents":[2]}},{"name":"num_input_tokens","datatype":"INT64","contents":{"int64Contents":["3"]}}]}}`},
		},
		"vllm": {
			text:                                {`{"promptInfo":{"numPromptTokens":12},"outputs":{"text":"Hello, ","numTokens":3}}`, `{"outputs":{"text":"wörld","numTokens":2,"finishInfo":{"numOutputTokens":5,"finishReason":"STOP"}}}`},
			cut:                                 {`{"promptInfo":{"numPromptTokens":12},"outputs":{"text":"Hel","numTokens":5,"finishInfo":{"finishReason":"LENGTH"}}}`},
			`0 "a" stop; 1 "b" length; 12+2=14`: {`{"promptInfo":{"numPromptTokens":12},"outputs":{"text":"a","numTokens":1,"finishInfo":{"finishReason":"STOP"}}}`, `{"outputs":{"index":1,"text":"b","numTokens":1,"finishInfo":{"finishReason":"LENGTH"}}}`},
		},
		"sglang": {
			text:                     {sglangChunk(`{"choices":[{"index":0,"delta":{"role":"assistant","content":"Hello, "},"finish_reason":null}],"usage":null}`), sglangChunk(`{"choices":[{"index":0,"delta":{"content":"wörld"},"finish_reason":"stop"}]}`), sglangChunk(`{"choices":[],"usage":{"prompt_tokens":12,"completion_tokens":5,"total_tokens":17}}`), `{"finished":true}`},
			tools:                    {sglangChunk(`{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"look","arguments":"{\"at\":"}}]}}]}`), sglangChunk(`{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"\"sky\"}"}},{"index":1,"id":"b","function":{"name":"ask","arguments":"{}"}}]},"finish_reason":"tool_calls"}],"usage":{"prompt_tokens":12,"completion_tokens":5}}`)},
			cut:                      {sglangChunk(`{"choices":[{"index":0,"delta":{"content":"Hel"},"finish_reason":"length"}],"usage":{"prompt_tokens":12,"completion_tokens":5}}`)},
			`error: "no such model"`: {sglangChunk(`{"error":{"message":"no such model"}}`)},
		},
		"yandex": {
			text:  {`{"alternatives":[{"message":{"text":"Hello, wörld"},"status":"ALTERNATIVE_STATUS_FINAL"}],"usage":{"inputTextTokens":"12","completionTokens":"5","totalTokens":"17"}}`},
			tools: {`{"alternatives":[{"message":{"toolCallList":{"toolCalls":[{"functionCall":{"name":"look","arguments":{"at":"sky"}}},{"functionCall":{"name":"ask"}}]}},"status":"ALTERNATIVE_STATUS_TOOL_CALLS"}],"usage":{"inputTextTokens":"12","completionTokens":"5"}}`},
			cut:   {`{"alternatives":[{"message":{"text":"Hel"},"status":"ALTERNATIVE_STATUS_TRUNCATED_FINAL"}],"usage":{"inputTextTokens":"12","completionTokens":"5"}}`},
		},
		"protobuf-http": {
			text:               {`{"text":"Hello, "}`, `{"text":"wörld","finish":"FINISH_STOP","usage":{"inputTokens":"12","outputTokens":"5"}}`},
			tools:              {`{"toolCalls":[{"id":"a","name":"look","arguments":"{\"at\":"}]}`, `{"toolCalls":[{"arguments":"\"sky\"}"},{"index":1,"id":"b","name":"ask","arguments":"{}"}]}`, `{"finish":"FINISH_TOOLS","usage":{"inputTokens":"12","outputTokens":"5"}}`},
			cut:                {`{"text":"Hel","finish":"FINISH_LENGTH","usage":{"inputTokens":"12","outputTokens":"5"}}`},
			`error: "too hot"`: {`{"error":"too hot"}`},
		},
	} {
		c := load(t, name).Stream
		for want, messages := range replies {
			if got := whole(t, c, messages...); compact(got) != compact(want) {
				t.Errorf("%s: got %s, want %s", name, got, want)
			}
			if got := streamed(t, c, messages...); compact(got) != compact(want) {
				t.Errorf("%s, streamed: got %s, want %s", name, got, want)
			}
		}
	}
}

// compact leaves out the spaces by which protojson and fmt differ.
func compact(s string) string {
	return strings.NewReplacer(`": "`, `":"`, " +", "+", "+ ", "+", " =", "=", "= ", "=").Replace(s)
}

// TestUnaryReplies: services that answer at once in other words than in a stream.
func TestUnaryReplies(t *testing.T) {
	for name, c := range map[string]struct{ reply, want string }{
		"xai": {`{"outputs":[{"finishReason":"REASON_TOOL_CALLS","message":{"content":"Hm","toolCalls":[{"id":"a","function":{"name":"look","arguments":"{}"}}]}}],"usage":{"promptTokens":1,"completionTokens":2}}`,
			`0 "Hm" look({}) tool_calls; 1+2=3`},
		"protobuf-http": {`{"text":"Hi","finish":"FINISH_STOP","usage":{"inputTokens":"1","outputTokens":"2"}}`, `0 "Hi" stop; 1+2=3`},
		"gemini":        {`{"candidates":[{"content":{"parts":[{"text":"a"}]},"finishReason":"SAFETY"},{"index":1,"content":{"parts":[{"text":"b"}]},"finishReason":"STOP"}]}`, `0 "a" content_filter; 1 "b" stop; 0+0=0`},
	} {
		if got := whole(t, load(t, name).Unary, c.reply); compact(got) != compact(c.want) {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
	}
}

func floats(list ...float32) (b []byte) {
	for _, f := range list {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(f))
	}
	return b
}

// TestEmbeddings: vectors leave as base64 and as numbers, whatever they came as.
func TestEmbeddings(t *testing.T) {
	two := floats(0.5, -1, 2, 0.25)
	raw := base64.StdEncoding.EncodeToString(two)
	for name, reply := range map[string]string{
		"xai":            `{"embeddings":[{"index":0,"embeddings":[{"floatArray":[0.5,-1]}]},{"index":1,"embeddings":[{"floatArray":[2,0.25]}]}]}`,
		"gemini":         `{"embeddings":[{"values":[0.5,-1]},{"values":[2,0.25]}]}`,
		"vertex":         `{"predictions":[{"embeddings":{"values":[0.5,-1]}},{"embeddings":{"values":[2,0.25]}}]}`,
		"open-inference": `{"outputs":[{"name":"e","datatype":"FP32","shape":["2","2"]}],"rawOutputContents":["` + raw + `"]}`,
		"protobuf-http":  `{"vectors":[{"values":[0.5,-1]},{"values":[2,0.25]}]}`,
		"sglang":         `{"jsonBody":"` + base64.StdEncoding.EncodeToString([]byte(`{"data":[{"index":0,"embedding":[0.5,-1]},{"index":1,"embedding":[2,0.25]}],"usage":{"prompt_tokens":3}}`)) + `","statusCode":200}`,
	} {
		vectors(t, name, reply, two[:8], two[8:])
	}
	vectors(t, "open-inference", `{"outputs":[{"name":"e","datatype":"FP32","shape":["2","2"],"contents":{"fp32Contents":[0.5,-1,2,0.25]}}]}`, two[:8], two[8:])
	vectors(t, "tei", `{"embeddings":[0.5,-1],"metadata":{"computeTokens":3}}`, two[:8])
	vectors(t, "yandex", `{"embedding":[0.5,-1],"numTokens":"3"}`, two[:8])

	c := load(t, "open-inference").Embed
	e, err := c.NewReader().Read(message(t, c, `{"outputs":[{"datatype":"FP16","shape":["1","2"]}],"rawOutputContents":["AAAAAA=="]}`))
	if want := `"the model gives vectors of FP16, which this mapping does not read; it reads FP32"`; err != nil || e.Error == nil || string(e.Error.Message) != want {
		t.Errorf("%+v, %v", e, err)
	}
}

func vectors(t *testing.T, name, reply string, want ...[]byte) {
	t.Helper()
	c := load(t, name).Embed
	e, err := c.NewReader().Read(message(t, c, reply))
	if err != nil || e.Error != nil {
		t.Errorf("%s: %+v, %v", name, e, err)
		return
	}
	w := mapping.Writer{Model: "m"}
	var coded struct {
		Data []struct {
			Index     int
			Embedding []byte
		}
	}
	var numbers struct {
		Data []struct{ Embedding []float32 }
	}
	for base64Format, to := range map[bool]any{true: &coded, false: &numbers} {
		b, err := w.AppendEmbeddings(nil, e, base64Format)
		if err == nil {
			err = json.Unmarshal(b, to)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(coded.Data) != len(want) || len(numbers.Data) != len(want) {
		t.Errorf("%s: %v", name, coded)
		return
	}
	for i := range want {
		if coded.Data[i].Index != i || !slices.Equal(coded.Data[i].Embedding, want[i]) || !slices.Equal(floats(numbers.Data[i].Embedding...), want[i]) {
			t.Errorf("%s: %v, %v, want %v", name, coded.Data[i], numbers.Data[i], want[i])
		}
	}
}
