//go:build poison

package memory

import "bytes"

// ownership is who has a buffer. With the build tag poison a buffer that comes back
// is filled with a pattern, so that whoever still reads it gets nonsense, and one that
// is lent again must still have it, so that whoever still wrote to it is found. The
// tests run with it.
type ownership struct{ free, filled bool }

// pattern is what no JSON and no UTF-8 has.
const pattern = 0xF5

func (b *Buffer) lent() {
	all := b.B[:cap(b.B)]
	if b.state.filled && len(all) > 0 && (all[0] != pattern || !bytes.Equal(all[1:], all[:len(all)-1])) {
		panic("memory: a buffer was written to after it had been given back")
	}
	b.state = ownership{}
}

func (b *Buffer) returned() {
	if b.state.free {
		panic("memory: a buffer was given back twice")
	}
	b.state = ownership{free: true}
	if cap(b.B) != b.room { // it is another's memory now
		return
	}
	all := b.B[:cap(b.B)]
	for i := range all {
		all[i] = pattern
	}
	b.state.filled = true
}
