package codec

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"sluice/internal/llm"
)

const (
	// leastChunk is how many bytes of items a chunk has at least, where there are
	// so many: below that handing over costs more than it saves.
	leastChunk = 4 << 10
	// chunksPerWorker is how finely a batch is cut for them. The workers end at
	// different times, by up to a chunk.
	chunksPerWorker = 24
	// keepChunk is how much memory in bytes a chunk may keep for use again.
	keepChunk = 256 << 10
)

// batch is the items of one request. The first are with the workers before the
// last have been found.
type batch struct {
	*conversion
	ctx  context.Context
	body []byte
	size int  // bytes of a chunk, about
	late bool // what holds for all items stands behind them, and the workers did not know it

	start, end int   // of the items that are in no chunk yet
	work       *work // nil until there is a chunk

	mu      sync.Mutex
	chunks  []*chunk
	taken   int  // of these, by workers
	helpers int  // pieces of work that are queued or run
	whole   bool // no more chunks come

	// What holds for all items, as it was when the first went to the workers.
	said   ask
	target target // of items that name no other, unless err
	err    error
	left   atomic.Int64 // bytes that the results may still take; each worker may go beyond by one result

	// What the workers found.
	count  atomic.Int64 // items
	astray atomic.Bool  // some chunk does not end where an item does
	broken atomic.Bool  // some item is no JSON
}

// chunk is items that one worker does. Neighbours are in one chunk.
type chunk struct {
	start, end int  // in the body
	first      bool // of the batch
	result     []byte
	room       room // of the result
	scratch    scratch
}

func newBatch(ctx context.Context, k *conversion, body []byte) *batch {
	return &batch{conversion: k, ctx: ctx, body: body, size: max(leastChunk, len(body)/(chunksPerWorker*k.c.workers)+1)}
}

// flush hands the items up to end to the workers. The next one begins at next,
// unless these are the last.
func (b *batch) flush(end, next int, last bool) error {
	if b.work == nil {
		b.begin()
	}
	c, ok := b.c.chunks.Get().(*chunk)
	if !ok {
		c = new(chunk)
	}
	c.start, c.end, c.first = b.start, end, len(b.chunks) == 0
	c.result = c.room.adopt(&b.grant, c.result)
	c.scratch.begin(&b.grant)
	b.start = next
	b.mu.Lock()
	b.chunks = append(b.chunks, c)
	b.whole = last // with the lock held: a worker that found no chunk and no more to come would end the work
	b.mu.Unlock()
	return b.help()
}

// begin readies the batch for its first chunk, or for having all done once more.
func (b *batch) begin() {
	b.said = b.ask
	b.left.Store(int64(b.c.cfg.MaxOutputBytes))
	b.target, b.err = b.c.find(b.said.typeName, b.said.schema)
	b.taken, b.helpers, b.whole = 0, 0, false
	b.count.Store(0)
	b.astray.Store(false)
	b.broken.Store(false)
	b.work = newWork(func(int) { b.run() })
}

// help has one more worker take part, unless as many do as can. The queue may be
// full as long as one does.
func (b *batch) help() error {
	b.mu.Lock()
	others := b.helpers
	if others < b.c.workers {
		b.helpers++
	}
	b.mu.Unlock()
	if others == b.c.workers || b.c.pool.add(b.work, others == 0) {
		return nil
	}
	b.mu.Lock()
	b.helpers--
	b.mu.Unlock()
	if others > 0 {
		return nil
	}
	return errUndone(errFull)
}

// run does chunks as long as there are some.
func (b *batch) run() {
	for {
		b.mu.Lock()
		if b.taken == len(b.chunks) {
			b.helpers-- // with the lock held, so that a chunk that comes now finds it gone
			if b.whole {
				b.work.spend()
			}
			b.mu.Unlock()
			return
		}
		next := b.chunks[b.taken]
		b.taken++
		b.mu.Unlock()
		b.do(b.ctx, next)
	}
}

// drop ends what the workers do for a batch.
func (b *batch) drop() {
	if b.work == nil {
		return
	}
	b.mu.Lock()
	b.taken = len(b.chunks)
	b.mu.Unlock()
	b.work.drop()
}

// release ends a batch of which nothing is needed any more.
func (b *batch) release() {
	if b == nil {
		return
	}
	b.drop()
	b.recycle()
}

func (b *batch) recycle() {
	for _, each := range b.chunks {
		if cap(each.result)+each.scratch.size() <= keepChunk {
			each.room, each.scratch = room{}, each.scratch.kept()
			b.c.chunks.Put(each)
		} else {
			each.room.hold(0)
			each.scratch.input, each.scratch.output = nil, nil
			each.scratch.hold()
		}
	}
	b.chunks = nil
}

// batch does a request with items, and makes the parts of its reply.
func (k *conversion) batch(b *batch) error {
	if k.data != nil {
		return errParam("invalid_parameter", "data", "The request has both \"data\" and \"items\".")
	}
	if k.bareReply && k.wrap == no {
		return errParam("invalid_parameter", "envelope", "The reply to a batch is always an envelope.")
	}
	if b.end == 0 {
		k.parts = append(k.parts[:0], llm.Event{Raw: []byte(`{"items":[]}`)})
		return nil
	}
	if b.late && b.work != nil {
		if err := b.restart(); err != nil {
			return err
		}
	}
	err := b.finish()
	if err == nil && (b.astray.Load() || b.count.Load() > int64(k.c.cfg.MaxItems)) {
		err = b.again()
	}
	if err == nil && b.broken.Load() {
		err = b.invalid()
	}
	if err == nil {
		b.join()
	}
	return err
}

// invalid says why a request is no JSON that has items which are none.
func (b *batch) invalid() error {
	if err := b.parse(b.body, b.c.jsonDepth(), false); err != nil {
		return errEnvelope(b.body, err)
	}
	return errors.New("a batch is sound JSON and its items are not")
}

// join makes the chunks' results the parts of the reply.
func (b *batch) join() {
	last := b.chunks[len(b.chunks)-1]
	last.result = append(last.result, ']', '}')
	last.room.hold(cap(last.result))
	b.parts = b.parts[:0]
	for _, each := range b.chunks {
		b.parts = append(b.parts, llm.Event{Raw: each.result})
	}
}
