//go:build !race

package responses

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"sluice/internal/dialect"
	"sluice/internal/jsonscan"
	"sluice/internal/llm"
	"sluice/internal/testkit"
)

// TestRequests: a recorded request that was read and written again asks the same, but for
// what is named as lost.
func TestRequests(t *testing.T) {
	testkit.Each(t, testRequests)
}

func testRequests(t *testing.T, in testkit.Inputs) {
	n, refused := 0, 0
	for i, p := range in.Pairs(t) {
		var asked map[string]any
		if !strings.Contains(p.URL, "/responses") || json.Unmarshal([]byte(p.Request), &asked) != nil {
			continue
		}
		n++
		var c dialect.Conversation
		c.Model, _ = asked["model"].(string)
		c.Stream, _ = asked["stream"].(bool)
		if err := (Dialect{}).ReadRequest(&c, []byte(p.Request)); err != nil {
			if asked["previous_response_id"] == nil && asked["conversation"] == nil && asked["background"] == nil {
				t.Errorf("%d: %v", i, err)
			}
			refused++
			continue
		}
		out, err := Dialect{}.WriteRequest(nil, &c, dialect.Options{})
		if err != nil {
			t.Errorf("%d: %v", i, err)
			continue
		}
		if name := string(out.Body[out.Model.Start:out.Model.End]); name != `"`+c.Model+`"` {
			t.Errorf("%d: the model is at %s", i, name)
		}
		var again map[string]any
		if err := json.Unmarshal(out.Body, &again); err != nil {
			t.Errorf("%d: %v in %s", i, err, out.Body)
			continue
		}
		if got, want := canonical(again, nil), canonical(asked, c.Lost.Names()); got != want {
			t.Errorf("%d asks\n%s\nwant\n%s\nlost %v", i, got, want, c.Lost.Names())
		}
	}
	if t.Logf("%d requests, of which %d need state", n, refused); in.Least(2) == 2 && n < 200 {
		t.Error("these are few")
	}
}

// canonical is a request in one form of those that mean the same, without what is lost.
func canonical(r map[string]any, lost []string) string {
	for _, name := range append([]string{"stream_options", "store", "include", "truncation", "background", "text.verbosity"}, lost...) {
		delete(r, name)
	}
	for name, v := range r {
		if v == nil {
			delete(r, name)
		}
	}
	if v := r["reasoning"]; v != nil {
		object := v.(map[string]any)
		if v := object["generate_summary"]; v != nil {
			object["summary"] = v
			delete(object, "generate_summary")
		}
		for name, v := range object {
			if v == nil || slices.Contains(lost, "reasoning."+name) {
				delete(object, name)
			}
		}
		if len(object) == 0 {
			delete(r, "reasoning")
		}
	}
	if v, ok := r["text"].(map[string]any); ok {
		delete(v, "verbosity")
		if f, ok := v["format"].(map[string]any); !ok || f["type"] == "text" {
			delete(r, "text")
		}
	}
	if r["stream"] == false {
		delete(r, "stream")
	}
	items, ok := r["input"].([]any)
	if !ok {
		items = []any{map[string]any{"role": "user", "content": r["input"]}}
	}
	if s := r["instructions"]; s != nil {
		items = append([]any{map[string]any{"role": "system", "content": s}}, items...)
		delete(r, "instructions")
	}
	choice, _ := r["tool_choice"].(map[string]any)
	tools, _ := r["tools"].([]any)
	tools = slices.DeleteFunc(tools, func(v any) bool {
		tool := v.(map[string]any)
		delete(tool, "defer_loading")
		if tool["description"] == nil {
			delete(tool, "description")
		}
		if tool["type"] == "function" {
			tool["strict"] = tool["strict"] == true
		}
		allowed, ok := choice["tools"].([]any)
		return slices.Contains(lost, fmt.Sprint(tool["type"])) || ok && !strings.Contains(fmt.Sprint(allowed...), fmt.Sprint(tool["name"]))
	})
	if choice["type"] == "allowed_tools" {
		r["tool_choice"] = choice["mode"]
	}
	if r["tools"] = tools; len(tools) == 0 {
		delete(r, "tools")
		delete(r, "tool_choice")
		delete(r, "parallel_tool_calls")
	}
	items = slices.DeleteFunc(items, func(v any) bool {
		item := v.(map[string]any)
		kind := fmt.Sprint(item["type"])
		return slices.Contains(lost, kind) || kind == "reasoning" && (item["encrypted_content"] == nil || item["encrypted_content"] == "")
	})
	for _, v := range items {
		canonicalItem(v.(map[string]any))
	}
	r["input"] = items
	out, _ := json.Marshal(r)
	return string(out)
}

func canonicalItem(item map[string]any) {
	for _, name := range []string{"id", "status", "namespace", "phase"} {
		delete(item, name)
	}
	if item["type"] == "message" {
		delete(item, "type")
	}
	for _, name := range []string{"content", "output"} {
		parts, ok := item[name].([]any)
		if !ok {
			continue
		}
		for _, v := range parts {
			part := v.(map[string]any)
			delete(part, "logprobs")
			if list, ok := part["annotations"].([]any); ok && len(list) == 0 {
				delete(part, "annotations")
			}
		}
		if part := parts[0].(map[string]any); len(parts) == 1 && strings.HasSuffix(fmt.Sprint(part["type"]), "put_text") && part["annotations"] == nil {
			item[name] = part["text"]
		}
	}
	if item["type"] == "reasoning" {
		delete(item, "content")
		parts, _ := item["summary"].([]any)
		var texts []string
		for _, v := range parts {
			texts = append(texts, v.(map[string]any)["text"].(string))
		}
		item["summary"] = strings.Join(texts, "\n\n")
	}
}

// read reads a request that means something.
func read(t *testing.T, body string) *dialect.Conversation {
	t.Helper()
	c := &dialect.Conversation{Model: "m"}
	if err := (Dialect{}).ReadRequest(c, []byte(body)); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	return c
}

// write writes it again.
func write(t *testing.T, c *dialect.Conversation) string {
	t.Helper()
	asked, err := Dialect{}.WriteRequest([]byte("before"), c, dialect.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if asked.Op != llm.Response || asked.Path != "/v1/responses" || string(asked.Body[asked.Model.Start:asked.Model.End]) != `"m"` {
		t.Errorf("asked %+v", asked)
	}
	valid(t, asked.Body)
	return string(asked.Body)
}

// TestEverything: each member that there is a word for comes through.
func TestEverything(t *testing.T) {
	c := read(t, `{"model":"m","stream":true,"instructions":"be brief","temperature":0.5,"top_p":0.9,"max_output_tokens":100,"top_logprobs":2,
	"include":["message.output_text.logprobs","reasoning.encrypted_content"],"parallel_tool_calls":false,"safety_identifier":"u","metadata":{"a":"b"},
	"service_tier":"flex","prompt_cache_key":"k","truncation":"disabled","background":false,"store":false,"previous_response_id":null,
	"reasoning":{"effort":"high","summary":"auto"},
	"text":{"verbosity":"medium","format":{"type":"json_schema","name":"n","description":"d","schema":{"type":"object"},"strict":true}},
	"tool_choice":{"type":"function","name":"f"},
	"tools":[{"type":"function","name":"f","description":"x","parameters":{"type":"object"},"strict":true},{"type":"web_search","search_context_size":"low"}],
	"input":[{"role":"developer","content":"dev"},
	 {"type":"message","role":"user","content":[{"type":"input_text","text":"see"},{"type":"input_image","image_url":"data:image/png;base64,AAAA","detail":"low"},
	  {"type":"input_image","image_url":"https://h/i.png"},{"type":"input_image","file_id":"file-1"},
	  {"type":"input_file","filename":"a.pdf","file_data":"data:application/pdf;base64,BBBB"},{"type":"input_file","file_url":"https://h/f.pdf"},{"type":"input_file","file_id":"file-2"},
	  {"type":"input_audio","input_audio":{"data":"CCCC","format":"mp3"}}]},
	 {"type":"reasoning","id":"rs_1","summary":[{"type":"summary_text","text":"one"},{"type":"summary_text","text":"two"}],"encrypted_content":"sig"},
	 {"type":"message","role":"assistant","content":[{"type":"output_text","text":"let me","annotations":[{"type":"url_citation","url":"https://h","title":"t","start_index":1,"end_index":2}]},{"type":"refusal","refusal":"no"}]},
	 {"type":"function_call","call_id":"c1","name":"f","arguments":"{\"a\":1}"},
	 {"type":"function_call","call_id":"c2","name":"f","arguments":"{}"},
	 {"type":"function_call_output","call_id":"c1","output":"r1"},
	 {"type":"function_call_output","call_id":"c2","output":[{"type":"input_text","text":"r2"},{"type":"input_image","image_url":"https://h/r.png"}]},
	 {"role":"user","content":"and?"}]}`)
	c.Stream = true
	var shape []string
	for _, m := range c.Messages {
		s := fmt.Sprint(m.Role)
		for _, p := range m.Parts {
			s += fmt.Sprintf(" %d", p.Kind)
		}
		shape = append(shape, s)
	}
	if got, want := strings.Join(shape, "|"), "2 0|3 0|0 0 3 3 3 4 4 4 5|1 2 0 1 6 6|0 7 7|0 0"; got != want {
		t.Errorf("messages are %s, want %s", got, want)
	}
	want := `{"model":"m","input":[{"role":"system","content":"be brief"},{"role":"developer","content":"dev"},` +
		`{"role":"user","content":[{"type":"input_text","text":"see"},{"type":"input_image","image_url":"data:image/png;base64,AAAA","detail":"low"},` +
		`{"type":"input_image","image_url":"https://h/i.png"},{"type":"input_image","file_id":"file-1"},` +
		`{"type":"input_file","filename":"a.pdf","file_data":"data:application/pdf;base64,BBBB"},{"type":"input_file","file_url":"https://h/f.pdf"},{"type":"input_file","file_id":"file-2"},` +
		`{"type":"input_audio","input_audio":{"data":"CCCC","format":"mp3"}}]},` +
		`{"type":"reasoning","summary":[{"type":"summary_text","text":"one\n\ntwo"}],"encrypted_content":"sig"},` +
		`{"role":"assistant","content":[{"type":"output_text","text":"let me","annotations":[{"type":"url_citation","start_index":1,"end_index":2,"url":"https://h","title":"t"}]},{"type":"refusal","refusal":"no"}]},` +
		`{"type":"function_call","call_id":"c1","name":"f","arguments":"{\"a\":1}"},{"type":"function_call","call_id":"c2","name":"f","arguments":"{}"},` +
		`{"type":"function_call_output","call_id":"c1","output":"r1"},` +
		`{"type":"function_call_output","call_id":"c2","output":[{"type":"input_text","text":"r2"},{"type":"input_image","image_url":"https://h/r.png"}]},` +
		`{"role":"user","content":"and?"}],` +
		`"tools":[{"type":"function","name":"f","description":"x","parameters":{"type":"object"},"strict":true},{"type":"web_search","search_context_size":"low"}],` +
		`"tool_choice":{"type":"function","name":"f"},"parallel_tool_calls":false,"max_output_tokens":100,"temperature":0.5,"top_p":0.9,"top_logprobs":2,` +
		`"user":"u","metadata":{"a":"b"},"prompt_cache_key":"k","service_tier":"flex",` +
		`"text":{"format":{"type":"json_schema","name":"n","description":"d","schema":{"type":"object"},"strict":true}},` +
		`"reasoning":{"effort":"high","summary":"auto"},"include":["reasoning.encrypted_content","message.output_text.logprobs"],"stream":true,"store":false}`
	if got := write(t, c); got != want {
		t.Errorf("wrote\n%s\nwant\n%s", got, want)
	}
	if lost := c.Lost.String(); lost != "" {
		t.Errorf("lost %s", lost)
	}
}

// TestCustomTools: what takes a text is a function of one argument, in the conversation too.
func TestCustomTools(t *testing.T) {
	c := read(t, `{"model":"m","input":[
	 {"type":"custom_tool_call","call_id":"c1","name":"apply_patch","input":"*** Begin\n\"x\""},
	 {"type":"local_shell_call","call_id":"c2","status":"completed","action":{"type":"exec","command":["ls"],"env":{}}},
	 {"type":"custom_tool_call_output","call_id":"c1","output":"Done"},
	 {"type":"local_shell_call_output","id":"c2","output":"a.go"}],
	 "tools":[{"type":"custom","name":"apply_patch","description":"Patches.","format":{"type":"grammar","syntax":"lark","definition":"start: \"x\"\n"}},{"type":"custom","name":"plain"},{"type":"local_shell"}],
	 "tool_choice":{"type":"custom","name":"plain"}}`)
	want := `{"model":"m","input":[{"type":"function_call","call_id":"c1","name":"apply_patch","arguments":"{\"input\":\"*** Begin\\n\\\"x\\\"\"}"},` +
		`{"type":"function_call","call_id":"c2","name":"local_shell","arguments":"{\"type\":\"exec\",\"command\":[\"ls\"],\"env\":{}}"},` +
		`{"type":"function_call_output","call_id":"c1","output":"Done"},{"type":"function_call_output","call_id":"c2","output":"a.go"}],` +
		`"tools":[{"type":"function","name":"apply_patch","description":"Patches.\n\nThe input has to follow this grammar (lark):\nstart: \"x\"\n","parameters":` + customSchema + `,"strict":false},` +
		`{"type":"function","name":"plain","parameters":` + customSchema + `,"strict":false},` +
		`{"type":"function","name":"local_shell","description":` + localShellDescription + `,"parameters":` + localShellSchema + `,"strict":false}],` +
		`"tool_choice":{"type":"function","name":"plain"},"store":false}`
	if got := write(t, c); got != want || c.Lost.String() != "" {
		t.Errorf("wrote\n%s\nwant\n%s\nlost %s", got, want, c.Lost.String())
	}
	for _, schema := range []string{customSchema, localShellSchema, localShellDescription} {
		valid(t, []byte(schema))
	}
}

// TestTurns: items of the model's are one message as long as nobody else says anything, but
// for messages that follow each other.
func TestTurns(t *testing.T) {
	for input, want := range map[string]string{
		`"hi"`: "0:1",
		`[]`:   "",
		`[{"role":"assistant","content":"a"},{"role":"assistant","content":"b"}]`: "1:1 1:1",
		`[{"type":"reasoning","summary":[],"encrypted_content":"s"},{"role":"assistant","content":"a"},{"type":"function_call","call_id":"c","name":"f","arguments":"{}"},{"role":"assistant","content":"b"},{"type":"function_call_output","call_id":"c","output":""},{"role":"assistant","content":"d"}]`: "1:4 0:1 1:1",
		`[{"type":"function_call","call_id":"c","name":"f","arguments":"{}"},{"type":"function_call_output","call_id":"c","output":""},{"type":"function_call_output","call_id":"d","output":"x"},{"role":"user","content":"u"},{"type":"function_call_output","call_id":"e","output":null}]`:               "1:1 0:2 0:1 0:1",
		`[{"type":"reasoning","id":"rs_1","summary":[]},{"role":"user","content":[]}]`: "0:0",
	} {
		c := read(t, `{"model":"m","input":`+input+`}`)
		var got []string
		for _, m := range c.Messages {
			got = append(got, fmt.Sprintf("%d:%d", m.Role, len(m.Parts)))
		}
		if s := strings.Join(got, " "); s != want {
			t.Errorf("%s is %s, want %s", input, s, want)
		}
	}
}

// TestAllowedTools: tools that are not allowed are not there.
func TestAllowedTools(t *testing.T) {
	c := read(t, `{"model":"m","tool_choice":{"type":"allowed_tools","mode":"required","tools":[{"type":"function","name":"b"},{"type":"web_search"}]},"input":"x",
	"tools":[{"type":"function","name":"a"},{"type":"function","name":"\u0062"},{"type":"web_search"}]}`)
	if len(c.Tools) != 2 || dialect.String(c.Tools[0].Name) != "b" || c.ToolChoice.Mode != dialect.ToolsRequired {
		t.Errorf("%+v %+v", c.Tools, c.ToolChoice)
	}
}

// TestRefused: requests that mean nothing, or that stand on what is not kept.
func TestRefused(t *testing.T) {
	for body, want := range map[string]string{
		`{}`:                     "missing_required_parameter input",
		`{"input":null}`:         "missing_required_parameter input",
		`{"input":7}`:            "invalid_type input",
		`{"input":["x"]}`:        "invalid_type input[0]",
		`{"input":[{"type":7}]}`: "invalid_type input[0].type",
		`{"input":[{"role":"king","content":"x"}]}`:                               "invalid_value input[0].role",
		`{"input":[{"content":"x"}]}`:                                             "missing_required_parameter input[0].type",
		`{"input":[{"type":"message","content":"x"}]}`:                            "missing_required_parameter input[0].role",
		`{"input":["x"],"tools":{}}`:                                              "invalid_type tools",
		`{"input":"x","tools":[{}]}`:                                              "missing_required_parameter tools[0].type",
		`{"input":"x","tools":[{"type":"function","function":{"name":"f"}}]}`:     "missing_required_parameter tools[0].name",
		`{"input":"x","tool_choice":7}`:                                           "invalid_type tool_choice",
		`{"input":"x","tool_choice":"any"}`:                                       "invalid_value tool_choice",
		`{"input":"x","tool_choice":{"type":"function"}}`:                         "missing_required_parameter tool_choice.name",
		`{"input":[{"role":"user","content":7}]}`:                                 "invalid_type input[0].content",
		`{"input":[{"role":"user","content":[{"type":"video"}]}]}`:                "invalid_value input[0].content",
		`{"input":[{"role":"user","content":[{"type":"input_text"}]}]}`:           "missing_required_parameter input[0].content",
		`{"input":[{"role":"user","content":[{"type":"input_image"}]}]}`:          "missing_required_parameter input[0].content",
		`{"input":[{"type":"function_call","name":"f","arguments":"{}"}]}`:        "missing_required_parameter input[0].call_id",
		`{"input":[{"type":"function_call","call_id":"c","arguments":"{}"}]}`:     "missing_required_parameter input[0].name",
		`{"input":[{"type":"function_call_output","output":"x"}]}`:                "missing_required_parameter input[0].call_id",
		`{"input":[{"type":"function_call_output","call_id":"c","output":{}}]}`:   "invalid_type input[0].output",
		`{"input":[{"type":"item_reference","id":"rs_1"}]}`:                       " input",
		`{"input":"x","previous_response_id":"resp_1"}`:                           "previous_response_not_found previous_response_id",
		`{"input":"x","conversation":"conv_1"}`:                                   "unsupported_parameter conversation",
		`{"input":"x","prompt":{"id":"p"}}`:                                       "unsupported_parameter prompt",
		`{"input":"x","background":true}`:                                         "unsupported_parameter background",
		`{"input":"x","previous_response_id":"` + strings.Repeat("x", 999) + `"}`: "previous_response_not_found previous_response_id",
	} {
		err := (Dialect{}).ReadRequest(new(dialect.Conversation), []byte(body))
		e, ok := errors.AsType[*llm.Error](err)
		if !ok || e.Status != 400 || e.Code+" "+e.Param != want || len(e.Message) > 300 {
			t.Errorf("%s: %+v, want %s", body, err, want)
		}
	}
}

// TestLost: what is not carried is named, by readers and by writers.
func TestLost(t *testing.T) {
	for body, want := range map[string]string{
		`{"input":"x","store":true,"truncation":"auto","max_tool_calls":3,"something":{}}`:                                                                             "store, truncation, max_tool_calls, something",
		`{"input":"x","text":{"verbosity":"low"},"reasoning":{"context":"all"},"include":["web_search_call.action.sources"]}`:                                          "verbosity, reasoning.context, include",
		`{"input":"x","tool_choice":{"type":"web_search"},"frequency_penalty":0.0,"presence_penalty":1,"metadata":{}}`:                                                 "presence_penalty, tool_choice",
		`{"input":[{"type":"web_search_call","id":"w"},{"type":"compaction"},{"role":"user","content":[{"type":"computer_screenshot"}]}]}`:                             "web_search_call, compaction, image",
		`{"input":[{"type":"function_call","call_id":"c","name":"f","namespace":"n","arguments":"{}"}],"tools":[{"type":"function","name":"f","defer_loading":true}]}`: "defer_loading, namespace",
	} {
		if got := read(t, body).Lost.String(); got != want {
			t.Errorf("%s lost %s, want %s", body, got, want)
		}
	}
	c := &dialect.Conversation{
		Model: "m", TopK: b("5"), Seed: b("1"), Stop: [][]byte{b(`"x"`)}, Count: b("2"), PresencePenalty: b("1"), FrequencyPenalty: b("0.0"), Tier: b(`"standard_only"`),
		Tools: []dialect.Tool{{Raw: b(`{"type":"web_search_20250305"}`), Name: b(`"web_search_20250305"`)}, {Name: b(`"f"`), CacheControl: b("{}")}},
		Messages: []dialect.Message{
			{Role: dialect.User, Name: b(`"n"`), Parts: []dialect.Part{{Kind: dialect.ToolResult, ID: b(`"c"`), Failed: true}}},
			{Role: dialect.Assistant, Parts: []dialect.Part{{Kind: dialect.Thinking, Text: b(`"hm"`)}, {Kind: dialect.Image}}},
			{Role: dialect.User, Parts: []dialect.Part{{Kind: dialect.Text, Text: b(`"x"`), Citations: []dialect.Citation{{}}}, {Kind: dialect.Audio, Media: dialect.Media{URL: b(`"u"`)}}, {Kind: dialect.ToolUse}}},
		},
	}
	got := write(t, c)
	if want := "name, is_error, reasoning, image, citations, audio, content, web_search_20250305, cache_control, service_tier, top_k, seed, presence_penalty, stop, n"; c.Lost.String() != want {
		t.Errorf("lost %s, want %s", c.Lost.String(), want)
	}
	if want := `{"model":"m","input":[{"type":"function_call_output","call_id":"c","output":""},{"role":"assistant","content":[]},{"role":"user","content":[{"type":"input_text","text":"x"}]}],` +
		`"tools":[{"type":"function","name":"f","parameters":{"type":"object","properties":{}},"strict":false}],"store":false}`; got != want {
		t.Errorf("wrote\n%s, want\n%s", got, want)
	}
}

// TestOfOthers: what others say in words that are not this dialect's own.
func TestOfOthers(t *testing.T) {
	for want, c := range map[string]dialect.Conversation{
		`"reasoning":{"effort":"none"}`: {Reasoning: dialect.Reasoning{Mode: dialect.Off}},
		`"reasoning":{"effort":"high","summary":"auto"},"include":["reasoning.encrypted_content"]`: {Reasoning: dialect.Reasoning{Mode: dialect.On, Budget: b("20000"), Summary: b(`"auto"`)}},
		`"text":{"format":{"type":"json_object"}}`:                                                 {Format: dialect.Format{Mode: dialect.JSONFormat}},
		`"text":{"format":{"type":"json_schema","name":"reply","schema":{"type":"object"}}}`:       {Format: dialect.Format{Mode: dialect.SchemaFormat}},
		`{"type":"input_file","filename":"document.txt","file_data":"data:text/plain;base64,AA"}`:  {Messages: []dialect.Message{{Parts: []dialect.Part{{Kind: dialect.Document, Media: dialect.Media{Type: "text/plain", Data: b("AA")}}}}}},
		`{"type":"input_audio","input_audio":{"data":"AA","format":"mp3"}}`:                        {Messages: []dialect.Message{{Parts: []dialect.Part{{Kind: dialect.Audio, Media: dialect.Media{Type: "audio/mpeg", Data: b("AA")}}}}}},
		`"arguments":"{\"a\": 1}"`: {Messages: []dialect.Message{{Role: dialect.Assistant, Parts: []dialect.Part{{Kind: dialect.ToolUse, Arguments: b(`{"a": 1}`)}}}}},
		`{"role":"system","content":[{"type":"input_text","text":"a"},{"type":"input_text","text":"b"}]}`: {Messages: []dialect.Message{{Role: dialect.System, Parts: []dialect.Part{{Text: b(`"a"`)}, {Text: b(`"b"`)}}}}},
		`{"role":"user","content":""}`: {Messages: []dialect.Message{{}}},
	} {
		c.Model = "m"
		if got := write(t, &c); !strings.Contains(got, want) {
			t.Errorf("wrote %s, want %s", got, want)
		}
	}
}

// FuzzRequest: whatever is asked is refused, or becomes JSON that asks the same when it is
// read and written once more.
func FuzzRequest(f *testing.F) {
	for _, in := range testkit.Seeds(f) {
		for i, p := range in.Pairs(f) {
			if strings.Contains(p.URL, "/responses") && i%8 == 0 && len(p.Request) < 4_000 {
				f.Add([]byte(p.Request))
			}
		}
	}
	for _, s := range []string{
		`{"input":[{"type":"custom_tool_call","call_id":"c","name":"n","input":"i"}],"tools":[{"type":"custom","name":"n","format":{"type":"grammar","syntax":"a","definition":"b"}}]}`,
		`{"input":[{"role":"user","content":[{"type":"input_file","file_data":"data:,"},{"type":"input_image","image_url":"data:;base64,"}]}]}`,
		`{"input":[{"type":"local_shell_call","id":"c","action":{}}],"tool_choice":{"type":"allowed_tools","tools":[]}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if !dialect.IsObject(body) || jsonscan.Validate(body, maxDepth) != nil {
			return
		}
		once, ok := rewritten(t, body)
		if !ok {
			return
		}
		if twice, ok := rewritten(t, once); !ok || string(twice) != string(once) {
			t.Errorf("%s became\n%s and then\n%s", body, once, twice)
		}
	})
}

func rewritten(t *testing.T, body []byte) ([]byte, bool) {
	c := dialect.Conversation{Model: "m"}
	if (Dialect{}).ReadRequest(&c, body) != nil {
		return nil, false
	}
	asked, err := Dialect{}.WriteRequest(nil, &c, dialect.Options{})
	if err != nil {
		t.Fatal(err)
	}
	valid(t, asked.Body)
	return asked.Body, true
}
