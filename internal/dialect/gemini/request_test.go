//go:build !race

package gemini

import (
	"encoding/json"
	"fmt"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"unicode"

	"sluice/internal/dialect"
	"sluice/internal/dialect/chat"
	"sluice/internal/llm"
)

// ask reads a request of one dialect and writes it in another.
func ask(t testing.TB, from, to dialect.Dialect, model, body string) (asked dialect.Asked, lost string) {
	t.Helper()
	c := dialect.Conversation{Model: model}
	if err := from.ReadRequest(&c, []byte(body)); err != nil {
		t.Fatalf("%v of %s", err, body)
	}
	asked, err := to.WriteRequest(nil, &c, dialect.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return asked, c.Lost.String()
}

func equal(t testing.TB, what string, got []byte, want string) {
	t.Helper()
	var g, w any
	if err := json.Unmarshal(got, &g); err != nil {
		t.Errorf("%s: %v in %s", what, err, got)
		return
	}
	if err := json.Unmarshal([]byte(want), &w); err != nil {
		t.Fatalf("%s: %v in %s", what, err, want)
	}
	if !reflect.DeepEqual(g, w) {
		t.Errorf("%s: %s\nwant %s", what, got, want)
	}
}

// TestFromChat: what requests of Chat Completions become.
func TestFromChat(t *testing.T) {
	for _, c := range []struct {
		name, model, chat, want, lost string
	}{
		{"prompts, media, settings", "gemini-2.5-flash", `{"messages":[{"role":"system","content":"A"},{"role":"user","content":[{"type":"text","text":"B"},{"type":"image_url","image_url":{"url":"data:image/gif;base64,AA==","detail":"low"}},
			{"type":"image_url","image_url":{"url":"https://h/x.jpg"}},{"type":"input_audio","input_audio":{"data":"BB==","format":"mp3"}},{"type":"file","file":{"file_data":"JVBERi0="}},{"type":"file","file":{"file_id":"file-1"}}]},{"role":"developer","content":"C"}],
			"temperature":1,"top_p":0.5,"n":2,"stop":"x","seed":3,"max_completion_tokens":9,"logprobs":true,"top_logprobs":2,"response_format":{"type":"json_object"},"user":"u","presence_penalty":0.5}`,
			`{"systemInstruction":{"parts":[{"text":"A"},{"text":"C"}]},"contents":[{"role":"user","parts":[{"text":"B"},{"inlineData":{"mimeType":"image/gif","data":"AA=="}},{"fileData":{"mimeType":"image/jpeg","fileUri":"https://h/x.jpg"}},
			{"inlineData":{"mimeType":"audio/mp3","data":"BB=="}},{"inlineData":{"mimeType":"application/pdf","data":"JVBERi0="}}]}],
			"generationConfig":{"temperature":1,"topP":0.5,"candidateCount":2,"stopSequences":["x"],"seed":3,"maxOutputTokens":9,"responseLogprobs":true,"logprobs":2,"responseMimeType":"application/json","presencePenalty":0.5}}`, "system_position, detail, document, user"},
		{"results together, images after them", "gemini-2.5-pro", `{"messages":[{"role":"user","content":"A"},{"role":"assistant","content":"","tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}},{"id":"2","type":"function","function":{"name":"g","arguments":""}}]},
			{"role":"tool","tool_call_id":"1","content":[{"type":"text","text":"x"},{"type":"image_url","image_url":{"url":"data:image/png;base64,AA=="}}]},{"role":"tool","tool_call_id":"2","content":"{\"y\": [1]}"},{"role":"user","content":"B"}],
			"tools":[{"type":"function","function":{"name":"f","description":"d","parameters":{"type":"object"},"strict":true}},{"type":"function","function":{"name":"g"}},{"type":"web_search"}],"tool_choice":{"type":"function","function":{"name":"g"}},"parallel_tool_calls":false}`,
			`{"contents":[{"role":"user","parts":[{"text":"A"}]},{"role":"model","parts":[{"functionCall":{"id":"1","name":"f","args":{"a":1}}},{"functionCall":{"id":"2","name":"g","args":{}}}]},
			{"role":"user","parts":[{"functionResponse":{"id":"1","name":"f","response":{"output":"x"}}},{"functionResponse":{"id":"2","name":"g","response":{"y":[1]}}}]},{"role":"user","parts":[{"inlineData":{"mimeType":"image/png","data":"AA=="}},{"text":"B"}]}],
			"tools":[{"functionDeclarations":[{"name":"f","description":"d","parametersJsonSchema":{"type":"object"}},{"name":"g"}]}],"toolConfig":{"functionCallingConfig":{"mode":"ANY","allowedFunctionNames":["g"]}},"generationConfig":{}}`, "strict, web_search, parallel_tool_calls"},
		{"calls of others for Gemini 3", "gemini-3-flash", `{"messages":[{"role":"assistant","content":"A","reasoning_content":"T","tool_calls":[{"id":"1","function":{"name":"f","arguments":"{\"a\":"}},{"id":"2","function":{"name":"f","arguments":"{}"}}]},
			{"role":"tool","tool_call_id":"7","content":""},{"role":"assistant","reasoning_details":[{"text":"T"},{"signature":"AA=="}],"tool_calls":[{"id":"3","function":{"name":"f","arguments":"{}"}}]},
			{"role":"tool","tool_call_id":"3","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,AA=="}}]}],"reasoning_effort":"minimal"}`,
			`{"contents":[{"role":"model","parts":[{"text":"T","thought":true},{"text":"A"},{"functionCall":{"id":"1","name":"f","args":{}},"thoughtSignature":"skip_thought_signature_validator"},{"functionCall":{"id":"2","name":"f","args":{}}}]},
			{"role":"user","parts":[{"functionResponse":{"id":"7","name":"7","response":{"output":""}}}]},{"role":"model","parts":[{"text":"T","thought":true},{"functionCall":{"id":"3","name":"f","args":{}},"thoughtSignature":"AA=="}]},
			{"role":"user","parts":[{"functionResponse":{"id":"3","name":"f","response":{"output":""},"parts":[{"inlineData":{"mimeType":"image/png","data":"AA=="}}]}}]}],"generationConfig":{"thinkingConfig":{"thinkingLevel":"minimal"}}}`, "arguments"},
		{"a prompt alone", "m", `{"messages":[{"role":"system","content":"A"},{"role":"system","content":"B"}]}`,
			`{"systemInstruction":{"parts":[{"text":"A"}]},"contents":[{"role":"user","parts":[{"text":"B"}]}],"generationConfig":{}}`, ""},
		{"nothing said", "m", `{"messages":[{"role":"user","content":""},{"role":"assistant","content":""}]}`,
			`{"contents":[{"role":"user","parts":[{"text":""}]}],"generationConfig":{}}`, ""},
		{"a schema", "m", `{"messages":[{"role":"user","content":"A"}],"response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{"type":"object"},"strict":true}},"tool_choice":"required","metadata":{"a":"b"},"service_tier":"flex"}`,
			`{"contents":[{"role":"user","parts":[{"text":"A"}]}],"generationConfig":{"responseMimeType":"application/json","responseJsonSchema":{"type":"object"}}}`, "metadata, service_tier"},
	} {
		asked, lost := ask(t, chat.Dialect{}, Dialect{}, c.model, c.chat)
		equal(t, c.name, asked.Body, c.want)
		if lost != c.lost {
			t.Errorf("%s loses %q, want %q", c.name, lost, c.lost)
		}
		if want := "/v1beta/models/" + c.model + ":generateContent"; asked.Path != want || asked.RawQuery != "" || asked.Model != (llm.Span{}) {
			t.Errorf("%s: path %s?%s, want %s", c.name, asked.Path, asked.RawQuery, want)
		}
	}
}

// TestToChat: what requests of the API become for Chat Completions.
func TestToChat(t *testing.T) {
	for _, c := range []struct{ name, gemini, want, lost string }{
		{"ids are made, results matched", `{"contents":[{"parts":{"text":"A"}},{"role":"model","parts":[{"functionCall":{"name":"f","args":{"a":1}}},{"functionCall":{"name":"g"}},{"functionCall":{"name":"f"}}]},
			{"role":"function","parts":[{"functionResponse":{"name":"g","response":{"x":1}}},{"functionResponse":{"name":"f","response":{"result":"r"}}},{"function_response":{"name":"f","response":{"error":"e"}}},{"functionResponse":{"name":"h","response":{}}}]}]}`,
			`{"model":"m","messages":[{"role":"user","content":"A"},{"role":"assistant","content":null,"tool_calls":[{"type":"function","id":"call_1","function":{"name":"f","arguments":"{\"a\":1}"}},{"type":"function","id":"call_2","function":{"name":"g","arguments":"{}"}},{"type":"function","id":"call_3","function":{"name":"f","arguments":"{}"}}]},
			{"role":"tool","tool_call_id":"call_2","content":"{\"x\":1}"},{"role":"tool","tool_call_id":"call_1","content":"r"},{"role":"tool","tool_call_id":"call_3","content":"e"},{"role":"tool","tool_call_id":"call_4","content":"{}"}]}`, "is_error"},
		{"names in snake_case", `{"system_instruction":{"parts":[{"text":"S"}]},"contents":[{"role":"user","parts":[{"inline_data":{"mime_type":"image/png","data":"_-8"}},{"file_data":{"mime_type":"image/jpeg","file_uri":"https://h/x"}}]}],
			"generation_config":{"max_output_tokens":"7","top_p":0.5,"stop_sequences":["x"],"candidate_count":2,"response_mime_type":"application/json","response_schema":{"type":"OBJECT","properties":{"type":{"type":"STRING","nullable":true,"enum":["a"],"format":"enum"}},"property_ordering":["type"],"max_properties":"3","any_of":[{"type":"INTEGER"}],"example":1}},
			"tool_config":{"function_calling_config":{"mode":"ANY","allowed_function_names":["f"]}},"tools":[{"function_declarations":[{"name":"f","parameters":{"type":"OBJECT","additional_properties":false,"$defs":{"d":{"type":"NUMBER"}}}}]}]}`,
			`{"model":"m","messages":[{"role":"system","content":"S"},{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,/+8="}},{"type":"image_url","image_url":{"url":"https://h/x"}}]}],
			"max_tokens":7,"top_p":0.5,"stop":["x"],"n":2,"response_format":{"type":"json_schema","json_schema":{"name":"reply","schema":{"type":"object","properties":{"type":{"type":["string","null"],"enum":["a",null]}},"maxProperties":3,"anyOf":[{"type":"integer"}],"examples":[1]}}},
			"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object","additionalProperties":false,"$defs":{"d":{"type":"number"}}}}}],"tool_choice":{"type":"function","function":{"name":"f"}}}`, ""},
		{"what others have no word for", `{"contents":[{"role":"model","parts":[{"executableCode":{"language":"PYTHON","code":"1"}},{"text":"A"}]}],"tools":[{"googleSearch":{}},{"functionDeclarations":[{"name":"f","response":{"type":"STRING"}}]}],"toolConfig":{"functionCallingConfig":{"mode":"ANY","allowedFunctionNames":["f","g"]},"retrievalConfig":{}},
			"safetySettings":[{"category":"x"}],"labels":{},"generationConfig":{"topK":5,"speechConfig":{},"responseModalities":["TEXT","IMAGE"],"thinkingConfig":{"thinkingLevel":"LOW"},"responseMimeType":"text/x.enum"}}`,
			`{"model":"m","messages":[{"role":"assistant","content":"A"}],"tools":[{"type":"function","function":{"name":"f"}}],"tool_choice":"required","reasoning_effort":"low"}`,
			"executableCode, response, allowedFunctionNames, retrievalConfig, safetySettings, labels, speechConfig, modalities, response_format, googleSearch, top_k"},
		{"a count", `{"generateContentRequest":{"model":"models/x","contents":[{"parts":[{"text":"A"}]}]}}`, `{"model":"m","messages":[{"role":"user","content":"A"}]}`, ""},
		{"nulls are absent", `{"contents":[{"role":null,"parts":[{"text":"A","functionCall":null,"thought":null}]}],"tools":null,"generationConfig":{"temperature":null}}`, `{"model":"m","messages":[{"role":"user","content":"A"}]}`, ""},
		{"switches", `{"contents":[{"parts":[{"text":"A"}]}],"generationConfig":{"thinkingConfig":{"thinkingBudget":0}},"tools":[{"functionDeclarations":[{"name":"f"}]}],"toolConfig":{"functionCallingConfig":{"mode":"NONE"}}}`,
			`{"model":"m","messages":[{"role":"user","content":"A"}],"tools":[{"type":"function","function":{"name":"f"}}],"tool_choice":"none"}`, "reasoning_effort"},
	} {
		asked, lost := ask(t, Dialect{}, chat.Dialect{}, "m", c.gemini)
		equal(t, c.name, asked.Body, c.want)
		if lost != c.lost {
			t.Errorf("%s loses %q, want %q", c.name, lost, c.lost)
		}
	}
}

// TestSignatures: a signature stays with what was thought before it, and stands where the API
// has it when it goes back.
func TestSignatures(t *testing.T) {
	for _, parts := range []string{
		`{"text":"T","thought":true},{"functionCall":{"id":"1","name":"f","args":{}},"thoughtSignature":"AA=="},{"functionCall":{"id":"2","name":"f","args":{}}}`,
		`{"text":"A","thoughtSignature":"A\/=="}`,
		`{"text":"A"},{"text":"","thoughtSignature":"AA=="}`,
		`{"text":"T","thought":true},{"text":"A"},{"functionCall":{"id":"1","name":"f","args":{}},"thoughtSignature":"AA=="}`,
		`{"text":"","thoughtSignature":"AA=="},{"text":"B","thoughtSignature":"BB=="}`,
	} {
		body := `{"contents":[{"role":"model","parts":[` + parts + `]}],"generationConfig":{}}`
		asked, lost := ask(t, Dialect{}, Dialect{}, "gemini-3-pro", body)
		equal(t, parts, asked.Body, body)
		if lost != "" {
			t.Errorf("%s loses %s", parts, lost)
		}
	}
	body := `{"contents":[{"role":"model","parts":[{"text":"T","thought":true,"thoughtSignature":"no base64!"},{"text":"A"}]}],"generationConfig":{}}`
	asked, lost := ask(t, Dialect{}, Dialect{}, "m", body)
	equal(t, "no base64", asked.Body, `{"contents":[{"role":"model","parts":[{"text":"T","thought":true},{"text":"A"}]}],"generationConfig":{}}`)
	if lost != "signature" {
		t.Errorf("loses %q", lost)
	}
}

// TestThinking: how much a model is asked to think is told as it takes it.
func TestThinking(t *testing.T) {
	on := dialect.Reasoning{Mode: dialect.On}
	off := dialect.Reasoning{Mode: dialect.Off}
	effort := func(s string) dialect.Reasoning { return dialect.Reasoning{Effort: []byte(`"` + s + `"`)} }
	budget := func(n int) dialect.Reasoning { return dialect.Reasoning{Mode: dialect.On, Budget: fmt.Append(nil, n)} }
	for _, c := range []struct {
		model string
		r     dialect.Reasoning
		want  string
		lost  bool
	}{
		{"gemini-2.5-flash", dialect.Reasoning{}, ``, false},
		{"gemini-2.5-flash", on, `{"thinkingBudget":-1,"includeThoughts":true}`, false},
		{"gemini-2.5-flash", off, `{"thinkingBudget":0}`, false},
		{"gemini-2.5-pro", off, `{"thinkingBudget":128}`, true},
		{"gemini-2.5-flash", effort("medium"), `{"thinkingBudget":8192}`, false},
		{"gemini-2.5-flash", effort("odd"), `{}`, true},
		{"gemini-2.5-flash", budget(100), `{"thinkingBudget":512,"includeThoughts":true}`, false},
		{"gemini-2.5-pro", budget(100000), `{"thinkingBudget":32768,"includeThoughts":true}`, false},
		{"gemini-2.0-flash", effort("low"), ``, true},
		{"gemini-2.0-flash", off, ``, false},
		{"gemma-3-27b", effort("low"), ``, true},
		{"gemini-3-flash", effort("low"), `{"thinkingLevel":"low"}`, false},
		{"gemini-3-flash", off, `{"thinkingLevel":"minimal"}`, false},
		{"gemini-3-pro-preview", off, `{"thinkingLevel":"low"}`, true},
		{"gemini-3-pro-preview", effort("medium"), `{"thinkingLevel":"high"}`, false},
		{"gemini-3.1-pro-preview", effort("medium"), `{"thinkingLevel":"medium"}`, false},
		{"gemini-3.1-pro-preview", budget(20000), `{"thinkingLevel":"high","includeThoughts":true}`, false},
		{"models/gemini-3-flash", effort("xhigh"), `{"thinkingLevel":"high"}`, false},
		{"gemini-flash-latest", effort("high"), `{"thinkingBudget":24576}`, false},
		{"my-alias", dialect.Reasoning{Summary: []byte(`"auto"`)}, `{"includeThoughts":true}`, false},
	} {
		conversation := dialect.Conversation{Model: c.model, Reasoning: c.r}
		asked, err := Dialect{}.WriteRequest(nil, &conversation, dialect.Options{})
		if err != nil {
			t.Fatal(err)
		}
		var got struct {
			Config struct {
				Thinking json.RawMessage `json:"thinkingConfig"`
			} `json:"generationConfig"`
		}
		if err := json.Unmarshal(asked.Body, &got); err != nil {
			t.Fatalf("%v in %s", err, asked.Body)
		}
		if string(got.Config.Thinking) != c.want || (conversation.Lost.String() != "") != c.lost {
			t.Errorf("%s, %+v: %s (lost %q), want %s", c.model, c.r, got.Config.Thinking, conversation.Lost.String(), c.want)
		}
	}
}

// TestRefused: requests that mean nothing in the dialect.
func TestRefused(t *testing.T) {
	for body, param := range map[string]string{
		`{}`:                                    "contents",
		`{"contents":7}`:                        "contents",
		`{"contents":[7]}`:                      "contents[0]",
		`{"contents":[{},{"role":"wise"}]}`:     "contents[1].role",
		`{"contents":[{"parts":[7]}]}`:          "contents[0].parts",
		`{"contents":[{"parts":[{"text":7}]}]}`: "contents[0].parts",
		`{"contents":[{"parts":[{"functionCall":{}}]}]}`:                      "contents[0].parts",
		`{"contents":[{"parts":[{"functionCall":{"name":"f","args":[]}}]}]}`:  "contents[0].parts",
		`{"contents":[{"parts":[{"functionResponse":{"response":"x"}}]}]}`:    "contents[0].parts",
		`{"contents":[],"systemInstruction":"x"}`:                             "systemInstruction",
		`{"contents":[],"tools":7}`:                                           "tools",
		`{"contents":[],"tools":[{"functionDeclarations":[{}]}]}`:             "tools",
		`{"contents":[],"cachedContent":"cachedContents/a"}`:                  "cachedContent",
		`{"contents":[],"cached_content":"cachedContents/a"}`:                 "cachedContent",
		`{"contents":[],"toolConfig":{"functionCallingConfig":{"mode":"x"}}}`: "toolConfig",
		`{"contents":[],"generationConfig":7}`:                                "generationConfig",
		`{"contents":[],"generationConfig":{"stopSequences":[7]}}`:            "generationConfig.stopSequences",
	} {
		err := Dialect{}.ReadRequest(new(dialect.Conversation), []byte(body))
		if err == nil {
			t.Errorf("%s is taken", body)
			continue
		}
		if e := llm.AsError(err); e.Status != 400 || e.Param != param || e.Message == "" {
			t.Errorf("%s: %+v, want param %s", body, e, param)
		}
	}
}

// TestPath: the model's name is in the path, as far as it may be.
func TestPath(t *testing.T) {
	for model, want := range map[string]string{
		"gemini-2.5-flash":        "/v1beta/models/gemini-2.5-flash:generateContent",
		"models/gemini-2.5-flash": "/v1beta/models/gemini-2.5-flash:generateContent",
		"tunedModels/a":           "/v1beta/tunedModels/a:generateContent",
		"a/b c?d#e":               "/v1beta/models/a/b%20c%3Fd%23e:generateContent",
	} {
		if got := Path(model, Generate); got != want {
			t.Errorf("%s: %s, want %s", model, got, want)
		}
	}
	c := dialect.Conversation{Model: "m", Stream: true}
	if asked, err := (Dialect{}).WriteRequest([]byte("before"), &c, dialect.Options{}); err != nil || asked.Path != "/v1beta/models/m:streamGenerateContent" || asked.RawQuery != "alt=sse" || !strings.HasPrefix(string(asked.Body), "{") {
		t.Errorf("a stream is asked at %s?%s with %s, %v", asked.Path, asked.RawQuery, asked.Body, err)
	}
}

// TestPathStays: whatever a model is called, its path is that of a model, and a request that is
// translated for one of which it would not be is refused.
func TestPathStays(t *testing.T) {
	for _, model := range []string{"..", ".", "", "../files/a", "a/../../files/b", "a/..", "a//b", "/a", "a/", "models/../a", "tunedModels/../../x", "%2e%2e/a", "a/%2E%2E", `..\a`, `a\..\b`, "a\nb", "a\x7f", ".../a"} {
		p := Path(model, Generate)
		name, ok := strings.CutPrefix(p, Prefix+"models/")
		if !ok {
			name, ok = strings.CutPrefix(p, Prefix+"tunedModels/")
		}
		name, named := strings.CutSuffix(name, ":"+Generate)
		for range 2 { // as a proxy and the service may
			if !ok || !named || strings.ContainsAny(name, "/\\") || strings.Trim(name, ".") == "" && name != "" || strings.ContainsFunc(name, unicode.IsControl) {
				t.Errorf("path of %q is %s", model, p)
			}
			if strings.Contains(name, "%25") {
				name, _ = url.PathUnescape(name)
			}
		}
		c := &dialect.Conversation{Model: model}
		if _, err := (Dialect{}).WriteRequest(nil, c, dialect.Options{}); err == nil || llm.AsError(err).Status != 400 {
			t.Errorf("model %q: %v", model, err)
		}
	}
	for _, model := range []string{"gemini-2.5-pro", "a..b", "publishers/google/models/gemini-2.5-pro", ".a", "a?b#c", "llama:8b"} {
		if walks(model) {
			t.Errorf("%s is refused", model)
		}
	}
}
