package codec

import (
	"context"

	"sluice/internal/jsonscan"
	"sluice/internal/llm"
)

// itemDepth is how many arrays and objects are around an item.
const itemDepth = 2

// do makes the results of a chunk, with commas between them and before them, or
// the reply's beginning.
func (b *batch) do(ctx context.Context, c *chunk) {
	defer c.hold()
	c.result = c.result[:0]
	if c.first {
		c.result = append(c.result, `{"items":[`...)
	} else {
		c.result = append(c.result, ',')
	}
	for i := c.start; ; {
		it, ok := itemAt(b.body, i)
		if !ok || it.end > c.end {
			b.astray.Store(true)
			return
		}
		if b.count.Add(1) > int64(b.c.cfg.MaxItems) || ctx.Err() != nil {
			return
		}
		b.result(c, it)
		if it.end == c.end {
			return
		}
		if i = space(b.body, it.end); at(b.body, i) != ',' {
			b.astray.Store(true)
			return
		}
		i = space(b.body, i+1)
		c.result = append(c.result, ',')
	}
}

// hold reserves what a chunk has become.
func (c *chunk) hold() {
	c.room.hold(cap(c.result))
	c.scratch.hold()
}

// result appends what becomes of an item.
func (b *batch) result(c *chunk, it item) {
	n := len(c.result)
	c.result = append(c.result, `{"data":`...)
	var err error
	if c.result, err = b.item(c.result, &c.room, &c.scratch, it); err != nil {
		c.result = jsonscan.AppendError(c.result[:n], b.told(err))
		return
	}
	c.result = append(c.result, '}')
	b.left.Add(int64(n - len(c.result)))
}

// item appends what one item becomes. A panic is a fault of this item: beyond it
// there is nothing but a worker that all share.
func (b *batch) item(dst []byte, room *room, s *scratch, it item) (out []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			out, err = dst, b.c.caught(p, b.said.typeName)
		}
	}()
	m := message{direction: b.direction, options: b.said.options, limit: int(b.left.Load()), room: room}
	if err = b.read(&m, it); err != nil {
		b.c.count(&m, 0, err)
	} else {
		dst, err = b.c.convert(dst, s, &m)
	}
	// What was taken is JSON. What was refused need not be, and then the whole
	// request is none.
	if err != nil && jsonscan.Validate(b.body[it.start:it.end], b.c.jsonDepth()-itemDepth) != nil {
		b.broken.Store(true)
	}
	return dst, err
}

// read finds out what is to be done with an item.
func (b *batch) read(m *message, it item) (err error) {
	if m.limit <= 0 {
		return errLimit("items", "The results of the batch take more than %d bytes.", b.c.cfg.MaxOutputBytes)
	}
	if it.data > 0 {
		m.data = b.body[it.data:it.dataEnd]
		m.target, err = b.target, b.err
		return err
	}
	whole := b.body[it.start:it.end]
	if whole[0] != '{' {
		return errParam("invalid_type", "items", "The item is not an object.")
	}
	a := ask{typeName: b.said.typeName, schema: b.said.schema}
	if err := a.parse(whole, b.c.jsonDepth()-itemDepth, true); err != nil {
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
