package mapping

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"math"
	"strings"
	"testing"

	"sluice/internal/jsonscan"
)

func invented(t testing.TB, replace ...string) *Mapping {
	t.Helper()
	list, err := load(t, schemaOf(t, "invented.proto"), strings.NewReplacer(replace...).Replace(string(read(t, "invented.yaml"))))
	if err != nil {
		t.Fatal(err)
	}
	return list[0]
}

func TestInventedRequest(t *testing.T) {
	m := invented(t)
	if m.Unary != nil {
		t.Error("there is no unary call")
	}
	wire, err := m.Stream.AppendMessage(nil, &Input{Stream: true, UpstreamModel: "m", RequestID: "r1", Body: []byte(`{"top_k":3,"max_tokens":0,
		"response_format":{"json_schema":{"schema":{"type":["object",null]}}},
		"messages":[{"role":"system","content":"Be \"good\"."},{"role":"user","content":"Hi\u0041"},{"role":"user","content":[{"type":"text","text":"you"},{"type":"image_url"}]},
		{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":"{\"a\":[1]}"}}]}]}`)})
	if err != nil {
		t.Fatal(err)
	}
	sameMessage(t, m.Stream.Method.Input(), wire, `{"text":"HiA\nyou\n","system":"Be \"good\".","options":{"top":{"number":"3"},"fixed":{"truth":true}},
		"schema":{"type":["object",null]},"most":0,"stream":true,"raw":"bQ==","big":"18446744073709551615",
		"turns":[{"pieces":[{"text":"Welcome"}]},{},{},{"mine":true,"pieces":[{"call":"f","arguments":{"a":[1]}}]}],"texts":["system","user","user","assistant"]}`)

	wire, err = m.Abort.AppendMessage(nil, &Input{RequestID: "r1"})
	if err != nil {
		t.Fatal(err)
	}
	sameMessage(t, m.Abort.Method.Input(), wire, `{"ids":["r1"]}`)
}

// TestCollect: a service that answers in streams only answers a client who wants none.
func TestCollect(t *testing.T) {
	m := invented(t)
	r, c := m.Stream.NewReader(), Collector{}
	for _, json := range []string{
		`{"pieces":[{"text":"He"},{"text":"y \""}],"used":"2"}`,
		`{"pieces":[{"text":"you"},{"call":"f","arguments":{"x":1}},{"call":"f"}],"used":"3"}`,
		`{"end":"done","used":"1"}`,
	} {
		e, err := r.Read(message(t, m.Stream.Method.Output(), json))
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Add(e); err != nil {
			t.Fatal(err)
		}
	}
	w := Writer{ID: "id", Model: "m"}
	want := `{"id":"id","object":"chat.completion","created":0,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"Hey \"you","refusal":null,"tool_calls":[` +
		`{"id":"call_id_0_0","type":"function","function":{"name":"f","arguments":"{\"x\":1}"}},{"id":"call_id_0_1","type":"function","function":{"name":"f","arguments":"{}"}}]},` +
		`"logprobs":null,"finish_reason":"tool_calls"}],"usage":{"prompt_tokens":0,"completion_tokens":6,"total_tokens":6}}`
	if got := string(w.AppendReply(nil, c.Event())); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	small := Collector{Max: 3}
	e, _ := r.Read(message(t, m.Stream.Method.Output(), `{"pieces":[{"text":"Hello"}]}`))
	if err := small.Add(e); !errors.Is(err, ErrTooLarge) {
		t.Error(err)
	}
}

func TestFailure(t *testing.T) {
	m := invented(t)
	e, err := m.Stream.NewReader().Read(message(t, m.Stream.Method.Output(), `{"fault":"too hot"}`))
	if err != nil || e.Error == nil || string(e.Error.Message) != `"too hot"` || string(e.Error.Code) != `"upstream_fault"` {
		t.Errorf("%+v, %v", e, err)
	}
}

func packed(list ...float32) (b []byte) {
	for _, f := range list {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(f))
	}
	return b
}

// TestRows: vectors come in a row, packed or not, as doubles, as bytes or as base64, and
// leave as either form. Those that stand in the message are not copied.
func TestRows(t *testing.T) {
	const where = "values: =r.tensors[0].floats"
	want := base64.StdEncoding.EncodeToString(packed(0.5, -1)) + " " + base64.StdEncoding.EncodeToString(packed(2, 1e-7))
	raw := base64.StdEncoding.EncodeToString(packed(0.5, -1, 2, 1e-7))
	for _, c := range []struct{ values, reply string }{
		{where, `{"tensors":[{"shape":["2","2"],"floats":[0.5,-1,2,1e-7],"used":"9"}]}`},
		{"values: =r.tensors[0].loose", `{"tensors":[{"shape":["2","2"],"loose":[0.5,-1,2,1e-7],"used":"9"}]}`},
		{"values: =r.flat", `{"tensors":[{"shape":["2","2"],"used":"9"}],"flat":[0.5,-1,2,1e-7]}`},
		{"values: =r.raw[0]", `{"tensors":[{"shape":["2","2"],"used":"9"}],"raw":["` + raw + `"]}`},
		{"values: =list(r.texts)[0]", `{"tensors":[{"shape":["2","2"],"used":"9"}],"texts":["` + raw + `"]}`},
	} {
		m := invented(t, where, c.values)
		wire := message(t, m.Embed.Method.Output(), c.reply)
		r := m.Embed.NewReader()
		e, err := r.Read(wire)
		if err != nil {
			t.Errorf("%s: %v", c.values, err)
			continue
		}
		w := Writer{Model: "m"}
		one, two, _ := strings.Cut(want, " ")
		text := `{"object":"list","data":[{"object":"embedding","index":0,"embedding":"` + one + `"},{"object":"embedding","index":1,"embedding":"` + two + `"}],"model":"m","usage":{"prompt_tokens":9,"total_tokens":9}}`
		if got, err := w.AppendEmbeddings(nil, e, true); string(got) != text {
			t.Errorf("%s\ngot  %s, %v\nwant %s", c.values, got, err, text)
		}
		text = `{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.5,-1]},{"object":"embedding","index":1,"embedding":[2,1e-7]}],"model":"m","usage":{"prompt_tokens":9,"total_tokens":9}}`
		if got, err := w.AppendEmbeddings(nil, e, false); strings.Replace(string(got), "1e-07", "1e-7", 1) != text {
			t.Errorf("%s\ngot  %s, %v\nwant %s", c.values, got, err, text)
		}
	}
}

// TestNumbersThatJSONLacks: a vector with one that is not finite is no reply, in whatever
// form the client wants it and the service sends it; a log probability that is infinitely
// small is what OpenAI has for it.
func TestNumbersThatJSONLacks(t *testing.T) {
	const where = "values: =r.tensors[0].floats"
	for _, number := range []string{`"NaN"`, `"Infinity"`, `"-Infinity"`} {
		for _, list := range []string{"[1," + number + "]", "[" + number + ",1]"} {
			for values, reply := range map[string]string{
				where:                                 `{"tensors":[{"shape":["1","2"],"floats":` + list + `}]}`,
				"values: =r.tensors[0].loose":         `{"tensors":[{"shape":["1","2"],"loose":` + list + `}]}`,
				"values: =r.flat":                     `{"tensors":[{"shape":["1","2"]}],"flat":` + list + `}`,
				"values: =[r.tensors[0].loose[0], 1]": `{"tensors":[{"shape":["1","2"],"loose":[` + number + `]}]}`,
			} {
				m := invented(t, where, values)
				e, err := m.Embed.NewReader().Read(message(t, m.Embed.Method.Output(), reply))
				if err != nil {
					t.Errorf("%s, %s: %v", values, reply, err)
					continue
				}
				for _, base64Format := range []bool{true, false} {
					w := Writer{Model: "m"}
					if got, err := w.AppendEmbeddings([]byte("x"), e, base64Format); err != errNotFinite || string(got) != "x" {
						t.Errorf("%s, %s: %s, %v", values, reply, got, err)
					}
				}
			}
		}
	}
	m := invented(t, where, "values: =r.flat")
	e, err := m.Embed.NewReader().Read(message(t, m.Embed.Method.Output(), `{"tensors":[{"shape":["1","2"]}],"flat":[1,1e300]}`))
	if err != nil {
		t.Fatal(err)
	}
	for base64Format, want := range map[bool]error{true: errNotFinite, false: nil} {
		w := Writer{Model: "m"}
		if got, err := w.AppendEmbeddings(nil, e, base64Format); err != want {
			t.Errorf("beyond a float of 32 bits: %s, %v", got, err)
		}
	}
	x := xai(t)
	for number, want := range map[string]string{`-0.5`: `"logprob":-0.5`, `"-Infinity"`: `"logprob":-9999.0`, `"NaN"`: "", `"Infinity"`: ""} {
		e, err := x.Unary.NewReader().Read(message(t, x.Unary.Method.Output(), `{"outputs":[{"message":{"content":"a"},"logprobs":{"content":[{"token":"t","logprob":`+number+`}]}}]}`))
		if want == "" {
			if err == nil || !strings.Contains(err.Error(), "which JSON does not have") {
				t.Errorf("%s: %v", number, err)
			}
		} else if err != nil || !strings.Contains(string(e.Choices[0].Logprobs), want) {
			t.Errorf("%s: %+v, %v", number, e, err)
		}
	}
}

// TestScatteredVector: a list in several runs is one.
func TestScatteredVector(t *testing.T) {
	m := invented(t, "          width: =r.tensors[0].shape[1]\n", "")
	md := m.Embed.Method.Output()
	one := message(t, md, `{"tensors":[{"floats":[1,2]}]}`)
	inner := one[2:] // the tensor; its fields may be written twice
	wire := append([]byte{1<<3 | 2, byte(2 * len(inner))}, append(bytes.Clone(inner), inner...)...)
	e, err := m.Embed.NewReader().Read(wire)
	if err != nil || len(e.Embeddings) != 1 || !bytes.Equal(e.Embeddings[0].Packed, packed(1, 2, 1, 2)) {
		t.Errorf("%+v, %v", e, err)
	}
}

func TestVectorFaults(t *testing.T) {
	m := invented(t)
	for _, c := range []struct{ reply, want string }{
		{`{"tensors":[{"shape":["2","2"],"floats":[1,2,3]}]}`, "the numbers are not a multiple of the width"},
		{`{"tensors":[{"shape":["2","0"],"floats":[1,2,3]}]}`, "the width of vectors is above 0"},
		{`{"tensors":[{"shape":["2","9223372036854775807"],"floats":[1,2]}]}`, "the numbers are not a multiple of the width"},
		{`{}`, "there is no such element"},
	} {
		_, err := m.Embed.NewReader().Read(message(t, m.Embed.Method.Output(), c.reply))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", c.reply, err, c.want)
		}
	}
}

// FuzzLoad: whatever a file says, Load ends, and a mapping that it takes can be used.
func FuzzLoad(f *testing.F) {
	f.Add(read(f, "xai.yaml"))
	f.Add(read(f, "invented.yaml"))
	f.Add([]byte("x: {call: {unary: xai_api.Chat/GetCompletion}, request: {model: =req}, response: {choices: [{text: =r.id}]}}"))
	x, i := schemaOf(f, "xai.proto"), schemaOf(f, "invented.proto")
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, s := range []Schema{x, i} {
			list, err := load(t, s, string(text))
			if err != nil {
				if lines := strings.Split(err.Error(), "\n"); len(lines) == 0 || !strings.HasPrefix(lines[0], "m.yaml:") {
					t.Errorf("%v", err)
				}
				continue
			}
			for _, m := range list {
				for _, c := range []*Call{m.Unary, m.Stream, m.Embed, m.Abort} {
					if c == nil {
						continue
					}
					json, err := c.AppendJSON(nil, &Input{Body: []byte(request), UpstreamModel: "m", RequestID: "r"})
					if err == nil && jsonscan.Validate(json, 0) != nil {
						t.Errorf("%s makes %s", text, json)
					}
					if c.reply != nil {
						_, _ = c.NewReader().Read([]byte("\x0a\x02hi"))
					}
				}
			}
		}
	})
}

// FuzzRead: whatever a service sends, what a client gets is JSON.
func FuzzRead(f *testing.F) {
	x, i := xai(f), invented(f)
	f.Add(message(f, x.Stream.Method.Output(), chunk))
	f.Add(message(f, x.Unary.Method.Output(), `{"outputs":[{"message":{"content":"a","toolCalls":[{"id":"a","function":{"name":"f"}}]},"logprobs":{"content":[{"token":"\"","logprob":"NaN"}]}}]}`))
	f.Add(message(f, i.Stream.Method.Output(), `{"pieces":[{"text":"a"},{"call":"f","arguments":{"a":1}}],"end":"x","fault":"\u0000"}`))
	f.Add(message(f, i.Embed.Method.Output(), `{"tensors":[{"shape":["1","2"],"floats":[1,"NaN"],"loose":[1]}]}`))
	f.Fuzz(func(t *testing.T, wire []byte) {
		for _, c := range []*Call{x.Unary, x.Stream, x.Embed, i.Stream, i.Embed} {
			r, w, all := c.NewReader(), Writer{ID: "i", Model: "m", IncludeUsage: true}, Collector{}
			var out []byte
			var e *Event
			within := func(have, room int, got []byte) []byte {
				if len(got)-have > room {
					t.Errorf("%d bytes were appended, and %d at most were told: %s", len(got)-have, room, got)
				}
				return got
			}
			for range 2 {
				var err error
				if e, err = r.Read(wire); err != nil {
					break
				}
				out = within(len(out), w.Room(e), w.AppendChunks(out, e))
				_ = all.Add(e)
			}
			if e == nil {
				continue
			}
			out = within(len(out), w.EndRoom(), w.AppendEnd(out, e.Usage))
			for event := range strings.SplitSeq(strings.TrimSuffix(string(out), "\n\n"), "\n\n") {
				valid(t, strings.TrimPrefix(event, "data: "))
			}
			valid(t, string(within(0, w.Room(e), w.AppendReply(nil, e))))
			valid(t, string(within(0, w.Room(all.Event()), w.AppendReply(nil, all.Event()))))
			for _, base64Format := range []bool{true, false} {
				if got, err := w.AppendEmbeddings(nil, e, base64Format); err == nil {
					valid(t, string(within(0, w.EmbeddingsRoom(e, base64Format), got)))
				}
			}
		}
	})
}

func valid(t *testing.T, json string) {
	t.Helper()
	if err := jsonscan.Validate([]byte(json), 0); err != nil {
		t.Errorf("%s: %v", json, err)
	}
}
