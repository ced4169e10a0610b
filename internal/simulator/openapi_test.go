package simulator

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/http"
	"sluice/internal/testkit"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// described is our own description of the API and, where it was recorded, OpenAI's.
var described testkit.Descriptions

// conforms reports where doc breaks the named schema.
func conforms(t *testing.T, name string, doc []byte) {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(string(doc)))
	if err != nil {
		t.Fatalf("%v in %s", err, doc)
	}
	for _, s := range described.Schemas(t, name) {
		if err := s.Validate(v); err != nil {
			t.Fatalf("%s: %v\n%s", name, err, doc)
		}
	}
}

// TestDescription says when conforms has to do without OpenAI's own description.
func TestDescription(t *testing.T) {
	testkit.Each(t, func(t *testing.T, in testkit.Inputs) { described.Schema(t, in, "Response") })
}

// weather is a tool with most of what schemas of tools have.
const weather = `{"type":"object","properties":{"city":{"type":"string","minLength":3},"days":{"type":"integer","minimum":1,"maximum":7},
"unit":{"enum":["C","F"]},"when":{"type":["string","null"],"format":"date"},"points":{"type":"array","items":{"$ref":"#/$defs/point"},"minItems":2}},
"required":["city","days","unit","when","points"],"additionalProperties":false,
"$defs":{"point":{"type":"object","properties":{"x":{"type":"number"},"next":{"anyOf":[{"$ref":"#/$defs/point"},{"type":"null"}]}},"required":["x","next"],"additionalProperties":false}}}`

func chatBodies() map[string]string {
	user := func(model, text, rest string) string {
		return fmt.Sprintf(`{"model":%q,"messages":[{"role":"system","content":"s"},{"role":"user","content":%q}]%s`, model, text, rest)
	}
	tools := `,"tools":[{"type":"function","function":{"name":"get_weather","parameters":` + weather + `}},{"type":"function","function":{"name":"now"}}]`
	return map[string]string{
		"plain":       user("sim-chat", "hello", ""),
		"echo":        user("sim-echo", "Grüße \"an\" <alle> & 日本\n\ttab", ""),
		"reasoner":    user("sim-reasoner", "think", ""),
		"short":       user("sim-reasoner", "think", `,"max_tokens":4`),
		"several":     user("sim-chat", "hello", `,"n":3,"seed":7`),
		"logprobs":    user("sim-chat", "hello", `,"logprobs":true,"top_logprobs":2`),
		"stop":        user("sim-echo", "one two three", `,"stop":[" two"]`),
		"mentioned":   user("sim-chat", "call get_weather and now", tools),
		"required":    user("sim-chat", "hello", tools+`,"tool_choice":"required"`),
		"named":       user("sim-chat", "hello", tools+`,"tool_choice":{"type":"function","function":{"name":"now"}}`),
		"none":        user("sim-chat", "get_weather", tools+`,"tool_choice":"none"`),
		"schema":      user("sim-chat", "hello", `,"response_format":{"type":"json_schema","json_schema":{"name":"w","strict":true,"schema":`+weather+`}}`),
		"json object": user("sim-chat", "hello", `,"response_format":{"type":"json_object"}`),
		"parts":       `{"model":"sim-echo","messages":[{"role":"user","content":[{"type":"text","text":"see"},{"type":"image_url","image_url":{"url":"data:,"}}]}]`,
		"tool result": `{"model":"sim-chat","messages":[{"role":"user","content":"now"},{"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"now","arguments":"{}"}}]},{"role":"tool","tool_call_id":"c","content":"12:00"}]` + tools,
		"exact":       user("sim-chat?tokens=5", "hello", ""),
	}
}

// gathered puts a stream's chunks together again.
type gathered struct {
	text, reasoning, arguments []string
	finish                     []string
	usage                      *usage
}

func gather(t *testing.T, stream []byte, choices int) gathered {
	t.Helper()
	g := gathered{make([]string, choices), make([]string, choices), make([]string, choices), make([]string, choices), nil}
	events := payloads(t, stream)
	if len(events) == 0 || string(events[len(events)-1]) != "[DONE]" {
		t.Fatalf("no [DONE] in %s", stream)
	}
	for _, e := range events[:len(events)-1] {
		conforms(t, "CreateChatCompletionStreamResponse", e)
		var c countedChunk
		if err := json.Unmarshal(e, &c); err != nil {
			t.Fatal(err)
		}
		for _, ch := range c.Choices {
			g.text[ch.Index] += value(ch.Delta.Content, "")
			g.reasoning[ch.Index] += value(ch.Delta.Reasoning, "")
			for _, call := range ch.Delta.ToolCalls {
				g.arguments[ch.Index] += call.Function.Name + call.Function.Arguments
			}
			g.finish[ch.Index] += value(ch.Finish, "")
		}
		if c.Usage != nil {
			g.usage = c.Usage
		}
	}
	return g
}

func TestChatConforms(t *testing.T) {
	_, url := start(t)
	url += "/v1/chat/completions"
	for name, body := range chatBodies() {
		t.Run(name, func(t *testing.T) {
			raw := read(t, post(t, url, "", body+`}`))
			conforms(t, "CreateChatCompletionResponse", raw)
			var whole chatReply
			if err := json.Unmarshal(raw, &whole); err != nil {
				t.Fatal(err)
			}
			stream := read(t, post(t, url, "", body+`,"stream":true,"stream_options":{"include_usage":true}}`))
			g := gather(t, stream, len(whole.Choices))
			if g.usage == nil || *g.usage != *whole.Usage {
				t.Errorf("usage streamed %+v, whole %+v", g.usage, whole.Usage)
			}
			for i, ch := range whole.Choices {
				calls := ""
				for _, c := range ch.Message.ToolCalls {
					calls += c.Function.Name + c.Function.Arguments
				}
				if value(ch.Message.Content, "") != g.text[i] || ch.Message.Reasoning != g.reasoning[i] || calls != g.arguments[i] || ch.Finish != g.finish[i] {
					t.Errorf("choice %d: streamed %q %q %q %q, whole %s", i, g.text[i], g.reasoning[i], g.arguments[i], g.finish[i], raw)
				}
			}
		})
	}
}

func TestCompletionConforms(t *testing.T) {
	_, url := start(t)
	url += "/v1/completions"
	body := `{"model":"sim-chat","prompt":["one","two"],"n":2,"max_tokens":6`
	raw := read(t, post(t, url, "", body+`}`))
	conforms(t, "CreateCompletionResponse", raw)
	var whole completionReply
	if err := json.Unmarshal(raw, &whole); err != nil {
		t.Fatal(err)
	}
	texts := make([]string, 4)
	events := payloads(t, read(t, post(t, url, "", body+`,"stream":true,"stream_options":{"include_usage":true}}`)))
	for _, e := range events[:len(events)-1] {
		// The description calls finish_reason required and never null; the
		// service itself sends null until a choice ends, and so do we.
		conforms(t, "CreateCompletionResponse", []byte(strings.ReplaceAll(string(e), `"finish_reason":null`, `"finish_reason":"stop"`)))
		var c completionReply
		if err := json.Unmarshal(e, &c); err != nil {
			t.Fatal(err)
		}
		for _, ch := range c.Choices {
			texts[ch.Index] += ch.Text
		}
	}
	for i, ch := range whole.Choices {
		if texts[i] != ch.Text || ch.Text == "" || *ch.Finish != "length" {
			t.Errorf("choice %d: streamed %q, whole %q", i, texts[i], ch.Text)
		}
	}
}

func TestResponsesConform(t *testing.T) {
	_, url := start(t)
	url += "/v1/responses"
	tools := `,"tools":[{"type":"function","name":"get_weather","strict":true,"parameters":` + weather + `}]`
	for name, body := range map[string]string{
		"text":     `{"model":"sim-chat","input":"hello"`,
		"items":    `{"model":"sim-echo","instructions":"be brief","input":[{"role":"user","content":[{"type":"input_text","text":"repeat me"}]}],"metadata":{"a":"b"}`,
		"reasoner": `{"model":"sim-reasoner","input":"hello"`,
		"cut":      `{"model":"sim-chat","input":"hello","max_output_tokens":3`,
		"call":     `{"model":"sim-chat","input":"use get_weather","tool_choice":"auto"` + tools,
		"required": `{"model":"sim-chat","input":"hello","tool_choice":"required"` + tools,
		"schema":   `{"model":"sim-chat","input":"hello","text":{"format":{"type":"json_schema","name":"reply","schema":` + weather + `}}`,
	} {
		t.Run(name, func(t *testing.T) {
			raw := read(t, post(t, url, "", body+`}`))
			conforms(t, "Response", raw)
			stream := read(t, post(t, url, "", body+`,"stream":true}`))
			events := payloads(t, stream)
			for i, e := range events {
				conforms(t, "ResponseStreamEvent", e)
				var ev responseEvent
				if err := json.Unmarshal(e, &ev); err != nil {
					t.Fatal(err)
				}
				if ev.Sequence != i || !strings.Contains(string(stream), "event: "+ev.Type+"\ndata: "+string(e)+"\n\n") {
					t.Fatalf("event %d is numbered %d or misnamed: %s", i, ev.Sequence, e)
				}
			}
			last := events[len(events)-1]
			if !strings.HasSuffix(string(last), `,"response":`+string(raw)+`}`) {
				t.Errorf("the stream ends in %s, whole is %s", last, raw)
			}
		})
	}
}

func TestEmbeddingsConform(t *testing.T) {
	_, url := start(t)
	url += "/v1/embeddings"
	body := `{"model":"sim-embed","input":["the red river","a red river","engine [1]"],"dimensions":64`
	raw := read(t, post(t, url, "", body+`}`))
	conforms(t, "CreateEmbeddingResponse", raw)
	var floats struct {
		Data []struct{ Embedding []float32 }
	}
	var packed struct {
		Data []struct{ Embedding string }
	}
	if err := json.Unmarshal(raw, &floats); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(read(t, post(t, url, "", body+`,"encoding_format":"base64"}`)), &packed); err != nil {
		t.Fatal(err)
	}
	dot := func(a, b []float32) (sum float32) {
		for i := range a {
			sum += a[i] * b[i]
		}
		return sum
	}
	for i, d := range floats.Data {
		b, err := base64.StdEncoding.DecodeString(packed.Data[i].Embedding)
		if err != nil {
			t.Fatal(err)
		}
		v := make([]float32, 64)
		if _, err := binary.Decode(b, binary.LittleEndian, v); err != nil || len(b) != 256 {
			t.Fatal(len(b), err)
		}
		if fmt.Sprint(v) != fmt.Sprint(d.Embedding) {
			t.Errorf("vector %d differs between its two forms", i)
		}
		if l := dot(v, v); l < 0.999 || l > 1.001 {
			t.Errorf("vector %d has length² %f", i, l)
		}
	}
	if near, far := dot(floats.Data[0].Embedding, floats.Data[1].Embedding), dot(floats.Data[0].Embedding, floats.Data[2].Embedding); near <= far {
		t.Errorf("texts that share words are no nearer (%f) than others (%f)", near, far)
	}
	for _, input := range []string{`"x"`, `[1,2,3]`, `[[1,2],[3]]`} {
		conforms(t, "CreateEmbeddingResponse", read(t, post(t, url, "", `{"model":"sim-embed","input":`+input+`}`)))
	}
}

func get(t *testing.T, url string) *http.Response {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	return res
}

func TestModelsAndModerationConform(t *testing.T) {
	_, url := start(t)
	conforms(t, "ListModelsResponse", read(t, get(t, url+"/v1/models")))
	conforms(t, "Model", read(t, get(t, url+"/v1/models/sim-chat")))
	conforms(t, "CreateModerationResponse", read(t, post(t, url+"/v1/moderations", "", `{"input":["a","b"]}`)))
}

func TestErrorsConform(t *testing.T) {
	_, url := start(t)
	chatURL := url + "/v1/chat/completions"
	for name, tc := range map[string]struct {
		res    *http.Response
		status int
		code   string
	}{
		"unknown path":  {get(t, url+"/v1/nothing"), 404, "unknown_url"},
		"wrong method":  {get(t, chatURL), 405, "method_not_supported"},
		"model":         {post(t, chatURL, "", `{"model":"gpt-0","messages":[{"role":"user","content":"x"}]}`), 404, "model_not_found"},
		"no model":      {post(t, chatURL, "", `{"messages":[]}`), 400, "missing_required_parameter"},
		"wrong kind":    {post(t, chatURL, "", `{"model":"sim-embed","messages":[]}`), 400, ""},
		"no messages":   {post(t, chatURL, "", `{"model":"sim-chat"}`), 400, "missing_required_parameter"},
		"role":          {post(t, chatURL, "", `{"model":"sim-chat","messages":[{"role":"king"}]}`), 400, "invalid_value"},
		"type":          {post(t, chatURL, "", `{"model":"sim-chat","messages":"x"}`), 400, "invalid_type"},
		"syntax":        {post(t, chatURL, "", `{"model":`), 400, ""},
		"empty":         {post(t, chatURL, "", ``), 400, ""},
		"n":             {post(t, chatURL, "", hello+`,"n":0}`), 400, "invalid_value"},
		"temperature":   {post(t, chatURL, "", hello+`,"temperature":3}`), 400, "decimal_out_of_range"},
		"tool choice":   {post(t, chatURL, "", hello+`,"tool_choice":{"type":"function","function":{"name":"x"}}}`), 400, ""},
		"endless":       {post(t, chatURL, "", hello+`,"response_format":{"type":"json_schema","json_schema":{"schema":{"type":"object","required":["a"],"properties":{"a":{"$ref":"#"}}}}}}`), 400, "invalid_json_schema"},
		"circle":        {post(t, chatURL, "", hello+`,"response_format":{"type":"json_schema","json_schema":{"schema":{"$ref":"#"}}}}`), 400, "invalid_json_schema"},
		"fault key":     {post(t, chatURL, "frobnicate=1", hello+`}`), 400, "invalid_fault"},
		"fault value":   {post(t, chatURL, "latency=soon", hello+`}`), 400, "invalid_fault"},
		"model's fault": {post(t, chatURL, "", `{"model":"sim-chat?cut=-2"}`), 400, "invalid_fault"},
		"no dimensions": {post(t, url+"/v1/embeddings", "", `{"model":"sim-embed","input":"x","dimensions":0}`), 400, "invalid_value"},
	} {
		t.Run(name, func(t *testing.T) {
			raw := read(t, tc.res)
			conforms(t, "ErrorResponse", raw)
			var e errorBody
			if err := json.Unmarshal(raw, &e); err != nil {
				t.Fatal(err)
			}
			if tc.res.StatusCode != tc.status || value(e.Error.Code, "") != tc.code {
				t.Errorf("got %d %s", tc.res.StatusCode, raw)
			}
		})
	}
	for _, status := range []int{400, 401, 402, 403, 404, 408, 409, 413, 422, 429, 500, 503, 529} {
		res := post(t, chatURL, fmt.Sprintf("status=%d,retry-after=7", status), hello+`}`)
		conforms(t, "ErrorResponse", read(t, res))
		if res.StatusCode != status || res.Header.Get("Retry-After") != "7" {
			t.Errorf("status=%d: got %d %v", status, res.StatusCode, res.Header)
		}
	}
}
