//go:build !race

package messages

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"sluice/internal/dialect"
	"sluice/internal/llm"
	"sluice/internal/sse"
	"sluice/internal/testkit"
)

// told is what a reply says, as the test compares it.
type told struct {
	Text       string
	Thoughts   []string // with their signatures
	Calls      []string
	URLs       []string // that it cites
	Reason     string
	Input, Out int64
	Cached     int64
}

// plainBlock and plainReply are the test's own reading.
type plainBlock struct {
	Type, Text, Thinking, Signature, Data, ID, Name string

	Input     json.RawMessage
	Citations []plainCitation
}

type plainCitation struct{ URL, Source string }

type plainUsage struct {
	Input   *int64 `json:"input_tokens"`
	Output  *int64 `json:"output_tokens"`
	Read    *int64 `json:"cache_read_input_tokens"`
	Written *int64 `json:"cache_creation_input_tokens"`
}

type plainReply struct {
	Content []plainBlock
	Reason  string `json:"stop_reason"`
	Usage   plainUsage
}

func (r *plainReply) told() (s told) {
	for _, b := range r.Content {
		for _, c := range b.Citations {
			if c.URL+c.Source != "" {
				s.URLs = append(s.URLs, c.URL+c.Source)
			}
		}
		switch b.Type {
		case "text":
			s.Text += b.Text
		case "thinking":
			s.Thoughts = append(s.Thoughts, b.Thinking+"|"+b.Signature)
		case "redacted_thinking":
			s.Thoughts = append(s.Thoughts, "redacted|"+b.Data)
		case "tool_use":
			s.Calls = append(s.Calls, b.ID+" "+b.Name+" "+compact(b.Input))
		}
	}
	of := func(n *int64) int64 {
		if n == nil {
			return 0
		}
		return *n
	}
	s.Reason, s.Out, s.Cached = r.Reason, of(r.Usage.Output), of(r.Usage.Read)
	s.Input = of(r.Usage.Input) + of(r.Usage.Read) + of(r.Usage.Written)
	return s
}

func compact(v []byte) string {
	var out bytes.Buffer
	if len(v) == 0 || json.Compact(&out, v) != nil {
		return "{}"
	}
	return out.String()
}

// plainStream reads a stream into blocks, by their index.
func plainStream(t *testing.T, stream []byte) told {
	t.Helper()
	var r plainReply
	inputs := map[int]string{}
	for _, raw := range events(t, stream) {
		data, ok := sse.Data(raw, nil)
		var e struct {
			Type    string
			Index   int
			Message struct{ Usage plainUsage }
			Usage   plainUsage
			Block   plainBlock `json:"content_block"`
			Delta   struct {
				Type, Text, Thinking, Signature string

				Citation plainCitation
				JSON     string `json:"partial_json"`
				Reason   string `json:"stop_reason"`
			}
		}
		if !ok || json.Unmarshal(data, &e) != nil {
			continue
		}
		switch e.Type {
		case "message_start":
			r.Usage = e.Message.Usage
		case "content_block_start":
			r.Content = append(r.Content, e.Block)
		case "content_block_delta":
			b := &r.Content[e.Index]
			b.Text, b.Thinking, b.Signature = b.Text+e.Delta.Text, b.Thinking+e.Delta.Thinking, b.Signature+e.Delta.Signature
			inputs[e.Index] += e.Delta.JSON
			if e.Delta.Type == "citations_delta" {
				b.Citations = append(b.Citations, e.Delta.Citation)
			}
		case "message_delta":
			r.Reason = e.Delta.Reason
			for _, n := range [][2]**int64{{&r.Usage.Input, &e.Usage.Input}, {&r.Usage.Output, &e.Usage.Output}, {&r.Usage.Read, &e.Usage.Read}, {&r.Usage.Written, &e.Usage.Written}} {
				if *n[1] != nil {
					*n[0] = *n[1]
				}
			}
		}
	}
	for i := range r.Content {
		if inputs[i] != "" {
			r.Content[i].Input = json.RawMessage(inputs[i])
		}
	}
	return r.told()
}

func events(t *testing.T, stream []byte) (raws [][]byte) {
	t.Helper()
	var s sse.Splitter
	list, err := s.Feed(stream, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range append(list, llm.Event{Raw: s.Tail()}) {
		raws = append(raws, e.Raw)
	}
	return raws
}

// reasonOf names what a reply ended by.
func reasonOf(c *dialect.SaidChoice) string {
	var out struct {
		Reason string `json:"stop_reason"`
	}
	_ = json.Unmarshal(append(appendReason([]byte("{"), c.Finish, c.Stopped, false, false), '}'), &out)
	return out.Reason
}

// toldBy is what a reply that was read says.
func toldBy(s *dialect.Said) (out told) {
	for i := range s.Choices[0].Parts {
		switch p := &s.Choices[0].Parts[i]; p.Kind {
		case dialect.Text:
			out.Text += dialect.String(p.Text)
			for _, c := range p.Citations {
				if c.URL != nil {
					out.URLs = append(out.URLs, dialect.String(c.URL))
				}
			}
		case dialect.Thinking:
			text := "redacted"
			if p.Text != nil {
				text = dialect.String(p.Text)
			}
			out.Thoughts = append(out.Thoughts, text+"|"+dialect.String(p.Signature))
		case dialect.ToolUse:
			out.Calls = append(out.Calls, dialect.String(p.ID)+" "+dialect.String(p.Name)+" "+compact([]byte(dialect.String(p.Arguments))))
		}
	}
	out.Reason, out.Input, out.Out, out.Cached = reasonOf(&s.Choices[0]), s.Usage.Prompt, s.Usage.Completion, s.Usage.Cached
	return out
}

// again reads a stream, and writes it as the same dialect does.
func again(t *testing.T, stream []byte) (said dialect.Said, written []byte) {
	t.Helper()
	r, w := Dialect{}.NewReader(), Dialect{}.NewWriter()
	w.Reset(dialect.Reply{ID: "1", Model: "m"})
	for _, raw := range events(t, stream) {
		if err := r.Event(raw, func(e *dialect.Event) error {
			written = w.Event(written, e)
			return said.Add(e)
		}); err != nil {
			t.Fatal(err)
		}
	}
	return said, w.End(written)
}

// TestStreams: recorded streams say what a plain reading of them finds, and the same again
// when they were written by this dialect.
func TestStreams(t *testing.T) {
	testkit.Each(t, func(t *testing.T, in testkit.Inputs) {
		n := 0
		for _, stream := range in.Streams(t) {
			if stream.API != "anthropic-messages" {
				continue
			}
			n++
			want := plainStream(t, stream.Body)
			said, written := again(t, stream.Body)
			if got := toldBy(&said); !reflect.DeepEqual(got, want) {
				t.Errorf("%s says\n%+v, want\n%+v", stream.Name, got, want)
			}
			if got := plainStream(t, written); !reflect.DeepEqual(got, want) {
				t.Errorf("%s, written again, says\n%+v, want\n%+v", stream.Name, got, want)
			}
			second, _ := again(t, written)
			if !reflect.DeepEqual(toldBy(&second), want) || !bytes.Equal(second.ID, said.ID) || !bytes.Equal(second.Model, said.Model) {
				t.Errorf("%s, read again, says\n%+v, want\n%+v", stream.Name, toldBy(&second), want)
			}
		}
		if t.Logf("%d streams", n); n < in.Least(45) {
			t.Error("there are few")
		}
	})
}

// pairs gives requests of the API with their replies, our own first.
func pairs(t *testing.T, in testkit.Inputs) []testkit.Pair {
	t.Helper()
	list := []testkit.Pair{{
		Status:   200,
		Request:  `{"model":"own","max_tokens":10,"system":"Count.","messages":[{"role":"user","content":"To three."}]}`,
		Response: `{"id":"msg_own","type":"message","role":"assistant","model":"own","content":[{"type":"text","text":"One, two, three."}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":9,"output_tokens":8}}`,
	}}
	for _, p := range in.Pairs(t) {
		if strings.HasSuffix(p.URL, "/v1/messages") && p.Status == 200 {
			list = append(list, p)
		}
	}
	if len(list) < in.Least(180) {
		t.Errorf("found only %d pairs", len(list))
	}
	return list
}

// TestReplies: recorded replies say what a plain reading of them finds, and the same again
// when they were written by this dialect, whole and as a stream.
func TestReplies(t *testing.T) {
	testkit.Each(t, func(t *testing.T, in testkit.Inputs) {
		for i, p := range pairs(t, in) {
			var plain plainReply
			if err := json.Unmarshal([]byte(p.Response), &plain); err != nil {
				t.Fatal(err)
			}
			want, said := plain.told(), whole(t, p.Response)
			if got := toldBy(&said); !reflect.DeepEqual(got, want) {
				t.Errorf("%d says\n%+v, want\n%+v", i, got, want)
			}
			w := Dialect{}.NewWriter()
			w.Reset(dialect.Reply{})
			second := whole(t, string(w.Whole(nil, &said)))
			if got := toldBy(&second); !reflect.DeepEqual(got, want) {
				t.Errorf("%d, written again, says\n%+v, want\n%+v", i, got, want)
			}
			var stream []byte
			w.Reset(dialect.Reply{})
			if err := (Dialect{}).NewReader().Whole([]byte(p.Response), func(e *dialect.Event) error {
				stream = w.Event(stream, e)
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			if got := plainStream(t, w.End(stream)); !reflect.DeepEqual(got, want) {
				t.Errorf("%d, as a stream, says\n%+v, want\n%+v", i, got, want)
			}
		}
	})
}

// asked is what a request says, as the test compares it.
func asked(t *testing.T, body []byte) (list []string) {
	t.Helper()
	var r struct {
		System   any
		Messages []struct {
			Role    string
			Content any
		}
		Tools []struct{ Type, Name string }
	}
	if err := json.Unmarshal(body, &r); err != nil {
		t.Fatal(err)
	}
	list = contents("system", r.System)
	for _, m := range r.Messages {
		list = append(list, contents(m.Role, m.Content)...)
	}
	for _, tool := range r.Tools {
		if tool.Type == "" || tool.Type == "custom" {
			list = append(list, "tool "+tool.Name)
		}
	}
	return list
}

func contents(role string, content any) (list []string) {
	if s, ok := content.(string); ok {
		content = []any{map[string]any{"type": "text", "text": s}}
	}
	blocks, _ := content.([]any)
	for _, one := range blocks {
		b := one.(map[string]any)
		switch kind := b["type"]; kind {
		case "text":
			if text := strings.TrimSpace(fmt.Sprint(b["text"])); text != "" {
				list = append(list, role+" "+text)
			}
		case "tool_use":
			list = append(list, fmt.Sprintf("%s calls %v %v %v", role, b["id"], b["name"], b["input"]))
		case "tool_result":
			list = append(list, fmt.Sprintf("%s answers %v %v", role, b["tool_use_id"], contents("", b["content"])))
		case "thinking", "redacted_thinking":
			list = append(list, fmt.Sprintf("%s %v %v", role, kind, b["signature"]))
		case "image", "document":
			list = append(list, fmt.Sprintf("%s %v %v", role, kind, b["source"]))
		}
	}
	return list
}

// TestRequests: recorded requests ask for the same when they were read and written, and
// writing changes nothing more the next time.
func TestRequests(t *testing.T) {
	testkit.Each(t, func(t *testing.T, in testkit.Inputs) {
		for i, p := range pairs(t, in) {
			if strings.Contains(p.Request, `"search_result"`) {
				continue // becomes texts
			}
			var model struct{ Model string }
			if err := json.Unmarshal([]byte(p.Request), &model); err != nil {
				t.Fatal(err)
			}
			_, first, err := write(t, Dialect{}, model.Model, p.Request)
			if err != nil {
				t.Errorf("%d: %v", i, err)
				continue
			}
			if got, want := asked(t, first.Body), asked(t, []byte(p.Request)); !reflect.DeepEqual(sortedSystem(got), sortedSystem(want)) {
				t.Errorf("%d asks\n%q, want\n%q", i, got, want)
			}
			_, second, err := write(t, Dialect{}, model.Model, string(first.Body))
			if err != nil || !bytes.Equal(first.Body, second.Body) {
				t.Errorf("%d became\n%s, then\n%s, %v", i, first.Body, second.Body, err)
			}
		}
	})
}

// sortedSystem puts prompts before all else, in some order.
func sortedSystem(list []string) []string {
	slices.SortStableFunc(list, func(a, b string) int {
		const prompt = "system "
		switch x, y := strings.HasPrefix(a, prompt), strings.HasPrefix(b, prompt); {
		case x && y:
			return strings.Compare(a, b)
		case x:
			return -1
		case y:
			return 1
		}
		return 0
	})
	return list
}
