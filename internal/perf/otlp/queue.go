package otlp

import (
	"sync"
	"sync/atomic"

	"google.golang.org/protobuf/encoding/protowire"
)

// spanBytes is how many bytes a span takes at most on average before the buffer
// counts as full. One of a long model name and path takes more, most take half.
const spanBytes = 1 << 10

// queue is a bounded buffer of spans. Requests write to one half of it while the
// other is on its way to the collector.
type queue struct {
	mostSpans, mostBytes, batch int

	full chan struct{} // there is enough for a batch

	mu      sync.Mutex
	filling []byte // spans, each as field 2 of a ScopeSpans
	taken   []byte
	spans   int // in filling

	exported, dropped, failed atomic.Uint64 // spans
}

func newQueue(most, batch int) *queue {
	return &queue{mostSpans: most, mostBytes: most*spanBytes + 2*maxSpan, batch: batch, full: make(chan struct{}, 1)}
}

// add has spans appended by a function, or drops them where there is no room.
func (q *queue) add(spans int, encode func([]byte) []byte) {
	q.mu.Lock()
	if q.spans+spans > q.mostSpans || len(q.filling)+spans*maxSpan > q.mostBytes {
		q.mu.Unlock()
		q.dropped.Add(uint64(spans))
		return
	}
	q.filling = encode(q.filling)
	q.spans += spans
	enough := q.spans >= q.batch
	q.mu.Unlock()
	if enough {
		select {
		case q.full <- struct{}{}:
		default:
		}
	}
}

// drain returns what has been added. It is valid until the next drain.
func (q *queue) drain() (raw []byte, spans int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.filling, q.taken = q.taken[:0], q.filling
	spans, q.spans = q.spans, 0
	return q.taken, spans
}

// cut returns the first spans, at most so many, and the rest.
func cut(raw []byte, most int) (batch []byte, spans int, rest []byte) {
	end := 0
	for end < len(raw) && spans < most {
		_, _, n := protowire.ConsumeField(raw[end:])
		end += n
		spans++
	}
	return raw[:end], spans, raw[end:]
}
