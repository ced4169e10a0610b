package mapping

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
)

const request = `{"model":"grok","temperature":0.7,"max_tokens":100,"stop":"END","messages":[
	{"role":"system","content":"Be brief."},
	{"role":"user","content":[{"type":"text","text":"What is \u00e9?"},{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA","detail":"low"}}]},
	{"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"look","arguments":"{\"q\": 1}"}}]},
	{"role":"tool","tool_call_id":"c1","content":"a letter"}],
	"tools":[{"type":"function","function":{"name":"look","description":null,"parameters":{"type":"object", "properties":{}}}}]}`

func TestRequest(t *testing.T) {
	m := xai(t)
	wire, err := m.Unary.AppendMessage(nil, &Input{Body: []byte(request), UpstreamModel: "grok-4"})
	if err != nil {
		t.Fatal(err)
	}
	sameMessage(t, m.Unary.Method.Input(), wire, `{"model":"grok-4","temperature":0.7,"maxTokens":100,"stop":["END"],"messages":[
		{"role":"ROLE_SYSTEM","content":[{"text":"Be brief."}]},
		{"role":"ROLE_USER","content":[{"text":"What is é?"},{"imageUrl":{"imageUrl":"data:image/png;base64,AAAA","detail":"DETAIL_LOW"}}]},
		{"role":"ROLE_ASSISTANT","toolCalls":[{"id":"c1","function":{"name":"look","arguments":"{\"q\": 1}"}}]},
		{"role":"ROLE_TOOL","toolCallId":"c1","content":[{"text":"a letter"}]}],
		"tools":[{"function":{"name":"look","parameters":"{\"type\":\"object\", \"properties\":{}}"}}]}`)
	if m.Unary.Path() != "/xai_api.Chat/GetCompletion" {
		t.Error(m.Unary.Path())
	}
	wire, err = m.Embed.AppendMessage(nil, &Input{Body: []byte(`{"input":"a"}`), UpstreamModel: "e"})
	if err != nil {
		t.Fatal(err)
	}
	sameMessage(t, m.Embed.Method.Input(), wire, `{"model":"e","input":[{"string":"a"}],"encodingFormat":"FORMAT_FLOAT"}`)
}

// TestAbsent: nothing that the request lacks is in the message, and zeros are.
func TestAbsent(t *testing.T) {
	m := xai(t)
	for body, want := range map[string]string{
		`{"messages":[]}`: `{"model":"g"}`,
		`{"messages":[],"temperature":0,"n":null,"max_completion_tokens":null,"max_tokens":5}`: `{"model":"g","temperature":0,"maxTokens":5}`,
	} {
		got, err := m.Stream.AppendJSON(nil, &Input{Body: []byte(body), UpstreamModel: "g"})
		if err != nil || string(got) != want {
			t.Errorf("%s, %v\nwant %s", got, err, want)
		}
	}
}

func TestRequestFaults(t *testing.T) {
	m := xai(t)
	for _, c := range []struct{ body, want string }{
		{`{}`, `map xai: request.messages (line 13): there is no member "messages", at 5 of "req.messages"`},
		{`{"messages":1}`, `map xai: request.messages (line 13): $each takes a list, not an int`},
		{`{"messages":[{"role":"robot"}]}`, `map xai: request.messages.role (line 14): "robot" is none of user, assistant, system, developer, tool`},
		{`{"messages":[],"temperature":"hot"}`, `invalid message at temperature: byte 26: not a value of type float`},
		{`{"messages":[{"role":"user","content":5}]}`, `map xai: request.messages.content (line 17): content is a string or a list, not an int, at 1 of "parts(m.?content)"`},
	} {
		got, err := m.Unary.AppendMessage([]byte("x"), &Input{Body: []byte(c.body)})
		if err == nil || !strings.HasPrefix(err.Error(), c.want) || string(got) != "x" {
			t.Errorf("%s: %q, %v\nwant %s", c.body, got, err, c.want)
		}
	}
}

func TestUnary(t *testing.T) {
	m := xai(t)
	wire := message(t, m.Unary.Method.Output(), `{"id":"1","outputs":[{"finishReason":"REASON_STOP","message":{"content":"Hi \"you\"","reasoningContent":"hm"}},
		{"index":1,"finishReason":"REASON_TOOL_CALLS","message":{"toolCalls":[{"id":"a","function":{"name":"f","arguments":"{}"}},{"id":"b","function":{"name":"g","arguments":"{\"x\":1}"}}]},
		"logprobs":{"content":[{"token":"t","logprob":-0.5}]}}],
		"usage":{"promptTokens":10,"completionTokens":5,"cachedPromptTextTokens":3}}`)
	e, err := m.Unary.NewReader().Read(wire)
	if err != nil {
		t.Fatal(err)
	}
	w := Writer{ID: "id", Model: "m", Created: 7}
	want := `{"id":"id","object":"chat.completion","created":7,"model":"m","choices":[` +
		`{"index":0,"message":{"role":"assistant","content":"Hi \"you\"","refusal":null,"reasoning_content":"hm"},"logprobs":null,"finish_reason":"stop"},` +
		`{"index":1,"message":{"role":"assistant","content":null,"refusal":null,"tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}},` +
		`{"id":"b","type":"function","function":{"name":"g","arguments":"{\"x\":1}"}}]},"logprobs":{"content":[{"token":"t","logprob":-0.5}]},"finish_reason":"tool_calls"}],` +
		`"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15,"prompt_tokens_details":{"cached_tokens":3}}}`
	if got := string(w.AppendReply(nil, e)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	w.Text = true
	e.Choices = e.Choices[:1]
	want = `{"id":"id","object":"text_completion","created":7,"model":"m","choices":[{"index":0,"text":"Hi \"you\"","logprobs":null,"finish_reason":"stop"}],` +
		`"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15,"prompt_tokens_details":{"cached_tokens":3}}}`
	if got := string(w.AppendReply(nil, e)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestStream(t *testing.T) {
	m := xai(t)
	r := m.Stream.NewReader()
	w := Writer{ID: "id", Model: "m", Created: 7, IncludeUsage: true}
	var out []byte
	for _, json := range []string{
		`{"outputs":[{"delta":{"role":"ROLE_ASSISTANT"}}],"usage":{"promptTokens":4}}`,
		`{"outputs":[{"delta":{"content":"He"}},{"index":1,"delta":{"reasoningContent":"so"}}],"usage":{"promptTokens":4,"completionTokens":1}}`,
		`{"outputs":[{"delta":{"toolCalls":[{"id":"a","function":{"name":"f","arguments":"{\"x\""}}]}}]}`,
		`{"outputs":[{"delta":{"toolCalls":[{"id":"a","function":{"arguments":":1}"}},{"id":"b","function":{"name":"g","arguments":"{}"}}]}}]}`,
		`{"outputs":[{"finishReason":"REASON_STOP"}],"usage":{"promptTokens":4,"completionTokens":9}}`,
	} {
		e, err := r.Read(message(t, m.Stream.Method.Output(), json))
		if err != nil {
			t.Fatal(err)
		}
		out = w.AppendChunks(out, e)
	}
	out = w.AppendEnd(out, r.event.Usage)
	head := `data: {"id":"id","object":"chat.completion.chunk","created":7,"model":"m","choices":[`
	var want strings.Builder
	for _, choice := range []string{
		`{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}`,
		`{"index":0,"delta":{"content":"He"},"logprobs":null,"finish_reason":null}`,
		`{"index":1,"delta":{"role":"assistant","content":"","reasoning_content":"so"},"logprobs":null,"finish_reason":null}`,
		`{"index":0,"delta":{"tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":"{\"x\""}}]},"logprobs":null,"finish_reason":null}`,
		`{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":":1}"}},{"index":1,"id":"b","type":"function","function":{"name":"g","arguments":"{}"}}]},"logprobs":null,"finish_reason":null}`,
		`{"index":0,"delta":{},"logprobs":null,"finish_reason":"tool_calls"}`,
		`{"index":1,"delta":{},"logprobs":null,"finish_reason":"stop"}`,
	} {
		fmt.Fprintf(&want, "%s%s],\"usage\":null}\n\n", head, choice)
	}
	want.WriteString(head + "],\"usage\":{\"prompt_tokens\":4,\"completion_tokens\":9,\"total_tokens\":13}}\n\n")
	if string(out) != want.String() {
		t.Errorf("got\n%s\nwant\n%s", out, want.String())
	}
}

// TestSample: the unary reply of the service has no delta, which a mapping that takes
// one for both is told.
func TestSample(t *testing.T) {
	text := strings.Replace(string(read(t, "xai.yaml")), "unary: =o.message.content, stream: =o.delta.content", "unary: =o.delta.content, stream: =o.delta.contents", 1)
	_, err := load(t, schemaOf(t, "xai.proto"), text)
	want := `m.yaml:30: response.choices.text: xai_api.CompletionOutput has no field "delta", at 3 of "o.delta.content"` + "\n" +
		`m.yaml:30: response.choices.text: xai_api.Delta has no field "contents"; did you mean "content"?, at 9 of "o.delta.contents"`
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	if _, ok := errors.AsType[*LoadError](err); !ok {
		t.Errorf("%T", err)
	}
}

// TestLoadFaults: each fault with its line, and those of one file at once.
func TestLoadFaults(t *testing.T) {
	s := schemaOf(t, "xai.proto")
	const call = "x:\n  call: {unary: xai_api.Chat/GetCompletion}\n  response: {}\n  request:\n"
	for _, c := range []struct{ text, want string }{
		{``, `m.yaml:1: no mapping stands here`},
		{`[]`, `m.yaml:1: must be a section for each mapping (name: …)`},
		{`x: {`, `m.yaml:1: not YAML: could not find flow mapping end token '}'`},
		{`x: {calls: {}}`, `m.yaml:1: x: unknown key "calls"; did you mean "call"?` + "\n" + `m.yaml:1: x: call is missing: the methods, as {unary: package.Service/Method, stream: …}`},
		{`x: {call: {unary: xai_api.Chat/GetCompletio}, request: {}, response: {}}`, `m.yaml:1: call.unary: service xai_api.Chat has no "GetCompletio"; did you mean "GetCompletion"?`},
		{`x: {call: {unary: xai.Chat/GetCompletion}, request: {}, response: {}}`, `m.yaml:1: call.unary: the schema has no "xai.Chat"; known are xai_api.Chat, xai_api.Embedder`},
		{`x: {call: {unary: GetCompletion}, request: {}, response: {}}`, `m.yaml:1: call.unary: must be package.Service/Method, is "GetCompletion"`},
		{`x: {call: {unary: xai_api.Chat/GetCompletionChunk}, request: {}, response: {}}`, `m.yaml:1: call.unary: xai_api.Chat/GetCompletionChunk answers in a stream; it belongs to call.stream`},
		{`x: {call: {embed: xai_api.Embedder/Embed}}`, `m.yaml:1: x: embed is missing: {request, response} of call.embed`},
		{`x: {call: {unary: xai_api.Chat/GetCompletion}}`, `m.yaml:1: x: request is missing` + "\n" + `m.yaml:1: x: response is missing`},
		{`x: {call: {unary: xai_api.Chat/GetCompletion}, abort: {}, request: {}, response: {}}`, `m.yaml:1: abort: call.abort is missing`},
		{call + `    modle: a`, `m.yaml:5: request: xai_api.GetCompletionsRequest has no field "modle"; did you mean "model"?`},
		{call + `    model: 5`, `m.yaml:5: request.model: is a string, not 5: put it in quotes`},
		{call + `    model: {a: b}`, `m.yaml:5: request.model: is a string, not a section of keys`},
		{call + `    model: [a]`, `m.yaml:5: request.model: is a string, not a list`},
		{call + `    model:`, `m.yaml:5: request.model: nothing stands here; leave the key out`},
		{call + `    model: =1 + 1`, `m.yaml:5: request.model: is a string, and the expression gives an int`},
		{call + `    seed: many`, `m.yaml:5: request.seed: is an int, not "many"`},
		{call + `    seed: 3000000000`, `m.yaml:5: request.seed: is an int, not "3000000000"`},
		{call + `    seed: 1.5`, `m.yaml:5: request.seed: is an int, not "1.5"`},
		{call + `    seed: ="1"`, `m.yaml:5: request.seed: is an int, and the expression gives a string`},
		{call + `    temperature: warm`, `m.yaml:5: request.temperature: is a number, not "warm"`},
		{call + `    logprobs: 1`, `m.yaml:5: request.logprobs: is a bool, not "1"`},
		{call + `    messages: {role: ROLE_USER}`, `m.yaml:5: request.messages: is a list: write $each, a list or an expression`},
		{call + `    messages: [{role: ROLE_USR}]`, `m.yaml:5: request.messages[0].role: enum xai_api.MessageRole has no "ROLE_USR"; did you mean "ROLE_USER"?`},
		{call + `    messages: {$each: m of req.messages}`, `m.yaml:5: request.messages.$each: must be as "x in req.list"`},
		{call + `    messages: {$each: m in "abc"}`, `m.yaml:5: request.messages.$each: the expression gives a string, not a list`},
		{call + `    messages: {$each: m in req.messages, role: {$enum: =n.role, user: ROLE_USER}}`, `m.yaml:5: request.messages.role: unknown variable "n"; known are req, upstream_model, request_id, stream, prompt, m, at 1 of "n.role"`},
		{call + `    messages: {$each: m in req.messages, role: {$enum: =m.role}}`, `m.yaml:5: request.messages.role: $enum without a case`},
		{call + `    messages: {$each: m in req.messages, role: {$enum: =m.role, user: ROLE_USE}}`, `m.yaml:5: request.messages.role.user: enum xai_api.MessageRole has no "ROLE_USE"; did you mean "ROLE_USER"?`},
		{call + `    model: {$each: m in req.messages, value: =m}`, `m.yaml:5: request.model: is a string, not a list: $each makes one, or a string with $join`},
		{call + `    model: {$eech: m in req.messages}`, `m.yaml:5: request.model: unknown command "$eech"; did you mean "$each"?` + "\n" + `m.yaml:5: request.model: is a string, not a section of keys`},
		{call + `    model: {$then: a}`, `m.yaml:5: request.model: $then without $if`},
		{call + `    model: {$if: yes, $then: a}`, `m.yaml:5: request.model.$if: must be an expression, which begins with =`},
		{call + `    model: {$if: =1, $then: a}`, `m.yaml:5: request.model.$if: a condition is a bool, and the expression gives an int`},
		{call + `    model: {$else: a}`, `m.yaml:5: request.model: $else stands alone; it belongs to $if and $then` + "\n" + `m.yaml:5: request.model: is a string, not a section of keys`},
		{call + `    model: =req..x`, `m.yaml:5: request.model: unexpected ".", at 5 of "req..x"`},
		{call + `    model: &a =req.x`, `m.yaml:5: request.model: anchors and aliases are not supported; write the value out`},
		{call + "    model: a\n    model: b", `m.yaml:6: not YAML: mapping key "model" already defined at [5:5]`},
		{call + "    modle: a\n    seed: x\n    n: =q", `m.yaml:5: request: xai_api.GetCompletionsRequest has no field "modle"; did you mean "model"?` + "\n" +
			`m.yaml:6: request.seed: is an int, not "x"` + "\n" + `m.yaml:7: request.n: unknown variable "q"; known are req, upstream_model, request_id, stream, prompt, at 1 of "q"`},
	} {
		_, err := load(t, s, c.text)
		if err == nil || err.Error() != c.want {
			t.Errorf("%s\ngot  %v\nwant %s", c.text, err, c.want)
		}
	}
}

// TestResponseFaults: what is said of replies is checked too.
func TestResponseFaults(t *testing.T) {
	s := schemaOf(t, "xai.proto")
	const call = "x:\n  call: {stream: xai_api.Chat/GetCompletionChunk}\n  request: {}\n  response:\n"
	for _, c := range []struct{ text, want string }{
		{`    choice: {}`, `m.yaml:5: response: response has no field "choice"; did you mean "choices"?`},
		{`    choices: {$each: o in r.output, index: =o.index}`, `m.yaml:5: response.choices.$each: xai_api.GetChatCompletionChunk has no field "output"; did you mean "outputs"?, at 3 of "r.output"`},
		{`    choices: {$each: o in r.outputs, txt: =o.index}`, `m.yaml:5: response.choices: a choice has no field "txt"; did you mean "text"?`},
		{`    choices: {$each: o in r.outputs, text: =o.index}`, `m.yaml:5: response.choices.text: is a string, and the expression gives an int`},
		{`    choices: {$each: o in r.outputs, index: =o.delta.content}`, `m.yaml:5: response.choices.index: is an int, and the expression gives a string`},
		{`    choices: {$each: o in r.outputs, finish: {$enum: =o.finish_reason, REASON_STP: stop}}`, `m.yaml:5: response.choices.finish: enum xai_api.FinishReason has no "REASON_STP"; did you mean "REASON_STOP"?`},
		{`    choices: {$each: o in r.outputs, finish: {$enum: =o.finish_reason, REASON_STOP: stopp}}`, `m.yaml:5: response.choices.finish.REASON_STOP: it has no "stopp"; did you mean "stop"?`},
		{`    usage: {$mode: first, prompt: =r.usage.prompt_tokens}`, `m.yaml:5: response.usage.$mode: must be last or sum`},
		{`    usage: {prompts: =r.usage.prompt_tokens}`, `m.yaml:5: response.usage: usage has no field "prompts"; did you mean "prompt"?`},
	} {
		_, err := load(t, s, call+c.text)
		if err == nil || err.Error() != c.want {
			t.Errorf("%s\ngot  %v\nwant %s", c.text, err, c.want)
		}
	}
}

// TestDocument: the example of docs/mapping.md is a mapping of the service.
func TestDocument(t *testing.T) {
	page, err := os.ReadFile("../../../docs/mapping.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(page), "```yaml\n")
	text, _, ok := strings.Cut(text, "```")
	if !ok {
		t.Fatal("no example")
	}
	list, err := load(t, schemaOf(t, "xai.proto"), text)
	if err != nil {
		t.Fatal(err)
	}
	got, err := list[0].Unary.AppendJSON(nil, &Input{Body: []byte(`{"messages":[{"role":"user","content":"Hi"}],"temperature":1}`), UpstreamModel: "g"})
	if want := `{"model":"g","temperature":1,"messages":[{"role":"ROLE_USER","content":[{"text":"Hi"}]}]}`; err != nil || string(got) != want {
		t.Errorf("%s, %v\nwant %s", got, err, want)
	}
}

// TestReaderIsReused: nothing of one reply is in the next.
func TestReaderIsReused(t *testing.T) {
	m := xai(t)
	r := m.Stream.NewReader()
	if _, err := r.Read(message(t, m.Stream.Method.Output(), chunk)); err != nil {
		t.Fatal(err)
	}
	r.Reset()
	e, err := r.Read(nil)
	if err != nil || len(e.Choices) != 0 || e.Usage.Known() {
		t.Errorf("%+v, %v", e, err)
	}
	if _, err := r.Read([]byte("\x0a\xff")); err == nil {
		t.Error("what is no message was read")
	}
}

// TestLimit: a mapping that asks for everything in every turn ends.
func TestLimit(t *testing.T) {
	list, err := load(t, schemaOf(t, "xai.proto"), "x:\n  call: {unary: xai_api.Chat/GetCompletion}\n  response: {}\n  request:\n    messages: {$each: [a in req.l, b in req.l, c in req.l], name: =json(req)}\n")
	if err != nil {
		t.Fatal(err)
	}
	_, err = list[0].Unary.AppendMessage(nil, &Input{Body: []byte(`{"l":[` + strings.Repeat("1,", 2000) + `1]}`)})
	if e, ok := errors.AsType[*Error](err); !ok || !e.Limit {
		t.Errorf("%v", err)
	}
}

// TestRefuse: the first reason that is there is the client's error.
func TestRefuse(t *testing.T) {
	const text = `x:
  call: {unary: xai_api.Chat/GetCompletion, embed: xai_api.Embedder/Embed}
  refuse:
    - {$if: =has(req.tools), $then: it has no tools}
    - $each: m in req.messages
      $if: =m.role == "robot"
      value: ="it has no " + m.role
  request: {model: =upstream_model, user: =prompt}
  response: {}
  embed: {refuse: [{$if: =has(req.dimensions), $then: one width}], request: {model: =upstream_model}, response: {}}
`
	list, err := load(t, schemaOf(t, "xai.proto"), text)
	if err != nil {
		t.Fatal(err)
	}
	m := list[0]
	for body, want := range map[string]string{
		`{"messages":[]}`: "<nil>",
		`{"messages":[{"role":"robot"},{"role":"robot"}]}`: "map x: refuse (line 4): it has no robot",
		`{"messages":[{"role":"robot"}],"tools":[]}`:       "map x: refuse (line 4): it has no tools",
	} {
		got, err := m.Unary.AppendJSON(nil, &Input{Body: []byte(body), UpstreamModel: "g", Prompt: []byte("p")})
		if fmt.Sprint(err) != want || err == nil && string(got) != `{"model":"g","user":"p"}` {
			t.Errorf("%s: %s, %v, want %s", body, got, err, want)
		}
	}
	if _, err := m.Embed.AppendMessage(nil, &Input{Body: []byte(`{"dimensions":1}`)}); err == nil || !strings.HasSuffix(err.Error(), ": one width") {
		t.Error(err)
	}
	if _, err := m.Unary.AppendJSON(nil, &Input{Body: []byte(`{"messages":[]}`)}); err != errNoPrompt {
		t.Error(err)
	}
	if got, err := m.Unary.AppendJSON(nil, &Input{Body: []byte(`{"prompt":"","messages_":[]}`)}); err == nil || strings.Contains(err.Error(), "template") {
		t.Errorf("%s, %v", got, err)
	}
	if !m.Prompts() || xai(t).Prompts() {
		t.Error("x uses the prompt, xai does not")
	}
	_, err = load(t, schemaOf(t, "xai.proto"), strings.Replace(text, "$then: it has no tools", "$then: 5", 1))
	if want := "m.yaml:4: refuse[0]: is a string, not 5: put it in quotes"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

// TestQuotedJSON: $json makes a string of what it holds, base64 for bytes.
func TestQuotedJSON(t *testing.T) {
	m := invented(t, "text:\n      $each: [m in req.messages, 'p in parts(m.?content)']\n      $if: =m.role != \"system\" && p.type == \"text\"\n      $join: =p.text + \"\\n\"", "text: {$json: {a: =req.?a, l: [1, {b: =req.?b}], s: \"x\", no: {$if: '=false', $then: 1}}}",
		"raw: =base64(upstream_model)", "raw: {$json: {n: =req.?none}}")
	got, err := m.Stream.AppendJSON(nil, &Input{Body: []byte(`{"messages":[],"a":"\"","b":2.50}`), UpstreamModel: "g"})
	want := `{"text":"{\"a\":\"\\\"\",\"l\":[1,{\"b\":2.50}],\"s\":\"x\"}",`
	if err != nil || !strings.HasPrefix(string(got), want) || strings.Contains(string(got), `"raw"`) {
		t.Errorf("%s, %v\nwant %s", got, err, want)
	}
	const call = "x:\n  call: {unary: xai_api.Chat/GetCompletion}\n  response: {}\n  request:\n"
	for text, want := range map[string]string{
		`    seed: {$json: {a: 1}}`:              `m.yaml:5: request.seed: is an int; $json makes a string`,
		`    model: {$json: {a: 1}, b: 2}`:       `m.yaml:5: request.model: "b" beside $json: put it inside`,
		`    model: {$json: {a: 1}, $if: =true}`: `m.yaml:5: request.model: $if does not go with $json`,
	} {
		if _, err := load(t, schemaOf(t, "xai.proto"), call+text); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

// TestEmptyLists: a message is not set for a list without elements.
func TestEmptyLists(t *testing.T) {
	list, err := load(t, schemaOf(t, "xai.proto"), "x:\n  call: {stream: xai_api.Chat/GetCompletionChunk}\n  response: {}\n  request:\n    stop: [{$if: =has(req.s), $then: =req.s}]\n    messages: {$each: m in req.m, content: {$each: c in req.c, text: =c}}\n")
	if err != nil {
		t.Fatal(err)
	}
	for body, want := range map[string]string{
		`{"m":[]}`:                     `{}`,
		`{"m":[1],"c":[],"s":"e"}`:     `{"stop":["e"],"messages":[{}]}`,
		`{"m":[1],"c":["a"],"s":null}`: `{"messages":[{"content":[{"text":"a"}]}]}`,
	} {
		if got, err := list[0].Stream.AppendJSON(nil, &Input{Body: []byte(body)}); err != nil || string(got) != want {
			t.Errorf("%s: %s, %v, want %s", body, got, err, want)
		}
	}
}
