package presets

import (
	"strings"
	"testing"

	"sluice/internal/jsonscan"
	"sluice/internal/protobuf/mapping"
	"sluice/internal/testkit"
)

// chunks are a piece of a stream, as each service says it.
func chunks() map[string]string {
	return map[string]string{
		"xai":         `{"outputs":[{"delta":{"content":"Hello, "}}],"usage":{"promptTokens":12,"completionTokens":3}}`,
		"gemini":      `{"candidates":[{"content":{"parts":[{"text":"Hello, "}],"role":"model"}}],"usageMetadata":{"promptTokenCount":12,"candidatesTokenCount":3}}`,
		"triton-vllm": tritonReply("Hello, ", "None", 12, 3),
		"vllm":        `{"outputs":{"text":"Hello, ","numTokens":3}}`,
		"sglang":      sglangChunk(`{"id":"a","choices":[{"index":0,"delta":{"content":"Hello, "},"finish_reason":null}]}`),
	}
}

func BenchmarkRequest(b *testing.B) {
	for _, name := range []string{"xai", "gemini", "yandex", "sglang"} {
		body := chat
		if name == "yandex" {
			body = strings.Replace(chat, "image_url\"", "text\",\"text\":\"\"", 1)
		}
		c, in := load(b, name).Stream, &mapping.Input{Body: []byte(body), UpstreamModel: "up"}
		b.Run(name, func(b *testing.B) {
			var dst []byte
			var err error
			b.ReportAllocs()
			for b.Loop() {
				if dst, err = c.AppendMessage(dst[:0], in); err != nil {
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

// TestAllocations: a chunk costs none, but where its bytes have to be looked into.
func TestAllocations(t *testing.T) {
	if testkit.Race {
		t.Skip("the race detector allocates")
	}
	most := map[string]float64{"triton-vllm": 24, "sglang": 2}
	for name, text := range chunks() {
		c := load(t, name).Stream
		wire, r, w := message(t, c, text), c.NewReader(), mapping.Writer{ID: "id", Model: "m"}
		dst := make([]byte, 0, 4096)
		if n := testing.AllocsPerRun(100, func() {
			if e, err := r.Read(wire); err == nil {
				dst = w.AppendChunks(dst[:0], e)
			}
		}); n > most[name] {
			t.Errorf("%s: %v allocations", name, n)
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
			valid(t, string(w.AppendEmbeddings(nil, e, true)))
			valid(t, string(w.AppendEmbeddings(nil, e, false)))
		}
	})
}

func valid(t *testing.T, text string) {
	t.Helper()
	if err := jsonscan.Validate([]byte(text), 0); text != "" && err != nil {
		t.Errorf("%s: %v", text, err)
	}
}
