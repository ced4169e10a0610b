package codec

import (
	"fmt"
	"sync/atomic"

	"sluice/internal/perf"
)

// operation is what a request asks for.
type operation uint8

const (
	opEncode = operation(Encode)
	opDecode = operation(Decode)
)

const (
	opStream operation = iota + operation(directions)
	opSchemas

	operations
)

func (o operation) String() string {
	return [operations]string{"encode", "decode", "decode_stream", "list_schemas"}[o]
}

// outcome is what became of a request or a message.
type outcome uint8

const (
	done outcome = iota
	invalid
	busy
	cancelled
	failed

	outcomes
)

func (o outcome) String() string {
	return [outcomes]string{"ok", "invalid", "busy", "cancelled", "error"}[o]
}

// figures counts what the codec does.
type figures struct {
	calls    [operations][outcomes]atomic.Uint64
	messages [directions][outcomes]atomic.Uint64
	in, out  [directions]atomic.Uint64 // bytes
}

// Figures implements perf.Source.
func (c *Codec) Figures(r perf.Reporter) {
	f := &c.figures
	for op := range operations {
		for o := range outcomes {
			r.Counter("protobuf_requests_total", "Requests to the protobuf codec by what became of them.", float64(f.calls[op][o].Load()), "operation", op.String(), "result", o.String())
		}
	}
	for d := range directions {
		name := d.String()
		for _, o := range [...]outcome{done, invalid, failed} {
			r.Counter("protobuf_messages_total", "Messages, those of batches and streams each, by what became of them.", float64(f.messages[d][o].Load()), "direction", name, "result", o.String())
		}
		r.Counter("protobuf_input_bytes_total", "Bytes of messages that were encoded or decoded, as they came.", float64(f.in[d].Load()), "direction", name)
		r.Counter("protobuf_output_bytes_total", "Bytes that these messages became, as they went.", float64(f.out[d].Load()), "direction", name)
	}
	r.Gauge("protobuf_workers", "Workers that encode and decode large messages and batches.", float64(c.workers))
	r.Gauge("protobuf_workers_busy", "Of these, those that work.", float64(c.pool.busy.Load()))
	r.Gauge("protobuf_queue_length", "Pieces of work that wait for a worker.", float64(int64(c.cfg.Queue)-c.pool.room.Load()))
	r.Counter("protobuf_queue_full_total", "Calls that were refused because the queue was full.", float64(c.pool.refused.Load()))
	c.results.report(r)
}

// Examine implements perf.Examined: how near the queue is to its end.
func (c *Codec) Examine(report func(perf.Condition)) {
	now := perf.Condition{Component: "protobuf"}
	most := int64(c.cfg.Queue)
	if waiting := most - c.pool.room.Load(); waiting*10 > most*9 {
		now.State = perf.Degraded
		now.Error = fmt.Sprintf("%d of %d pieces of work wait for the codec's workers", waiting, most)
		now.Advice = "Send fewer batches and large messages at a time, give the gateway more CPUs (protobuf.workers is one for each), or raise protobuf.queue: one more than that is told 503."
	}
	report(now)
}

func (r *results) report(to perf.Reporter) {
	if r == nil {
		return
	}
	const requests = "Messages that were looked for among kept results. Rejected ones are misses whose result was not kept."
	to.Counter("protobuf_results_total", requests, float64(r.hits.Load()), "result", "hit")
	to.Counter("protobuf_results_total", requests, float64(r.misses.Load()), "result", "miss")
	to.Counter("protobuf_results_rejected_total", "Results that were not kept: seen for the first time, or too large.", float64(r.rejected.Load()))
	to.Gauge("protobuf_results_entries", "Results that are kept.", float64(r.entries.EstimatedSize()))
	to.Gauge("protobuf_results_bytes", "Bytes of the results that are kept.", float64(r.bytes.Load()))
}
