//go:build !race

package responses

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/openai/openai-go/v3/responses"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"sluice/internal/dialect"
	"sluice/internal/jsonscan"
	"sluice/internal/llm"
	"sluice/internal/sse"
	"sluice/internal/testkit"
)

func b(s string) []byte { return []byte(s) }

// summary is what a reply says, told by encoding/json.
type summary struct {
	Text, Refusal, Thinking, Signatures, Finish, Failure string
	Calls                                                []callSummary
	Cited                                                []string
	Usage                                                dialect.Usage

	thought bool // the last was thought, without a signature
}

type callSummary struct{ ID, Name, Arguments string }

type outputItem struct {
	Type, Name, Arguments, Input, Encrypted string
	Call                                    string `json:"call_id"`
	Content, Summary                        []struct {
		Text, Refusal string
		Annotations   []struct{ URL, Filename string }
	}
}

// UnmarshalJSON passes over members that other items have of other types.
func (o *outputItem) UnmarshalJSON(raw []byte) error {
	var kind struct {
		Type string
	}
	if err := json.Unmarshal(raw, &kind); err != nil {
		return err
	}
	o.Type = kind.Type
	switch kind.Type {
	case "message", "reasoning", "function_call", "custom_tool_call":
	default:
		return nil
	}
	type plain outputItem
	var in struct {
		plain
		Encrypted *string `json:"encrypted_content"`
	}
	if err := json.Unmarshal(raw, &in); err != nil {
		return err
	}
	*o = outputItem(in.plain)
	if in.Encrypted != nil {
		o.Encrypted = *in.Encrypted
	}
	return nil
}

type wholeReply struct {
	ID, Model, Status string
	Output            []outputItem
	Error             *struct{ Code, Message string }
	Incomplete        *struct{ Reason string } `json:"incomplete_details"`
	Usage             *struct {
		Input  int64 `json:"input_tokens"`
		Output int64 `json:"output_tokens"`
		In     struct {
			Cached  int64 `json:"cached_tokens"`
			Written int64 `json:"cache_write_tokens"`
		} `json:"input_tokens_details"`
		Out struct {
			Reasoning int64 `json:"reasoning_tokens"`
		} `json:"output_tokens_details"`
	}
}

func (r *wholeReply) summary() (s summary) {
	if r.Error != nil {
		s.Failure = r.Error.Code + ": " + r.Error.Message
	}
	s.Finish = r.Status
	if s.Finish == "complete" { // of one recording
		s.Finish = "completed"
	}
	if r.Incomplete != nil {
		s.Finish = r.Incomplete.Reason
	}
	if u := r.Usage; u != nil {
		s.Usage = dialect.Usage{Prompt: u.Input, Completion: u.Output, Cached: u.In.Cached, CacheWritten: u.In.Written, Reasoning: u.Out.Reasoning}
	}
	for _, o := range r.Output {
		s.item(&o)
	}
	return s
}

func (s *summary) item(o *outputItem) {
	switch o.Type {
	case "message":
		s.thought = false
		for _, p := range o.Content {
			s.Text += p.Text
			s.Refusal += p.Refusal
			for _, a := range p.Annotations {
				if a.URL != "" {
					s.Cited = append(s.Cited, a.URL)
				}
			}
		}
	case "reasoning":
		var texts []string
		for _, p := range append(o.Summary, o.Content...) {
			if p.Text != "" {
				texts = append(texts, p.Text)
			}
		}
		if len(texts) == 0 && o.Encrypted == "" {
			return
		}
		if s.thought && len(texts) > 0 { // which others take for one thought
			s.Thinking += "\n\n"
		}
		if s.Thinking += strings.Join(texts, "\n\n"); !s.thought {
			s.Signatures += "|"
		}
		s.Signatures += o.Encrypted
		s.thought = o.Encrypted == ""
	case "function_call":
		s.thought = false
		s.Calls = append(s.Calls, callSummary{o.Call, o.Name, o.Arguments})
	case "custom_tool_call":
		raw, _ := json.Marshal(map[string]string{"input": o.Input})
		s.Calls = append(s.Calls, callSummary{o.Call, o.Name, string(raw)})
	}
}

// normal is a summary in one form of those that say the same.
func (s summary) normal() string {
	s.thought = false
	for i := range s.Calls {
		var compact bytes.Buffer
		if json.Compact(&compact, []byte(s.Calls[i].Arguments)) == nil {
			s.Calls[i].Arguments = compact.String()
		}
	}
	return fmt.Sprintf("%+v", s)
}

// summarizeSaid is the same of what a Reader told.
func summarizeSaid(d *dialect.Said) (s summary) {
	if d.Error != nil {
		s.Failure = dialect.String(d.Error.Code) + ": " + dialect.String(d.Error.Message)
		s.Finish = "failed"
	}
	s.Usage = d.Usage
	for _, c := range d.Choices {
		switch c.Finish {
		case dialect.Length:
			s.Finish = "max_output_tokens"
		case dialect.ContentFilter:
			s.Finish = "content_filter"
		case dialect.Going:
		default:
			s.Finish = "completed"
		}
		for _, p := range c.Parts {
			switch text := dialect.String(p.Text); p.Kind {
			case dialect.Text:
				s.Text += text
				for _, one := range p.Citations {
					if one.URL != nil {
						s.Cited = append(s.Cited, dialect.String(one.URL))
					}
				}
			case dialect.Refusal:
				s.Refusal += text
			case dialect.Thinking:
				s.Thinking += text
				s.Signatures += "|" + dialect.String(p.Signature)
			case dialect.ToolUse:
				s.Calls = append(s.Calls, callSummary{dialect.String(p.ID), dialect.String(p.Name), dialect.String(p.Arguments)})
			}
		}
	}
	return s
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

// last gives the response that a stream ends with, with the items as they were told of: the
// encrypted content of those at the end may be another one.
func last(t testing.TB, stream []byte) (r *wholeReply) {
	t.Helper()
	var items []outputItem
	for _, raw := range split(t, stream) {
		data, _ := sse.Data(raw, nil)
		var e struct {
			Type     string
			Item     outputItem
			Response *wholeReply
		}
		if json.Unmarshal(data, &e) != nil {
			continue
		}
		switch e.Type {
		case "response.completed", "response.incomplete", "response.failed":
			r = e.Response
		case "response.output_item.done":
			items = append(items, e.Item)
		}
	}
	if r != nil && len(items) > 0 {
		r.Output = items
	}
	return r
}

// conversation has a reply that was read written again, as a stream and whole.
type conversation struct {
	said   dialect.Said
	stream []byte
	whole  []byte
}

func reply(request []byte) dialect.Reply {
	return dialect.Reply{ID: "1", Model: "m", Created: 1767225600, Request: request}
}

func readStream(t testing.TB, stream, request []byte) *conversation {
	t.Helper()
	c := new(conversation)
	r, w := Dialect{}.NewReader(), Dialect{}.NewWriter()
	w.Reset(reply(request))
	for _, raw := range split(t, stream) {
		if err := r.Event(raw, func(e *dialect.Event) error {
			c.stream = w.Event(c.stream, e)
			return c.said.Add(e)
		}); err != nil {
			t.Fatal(err)
		}
	}
	return c.end(w, request)
}

func readWhole(t testing.TB, body, request []byte) *conversation {
	t.Helper()
	c := new(conversation)
	r, w := Dialect{}.NewReader(), Dialect{}.NewWriter()
	w.Reset(reply(request))
	if err := r.Whole(body, func(e *dialect.Event) error {
		c.stream = w.Event(c.stream, e)
		return c.said.Add(e)
	}); err != nil {
		t.Fatal(err)
	}
	return c.end(w, request)
}

func (c *conversation) end(w dialect.Writer, request []byte) *conversation {
	c.stream = w.End(c.stream)
	w.Reset(reply(request))
	c.whole = w.Whole(nil, &c.said)
	return c
}

// check compares what was read and what was written with what the service said.
func (c *conversation) check(t *testing.T, name, want string) {
	t.Helper()
	if got := summarizeSaid(&c.said).normal(); got != want {
		t.Errorf("%s: read\n%s\nwant\n%s", name, got, want)
	}
	var whole wholeReply
	if err := json.Unmarshal(c.whole, &whole); err != nil {
		t.Fatalf("%s: %v in %s", name, err, c.whole)
	}
	if got := whole.summary().normal(); got != want {
		t.Errorf("%s: written whole\n%s\nwant\n%s", name, got, want)
	}
	final := last(t, c.stream)
	if final == nil {
		t.Fatalf("%s: no end in %s", name, c.stream)
	}
	if got := final.summary().normal(); got != want {
		t.Errorf("%s: written as a stream\n%s\nwant\n%s", name, got, want)
	}
	again := readStream(t, c.stream, nil)
	if got := summarizeSaid(&again.said).normal(); got != want {
		t.Errorf("%s: written as a stream and read\n%s\nwant\n%s", name, got, want)
	}
	again = readWhole(t, c.whole, nil)
	if got := summarizeSaid(&again.said).normal(); got != want {
		t.Errorf("%s: written whole and read\n%s\nwant\n%s", name, got, want)
	}
}

// TestStreams: what is read of a stream is what its last event says, and so is what is
// written from it.
func TestStreams(t *testing.T) {
	testkit.Each(t, testStreams)
}

func testStreams(t *testing.T, in testkit.Inputs) {
	n := 0
	v := validator{}
	for _, s := range in.Streams(t) {
		if s.API != "openai-responses" {
			continue
		}
		final := last(t, s.Body)
		if final == nil {
			t.Logf("%s has no end", s.Name)
			continue
		}
		n++
		c := readStream(t, s.Body, nil)
		c.check(t, s.Name, final.summary().normal())
		v.described = n%4 == 1 // of all it takes long
		v.stream(t, in, s.Name, c.stream)
		v.whole(t, in, c.whole)
	}
	if t.Logf("%d streams", n); n < in.Least(60) {
		t.Error("these are few")
	}
}

// TestReplies is the same for replies that came whole.
func TestReplies(t *testing.T) {
	testkit.Each(t, testReplies)
}

func testReplies(t *testing.T, in testkit.Inputs) {
	n := 0
	v := validator{}
	for i, p := range in.Pairs(t) {
		var whole wholeReply
		if !strings.Contains(p.URL, "/responses") || json.Unmarshal([]byte(p.Response), &whole) != nil || whole.Status == "queued" {
			continue
		}
		n++
		name := fmt.Sprint(i)
		c := readWhole(t, []byte(p.Response), []byte(p.Request))
		c.check(t, name, whole.summary().normal())
		v.described = n%8 == 1
		v.stream(t, in, name, c.stream)
		v.whole(t, in, c.whole)
	}
	if t.Logf("%d replies", n); in.Least(2) == 2 && n < 200 {
		t.Error("these are few")
	}
}

// described is our own description of the API and, where it was recorded, OpenAI's.
var described testkit.Descriptions

// validator checks streams and, where it is said to, replies against a description: of a type
// of events the first few of a stream.
type validator struct{ described bool }

func (v validator) stream(t *testing.T, in testkit.Inputs, name string, stream []byte) {
	t.Helper()
	var schema *jsonschema.Schema
	if v.described {
		schema = described.Schema(t, in, "ResponseStreamEvent")
	}
	seen := map[string]int{}
	l := &listener{t: t, name: name}
	for i, raw := range split(t, stream) {
		data, ok := sse.Data(raw, nil)
		if !ok {
			continue
		}
		var e struct {
			Type     string
			Sequence int `json:"sequence_number"`
		}
		if err := json.Unmarshal(data, &e); err != nil || e.Sequence != i || string(sse.Name(raw)) != e.Type {
			t.Fatalf("%s: event %d is %s (%v)", name, i, raw, err)
		}
		l.hear(data)
		if seen[e.Type]++; v.described && seen[e.Type] < 3 {
			conforms(t, schema, data)
			var event responses.ResponseStreamEventUnion
			if err := json.Unmarshal(data, &event); err != nil || event.AsAny() == nil {
				t.Errorf("OpenAI's SDK does not know %s: %v", data, err)
			}
		}
	}
	l.end()
}

func (v validator) whole(t *testing.T, in testkit.Inputs, body []byte) {
	t.Helper()
	if v.described {
		conforms(t, described.Schema(t, in, "Response"), body)
	}
}

func conforms(t *testing.T, schema *jsonschema.Schema, data []byte) {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	object, _ := v.(map[string]any)
	r, ok := object["response"].(map[string]any)
	if !ok {
		r = object
	}
	for _, name := range []string{"usage", "metadata"} {
		if r[name] == nil {
			delete(r, name) // OpenAI's servers send null, which is not in the description
		}
	}
	if tools, ok := r["tools"].([]any); ok {
		// What a client sends is repeated, be it as OpenAI describes it or not.
		r["tools"] = slices.DeleteFunc(tools, func(v any) bool { return v.(map[string]any)["type"] != "function" })
	}
	if err := schema.Validate(v); err != nil {
		t.Errorf("%s: %v", data, err)
	}
}

// listener understands a stream as a client that shows it as it comes.
type listener struct {
	t     *testing.T
	name  string
	items []map[string]any
	done  []bool
	final map[string]any
}

func (l *listener) hear(data []byte) {
	l.t.Helper()
	var e map[string]any
	if err := json.Unmarshal(data, &e); err != nil {
		l.t.Fatal(err)
	}
	at := func(name string) int {
		n, ok := e[name].(float64)
		if !ok {
			l.t.Fatalf("%s: no %s in %s", l.name, name, data)
		}
		return int(n)
	}
	if l.final != nil {
		l.t.Fatalf("%s: %s after the end", l.name, data)
	}
	kind := strings.TrimPrefix(e["type"].(string), "response.")
	switch kind {
	case "created", "in_progress":
		return
	case "completed", "incomplete", "failed":
		l.final = e["response"].(map[string]any)
		return
	case "output_item.added":
		if at("output_index") != len(l.items) {
			l.t.Fatalf("%s: %s after %d", l.name, data, len(l.items))
		}
		l.items, l.done = append(l.items, e["item"].(map[string]any)), append(l.done, false)
		return
	}
	n := at("output_index")
	item := l.items[n]
	if id, ok := e["item_id"]; ok && id != item["id"] || l.done[n] {
		l.t.Fatalf("%s: %s is not of %v", l.name, data, item)
	}
	same := func(got, want any) {
		l.t.Helper()
		if !reflect.DeepEqual(got, want) {
			l.t.Errorf("%s: %s: has %v, want %v", l.name, data, got, want)
		}
	}
	list, index := "content", "content_index"
	if strings.HasPrefix(kind, "reasoning_summary") {
		list, index = "summary", "summary_index"
	}
	part := func() map[string]any { return item[list].([]any)[at(index)].(map[string]any) }
	grow := func(object map[string]any, member string) {
		object[member] = object[member].(string) + e["delta"].(string)
	}
	switch kind {
	case "content_part.added", "reasoning_summary_part.added":
		if at(index) != len(item[list].([]any)) {
			l.t.Fatalf("%s: %s is out of order", l.name, data)
		}
		item[list] = append(item[list].([]any), e["part"])
	case "output_text.delta", "reasoning_summary_text.delta":
		p := part()
		grow(p, "text")
		if list, ok := e["logprobs"].([]any); ok {
			p["logprobs"] = append(p["logprobs"].([]any), list...)
		}
	case "refusal.delta":
		grow(part(), "refusal")
	case "output_text.annotation.added":
		p := part()
		same(at("annotation_index"), len(p["annotations"].([]any)))
		p["annotations"] = append(p["annotations"].([]any), e["annotation"])
	case "function_call_arguments.delta":
		grow(item, "arguments")
	case "custom_tool_call_input.delta":
		grow(item, "input")
	case "output_text.done", "reasoning_summary_text.done":
		same(e["text"], part()["text"])
		if kind == "output_text.done" {
			same(e["logprobs"], part()["logprobs"])
		}
	case "refusal.done":
		same(e["refusal"], part()["refusal"])
	case "function_call_arguments.done":
		same(e["arguments"], item["arguments"])
		same(e["name"], item["name"])
	case "custom_tool_call_input.done":
		same(e["input"], item["input"])
	case "content_part.done", "reasoning_summary_part.done":
		same(e["part"], any(part()))
	case "output_item.done":
		now := e["item"].(map[string]any)
		for _, name := range []string{"status", "encrypted_content", "action"} { // which the end alone knows
			if v, ok := now[name]; ok {
				item[name] = v
			}
		}
		same(any(now), any(item))
		l.items[n], l.done[n] = now, true
	default:
		l.t.Errorf("%s: unknown event %s", l.name, data)
	}
}

// end compares what was heard with what the last event says.
func (l *listener) end() {
	l.t.Helper()
	output := []any{}
	for i := range l.items {
		if l.done[i] {
			output = append(output, any(l.items[i]))
		} else if l.final["status"] != "failed" {
			l.t.Errorf("%s: item %d has no end", l.name, i)
		}
	}
	if l.final == nil || !reflect.DeepEqual(l.final["output"], any(output)) {
		l.t.Errorf("%s: heard %v, the end says %v", l.name, output, l.final["output"])
	}
}

// valid reports where something is no JSON.
func valid(t *testing.T, body []byte) {
	t.Helper()
	if err := jsonscan.Validate(body, 0); err != nil {
		t.Errorf("%v in %s", err, body)
	}
}
