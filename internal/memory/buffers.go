// Package memory lends the buffers that all parts of the gateway read into and
// write from, out of one source, which can say no.
package memory

import (
	"cmp"
	"fmt"
	"math/bits"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"sluice/internal/llm"
	"sluice/internal/perf"
)

// The sizes of buffers that are kept for use again are the powers of two from
// Smallest to Largest, in bytes. A larger buffer is left to the garbage
// collector, so that one large request does not stay in memory.
const (
	Smallest = 1 << 10
	Largest  = 1 << 20

	classes = 11
	first   = 10 // Smallest is 1<<first
)

// defaultMax is what Max is where nothing is said: more than any body is worth.
const defaultMax = 4 << 30

// Buffer is memory that is lent. Its user may change B at will: one whose
// capacity is not what it was when it was lent is not taken back.
type Buffer struct {
	B     []byte
	class uint8 // from 1; 0: larger than all
}

// Buffers lends buffers by size, so that thousands of open streams with small
// bodies do not hold the buffers that large ones grew. The zero value is ready
// for use, by several goroutines; a nil one lends buffers and keeps none.
type Buffers struct {
	// Max bounds one buffer, in bytes; 0 is 4 GiB, and below 0 none is lent. What
	// is larger is refused. It is set before the Buffers are used.
	Max int

	pools   [classes]sync.Pool // of *Buffer
	made    [classes + 1]atomic.Uint64
	left    atomic.Uint64
	refused atomic.Uint64
}

// Get lends an empty buffer with room for n bytes. The error, an *llm.Error for
// whoever the buffer was for, says that there is no memory for it.
func (p *Buffers) Get(n int) (*Buffer, error) {
	k := classes // larger than all
	if n <= Largest {
		k = max(bits.Len(uint(max(n, 1)-1)), first) - first
	}
	if p != nil {
		if n > cmp.Or(p.Max, defaultMax) {
			return nil, p.refuse(n)
		}
		if k < classes {
			if b, ok := p.pools[k].Get().(*Buffer); ok {
				return b, nil
			}
		}
		p.made[k].Add(1)
	}
	if k == classes {
		return &Buffer{B: make([]byte, 0, n)}, nil
	}
	return &Buffer{B: make([]byte, 0, Smallest<<k), class: uint8(k + 1)}, nil
}

// Grow lends a buffer with room for n bytes that holds what b does, and takes b
// back. After an error b is what it was.
func (p *Buffers) Grow(b *Buffer, n int) (*Buffer, error) {
	larger, err := p.Get(n)
	if err != nil {
		return b, err
	}
	larger.B = append(larger.B, b.B...)
	p.Put(b)
	return larger, nil
}

// Put takes back a buffer, or nil, that nobody uses any more.
func (p *Buffers) Put(b *Buffer) {
	if p == nil || b == nil {
		return
	}
	if b.class == 0 || cap(b.B) != Smallest<<(b.class-1) {
		p.left.Add(1)
		return
	}
	b.B = b.B[:0]
	p.pools[b.class-1].Put(b)
}

func (p *Buffers) refuse(n int) error {
	p.refused.Add(1)
	e := llm.Errorf(503, "gateway_overloaded", "The gateway has no memory for this now. Try again shortly.")
	e.Fault, e.RetryAfter, e.Err = llm.Lacking, time.Second, fmt.Errorf("a buffer of %d bytes was refused", n)
	return e
}

// Figures implements perf.Source. What is lent from what was kept is not
// counted: all processors would meet there.
func (p *Buffers) Figures(r perf.Reporter) {
	const made, what = "memory_buffers_made_total", "Buffers made because none of the size was there, by size in bytes; the others were used again."
	for k := range classes {
		r.Counter(made, what, float64(p.made[k].Load()), "size", strconv.Itoa(Smallest<<k))
	}
	r.Counter(made, what, float64(p.made[classes].Load()), "size", "larger")
	r.Counter("memory_buffers_left_total", "Buffers left to the garbage collector: too large to be kept, or outgrown.", float64(p.left.Load()))
	r.Counter("memory_buffers_refused_total", "Buffers that were refused for want of memory.", float64(p.refused.Load()))
}
