// Package memory lends the buffers that all parts of the gateway read into and
// write from, out of one source, which can say no.
package memory

import (
	"cmp"
	"math/bits"
	"strconv"
	"sync"
	"sync/atomic"

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
	class uint8   // from 1; 0: larger than all
	room  int     // what it had when it was lent
	terms terms   // on which it was
	large *Object // nil below Largest
	state ownership
}

// Buffers lends buffers by size, so that thousands of open streams with small
// bodies do not hold the buffers that large ones grew. The zero value is ready
// for use, by several goroutines; a nil one lends buffers and keeps none.
type Buffers struct {
	// Max bounds one buffer, in bytes; 0 is 4 GiB, and below 0 none is lent. What
	// is larger is refused. It is set before the Buffers are used.
	Max int

	// Account is where what is lent is reserved, and Large knows of those above
	// Largest. They are set before the Buffers are used; nil for none.
	Account *Account
	Large   *Objects

	// Events is where is reserved what streams carry over of large events, which are no
	// buffers from here; nil for none.
	Events *Account

	// Heads is where what comes of requests whose client is not known yet is reserved;
	// nil for none.
	Heads *Account

	pools   atomic.Pointer[pools] // nil before the first
	made    [classes + 1]atomic.Uint64
	left    atomic.Uint64
	refused atomic.Uint64
}

type pools [classes]sync.Pool // of *Buffer

// Owner says what a large buffer is for.
type Owner struct {
	Part string // as request_body
	ID   string // of the request; may be ""
}

// Get lends an empty buffer with room for n bytes. The error, an *llm.Error for
// whoever the buffer was for, says that there is no memory for it.
func (p *Buffers) Get(n int) (*Buffer, error) {
	if p == nil {
		return p.lend(terms{}, n)
	}
	return p.lend(terms{from: p.Account}, n)
}

// GetPaid is Get where the caller, who says what it is for, has reserved Room(n) bytes
// himself.
func (p *Buffers) GetPaid(o Owner, n int) (*Buffer, error) { return p.lend(terms{owner: o}, n) }

// GetHead is Get for what comes of a request whose client is not known yet.
func (p *Buffers) GetHead(n int) (*Buffer, error) {
	if p == nil {
		return p.lend(terms{}, n)
	}
	return p.lend(terms{from: p.Heads}, n)
}

// GetLoose is Get for a buffer that may be left to the garbage collector instead of being
// given back: it is not reserved, so its user bounds what there is of such.
func (p *Buffers) GetLoose(n int) (*Buffer, error) { return p.lend(terms{loose: true}, n) }

// Room is how large a buffer is that has room for n bytes.
func Room(n int) int {
	if n > Largest {
		return n
	}
	return Smallest << classOf(n)
}

func classOf(n int) int { return max(bits.Len(uint(max(n, 1)-1)), first) - first }

// terms are those on which a buffer is lent. The one that it grows into has the same.
type terms struct {
	from  *Account // that it is reserved in; nil for none
	owner Owner    // of one above Largest
	loose bool     // by GetLoose
}

func (p *Buffers) lend(t terms, n int) (*Buffer, error) {
	if p != nil && n > cmp.Or(p.Max, defaultMax) {
		return nil, p.refuse(n)
	}
	room := Room(n)
	if !t.from.More(int64(room)) {
		return nil, p.refuse(n)
	}
	class := classes // larger than all
	if n <= Largest {
		class = classOf(n)
	}
	b := p.kept(class)
	if b == nil {
		b = p.make(class, room)
	}
	if b.terms, b.room = t, room; class == classes && p != nil && !t.loose {
		b.large = p.Large.Add(t.owner, int64(n))
	}
	b.lent()
	return b, nil
}

// kept gives a buffer that was used before, nil for none.
func (p *Buffers) kept(class int) *Buffer {
	if p == nil || class == classes || !managed {
		return nil
	}
	kept := p.pools.Load()
	if kept == nil {
		return nil
	}
	b, _ := kept[class].Get().(*Buffer)
	return b
}

func (p *Buffers) make(class, room int) *Buffer {
	if p != nil {
		p.made[class].Add(1)
	}
	b := &Buffer{B: make([]byte, 0, room)}
	if class < classes {
		b.class = uint8(class + 1)
	}
	return b
}

// Grow lends a buffer with room for n bytes that holds what b does, and takes b
// back. After an error b is what it was.
func (p *Buffers) Grow(b *Buffer, n int) (*Buffer, error) {
	larger, err := p.lend(b.terms, n)
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
	b.returned()
	b.terms.from.Give(int64(b.room))
	p.Large.Remove(b.large)
	b.terms, b.large = terms{}, nil
	if b.class == 0 || cap(b.B) != Smallest<<(b.class-1) || !managed {
		p.left.Add(1)
		return
	}
	b.B = b.B[:0]
	kept := p.pools.Load()
	if kept == nil {
		p.pools.CompareAndSwap(nil, new(pools))
		kept = p.pools.Load()
	}
	kept[b.class-1].Put(b)
}

// Drop lets go of all buffers that are kept. Those that are lent stay.
func (p *Buffers) Drop() { p.pools.Store(new(pools)) }

func (p *Buffers) refuse(n int) error {
	if p != nil {
		p.refused.Add(1)
	}
	return lacking(int64(n))
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
