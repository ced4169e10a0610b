package codec

import "bytes"

// cut hands the items of the array whose bracket is at i to the workers, in chunks
// of which the last is left for finish, and returns the array's end, -1 where it
// has none. Where it may guess, it takes what stands between the first two items
// for the mark of an item's end and looks for that only where a chunk is to end;
// the workers see whether each chunk ends with an item. So most of the items are
// found by the workers too: one goroutine that finds all of them is what else
// bounds how much faster a batch gets by more workers.
func (b *batch) cut(i int, guess bool) (end int, err error) {
	if i = space(b.body, i+1); at(b.body, i) == ']' {
		return i + 1, nil
	}
	b.start = i
	for n := 1; ; n++ {
		if n > b.c.cfg.MaxItems {
			return -1, errLimit("items", "A batch has at most %d items.", b.c.cfg.MaxItems)
		}
		it, ok := itemAt(b.body, i)
		if !ok {
			return -1, nil
		}
		switch i = space(b.body, it.end); at(b.body, i) {
		case ']':
			b.end = it.end
			return i + 1, nil
		case ',':
			i = space(b.body, i+1)
		default:
			return -1, nil
		}
		if guess {
			guess = false
			i, err = b.guess(it.end, i)
		} else if it.end-b.start >= b.size {
			err = b.flush(it.end, i, false)
		}
		if err != nil {
			return -1, err
		}
	}
}

// guess hands out chunks as long as it sees where they could end. The first item
// ends at end and the second begins at next; it returns where to go on.
func (b *batch) guess(end, next int) (int, error) {
	mark, skip := separator(b.body, end, next)
	if mark == nil {
		return next, nil
	}
	for len(b.body)-b.start > 2*b.size {
		n := bytes.Index(b.body[b.start+b.size:], mark)
		if n < 0 {
			break
		}
		end = b.start + b.size + n + 1
		next = end - 1 + skip
		if err := b.flush(end, next, false); err != nil {
			return -1, err
		}
	}
	return next, nil
}

// finish hands out the items that are left and waits until all are done.
func (b *batch) finish() error {
	if err := b.flush(b.end, b.end, true); err != nil {
		return err
	}
	if err := b.c.pool.wait(b.ctx, b.work); err != nil {
		return errUndone(err)
	}
	return b.ctx.Err() // after which some chunk may have ended early
}

// restart has the chunks that were handed out done once more.
func (b *batch) restart() error {
	b.drop()
	b.begin()
	for range min(len(b.chunks), b.c.workers) {
		if err := b.help(); err != nil {
			return err
		}
	}
	return nil
}

// again has all done once more without a guess, which was wrong, or let more items
// through than are allowed.
func (b *batch) again() error {
	b.drop()
	b.recycle()
	b.begin()
	switch end, err := b.cut(b.items.Start, false); {
	case err != nil:
		return err
	case end != b.items.End:
		return b.invalid()
	}
	return b.finish()
}
