package presets

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"testing"

	"sluice/internal/jsonscan"
	"sluice/internal/protobuf/mapping"
	"sluice/internal/testkit"
)

// chunks are a piece of a stream, as each service says it.
func chunks() map[string]string {
	google := `{"candidates":[{"content":{"parts":[{"text":"Hello, "}],"role":"model"}}],"usageMetadata":{"promptTokenCount":12,"candidatesTokenCount":3}}`
	return map[string]string{
		"xai":           `{"outputs":[{"delta":{"content":"Hello, "}}],"usage":{"promptTokens":12,"completionTokens":3}}`,
		"gemini":        google,
		"vertex":        google,
		"triton-vllm":   tritonReply("Hello, ", "None", 12, 3),
		"vllm":          `{"outputs":{"text":"Hello, ","numTokens":3}}`,
		"sglang":        sglangChunk(`{"id":"a","choices":[{"index":0,"delta":{"content":"Hello, "},"finish_reason":null}]}`),
		"yandex":        `{"alternatives":[{"message":{"role":"assistant","text":"Hello, "},"status":"ALTERNATIVE_STATUS_PARTIAL"}],"usage":{"inputTextTokens":"12","completionTokens":"3","totalTokens":"15"}}`,
		"protobuf-http": `{"text":"Hello, ","usage":{"inputTokens":"12","outputTokens":"3"}}`,
	}
}

// requests are what clients ask each service for, in 1.8 kB: chats with all that it takes,
// and texts to embed where it has no chats.
func requests() map[string]mapping.Input {
	const size = 1800
	long := func(body, at string) []byte {
		return []byte(strings.Replace(body, at, at+strings.Repeat(" You are careful.", size)[:size-len(body)], 1))
	}
	all := map[string]mapping.Input{}
	for _, name := range []string{"xai", "gemini", "vertex", "sglang", "protobuf-http"} {
		all[name] = mapping.Input{Body: long(chat, "Be brief.")}
	}
	all["yandex"] = mapping.Input{Body: long(strings.Replace(chat, `image_url"`, `text","text":"`, 1), "Be brief.")}
	for _, name := range []string{"vllm", "triton-vllm"} {
		all[name] = mapping.Input{Body: long(plain, "Be brief."), Prompt: bytes.Repeat([]byte("You are careful. "), 100)}
	}
	all["open-inference"] = mapping.Input{Body: long(embeddings, "zwölf")}
	all["tei"] = mapping.Input{Body: long(`{"model":"m","input":"one"}`, "one")}
	for name, in := range all {
		in.UpstreamModel, in.RequestID = "up", "r1"
		all[name] = in
	}
	return all
}

// calls are those that the requests are for.
func callFor(t testing.TB, name string) *mapping.Call {
	m := load(t, name)
	if m.Stream == nil {
		return m.Embed
	}
	return m.Stream
}

func BenchmarkRequest(b *testing.B) {
	for name, in := range requests() {
		c := callFor(b, name)
		b.Run(name, func(b *testing.B) {
			var dst []byte
			var err error
			b.SetBytes(int64(len(in.Body)))
			b.ReportAllocs()
			for b.Loop() {
				if dst, err = c.AppendMessage(dst[:0], &in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkChunk(b *testing.B) {
	for name, text := range chunks() {
		c := load(b, name).Stream
		wire, r, w := message(b, c, text), c.NewReader(), mapping.Writer{ID: "id", Model: "m"}
		b.Run(name, func(b *testing.B) {
			var dst []byte
			b.ReportAllocs()
			for b.Loop() {
				e, err := r.Read(wire)
				if err != nil {
					b.Fatal(err)
				}
				dst = w.AppendChunks(dst[:0], e)
			}
		})
	}
}

// vectorReplies are rows of floats, as each service that embeds many texts in a call says them.
func vectorReplies(rows, width int) map[string]string {
	packed := make([]byte, 0, 4*rows*width)
	for i := range rows * width {
		packed = binary.LittleEndian.AppendUint32(packed, math.Float32bits(float32(i%1000)/1000))
	}
	numbers := strings.TrimSuffix(strings.Repeat("0.0123456,", width), ",")
	each := func(before, after string) string {
		return strings.TrimSuffix(strings.Repeat(before+numbers+after+",", rows), ",")
	}
	return map[string]string{
		"xai":            `{"embeddings":[` + each(`{"embeddings":[{"floatArray":[`, `]}]}`) + `]}`,
		"gemini":         `{"embeddings":[` + each(`{"values":[`, `]}`) + `]}`,
		"protobuf-http":  `{"vectors":[` + each(`{"values":[`, `]}`) + `]}`,
		"open-inference": fmt.Sprintf(`{"outputs":[{"name":"e","datatype":"FP32","shape":["%d","%d"]}],"rawOutputContents":["%s"]}`, rows, width, base64.StdEncoding.EncodeToString(packed)),
	}
}

// BenchmarkVectors is 256 vectors of 1,536 floats, from the wire to base64.
func BenchmarkVectors(b *testing.B) {
	for name, text := range vectorReplies(256, 1536) {
		c := load(b, name).Embed
		wire, r, w := message(b, c, text), c.NewReader(), mapping.Writer{Model: "m"}
		b.Run(name, func(b *testing.B) {
			var dst []byte
			b.SetBytes(int64(len(wire)))
			b.ReportAllocs()
			for b.Loop() {
				e, err := r.Read(wire)
				if err != nil {
					b.Fatal(err)
				}
				if dst, err = w.AppendEmbeddings(dst[:0], e, true); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestAllocations: a request costs little, a chunk of any service nothing, and vectors
// for a client who wants base64 nothing either.
func TestAllocations(t *testing.T) {
	if testkit.Race {
		t.Skip("the race detector allocates")
	}
	most := map[string]float64{"sglang": 1} // the JSON of a whole request as a string
	for name, in := range requests() {
		c, dst := callFor(t, name), []byte(nil)
		if n := testing.AllocsPerRun(100, func() {
			dst, _ = c.AppendMessage(dst[:0], &in)
		}); n > max(most[name], 1) {
			t.Errorf("%s: %v allocations of a request", name, n)
		}
	}
	for name, text := range chunks() {
		c := load(t, name).Stream
		wire, r, w := message(t, c, text), c.NewReader(), mapping.Writer{ID: "id", Model: "m"}
		dst := make([]byte, 0, 4096)
		if n := testing.AllocsPerRun(100, func() {
			if e, err := r.Read(wire); err == nil {
				dst = w.AppendChunks(dst[:0], e)
			}
		}); n > 0 {
			t.Errorf("%s: %v allocations of a chunk", name, n)
		}
	}
	for name, text := range vectorReplies(64, 256) {
		c := load(t, name).Embed
		wire, r, w := message(t, c, text), c.NewReader(), mapping.Writer{Model: "m"}
		dst := []byte(nil)
		if n := testing.AllocsPerRun(20, func() {
			if e, err := r.Read(wire); err == nil {
				if dst, err = w.AppendEmbeddings(dst[:0], e, true); err != nil {
					t.Fatal(err)
				}
			}
		}); n > 0 {
			t.Errorf("%s: %v allocations of vectors", name, n)
		}
	}
}

// TestVectorsUnprinted: vectors go to base64 without being printed as numbers on the way.
func TestVectorsUnprinted(t *testing.T) {
	for name, text := range vectorReplies(3, 256) {
		c := load(t, name).Embed
		r := c.NewReader()
		e, err := r.Read(message(t, c, text))
		if err != nil || len(e.Embeddings) != 3 {
			t.Fatalf("%s: %v", name, err)
		}
		for _, v := range e.Embeddings {
			if v.List != nil || len(v.Packed) != 4*256 {
				t.Errorf("%s: a list of %d bytes, %d are packed", name, len(v.List), len(v.Packed))
			}
		}
		if n := len(r.JSON()); n > 400 {
			t.Errorf("%s: the message took %d bytes of JSON: %.100s", name, n, r.JSON())
		}
	}
}

// FuzzReplies: whatever a service sends, what a client gets is JSON.
func FuzzReplies(f *testing.F) {
	for name, text := range chunks() {
		f.Add(name, message(f, load(f, name).Stream, text))
	}
	all := map[string][]*mapping.Call{}
	for _, name := range Names() {
		m := load(f, name)
		for _, c := range []*mapping.Call{m.Unary, m.Stream, m.Embed} {
			if c != nil {
				all[name] = append(all[name], c)
			}
		}
	}
	f.Fuzz(func(t *testing.T, name string, wire []byte) {
		for _, c := range all[name] {
			e, err := c.NewReader().Read(wire)
			if err != nil {
				continue
			}
			w := mapping.Writer{ID: "i", Model: "m"}
			for event := range strings.SplitSeq(string(w.AppendEnd(w.AppendChunks(nil, e), e.Usage)), "\n\n") {
				valid(t, strings.TrimPrefix(event, "data: "))
			}
			valid(t, string(w.AppendReply(nil, e)))
			for _, base64Format := range []bool{true, false} {
				if got, err := w.AppendEmbeddings(nil, e, base64Format); err == nil {
					valid(t, string(got))
				}
			}
		}
	})
}

func valid(t *testing.T, text string) {
	t.Helper()
	if err := jsonscan.Validate([]byte(text), 0); text != "" && err != nil {
		t.Errorf("%s: %v", text, err)
	}
}
