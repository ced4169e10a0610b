//go:build !race

package usage

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"sluice/internal/llm"
	"sluice/internal/outline"
	"sluice/internal/perf"
)

var long = strings.Repeat(`word \"usage\":{\"prompt_tokens\":7} `, 300)

// replies are whole replies and what they say.
func replies() map[string]perf.Usage {
	const (
		chat = `"usage":{"prompt_tokens":20,"completion_tokens":5,"total_tokens":25,"prompt_tokens_details":{"cached_tokens":12,"audio_tokens":0}}`
		resp = `"usage":{"input_tokens":36,"input_tokens_details":{"cached_tokens":99},"output_tokens":87,"output_tokens_details":{"cached_tokens":5}}`
	)
	chatUsage, respUsage := perf.Usage{Known: true, Input: 20, Output: 5, Cached: 12}, perf.Usage{Known: true, Input: 36, Output: 87, Cached: 36}
	content := `"choices":[{"message":{"content":"` + long + `"}}]`
	list := map[string]perf.Usage{
		// Wherever it stands.
		`{"id":"c",` + chat + `}`:                                    chatUsage,
		" {\n\"id\" : \"c\" ,\r\n\t" + chat + "\n} \n":               chatUsage,
		`{` + chat + `,` + content + `}`:                             chatUsage,
		`{` + content + `,` + chat + `}`:                             chatUsage,
		`{"id":"c",` + chat + `,"service_tier":"default"}`:           chatUsage,
		`{"output":[],` + resp + `,"metadata":{"a":"` + long + `"}}`: respUsage,
		`{"data":[{"embedding":[` + strings.Repeat("0.25,", 2000) + `1]}],"usage" : {"prompt_tokens" :8,"total_tokens":8}}`: {Known: true, Input: 8},
		`{"usage":{"prompt_tokens":1,"prompt_tokens_details":null}}`:                                                        {Known: true, Input: 1},
		`{"usage":{"completion_tokens":3}}`:                                                                                 {Known: true, Output: 3},

		// Nothing but the reply's own.
		`{"choices":[{"usage":{"prompt_tokens":5}}]}`: {}, `{"metadata":{` + chat + `}}`: {}, `{"a":[{` + chat + `}]}`: {}, `[{` + chat + `}]`: {},
		`{"output":[{"content":{` + chat + `}}]}`: {}, `{"a":{"b":{` + chat + `}}}`: {}, `{` + chat + `,"metadata":{` + resp + `}}`: chatUsage,
		`{"metadata":{` + chat + `},` + resp + `,"tool":{"out":[{` + chat + `}]}}`: respUsage,
		`{"usage":{"usage":{"prompt_tokens":5}}}`:                                  {}, `{"usage":{"a":{"prompt_tokens":5},"prompt_tokens":6}}`: {Known: true, Input: 6},
		`{"content":"\"usage\":{\"prompt_tokens\":5}"}`: {}, `{"a\"usage":{"prompt_tokens":5}}`: {}, `{"a":"usage"}`: {}, `{"a":"usage","b":{` + chat + `}}`: {},
		`{` + chat + `,"a":"usage"}`: chatUsage, `{` + chat + `,"a":["usage"]}`: chatUsage, `{` + chat + `,"a":"\\","b":{"usage":null}}`: chatUsage,
		`{"response":{` + resp + `}}`: {}, `{"message":{` + resp + `}}`: {}, `{` + content + `}`: {},

		// The last of a name.
		`{` + chat + `,` + resp + `}`: respUsage, `{` + chat + `,"usage":null}`: {}, `{"usage":null,` + chat + `}`: chatUsage, `{` + chat + `,"usage":[1]}`: {},
		`{"usage":{"prompt_tokens":5,"prompt_tokens":7,"completion_tokens":1,"completion_tokens":"x"}}`:        {Known: true, Input: 7},
		`{"usage":{"prompt_tokens":9,"prompt_tokens_details":{"cached_tokens":5},"prompt_tokens_details":{}}}`: {Known: true, Input: 9},

		// Both names, as some services have them.
		`{"usage":{"prompt_tokens":13,"completion_tokens":10,"input_tokens":0,"output_tokens":0,"input_tokens_details":null}}`: {Known: true, Input: 13, Output: 10},

		// What a cache has, beside the rest.
		`{"usage":{"input_tokens":3,"cache_creation_input_tokens":20,"cache_read_input_tokens":100,"cache_creation":{"ephemeral_5m_input_tokens":20},"output_tokens":4}}`: {Known: true, Input: 123, Output: 4, Cached: 100},
		`{"usage":{"input_tokens":3,"cache_creation_input_tokens":null,"cache_read_input_tokens":0,"output_tokens":4}}`:                                                   {Known: true, Input: 3, Output: 4},
		`{"usage":{"prompt_tokens":123,"completion_tokens":4,"cache_creation_input_tokens":20,"cache_read_input_tokens":100}}`:                                            {Known: true, Input: 123, Output: 4},
		`{"usage":{"input_tokens":123,"input_tokens_details":{"cached_tokens":100},"cache_read_input_tokens":100}}`:                                                       {Known: true, Input: 123, Cached: 100},

		// What is no usage.
		`{"usage":null}`: {}, `{"usage":{}}`: {}, `{"usage":[1]}`: {}, `{"usage":"prompt_tokens"}`: {}, `{"usage":5}`: {}, `{"Usage":{"prompt_tokens":5}}`: {},
		`{"usage":{"prompt_tokens":5`: {}, `"usage"`: {}, `"usage":`: {}, "": {}, "{": {}, "audio": {}, `{"usage"`: {}, `{"usage":]`: {},
	}
	for number, want := range numbers() {
		u := perf.Usage{Known: want >= 0, Input: max(want, 0)}
		list[`{"usage":{"prompt_tokens":`+number+`}}`] = u
		list[`{"usage":{"total_tokens":1, "prompt_tokens": `+number+" , \"x\":2}}"] = u
	}
	return list
}

// numbers are values and the counts that they are, -1 for none.
func numbers() map[string]int64 {
	return map[string]int64{
		"10": 10, "10.0": 10, "1e1": 10, "1E1": 10, "1.0e1": 10, "100e-1": 10, "0.1e+2": 10, "1.50e2": 150, "0": 0, "0.000": 0, "0e9": 0, "-0": 0, "1e3": 1000,
		"123456789012345": 123456789012345, "1000000000000000000000e-20": 10, "0.00000000000000000001e21": 10,
		"10.5": -1, "1e-1": -1, "15e-1": -1, "-5": -1, "99999999999999999999": -1, "1e15": -1, "1e999999999999": -1, "1e-999999999999": -1, "1234567890123456": -1,
		"null": -1, "true": -1, `"10"`: -1, "[10]": -1, `{"prompt_tokens":10}`: -1, "1" + strings.Repeat("0", longest): -1, "1." + strings.Repeat("0", longest): -1,
	}
}

// events are events and what they say.
func events() map[string]perf.Usage {
	const usage = `"usage":{"input_tokens":3,"output_tokens":4}`
	u := perf.Usage{Known: true, Input: 3, Output: 4}
	list := map[string]perf.Usage{
		"data: {" + usage + "}\n\n": u, "data:{" + usage + "}\r\n\r\n": u, ": hi\r\nid: 1\r\nevent: x\r\ndata: {" + usage + "}\r\nretry: 1\r\n\r\n": u,
		"data: {\ndata: \"usage\"\ndata:   :\ndata: {\"input_tokens\"\ndata:\ndata: :3,\"output_tokens\":4}}\n\n": u,
		"data: {\"usage\":null,\"choices\":[]}\n\n":                                                               {}, "data: {\"usage\": null, \"x\": 1, " + usage + "}\n\n": u, "data: {\"usage\"  :  null}\n\n": {},
		"data: {\"choices\":[{\"delta\":{" + usage + "}}]}\n\n": {}, "data: [DONE]\n\n": {}, ": {" + usage + "}\n\n": {}, "event: {" + usage + "}\ndata: {}\n\n": {},

		"data: {\"type\":\"response.completed\",\"response\":{\"id\":\"r\"," + usage + ",\"metadata\":{\"a\":\"" + long + "\"}}}\n\n": u,
		"data: {\"type\":\"response.incomplete\",\"response\":{" + usage + "}}\n\n":                                                   u,
		"data: {\"type\":\"response.failed\",\"response\":{\"metadata\":{\"usage\":{\"input_tokens\":9}}," + usage + "}}\n\n":         u,
		"data: {\"type\":\"response.created\",\"response\":{\"usage\":null}}\n\n":                                                     {},
		"data: {\"response\":{\"output\":[{" + usage + "}],\"response\":{" + usage + "},\"message\":{" + usage + "}}}\n\n":            {},
		"data: {\"response\":{" + usage + "},\"response\":{}}\n\n":                                                                    {},
		"data: {\"item\":{" + usage + "}}\n\n":                                                                                        {},
		"data: {\"type\":\"message_start\",\"message\":{" + usage + "}}\n\n":                                                          u,
		"data: {" + usage + ",\"x_groq\":{\"usage\":null}}\n\n":                                                                       u,
		"data: {\"x_groq\":{" + usage + "}}\n\n":                                                                                      u,
	}
	return list
}

func TestWhole(t *testing.T) {
	for text, want := range replies() {
		if got := Whole([]byte(text)); got != want {
			t.Errorf("%.200s: %+v, want %+v", text, got, want)
		}
		if got := Of([]byte(text), new(llm.Outline)); got != want {
			t.Errorf("%.200s without an outline: %+v, want %+v", text, got, want)
		}
		if said := outline.Read([]byte(text)); json.Valid([]byte(text)) {
			if got := Of([]byte(text), &said); got != want {
				t.Errorf("%.200s by its outline: %+v, want %+v", text, got, want)
			}
		}
	}
}

// Every reply says the same in pieces of any length.
func TestPieces(t *testing.T) {
	for text, want := range replies() {
		for size := 1; size <= min(len(text), 70); size++ {
			if got := inPieces([]byte(text), size); got != want {
				t.Errorf("%.200s in pieces of %d: %+v, want %+v", text, size, got, want)
			}
		}
	}
}

func inPieces(b []byte, size int) perf.Usage {
	var r Reader
	for len(b) > 0 {
		n := min(size, len(b))
		r.Feed(bytes.Clone(b[:n])) // so that no memory behind it is looked at
		b = b[n:]
	}
	return r.Usage()
}

func TestEvent(t *testing.T) {
	for text, want := range events() {
		if got := inEvents(text); got != want {
			t.Errorf("%.300q: %+v, want %+v", text, got, want)
		}
	}
}

func inEvents(raw ...string) perf.Usage {
	var c Counts
	for _, e := range raw {
		c.Event([]byte(e))
	}
	return c.Usage()
}

// TestStream: of what events of one stream say each count is kept until a later one tells it,
// however they tell it, and of nothing a part.
func TestStream(t *testing.T) {
	message := func(delta string, start string) []string {
		return []string{`data: {"type":"message_start","message":{"usage":{` + start + "}}}\n\n", "data: {\"type\":\"ping\"}\n\n",
			`data: {"type":"message_delta","usage":{` + delta + "}}\n\n", "data: {\"type\":\"message_stop\"}\n\n"}
	}
	plain := func(usages ...string) (events []string) {
		for _, u := range usages {
			events = append(events, "data: {"+u+"}\n\n")
		}
		return events
	}
	const start = `"input_tokens":3,"cache_creation_input_tokens":20,"cache_read_input_tokens":1000,"output_tokens":1`
	all := perf.Usage{Known: true, Input: 1023, Output: 20, Cached: 1000}
	for name, c := range map[string]struct {
		events []string
		want   perf.Usage
	}{
		"the output alone":       {message(`"output_tokens":20`, start), all},
		"the input once more":    {message(`"input_tokens":3,"output_tokens":20`, start), all},
		"all once more":          {message(`"input_tokens":3,"cache_creation_input_tokens":20,"cache_read_input_tokens":1000,"output_tokens":20`, start), all},
		"zeros":                  {message(`"input_tokens":0,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":20`, start), all},
		"nulls":                  {message(`"input_tokens":3,"cache_creation_input_tokens":null,"cache_read_input_tokens":null,"output_tokens":20`, start), all},
		"the cache at the end":   {message(`"cache_creation_input_tokens":20,"cache_read_input_tokens":1000,"output_tokens":20`, `"input_tokens":3,"output_tokens":1`), all},
		"the cache alone":        {append(message(`"cache_creation_input_tokens":20,"cache_read_input_tokens":1000`, `"input_tokens":3`), plain(`"usage":{"output_tokens":20}`)...), all},
		"more input":             {message(`"input_tokens":8,"output_tokens":20`, start), perf.Usage{Known: true, Input: 1028, Output: 20, Cached: 1000}},
		"the cache of nothing":   {message(`"cache_read_input_tokens":7`, ``), perf.Usage{}},
		"nothing, and then zero": {message(`"input_tokens":0`, ``), perf.Usage{Known: true}},
		"chats": {plain(`"usage":{"prompt_tokens":9,"completion_tokens":1,"prompt_tokens_details":{"cached_tokens":5}}`, `"usage":{"prompt_tokens":9,"completion_tokens":4}`, `"usage":null`),
			perf.Usage{Known: true, Input: 9, Output: 4, Cached: 5}},
		"contents": {plain(`"usageMetadata":{"promptTokenCount":9,"cachedContentTokenCount":5,"toolUsePromptTokenCount":2,"thoughtsTokenCount":6}`, `"usageMetadata":{"promptTokenCount":9,"candidatesTokenCount":4}`),
			perf.Usage{Known: true, Input: 11, Output: 10, Cached: 5}},
	} {
		if got := inEvents(c.events...); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

// FuzzUsage has a reply say the same whole and in pieces, and what encoding/json
// says where it is JSON.
func FuzzUsage(f *testing.F) {
	for text := range replies() {
		if len(text) < 500 {
			f.Add([]byte(text), 3)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, size int) {
		got := Whole(b)
		if got.Input < 0 || got.Output < 0 || got.Cached < 0 || got.Cached > got.Input || !got.Known && got != (perf.Usage{}) {
			t.Errorf("%q: %+v", b, got)
		}
		inEvents(string(b))
		pieces := inPieces(b, 1+size&31)
		if !json.Valid(b) || bytes.Contains(b, []byte(`\u00`)) { // a name may be spelled in escapes
			return
		}
		if pieces != got {
			t.Errorf("%q in pieces of %d: %+v, whole %+v", b, 1+size&31, pieces, got)
		}
		said := outline.Read(b)
		if outlined := Of(b, &said); outlined != got {
			t.Errorf("%q by its outline: %+v, whole %+v", b, outlined, got)
		}
		if want, ok := decoded(b); ok && got != want {
			t.Errorf("%q: %+v, want %+v", b, got, want)
		}
		var line bytes.Buffer
		if json.Compact(&line, b) == nil {
			if event := inEvents("data: " + line.String() + "\n\n"); got.Known && event != got {
				t.Errorf("%q as an event: %+v, want %+v", b, event, got)
			}
		}
	})
}

// decoded is the test's own reading. ok is false for numbers of which it is no judge.
func decoded(b []byte) (u perf.Usage, ok bool) {
	object := func(raw json.RawMessage) map[string]json.RawMessage {
		var m map[string]json.RawMessage
		if json.Unmarshal(raw, &m) != nil {
			return nil
		}
		return m
	}
	ok = true
	count := func(raw json.RawMessage) int64 {
		var n float64
		if len(raw) > 15 || bytes.ContainsAny(raw, "eE") {
			ok = false
		}
		if raw == nil || string(raw) == "null" || json.Unmarshal(raw, &n) != nil || n < 0 || n != float64(int64(n)) {
			return -1
		}
		return int64(n)
	}
	v := object(object(b)["usage"])
	in, out := max(count(v["prompt_tokens"]), count(v["input_tokens"])), max(count(v["completion_tokens"]), count(v["output_tokens"]))
	cached := max(count(object(v["prompt_tokens_details"])["cached_tokens"]), count(object(v["input_tokens_details"])["cached_tokens"]), 0)
	if in < 0 && out < 0 {
		return perf.Usage{}, ok
	}
	in = max(in, 0)
	if count(v["prompt_tokens"]) < 0 && cached == 0 {
		cached = max(count(v["cache_read_input_tokens"]), 0)
		in += cached + max(count(v["cache_creation_input_tokens"]), 0)
	}
	return perf.Usage{Known: true, Input: in, Output: max(out, 0), Cached: min(cached, in)}, ok
}

// whole makes a chat reply of about size bytes, with the usage last or first.
func whole(size int, first bool) []byte {
	usage := `"usage":{"prompt_tokens":120,"completion_tokens":58,"total_tokens":178,"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},` +
		`"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}`
	text := strings.Repeat(`This is one line of it, and \"that\" another.\n`, max(size-500, 0)/48)
	choices := `"choices":[{"index":0,"message":{"role":"assistant","content":"` + text + `","refusal":null,"annotations":[]},"logprobs":null,"finish_reason":"stop"}]`
	if first {
		usage, choices = choices, usage
	}
	return []byte(`{"id":"chatcmpl-abc","object":"chat.completion","created":1700000000,"model":"m",` + choices + `,` + usage + `,"service_tier":"default"}`)
}

func chunks() (list [][]byte) {
	for i := range 54 {
		list = append(list, fmt.Appendf(nil, `data: {"id":"chatcmpl-abc","object":"chat.completion.chunk","created":1700000000,"model":"m","system_fingerprint":"fp_1","choices":[{"index":0,"delta":{"content":" word%d"},"logprobs":null,"finish_reason":null}],"usage":null}`+"\n\n", i))
	}
	return append(list, []byte("data: "+`{"id":"chatcmpl-abc","object":"chat.completion.chunk","choices":[],"usage":{"prompt_tokens":120,"completion_tokens":58,"total_tokens":178,"prompt_tokens_details":{"cached_tokens":0}}}`+"\n\n"), []byte("data: [DONE]\n\n"))
}

func TestAllocs(t *testing.T) {
	small, large := whole(1<<10, false), whole(64<<10, true)
	stream := chunks()
	var r Reader
	if n := testing.AllocsPerRun(100, func() {
		Whole(small)
		Whole(large)
		var c Counts
		for _, e := range stream {
			c.Event(e)
		}
		if !c.Usage().Known {
			t.Error("nothing found in the stream")
		}
		r = Reader{}
		r.Feed(large[:5000])
		r.Feed(large[5000:])
		if !r.Usage().Known {
			t.Error("nothing found")
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkUsage(b *testing.B) {
	for name, size := range map[string]int{"1kB": 1 << 10, "16kB": 16 << 10, "1MiB": 1 << 20} {
		for _, first := range []bool{false, true} {
			reply := whole(size, first)
			b.Run(fmt.Sprintf("%s/first=%v", name, first), func(b *testing.B) {
				b.SetBytes(int64(len(reply)))
				for b.Loop() {
					Whole(reply)
				}
			})
			b.Run(fmt.Sprintf("%s/first=%v/pieces", name, first), func(b *testing.B) {
				b.SetBytes(int64(len(reply)))
				for b.Loop() {
					var r Reader
					for rest := reply; len(rest) > 0; {
						n := min(len(rest), 32<<10)
						r.Feed(rest[:n])
						rest = rest[n:]
					}
				}
			})
		}
	}
	stream := chunks()
	b.Run("stream", func(b *testing.B) {
		for b.Loop() {
			var c Counts
			for _, e := range stream {
				c.Event(e)
			}
		}
	})
}
