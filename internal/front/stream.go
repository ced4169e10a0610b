package front

import (
	"cmp"
	"sync"
	"time"

	"sluice/internal/dialect/known"
	"sluice/internal/front/merge"
	"sluice/internal/llm"
	"sluice/internal/memory"
	"sluice/internal/sse"
)

// stream is the part of a reply that writes an event stream. Events are
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
	writing bool           // the goroutine is there; only it writes
	err     error          // why a write failed; nothing is written after it
	count   uint64         // events taken
	ended   bool           // the event that ends a stream is among them
	array   sse.Array      // what it is for a client that wants one
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
	q.beat, q.array = nil, sse.Array{}
}

const eventStream = "text/event-stream"

func (out *reply) streamHeader() {
	h := &out.head.Fields
	h.Set("Content-Type", eventStream)
	if out.in.form == arrayForm {
		h.Set("Content-Type", "application/json; charset=UTF-8")
	}
	h.Set("Cache-Control", "no-cache")
	h.Set("X-Accel-Buffering", "no")
}

// streamHead is the head of a stream that no handler gives one for.
func (out *reply) streamHead() {
	out.head.Fields.Set("X-Request-Id", out.in.req.ID)
	out.allowOrigin()
	out.limitHeader()
	out.streamHeader()
}

func (out *reply) openStream() {
	out.stream.open = true
	out.s.stats.streams.Add(1)
}

// queue takes events to be written. It blocks while the client is so slow that
// the buffer is full even after merging. An array ends before an event that would make it none.
func (out *reply) queue(events []llm.Event) error {
	if out.in.form == arrayForm {
		for i := range events {
			if !sse.Fits(events[i].Raw) {
				return cmp.Or(out.enqueue(events[:i]), out.unexpected("an event that is not JSON"))
			}
		}
	}
	return out.enqueue(events)
}

func (out *reply) enqueue(events []llm.Event) error {
	q := &out.stream
	if len(events) == 0 {
		return nil
	}
	out.countSend(len(events))
	out.rec.noteEvents(events)
	for i := range events {
		out.rec.Told = out.rec.Told || events[i].Failed
	}
	q.ended = q.ended || known.MayEnd(out.in.req.Op, events[len(events)-1].Raw)
	if out.rec.Told || q.ended {
		out.rec.mayEnd()
	}
	limit := out.allowance()
	q.mu.Lock()
	defer q.mu.Unlock()
	slow := q.pending != nil
	for i := range events {
		if err := out.add(events[i].Raw); err != nil {
			if i > 0 {
				out.wake()
			}
			q.ended = false
			return cmp.Or(q.err, err)
		}
		q.count++
	}
	if q.err != nil {
		return q.err
	}
	out.wake()
	if len(q.pending.B) <= limit {
		return nil
	}
	if slow {
		out.merge()
	}
	// A buffer that stays half full would be merged for every few events, so the
	// client has to take it first.
	for q.pending != nil && len(q.pending.B) > limit/2 {
		if err := out.wait(); err != nil {
			return err
		}
	}
	return q.err
}

const (
	// streamsShare is how much of the memory budget may wait for slow clients of
	// streams, and buffersPerStream how many buffers each of them has: one that is
	// written and one that fills meanwhile, each up to twice as large as what is in it.
	streamsShare, buffersPerStream = 0.2, 4
	// leastBuffer is what a stream may have in any case, in bytes.
	leastBuffer = 4 << 10
)

// allowance is how much may wait for the client, in bytes: less than is configured
// where there are so many streams that they would take too much together.
func (out *reply) allowance() int {
	limit := out.st.stream.BufferBytes
	size := out.s.memory.Budget.Size()
	if size == 0 {
		return limit
	}
	if out.s.memory.Level() > memory.Normal {
		return min(limit, leastBuffer)
	}
	fair := int64(float64(size)*streamsShare) / (buffersPerStream * max(out.s.stats.streams.Load(), 1))
	return int(min(int64(limit), max(fair, leastBuffer)))
}

// add adds one event to what waits. Where there is no memory for it, it waits until the
// client has taken what is there. The stream is locked.
func (out *reply) add(raw []byte) error {
	q := &out.stream
	for {
		err := out.append(raw)
		if err == nil || q.err != nil || q.pending == nil && !q.writing {
			return err
		}
		out.wake()
		if err := out.wait(); err != nil {
			return err
		}
	}
}

// wait unlocks the stream until the writer has moved on or the client has left.
func (out *reply) wait() error {
	ctx := out.e.Context()
	out.stream.mu.Unlock()
	defer out.stream.mu.Lock()
	select {
	case <-out.stream.moved:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (out *reply) countSend(events int) {
	q, st := &out.stream, &out.s.stats
	now := time.Now()
	if q.last.IsZero() {
		out.rec.answered(now.Sub(out.begun))
		st.firstEvent.Observe(out.rec.First)
	} else {
		st.betweenSend.Observe(now.Sub(q.last))
	}
	q.last = now
	st.events.Add(uint64(events))
}

// append adds one event to what waits, whole or, after an error, not at all. The
// stream is locked.
func (out *reply) append(raw []byte) (err error) {
	q := &out.stream
	if q.pending == nil {
		if q.pending, err = out.s.buffers.Get(len(raw)); err != nil {
			return err
		}
	}
	if need := len(q.pending.B) + len(raw); need > cap(q.pending.B) {
		// No more at once than may wait, or buffers of many would take much for little.
		room := max(min(roomier(cap(q.pending.B), need), out.allowance()), need)
		if q.pending, err = out.s.buffers.Grow(q.pending, room); err != nil {
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
func (out *reply) wake() {
	if !out.stream.writing {
		out.stream.writing = true
		go out.drain()
	}
}

// drain writes until nothing waits.
func (out *reply) drain() {
	q := &out.stream
	q.mu.Lock()
	for q.pending != nil && q.err == nil {
		b := q.pending
		q.pending, q.joined, q.ends = nil, 0, q.ends[:0]
		out.sign()
		q.mu.Unlock()
		if out.in.form == arrayForm {
			b.B = q.array.Frame(b.B)
		}
		err := out.write(b.B)
		out.s.buffers.Put(b)
		q.mu.Lock()
		q.err = err
	}
	q.writing = false
	out.sign()
	q.mu.Unlock()
}

// sign tells the handler's goroutine, if it waits, to look again.
func (out *reply) sign() {
	select {
	case out.stream.moved <- struct{}{}:
	default:
	}
}

// write sends b, and before the first one the head, in one flush.
func (out *reply) write(b []byte) error {
	out.begin(-1)
	if _, err := out.e.Write(b); err != nil {
		return err
	}
	out.s.stats.writes.Add(1)
	out.s.stats.bytes.Add(uint64(len(b)))
	out.rec.BytesOut += int64(len(b))
	err := out.e.Flush()
	out.lighten()
	return err
}

// settle waits until the writer has nothing left to do. Each of its writes is
// bounded by the write time-out.
func (out *reply) settle() {
	out.stopHeartbeat()
	q := &out.stream
	q.mu.Lock()
	for q.writing {
		q.mu.Unlock()
		<-q.moved
		q.mu.Lock()
	}
	if q.pending != nil { // a write failed
		out.s.buffers.Put(q.pending)
		q.pending = nil
	}
	q.mu.Unlock()
}

// startHeartbeat arms the heartbeat of a request that wants a stream.
func (out *reply) startHeartbeat() {
	d := out.st.stream.Heartbeat
	if d == 0 || !out.in.req.Stream {
		return
	}
	q := &out.stream
	q.mu.Lock()
	defer q.mu.Unlock()
	q.beat = time.AfterFunc(d, func() { out.heartbeat(d) })
}

// heartbeat sends a comment if there is no reply yet. The first one makes the
// reply an event stream of status 200, whatever comes later.
func (out *reply) heartbeat(d time.Duration) {
	q := &out.stream
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.answered {
		return
	}
	if !q.open {
		out.streamHead()
		out.status = 200
		out.openStream()
	}
	out.s.stats.heartbeats.Add(1)
	if q.err == nil {
		if out.append([]byte(": keep-alive\n\n")) == nil { // else the next one may have room
			out.wake()
		}
		q.beat.Reset(d)
	}
}

// stopHeartbeat ends heartbeats and reports whether there was one.
func (out *reply) stopHeartbeat() bool {
	q := &out.stream
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.beat == nil {
		return false
	}
	q.answered = true
	if !q.beat.Stop() {
		out.unfit = true
	}
	return q.open
}

// merge makes what waits shorter without losing any of it, by joining text that
// came in many events into few. What was joined before stays as it is, so every
// event is looked at once. Where there is no memory for it, it stays as it is. The
// stream is locked.
func (out *reply) merge() {
	q := &out.stream
	to, err := out.s.buffers.Get(len(q.pending.B))
	if err != nil {
		return
	}
	events := make([][]byte, len(q.ends))
	start := q.joined
	for i, end := range q.ends {
		events[i] = q.pending.B[start:end]
		start = end
	}
	to.B = append(to.B, q.pending.B[:q.joined]...)
	var left int
	to.B, left = merge.Events(to.B, known.TextsOf(out.in.req.Op), events)
	out.s.stats.merged.Add(uint64(len(events) - left))
	out.s.buffers.Put(q.pending)
	q.pending, q.joined, q.ends = to, len(to.B), q.ends[:0]
}
