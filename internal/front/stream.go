package front

import (
	"cmp"
	"net/http"
	"sync"
	"time"

	"sluice/internal/front/merge"
	"sluice/internal/llm"
	"sluice/internal/memory"
	"sluice/internal/sse"
)

// stream is the part of an exchange that writes an event stream. Events are
// copied into pending; a goroutine that lives only as long as there is
// something to write takes all of it and writes it at once. So events that come
// during a write leave together with the next one, and an idle stream holds
// neither a goroutine nor a buffer.
type stream struct {
	mu      sync.Mutex
	open    bool           // events have begun, a heartbeat included
	pending *memory.Buffer // nil when nothing waits
	joined  int            // bytes at the beginning of pending that were merged
	ends    []int          // where each event after them ends
	writing bool           // the goroutine is there; only it uses the ResponseWriter
	err     error          // why a write failed; nothing is written after it
	count   uint64         // events taken
	ended   bool           // the event that ends a stream is among them
	last    time.Time

	// moved has room for one sign that the goroutine took pending or ended.
	moved chan struct{}

	beat     *time.Timer // heartbeat
	answered bool        // no more heartbeats
}

func (q *stream) reset() {
	q.open, q.writing, q.answered, q.ended, q.err, q.count, q.last = false, false, false, false, nil, 0, time.Time{}
	q.joined, q.ends = 0, q.ends[:0]
	if cap(q.ends) > 1024 {
		q.ends = nil
	}
	q.beat = nil
}

const eventStream = "text/event-stream"

func (x *exchange) streamHeader(h http.Header) {
	x.set(h, "Content-Type", eventStream)
	x.set(h, "Cache-Control", "no-cache")
	x.set(h, "X-Accel-Buffering", "no")
}

func (x *exchange) openStream() {
	x.stream.open = true
	x.s.stats.streams.Add(1)
}

// queue takes events to be written. It blocks while the client is so slow that
// the buffer is full even after merging.
func (x *exchange) queue(events []llm.Event) error {
	q := &x.stream
	if len(events) == 0 {
		return nil
	}
	x.countSend(len(events))
	x.noteEvents(events)
	for i := range events {
		x.record.Told = x.record.Told || events[i].Failed
	}
	q.ended = q.ended || sse.MayEnd(events[len(events)-1].Raw)
	if x.record.Told || q.ended {
		x.mayEnd()
	}
	limit := x.st.stream.BufferBytes
	q.mu.Lock()
	defer q.mu.Unlock()
	slow := q.pending != nil
	for i := range events {
		if err := x.append(events[i].Raw); err != nil {
			if i > 0 {
				x.wake()
			}
			q.ended = false
			return cmp.Or(q.err, err)
		}
		q.count++
	}
	if q.err != nil {
		return q.err
	}
	x.wake()
	if len(q.pending.B) <= limit {
		return nil
	}
	if slow {
		x.merge()
	}
	// A buffer that stays half full would be merged for every few events, so the
	// client has to take it first.
	for q.pending != nil && len(q.pending.B) > limit/2 {
		if err := x.wait(); err != nil {
			return err
		}
	}
	return q.err
}

// wait unlocks the stream until the writer has moved on or the client has left.
func (x *exchange) wait() error {
	ctx := x.r.Context()
	x.stream.mu.Unlock()
	defer x.stream.mu.Lock()
	select {
	case <-x.stream.moved:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (x *exchange) countSend(events int) {
	q, st := &x.stream, &x.s.stats
	now := time.Now()
	if q.last.IsZero() {
		x.answered(now.Sub(x.begun))
		st.firstEvent.Observe(x.record.First)
	} else {
		st.betweenSend.Observe(now.Sub(q.last))
	}
	q.last = now
	st.events.Add(uint64(events))
}

// append adds one event to what waits, whole or, after an error, not at all. The
// stream is locked.
func (x *exchange) append(raw []byte) (err error) {
	q := &x.stream
	if q.pending == nil {
		if q.pending, err = x.s.buffers.Get(len(raw)); err != nil {
			return err
		}
	}
	if need := len(q.pending.B) + len(raw); need > cap(q.pending.B) {
		if q.pending, err = x.s.buffers.Grow(q.pending, roomier(cap(q.pending.B), need)); err != nil {
			return err
		}
	}
	q.pending.B = append(q.pending.B, raw...)
	q.ends = append(q.ends, len(q.pending.B))
	return nil
}

// roomier is the size of the buffer that follows one of a size which cannot hold
// what it needs to: few copies for what goes on growing, and of what is large no
// more than twice as much.
func roomier(size, need int) int {
	next := 2 * size
	if size < memory.Largest {
		next = min(16*size, memory.Largest)
	}
	return max(next, need)
}

// wake makes sure that what waits is written. The stream is locked.
func (x *exchange) wake() {
	if !x.stream.writing {
		x.stream.writing = true
		go x.drain()
	}
}

// drain writes until nothing waits.
func (x *exchange) drain() {
	q := &x.stream
	q.mu.Lock()
	for q.pending != nil && q.err == nil {
		out := q.pending
		q.pending, q.joined, q.ends = nil, 0, q.ends[:0]
		x.sign()
		q.mu.Unlock()
		err := x.write(out.B)
		x.s.buffers.Put(out)
		q.mu.Lock()
		q.err = err
	}
	q.writing = false
	x.sign()
	q.mu.Unlock()
}

// sign tells the handler's goroutine, if it waits, to look again.
func (x *exchange) sign() {
	select {
	case x.stream.moved <- struct{}{}:
	default:
	}
}

// write sends b, and before the first one the head, in one flush.
func (x *exchange) write(b []byte) error {
	if !x.wrote {
		x.wrote = true
		x.w.WriteHeader(x.status)
	}
	if _, err := x.w.Write(b); err != nil {
		return err
	}
	x.s.stats.writes.Add(1)
	x.s.stats.bytes.Add(uint64(len(b)))
	x.record.BytesOut += int64(len(b))
	return flush(x.w)
}

// settle waits until the writer has nothing left to do. Each of its writes is
// bounded by the write time-out.
func (x *exchange) settle() {
	x.stopHeartbeat()
	q := &x.stream
	q.mu.Lock()
	for q.writing {
		q.mu.Unlock()
		<-q.moved
		q.mu.Lock()
	}
	if q.pending != nil { // a write failed
		x.s.buffers.Put(q.pending)
		q.pending = nil
	}
	q.mu.Unlock()
}

// startHeartbeat arms the heartbeat of a request that wants a stream.
func (x *exchange) startHeartbeat() {
	d := x.st.stream.Heartbeat
	if d == 0 || !x.req.Stream {
		return
	}
	q := &x.stream
	q.mu.Lock()
	defer q.mu.Unlock()
	q.beat = time.AfterFunc(d, func() { x.heartbeat(d) })
}

// heartbeat sends a comment if there is no reply yet. The first one makes the
// reply an event stream of status 200, whatever comes later.
func (x *exchange) heartbeat(d time.Duration) {
	q := &x.stream
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.answered {
		return
	}
	if !q.open {
		h := x.w.Header()
		x.set(h, "X-Request-Id", x.req.ID)
		x.allowOrigin(h)
		x.connectionHeader(h)
		x.streamHeader(h)
		x.status = http.StatusOK
		x.openStream()
	}
	x.s.stats.heartbeats.Add(1)
	if q.err == nil {
		if x.append([]byte(": keep-alive\n\n")) == nil { // else the next one may have room
			x.wake()
		}
		q.beat.Reset(d)
	}
}

// stopHeartbeat ends heartbeats and reports whether there was one.
func (x *exchange) stopHeartbeat() bool {
	q := &x.stream
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.beat == nil {
		return false
	}
	q.answered = true
	if !q.beat.Stop() {
		x.unfit = true
	}
	return q.open
}

// merge makes what waits shorter without losing any of it, by joining text that
// came in many events into few. What was joined before stays as it is, so every
// event is looked at once. Where there is no memory for it, it stays as it is. The
// stream is locked.
func (x *exchange) merge() {
	q := &x.stream
	out, err := x.s.buffers.Get(len(q.pending.B))
	if err != nil {
		return
	}
	events := make([][]byte, len(q.ends))
	start := q.joined
	for i, end := range q.ends {
		events[i] = q.pending.B[start:end]
		start = end
	}
	out.B = append(out.B, q.pending.B[:q.joined]...)
	var left int
	out.B, left = merge.Events(out.B, events)
	x.s.stats.merged.Add(uint64(len(events) - left))
	x.s.buffers.Put(q.pending)
	q.pending, q.joined, q.ends = out, len(out.B), q.ends[:0]
}
