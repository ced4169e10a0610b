//go:build !race

package chat

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"sluice/internal/dialect"
	"sluice/internal/jsonscan"
	"sluice/internal/llm"
	"sluice/internal/sse"
	"sluice/internal/testkit"
)

// summary is what a reply says, told by encoding/json.
type summary struct {
	Choices map[int]*choiceSummary
	Usage   [4]int64 // prompt, completion, cached, reasoning
}

type choiceSummary struct {
	Text, Thinking, Refusal, Finish string
	Calls                           []callSummary
}

type callSummary struct{ ID, Name, Arguments string }

type message struct {
	Content   any
	Refusal   string
	Reasoning string
	Thought   string                           `json:"reasoning_content"`
	Details   []struct{ Text, Summary string } `json:"reasoning_details"`
	Calls     []struct {
		Index    *int
		ID       string
		Function struct {
			Name      string
			Arguments any
		}
	} `json:"tool_calls"`
	Call *struct{ Name, Arguments string } `json:"function_call"`
}

type reply struct {
	Choices []struct {
		Index          int
		Message, Delta *message
		Finish         string `json:"finish_reason"`
	}
	Usage *struct {
		Prompt     int64 `json:"prompt_tokens"`
		Completion int64 `json:"completion_tokens"`
		Total      int64 `json:"total_tokens"`
		Hit        int64 `json:"prompt_cache_hit_tokens"`
		P          struct {
			Cached int64 `json:"cached_tokens"`
		} `json:"prompt_tokens_details"`
		C struct {
			Reasoning int64 `json:"reasoning_tokens"`
		} `json:"completion_tokens_details"`
	}
}

func (s *summary) add(body []byte, streamed bool) bool {
	var r reply
	if json.Unmarshal(body, &r) != nil {
		return false
	}
	if u := r.Usage; u != nil {
		s.Usage = [4]int64{u.Prompt, u.Completion, min(max(u.P.Cached, u.Hit), u.Prompt), u.C.Reasoning}
		if u.Total == u.Prompt+u.Completion+u.C.Reasoning || u.C.Reasoning > u.Completion {
			s.Usage[1] += u.C.Reasoning
		}
	}
	for _, c := range r.Choices {
		to := s.Choices[c.Index]
		if to == nil {
			to = &choiceSummary{}
			s.Choices[c.Index] = to
		}
		if c.Finish != "" {
			to.Finish = c.Finish
		}
		if m := c.Delta; m != nil && (streamed || c.Message == nil) { // a few services send both
			to.add(m)
		} else if c.Message != nil {
			to.add(c.Message)
		}
	}
	return true
}

func (c *choiceSummary) add(m *message) {
	switch v := m.Content.(type) {
	case string:
		c.Text += v
	case []any:
		for _, p := range v {
			if one, ok := p.(map[string]any); ok {
				text, _ := one["text"].(string)
				c.Text += text
			}
		}
	}
	c.Refusal += m.Refusal
	c.Thinking += m.Thought
	if m.Thought == "" {
		c.Thinking += m.Reasoning
	}
	if m.Thought+m.Reasoning == "" && len(m.Details) > 0 {
		for _, d := range m.Details {
			c.Thinking += d.Text + d.Summary
		}
	}
	for n, t := range m.Calls {
		if t.Index != nil {
			n = *t.Index
		}
		for len(c.Calls) <= n {
			c.Calls = append(c.Calls, callSummary{})
		}
		arguments, ok := t.Function.Arguments.(string)
		if !ok && t.Function.Arguments != nil {
			raw, _ := json.Marshal(t.Function.Arguments)
			arguments = string(raw)
		}
		call := &c.Calls[n]
		if call.ID == "" {
			call.ID = t.ID
		}
		if call.Name == "" { // a few services repeat it
			call.Name = t.Function.Name
		}
		call.Arguments += arguments
	}
	if m.Call != nil && *m.Call != (struct{ Name, Arguments string }{}) { // a few services have an empty one
		if len(c.Calls) == 0 {
			c.Calls = []callSummary{{}}
		}
		if c.Calls[0].Name += m.Call.Name; m.Call.Name != "" {
			c.Calls[0].ID = m.Call.Name
		}
		c.Calls[0].Arguments += m.Call.Arguments
	}
}

func newSummary() *summary { return &summary{Choices: map[int]*choiceSummary{}} }

// normal is a summary as the vocabulary has it.
func (s *summary) normal() string {
	var b strings.Builder
	for _, i := range slices.Sorted(maps.Keys(s.Choices)) {
		c := *s.Choices[i]
		switch c.Finish {
		case "function_call":
			c.Finish = "tool_calls"
		case "length", "tool_calls", "content_filter":
		default:
			c.Finish = "stop"
			if len(c.Calls) > 0 {
				c.Finish = "tool_calls"
			}
		}
		for k := range c.Calls {
			var compact bytes.Buffer
			if strings.HasPrefix(c.Calls[k].ID, "call_1_") { // which the writer made up
				c.Calls[k].ID = ""
			}
			if c.Calls[k].Arguments == "" {
				c.Calls[k].Arguments = "{}"
			} else if json.Compact(&compact, []byte(c.Calls[k].Arguments)) == nil {
				c.Calls[k].Arguments = compact.String()
			}
		}
		fmt.Fprintf(&b, "%d %+v\n", i, c)
	}
	fmt.Fprint(&b, s.Usage)
	return b.String()
}

func split(t testing.TB, stream []byte) (events [][]byte) {
	t.Helper()
	var s sse.Splitter
	list, err := s.Feed(stream, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range append(list, llm.Event{Raw: s.Tail()}) {
		events = append(events, e.Raw)
	}
	return events
}

// through reads a stream and writes it again, and gathers what it says.
func through(t testing.TB, stream []byte) (again []byte, s *dialect.Said) {
	t.Helper()
	r, w := Dialect{}.NewReader(), Dialect{}.NewWriter()
	w.Reset(dialect.Reply{ID: "1", Model: "m", IncludeUsage: true})
	s = new(dialect.Said)
	for _, raw := range split(t, stream) {
		if err := r.Event(raw, func(e *dialect.Event) error {
			again = w.Event(again, e)
			return s.Add(e)
		}); err != nil {
			t.Fatal(err)
		}
	}
	return w.End(again), s
}

func summarize(t testing.TB, stream []byte) *summary {
	t.Helper()
	s := newSummary()
	for _, raw := range split(t, stream) {
		if data, ok := sse.Data(raw, nil); ok && !sse.IsDone(data) {
			s.add(data, true)
		}
	}
	return s
}

// TestStreams: a stream that was read and written again says what it said, and so does
// the whole reply that is made of it.
func TestStreams(t *testing.T) {
	testkit.Each(t, testStreams)
}

func testStreams(t *testing.T, in testkit.Inputs) {
	n := 0
	for _, stream := range in.Streams(t) {
		if stream.API != "openai-chat" {
			continue
		}
		want := summarize(t, stream.Body)
		if len(want.Choices) == 0 {
			continue
		}
		n++
		again, said := through(t, stream.Body)
		if got := summarize(t, again).normal(); got != want.normal() {
			t.Errorf("%s says\n%s\nwant\n%s", stream.Name, got, want.normal())
		}
		w := Dialect{}.NewWriter()
		w.Reset(dialect.Reply{ID: "1", Model: "m"})
		whole := w.Whole(nil, said)
		if err := jsonscan.Validate(whole, maxDepth); err != nil {
			t.Errorf("%s: %v in %s", stream.Name, err, whole)
		}
		s := newSummary()
		s.add(whole, false)
		if got := s.normal(); got != want.normal() {
			t.Errorf("%s as a whole says\n%s\nwant\n%s", stream.Name, got, want.normal())
		}
	}
	if t.Logf("%d streams", n); n < in.Least(100) {
		t.Error("these are few")
	}
}

// TestReplies is the same for replies that came whole.
func TestReplies(t *testing.T) {
	testkit.Each(t, testReplies)
}

func testReplies(t *testing.T, in testkit.Inputs) {
	n := 0
	for i, p := range in.Pairs(t) {
		want := newSummary()
		if !want.add([]byte(p.Response), false) || len(want.Choices) == 0 || !strings.Contains(p.Response, `"message"`) {
			continue
		}
		n++
		r, w := Dialect{}.NewReader(), Dialect{}.NewWriter()
		w.Reset(dialect.Reply{ID: "1", Model: "m", IncludeUsage: true})
		var said dialect.Said
		var stream []byte
		if err := r.Whole([]byte(p.Response), func(e *dialect.Event) error {
			stream = w.Event(stream, e)
			return said.Add(e)
		}); err != nil {
			t.Fatal(err)
		}
		if got := summarize(t, w.End(stream)).normal(); got != want.normal() {
			t.Errorf("%d as a stream says\n%s\nwant\n%s", i, got, want.normal())
		}
		w.Reset(dialect.Reply{ID: "1", Model: "m"})
		again := newSummary()
		if body := w.Whole(nil, &said); !again.add(body, false) || again.normal() != want.normal() {
			t.Errorf("%d says\n%s\nwant\n%s", i, again.normal(), want.normal())
		}
	}
	if t.Logf("%d replies", n); n < in.Least(300) {
		t.Error("these are few")
	}
}

// TestRequests: a request that was read and written again asks the same, but for members
// that are named as lost.
func TestRequests(t *testing.T) {
	testkit.Each(t, testRequests)
}

func testRequests(t *testing.T, in testkit.Inputs) {
	n := 0
	for i, p := range in.Pairs(t) {
		var asked map[string]any
		if !strings.Contains(p.URL, "chat/completions") || json.Unmarshal([]byte(p.Request), &asked) != nil {
			continue
		}
		if n++; imagesOfTools(asked) { // which come into a message of the user's
			continue
		}
		var c dialect.Conversation
		c.Model, _ = asked["model"].(string)
		c.Stream, _ = asked["stream"].(bool)
		if err := (Dialect{}).ReadRequest(&c, []byte(p.Request)); err != nil {
			t.Errorf("%d: %v", i, err)
			continue
		}
		out, err := Dialect{}.WriteRequest(nil, &c, dialect.Options{CompletionTokens: asked["max_completion_tokens"] != nil})
		if err != nil {
			t.Errorf("%d: %v", i, err)
			continue
		}
		var again map[string]any
		if err := json.Unmarshal(out.Body, &again); err != nil {
			t.Errorf("%d: %v in %s", i, err, out.Body)
			continue
		}
		want, got := canonical(asked, c.Lost.Names()), canonical(again, nil)
		if got != want {
			t.Errorf("%d asks\n%s\nwant\n%s\nlost %v", i, got, want, c.Lost.Names())
		}
	}
	if t.Logf("%d requests", n); n < in.Least(300) {
		t.Error("these are few")
	}
}

// imagesOfTools reports whether a result of a tool has more than texts.
func imagesOfTools(r map[string]any) bool {
	messages, _ := r["messages"].([]any)
	for _, m := range messages {
		m := m.(map[string]any)
		parts, _ := m["content"].([]any)
		for _, p := range parts {
			if m["role"] == "tool" && p.(map[string]any)["type"] != "text" {
				return true
			}
		}
	}
	return false
}

// canonical is a request in one form of those that mean the same, without what is lost.
func canonical(r map[string]any, lost []string) string {
	delete(r, "stream_options")
	for _, name := range lost {
		delete(r, name)
	}
	for name, v := range r {
		if v == nil || name == "stream" && v == false || name == "store" && v == false || name == "tools" && fmt.Sprint(v) == "[]" {
			delete(r, name)
		}
	}
	if f, ok := r["response_format"].(map[string]any); ok && f["type"] == "text" {
		delete(r, "response_format")
	}
	if s, ok := r["stop"].(string); ok {
		r["stop"] = []any{s}
	}
	if s, ok := r["stop"].([]any); ok && len(s) == 0 {
		delete(r, "stop")
	}
	if f, ok := r["functions"].([]any); ok {
		for i := range f {
			f[i] = map[string]any{"type": "function", "function": f[i]}
		}
		r["tools"] = f
		delete(r, "functions")
	}
	if call, ok := r["function_call"].(map[string]any); ok {
		r["tool_choice"] = map[string]any{"type": "function", "function": call}
	} else if r["function_call"] != nil {
		r["tool_choice"] = r["function_call"]
	}
	delete(r, "function_call")
	if r["tool_choice"] == "any" {
		r["tool_choice"] = "required"
	}
	tools, _ := r["tools"].([]any)
	tools = slices.DeleteFunc(tools, func(t any) bool {
		kind, _ := t.(map[string]any)["type"].(string)
		return slices.Contains(lost, kind)
	})
	if r["tools"] = tools; len(tools) == 0 {
		delete(r, "tools")
		delete(r, "tool_choice")
		delete(r, "parallel_tool_calls")
	}
	for _, t := range tools {
		t := t.(map[string]any)
		delete(t, "cache_control")
		t["type"] = "function"
	}
	if f, ok := r["response_format"].(map[string]any); ok && f["type"] == "json_schema" {
		if schema, ok := f["json_schema"].(map[string]any); ok && schema["name"] == nil {
			schema["name"] = "reply"
		}
	}
	messages, _ := r["messages"].([]any)
	for _, m := range messages {
		canonicalMessage(m.(map[string]any), lost)
	}
	out, _ := json.Marshal(r)
	return string(out)
}

func canonicalMessage(m map[string]any, lost []string) {
	for name, v := range m {
		if v == nil || slices.Contains(lost, name) || name == "annotations" || name == "name" && m["role"] == "tool" || strings.HasPrefix(name, "reasoning") {
			delete(m, name)
		}
	}
	if m["role"] == "function" {
		m["role"], m["tool_call_id"] = "tool", m["name"]
		delete(m, "name")
	}
	if call, ok := m["function_call"].(map[string]any); ok {
		m["tool_calls"] = []any{map[string]any{"id": call["name"], "type": "function", "function": call}}
		delete(m, "function_call")
	}
	if calls, ok := m["tool_calls"].([]any); ok {
		for _, c := range calls {
			c := c.(map[string]any)
			delete(c, "index")
			delete(c, "cache_control")
			c["type"] = "function"
		}
		if len(calls) == 0 {
			delete(m, "tool_calls")
		}
	}
	if parts, ok := m["content"].([]any); ok {
		m["content"] = canonicalParts(parts, m["role"] == "user", lost)
	}
	if m["content"] == "" && m["tool_calls"] != nil {
		delete(m, "content")
	}
	if m["content"] == nil && m["role"] != "assistant" {
		m["content"] = ""
	}
	if m["content"] == nil && m["tool_calls"] == nil && m["refusal"] == nil {
		m["content"] = ""
	}
}

func canonicalParts(parts []any, user bool, lost []string) any {
	parts = slices.DeleteFunc(parts, func(p any) bool {
		kind, _ := p.(map[string]any)["type"].(string)
		return slices.Contains(lost, kind) || kind == "thinking" && !user
	})
	var texts []string
	for _, p := range parts {
		p := p.(map[string]any)
		for name, v := range p {
			if v == nil || name == "cache_control" || slices.Contains(lost, name) {
				delete(p, name)
			}
		}
		if text, ok := p["text"].(string); ok && p["type"] == "text" {
			texts = append(texts, text)
		}
		if u, ok := p["image_url"].(string); ok {
			p["image_url"] = map[string]any{"url": u}
		}
	}
	if len(texts) == len(parts) && (!user || len(texts) < 2) {
		return strings.Join(texts, "\n")
	}
	return parts
}
