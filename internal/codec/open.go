package codec

import (
	"context"
	"slices"

	"sluice/internal/llm"
)

// open finds out what an envelope says. The items of a batch go to the workers as
// they are found, most often before the rest has been read.
func (k *conversion) open(ctx context.Context, body []byte) (*batch, error) {
	said := k.ask
	if i := itemsAt(body); i >= 0 {
		b := newBatch(ctx, k, body)
		if ok, err := b.split(i); ok || err != nil {
			return b, err
		}
		b.release()
		k.ask = said
	}
	if err := k.parse(body, k.c.jsonDepth(), false); err != nil {
		return nil, errEnvelope(body, err)
	}
	if k.items.End == 0 {
		return nil, nil
	}
	b := newBatch(ctx, k, body)
	_, err := b.cut(k.items.Start, false)
	return b, err
}

// split reads an envelope whose items begin at i. With neither an error nor ok it
// is to be read by parse, most often for what is wrong with it.
func (b *batch) split(i int) (ok bool, err error) {
	k, said := b.conversion, b.conversion.ask
	envelope := append(slices.Clip(b.body[:i]), "[]}"...)
	if k.parse(envelope, k.c.jsonDepth(), false) != nil {
		return false, nil
	}
	end, err := b.cut(i, true)
	if end < 0 {
		return false, err
	}
	rest := b.body[end:]
	if last := space(rest, 0); at(rest, last) != '}' || space(rest, last+1) < len(rest) {
		begun := k.ask
		k.ask = said
		if k.parse(append(envelope[:i+len("[]")], rest...), k.c.jsonDepth(), false) != nil {
			return false, nil
		}
		b.late = k.typeName != begun.typeName || k.schema != begun.schema || k.options != begun.options
	}
	k.items = llm.Span{Start: i, End: end}
	return true, nil
}
