//go:build !race

package gemini

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"

	"sluice/internal/dialect"
	"sluice/internal/llm"
	"sluice/internal/sse"
	"sluice/internal/testkit"
)

// told is what a candidate says, as the test compares it.
type told struct {
	Text, Thoughts, Reason string
	Signatures             []string
	Calls                  []string // ids, names and arguments
	Cited                  []string // where, in characters, and what
}

// plainReply is the test's own reading.
type plainReply struct {
	Candidates []struct {
		Index   int
		Content struct {
			Parts []struct {
				Text      string
				Thought   bool
				Signature string `json:"thoughtSignature"`
				Call      *struct {
					ID, Name string
					Args     any
				} `json:"functionCall"`
			}
		}
		Reason string `json:"finishReason"`
		Cites  struct {
			Sources, Citations []plainPlace
			CitationSources    []plainPlace
		} `json:"citationMetadata"`
		Grounds struct {
			GroundingChunks   []map[string]struct{ URI, Title, Text string }
			GroundingSupports []struct {
				Segment plainPlace
				Chunks  []int `json:"groundingChunkIndices"`
			}
		} `json:"groundingMetadata"`
	}
	Feedback struct {
		Reason string `json:"blockReason"`
	} `json:"promptFeedback"`
	Usage *struct {
		Prompt     int64 `json:"promptTokenCount"`
		Tools      int64 `json:"toolUsePromptTokenCount"`
		Candidates int64 `json:"candidatesTokenCount"`
		Thoughts   int64 `json:"thoughtsTokenCount"`
		Cached     int64 `json:"cachedContentTokenCount"`
	} `json:"usageMetadata"`
	ID      string `json:"responseId"`
	Version string `json:"modelVersion"`
}

type plainPlace struct {
	StartIndex, EndIndex int
	URI, Title, Text     string
}

// plain is what a reply says, by the test's own reading.
type plain struct {
	of    map[int]*told
	usage dialect.Usage
	id    string
}

func (p *plain) add(t testing.TB, data []byte) {
	t.Helper()
	var r plainReply
	if err := json.Unmarshal(data, &r); err != nil {
		t.Fatalf("%v in %s", err, data)
	}
	if u := r.Usage; u != nil {
		p.usage.Update(dialect.Usage{Prompt: u.Prompt + u.Tools, Completion: u.Candidates + u.Thoughts, Cached: u.Cached, Reasoning: u.Thoughts})
	}
	if p.id == "" {
		p.id = r.ID
	}
	if r.Feedback.Reason != "" {
		p.at(0).Reason = "SAFETY"
	}
	for _, c := range r.Candidates {
		to := p.at(c.Index)
		for _, part := range c.Content.Parts {
			if part.Signature != "" {
				to.Signatures = append(to.Signatures, part.Signature)
			}
			if part.Thought {
				to.Thoughts += part.Text
			} else {
				to.Text += part.Text
			}
			if part.Call != nil {
				args, _ := json.Marshal(part.Call.Args)
				to.Calls = append(to.Calls, fmt.Sprintf("%s %s %s", part.Call.ID, part.Call.Name, args))
			}
		}
		for _, one := range append(c.Cites.Citations, c.Cites.CitationSources...) {
			to.cite(one, one.URI, one.Title, "")
		}
		for _, support := range c.Grounds.GroundingSupports {
			for _, n := range support.Chunks {
				for _, source := range c.Grounds.GroundingChunks[n] {
					text := source.Text
					if text == "" {
						text = support.Segment.Text
					}
					to.cite(support.Segment, source.URI, source.Title, text)
				}
			}
		}
		switch c.Reason {
		case "":
		case "RECITATION":
			to.Reason = "SAFETY"
		case "STOP", "MAX_TOKENS", "SAFETY":
			to.Reason = c.Reason
		default:
			to.Reason = "STOP"
		}
	}
}

func (p *plain) at(index int) *told {
	if p.of == nil {
		p.of = map[int]*told{}
	}
	if p.of[index] == nil {
		p.of[index] = &told{}
	}
	return p.of[index]
}

func (c *told) cite(at plainPlace, uri, title, text string) {
	start, end := at.StartIndex, at.EndIndex
	if end <= len(c.Text) {
		start, end = len([]rune(c.Text[:start])), len([]rune(c.Text[:end]))
	} else {
		start, end = 0, 0
	}
	c.Cited = append(c.Cited, fmt.Sprintf("%d-%d %s %s %s", start, end, uri, title, text))
}

func (p *plain) String() string {
	var b strings.Builder
	for _, i := range slices.Sorted(maps.Keys(p.of)) {
		fmt.Fprintf(&b, "%d %+v\n", i, *p.of[i])
	}
	fmt.Fprint(&b, p.usage)
	return b.String()
}

// vocabulary is what the vocabulary has of a reply, told the same way.
func vocabulary(s *dialect.Said) string {
	p := plain{usage: s.Usage, id: dialect.String(s.ID)}
	for i := range s.Choices {
		c := &s.Choices[i]
		to := p.at(c.Index)
		for _, part := range c.Parts {
			switch part.Kind {
			case dialect.Text:
				to.Text += dialect.String(part.Text)
			case dialect.Thinking:
				to.Thoughts += dialect.String(part.Text)
			case dialect.ToolUse:
				args, _ := dialect.AppendObject(nil, part.Arguments)
				var v any
				_ = json.Unmarshal(args, &v)
				again, _ := json.Marshal(v)
				to.Calls = append(to.Calls, fmt.Sprintf("%s %s %s", dialect.String(part.ID), dialect.String(part.Name), again))
			}
			if part.Signature != nil {
				to.Signatures = append(to.Signatures, dialect.String(part.Signature))
			}
			for _, one := range part.Citations {
				to.Cited = append(to.Cited, fmt.Sprintf("%d-%d %s %s %s", one.Start, one.End, dialect.String(one.URL), dialect.String(one.Title), dialect.String(one.Cited)))
			}
		}
		to.Reason = map[dialect.Finish]string{dialect.Going: "STOP", dialect.Stop: "STOP", dialect.ToolsCalled: "STOP", dialect.Length: "MAX_TOKENS", dialect.ContentFilter: "SAFETY"}[c.Finish]
	}
	return p.String()
}

func split(t testing.TB, stream []byte) (events [][]byte) {
	t.Helper()
	var s sse.Splitter
	list, err := s.Feed(stream, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range append(list, llm.Event{Raw: s.Tail()}) {
		if len(e.Raw) > 0 {
			events = append(events, e.Raw)
		}
	}
	return events
}

func read(t testing.TB, stream []byte) *plain {
	t.Helper()
	p := new(plain)
	for _, raw := range split(t, stream) {
		if data, ok := sse.Data(raw, nil); ok {
			p.add(t, data)
		}
	}
	return p
}

// through reads a stream, writes it again and gathers what it says.
func through(t testing.TB, stream []byte) (again []byte, s *dialect.Said) {
	t.Helper()
	r, w := Dialect{}.NewReader(), Dialect{}.NewWriter()
	w.Reset(dialect.Reply{ID: "1", Model: "m"})
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

// TestStreams: what a stream says is what the vocabulary has of it, and one that was read and
// written again says what it said, as events and as a whole.
func TestStreams(t *testing.T) { testkit.Each(t, testStreams) }

func testStreams(t *testing.T, in testkit.Inputs) {
	n, calls, cited := 0, 0, 0
	for _, stream := range in.Streams(t) {
		if !strings.HasPrefix(stream.API, "gemini") {
			continue
		}
		want := read(t, stream.Body)
		if len(want.of) == 0 { // an error's body
			continue
		}
		n++
		for _, c := range want.of {
			calls, cited = calls+len(c.Calls), cited+len(c.Cited)
		}
		again, said := through(t, stream.Body)
		if want.id == "" {
			want.id = "1"
		}
		for _, c := range want.of {
			if c.Reason == "" { // it was cut
				c.Reason = "STOP"
			}
		}
		if got := vocabulary(said); got != want.String() {
			t.Errorf("%s is read as\n%s\nwant\n%s", stream.Name, got, want)
		}
		if got := read(t, again); got.String() != want.String() || got.id != want.id {
			t.Errorf("%s is written as %s\n%s\nwant %s\n%s", stream.Name, got.id, got, want.id, want)
		}
		w := Dialect{}.NewWriter()
		w.Reset(dialect.Reply{ID: "1", Model: "m"})
		whole := new(plain)
		if whole.add(t, w.Whole(nil, said)); whole.String() != want.String() {
			t.Errorf("%s as a whole says\n%s\nwant\n%s", stream.Name, whole, want)
		}
	}
	t.Logf("%d streams with %d calls and %d citations", n, calls, cited)
	if n < in.Least(55) || in.Least(2) == 2 && (calls < 15 || cited < 30) {
		t.Error("these are few")
	}
}

// TestRequests: a request that was read and written again asks the same.
func TestRequests(t *testing.T) { testkit.Each(t, testRequests) }

func testRequests(t *testing.T, in testkit.Inputs) {
	n := 0
	type request struct {
		model string
		body  []byte
	}
	requests := []request{{"gemini-2.5-flash", []byte(ownRequest)}}
	for _, stream := range in.Streams(t) {
		if strings.HasPrefix(stream.API, "gemini") && stream.Request != nil {
			requests = append(requests, request{"gemini-2.5-flash", stream.Request})
		}
	}
	for _, p := range in.Errors(t) {
		if model, ok := strings.CutSuffix(p.URL, ":generateContent"); ok && json.Valid([]byte(p.Request)) {
			requests = append(requests, request{path.Base(model), []byte(p.Request)})
		}
	}
	for _, one := range requests {
		n++
		body, c := one.body, dialect.Conversation{Model: one.model}
		if err := (Dialect{}).ReadRequest(&c, body); err != nil {
			t.Errorf("%v of %s", err, body)
			continue
		}
		asked, err := Dialect{}.WriteRequest(nil, &c, dialect.Options{})
		if err != nil {
			t.Errorf("%v of %s", err, body)
			continue
		}
		if got, want := canonical(t, asked.Body, nil), canonical(t, body, c.Lost.Names()); got != want {
			t.Errorf("asks\n%s\nwant\n%s\nlost %v", got, want, c.Lost.Names())
		}
	}
	if t.Logf("%d requests", n); n < in.Least(40) {
		t.Error("these are few")
	}
}

const ownRequest = `{"systemInstruction":{"role":"user","parts":[{"text":"Be brief."}]},"contents":[
{"role":"user","parts":[{"text":"How warm is it?"},{"inlineData":{"mimeType":"image/png","data":"AAAA"}},{"fileData":{"mimeType":"application/pdf","fileUri":"https://h/a.pdf"}}]},
{"role":"model","parts":[{"text":"Hm.","thought":true},{"functionCall":{"id":"a","name":"warmth","args":{"at":"Ulm"}},"thoughtSignature":"AAAA"},{"functionCall":{"id":"b","name":"warmth","args":{"at":"Bonn"}}}]},
{"role":"user","parts":[{"functionResponse":{"id":"a","name":"warmth","response":{"degrees":5}}},{"functionResponse":{"id":"b","name":"warmth","response":{"error":"no such place"}}}]}],
"tools":[{"functionDeclarations":[{"name":"warmth","description":"tells","parameters":{"type":"OBJECT","properties":{"at":{"type":"STRING","nullable":true}},"required":["at"]}}]}],
"toolConfig":{"functionCallingConfig":{"mode":"ANY","allowedFunctionNames":["warmth"]}},
"generationConfig":{"temperature":0.5,"topP":0.9,"topK":40,"candidateCount":1,"maxOutputTokens":100,"stopSequences":["x"],"seed":7,"presencePenalty":0.1,"frequencyPenalty":0.2,
"responseMimeType":"application/json","responseSchema":{"type":"ARRAY","items":{"type":"NUMBER"},"minItems":"1"},"thinkingConfig":{"thinkingBudget":1024,"includeThoughts":true}}}`

// canonical is a request in one form of those that mean the same, without what is lost.
func canonical(t *testing.T, body []byte, lost []string) string {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal(body, &v); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	v, _ = camel(v).(map[string]any)
	for _, name := range lost {
		delete(v, name)
	}
	if system, ok := v["systemInstruction"].(map[string]any); ok {
		delete(system, "role")
	}
	contents, _ := v["contents"].([]any)
	var ids, last int
	var merged []any
	for _, c := range contents {
		c := c.(map[string]any)
		if c["role"] == nil {
			c["role"] = "user"
		}
		var parts, results []any
		for _, p := range c["parts"].([]any) {
			p := p.(map[string]any)
			for _, name := range lost {
				delete(p, name)
			}
			if call, ok := p["functionCall"].(map[string]any); ok && call["id"] == nil {
				ids++
				call["id"] = fmt.Sprintf("call_%d", ids)
			}
			if answer, ok := p["functionResponse"].(map[string]any); ok {
				if answer["id"] == nil {
					last++
					answer["id"] = fmt.Sprintf("call_%d", last)
				}
				said, _ := answer["response"].(map[string]any)
				if text, ok := said["result"].(string); ok && len(said) == 1 {
					answer["response"] = map[string]any{"output": text}
				}
				results = append(results, p)
				if more, _ := answer["parts"].([]any); len(more) == 1 && more[0].(map[string]any)["fileData"] != nil {
					parts = append(parts, more[0]) // which the API refuses where it stands
					delete(answer, "parts")
				}
			} else if len(p) > 0 && (p["text"] != "" || len(p) > 1) {
				parts = append(parts, p)
			}
		}
		for _, list := range [][]any{results, parts} {
			if len(list) > 0 {
				merged = append(merged, map[string]any{"role": c["role"], "parts": list})
			}
		}
	}
	v["contents"] = merged
	tools, _ := v["tools"].([]any)
	var kept []any
	for _, one := range tools {
		one := one.(map[string]any)
		list, _ := one["functionDeclarations"].([]any)
		for _, f := range list {
			f := f.(map[string]any)
			if f["parameters"] != nil {
				f["parametersJsonSchema"] = schema(f["parameters"])
				delete(f, "parameters")
			}
		}
		if list != nil {
			kept = append(kept, one)
		}
	}
	if v["tools"] = kept; kept == nil {
		delete(v, "tools")
		delete(v, "toolConfig")
	}
	config, _ := v["generationConfig"].(map[string]any)
	if config == nil {
		config = map[string]any{}
		v["generationConfig"] = config
	}
	delete(config, "responseModalities")
	if config["responseSchema"] != nil {
		config["responseJsonSchema"] = schema(config["responseSchema"])
		delete(config, "responseSchema")
	}
	if thinking, ok := config["thinkingConfig"].(map[string]any); ok {
		if n, ok := thinking["thinkingBudget"].(float64); ok && n > 0 {
			thinking["thinkingBudget"], thinking["includeThoughts"] = max(n, leastBudget), true
		}
	}
	out, _ := json.Marshal(v)
	return string(out)
}

// camel has names in camelCase, but for those of arguments, results and schemas.
func camel(v any) any {
	switch v := v.(type) {
	case []any:
		for i := range v {
			v[i] = camel(v[i])
		}
	case map[string]any:
		for name, one := range v {
			words := strings.Split(name, "_")
			for i := range words[1:] {
				if w := words[i+1]; w != "" {
					words[i+1] = strings.ToUpper(w[:1]) + w[1:]
				}
			}
			delete(v, name)
			if v[strings.Join(words, "")] = one; name != "args" && name != "response" && !strings.Contains(strings.ToLower(name), "schema") && name != "parameters" {
				v[strings.Join(words, "")] = camel(one)
			}
		}
	}
	return v
}

// schema is one of the API's own form as JSON Schema.
func schema(v any) any {
	m, ok := v.(map[string]any)
	if !ok {
		return v
	}
	for name, one := range m {
		switch name {
		case "type":
			m[name] = strings.ToLower(one.(string))
			if m["nullable"] == true {
				m[name] = []any{m[name], "null"}
			}
		case "properties":
			for key, p := range one.(map[string]any) {
				one.(map[string]any)[key] = schema(p)
			}
		case "items":
			m[name] = schema(one)
		case "minItems":
			var n json.Number
			_ = json.Unmarshal(fmt.Append(nil, one), &n)
			m[name] = n
		}
	}
	delete(m, "nullable")
	return m
}

// TestErrors: bodies of errors are as the API's own.
func TestErrors(t *testing.T) { testkit.Each(t, testErrors) }

func testErrors(t *testing.T, in testkit.Inputs) {
	type body struct {
		Error struct {
			Code            int
			Message, Status string
		}
	}
	for _, p := range in.Errors(t) {
		if !strings.Contains(p.URL, "googleapis.com") || !strings.Contains(p.Response, `"status"`) {
			continue
		}
		var want, got body
		if err := json.Unmarshal([]byte(p.Response), &want); err != nil {
			continue
		}
		out := Dialect{}.AppendError(nil, &llm.Error{Status: p.Status, Message: want.Error.Message, Code: "some_code"})
		if err := json.Unmarshal(out, &got); err != nil || got != want {
			t.Errorf("%s (%v), want %+v", out, err, want)
		}
	}
	out := Dialect{}.AppendErrorEvent(nil, &llm.Error{Status: 503, Message: "m"}, 3)
	if want := `data: {"error":{"code":503,"message":"m","status":"UNAVAILABLE"}}` + "\n\n"; string(out) != want {
		t.Errorf("%s, want %s", out, want)
	}
	if !bytes.Contains(Dialect{}.AppendError(nil, &llm.Error{Status: 418, Code: "a_b"}), []byte(`"reason":"A_B"`)) {
		t.Error("the code is not the reason")
	}
}
