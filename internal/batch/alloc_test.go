package batch

import (
	"context"
	"strings"
	"testing"

	"sluice/internal/llm"
	"sluice/internal/testkit"
)

// quick answers at once and takes no memory.
type quick struct {
	head  llm.Head
	event [1]llm.Event
	body  [2]byte
}

func (q *quick) Serve(_ context.Context, _ *llm.Request, out llm.Sink) error {
	q.head = llm.Head{Status: 200, Kind: llm.Unary, Length: 2, Upstream: "up", Attempts: 1}
	if err := out.Start(&q.head); err != nil {
		return err
	}
	q.event[0].Raw = q.body[:]
	return out.Send(q.event[:])
}

type nothing struct{}

func (nothing) Start(*llm.Head) error  { return nil }
func (nothing) Send([]llm.Event) error { return nil }

// A lone call takes the name of its lane, and one whose items share nothing takes
// nothing.
func TestAllocationCeilings(t *testing.T) {
	if testkit.Race {
		t.Skip("the race detector allocates")
	}
	b, err := New(Default(), nil)
	if err != nil {
		t.Fatal(err)
	}
	stage := b.Stage(&quick{})
	chat := newRequest(llm.Completion, `"a"`, "")
	chat.Op = llm.Chat
	stream := newRequest(llm.Completion, `"a"`, "")
	stream.Stream = true
	text := `"` + strings.Repeat("some text ", 60) + `"`
	for _, test := range []struct {
		name    string
		req     *llm.Request
		ceiling float64
	}{
		{"embedding", newRequest(llm.Embedding, text, `,"encoding_format":"float"`), 1},
		{"completion", newRequest(llm.Completion, text, `,"max_tokens":7`), 1},
		{"moderation", newRequest(llm.Passthrough, text, ""), 1},
		{"batch by itself", newRequest(llm.Embedding, "["+strings.Repeat(text+",", 20)+text+"]", ""), 0},
		{"chat", chat, 0},
		{"stream", stream, 0},
	} {
		n := testing.AllocsPerRun(200, func() {
			if err := stage.Serve(t.Context(), test.req, nothing{}); err != nil {
				t.Fatal(err)
			}
		})
		if n > test.ceiling {
			t.Errorf("%s: %v allocations, ceiling %v", test.name, n, test.ceiling)
		}
	}
}

// BenchmarkLone has what the stage takes of a call that nobody shares.
func BenchmarkLone(b *testing.B) {
	s, err := New(Default(), nil)
	if err != nil {
		b.Fatal(err)
	}
	up := &quick{}
	req := newRequest(llm.Embedding, `"`+strings.Repeat("some text ", 60)+`"`, `,"encoding_format":"float"`)
	for name, h := range map[string]llm.Handler{"off": up, "adaptive": s.Stage(up)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_ = h.Serve(b.Context(), req, nothing{})
			}
		})
	}
}
