//go:build !race

package messages

import (
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"sluice/internal/dialect"
	"sluice/internal/dialect/chat"
	"sluice/internal/jsonscan"
	"sluice/internal/llm"
)

// write reads a request of a dialect and writes it as one of this API's, without its model.
func write(t testing.TB, from dialect.Dialect, model, body string) (c dialect.Conversation, asked dialect.Asked, err error) {
	t.Helper()
	c.Model = model
	if err := from.ReadRequest(&c, []byte(body)); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	asked, err = Dialect{}.WriteRequest(nil, &c, dialect.Options{})
	return c, asked, err
}

// same compares JSON by what it says.
func same(t testing.TB, got, want string) {
	t.Helper()
	var a, b any
	if err := json.Unmarshal([]byte(got), &a); err != nil {
		t.Fatalf("%v: %s", err, got)
	}
	if err := json.Unmarshal([]byte(want), &b); err != nil {
		t.Fatalf("%v: %s", err, want)
	}
	if !reflect.DeepEqual(a, b) {
		t.Errorf("got\n%s, want\n%s", got, want)
	}
}

// TestSameRequest: what the API can say is there again when a request of it was read and
// written.
func TestSameRequest(t *testing.T) {
	const hi = `"messages":[{"role":"user","content":"hi"}]`
	for _, body := range []string{
		`{"max_tokens":9,"system":"Be brief.","messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"Hello."},{"role":"user","content":"bye"}]}`,
		`{"max_tokens":9,"system":[{"type":"text","text":"a","cache_control":{"type":"ephemeral","ttl":"1h"}},{"type":"text","text":"b"}],` + hi + `}`,
		`{"max_tokens":9,"messages":[{"role":"user","content":[{"type":"text","text":"see","cache_control":{"type":"ephemeral"}},
			{"type":"image","source":{"type":"base64","media_type":"image/png","data":"iVBORw=="}},
			{"type":"image","source":{"type":"url","url":"https://a.example/b.png"},"cache_control":{"type":"ephemeral"}},
			{"type":"document","source":{"type":"base64","media_type":"application/pdf","data":"JVBERi0="},"title":"a.pdf"},
			{"type":"document","source":{"type":"url","url":"https://a.example/b.pdf"}},
			{"type":"document","source":{"type":"text","media_type":"text/plain","data":"gr\u00fc\u00df \"dich\"\n"},"title":"t"},
			{"type":"image","source":{"type":"file","file_id":"file_1"}}]}]}`,
		`{"max_tokens":9,"messages":[{"role":"user","content":"x"},
			{"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":"c2ln"},{"type":"redacted_thinking","data":"eHg="},{"type":"thinking","thinking":"","signature":"c2ln"},
				{"type":"text","text":"Let me see."},{"type":"tool_use","id":"toolu_1","name":"f","input":{"a":[1,{"b":null}]}},{"type":"tool_use","id":"toolu_2","name":"g","input":{},"cache_control":{"type":"ephemeral"}}]},
			{"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_1","content":"1"},
				{"type":"tool_result","tool_use_id":"toolu_2","content":[{"type":"text","text":"no"},{"type":"image","source":{"type":"base64","media_type":"image/png","data":"iVBORw=="}}],"is_error":true,"cache_control":{"type":"ephemeral"}},
				{"type":"text","text":"go on"}]}]}`,
		`{"max_tokens":9,` + hi + `,"tools":[{"name":"f","description":"does","input_schema":{"type":"object","properties":{"x":{"type":"integer"}},"required":["x"]},"strict":true,"cache_control":{"type":"ephemeral"}},{"name":"g","input_schema":{"type":"object"}}],
			"tool_choice":{"type":"tool","name":"f","disable_parallel_tool_use":true}}`,
		`{"max_tokens":9,` + hi + `,"tools":[{"name":"g","input_schema":{"type":"object"}}],"tool_choice":{"type":"any"}}`,
		`{"max_tokens":9,` + hi + `,"tools":[{"name":"g","input_schema":{"type":"object"}}],"tool_choice":{"type":"none"}}`,
		`{"max_tokens":9,` + hi + `,"tools":[{"name":"g","input_schema":{"type":"object"}}],"tool_choice":{"type":"auto","disable_parallel_tool_use":false}}`,
		`{"max_tokens":9,` + hi + `,"stop_sequences":["END","\n\nHuman:"],"temperature":0.3,"top_p":0.9,"top_k":5,"metadata":{"user_id":"u-1"},"stream":true}`,
		`{"max_tokens":9000,` + hi + `,"thinking":{"type":"enabled","budget_tokens":2048}}`,
		`{"max_tokens":9000,` + hi + `,"thinking":{"type":"adaptive","display":"summarized"}}`,
		`{"max_tokens":9000,` + hi + `,"thinking":{"type":"disabled"},"service_tier":"standard_only"}`,
		`{"max_tokens":9000,` + hi + `,"service_tier":"auto","output_config":{"format":{"type":"json_schema","schema":{"type":"object","properties":{}}}}}`,
	} {
		body = `{"model":"m",` + body[1:]
		var c dialect.Conversation
		c.Model, c.Stream = "m", strings.Contains(body, `"stream":true`)
		if err := (Dialect{}).ReadRequest(&c, []byte(body)); err != nil {
			t.Errorf("%s: %v", body, err)
			continue
		}
		asked, err := Dialect{}.WriteRequest([]byte("before"), &c, dialect.Options{})
		if err != nil {
			t.Errorf("%s: %v", body, err)
			continue
		}
		same(t, string(asked.Body), body)
		if lost := c.Lost.String(); lost != "" {
			t.Errorf("%s lost %s", body, lost)
		}
		if got := string(asked.Body[asked.Model.Start:asked.Model.End]); got != `"m"` {
			t.Errorf("the model stands at %q", got)
		}
		fields := 1
		if strings.Contains(body, "file_id") {
			fields = 2
		}
		if asked.Path != "/v1/messages" || len(asked.Header) != fields || asked.Header[0] != (llm.Field{Name: "Anthropic-Version", Value: "2023-06-01"}) {
			t.Errorf("%+v", asked)
		}
	}
}

// TestReadLosses: what the vocabulary has no word for is noted by its name.
func TestReadLosses(t *testing.T) {
	for _, c := range []struct{ with, lost string }{
		{`"container":"c","mcp_servers":[],"context_management":{"edits":[1]},"inference_geo":"us"`, "container, context_management, inference_geo"},
		{`"cache_control":{"type":"ephemeral"},"metadata":{"user_id":"u","team":"t"}`, "cache_control, metadata"},
		{`"output_config":{"effort":"high","task_budget":{"total":1}},"thinking":{"type":"new"}`, "task_budget, thinking"},
		{`"thinking":{"type":"adaptive","display":"omitted"}`, "display"},
		{`"output_format":{"type":"grammar"}`, "response_format"},
		{`"tools":[{"name":"f","input_schema":{},"defer_loading":true,"eager_input_streaming":false}]`, "defer_loading"},
		{`"top_k":null,"container":null,"anthropic_version":"x"`, ""},
		{`"system":[{"type":"image","source":{}}]`, ""},
	} {
		var to dialect.Conversation
		if err := (Dialect{}).ReadRequest(&to, []byte(`{"messages":[{"role":"user","content":"hi"}],`+c.with+`}`)); err != nil {
			t.Errorf("%s: %v", c.with, err)
		}
		if got := to.Lost.String(); got != c.lost {
			t.Errorf("%s lost %q, want %q", c.with, got, c.lost)
		}
	}
	var to dialect.Conversation
	if err := (Dialect{}).ReadRequest(&to, []byte(`{"messages":[{"role":"assistant","content":[{"type":"server_tool_use","id":"a","name":"web_search","input":{}},{"type":"web_search_tool_result","tool_use_id":"a","content":[]},{"type":"text","text":"a","citations":[{"type":"web_search_result_location","url":"u","title":"t","cited_text":"c","encrypted_index":"e"}]}]},
		{"role":"user","content":[{"type":"document","source":{"type":"content","content":[{"type":"text","text":"one"},{"type":"text","text":"two"}]},"context":"c","citations":{"enabled":true}},{"type":"search_result","source":"https://a.example","title":"A","content":[{"type":"text","text":"found"}]},"loose"]}],
		"tools":[{"type":"web_search_20250305","name":"web_search"}]}`)); err != nil {
		t.Fatal(err)
	}
	if got := to.Lost.String(); got != "server_tool_use, web_search_tool_result, context, citations" {
		t.Errorf("lost %s", got)
	}
	said := to.Messages[0].Parts
	if len(said) != 1 || len(said[0].Citations) != 1 || string(said[0].Citations[0].URL) != `"u"` || string(said[0].Citations[0].Cited) != `"c"` {
		t.Errorf("%+v", said)
	}
	var texts []string
	for _, p := range to.Messages[1].Parts {
		texts = append(texts, string(p.Text)+string(p.Media.Data))
	}
	if got := strings.Join(texts, " "); got != `b25lCnR3bw== "A" "https://a.example" "found" "loose"` {
		t.Errorf("said %s", got)
	}
	if len(to.Tools) != 1 || to.Tools[0].Raw == nil || string(to.Tools[0].Name) != `"web_search_20250305"` {
		t.Errorf("%+v", to.Tools)
	}
}

// TestRefused: requests that mean nothing get an error that names the place.
func TestRefused(t *testing.T) {
	for body, param := range map[string]string{
		`{}`:               "messages",
		`{"messages":"a"}`: "messages",
		`{"messages":[1]}`: "messages.0",
		`{"messages":[{"role":"user","content":"a"},{"role":"tool","content":"a"}]}`: "messages.1.role",
		`{"messages":[{"content":"a"}]}`:                                             "messages.0.role",
		`{"messages":[{"role":"user"}]}`:                                             "messages.0.content",
		`{"messages":[{"role":"user","content":7}]}`:                                 "messages.0.content",
		`{"messages":[{"role":"user","content":["a",7]}]}`:                           "messages.0.content.1",
		`{"messages":[{"role":"user","content":[{"text":"a"}]}]}`:                    "messages.0.content.0",
		`{"messages":[{"role":"user","content":[{"type":"text"}]}]}`:                 "messages.0.content.0.text",
		`{"messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"a","content":[{"type":"text","text":1}]}]}]}`:                              "messages.0.content.0.content.0.text",
		`{"messages":[{"role":"user","content":[{"type":"document","source":{"type":"text"}}]}]}`:                                                               "messages.0.content.0.source.data",
		`{"messages":[{"role":"user","content":[{"type":"document","source":{"type":"content","content":[{"type":"text","text":"a"},2]}}]}]}`:                   "messages.0.content.0.source.content.1",
		`{"messages":[{"role":"user","content":[{"type":"tool_result","content":[{"type":"tool_result","content":[{"type":"tool_result","content":"a"}]}]}]}]}`: "messages.0.content.0.content.0.content.0.content",
		`{"messages":[],"system":7}`:                         "system",
		`{"messages":[],"system":[1]}`:                       "system.0",
		`{"messages":[],"tools":{}}`:                         "tools",
		`{"messages":[],"tools":[{"type":"x"},{"name":""}]}`: "tools.1.name",
		`{"messages":[],"tools":[7]}`:                        "tools.0",
		`{"messages":[],"tool_choice":"auto"}`:               "tool_choice",
		`{"messages":[],"tool_choice":{"type":"tool"}}`:      "tool_choice.name",
		`{"messages":[],"stop_sequences":"a"}`:               "stop_sequences",
		`{"messages":[],"stop_sequences":[null]}`:            "stop_sequences",
	} {
		err := (Dialect{}).ReadRequest(new(dialect.Conversation), []byte(body))
		e, ok := errors.AsType[*llm.Error](err)
		if !ok || e.Status != 400 || e.Param != param {
			t.Errorf("%s: %+v, want the parameter %s", body, err, param)
		}
	}
	_, _, err := write(t, chat.Dialect{}, "m", `{"messages":[{"role":"user","content":" \n"}]}`)
	if e, ok := errors.AsType[*llm.Error](err); !ok || e.Status != 400 || e.Param != "messages" {
		t.Errorf("a conversation without a word: %v", err)
	}
}

// TestThreads: of a conversation that goes on from what a service has kept the rest is not
// there, whatever the order of its members is; one that it may keep is asked for all the same.
func TestThreads(t *testing.T) {
	const said = `"messages":[{"role":"user","content":"a"}]`
	for _, body := range []string{`{"thread":{"type":"continue","previous_message_id":"msg_1"},` + said + `}`, `{` + said + `,"thread":{"previous_message_id":"msg_1","type":"continue"}}`, `{"messages":[],"thread":{"type":"continue"}}`} {
		e, ok := errors.AsType[*llm.Error](Dialect{}.ReadRequest(new(dialect.Conversation), []byte(body)))
		if !ok || e.Status != 404 || e.Code != "thread_not_found" || e.Param != "thread" {
			t.Errorf("%s: %+v", body, e)
		}
	}
	for body, lost := range map[string]string{`{"thread":{"type":"create"},` + said + `}`: "thread", `{"thread":null,` + said + `}`: ""} {
		var c dialect.Conversation
		if err := (Dialect{}).ReadRequest(&c, []byte(body)); err != nil || c.Lost.String() != lost {
			t.Errorf("%s: %v, lost %q", body, err, c.Lost.String())
		}
	}
}

// TestFromChat: what a Chat Completions client asks, as this API is asked.
func TestFromChat(t *testing.T) {
	const hi = `"messages":[{"role":"user","content":"hi"}]`
	const said = `"messages":[{"role":"user","content":"hi"}]`
	const call = `{"role":"assistant","content":null,"tool_calls":[{"id":"call:1","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}}]}`
	for _, c := range []struct{ name, model, body, want, lost string }{
		{"prompts", "m", `{"messages":[{"role":"system","content":"A"},{"role":"developer","content":"B"},{"role":"user","content":"hi"}]}`,
			`{"max_tokens":4096,"system":[{"type":"text","text":"A"},{"type":"text","text":"B"}],` + said + `}`, ""},
		{"a prompt in the middle", "claude-opus-4-6", `{"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"ho"},{"role":"system","content":"B"},{"role":"user","content":"go"}]}`,
			`{"max_tokens":4096,"system":"B","messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"ho"},{"role":"user","content":"go"}]}`, "system_position"},
		{"a prompt where it stands", "claude-opus-4-8", `{"messages":[{"role":"system","content":"A"},{"role":"user","content":"hi"},{"role":"system","content":"B"},{"role":"developer","content":"C"},{"role":"assistant","content":"ho"},{"role":"user","content":"go"},{"role":"system","content":"D"}]}`,
			`{"max_tokens":4096,"system":"A","messages":[{"role":"user","content":"hi"},{"role":"system","content":[{"type":"text","text":"B"},{"type":"text","text":"C"}]},{"role":"assistant","content":"ho"},{"role":"user","content":"go"},{"role":"system","content":"D"}]}`, ""},
		{"a prompt where none may stand", "claude-opus-4-8", `{"messages":[{"role":"user","content":"hi"},{"role":"system","content":"B"},{"role":"user","content":"go"}]}`,
			`{"max_tokens":4096,"system":"B","messages":[{"role":"user","content":[{"type":"text","text":"hi"},{"type":"text","text":"go"}]}]}`, "system_position"},
		{"nothing but prompts", "m", `{"messages":[{"role":"system","content":"A"},{"role":"system","content":"Say hi."}]}`,
			`{"max_tokens":4096,"system":"A","messages":[{"role":"user","content":"Say hi."}]}`, ""},
		{"results first, ids as they may be", "m", `{"messages":[` + call + `,{"role":"user","content":"wait"},{"role":"tool","tool_call_id":"call:1","content":"1"}]}`,
			`{"max_tokens":4096,"messages":[{"role":"assistant","content":[{"type":"tool_use","id":"call_1","name":"f","input":{"a":1}}]},
				{"role":"user","content":[{"type":"tool_result","tool_use_id":"call_1","content":"1"},{"type":"text","text":"wait"}]}]}`, ""},
		{"blank texts", "m", `{"messages":[{"role":"user","content":[{"type":"text","text":""},{"type":"text","text":"hi"},{"type":"text","text":" \n\t"}]},{"role":"assistant","content":"Well, \\n\n "}]}`,
			`{"max_tokens":4096,` + said[:len(said)-1] + `,{"role":"assistant","content":"Well, \\n"}]}`, ""},
		{"media", "m", `{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,iVBO","detail":"low"}},{"type":"image_url","image_url":{"url":"https://a.example/i"}},
				{"type":"file","file":{"file_data":"data:application/pdf;base64,JVBE","filename":"a.pdf"}},{"type":"file","file":{"file_data":"data:text/csv;base64,YSxi"}},{"type":"input_audio","input_audio":{"data":"AA","format":"wav"}}]}]}`,
			`{"max_tokens":4096,"messages":[{"role":"user","content":[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"iVBO"}},{"type":"image","source":{"type":"url","url":"https://a.example/i"}},
				{"type":"document","source":{"type":"base64","media_type":"application/pdf","data":"JVBE"},"title":"a.pdf"},{"type":"document","source":{"type":"text","media_type":"text/plain","data":"a,b"}}]}]}`, "detail, audio"},
		{"sampling", "m", `{` + hi + `,"temperature":1.7,"top_p":1,"seed":1,"n":2,"presence_penalty":0,"frequency_penalty":0.1,"logprobs":true,"top_logprobs":2,"stop":[" ","END"],"user":"u","metadata":{"a":"b"},"prompt_cache_key":"k","service_tier":"flex","max_completion_tokens":7}`,
			`{"max_tokens":7,` + said + `,"stop_sequences":["END"],"temperature":1,"metadata":{"user_id":"u"}}`, "stop, temperature, service_tier, metadata, prompt_cache_key, seed, top_logprobs, logprobs, n, frequency_penalty"},
		{"either temperature or top_p", "claude-sonnet-4-5-20250929", `{` + hi + `,"temperature":0.5,"top_p":0.9}`, `{"max_tokens":4096,` + said + `,"temperature":0.5}`, "top_p"},
		{"both in an older one", "claude-sonnet-4-20250514", `{` + hi + `,"temperature":0.5,"top_p":0.9}`, `{"max_tokens":4096,` + said + `,"temperature":0.5,"top_p":0.9}`, ""},
		{"no sampling in a newer one", "claude-opus-5", `{` + hi + `,"temperature":0.5,"top_p":0.9,"top_k":5}`, `{"max_tokens":4096,` + said + `}`, "temperature, top_p, top_k"},
		{"tools", "m", `{` + hi + `,"tools":[{"type":"function","function":{"name":"f","parameters":{"properties":{}},"strict":false}},{"type":"function","function":{"name":"g"}},{"type":"web_search"}],"tool_choice":"required","parallel_tool_calls":false}`,
			`{"max_tokens":4096,` + said + `,"tools":[{"name":"f","input_schema":{"type":"object","properties":{}}},{"name":"g","input_schema":{"type":"object","properties":{}}}],"tool_choice":{"type":"any","disable_parallel_tool_use":true}}`, "web_search"},
		{"no tools", "m", `{` + hi + `,"tools":[],"tool_choice":"required","parallel_tool_calls":false}`, `{"max_tokens":4096,` + said + `}`, "tool_choice"},
		{"one at a time", "m", `{` + hi + `,"tools":[{"type":"function","function":{"name":"g"}}],"parallel_tool_calls":false}`,
			`{"max_tokens":4096,` + said + `,"tools":[{"name":"g","input_schema":{"type":"object","properties":{}}}],"tool_choice":{"type":"auto","disable_parallel_tool_use":true}}`, ""},
		{"an effort is a budget", "claude-sonnet-4-5", `{` + hi + `,"reasoning_effort":"low","temperature":0.2,"top_k":3,"top_p":0.96}`,
			`{"max_tokens":5120,` + said + `,"thinking":{"type":"enabled","budget_tokens":1024},"top_p":0.96}`, "temperature, top_k"},
		{"a budget below the limit", "claude-sonnet-4-5", `{` + hi + `,"reasoning_effort":"high","max_tokens":5000}`, `{"max_tokens":5000,` + said + `,"thinking":{"type":"enabled","budget_tokens":2500}}`, ""},
		{"no room for a budget", "claude-sonnet-4-5", `{` + hi + `,"reasoning_effort":"high","max_tokens":1500}`, `{"max_tokens":1500,` + said + `}`, "reasoning_effort"},
		{"an effort is one", "claude-opus-4-7", `{` + hi + `,"reasoning_effort":"xhigh","max_tokens":1500}`, `{"max_tokens":1500,` + said + `,"thinking":{"type":"adaptive","display":"summarized"},"output_config":{"effort":"xhigh"}}`, ""},
		{"room for what is thought", "anthropic/claude-4.6-opus", `{` + hi + `,"reasoning_effort":"minimal"}`, `{"max_tokens":4608,` + said + `,"thinking":{"type":"adaptive","display":"summarized"},"output_config":{"effort":"low"}}`, ""},
		{"no effort", "m", `{` + hi + `,"reasoning_effort":"none"}`, `{"max_tokens":4096,` + said + `,"thinking":{"type":"disabled"}}`, ""},
		{"no effort by default", "claude-opus-4-7", `{` + hi + `,"reasoning_effort":"none"}`, `{"max_tokens":4096,` + said + `}`, ""},
		{"no effort is not known of", "claude-fable-5", `{` + hi + `,"reasoning_effort":"none"}`, `{"max_tokens":4096,` + said + `}`, "reasoning_effort"},
		{"a call matters more", "claude-sonnet-4-5", `{` + hi + `,"reasoning_effort":"low","temperature":0.5,"tools":[{"type":"function","function":{"name":"g"}}],"tool_choice":"required"}`,
			`{"max_tokens":4096,` + said + `,"temperature":0.5,"tools":[{"name":"g","input_schema":{"type":"object","properties":{}}}],"tool_choice":{"type":"any"}}`, "reasoning_effort"},
		{"a call without its thought", "claude-sonnet-4-5", `{"reasoning_effort":"low","messages":[{"role":"user","content":"hi"},` + call + `,{"role":"tool","tool_call_id":"call:1","content":"1"},{"role":"user","content":"and?"}]}`,
			`{"max_tokens":5120,"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":[{"type":"tool_use","id":"call_1","name":"f","input":{"a":1}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"call_1","content":"1"},{"type":"text","text":"and?"}]}]}`, "reasoning_effort"},
		{"thoughts", "claude-sonnet-4-5", `{"reasoning_effort":"low","messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"ho","reasoning_content":"unsigned"},{"role":"user","content":"a"},{"role":"assistant","content":"ho","reasoning_details":[{"type":"reasoning.text","text":"hm","signature":"s"}]},{"role":"user","content":"b"}]}`,
			`{"max_tokens":5120,"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"ho"},{"role":"user","content":"a"},{"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":"s"},{"type":"text","text":"ho"}]},{"role":"user","content":"b"}],"thinking":{"type":"enabled","budget_tokens":1024}}`, "reasoning"},
		{"a schema", "m", `{` + hi + `,"response_format":{"type":"json_schema","json_schema":{"name":"n","strict":true,"schema":{"type":"object"}}}}`,
			`{"max_tokens":4096,` + said + `,"output_config":{"format":{"type":"json_schema","schema":{"type":"object"}}}}`, ""},
		{"JSON", "m", `{` + hi + `,"response_format":{"type":"json_object"}}`, `{"max_tokens":4096,` + said + `}`, "response_format"},
		{"a refusal, names, broken arguments", "m", `{"messages":[{"role":"user","content":"hi","name":"ann"},{"role":"assistant","content":null,"refusal":"No."},{"role":"user","content":"a"},{"role":"assistant","tool_calls":[{"id":"a","function":{"name":"f","arguments":"{\"a\":"}}]},{"role":"tool","tool_call_id":"a","content":""}]}`,
			`{"max_tokens":4096,"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":[{"type":"text","text":"No."}]},{"role":"user","content":"a"},{"role":"assistant","content":[{"type":"tool_use","id":"a","name":"f","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"a","content":""}]}]}`, "name, arguments"},
	} {
		t.Run(c.name, func(t *testing.T) {
			conversation, asked, err := write(t, chat.Dialect{}, c.model, c.body)
			if err != nil {
				t.Fatal(err)
			}
			same(t, string(asked.Body), `{"model":"`+c.model+`",`+c.want[1:])
			if got := conversation.Lost.String(); got != c.lost {
				t.Errorf("lost %q, want %q", got, c.lost)
			}
		})
	}
}

// TestNamelessCalls: calls without ids get some, and so do their results.
func TestNamelessCalls(t *testing.T) {
	c := dialect.Conversation{Model: "m", Messages: []dialect.Message{
		{Role: dialect.Assistant, Parts: []dialect.Part{{Kind: dialect.ToolUse, Name: []byte(`"f"`)}, {Kind: dialect.ToolUse, Name: []byte(`"g"`)}, {Kind: dialect.ToolUse, Name: []byte(`"h"`)}}},
		{Role: dialect.User, Parts: []dialect.Part{{Kind: dialect.ToolResult, Name: []byte(`"g"`)}, {Kind: dialect.ToolResult}, {Kind: dialect.ToolResult, Name: []byte(`"h"`)}}},
	}}
	asked, err := Dialect{}.WriteRequest(nil, &c, dialect.Options{MaxTokens: 12})
	if err != nil {
		t.Fatal(err)
	}
	same(t, string(asked.Body), `{"model":"m","max_tokens":12,"messages":[
		{"role":"assistant","content":[{"type":"tool_use","id":"call_1","name":"f","input":{}},{"type":"tool_use","id":"call_2","name":"g","input":{}},{"type":"tool_use","id":"call_3","name":"h","input":{}}]},
		{"role":"user","content":[{"type":"tool_result","tool_use_id":"call_2"},{"type":"tool_result","tool_use_id":"call_1"},{"type":"tool_result","tool_use_id":"call_3"}]}]}`)
}

// TestThinkingOfChat: how much to think is told as the model that is asked takes it, or named.
func TestThinkingOfChat(t *testing.T) {
	for _, c := range []struct{ model, says, effort, lost string }{
		{"gpt-5.1", `"thinking":{"type":"disabled"}`, `"none"`, ""},
		{"openai/gpt-5.10-mini", `"thinking":{"type":"disabled"},"output_config":{"effort":"high"}`, `"none"`, ""},
		{"gpt-5", `"thinking":{"type":"disabled"}`, ``, "reasoning_effort"},
		{"gpt-5.x", `"thinking":{"type":"disabled"}`, ``, "reasoning_effort"},
		{"qwen-3", `"thinking":{"type":"disabled"},"output_config":{"effort":"high"}`, ``, "reasoning_effort"},
		{"qwen-3", `"output_config":{"effort":"max"}`, `"high"`, ""},
		{"gpt-5.1", `"output_config":{"effort":"max"}`, `"high"`, ""},
		{"gpt-5.2-codex", `"output_config":{"effort":"max"}`, `"xhigh"`, ""},
		{"glm-5.3", `"output_config":{"effort":"max"}`, `"max"`, ""},
		{"qwen-3", `"output_config":{"effort":"low"}`, `"low"`, ""},
		{"qwen-3", `"thinking":{"type":"adaptive"}`, ``, ""},
	} {
		from := dialect.Conversation{Model: c.model}
		if err := (Dialect{}).ReadRequest(&from, []byte(`{"max_tokens":9,"messages":[{"role":"user","content":"hi"}],`+c.says+`}`)); err != nil {
			t.Fatal(err)
		}
		asked, err := chat.Dialect{}.WriteRequest(nil, &from, dialect.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if got := string(jsonscan.Member(asked.Body, "reasoning_effort")); got != c.effort || from.Lost.String() != c.lost {
			t.Errorf("%s with %s: %s, lost %s", c.model, c.says, got, from.Lost.String())
		}
	}
}

// TestIDs: ids of calls are as the API takes them, each those of one call and its result, and
// always the same.
func TestIDs(t *testing.T) {
	list := []string{`"f.x:0"`, `"f_x_0"`, `"f.x.0"`, `"f_x_0_1"`, `"call_1"`, `""`, `"f\u0078"`, `"fx"`, `"\u00e9"`}
	var c dialect.Conversation
	c.Model = "m"
	c.Messages = make([]dialect.Message, 2)
	c.Messages[0].Role = dialect.Assistant
	for _, id := range list {
		c.Messages[0].Parts = append(c.Messages[0].Parts, dialect.Part{Kind: dialect.ToolUse, ID: []byte(id), Name: []byte(`"f"`)})
		c.Messages[1].Parts = append(c.Messages[1].Parts, dialect.Part{Kind: dialect.ToolResult, ID: []byte(id)})
	}
	var got []string
	for range 2 {
		asked, err := Dialect{}.WriteRequest(nil, &c, dialect.Options{})
		if err != nil {
			t.Fatal(err)
		}
		var body struct {
			Messages []struct {
				Content []struct {
					ID  string `json:"id"`
					For string `json:"tool_use_id"`
				}
			}
		}
		if err := json.Unmarshal(asked.Body, &body); err != nil {
			t.Fatal(err)
		}
		for i, one := range body.Messages[0].Content {
			got = append(got, one.ID)
			if result := body.Messages[1].Content[i].For; result != one.ID {
				t.Errorf("the result of %s is of %q, not %q", list[i], result, one.ID)
			}
		}
	}
	want := []string{"f_x_0_2", "f_x_0", "f_x_0_3", "f_x_0_1", "call_1", "call_1_2", "fx", "fx", "_"}
	if want = append(want, want...); !slices.Equal(got, want) {
		t.Errorf("ids are %q, want %q", got, want)
	}
}

// TestToChat: what a client of this API asks, as a service of Chat Completions is asked.
func TestToChat(t *testing.T) {
	var c dialect.Conversation
	c.Model = "m"
	if err := (Dialect{}).ReadRequest(&c, []byte(`{"model":"x","max_tokens":5,"system":"S","messages":[{"role":"user","content":[{"type":"text","text":"hi"},{"type":"image","source":{"type":"base64","media_type":"image/png","data":"iVBO"}}]},
		{"role":"assistant","content":[{"type":"tool_use","id":"a","name":"f","input":{"x":1}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"a","content":[{"type":"text","text":"1"}]},{"type":"text","text":"and?"}]}],
		"tools":[{"name":"f","input_schema":{"type":"object"}}],"tool_choice":{"type":"any","disable_parallel_tool_use":true},"stop_sequences":["x"],"thinking":{"type":"enabled","budget_tokens":1024},"metadata":{"user_id":"u"},"top_k":1}`)); err != nil {
		t.Fatal(err)
	}
	asked, err := chat.Dialect{}.WriteRequest(nil, &c, dialect.Options{})
	if err != nil {
		t.Fatal(err)
	}
	same(t, string(asked.Body), `{"model":"m","messages":[{"role":"system","content":"S"},{"role":"user","content":[{"type":"text","text":"hi"},{"type":"image_url","image_url":{"url":"data:image/png;base64,iVBO"}}]},
		{"role":"assistant","content":null,"tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{\"x\":1}"}}]},{"role":"tool","tool_call_id":"a","content":"1"},{"role":"user","content":[{"type":"text","text":"and?"}]}],
		"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}],"tool_choice":"required","parallel_tool_calls":false,"max_tokens":5,"user":"u","stop":["x"],"reasoning_effort":"low"}`)
	if got := c.Lost.String(); got != "top_k" {
		t.Errorf("lost %s", got)
	}
}

// TestVersions reads versions out of names as services have them.
func TestVersions(t *testing.T) {
	for name, want := range map[string]version{
		"claude-opus-4-7": 407, "claude-opus-4-8-20260528": 408, "claude-sonnet-4-20250514": 400, "claude-sonnet-4@20250514": 400, "claude-3-7-sonnet-latest": 307,
		"us.anthropic.claude-opus-4-6-v1:0": 406, "anthropic/claude-4.6-opus": 406, "claude-fable-5": 500, "claude-2.1": 201, "claude-mythos-preview": newest, "deepseek-chat": noClaude, "": noClaude,
		"claude-opus-4-10": 410, "claude-3-opus-20240229": 300, "claude-20250101": newest,
	} {
		if got := versionOf(name); got != want {
			t.Errorf("%s is %d, want %d", name, got, want)
		}
	}
}

// TestCountRequests: a request to count tokens has no limit of the reply.
func TestCountRequests(t *testing.T) {
	var c dialect.Conversation
	if err := (Dialect{}).ReadRequest(&c, []byte(`{"model":"m","messages":[{"role":"user","content":"hi"}],"tools":[{"name":"f","input_schema":{"type":"object"}}]}`)); err != nil || len(c.Messages) != 1 || len(c.Tools) != 1 || c.MaxTokens != nil {
		t.Errorf("%+v, %v", c, err)
	}
}
