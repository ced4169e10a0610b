package mapping

import (
	"bytes"
	"strings"
	"testing"

	"sluice/internal/protobuf"
	"sluice/internal/testkit"
)

// longRequest is a chat of 1.8 kB.
var longRequest = []byte(strings.Replace(request, "Be brief.", strings.Repeat("You are a careful assistant who answers in short sentences. ", 18), 1))

const chunk = `{"id":"8d5f2b1e","model":"grok-4","outputs":[{"delta":{"content":" a piece of text","role":"ROLE_ASSISTANT"}}],"usage":{"promptTokens":40,"completionTokens":7,"totalTokens":47}}`

// TestAllocations: a request costs a text that is quoted anew, a chunk nothing.
func TestAllocations(t *testing.T) {
	if testkit.Race {
		t.Skip("the race detector allocates")
	}
	m := xai(t)
	in := &Input{Body: longRequest, UpstreamModel: "grok-4"}
	var dst []byte
	if n := testing.AllocsPerRun(100, func() { dst, _ = m.Stream.AppendMessage(dst[:0], in) }); n > 1 {
		t.Errorf("a request: %v allocations", n)
	}
	r, w := m.Stream.NewReader(), Writer{ID: "id", Model: "m"}
	wire := message(t, m.Stream.Method.Output(), chunk)
	if n := testing.AllocsPerRun(100, func() {
		e, err := r.Read(wire)
		if err != nil {
			t.Fatal(err)
		}
		dst = w.AppendChunks(dst[:0], e)
	}); n > 0 {
		t.Errorf("a chunk: %v allocations", n)
	}
}

func BenchmarkRequest(b *testing.B) {
	m := xai(b)
	in := &Input{Body: longRequest, UpstreamModel: "grok-4"}
	var dst []byte
	b.SetBytes(int64(len(in.Body)))
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if dst, err = m.Stream.AppendMessage(dst[:0], in); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkChunk(b *testing.B) {
	m := xai(b)
	r, w := m.Stream.NewReader(), Writer{ID: "id", Model: "m"}
	wire := message(b, m.Stream.Method.Output(), chunk)
	var dst []byte
	b.ReportAllocs()
	for b.Loop() {
		e, err := r.Read(wire)
		if err != nil {
			b.Fatal(err)
		}
		dst = w.AppendChunks(dst[:0], e)
	}
}

// BenchmarkEmbeddings is 256 vectors of 1,536 floats, from the wire to base64, and for
// comparison what printing them as JSON takes.
func BenchmarkEmbeddings(b *testing.B) {
	m := xai(b)
	var json strings.Builder
	json.WriteString(`{"embeddings":[`)
	vector := strings.TrimSuffix(strings.Repeat("0.0123456,", 1536), ",")
	for i := range 256 {
		if i > 0 {
			json.WriteByte(',')
		}
		json.WriteString(`{"embeddings":[{"floatArray":[` + vector + `]}]}`)
	}
	json.WriteString(`]}`)
	wire := message(b, m.Embed.Method.Output(), json.String())
	b.Run("base64", func(b *testing.B) {
		r, w := m.Embed.NewReader(), Writer{Model: "m"}
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
		if bytes.Count(dst, []byte(`"index"`)) != 256 {
			b.Fatal("not 256 vectors")
		}
	})
	b.Run("printed", func(b *testing.B) {
		var dst []byte
		b.SetBytes(int64(len(wire)))
		for b.Loop() {
			dst, _ = m.Embed.received.AppendJSON(dst[:0], wire, protobuf.Options{}, protobuf.Limits{})
		}
	})
}
