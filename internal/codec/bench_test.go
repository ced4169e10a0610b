package codec

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"sluice/internal/llm"
	"sluice/internal/protobuf"
	"sluice/internal/testkit"
)

// nothing is a sink that takes everything and keeps nothing.
type nothing struct{}

func (nothing) Start(*llm.Head) error  { return nil }
func (nothing) Send([]llm.Event) error { return nil }

// typical is a message of about 2 kB: a conversation of short notes.
func typical(seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	var b []byte
	for len(b) < 2000 {
		text := fmt.Sprintf("%016x The quick brown fox jumps over the lazy dog. %016x", r.Uint64(), r.Uint64())
		inner := append(note(text), 0x10, byte(r.IntN(100)), 0x20, 1)
		b = append(append(b, 3<<3|2, byte(len(inner))), inner...)
	}
	return b
}

// replay is a body that can be read again.
type replay struct{ bytes.Reader }

// bareDecode returns a function that has one message of 2 kB decoded inline.
func bareDecode(t testing.TB, c *Codec) func() {
	body := &replay{}
	wire := typical(1)
	req := &llm.Request{Op: llm.Passthrough, Method: "POST", Path: prefix + "decode", RawQuery: "type=test.Note&use_proto_names=true",
		Header: []llm.Field{{Name: "Content-Type", Value: "application/x-protobuf"}}, BodyReader: body, BodyLen: int64(len(wire))}
	stage := c.Stage(nil)
	return func() {
		body.Reset(wire)
		if err := stage.Serve(context.Background(), req, nothing{}); err != nil {
			t.Fatal(err)
		}
	}
}

// A message of 2 kB that is decoded where it arrives costs no allocation, be it
// transcoded or found.
func TestAllocationCeilings(t *testing.T) {
	if testkit.Race {
		t.Skip("the race detector allocates")
	}
	for _, test := range []struct {
		name  string
		cache int64
		most  float64
	}{{"transcoded", 0, 0}, {"found", 1 << 20, 0}} {
		serve := bareDecode(t, newCodec(t, func(c *Config) { c.ResultCacheBytes = test.cache }))
		for range 3 {
			serve()
		}
		if n := testing.AllocsPerRun(1000, serve); n > test.most {
			t.Errorf("%s: %v allocations", test.name, n)
		}
	}
}

func BenchmarkBareDecode(b *testing.B) {
	for _, cache := range []int64{0, 1 << 20} {
		b.Run(fmt.Sprintf("cache=%d", cache), func(b *testing.B) {
			serve := bareDecode(b, newCodec(b, func(c *Config) { c.ResultCacheBytes = cache }))
			b.ReportAllocs()
			for b.Loop() {
				serve()
			}
		})
	}
}

// BenchmarkResults is what keeping results costs and gains with messages of 2 kB
// of which some share was seen before. Those that were not never come again.
func BenchmarkResults(b *testing.B) {
	for _, d := range []Direction{Decode, Encode} {
		for _, share := range []int{0, 20, 50} {
			for _, size := range []int64{0, Default().ResultCacheBytes} {
				name := fmt.Sprintf("%s/%d%%/cache", d, share)
				if size == 0 {
					name = fmt.Sprintf("%s/%d%%/none", d, share)
				}
				b.Run(name, func(b *testing.B) { benchResults(b, d, share, size) })
			}
		}
	}
}

func benchResults(b *testing.B, d Direction, share int, size int64) {
	c := newCodec(b, func(c *Config) { c.ResultCacheBytes = size })
	t, err := c.find("test.Note", "")
	if err != nil {
		b.Fatal(err)
	}
	// Each is made new by its first bytes, which are text.
	base := typical(1)
	at := 4
	if d == Encode {
		if base, err = t.plan.AppendJSON(nil, base, protobuf.Options{}, protobuf.Limits{}); err != nil {
			b.Fatal(err)
		}
		at = bytes.IndexByte(base, ':') + len(`:[{"text":"`)
	}
	fresh, known := bytes.Clone(base), bytes.Clone(base)
	m := &message{target: t, direction: d, bareInput: true, bareOutput: true, limit: 1 << 20}
	var dst []byte
	n := uint64(0)
	b.ReportAllocs()
	b.SetBytes(int64(len(base)))
	for b.Loop() {
		n++
		m.data = known
		if int(n*37%100) >= share {
			m.data = fresh
			for i, x := 0, n; i < 12; i, x = i+1, x/10 {
				fresh[at+i] = '0' + byte(x%10)
			}
		}
		if dst, err = c.convert(dst[:0], &scratch{}, m); err != nil {
			b.Fatal(err)
		}
	}
	if c.results != nil {
		b.ReportMetric(100*float64(c.results.hits.Load())/float64(n), "%hits")
	}
}
