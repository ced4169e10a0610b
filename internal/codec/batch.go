package codec

import (
	"context"
	"sync/atomic"

	"sluice/internal/jsonscan"
	"sluice/internal/llm"
)

// leastChunk is how many bytes of items a worker gets at least, where there are
// so many: below that handing over costs more than it saves.
const leastChunk = 4 << 10

// batch is the items of one request. The first are with the workers before the
// last have been read.
type batch struct {
	*call
	ctx  context.Context
	body []byte

	size   int // bytes of a chunk, about
	count  int // items
	next   [][]byte
	have   int // bytes of next
	chunks []chunk
	n      int   // chunks so far; there is memory for all, so that the workers see them where they are
	work   *work // nil until there is a chunk

	// What holds for all items, as it was when the first went to the workers.
	said   ask
	target target // of items that name no other, unless err
	err    error
	left   atomic.Int64 // bytes that the results may still take; each worker may go beyond by one result
}

// chunk is items that one worker does. Neighbours are in one chunk.
type chunk struct {
	items  [][]byte
	result []byte
}

// found readies the batch for a body and returns what takes each item that is
// found there.
func (b *batch) found(ctx context.Context, k *call, body []byte) func(llm.Span) error {
	return func(at llm.Span) error {
		if b.call == nil {
			cfg := &k.c.cfg
			most := min(4*k.c.workers, cfg.Queue)
			b.call, b.ctx, b.body = k, ctx, body
			b.size = max(leastChunk, len(body)/most+1)
			b.chunks = make([]chunk, len(body)/b.size+1)
		}
		return b.add(body[at.Start:at.End])
	}
}

func (b *batch) add(item []byte) error {
	if b.count == b.c.cfg.MaxItems {
		return errTooLarge("items", "A batch has at most %d items.", b.c.cfg.MaxItems)
	}
	b.count++
	b.next = append(b.next, item)
	if b.have += len(item) + 1; b.have < b.size {
		return nil
	}
	return b.flush()
}

// flush hands the items that were gathered to the workers.
func (b *batch) flush() error {
	if len(b.next) == 0 {
		return nil
	}
	if b.work == nil {
		b.begin()
	}
	b.chunks[b.n].items = b.next
	b.n++
	b.next, b.have = nil, 0
	if err := b.c.pool.add(b.work); err != nil {
		return errUndone(err)
	}
	return nil
}

func (b *batch) begin() {
	b.said = b.ask
	b.left.Store(int64(b.c.cfg.MaxOutputBytes))
	b.target, b.err = b.c.find(b.said.typeName, b.said.schema)
	b.work = newWork(func(i int) { b.chunks[i].result = b.do(b.ctx, i) })
}

// drop ends a batch that has no reply.
func (b *batch) drop() {
	if b != nil && b.work != nil {
		b.work.drop()
	}
}

// batch does a request with items, and makes the parts of its reply.
func (k *call) batch(ctx context.Context, b *batch) error {
	k.parts = k.parts[:0]
	if k.data != nil {
		b.drop()
		return errParam("invalid_parameter", "data", "The request has both \"data\" and \"items\".")
	}
	if k.bareReply && k.wrap == no {
		b.drop()
		return errParam("invalid_parameter", "envelope", "The reply to a batch is always an envelope.")
	}
	if b.count == 0 {
		k.parts = append(k.parts, llm.Event{Raw: []byte(`{"items":[]}`)})
		return nil
	}
	if k.late && b.work != nil { // the workers did not know all: once more
		b.drop()
		b.begin()
		for range b.n {
			if err := b.c.pool.add(b.work); err != nil {
				b.drop()
				return errUndone(err)
			}
		}
	}
	if err := b.flush(); err != nil {
		b.drop()
		return err
	}
	if err := k.c.pool.wait(ctx, b.work); err != nil {
		return errUndone(err)
	}
	if err := ctx.Err(); err != nil {
		return err // some chunk may have ended early
	}
	last := &b.chunks[b.n-1]
	last.result = append(last.result, ']', '}')
	for i := range b.chunks[:b.n] {
		k.parts = append(k.parts, llm.Event{Raw: b.chunks[i].result})
	}
	return nil
}

// do gives the results of the ith chunk, with commas between them and before
// them, or the reply's beginning.
func (b *batch) do(ctx context.Context, i int) []byte {
	items, size := b.chunks[i].items, 16
	for _, item := range items {
		size += len(item)
	}
	results := make([]byte, 0, size+size/4) // about what it takes
	if i == 0 {
		results = append(results, `{"items":[`...)
	} else {
		results = append(results, ',')
	}
	var s scratch
	for i, item := range items {
		if ctx.Err() != nil {
			return nil
		}
		if i > 0 {
			results = append(results, ',')
		}
		n := len(results)
		results = append(results, `{"data":`...)
		var err error
		if results, err = b.item(results, &s, item); err != nil {
			results = jsonscan.AppendError(results[:n], b.told(err))
			continue
		}
		results = append(results, '}')
		b.left.Add(int64(n - len(results)))
	}
	return results
}

// item appends what one item becomes. A panic is a fault of this item: beyond it
// there is nothing but a worker that all share.
func (b *batch) item(dst []byte, s *scratch, item []byte) (out []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			out, err = dst, b.c.caught(p, b.said.typeName)
		}
	}()
	m := message{direction: b.direction, options: b.said.options, limit: int(b.left.Load())}
	if err := b.read(&m, item); err != nil {
		b.c.count(&m, 0, err)
		return dst, err
	}
	return b.c.convert(dst, s, &m)
}

// read finds out what is to be done with an item.
func (b *batch) read(m *message, item []byte) (err error) {
	if m.limit <= 0 {
		return errTooLarge("items", "The results of the batch take more than %d bytes.", b.c.cfg.MaxOutputBytes)
	}
	if item[0] != '{' {
		return errParam("invalid_type", "items", "The item is not an object.")
	}
	a := ask{typeName: b.said.typeName, schema: b.said.schema}
	if err := a.parse(item, b.c.jsonDepth(), nil); err != nil {
		return err
	}
	if m.data = a.data; m.data == nil {
		return errMissing("data", "The item has no \"data\".")
	}
	if a.typeName == b.said.typeName && a.schema == b.said.schema {
		m.target, err = b.target, b.err
	} else {
		m.target, err = b.c.find(a.typeName, a.schema)
	}
	return err
}

// told is what the client is told of an item's error. One that is not for the
// client is logged, as front does with those of whole requests.
func (b *batch) told(err error) *llm.Error {
	if outcomeOf(err) == failed {
		b.c.log.Error("item failed", "type", b.said.typeName, "error", err)
	}
	return llm.AsError(err)
}
