package dedup

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"sluice/internal/jsonscan"
	"sluice/internal/llm"
)

// always is the default but that it rewrites whatever it can.
func always() Config {
	c := Default()
	c.PromptCache = false
	return c
}

func newDedup(t testing.TB, cfg Config) *Dedup {
	t.Helper()
	d, err := New(cfg, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// body is the body of a request with messages, or items, and members before and behind them.
func body(op llm.Operation, messages []json.RawMessage) []byte {
	b := []byte(`{"model":"m","` + listOf(op) + `":[`)
	for i, m := range messages {
		if i > 0 {
			b = append(b, ',', ' ')
		}
		b = append(b, m...)
	}
	return append(b, rest...)
}

// rest is what follows the messages.
const rest = `],"temperature":0.5}`

func listOf(op llm.Operation) string {
	switch op {
	case llm.Response:
		return "input"
	case llm.GenerateContent:
		return "contents"
	default:
		return "messages"
	}
}

func request(op llm.Operation, body []byte) *llm.Request {
	req := &llm.Request{Op: op, Method: "POST", Body: body, BodyLen: int64(len(body)), Model: "m"}
	req.ModelSpan, _ = jsonscan.Get(body, "model")
	return req
}

// messagesOf gives the messages of a body.
func messagesOf(t testing.TB, op llm.Operation, body []byte) (list []json.RawMessage) {
	t.Helper()
	s, ok := jsonscan.Get(body, listOf(op))
	if !ok {
		t.Fatalf("no messages in %.200q", body)
	}
	part := body[s.Start:s.End]
	jsonscan.Elements(part, func(s llm.Span) bool {
		list = append(list, part[s.Start:s.End])
		return true
	})
	return list
}

// items gives messages of a chat completion as items of a response.
func items(messages []json.RawMessage) (list []json.RawMessage) {
	add := func(v any) {
		b, err := json.Marshal(v)
		if err != nil {
			panic(err)
		}
		list = append(list, b)
	}
	for _, raw := range messages {
		var m struct {
			Role      string
			Content   json.RawMessage
			ToolCalls []struct {
				ID       string
				Function struct{ Name, Arguments string }
			} `json:"tool_calls"`
			ToolCallID string `json:"tool_call_id"`
		}
		if err := json.Unmarshal(raw, &m); err != nil {
			panic(err)
		}
		in := "input_text"
		if m.Role == "assistant" {
			in = "output_text"
		}
		content := json.RawMessage(bytes.ReplaceAll(m.Content, []byte(`"type": "text"`), []byte(`"type": "`+in+`"`)))
		content = bytes.ReplaceAll(content, []byte(`"type":"text"`), []byte(`"type":"`+in+`"`))
		switch {
		case m.Role == "tool":
			add(map[string]any{"type": "function_call_output", "call_id": m.ToolCallID, "output": content})
		case len(content) > 0 && string(content) != "null":
			add(map[string]any{"role": m.Role, "content": content})
		}
		for _, c := range m.ToolCalls {
			add(map[string]any{"type": "function_call", "call_id": c.ID, "name": c.Function.Name, "arguments": c.Function.Arguments})
		}
	}
	return list
}

// rewrite gives what a request becomes.
func (v *verifier) rewrite(op llm.Operation, body []byte) (r Result, removed []int) {
	r = v.d.Rewrite(request(op, body), v.mode, func(d Decision) {
		if d.Action == Removed {
			removed = append(removed, d.Message)
		}
	})
	return r, removed
}

// check holds what a request becomes against what is promised of it, and gives it.
func (v *verifier) check(t testing.TB, op llm.Operation, body []byte) []byte {
	t.Helper()
	kept := bytes.Clone(body)
	r, removed := v.rewrite(op, body)
	if !bytes.Equal(body, kept) {
		t.Fatal("the request itself was changed")
	}
	if r.Saved.Messages == 0 {
		if !bytes.Equal(r.Body, body) {
			t.Fatal("changed, and nothing is said to be saved")
		}
		return body
	}
	if r.Saved.Bytes != int64(len(body)-len(r.Body)) || r.Saved.Bytes <= 0 {
		t.Fatalf("said to save %d bytes, and %d became %d", r.Saved.Bytes, len(body), len(r.Body))
	}
	if err := jsonscan.Validate(r.Body, 0); err != nil {
		t.Fatalf("no JSON any more: %v", err)
	}
	if again := v.d.Rewrite(request(op, r.Body), v.mode, nil); !bytes.Equal(again.Body, r.Body) {
		t.Fatalf("changed again: %s", difference(r.Body, again.Body))
	}
	before, after := messagesOf(t, op, body), messagesOf(t, op, r.Body)
	if len(before) != len(after)+len(removed) || !bytes.Equal(before[len(before)-1], after[len(after)-1]) {
		t.Fatalf("of %d messages, %d of which were taken out, are left %d, or the last is another one", len(before), len(removed), len(after))
	}
	if !v.literal && v.cfg.Reference != "" {
		v.expands(t, op, body, r.Body, removed)
	}
	v.compare(t, op, before, after, removed)
	return r.Body
}

// verifier checks one mode of one configuration.
type verifier struct {
	d       *Dedup
	cfg     Config
	mode    llm.DedupMode
	literal bool // there are references in what comes
	known   int  // how many messages at the beginning were compared before
}

func newVerifier(t testing.TB, cfg Config, mode llm.DedupMode) *verifier {
	return &verifier{d: newDedup(t, cfg), cfg: cfg, mode: mode}
}

// expands checks that what references stand for is put back.
func (v *verifier) expands(t testing.TB, op llm.Operation, body, rewritten []byte, removed []int) {
	t.Helper()
	restored, _, err := Expand(op, rewritten, v.cfg)
	if err != nil {
		t.Fatal(err)
	}
	if len(removed) == 0 {
		if !bytes.Equal(restored, body) {
			t.Fatalf("restored otherwise: %s", difference(body, restored))
		}
		return
	}
	var want []json.RawMessage
	for i, m := range messagesOf(t, op, body) {
		if _, gone := slices.BinarySearch(removed, i); !gone {
			want = append(want, m)
		}
	}
	got := messagesOf(t, op, restored)
	if !slices.EqualFunc(got, want, func(a, b json.RawMessage) bool { return bytes.Equal(a, b) }) {
		t.Fatal("restored otherwise")
	}
}

// compare checks what was taken out, and that of what was rewritten only texts are others.
func (v *verifier) compare(t testing.TB, op llm.Operation, before, after []json.RawMessage, removed []int) {
	t.Helper()
	n := 0
	for i, m := range before {
		if _, gone := slices.BinarySearch(removed, i); gone {
			if i >= v.known {
				v.superfluous(t, before, removed, i)
			}
			continue
		}
		if n++; i >= v.known && !bytes.Equal(m, after[n-1]) {
			if v.mode != llm.DedupBlocks {
				t.Fatalf("message %d was rewritten", i)
			}
			if a, b := bare(t, op, m), bare(t, op, after[n-1]); a != b {
				t.Fatalf("message %d is another one but for its texts:\n%s\n%s", i, a, b)
			}
		}
	}
}

// superfluous checks that a message that was taken out is said by one that stays.
func (v *verifier) superfluous(t testing.TB, before []json.RawMessage, removed []int, i int) {
	t.Helper()
	m, ok := wordsOf(before[i])
	if !ok || len(m.text) < shortest || m.role == "tool" || m.role == "function" {
		t.Fatalf("taken out: %s", before[i])
	}
	same := func(n int) bool {
		other, ok := wordsOf(before[n])
		return ok && other.role == m.role && other.text == m.text && (other.mark == m.mark || m.mark == "")
	}
	if same(i + 1) { // and the last of a row stays
		return
	}
	if m.role == "system" || m.role == "developer" {
		for n := i - 1; n >= 0; n-- {
			if _, gone := slices.BinarySearch(removed, n); !gone && same(n) {
				return
			}
		}
	}
	t.Fatalf("taken out without another copy: %.200s", before[i])
}

// words are what a message says that has nothing but a role and a text.
type words struct {
	role, text string
	mark       string
}

func wordsOf(raw json.RawMessage) (w words, ok bool) {
	var m map[string]json.RawMessage
	if json.Unmarshal(raw, &m) != nil || m["role"] != nil && json.Unmarshal(m["role"], &w.role) != nil || m["content"] != nil && m["parts"] != nil {
		return w, false
	}
	content := m["content"]
	if content == nil {
		content = m["parts"]
		w.role = cmp.Or(w.role, "user")
	}
	for key := range m {
		if !slices.Contains([]string{"role", "content", "parts", "type"}, key) {
			return w, false
		}
	}
	if json.Unmarshal(content, &w.text) == nil {
		return w, true
	}
	var parts []map[string]any
	if json.Unmarshal(content, &parts) != nil || len(parts) != 1 {
		return w, false
	}
	for key := range parts[0] {
		if !slices.Contains([]string{"type", "text", "cache_control"}, key) {
			return w, false
		}
	}
	w.text, ok = parts[0]["text"].(string)
	if mark := parts[0]["cache_control"]; mark != nil {
		w.mark = fmt.Sprint(mark)
	}
	return w, ok
}

// bare gives a message with all texts that may be rewritten replaced by nothing.
func bare(t testing.TB, op llm.Operation, raw []byte) string {
	t.Helper()
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	m, ok := v.(map[string]any)
	if !ok {
		t.Fatalf("changed: %s", raw)
	}
	for _, key := range []string{"content", "output", "parts"} {
		m[key] = silent(op, m[key])
	}
	return fmt.Sprint(m)
}

// silent gives a content with its texts replaced by nothing, but for those that something is
// bound to.
func silent(op llm.Operation, content any) any {
	list, ok := content.([]any)
	if !ok {
		if _, ok := content.(string); ok {
			return ""
		}
		return content
	}
	for _, one := range list {
		p, ok := one.(map[string]any)
		if !ok {
			continue
		}
		bound := false
		binding := []string{"annotations", "logprobs"}
		switch op {
		case llm.Messages:
			binding = []string{"citations"}
		case llm.GenerateContent:
			binding = []string{"thought", "thoughtSignature", "thought_signature"}
		}
		for _, key := range binding {
			switch b := p[key].(type) {
			case []any:
				bound = bound || len(b) > 0
			case map[string]any:
				bound = bound || len(b) > 0
			default:
				bound = bound || b != nil && b != false
			}
		}
		if _, ok := p["text"].(string); ok && !bound {
			p["text"] = ""
		}
		if p["type"] == "tool_result" {
			p["content"] = silent(op, p["content"])
		}
		for _, key := range []string{"functionResponse", "function_response"} {
			result, _ := p[key].(map[string]any)
			said, _ := result["response"].(map[string]any)
			for _, key := range []string{"output", "result", "error"} {
				if _, ok := said[key].(string); ok {
					said[key] = ""
				}
			}
		}
	}
	return list
}

// difference shows where two texts begin to differ.
func difference(a, b []byte) string {
	n := common(a, b)
	from := max(n-60, 0)
	return fmt.Sprintf("at %d: %q and %q", n, a[from:min(n+160, len(a))], b[from:min(n+160, len(b))])
}

// lines makes so many lines that are like no others of another seed.
func lines(seed, n int) string {
	var s strings.Builder
	for i := range n {
		fmt.Fprintf(&s, "line %d of %d says \"%x\"\n", i, seed, (i+1)*(seed+7)*2654435761)
	}
	return s.String()
}

// say makes a message of a chat completion.
func say(role, content string) json.RawMessage {
	b, err := json.Marshal(struct {
		Role    string `json:"role"`
		Content string `json:"content"`
	}{role, content})
	if err != nil {
		panic(err)
	}
	return b
}
