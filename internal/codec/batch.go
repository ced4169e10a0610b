package codec

import (
	"context"
	"slices"
	"sync/atomic"

	"sluice/internal/jsonscan"
	"sluice/internal/llm"
)

// leastChunk is how many bytes of items a worker gets at least, where there are
// so many: below that handing over costs more than it saves.
const leastChunk = 4 << 10

// batch is the items of one request.
type batch struct {
	*call
	target target // of items that name no other, unless err
	err    error
	left   atomic.Int64 // bytes that the results may still take; each worker may go beyond by one result
}

// batch does a request with items. Neighbours go to the same worker.
func (k *call) batch(ctx context.Context) error {
	if k.data != nil {
		return errParam("invalid_parameter", "data", "The request has both \"data\" and \"items\".")
	}
	if k.bareReply && k.wrap == no {
		return errParam("invalid_parameter", "envelope", "The reply to a batch is always an envelope.")
	}
	items, err := k.elements()
	if err != nil {
		return err
	}
	b := &batch{call: k}
	b.left.Store(int64(k.c.cfg.MaxOutputBytes))
	b.target, b.err = k.c.find(k.typeName, k.schema)
	chunks := b.chunks(items)
	results := make([][]byte, len(chunks))
	err = k.c.pool.run(ctx, len(chunks), func(i int) { results[i] = b.do(ctx, chunks[i]) })
	if err != nil {
		return errUndone(err)
	}
	if err := ctx.Err(); err != nil {
		return err // some chunk may have ended early
	}
	size := len(`{"items":[]}`)
	for _, r := range results {
		size += len(r) + 1
	}
	k.reply = append(slices.Grow(k.reply, size), `{"items":[`...)
	for i, r := range results {
		if i > 0 {
			k.reply = append(k.reply, ',')
		}
		k.reply = append(k.reply, r...)
	}
	k.reply = append(k.reply, ']', '}')
	return nil
}

// elements finds the items, which are not looked into.
func (k *call) elements() (items [][]byte, err error) {
	most := k.c.cfg.MaxItems
	jsonscan.Elements(k.items, func(at llm.Span) bool {
		if len(items) == most {
			err = errTooLarge("items", "A batch has at most %d items.", most)
			return false
		}
		items = append(items, k.items[at.Start:at.End])
		return true
	})
	return items, err
}

// chunks cuts the items into runs of about as many bytes.
func (b *batch) chunks(items [][]byte) (chunks [][][]byte) {
	cfg := &b.c.cfg
	size := max(leastChunk, len(b.items)/min(4*b.c.workers, cfg.Queue)+1)
	start, have := 0, 0
	for i, item := range items {
		if have += len(item) + 1; have >= size || i == len(items)-1 {
			chunks = append(chunks, items[start:i+1])
			start, have = i+1, 0
		}
	}
	return chunks
}

// do gives the results of a chunk, with commas between them.
func (b *batch) do(ctx context.Context, items [][]byte) []byte {
	size := 0
	for _, item := range items {
		size += len(item)
	}
	results := make([]byte, 0, size+size/4) // about what it takes
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
			results = appendError(results[:n], b.told(err))
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
			out, err = dst, b.c.caught(p, b.typeName)
		}
	}()
	m := message{direction: b.direction, options: b.options, limit: int(b.left.Load())}
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
	a := ask{typeName: b.typeName, schema: b.schema}
	if err := a.parse(item, b.c.jsonDepth(), true); err != nil {
		return err
	}
	if m.data = a.data; m.data == nil {
		return errMissing("data", "The item has no \"data\".")
	}
	if a.typeName == b.typeName && a.schema == b.schema {
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
		b.c.log.Error("item failed", "type", b.typeName, "error", err)
	}
	return llm.AsError(err)
}
