package http1

import "sync"

// Buffers lends the large buffers that busy connections read into. The zero
// Buffers is ready for use by any number of connections.
type Buffers struct{ pool sync.Pool }

func (b *Buffers) get() *[largeBuffer]byte {
	if b != nil {
		if p, ok := b.pool.Get().(*[largeBuffer]byte); ok {
			return p
		}
	}
	return new([largeBuffer]byte)
}

func (b *Buffers) put(p *[largeBuffer]byte) {
	if b != nil {
		b.pool.Put(p)
	}
}
