//go:build !race

package known

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"weak"

	"sluice/internal/dialect"
	"sluice/internal/jsonscan"
	"sluice/internal/llm"
	"sluice/internal/sse"
	"sluice/internal/testkit"
)

const (
	unsound  = "%s is not a %s: %s"
	maxDepth = 100
)

// checkPart reports what of a part has another type than the vocabulary says.
func checkPart(t *testing.T, p *dialect.Part) {
	t.Helper()
	if (p.Kind == dialect.Text || p.Kind == dialect.Refusal) && p.Text == nil {
		t.Error("a text has none")
	}
	texts(t, p.Text, p.Signature, p.Media.URL, p.Media.FileID, p.Media.Detail, p.Media.Name, p.ID, p.Name)
	if p.Arguments != nil && !dialect.IsObject(p.Arguments) && !dialect.IsText(p.Arguments) {
		t.Errorf(unsound, "arguments", "text or object", p.Arguments)
	}
	objects(t, p.CacheControl)
	if jsonscan.Validate(append(append([]byte{'"'}, p.Media.Data...), '"'), 1) != nil {
		t.Errorf(unsound, "data", "text", p.Media.Data)
	}
	for _, c := range p.Citations {
		texts(t, c.URL, c.Title, c.Cited)
	}
	for i := range p.Result {
		checkPart(t, &p.Result[i])
	}
}

func texts(t *testing.T, list ...[]byte) {
	t.Helper()
	for i, v := range list {
		if v != nil && (!dialect.IsText(v) || jsonscan.Validate(v, 1) != nil) {
			t.Errorf(unsound, fmt.Sprint("value ", i), "text", v)
		}
	}
}

func objects(t *testing.T, list ...[]byte) {
	t.Helper()
	for i, v := range list {
		if v != nil && (!dialect.IsObject(v) || jsonscan.Validate(v, 0) != nil) {
			t.Errorf(unsound, fmt.Sprint("value ", i), "object", v)
		}
	}
}

// checkConversation reports what of a conversation has another type than the vocabulary says.
func checkConversation(t *testing.T, c *dialect.Conversation) {
	t.Helper()
	for i := range c.Messages {
		texts(t, c.Messages[i].Name)
		for k := range c.Messages[i].Parts {
			checkPart(t, &c.Messages[i].Parts[k])
		}
	}
	for i := range c.Tools {
		tool := &c.Tools[i]
		if tool.Raw == nil && tool.Name == nil {
			t.Error("a tool has no name")
		}
		texts(t, tool.Name, tool.Description)
		objects(t, tool.Schema, tool.CacheControl)
	}
	for i, v := range [][]byte{
		c.MaxTokens, c.Temperature, c.TopP, c.TopK, c.Seed, c.PresencePenalty, c.FrequencyPenalty, c.Count, c.TopLogprobs, c.Reasoning.Budget,
	} {
		if v != nil && !dialect.IsNumber(v) {
			t.Errorf(unsound, fmt.Sprint("value ", i), "number", v)
		}
	}
	texts(t, c.User, c.Tier, c.CacheKey, c.ToolChoice.Name, c.Format.Name, c.Format.Description, c.Reasoning.Effort, c.Reasoning.Summary)
	texts(t, c.Stop...)
	objects(t, c.Metadata, c.Format.Schema)
}

// checkEvent does so of an event.
func checkEvent(t *testing.T, e *dialect.Event) {
	t.Helper()
	texts(t, e.ID, e.Model)
	if e.Error != nil {
		texts(t, e.Error.Message, e.Error.Type, e.Error.Code)
	}
	for i := range e.Choices {
		c := &e.Choices[i]
		texts(t, c.Thinking, c.Signature, c.Text, c.Refusal, c.Stopped)
		objects(t, c.Logprobs)
		for _, one := range c.Citations {
			texts(t, one.URL, one.Title, one.Cited)
		}
		for _, call := range c.ToolCalls {
			texts(t, call.ID, call.Name, call.Arguments, call.Signature)
		}
	}
}

// checkStream reports what of a stream that was written is no event of one line of JSON, and
// gives what the events say.
func checkStream(t *testing.T, stream []byte) (data [][]byte) {
	t.Helper()
	for event := range bytes.SplitSeq(bytes.TrimSuffix(stream, []byte("\n\n")), []byte("\n\n")) {
		line := event
		if bytes.HasPrefix(event, []byte("event: ")) {
			_, line, _ = bytes.Cut(event, []byte("\n"))
		}
		one, ok := bytes.CutPrefix(line, []byte("data: "))
		if !ok || bytes.ContainsAny(one, "\r\n") || string(one) != "[DONE]" && jsonscan.Validate(one, 0) != nil {
			t.Fatalf("this is no event of one line of JSON: %q", event)
		}
		data = append(data, one)
	}
	if !bytes.HasSuffix(stream, []byte("\n\n")) {
		t.Fatalf("the last event has not ended: %q", stream)
	}
	return data
}

// readRequest reads a request, and writes it in each dialect that can ask the same.
func readRequest(t *testing.T, from llm.Operation, body []byte) map[llm.Operation][]byte {
	t.Helper()
	c := &dialect.Conversation{Model: "m"}
	if err := Of(from).ReadRequest(c, body); err != nil {
		if e := llm.AsError(err); e.Status != 400 {
			t.Errorf("%v in %s", err, body)
		}
		return nil
	}
	checkConversation(t, c)
	c.EstimateTokens()
	asked := map[llm.Operation][]byte{}
	for _, to := range dialects() {
		a, err := Of(to).WriteRequest(nil, c, dialect.Options{MaxTokens: 4096})
		if err != nil {
			continue
		}
		if err := jsonscan.Validate(a.Body, 0); err != nil {
			t.Fatalf("%v writes what is no JSON: %v\n%s", Of(to).Name(), err, a.Body)
		}
		asked[to] = a.Body
	}
	return asked
}

// readReply reads a reply, event by event or whole, and writes it in each dialect in both
// forms.
func readReply(t *testing.T, from llm.Operation, reply []byte, whole bool) map[llm.Operation][][]byte {
	t.Helper()
	written := map[llm.Operation][][]byte{}
	for _, to := range dialects() {
		reader, writer := Of(from).NewReader(), Of(to).NewWriter()
		about := dialect.Reply{ID: "1", Model: "m", IncludeUsage: true, Request: []byte("{\"tools\":[{\"type\":\n\"custom\",\"name\":\"c\"},\r{\"type\":\"local_shell\"},{\"type\":\"function\",\"name\":\"f\"\n}]}"), Max: 1 << 20}
		writer.Reset(about)
		said := &dialect.Said{Max: 1 << 20}
		var stream []byte
		broken := false
		say := func(e *dialect.Event) error {
			checkEvent(t, e)
			if e.Error != nil {
				broken = true
				stream = writer.Fail(stream, llm.Errorf(502, "", "%s", dialect.String(e.Error.Message)))
				return dialect.ErrTooLarge
			}
			stream = writer.Event(stream, e)
			return said.Add(e)
		}
		var err error
		if whole {
			err = Of(from).NewReader().Whole(reply, say)
		} else {
			var s sse.Splitter
			events, _ := s.Feed(reply, nil)
			for _, e := range append(events, llm.Event{Raw: s.Tail()}) {
				if err = reader.Event(e.Raw, say); err != nil {
					break
				}
			}
		}
		if !broken {
			stream = writer.End(stream)
		}
		written[to] = checkStream(t, stream)
		if err != nil {
			continue
		}
		writer.Reset(about)
		body := writer.Whole(nil, said)
		if err := jsonscan.Validate(body, 0); err != nil {
			t.Fatalf("%v writes what is no JSON: %v\n%s", Of(to).Name(), err, body)
		}
		written[to] = append(written[to], body)
	}
	return written
}

// requests are requests of a dialect that say all that it can say, each something else.
func requests(from llm.Operation) (list [][]byte) {
	for _, f := range features() {
		c := &dialect.Conversation{Model: "m", Messages: []dialect.Message{{Role: dialect.User, Parts: []dialect.Part{{Kind: dialect.Text, Text: b(`"Hello"`)}}}}}
		f.say(c)
		if asked, err := Of(from).WriteRequest(nil, c, dialect.Options{MaxTokens: 4096}); err == nil {
			list = append(list, asked.Body)
		}
	}
	return list
}

// replies are what replies of a dialect are made of: a whole one, and events.
func replies(t *testing.T, from llm.Operation) (whole []byte, events [][]byte) {
	t.Helper()
	said := new(dialect.Said)
	writer := Of(from).NewWriter()
	writer.Reset(dialect.Reply{ID: "1", Model: "m", IncludeUsage: true})
	var stream []byte
	for _, c := range []dialect.Choice{
		{Thinking: b(`"Hm."`)}, {Signature: b(`"c2ln"`)},
		{Text: b(`"Yes"`), Logprobs: b(`{"content":[{"token":"Yes","logprob":-0.5,"bytes":[89,101,115],"top_logprobs":[{"token":"Yes","logprob":-0.5,"bytes":null}]}],"refusal":null}`)},
		{Citations: []dialect.Citation{{URL: b(`"https://h/a"`), Title: b(`"A"`), Cited: b(`"Yes"`), End: 3}}},
		{Refusal: b(`"No."`)},
		{ToolCalls: []dialect.ToolCall{{ID: b(`"a"`), Name: b(`"f"`), Arguments: b(`"{\"x\":"`)}}},
		{ToolCalls: []dialect.ToolCall{{Arguments: b(`"{\"y\":[1,\"\\n\"]}}"`)}, {Index: 1, ID: b(`"b"`), Name: b(`"c"`), Arguments: b(`"{\"input\":\"x\"}"`)}}},
		{ToolCalls: []dialect.ToolCall{{Index: 2, ID: b(`"d"`), Name: b(`"local_shell"`), Arguments: b(`"{\"command\":[\"ls\"],\"timeout_ms\":5,\"user\":\"u\",\"env\":{\"A\":\"b\"}}"`)}}},
		{Finish: dialect.ToolsCalled},
	} {
		e := dialect.Event{ID: b(`"r"`), Model: b(`"m"`), Choices: []dialect.Choice{c}, Usage: dialect.Usage{Prompt: 9, Completion: 7, Cached: 3, Reasoning: 2}}
		stream = writer.Event(stream, &e)
		if err := said.Add(&e); err != nil {
			t.Fatal(err)
		}
	}
	events = checkStream(t, writer.End(stream))
	writer.Reset(dialect.Reply{ID: "1", Model: "m"})
	return writer.Whole(nil, said), events
}

// streamOf makes a stream of what its events say.
func streamOf(events [][]byte) (stream []byte) {
	for _, e := range events {
		stream = append(append(append(stream, "data: "...), e...), "\n\n"...)
	}
	return stream
}

// change makes documents of one by putting something else in the place of each value in it in
// turn. Values that it has met at the same place in another document are left alone.
type change struct {
	instead func(name string, v []byte) []string // of a member, with its name, or an element, whose name is ""
	met     map[string]bool
}

func (c *change) each(doc []byte, use func([]byte)) { c.in("", doc, use) }

func (c *change) in(path string, doc []byte, use func([]byte)) {
	one := func(name string, v []byte, from int) {
		at := cap(doc) - cap(v)
		put := func(from int, s []byte) {
			use(append(append(append([]byte(nil), doc[:from]...), s...), doc[at+len(v):]...))
		}
		inner := path + "." + name
		if place := fmt.Sprintf("%s=%.24s", inner, v); !c.met[place] {
			c.met[place] = true
			for _, s := range c.instead(name, v) {
				put(from, []byte(s))
			}
		}
		c.in(inner, v, func(s []byte) { put(at, s) })
	}
	if dialect.IsObject(doc) {
		for name, v := range jsonscan.MembersOf(doc) {
			one(string(name), v, bytes.LastIndex(doc[:cap(doc)-cap(v)], []byte(`"`+string(name)+`"`)))
		}
	}
	for v := range jsonscan.ElementsOf(doc) {
		one("", v, cap(doc)-cap(v))
	}
}

// others are values of each type, among which there is another than whichever is wanted.
var others = []string{"5", "-1", "1e999", `"x"`, `""`, "true", "null", "[]", "[5]", "{}", `{"type":5}`, `[[["x"]]]`, `"{"`}

// TestTypes: what has another type than it should have is passed on by no reader, and does no
// harm.
func TestTypes(t *testing.T) {
	instead := func(name string, _ []byte) (list []string) {
		for _, o := range others {
			if name != "" {
				o = fmt.Sprintf("%q:%s", name, o)
			}
			list = append(list, o)
		}
		return list
	}
	for _, from := range dialects() {
		n := 0
		change := change{instead, map[string]bool{}}
		for _, body := range requests(from) {
			change.each(body, func(body []byte) { n++; readRequest(t, from, body) })
			if t.Failed() {
				t.Fatalf("of %s", body)
			}
		}
		whole, events := replies(t, from)
		change.each(whole, func(body []byte) { n++; readReply(t, from, body, true) })
		for i := range events {
			change.each(events[i], func(data []byte) {
				n++
				stream := append(append(append([][]byte(nil), events[:i]...), data), events[i+1:]...)
				readReply(t, from, streamOf(stream), false)
			})
			if t.Failed() {
				t.Fatalf("of %s", events[i])
			}
		}
		if n < 1000 {
			t.Errorf("%s: %d documents are few", Of(from).Name(), n)
		}
	}
}

// meant is what JSON says, be it in a text: the last of members that share a name counts.
func meant(t *testing.T, doc []byte) any {
	t.Helper()
	if string(doc) == "[DONE]" {
		return nil
	}
	var v any
	if err := json.Unmarshal(doc, &v); err != nil {
		t.Fatal(err)
	}
	return inTexts(v)
}

func inTexts(v any) any {
	switch v := v.(type) {
	case string:
		var inner any
		if strings.HasPrefix(v, "{") && json.Unmarshal([]byte(v), &inner) == nil {
			return inTexts(inner)
		}
	case map[string]any:
		for k := range v {
			v[k] = inTexts(v[k])
		}
	case []any:
		for k := range v {
			v[k] = inTexts(v[k])
		}
	}
	return v
}

// TestLastCounts: of members that share a name the last one counts, whatever it is and the
// others are.
func TestLastCounts(t *testing.T) {
	decoys := []string{"5", "true", `"decoy"`, `[{"type":"text","text":"decoy","role":"user","content":"decoy"}]`, `{"type":"text","text":"decoy","name":"decoy"}`, "null"}
	instead := func(name string, v []byte) []string {
		if name == "" {
			return nil
		}
		var s strings.Builder
		for _, d := range append(decoys, string(v)) {
			fmt.Fprintf(&s, "%q:%s,", name, d)
		}
		return []string{s.String() + fmt.Sprintf("%q:%s", name, v)}
	}
	same := func(from, to llm.Operation, of, got, want []byte) {
		t.Helper()
		if !reflect.DeepEqual(meant(t, got), meant(t, want)) {
			t.Fatalf("from %s to %s\n%s\nbecomes\n%s\nwant\n%s", Of(from).Name(), Of(to).Name(), of, got, want)
		}
	}
	for _, from := range dialects() {
		change := change{instead, map[string]bool{}}
		for _, body := range requests(from) {
			want := readRequest(t, from, body)
			change.each(body, func(body []byte) {
				got := readRequest(t, from, body)
				for to := range want {
					if got[to] == nil {
						t.Fatalf("from %s to %s: %s is not taken", Of(from).Name(), Of(to).Name(), body)
					}
					same(from, to, body, got[to], want[to])
				}
			})
		}
		whole, events := replies(t, from)
		compare := func(reply []byte, got, want map[llm.Operation][][]byte) {
			for to := range want {
				if len(got[to]) != len(want[to]) {
					t.Fatalf("from %s to %s: %d events of %s, want %d", Of(from).Name(), Of(to).Name(), len(got[to]), reply, len(want[to]))
				}
				for k := range want[to] {
					if from != llm.GenerateContent || !bytes.Contains(want[to][k], []byte("delta")) { // where pieces of texts begin is the writer's
						same(from, to, reply, got[to][k], want[to][k])
					}
				}
			}
		}
		want := readReply(t, from, whole, true)
		change.each(whole, func(body []byte) { compare(body, readReply(t, from, body, true), want) })
		want = readReply(t, from, streamOf(events), false)
		for i := range events {
			change.each(events[i], func(data []byte) {
				stream := streamOf(append(append(append([][]byte(nil), events[:i]...), data), events[i+1:]...))
				compare(stream, readReply(t, from, stream, false), want)
			})
		}
	}
}

// TestOneLine: however JSON is laid out that a service or a model wrote, an event has one line
// of it.
func TestOneLine(t *testing.T) {
	for _, from := range dialects() {
		whole, events := replies(t, from)
		for _, end := range []string{"\n", "\r", "\r\n", "\n\n"} {
			layOut := func(doc []byte) []byte {
				var laid bytes.Buffer
				if err := json.Indent(&laid, doc, "", " "); err != nil {
					t.Fatal(err)
				}
				text := strings.ReplaceAll(laid.String(), "\n", end)
				inner := strings.ReplaceAll(strings.ReplaceAll(strings.ReplaceAll(end, "\n", `\n`), "\r", `\r`), `\`, `\`)
				return []byte(strings.NewReplacer(`{\"`, `{`+inner+`\"`, `\":`, `\":`+inner).Replace(text))
			}
			readReply(t, from, layOut(whole), true)
			var stream []byte
			for _, e := range events {
				if string(e) == "[DONE]" {
					continue
				}
				// The lines of an event are fields of their own.
				data := bytes.Join(bytes.FieldsFunc(layOut(e), func(c rune) bool { return c == '\n' || c == '\r' }), []byte(end+"data: "))
				if end == "\n\n" {
					data = layOut(e)
					data = bytes.ReplaceAll(data, []byte("\n\n"), []byte("\ndata: "))
				}
				stream = append(append(append(stream, "data: "...), data...), "\n\n"...)
			}
			readReply(t, from, stream, false)
		}
	}
}

// TestManyParts: of a request with more parts than a conversation may have no more are made.
func TestManyParts(t *testing.T) {
	const many = 60_000
	texts := `["` + strings.Repeat(`","`, many) + `"]`
	objects := "[" + strings.Repeat(`{"role":"user","content":"","parts":[]},`, many) + `{"role":"user","content":"x"}]`
	parts := "[" + strings.Repeat(`{"text":"a"},`, many) + `{"text":"a"}]`
	for op, bodies := range map[llm.Operation][]string{
		llm.Chat:            {`{"messages":` + objects + `}`, `{"messages":[{"role":"user","content":` + texts + `}]}`, `{"messages":[],"stop":` + texts + `}`},
		llm.Messages:        {`{"messages":` + objects + `}`, `{"messages":[{"role":"user","content":` + texts + `}]}`, `{"messages":[],"stop_sequences":` + texts + `}`},
		llm.Response:        {`{"input":` + objects + `}`, `{"input":[{"role":"user","content":` + texts + `}]}`},
		llm.GenerateContent: {`{"contents":` + objects + `}`, `{"contents":[{"parts":` + parts + `}]}`, `{"contents":[],"generationConfig":{"stopSequences":` + texts + `}}`},
	} {
		for _, body := range bodies {
			c := new(dialect.Conversation)
			err := Of(op).ReadRequest(c, []byte(body))
			if e := llm.AsError(err); err == nil || e.Status != 400 || e.Code != "too_many_parts" {
				t.Errorf("%s, %.40s: %v", Of(op).Name(), body, err)
			}
			n := len(c.Messages) + len(c.Stop)
			for _, m := range c.Messages {
				n += len(m.Parts)
			}
			if n > 100_000 { // a text in place of a list is a part that is not counted
				t.Errorf("%s, %.40s: %d entries", Of(op).Name(), body, n)
			}
			if c.Reset(); cap(c.Messages)+cap(c.Stop) > 5000 {
				t.Errorf("room for %d is kept", cap(c.Messages)+cap(c.Stop))
			}
		}
	}
}

// TestManyChoices: services that number choices and calls as they like have readers and writers
// keep no more than there may be.
func TestManyChoices(t *testing.T) {
	const many = 200_000
	var chat, calls bytes.Buffer
	for i := range many {
		fmt.Fprintf(&chat, "data: {\"choices\":[{\"index\":%d,\"delta\":{\"content\":\"x\"}}]}\n\n", 1_000_000_000+i)
		fmt.Fprintf(&calls, "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":%d,\"function\":{\"name\":\"f\"}}]}}]}\n\n", 1_000_000_000+i)
	}
	one := `{"choices":[` + strings.Repeat(`{"index":1,"delta":{}},`, many) + `{}]}`
	list := `{"choices":[{"delta":{"tool_calls":[` + strings.Repeat(`{},`, many) + `{}],"annotations":[` + strings.Repeat(`{"url_citation":{}},`, many) + `{}]}}]}`
	for name, stream := range map[string]string{"choices": chat.String(), "calls": calls.String(), "one event": "data: " + one + "\n\n", "one choice": "data: " + list + "\n\n"} {
		reader := Of(llm.Chat).NewReader()
		said := new(dialect.Said) // without a bound in bytes
		var err error
		for event := range strings.SplitAfterSeq(stream, "\n\n") {
			if err = reader.Event([]byte(event), func(e *dialect.Event) error {
				if len(e.Choices) > dialect.MaxChoices {
					t.Fatalf("%s: %d choices", name, len(e.Choices))
				}
				for i := range e.Choices {
					if c := &e.Choices[i]; len(c.ToolCalls) > dialect.MaxCalls || len(c.Citations) > dialect.MaxCitations {
						t.Fatalf("%s: %d calls, %d citations", name, len(c.ToolCalls), len(c.Citations))
					}
				}
				if e.Error != nil {
					return errors.New(string(e.Error.Message))
				}
				return said.Add(e)
			}); err != nil {
				break
			}
		}
		if !strings.HasPrefix(name, "one") && err == nil {
			t.Errorf("%s: all of them are held", name)
		}
		if len(said.Choices) > dialect.MaxChoices || len(said.Choices) > 0 && len(said.Choices[0].Parts) > dialect.MaxCalls+1 {
			t.Errorf("%s: %d choices, %d parts", name, len(said.Choices), len(said.Choices[0].Parts))
		}
	}
}

// TestRequestIsLeft: no writer refers to a request when it was begun: its bytes are used for
// others by then.
func TestRequestIsLeft(t *testing.T) {
	for _, op := range dialects() {
		writer := Of(op).NewWriter()
		request := []byte(`{"instructions":"abc","tools":[{"type":"custom","name":"c"}]}`)
		left := weak.Make(&request[0])
		writer.Reset(dialect.Reply{ID: "1", Model: "m", Request: request})
		request = nil
		if runtime.GC(); left.Value() != nil {
			t.Errorf("%s keeps the request", Of(op).Name())
		}
		runtime.KeepAlive(writer)
	}
}

// TestChained: a stream that was translated is whole to readers of its dialect, be no usage
// known of it.
func TestChained(t *testing.T) {
	for _, op := range dialects() {
		for _, usage := range []dialect.Usage{{}, {Prompt: 3}, {Prompt: 3, Completion: 4}} {
			writer := Of(op).NewWriter()
			writer.Reset(dialect.Reply{ID: "1", Model: "m", IncludeUsage: true})
			stream := writer.Event(nil, &dialect.Event{Choices: []dialect.Choice{{Text: b(`"a"`)}}, Usage: usage})
			stream = writer.End(writer.Event(stream, &dialect.Event{Choices: []dialect.Choice{{Finish: dialect.Stop}}}))
			said, _ := heard(t, op, op, stream)
			if len(said.Choices) != 1 || said.Choices[0].Finish != dialect.Stop || said.Usage != usage {
				t.Errorf("%s with %+v: %+v", Of(op).Name(), usage, said)
			}
		}
	}
}

// FuzzPairs has each dialect read what it may be sent, and each write it.
func FuzzPairs(f *testing.F) {
	for i, op := range dialects() {
		for _, body := range requests(op) {
			f.Add(uint8(i), body, []byte(""))
		}
	}
	for _, in := range testkit.Seeds(f) {
		seen := map[llm.Operation]int{}
		known := apis()
		for _, s := range in.Streams(f) {
			op, ok := known[s.API]
			if seen[op]++; !ok || seen[op] > 5 || len(s.Body) > 16<<10 {
				continue
			}
			for i, one := range dialects() {
				if one == op {
					f.Add(uint8(i), []byte("{}"), s.Body)
				}
			}
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, request, reply []byte) {
		from := dialects()[int(which)%len(dialects())]
		if jsonscan.Validate(request, maxDepth) == nil && dialect.IsObject(bytes.TrimSpace(request)) {
			readRequest(t, from, bytes.TrimSpace(request))
		}
		readReply(t, from, reply, false)
		if jsonscan.Validate(reply, maxDepth) == nil {
			readReply(t, from, reply, true)
		}
	})
}
