//go:build !race

package merge

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/anthropics/anthropic-sdk-go"

	"sluice/internal/dialect/known"
	"sluice/internal/llm"
	"sluice/internal/sse"
	"sluice/internal/testkit"
)

// reading is how a test reads the streams of a dialect for itself.
type reading struct {
	op    llm.Operation
	api   string          // of recorded streams
	texts map[string]bool // where texts are that a client puts together
	least int             // recorded streams
}

var readings = []reading{
	{llm.Messages, "anthropic-messages", set("delta.text", "delta.thinking", "delta.partial_json"), 40},
	{llm.Response, "openai-responses", set("delta"), 60},
	{llm.GenerateContent, "gemini", set("candidates.content.parts.text"), 60},
}

func set(names ...string) map[string]bool {
	m := map[string]bool{}
	for _, n := range names {
		m[n] = true
	}
	return m
}

// told is what a client that puts texts together makes of a stream: each thing that was told
// once, with all text of those that followed upon each other, and the last word of what is
// told again and again.
type told struct {
	steps   []string
	texts   []string
	usage   any   // members of all, each with its last value
	numbers []int // of events
}

func (r reading) tell(t testing.TB, events [][]byte) told {
	t.Helper()
	var all told
	usage := map[string]any{}
	for _, raw := range events {
		data, ok := sse.Data(raw, nil)
		if !ok || !json.Valid(data) || bytes.TrimSpace(data)[0] != '{' {
			all.steps, all.texts = append(all.steps, string(raw)), append(all.texts, "")
			continue
		}
		text, told := "", false
		object := r.without(t, "", data, &text, &told).(map[string]any)
		if n, ok := object["sequence_number"].(string); ok {
			all.numbers = append(all.numbers, len(n))
			var v int
			if json.Unmarshal([]byte(n), &v) == nil {
				all.numbers[len(all.numbers)-1] = v
			}
		}
		delete(object, "sequence_number")
		delete(object, "obfuscation")
		if u, ok := object["usageMetadata"].(map[string]any); ok {
			for name, v := range u {
				usage[name] = v
			}
			delete(object, "usageMetadata")
		}
		rest, err := json.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		step := string(sse.Name(raw)) + " " + string(rest)
		if n := len(all.steps); told && n > 0 && all.steps[n-1] == step {
			all.texts[n-1] += text
		} else {
			all.steps, all.texts = append(all.steps, step), append(all.texts, text)
		}
	}
	all.usage = usage
	return all
}

// without is a value without the texts of a client, which are put together as they are spelt.
// Other values are as they are spelt too.
func (r reading) without(t testing.TB, path string, raw json.RawMessage, text *string, told *bool) any {
	t.Helper()
	raw = bytes.TrimSpace(raw)
	switch {
	case raw[0] == '{':
		var members map[string]json.RawMessage
		if err := json.Unmarshal(raw, &members); err != nil {
			t.Fatal(err)
		}
		out := map[string]any{}
		for name, v := range members {
			out[name] = r.without(t, strings.TrimPrefix(path+"."+name, "."), v, text, told)
		}
		return out
	case raw[0] == '[':
		var elements []json.RawMessage
		if err := json.Unmarshal(raw, &elements); err != nil {
			t.Fatal(err)
		}
		out := []any{}
		for _, v := range elements {
			out = append(out, r.without(t, path, v, text, told))
		}
		return out
	case r.texts[path] && raw[0] == '"':
		*text, *told = *text+string(raw[1:len(raw)-1]), true
		return ""
	default:
		return string(raw)
	}
}

// alikeToClients compares what clients make of two streams.
func (r reading) alikeToClients(t testing.TB, got, want [][]byte) {
	t.Helper()
	g, w := r.tell(t, got), r.tell(t, want)
	if !reflect.DeepEqual(g.steps, w.steps) || !reflect.DeepEqual(g.texts, w.texts) {
		t.Errorf("says %.2000q %.2000q,\nwant %.2000q %.2000q", g.steps, g.texts, w.steps, w.texts)
	}
	if !reflect.DeepEqual(g.usage, w.usage) {
		t.Errorf("usage %v, want %v", g.usage, w.usage)
	}
	n, m := len(g.numbers), len(w.numbers)
	if (n == 0) != (m == 0) || n > 0 && g.numbers[n-1] != w.numbers[m-1] {
		t.Errorf("events are numbered %v, and were %v", g.numbers, w.numbers)
	}
}

// byAnthropic is the message that Anthropic's own library puts together.
func byAnthropic(t testing.TB, events [][]byte) string {
	t.Helper()
	var m anthropic.Message
	failed := ""
	for _, raw := range events {
		data, ok := sse.Data(raw, nil)
		if !ok {
			continue
		}
		var e anthropic.MessageStreamEventUnion
		if err := json.Unmarshal(data, &e); err != nil {
			continue
		}
		if err := m.Accumulate(e); err != nil {
			failed = err.Error()
		}
	}
	out, err := json.Marshal(struct {
		Content []anthropic.ContentBlockUnion
		Stop    anthropic.StopReason
		Usage   int64
		Failed  string
	}{m.Content, m.StopReason, m.Usage.OutputTokens, failed})
	if err != nil {
		return err.Error()
	}
	return string(out)
}

// TestRecordedDialects: what a client makes of a stream that was merged, here and there, is what
// it makes of the stream as it came.
func TestRecordedDialects(t *testing.T) {
	testkit.Each(t, testDialects)
}

func testDialects(t *testing.T, in testkit.Inputs) {
	for _, r := range readings {
		api, found, before, after := known.TextsOf(r.op), 0, 0, 0
		random := rand.New(rand.NewPCG(1, uint64(r.op)))
		for _, s := range in.Streams(t) {
			if !strings.HasPrefix(s.API, r.api) {
				continue
			}
			found++
			list := events(t, s.Body)
			for _, parts := range []int{1, 2, 3, 5, 8, 13} {
				var joined [][]byte
				for rest := list; len(rest) > 0; {
					n := len(rest)
					if parts > 1 {
						n = 1 + random.IntN(min(len(rest), 2*len(list)/parts+1))
					}
					out, left := Events(nil, api, rest[:n])
					some := events(t, out)
					if len(some) != left {
						t.Errorf("%s: said %d events, wrote %d", s.Name, left, len(some))
					}
					joined, rest = append(joined, some...), rest[n:]
				}
				r.alikeToClients(t, joined, list)
				if got, want := byAnthropic(t, joined), byAnthropic(t, list); r.op == llm.Messages && got != want {
					t.Errorf("%s: Anthropic's library makes %.1000s of it, want %.1000s", s.Name, got, want)
				}
				if parts == 1 {
					before, after = before+len(list), after+len(joined)
				}
				if t.Failed() {
					t.Fatalf("%s in %d parts", s.Name, parts)
				}
			}
		}
		if found < in.Least(r.least) {
			t.Errorf("%v: found only %d streams", r.op, found)
		}
		if after >= before {
			t.Errorf("%v: of %d events none were joined", r.op, before)
		}
		t.Logf("%v: %d events became %d", r.op, before, after)
	}
}

func named(object string) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(object, `{"type":"`), `"`)
	return "event: " + name + "\ndata: " + object + "\n\n"
}

func plain(object string) string { return "data: " + object + "\n\n" }

func blockDelta(index int, delta string) string {
	return named(fmt.Sprintf(`{"type":"content_block_delta","index":%d,"delta":{%s}}`, index, delta))
}

func textDelta(number int, delta string) string {
	return named(fmt.Sprintf(`{"type":"response.output_text.delta","sequence_number":%d,"item_id":"m","output_index":0,"content_index":0,"delta":%q,"logprobs":[],"obfuscation":"%d"}`, number, delta, number))
}

func part(part string, usage string) string {
	return plain(`{"candidates": [{"content": {"parts": [{` + part + `}],"role": "model"},"index": 0}],"usageMetadata": {` + usage + `},"modelVersion": "m"}`)
}

func TestJoining(t *testing.T) {
	for _, c := range []struct {
		name       string
		op         llm.Operation
		a, b, want string // "" where they stay as they are
	}{
		{"text", llm.Messages, blockDelta(0, `"type":"text_delta","text":"a\u00e4"`), blockDelta(0, `"type":"text_delta","text":"\"b"`), blockDelta(0, `"type":"text_delta","text":"a\u00e4\"b"`)},
		{"thought", llm.Messages, blockDelta(1, `"type":"thinking_delta","thinking":"a"`), blockDelta(1, `"type":"thinking_delta","thinking":"b"`), blockDelta(1, `"type":"thinking_delta","thinking":"ab"`)},
		{"arguments", llm.Messages, blockDelta(2, `"type":"input_json_delta","partial_json":""`), blockDelta(2, `"type":"input_json_delta","partial_json":"{"`), blockDelta(2, `"type":"input_json_delta","partial_json":"{"`)},
		{"no name", llm.Messages, plain(`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a"}}`), plain(`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"b"}}`), plain(`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"ab"}}`)},
		{"padding", llm.Messages, strings.Replace(blockDelta(0, `"type":"text_delta","text":"a"`), "}}", "}   }", 1), blockDelta(0, `"type":"text_delta","text":"b"`), blockDelta(0, `"type":"text_delta","text":"ab"`)},
		{"more padding", llm.Messages, blockDelta(0, `"type":"text_delta","text":"a"`), strings.Replace(blockDelta(0, `"type":"text_delta","text":"b  "`), "}}", "} }", 1), strings.Replace(blockDelta(0, `"type":"text_delta","text":"ab  "`), "}}", "} }", 1)},
		{"named once", llm.Messages, blockDelta(0, `"type":"text_delta","text":"a"`), plain(`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"b"}}`), ""},
		{"other block", llm.Messages, blockDelta(0, `"type":"text_delta","text":"a"`), blockDelta(1, `"type":"text_delta","text":"b"`), ""},
		{"other kind", llm.Messages, blockDelta(0, `"type":"text_delta","text":"a"`), blockDelta(0, `"type":"thinking_delta","thinking":"b"`), ""},
		{"signatures", llm.Messages, blockDelta(0, `"type":"signature_delta","signature":"a"`), blockDelta(0, `"type":"signature_delta","signature":"a"`), ""},
		{"citations", llm.Messages, blockDelta(0, `"type":"citations_delta","citation":{}`), blockDelta(0, `"type":"citations_delta","citation":{}`), ""},
		{"more", llm.Messages, blockDelta(0, `"type":"text_delta","text":"a","tokens":1`), blockDelta(0, `"type":"text_delta","text":"b","tokens":1`), ""},
		{"no type", llm.Messages, blockDelta(0, `"text":"a"`), blockDelta(0, `"text":"b"`), ""},
		{"pings", llm.Messages, named(`{"type":"ping"}`), named(`{"type":"ping"}`), ""},
		{"an id", llm.Messages, "id: 1\n" + blockDelta(0, `"type":"text_delta","text":"a"`), "id: 1\n" + blockDelta(0, `"type":"text_delta","text":"b"`), ""},

		{"numbered", llm.Response, textDelta(8, "a"), textDelta(9, "b"), textDelta(9, "ab")},
		{"a longer number", llm.Response, textDelta(9, "a"), textDelta(10, "b"), textDelta(10, "ab")},
		{"a shorter number", llm.Response, textDelta(10, "aaa"), textDelta(9, "b"), textDelta(9, "aaab")},
		{"arguments", llm.Response, named(`{"type":"response.function_call_arguments.delta","item_id":"f","output_index":0,"delta":"{","sequence_number":1}`), named(`{"type":"response.function_call_arguments.delta","item_id":"f","output_index":0,"delta":"}","sequence_number":2}`), named(`{"type":"response.function_call_arguments.delta","item_id":"f","output_index":0,"delta":"{}","sequence_number":2}`)},
		{"other item", llm.Response, named(`{"type":"response.refusal.delta","item_id":"1","delta":"a"}`), named(`{"type":"response.refusal.delta","item_id":"2","delta":"a"}`), ""},
		{"other part", llm.Response, named(`{"type":"response.refusal.delta","content_index":1,"delta":"a"}`), named(`{"type":"response.refusal.delta","content_index":2,"delta":"a"}`), ""},
		{"other kind", llm.Response, named(`{"type":"response.refusal.delta","delta":"a"}`), named(`{"type":"response.output_text.delta","delta":"a"}`), ""},
		{"sound", llm.Response, named(`{"type":"response.audio.delta","delta":"YQ=="}`), named(`{"type":"response.audio.delta","delta":"YQ=="}`), ""},
		{"log probabilities", llm.Response, named(`{"type":"response.output_text.delta","delta":"a","logprobs":[{"token":"a"}]}`), named(`{"type":"response.output_text.delta","delta":"a","logprobs":[{"token":"a"}]}`), ""},
		{"numbered once", llm.Response, named(`{"type":"response.refusal.delta","delta":"a","sequence_number":1}`), named(`{"type":"response.refusal.delta","delta":"a"}`), ""},
		{"numbered twice", llm.Response, named(`{"type":"response.refusal.delta","sequence_number":1,"delta":"a","sequence_number":2}`), named(`{"type":"response.refusal.delta","sequence_number":3,"delta":"a","sequence_number":4}`), ""},
		{"a word for a number", llm.Response, named(`{"type":"response.refusal.delta","delta":"a","sequence_number":"1"}`), named(`{"type":"response.refusal.delta","delta":"a","sequence_number":"2"}`), ""},
		{"typed twice", llm.Response, named(`{"type":"response.refusal.delta","type":"response.refusal.delta","delta":"a"}`), named(`{"type":"response.refusal.delta","type":"response.refusal.delta","delta":"a"}`), ""},

		{"text", llm.GenerateContent, part(`"text": "a"`, `"totalTokenCount": 1`), part(`"text": "b"`, `"totalTokenCount": 12`), part(`"text": "ab"`, `"totalTokenCount": 12`)},
		{"usage in front", llm.GenerateContent, plain(`{"usageMetadata":{"totalTokenCount":9},"candidates":[{"content":{"parts":[{"text":"a"}]}}]}`), plain(`{"usageMetadata":{"totalTokenCount":10},"candidates":[{"content":{"parts":[{"text":"b"}]}}]}`), plain(`{"usageMetadata":{"totalTokenCount":10},"candidates":[{"content":{"parts":[{"text":"ab"}]}}]}`)},
		{"thoughts", llm.GenerateContent, part(`"text": "a","thought": true`, ``), part(`"text": "b","thought": true`, ``), part(`"text": "ab","thought": true`, ``)},
		{"a thought, then text", llm.GenerateContent, part(`"text": "a","thought": true`, ``), part(`"text": "b"`, ``), ""},
		{"usage of less", llm.GenerateContent, part(`"text": "a"`, `"totalTokenCount": 1,"thoughtsTokenCount": 1`), part(`"text": "b"`, `"totalTokenCount": 2`), ""},
		{"signatures", llm.GenerateContent, part(`"text": "a","thoughtSignature": "s"`, ``), part(`"text": "b","thoughtSignature": "s"`, ``), ""},
		{"signed later", llm.GenerateContent, part(`"text": "a"`, ``), part(`"text": "","thoughtSignature": "s"`, ``), ""},
		{"two parts", llm.GenerateContent, part(`"text": "a"},{"text": "b"`, ``), part(`"text": "a"},{"text": "b"`, ``), ""},
		{"calls", llm.GenerateContent, part(`"functionCall": {"name": "f"}`, ``), part(`"functionCall": {"name": "f"}`, ``), ""},
		{"an end", llm.GenerateContent, plain(`{"candidates":[{"content":{"parts":[{"text":"a"}]},"finishReason":"STOP"}]}`), plain(`{"candidates":[{"content":{"parts":[{"text":"a"}]},"finishReason":"STOP"}]}`), ""},
		{"citations", llm.GenerateContent, plain(`{"candidates":[{"content":{"parts":[{"text":"a"}]},"citationMetadata":{"citationSources":[{}]}}]}`), plain(`{"candidates":[{"content":{"parts":[{"text":"a"}]},"citationMetadata":{"citationSources":[{}]}}]}`), ""},
		{"two candidates", llm.GenerateContent, plain(`{"candidates":[{"content":{"parts":[{"text":"a"}]}},{}]}`), plain(`{"candidates":[{"content":{"parts":[{"text":"a"}]}},{}]}`), ""},
		{"other candidate", llm.GenerateContent, plain(`{"candidates":[{"index":0,"content":{"parts":[{"text":"a"}]}}]}`), plain(`{"candidates":[{"index":1,"content":{"parts":[{"text":"a"}]}}]}`), ""},
	} {
		want := c.want
		if want == "" {
			want = c.a + c.b
		}
		got, ok := join([]byte("kept"), c.op, []byte(c.a), []byte(c.b))
		if ok != (c.want != "") || string(got) != "kept"+want {
			t.Errorf("%v, %s: %v, %s", c.op, c.name, ok, got)
		}
	}
}

// many makes n events of one token each in the form of an operation.
func many(op llm.Operation, n int) (list [][]byte) {
	for i := range n {
		text := fmt.Sprintf(" word%d", i)
		switch op {
		case llm.Messages:
			text = strings.Replace(blockDelta(0, fmt.Sprintf(`"type":"text_delta","text":%q`, text)), "}}", "}"+strings.Repeat(" ", i%8)+"}", 1)
		case llm.Response:
			text = textDelta(i, text)
		case llm.GenerateContent:
			text = part(fmt.Sprintf(`"text": %q`, text), fmt.Sprintf(`"totalTokenCount": %d`, i))
		default:
			text = chatChunk(fmt.Sprintf(`{"content":%q}`, text))
		}
		list = append(list, []byte(text))
	}
	return list
}

// TestLongRuns: a run of events is cut at the bound, also where numbers become longer.
func TestLongRuns(t *testing.T) {
	for _, r := range readings {
		list := many(r.op, 20_000)
		out, n := Events(nil, known.TextsOf(r.op), list)
		joined := events(t, out)
		if n > 10 || len(joined) != n {
			t.Errorf("%v: 20,000 small events became %d, %d", r.op, n, len(joined))
		}
		for _, raw := range joined {
			if len(raw) > maxEvent {
				t.Errorf("%v: an event of %d bytes", r.op, len(raw))
			}
		}
		r.alikeToClients(t, joined, list)
	}
}

func FuzzJoining(f *testing.F) {
	for i, r := range readings {
		list := many(r.op, 12)
		f.Add(uint8(i), list[9], list[10])
	}
	f.Add(uint8(0), []byte(blockDelta(0, `"type":"input_json_delta","partial_json":"{\"a"`)), []byte(blockDelta(0, `"type":"input_json_delta","partial_json":"\":1"`)))
	f.Add(uint8(1), []byte("data: {\"type\":\"response.refusal.delta\",\"obfuscation\":\"x\",\"delta\":\"\",\"sequence_number\":1}\r\n\r\n"), []byte("data: {\"type\":\"response.refusal.delta\",\"obfuscation\":\"\",\"delta\":\"b\",\"sequence_number\":2}\r\n\r\n"))
	f.Add(uint8(2), []byte(part(`"text": "a","thought": true`, `"x": [{"y": 1}]`)), []byte(part(`"text": "b","thought": true`, `"x": [{"y": 23}]`)))
	f.Fuzz(func(t *testing.T, which uint8, a, b []byte) {
		r := readings[int(which)%len(readings)]
		out, ok := join(nil, r.op, a, b)
		if !ok {
			if string(out) != string(a)+string(b) {
				t.Fatalf("refused and wrote %q", out)
			}
			return
		}
		if got := events(t, out); len(got) != 1 {
			t.Fatalf("wrote %d events: %q", len(got), out)
		}
		r.alikeToClients(t, [][]byte{out}, [][]byte{a, b})
	})
}

func BenchmarkDialects(b *testing.B) {
	for _, op := range []llm.Operation{llm.Chat, llm.Messages, llm.Response, llm.GenerateContent} {
		b.Run(op.String(), func(b *testing.B) {
			list := many(op, 1000)
			api := known.TextsOf(op)
			buf, _ := Events(nil, api, list)
			b.SetBytes(int64(len(bytes.Join(list, nil))))
			b.ReportAllocs()
			for b.Loop() {
				buf, _ = Events(buf[:0], api, list)
			}
		})
	}
}
