package e2e

import (
	"encoding/base64"
	le "encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/packages/param"
	"github.com/openai/openai-go/v3/shared"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sluice/internal/protobuf/presets"
	"sluice/internal/testkit/rpc"
)

// actor is a server of gRPC with the public names of a service, who says in that
// service's words what the prompt asks for: a text, calls of tools, an error.
type actor struct {
	text, tools []string // messages of a stream
	whole       []string // of a reply at once: a text, calls; none where there is no such call
	vectors     func(n int) string
	taken       func(request string) string // what is searched for words, nil for the request
}

func (a *actor) answer(r *rpc.Call) error {
	asked := r.Request
	if a.taken != nil {
		asked = a.taken(asked)
	}
	i, messages := 0, a.text
	switch {
	case strings.Contains(asked, "too much"):
		return status.Error(codes.ResourceExhausted, "Too much was asked.")
	case strings.Contains(asked, "text-0"):
		return r.Reply(a.vectors(strings.Count(asked, "text-")))
	case strings.Contains(asked, "weather"):
		i, messages = 1, a.tools
	}
	if a.whole != nil && !strings.Contains(r.Method, "tream") && !strings.Contains(r.Method, "Chunk") {
		return r.Reply(a.whole[i])
	}
	for _, m := range messages {
		if err := r.Reply(m); err != nil {
			return err
		}
	}
	return nil
}

// numbers are those of the vector number i.
func numbers(i int) []float32 { return []float32{float32(i) + 0.5, -0.1} }

// vectorsAs writes n vectors, each by f from its numbers as JSON.
func vectorsAs(n int, f func(i int, numbers string) string) string {
	list := make([]string, n)
	for i := range list {
		b, _ := json.Marshal(numbers(i))
		list[i] = f(i, string(b))
	}
	return strings.Join(list, ",")
}

func googleActor(usage string, vectors func(int) string) *actor {
	text := `{"candidates":[{"content":{"parts":[{"text":"Hello, wörld"}]},"finishReason":"STOP"}],` + usage + `}`
	tools := `{"candidates":[{"content":{"parts":[{"functionCall":{"name":"look","args":{"at":"sky"}}},{"functionCall":{"name":"ask"}}]},"finishReason":"STOP"}],` + usage + `}`
	return &actor{
		text:  []string{`{"candidates":[{"content":{"parts":[{"text":"Hello, "}]}}]}`, strings.Replace(text, "Hello, ", "", 1)},
		tools: []string{tools}, whole: []string{text, tools}, vectors: vectors,
	}
}

func sglang(json string) string {
	return `{"jsonChunk":"` + base64.StdEncoding.EncodeToString([]byte(json)) + `"}`
}

func actors() map[string]*actor {
	const count = `"usage":{"promptTokens":12,"completionTokens":5}`
	xaiCalls := `"toolCalls":[{"id":"a","function":{"name":"look","arguments":"{\"at\":\"sky\"}"}},{"id":"b","function":{"name":"ask","arguments":"{}"}}]`
	yandexUsage := `"usage":{"inputTextTokens":"12","completionTokens":"5","totalTokens":"17"}`
	return map[string]*actor{
		"xai": {
			text:  []string{`{"outputs":[{"delta":{"content":"Hello, ","role":"ROLE_ASSISTANT"}}]}`, `{"outputs":[{"delta":{"content":"wörld"},"finishReason":"REASON_STOP"}],` + count + `}`},
			tools: []string{`{"outputs":[{"delta":{` + xaiCalls + `},"finishReason":"REASON_TOOL_CALLS"}],` + count + `}`},
			whole: []string{`{"outputs":[{"message":{"content":"Hello, wörld"},"finishReason":"REASON_STOP"}],` + count + `}`, `{"outputs":[{"message":{` + xaiCalls + `},"finishReason":"REASON_TOOL_CALLS"}],` + count + `}`},
			vectors: func(n int) string {
				return `{"embeddings":[` + vectorsAs(n, func(i int, numbers string) string {
					return fmt.Sprintf(`{"index":%d,"embeddings":[{"floatArray":%s}]}`, i, numbers)
				}) + `]}`
			},
		},
		"gemini": googleActor(`"usageMetadata":{"promptTokenCount":12,"candidatesTokenCount":3,"thoughtsTokenCount":2,"totalTokenCount":17}`, func(n int) string {
			return `{"embeddings":[` + vectorsAs(n, func(_ int, numbers string) string { return `{"values":` + numbers + `}` }) + `]}`
		}),
		"vertex": googleActor(`"usageMetadata":{"promptTokenCount":12,"candidatesTokenCount":5,"totalTokenCount":17}`, func(n int) string {
			return `{"predictions":[` + vectorsAs(n, func(_ int, numbers string) string { return `{"embeddings":{"values":` + numbers + `}}` }) + `]}`
		}),
		"yandex": {
			text:  []string{`{"alternatives":[{"message":{"text":"Hello, wörld"},"status":"ALTERNATIVE_STATUS_FINAL"}],` + yandexUsage + `}`},
			tools: []string{`{"alternatives":[{"message":{"toolCallList":{"toolCalls":[{"functionCall":{"name":"look","arguments":{"at":"sky"}}},{"functionCall":{"name":"ask"}}]}},"status":"ALTERNATIVE_STATUS_TOOL_CALLS"}],` + yandexUsage + `}`},
			vectors: func(int) string {
				return vectorsAs(1, func(_ int, numbers string) string { return `{"embedding":` + numbers + `}` })
			},
		},
		"sglang": {
			text: []string{sglang(`{"choices":[{"index":0,"delta":{"role":"assistant","content":"Hello, "}}]}`), sglang(`{"choices":[{"index":0,"delta":{"content":"wörld"},"finish_reason":"stop"}]}`),
				sglang(`{"choices":[],"usage":{"prompt_tokens":12,"completion_tokens":5}}`), `{"finished":true}`},
			tools: []string{sglang(`{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"look","arguments":"{\"at\":"}}]}}]}`),
				sglang(`{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"\"sky\"}"}},{"index":1,"id":"b","function":{"name":"ask","arguments":"{}"}}]},"finish_reason":"tool_calls"}],"usage":{"prompt_tokens":12,"completion_tokens":5}}`)},
			vectors: func(n int) string {
				return `{"jsonBody":"` + base64.StdEncoding.EncodeToString([]byte(`{"data":[`+vectorsAs(n, func(i int, numbers string) string {
					return fmt.Sprintf(`{"index":%d,"embedding":%s}`, i, numbers)
				})+`]}`)) + `","statusCode":200}`
			},
			taken: func(request string) string {
				var m struct {
					Body []byte `json:"json_body"`
				}
				_ = json.Unmarshal([]byte(request), &m)
				return string(m.Body)
			},
		},
		"protobuf-http": {
			text: []string{`{"text":"Hello, "}`, `{"text":"wörld","finish":"FINISH_STOP","usage":{"inputTokens":"12","outputTokens":"5"}}`},
			tools: []string{`{"toolCalls":[{"id":"a","name":"look","arguments":"{\"at\":"}]}`, `{"toolCalls":[{"arguments":"\"sky\"}"},{"index":1,"id":"b","name":"ask","arguments":"{}"}]}`,
				`{"finish":"FINISH_TOOLS","usage":{"inputTokens":"12","outputTokens":"5"}}`},
			whole: []string{`{"text":"Hello, wörld","finish":"FINISH_STOP","usage":{"inputTokens":"12","outputTokens":"5"}}`,
				`{"toolCalls":[{"id":"a","name":"look","arguments":"{\"at\":\"sky\"}"},{"index":1,"id":"b","name":"ask","arguments":"{}"}],"finish":"FINISH_TOOLS","usage":{"inputTokens":"12","outputTokens":"5"}}`},
			vectors: func(n int) string {
				return `{"vectors":[` + vectorsAs(n, func(_ int, numbers string) string { return `{"values":` + numbers + `}` }) + `]}`
			},
		},
		"vllm": {taken: func(request string) string {
			var m struct{ Text string }
			_ = json.Unmarshal([]byte(request), &m)
			if strings.Contains(m.Text, "Say hello") && m.Text != "Say hello" && !strings.Contains(m.Text, "<|im_start|>user\nSay hello<|im_end|>\n<|im_start|>assistant\n") {
				return "too much: this prompt is of no template"
			}
			return m.Text
		}, text: []string{`{"promptInfo":{"numPromptTokens":12},"outputs":{"text":"Hello, ","numTokens":3}}`, `{"outputs":{"text":"wörld","numTokens":2,"finishInfo":{"numOutputTokens":5,"finishReason":"STOP"}}}`}},
		"triton-vllm": {
			text: []string{tritonMessage("Hello, ", "None", 3), tritonMessage("wörld", "stop", 2)},
			taken: func(request string) string { // its strings are in base64
				var m struct {
					Inputs []struct {
						Contents struct {
							Bytes [][]byte `json:"bytes_contents"`
						}
					}
				}
				if json.Unmarshal([]byte(request), &m) != nil || len(m.Inputs) == 0 || len(m.Inputs[0].Contents.Bytes) == 0 {
					return "too much: this is no prompt"
				}
				return string(m.Inputs[0].Contents.Bytes[0])
			},
		},
		"tei": {vectors: func(int) string {
			return vectorsAs(1, func(_ int, numbers string) string { return `{"embeddings":` + numbers + `}` })
		}},
		"open-inference": {
			vectors: func(n int) string {
				var raw []byte
				for i := range n {
					for _, f := range numbers(i) {
						raw = le.LittleEndian.AppendUint32(raw, math.Float32bits(f))
					}
				}
				return fmt.Sprintf(`{"outputs":[{"name":"e","datatype":"FP32","shape":["%d","2"]}],"rawOutputContents":["%s"]}`, n, base64.StdEncoding.EncodeToString(raw))
			},
			taken: func(request string) string {
				return strings.ReplaceAll(request, base64.StdEncoding.EncodeToString([]byte("text-"))[:6], "text-0")
			},
		},
	}
}

func tritonMessage(text, finish string, tokens uint32) string {
	tensor := func(s string) string {
		return base64.StdEncoding.EncodeToString(append(le.LittleEndian.AppendUint32(nil, uint32(len(s))), s...))
	}
	number := func(n uint32) string {
		return base64.StdEncoding.EncodeToString(le.LittleEndian.AppendUint32(nil, n))
	}
	return `{"inferResponse":{"outputs":[{"name":"text_output","datatype":"BYTES"},{"name":"finish_reason","datatype":"BYTES"},{"name":"num_input_tokens","datatype":"UINT32"},{"name":"num_output_tokens","datatype":"UINT32"}],
		"rawOutputContents":["` + tensor(text) + `","` + tensor(finish) + `","` + number(12) + `","` + number(tokens) + `"]}}`
}

const presetFiles = "../internal/protobuf/presets/files/"

// presetUpstream is a preset's entry in a configuration.
func presetUpstream(name, addr string) string {
	template := ""
	if name == "vllm" || name == "triton-vllm" {
		template = "chat_template: ../internal/chattemplate/testdata/models/chatml.jinja, "
	}
	return fmt.Sprintf("  - {name: %s, protocol: grpc, base_url: 'http://%s', preset: %s, %smodels: [%s]}\n", name, addr, name, template, name)
}

// TestPresets has OpenAI's SDKs use every preset: what they get is the same, whatever the
// service calls it.
func TestPresets(t *testing.T) {
	config := "upstreams:\n"
	all := actors()
	for _, name := range presets.Names() {
		a := all[name]
		if a == nil {
			t.Fatalf("nobody plays %s", name)
		}
		preset, err := presets.Get(name)
		if err != nil {
			t.Fatal(err)
		}
		schema := write(t, name+".proto", string(preset.Schema))
		config += presetUpstream(name, rpc.Serve(t, a.answer, schema))
	}
	in := start(t, config+"cache: {enabled: false}\nroute: {breaker: {failures: 1000}}\n")
	for _, name := range presets.Names() {
		a := all[name]
		t.Run(name, func(t *testing.T) {
			switch {
			case a.tools != nil:
				presetChats(t, in, name)
			case a.text != nil:
				presetCompletions(t, in, name)
				presetPrompts(t, in, name)
			}
			if a.vectors != nil {
				presetEmbeddings(t, in, name)
			}
		})
	}
	t.Run("javascript", func(t *testing.T) {
		node(t, "presets.test.js", "OPENAI_BASE_URL="+in.url+"/v1", "OPENAI_API_KEY=unused", "CHATS=xai,gemini,vertex,yandex,sglang,protobuf-http",
			"COMPLETIONS=vllm,triton-vllm", "EMBEDDINGS=xai,gemini,vertex,sglang,protobuf-http,open-inference")
	})
}

func presetChats(t *testing.T, in *instance, name string) {
	c, ctx := client(in), t.Context()
	req := say(name, "Say hello")
	if name != "yandex" {
		req.Messages = []openai.ChatCompletionMessageParamUnion{openai.SystemMessage("Be brief."), openai.UserMessage([]openai.ChatCompletionContentPartUnionParam{
			openai.TextContentPart("Say hello"), openai.ImageContentPart(openai.ChatCompletionContentPartImageImageURLParam{URL: "data:image/png;base64,AAAA"}),
		})}
	}
	req.ResponseFormat.OfJSONSchema = &shared.ResponseFormatJSONSchemaParam{JSONSchema: shared.ResponseFormatJSONSchemaJSONSchemaParam{Name: "a", Schema: map[string]any{"type": "object"}}}
	weather := say(name, "How is the weather?")
	weather.Tools = []openai.ChatCompletionToolUnionParam{openai.ChatCompletionFunctionTool(shared.FunctionDefinitionParam{Name: "look", Parameters: shared.FunctionParameters{"type": "object"}})}
	check := func(how string, got openai.ChatCompletion, want string) {
		t.Helper()
		m := got.Choices[0].Message
		s := m.Content
		for _, call := range m.ToolCalls {
			if call.ID == "" {
				t.Errorf("%s: a call without an id", how)
			}
			s += call.Function.Name + call.Function.Arguments
		}
		if s += " " + got.Choices[0].FinishReason; s != want || got.Usage.PromptTokens != 12 || got.Usage.CompletionTokens != 5 || got.Usage.TotalTokens != 17 {
			t.Errorf("%s: %q %+v, want %q", how, s, got.Usage, want)
		}
	}
	for _, one := range []struct {
		req  openai.ChatCompletionNewParams
		want string
	}{{req, "Hello, wörld stop"}, {weather, `look{"at":"sky"}ask{} tool_calls`}} {
		got, err := c.Chat.Completions.New(ctx, one.req)
		if err != nil {
			t.Fatal(err)
		}
		check("whole", *got, one.want)
		one.req.StreamOptions.IncludeUsage = param.NewOpt(true)
		stream := c.Chat.Completions.NewStreaming(ctx, one.req)
		var acc openai.ChatCompletionAccumulator
		for stream.Next() {
			if !acc.AddChunk(stream.Current()) {
				t.Error("a chunk does not fit the others")
			}
		}
		if stream.Err() != nil {
			t.Fatal(stream.Err())
		}
		check("stream", acc.ChatCompletion, one.want)
	}
	presetErrors(t, in, name)
	_, err := c.Chat.Completions.New(ctx, openai.ChatCompletionNewParams{Model: name, Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage("Hi")}, Temperature: param.NewOpt(1e300)})
	if e, ok := errors.AsType[*openai.Error](err); name != "sglang" && name != "yandex" && name != "protobuf-http" && (!ok || e.StatusCode != 400) {
		t.Errorf("a temperature that is no float: %v", err)
	}
}

func presetErrors(t *testing.T, in *instance, name string) {
	c := client(in)
	_, err := c.Chat.Completions.New(t.Context(), say(name, "This is too much"))
	if e, ok := errors.AsType[*openai.Error](err); !ok || e.StatusCode != 429 || !strings.Contains(e.Message, "Too much was asked.") {
		t.Errorf("error: %v", err)
	}
}

// presetPrompts has a chat with a service that takes a prompt.
func presetPrompts(t *testing.T, in *instance, name string) {
	c, ctx := client(in), t.Context()
	got, err := c.Chat.Completions.New(ctx, say(name, "Say hello"))
	if err != nil {
		t.Fatal(err)
	}
	if got.Choices[0].Message.Content != "Hello, wörld" || got.Usage.TotalTokens != 17 {
		t.Errorf("%+v", got)
	}
	presetErrors(t, in, name)
	req := say(name, "How is the weather?")
	req.Tools = []openai.ChatCompletionToolUnionParam{openai.ChatCompletionFunctionTool(shared.FunctionDefinitionParam{Name: "look"})}
	_, err = c.Chat.Completions.New(ctx, req)
	if e, ok := errors.AsType[*openai.Error](err); !ok || e.StatusCode != 400 || !strings.Contains(e.Message, "it calls no tools") {
		t.Errorf("tools: %v", err)
	}
}

func presetCompletions(t *testing.T, in *instance, name string) {
	c, ctx := client(in), t.Context()
	req := openai.CompletionNewParams{Model: openai.CompletionNewParamsModel(name), Prompt: openai.CompletionNewParamsPromptUnion{OfString: param.NewOpt("Say hello")}}
	got, err := c.Completions.New(ctx, req)
	if err != nil {
		t.Fatal(err)
	}
	if got.Choices[0].Text != "Hello, wörld" || got.Choices[0].FinishReason != "stop" || got.Usage.PromptTokens != 12 || got.Usage.CompletionTokens != 5 {
		t.Errorf("%+v", got)
	}
	text := ""
	stream := c.Completions.NewStreaming(ctx, req)
	for stream.Next() {
		for _, choice := range stream.Current().Choices {
			text += choice.Text
		}
	}
	if stream.Err() != nil || text != "Hello, wörld" {
		t.Errorf("%q, %v", text, stream.Err())
	}
}

func presetEmbeddings(t *testing.T, in *instance, name string) {
	c, ctx := client(in), t.Context()
	input := []string{"text-0", "text-1", "text-2"}
	if name == "tei" || name == "yandex" {
		_, err := c.Embeddings.New(ctx, openai.EmbeddingNewParams{Model: name, Input: openai.EmbeddingNewParamsInputUnion{OfArrayOfStrings: input}})
		if e, ok := errors.AsType[*openai.Error](err); !ok || e.StatusCode != 400 || !strings.Contains(e.Message, "one text in a call") {
			t.Errorf("several texts: %v", err)
		}
		input = input[:1]
	}
	req := openai.EmbeddingNewParams{Model: name, Input: openai.EmbeddingNewParamsInputUnion{OfArrayOfStrings: input}}
	for _, format := range []openai.EmbeddingNewParamsEncodingFormat{openai.EmbeddingNewParamsEncodingFormatFloat, openai.EmbeddingNewParamsEncodingFormatBase64} {
		req.EncodingFormat = format
		got, err := c.Embeddings.New(ctx, req)
		if err != nil {
			t.Fatal(err)
		}
		if len(got.Data) != len(input) {
			t.Fatalf("%s: %d vectors", format, len(got.Data))
		}
		for i, d := range got.Data {
			var list []float32
			if format == openai.EmbeddingNewParamsEncodingFormatBase64 {
				var b []byte
				if err := json.Unmarshal([]byte(d.JSON.Embedding.Raw()), &b); err != nil {
					t.Fatal(err)
				}
				for ; len(b) >= 4; b = b[4:] {
					list = append(list, math.Float32frombits(le.LittleEndian.Uint32(b)))
				}
			} else {
				for _, f := range d.Embedding {
					list = append(list, float32(f))
				}
			}
			if d.Index != int64(i) || !slices.Equal(list, numbers(i)) {
				t.Errorf("%s: vector %d: %v", format, i, list)
			}
		}
	}
}
