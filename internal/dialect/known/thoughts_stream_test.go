//go:build !race

package known

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"sluice/internal/dialect"
	"sluice/internal/dialect/chat"
	"sluice/internal/dialect/messages"
	"sluice/internal/jsonscan"
	"sluice/internal/sse"
)

// thoughtStream is a reply of the Messages API with several thoughts, in pieces.
func thoughtStream() string {
	var b strings.Builder
	add := func(kind, rest string) { fmt.Fprintf(&b, "event: %s\ndata: {\"type\":%q,%s}\n\n", kind, kind, rest) }
	n := 0
	block := func(begins string, deltas ...string) {
		add("content_block_start", fmt.Sprintf(`"index":%d,"content_block":{%s}`, n, begins))
		for _, d := range deltas {
			add("content_block_delta", fmt.Sprintf(`"index":%d,"delta":{%s}`, n, d))
		}
		add("content_block_stop", fmt.Sprintf(`"index":%d`, n))
		n++
	}
	const thinking = `"type":"thinking","thinking":"","signature":""`
	add("message_start", `"message":{"id":"msg_1","model":"m","content":[],"usage":{"input_tokens":1,"output_tokens":1}}`)
	block(thinking, `"type":"thinking_delta","thinking":"thi"`, `"type":"thinking_delta","thinking":"nk"`, `"type":"signature_delta","signature":"SIG1"`)
	block(`"type":"redacted_thinking","data":"RED"`)
	block(thinking, `"type":"thinking_delta","thinking":"two"`, `"type":"signature_delta","signature":"SIG2"`)
	block(thinking, `"type":"signature_delta","signature":"SIG3"`)
	block(`"type":"text","text":""`, `"type":"text_delta","text":"Hello"`)
	block(`"type":"tool_use","id":"toolu_1","name":"f","input":{}`, `"type":"input_json_delta","partial_json":"{\"a\":1}"`)
	block(`"type":"tool_use","id":"toolu_2","name":"g","input":{}`)
	add("message_delta", `"delta":{"stop_reason":"tool_use"},"usage":{"output_tokens":9}`)
	add("message_stop", `"usage":{}`)
	return b.String()
}

// entries is what a client of Chat Completions collects of "reasoning_details".
type entries []map[string]any

// byIndex joins those of one index, as clients do: texts end to end, of the rest the last.
func (list entries) byIndex() (joined entries) {
	for _, e := range list {
		i := slices.IndexFunc(joined, func(have map[string]any) bool { return have["index"] == e["index"] })
		if i < 0 {
			joined = append(joined, map[string]any{})
			i = len(joined) - 1
		}
		for name, v := range e {
			if have, ok := joined[i][name].(string); ok && name == "text" {
				v = have + v.(string)
			}
			joined[i][name] = v
		}
	}
	return joined
}

// without is a list whose entries have no member of a name.
func (list entries) without(name string) (bare entries) {
	for _, e := range list {
		one := map[string]any{}
		for k, v := range e {
			if k != name {
				one[k] = v
			}
		}
		bare = append(bare, one)
	}
	return bare
}

// TestThoughtsOfStream: of several thoughts that were streamed to a client of Chat Completions
// each has its text and its signature still when the client sends them back, listed as they came
// or joined.
func TestThoughtsOfStream(t *testing.T) {
	w := chat.Dialect{}.NewWriter()
	w.Reset(dialect.Reply{ID: "1", Model: "m"})
	var stream []byte
	saidIn(t, messages.Dialect{}, thoughtStream(), func(e *dialect.Event) { stream = w.Event(stream, e) })
	stream = w.End(stream)
	var details entries
	var thought strings.Builder
	for _, raw := range strings.SplitAfter(string(stream), "\n\n") {
		data, ok := sse.Data([]byte(raw), nil)
		if !ok || sse.IsDone(data) {
			continue
		}
		var chunk struct {
			Choices []struct {
				Delta struct {
					Thought string  `json:"reasoning_content"`
					Details entries `json:"reasoning_details"`
				}
			}
		}
		if err := json.Unmarshal(data, &chunk); err != nil {
			t.Fatalf("%v: %s", err, raw)
		}
		for _, c := range chunk.Choices {
			thought.WriteString(c.Delta.Thought)
			details = append(details, c.Delta.Details...)
		}
	}
	if thought.String() != "thinktwo" {
		t.Errorf("thought %q", thought.String())
	}
	for name, list := range map[string]entries{"listed": details, "joined": details.byIndex(), "without indices": details.without("index")} {
		text, err := json.Marshal(list)
		if err != nil {
			t.Fatal(err)
		}
		thoughtsSentBack(t, name, `"reasoning_content":"thinktwo","reasoning_details":`+string(text),
			`{"type":"thinking","thinking":"think","signature":"SIG1"},{"type":"redacted_thinking","data":"RED"},{"type":"thinking","thinking":"two","signature":"SIG2"},{"type":"thinking","thinking":"","signature":"SIG3"},`+spoken)
	}
}

// spoken is the text of the message in which thoughts are sent back.
const spoken = `{"type":"text","text":"Hello"}`

// thoughtsSentBack checks what the Messages API is told, before the call, of thoughts that a client
// of Chat Completions sends back.
func thoughtsSentBack(t *testing.T, name, members, want string) {
	t.Helper()
	c := new(dialect.Conversation)
	body := `{"model":"claude-sonnet-4-5","messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"Hello",` + members +
		`,"tool_calls":[{"id":"toolu_1","type":"function","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"toolu_1","content":"ok"}]}`
	if err := (chat.Dialect{}).ReadRequest(c, []byte(body)); err != nil {
		t.Fatal(err)
	}
	c.Model = "claude-sonnet-4-5"
	out, err := messages.Dialect{}.WriteRequest(nil, c, dialect.Options{MaxTokens: 64})
	if err != nil {
		t.Fatal(err)
	}
	n, content := 0, ""
	for m := range jsonscan.ElementsOf(jsonscan.Member(out.Body, "messages")) {
		if n++; n == 2 {
			content = string(jsonscan.Member(m, "content"))
		}
	}
	rest := `{"type":"tool_use","id":"toolu_1","name":"f","input":{}}]`
	if got, ok := strings.CutSuffix(content, ","+rest); !ok || got != "["+want {
		t.Errorf("%s: %s became %s, want %s", name, members, content, "["+want+","+rest)
	}
}

// TestThoughtsInPieces: the pieces of a thought are one up to its signature, unless their index
// or their id tells them apart.
func TestThoughtsInPieces(t *testing.T) {
	const one, two, text = `{"type":"thinking","thinking":"think","signature":"S1"}`, `{"type":"thinking","thinking":"two","signature":"S2"}`, "," + spoken
	for _, c := range []struct{ name, members, want string }{
		{"in turns", `"reasoning":"thinktwo","reasoning_details":[{"text":"thi"},{"text":"nk"},{"text":"","signature":"S1"},{"text":"two"},{"signature":"S2"}]`, one + "," + two + text},
		{"with the last piece", `"reasoning_details":[{"text":"thi"},{"text":"nk","signature":"S1"},{"text":"two","signature":"S2"}]`, one + "," + two + text},
		{"indices", `"reasoning_details":[{"text":"thi","index":0},{"text":"nk","index":0,"signature":"S1"},{"text":"tw","index":1},{"text":"o","index":1,"signature":"S2"}]`, one + "," + two + text},
		{"an unsigned one before it", `"reasoning_details":[{"text":"un","index":0},{"text":"signed","index":0},{"text":"two","index":1,"signature":"S2"}]`, two + text},
		{"another id", `"reasoning_details":[{"text":"unsigned","id":"a"},{"text":"two","id":"b","signature":"S2"}]`, two + text},
		{"no texts", `"reasoning_content":"think","reasoning_details":[{"text":"","signature":"S1"},{"text":"","signature":"S3"}]`, one + `,{"type":"thinking","thinking":"","signature":"S3"}` + text},
		{"before a call", `"reasoning_details":[{"text":"think","index":0,"signature":"S1"},{"text":"tw","index":1},{"text":"o","index":1},{"text":"","index":1,"id":"toolu_1","signature":"S2"}]`, one + text + "," + two},
	} {
		thoughtsSentBack(t, c.name, c.members, c.want)
	}
}
