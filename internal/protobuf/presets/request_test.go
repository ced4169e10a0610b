package presets

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"sluice/internal/protobuf/mapping"
)

func load(t testing.TB, name string) *mapping.Mapping {
	t.Helper()
	m, _, err := Load(name)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// chat is a conversation with all that chats have: an image, two calls of tools at once
// with what they gave, a structured answer.
const chat = `{"model":"m","temperature":0.5,"top_p":0.25,"max_tokens":100,"stop":["END"],"seed":7,
	"messages":[
		{"role":"system","content":"Be brief."},
		{"role":"user","content":[{"type":"text","text":"What is this?"},{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA","detail":"low"}}]},
		{"role":"assistant","content":null,"tool_calls":[
			{"id":"c1","type":"function","function":{"name":"look","arguments":"{\"at\":\"sky\"}"}},
			{"id":"c2","type":"function","function":{"name":"ask","arguments":""}}]},
		{"role":"tool","tool_call_id":"c1","content":"blue"},
		{"role":"tool","tool_call_id":"c2","content":[{"type":"text","text":"no"}]},
		{"role":"user","content":"So?"}],
	"tools":[{"type":"function","function":{"name":"look","description":"Looks.","parameters":{"type":"object","properties":{"at":{"type":"string"}}}}}],
	"tool_choice":"required",
	"response_format":{"type":"json_schema","json_schema":{"name":"a","schema":{"type":"object"}}}}`

// plain is what services take that have text alone.
const plain = `{"model":"m","temperature":0.5,"max_tokens":100,"stop":"END","seed":7,"n":1,
	"messages":[{"role":"system","content":"Be brief."},{"role":"user","content":[{"type":"text","text":"What is this?"}]}],
	"response_format":{"type":"json_schema","json_schema":{"name":"a","schema":{"type":"object"}}}}`

const embeddings = `{"model":"m","input":["one","zwölf"],"encoding_format":"base64"}`

func request(t *testing.T, c *mapping.Call, body string) ([]byte, error) {
	t.Helper()
	in := &mapping.Input{Body: []byte(body), UpstreamModel: "up", RequestID: "r1", Stream: true}
	if strings.Contains(body, `"messages"`) {
		in.Prompt = []byte("<s>What is this?")
	}
	return c.AppendMessage(nil, in)
}

// same compares wire bytes with a message in JSON, as Google's library reads both. Where
// the service's owner publishes the message, it is read as that.
func same(t *testing.T, md protoreflect.MessageDescriptor, wire []byte, want string) {
	t.Helper()
	if of, ok := theirs(t, md); ok {
		md = of
	}
	got, wanted := dynamicpb.NewMessage(md), dynamicpb.NewMessage(md)
	if err := proto.Unmarshal(wire, got); err != nil {
		t.Fatal(err)
	}
	if err := protojson.Unmarshal([]byte(want), wanted); err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(got, wanted) {
		t.Errorf("%s: got\n%v\nwant\n%v", md.FullName(), protojson.Format(got), protojson.Format(wanted))
	}
}

func TestRequests(t *testing.T) {
	google := func(model string, id1, id2 string) string {
		return `{"model":"` + model + `","systemInstruction":{"parts":[{"text":"Be brief."}]},"contents":[
			{"role":"user","parts":[{"text":"What is this?"},{"inlineData":{"mimeType":"image/png","data":"AAAA"}}]},
			{"role":"model","parts":[{"functionCall":{"name":"look","args":{"at":"sky"}` + id1 + `}},{"functionCall":{"name":"ask","args":{}` + id2 + `}}]},
			{"role":"user","parts":[{"functionResponse":{"name":"look","response":{"result":"blue"}` + id1 + `}},{"functionResponse":{"name":"ask","response":{"result":"no"}` + id2 + `}}]},
			{"role":"user","parts":[{"text":"So?"}]}],
			"tools":[{"functionDeclarations":[{"name":"look","description":"Looks.","parametersJsonSchema":{"type":"object","properties":{"at":{"type":"string"}}}}]}],
			"toolConfig":{"functionCallingConfig":{"mode":"ANY"}},
			"generationConfig":{"temperature":0.5,"topP":0.25,"maxOutputTokens":100,"stopSequences":["END"],"seed":7,"responseMimeType":"application/json","responseJsonSchema":{"type":"object"}}}`
	}
	for name, c := range map[string]struct{ body, want string }{
		"xai": {chat, `{"model":"up","temperature":0.5,"topP":0.25,"maxTokens":100,"stop":["END"],"seed":7,"messages":[
			{"role":"ROLE_SYSTEM","content":[{"text":"Be brief."}]},
			{"role":"ROLE_USER","content":[{"text":"What is this?"},{"imageUrl":{"imageUrl":"data:image/png;base64,AAAA","detail":"DETAIL_LOW"}}]},
			{"role":"ROLE_ASSISTANT","toolCalls":[{"id":"c1","type":"TOOL_CALL_TYPE_CLIENT_SIDE_TOOL","function":{"name":"look","arguments":"{\"at\":\"sky\"}"}},
				{"id":"c2","type":"TOOL_CALL_TYPE_CLIENT_SIDE_TOOL","function":{"name":"ask"}}]},
			{"role":"ROLE_TOOL","toolCallId":"c1","content":[{"text":"blue"}]},{"role":"ROLE_TOOL","toolCallId":"c2","content":[{"text":"no"}]},
			{"role":"ROLE_USER","content":[{"text":"So?"}]}],
			"tools":[{"function":{"name":"look","description":"Looks.","parameters":"{\"type\":\"object\",\"properties\":{\"at\":{\"type\":\"string\"}}}"}}],
			"toolChoice":{"mode":"TOOL_MODE_REQUIRED"},"responseFormat":{"formatType":"FORMAT_TYPE_JSON_SCHEMA","schema":"{\"type\":\"object\"}"}}`},
		"gemini": {chat, google("models/up", `,"id":"c1"`, `,"id":"c2"`)},
		"vertex": {chat, google("up", "", "")},
		"yandex": {strings.Replace(chat, `,{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA","detail":"low"}}`, "", 1), `{"modelUri":"up",
			"completionOptions":{"temperature":0.5,"maxTokens":"100"},"messages":[
			{"role":"system","text":"Be brief."},{"role":"user","text":"What is this?"},
			{"role":"assistant","toolCallList":{"toolCalls":[{"functionCall":{"name":"look","arguments":{"at":"sky"}}},{"functionCall":{"name":"ask","arguments":{}}}]}},
			{"role":"user","toolResultList":{"toolResults":[{"functionResult":{"name":"look","content":"blue"}},{"functionResult":{"name":"ask","content":"no"}}]}},
			{"role":"user","text":"So?"}],
			"tools":[{"function":{"name":"look","description":"Looks.","parameters":{"type":"object","properties":{"at":{"type":"string"}}}}}],
			"toolChoice":{"mode":"REQUIRED"},"jsonSchema":{"schema":{"type":"object"}}}`},
		"protobuf-http": {chat, `{"model":"up","stream":true,"temperature":0.5,"topP":0.25,"maxTokens":"100","stop":["END"],"jsonSchema":{"type":"object"},"messages":[
			{"role":"system","parts":[{"text":"Be brief."}]},
			{"role":"user","parts":[{"text":"What is this?"},{"imageUrl":"data:image/png;base64,AAAA"}]},
			{"role":"assistant","toolCalls":[{"id":"c1","name":"look","arguments":"{\"at\":\"sky\"}"},{"id":"c2","name":"ask"}]},
			{"role":"tool","toolCallId":"c1","parts":[{"text":"blue"}]},{"role":"tool","toolCallId":"c2","parts":[{"text":"no"}]},
			{"role":"user","parts":[{"text":"So?"}]}],
			"tools":[{"name":"look","description":"Looks.","parameters":{"type":"object","properties":{"at":{"type":"string"}}}}]}`},
		"vllm": {plain, `{"requestId":"r1","model":"up","text":"<s>What is this?","temperature":0.5,"sampling":{"numSequences":1,"seed":"7"},
			"decoding":{"json":"{\"type\":\"object\"}"},"stopping":{"maxNewTokens":100,"stopStrings":["END"]}}`},
	} {
		c1 := load(t, name).Stream
		wire, err := request(t, c1, c.body)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		same(t, c1.Method.Input(), wire, c.want)
	}
}

// TestTritonRequest: the parameters go in a tensor, as JSON.
func TestTritonRequest(t *testing.T) {
	c := load(t, "triton-vllm").Stream
	wire, err := request(t, c, plain)
	if err != nil {
		t.Fatal(err)
	}
	m := dynamicpb.NewMessage(c.Method.Input())
	if err := proto.Unmarshal(wire, m); err != nil {
		t.Fatal(err)
	}
	var got struct {
		ModelName, ID string
		Inputs        []struct {
			Name, Datatype string
			Shape          []string
			Contents       struct {
				BoolContents  []bool
				BytesContents [][]byte
			}
		}
	}
	b, _ := protojson.Marshal(m)
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if got.ModelName != "up" || got.ID != "r1" || len(got.Inputs) != 7 {
		t.Fatalf("%+v", got)
	}
	if text := string(got.Inputs[0].Contents.BytesContents[0]); got.Inputs[0].Name != "text_input" || text != "<s>What is this?" {
		t.Error(text)
	}
	for _, in := range got.Inputs[1:6] {
		if in.Datatype != "BOOL" || len(in.Shape) != 1 || in.Shape[0] != "1" || !in.Contents.BoolContents[0] {
			t.Errorf("%+v", in)
		}
	}
	const want = `{"temperature":0.5,"max_tokens":100,"stop":["END"],"seed":7,"guided_decoding":{"json":{"type":"object"}}}`
	if text := string(got.Inputs[6].Contents.BytesContents[0]); got.Inputs[6].Name != "sampling_parameters" || text != want {
		t.Errorf("%s\nwant %s", text, want)
	}
}

// TestSGLangRequest: the body is OpenAI's, with the model as the service calls it.
func TestSGLangRequest(t *testing.T) {
	m := load(t, "sglang")
	body := strings.Replace(chat, "{", `{"unknown":1,`, 1)
	wire, err := request(t, m.Stream, body)
	if err != nil {
		t.Fatal(err)
	}
	msg := dynamicpb.NewMessage(m.Stream.Method.Input())
	if err := proto.Unmarshal(wire, msg); err != nil {
		t.Fatal(err)
	}
	var got, want map[string]any
	if err := json.Unmarshal(msg.Get(msg.Descriptor().Fields().ByName("json_body")).Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	_ = json.Unmarshal([]byte(chat), &want)
	want["model"], want["stream"], want["stream_options"] = "up", true, map[string]any{"include_usage": true}
	a, _ := json.Marshal(got)
	b, _ := json.Marshal(want)
	if string(a) != string(b) {
		t.Errorf("got\n%s\nwant\n%s", a, b)
	}
}

func TestEmbeddingRequests(t *testing.T) {
	one := strings.Replace(embeddings, `["one","zwölf"]`, `"one"`, 1)
	for name, c := range map[string]struct{ body, want string }{
		"xai":            {embeddings, `{"model":"up","encodingFormat":"FORMAT_FLOAT","input":[{"string":"one"},{"string":"zwölf"}]}`},
		"gemini":         {embeddings, `{"model":"models/up","requests":[{"model":"models/up","content":{"parts":[{"text":"one"}]}},{"model":"models/up","content":{"parts":[{"text":"zwölf"}]}}]}`},
		"vertex":         {embeddings, `{"endpoint":"up","instances":[{"content":"one"},{"content":"zwölf"}]}`},
		"open-inference": {embeddings, `{"modelName":"up","id":"r1","inputs":[{"name":"text_input","datatype":"BYTES","shape":["2","1"],"contents":{"bytesContents":["b25l","enfDtmxm"]}}]}`},
		"tei":            {one, `{"inputs":"one","normalize":true}`},
		"yandex":         {one, `{"modelUri":"up","text":"one"}`},
		"protobuf-http":  {embeddings, `{"model":"up","texts":["one","zwölf"]}`},
		"sglang":         {one, `{"jsonBody":"eyJtb2RlbCI6InVwIiwiaW5wdXQiOiJvbmUiLCJlbmNvZGluZ19mb3JtYXQiOiJmbG9hdCJ9"}`},
	} {
		call := load(t, name).Embed
		wire, err := request(t, call, c.body)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		same(t, call.Method.Input(), wire, c.want)
	}
}

// TestAbort: a request is known by the id that it was sent with.
func TestAbort(t *testing.T) {
	c := load(t, "vllm").Abort
	wire, err := request(t, c, `{}`)
	if err != nil {
		t.Fatal(err)
	}
	same(t, c.Method.Input(), wire, `{"requestIds":["r1"]}`)
}

// TestRefused: what a service cannot do is said, and not left out.
func TestRefused(t *testing.T) {
	const tools = "this service takes a prompt and gives text: it calls no tools"
	const image = "this service takes a prompt as text; it cannot take a part of the type image_url"
	withTools := strings.Replace(plain, "{", `{"tools":[{"type":"function"}],`, 1)
	for _, c := range []struct{ name, body, want string }{
		{"vllm", withTools, tools},
		{"vllm", strings.Replace(withTools, "{", `{"tool_choice":"none",`, 1), ""},
		{"vllm", strings.Replace(chat, "tools", "tulips", 1), image},
		{"vllm", strings.Replace(plain, "{", `{"logprobs":true,`, 1), "this service tells logprobs of token ids only, which need its tokenizer"},
		{"vllm", strings.Replace(plain, `"n":1`, `"n":3`, 1), ""},
		{"triton-vllm", withTools, tools},
		{"triton-vllm", strings.Replace(chat, "tools", "tulips", 1), image},
		{"triton-vllm", strings.Replace(plain, `"n":1`, `"n":3`, 1), "this service is asked for one choice at a time; leave n out"},
		{"sglang", `{"prompt":"a"}`, "this mapping has chats and no completions; send messages"},
		{"yandex", chat, "this service takes text only; it cannot take a part of the type image_url"},
	} {
		_, err := request(t, load(t, c.name).Stream, c.body)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.HasSuffix(err.Error(), ": "+c.want)) {
			t.Errorf("%s: %v, want %s", c.name, err, c.want)
		}
	}
	for _, c := range []struct{ name, body, want string }{
		{"tei", embeddings, "this service embeds one text in a call; send one input"},
		{"yandex", embeddings, "this service embeds one text in a call; send one input"},
		{"tei", `{"input":"a","dimensions":5}`, "the model behind this service has one number of dimensions; leave dimensions out"},
		{"open-inference", `{"input":"a","dimensions":5}`, "the model behind this service has one number of dimensions; leave dimensions out"},
	} {
		_, err := request(t, load(t, c.name).Embed, c.body)
		if err == nil || !strings.HasSuffix(err.Error(), ": "+c.want) {
			t.Errorf("%s: %v, want %s", c.name, err, c.want)
		}
	}
	for _, name := range []string{"vllm", "triton-vllm"} {
		if !load(t, name).Prompts() {
			t.Error(name, "needs no chat template")
		}
	}
	if load(t, "xai").Prompts() {
		t.Error("xai needs a chat template")
	}
}

// TestChoiceOfTool: a tool that is named.
func TestChoiceOfTool(t *testing.T) {
	body := strings.Replace(chat, `"tool_choice":"required"`, `"tool_choice":{"type":"function","function":{"name":"look"}}`, 1)
	for name, want := range map[string]string{
		"xai": `"toolChoice":{"functionName":"look"}`, "gemini": `"toolConfig":{"functionCallingConfig":{"mode":"ANY","allowedFunctionNames":["look"]}}`,
	} {
		got, err := load(t, name).Unary.AppendJSON(nil, &mapping.Input{Body: []byte(body)})
		if err != nil || !strings.Contains(string(got), want) {
			t.Errorf("%s: %s, %v", name, got, err)
		}
	}
}

// TestLongConversation: what an agent's conversation costs grows with its length alone.
func TestLongConversation(t *testing.T) {
	var b strings.Builder
	b.WriteString(`{"messages":[{"role":"user","content":"Go."}`)
	for i := range 1000 {
		fmt.Fprintf(&b, `,{"role":"assistant","tool_calls":[{"id":"c%d","type":"function","function":{"name":"read","arguments":"{}"}}]},{"role":"tool","tool_call_id":"c%d","content":"%s"}`, i, i, strings.Repeat("x", 2000))
	}
	body := b.String() + "]}"
	for _, name := range Names() {
		if c := load(t, name).Stream; c != nil && !load(t, name).Prompts() {
			if wire, err := request(t, c, body); err != nil || len(wire) < 2_000_000 {
				t.Errorf("%s: %d bytes, %v", name, len(wire), err)
			}
		}
	}
}
