package front

import "sync"

// The sizes of pooled buffers, in bytes. A larger buffer is left to the
// garbage collector, so that one large request does not stay in memory.
const (
	smallest = 1 << 10
	step     = 10
	classes  = 4
	largest  = smallest * step * step * step
)

// buffer is memory for a body or for events that wait to be written.
type buffer struct{ b []byte }

// buffers is a pool of buffers by size, so that thousands of open streams with
// small bodies do not hold the buffers that large ones grew.
type buffers struct {
	pools [classes]sync.Pool
}

// get returns an empty buffer with room for n bytes, or for `largest` if n is
// more: what a client announces is not what it sends.
func (p *buffers) get(n int64) *buffer {
	size := smallest
	for i := range p.pools {
		if n <= int64(size) || i == classes-1 {
			if b, ok := p.pools[i].Get().(*buffer); ok {
				return b
			}
			return &buffer{make([]byte, 0, size)}
		}
		size *= step
	}
	return nil // not reached
}

// put takes back a buffer that nobody uses any more.
func (p *buffers) put(b *buffer) {
	if b == nil || cap(b.b) > largest || cap(b.b) < smallest {
		return
	}
	b.b = b.b[:0]
	size, i := smallest*step, 0
	for i < classes-1 && cap(b.b) >= size {
		size *= step
		i++
	}
	p.pools[i].Put(b)
}

// grow makes room for at least one byte more, at best from the pool.
func (p *buffers) grow(b *buffer) *buffer {
	if cap(b.b) >= largest {
		b.b = append(make([]byte, 0, 2*cap(b.b)), b.b...)
		return b
	}
	next := p.get(int64(cap(b.b)) + 1)
	next.b = append(next.b, b.b...)
	p.put(b)
	return next
}
