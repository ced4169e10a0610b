package cache

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"sluice/internal/llm"
	"sluice/internal/testkit"
)

// nothing is a sink that takes everything and keeps nothing.
type nothing struct{}

func (nothing) Start(*llm.Head) error  { return nil }
func (nothing) Send([]llm.Event) error { return nil }

// typical is a request of some 2 kB.
func typical(n int) *llm.Request {
	r := chat("")
	set(r, fmt.Sprintf(`{"model":"gpt","messages":[{"role":"system","content":"%s"},{"role":"user","content":"%d"}],"temperature":0.7,"stream":false}`,
		strings.Repeat("You answer briefly. ", 95), n))
	return r
}

// A hit takes no memory, whatever answers it, and a bypass none but its sink.
func TestAllocationCeilings(t *testing.T) {
	if testkit.Race {
		t.Skip("the race detector allocates")
	}
	f := newFixture(t, withStreams)
	learning := newFixture(t, nil)
	learning.attach(t, newShared())
	reply := chatReply(strings.Repeat("x", 1000))
	f.up.serve = func(ctx context.Context, n int, r *llm.Request, out llm.Sink) error {
		switch {
		case r.Op == llm.Embedding:
			return embedded("")(ctx, n, r, out)
		case r.Stream:
			return answerAs(out, llm.EventStream, events("a", "b", "c"))
		}
		return answer(out, reply)
	}
	learning.up.serve = f.up.serve
	body := `["a","b",["c"]]`
	for _, test := range []struct {
		name    string
		f       *fixture
		req     *llm.Request
		ceiling float64
	}{
		{"hit", f, typical(1), 0},
		{"hit, alias and header", f, chat("x", func(r *llm.Request) { r.Header = []llm.Field{{Name: "B", Value: "1"}, {Name: "A", Value: "2"}} }), 0},
		{"stream", f, chat("s", streamed), 0},
		{"stream from a whole reply", f, chat("x", streamed), 0},
		{"embedding", f, embed(strings.Replace(body, `["c"]`, `"c"`, 1)), 0},
		{"hit, learning", learning, typical(1), 0},
	} {
		test.f.ask(t, test.req)
		if test.name == "stream from a whole reply" {
			test.f.ask(t, chat("x"))
			test.f.store.entries.Invalidate(test.f.ask(t, test.req).head.CacheKey)
		}
		var hits int
		n := testing.AllocsPerRun(200, func() {
			if err := test.f.stage.Serve(context.Background(), test.req, statuses{&hits}); err != nil {
				t.Fatal(err)
			}
		})
		if n > test.ceiling || hits < 200 {
			t.Errorf("%s: %v allocations, ceiling %v, %d hits", test.name, n, test.ceiling, hits)
		}
	}
}

// A miss takes what it records and stores.
func TestMissAllocationCeiling(t *testing.T) {
	if testkit.Race {
		t.Skip("the race detector allocates")
	}
	const ceiling = 14
	f, req := quick(t), typical(1)
	req.Cache.HasMaxAge = true // 0
	n := testing.AllocsPerRun(200, func() {
		if err := f.stage.Serve(context.Background(), req, nothing{}); err != nil {
			t.Fatal(err)
		}
	})
	if n > ceiling || f.figures.misses.Load() != 201 {
		t.Errorf("%v allocations, ceiling %d, %d misses", n, ceiling, f.figures.misses.Load())
	}
}

// statuses counts hits.
type statuses struct{ hits *int }

func (s statuses) Start(h *llm.Head) error {
	if h.Cache == llm.CacheHit {
		*s.hits++
	}
	return nil
}
func (statuses) Send([]llm.Event) error { return nil }

func BenchmarkHit(b *testing.B) {
	for _, learning := range []bool{false, true} {
		b.Run(fmt.Sprint("learning=", learning), func(b *testing.B) {
			f := newFixture(b, nil)
			if learning {
				f.attach(b, newShared())
			}
			req := typical(1)
			f.ask(b, req)
			b.SetBytes(int64(len(req.Body)))
			b.ReportAllocs()
			for b.Loop() {
				if err := f.stage.Serve(context.Background(), req, nothing{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkHitParallel has all cores ask for one key, and for a thousand.
func BenchmarkHitParallel(b *testing.B) {
	for _, keys := range []int{1, 1000} {
		b.Run(fmt.Sprint("keys=", keys), func(b *testing.B) {
			f := newFixture(b, nil)
			reqs := make([]*llm.Request, keys)
			for i := range reqs {
				reqs[i] = typical(i)
				f.ask(b, reqs[i])
			}
			var start atomic.Int64
			b.RunParallel(func(pb *testing.PB) {
				i := int(start.Add(7919))
				for ; pb.Next(); i++ {
					if err := f.stage.Serve(context.Background(), reqs[i%keys], nothing{}); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

// quick is a cache before an upstream that costs nothing and gives each reply an id of
// its own.
func quick(t testing.TB) *fixture {
	f := newFixture(t, nil)
	reply := []llm.Event{{Raw: []byte(strings.Replace(chatReply(strings.Repeat("x", 900)), "{", `{"id":"chatcmpl-00000000",`, 1))}}
	id := digits(reply[0].Raw, "00000000")
	head := llm.Head{Status: 200, Header: []llm.Field{{Name: "Content-Type", Value: "application/json"}}}
	f.stage = f.Stage(llm.HandlerFunc(func(_ context.Context, _ *llm.Request, out llm.Sink) error {
		countUp(id)
		if err := out.Start(&head); err != nil {
			return err
		}
		return out.Send(reply)
	}), groups{}, false)
	return f
}

// digits are those of a number in a text.
func digits(text []byte, number string) []byte {
	return text[bytes.Index(text, []byte(number)):][:len(number)]
}

// countUp adds one to a number.
func countUp(digits []byte) {
	for i := len(digits) - 1; i >= 0; i-- {
		if digits[i]++; digits[i] <= '9' {
			return
		}
		digits[i] = '0'
	}
}

// BenchmarkMiss is a call whose reply is stored: in the place of the same call's, and, as
// it is where all calls differ, in that of another's, which is evicted.
func BenchmarkMiss(b *testing.B) {
	for _, each := range []bool{false, true} {
		b.Run(fmt.Sprint("each=", each), func(b *testing.B) {
			f, req := quick(b), typical(10_000_000)
			req.Cache.HasMaxAge = true // 0
			number := digits(req.Body, "10000000")
			b.ReportAllocs()
			for b.Loop() {
				if each {
					countUp(number)
				}
				if err := f.stage.Serve(context.Background(), req, nothing{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkEmbeddingHit(b *testing.B) {
	f := newFixture(b, nil)
	vector := strings.Repeat("0.0123456789,", 1535) + "0"
	f.up.serve = func(_ context.Context, _ int, r *llm.Request, out llm.Sink) error {
		var data []string
		for i := range inputs(b, r.Body) {
			data = append(data, fmt.Sprintf(`{"object":"embedding","index":%d,"embedding":[%s]}`, i, vector))
		}
		return answer(out, `{"data":[`+strings.Join(data, ",")+`],"model":"m","usage":{"prompt_tokens":9}}`)
	}
	var list []string
	for i := range 100 {
		list = append(list, fmt.Sprintf(`"input %d"`, i))
	}
	req := embed("[" + strings.Join(list, ",") + "]")
	f.ask(b, req)
	b.ReportAllocs()
	for b.Loop() {
		if err := f.stage.Serve(context.Background(), req, nothing{}); err != nil {
			b.Fatal(err)
		}
	}
}
