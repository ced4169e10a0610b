package codec

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"sluice/internal/llm"
	"sluice/internal/protobuf"
	"sluice/internal/testkit"
)

// thousand is a batch of 1,000 messages of 2 kB.
func thousand(t testing.TB, c *Codec, d Direction) *llm.Request {
	note, err := c.find("test.Note", "")
	if err != nil {
		t.Fatal(err)
	}
	var body bytes.Buffer
	body.WriteString(`{"type":"test.Note","items":[`)
	for i := range 1000 {
		if i > 0 {
			body.WriteByte(',')
		}
		wire := typical(uint64(i))
		if d == Decode {
			fmt.Fprintf(&body, `{"data":%q}`, b64(wire))
			continue
		}
		text, err := note.plan.AppendJSON(nil, wire, protobuf.Options{}, protobuf.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&body, `{"data":%s}`, text)
	}
	body.WriteString("]}")
	return post(d.String(), body.String(), asJSON)
}

// A batch costs no allocation for a message, a few dozen at most for all.
func TestBatchAllocations(t *testing.T) {
	if testkit.Race {
		t.Skip("the race detector allocates")
	}
	for _, d := range []Direction{Decode, Encode} {
		c := newCodec(t, func(c *Config) { c.ResultCacheBytes = 0 })
		req := thousand(t, c, d)
		n := testing.AllocsPerRun(20, func() {
			if err := c.Stage(nil).Serve(t.Context(), req, nothing{}); err != nil {
				t.Fatal(err)
			}
		})
		if n > 200 { // what is kept may be dropped by the garbage collector
			t.Errorf("%v: %v allocations", d, n)
		}
	}
}

func BenchmarkBatch(b *testing.B) {
	for _, d := range []Direction{Decode, Encode} {
		b.Run(d.String(), func(b *testing.B) {
			c := newCodec(b, func(c *Config) { c.ResultCacheBytes = 0 })
			req := thousand(b, c, d)
			stage := c.Stage(nil)
			b.ReportAllocs()
			b.SetBytes(req.BodyLen)
			for b.Loop() {
				if err := stage.Serve(context.Background(), req, nothing{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkBatchSerial measures on one CPU what share of a batch the calling
// goroutine does, which no further worker makes faster, and what share of it comes
// before the first worker has something to do. Both are shortest times.
func BenchmarkBatchSerial(b *testing.B) {
	for _, d := range []Direction{Decode, Encode} {
		b.Run(d.String(), func(b *testing.B) {
			c := newCodec(b, func(c *Config) { c.ResultCacheBytes, c.Workers, c.Queue = 0, 2, 8 })
			idle := newCodec(b, func(c *Config) { c.ResultCacheBytes, c.Workers, c.Queue = 0, 2, 8 })
			idle.pool.close()
			idle.pool.quit = make(chan struct{}) // of Close
			req := thousand(b, c, d)
			whole, serial := time.Hour, time.Hour
			for b.Loop() {
				start := time.Now()
				if err := c.Stage(nil).Serve(context.Background(), req, nothing{}); err != nil {
					b.Fatal(err)
				}
				whole = min(whole, time.Since(start))
				serial = min(serial, serialPart(b, idle, req, d))
			}
			b.ReportMetric(float64(whole.Microseconds()), "µs-whole")
			b.ReportMetric(float64(serial.Microseconds()), "µs-serial")
			b.ReportMetric(100*float64(serial)/float64(whole), "%serial")
		})
	}
}

// serialPart is how long a batch takes whose workers do nothing.
func serialPart(b *testing.B, idle *Codec, req *llm.Request, d Direction) time.Duration {
	start := time.Now()
	k := idle.borrow(d)
	_, all, err := k.begin(context.Background(), req)
	if err == nil {
		err = all.flush(all.end, all.end, true)
	}
	if err != nil {
		b.Fatal(err)
	}
	all.join()
	if err := k.send(nothing{}); err != nil {
		b.Fatal(err)
	}
	all.release()
	idle.release(k)
	took := time.Since(start)
	for len(idle.pool.queue) > 0 {
		<-idle.pool.queue
		idle.pool.room.Add(1)
	}
	return took
}
