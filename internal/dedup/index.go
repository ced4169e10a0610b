package dedup

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"
	"slices"
	"unsafe"
)

const (
	// window is how many bytes from the beginning of a line on make its fingerprint. They
	// may be of several lines.
	window = 32

	// stride is the least distance in bytes of two lines whose fingerprints are noted. What
	// stands before the first one of a repeat is found by going back.
	stride = 160

	// maxEntries bounds the fingerprints of one request: some 40 MiB of text. What comes
	// after those is looked up and not noted.
	maxEntries = 1 << 18
)

// index knows by their fingerprints where lines stand. Which it knows does not depend on how
// large it is, or what becomes of a message would depend on those that come later.
type index struct {
	seed    uint64
	slots   []uint32 // by fingerprint, open addressing: one more than the entry's place; 0 for none
	entries []entry
	filter  []uint64 // a bit for each fingerprint, by its upper half: small enough to be at hand
}

// entry is a fingerprint with the first and the last place that it was noted at.
type entry struct {
	key         uint64
	first, last uint32 // lines
}

// planSize is what is reserved for a body of n bytes, in bytes: what its lines, of which crowd
// allows one for eight bytes, the index, and pieces and finds of min_block bytes or more take at
// most, with a quarter more of what append makes longer: 0.98 of the body with the default, 1.12
// where blocks may have 256 bytes. Not counted are some 100 bytes of each message and text, which
// maxMessages and maxTexts bound, 16 lines more of each text, and what references take, which
// is less than the blocks that they replace: a plan is there only while a processor works on it,
// so that there are few at a time.
func planSize(n, minBlock int) int {
	const line, slot = 4, 4
	entries := min(n/stride+1, maxEntries)
	slots := slotsFor(entries)
	index := entries*int(unsafe.Sizeof(entry{})) + slots*slot + max(slots/16, 1)*8
	grown := n/8*line + n/minBlock*int(unsafe.Sizeof(piece{})+unsafe.Sizeof(find{}))
	return index + grown*5/4
}

// slotsFor leaves at least half of the slots empty.
func slotsFor(entries int) int { return 1 << bits.Len(uint(2*entries)) }

// reset empties the index and makes room for n bytes of text.
func (x *index) reset(n int) {
	if x.seed == 0 {
		x.seed = rand.Uint64() | 1 // nobody is to know which fingerprints share a slot
	}
	want := slotsFor(min(n/stride+1, maxEntries))
	if cap(x.slots) < want {
		x.slots = make([]uint32, want)
	} else {
		x.slots = x.slots[:want]
		clear(x.slots)
	}
	x.filter = slices.Grow(x.filter[:0], max(want/16, 1))[:max(want/16, 1)]
	clear(x.filter)
	x.entries = slices.Grow(x.entries[:0], min(n/stride+1, maxEntries))
}

// fingerprint is that of the window at the beginning of b, by two folded multiplications as in
// wyhash.
func (x *index) fingerprint(b []byte) uint64 {
	_ = b[window-1]
	le := binary.LittleEndian
	h1, l1 := bits.Mul64(le.Uint64(b)^x.seed, le.Uint64(b[8:])^0xa0761d6478bd642f)
	h2, l2 := bits.Mul64(le.Uint64(b[16:])^x.seed, le.Uint64(b[24:])^0xe7037ed1a0b428db)
	h, l := bits.Mul64(h1^l1^0x8ebc6af09c88c6e3, h2^l2^x.seed)
	return h ^ l
}

// may reports whether a fingerprint may have an entry. Most have none.
func (x *index) may(key uint64) bool {
	bit := key >> 32 & uint64(64*len(x.filter)-1)
	return x.filter[bit/64]>>(bit%64)&1 != 0
}

// find gives the entry of a fingerprint, nil for none, and the slot that it has or would have.
// Entries, which are far away in memory, are looked at only where it may be one of them.
func (x *index) find(key uint64) (e *entry, slot int) {
	may := x.may(key)
	mask := uint64(len(x.slots) - 1)
	for s := key & mask; ; s = (s + 1) & mask {
		n := x.slots[s]
		if n == 0 {
			return nil, int(s)
		}
		if may {
			if e = &x.entries[n-1]; e.key == key {
				return e, int(s)
			}
		}
	}
}

// note notes a line under a fingerprint, of which find gave e and slot.
func (x *index) note(key uint64, e *entry, slot, line int) {
	switch {
	case e != nil:
		e.last = uint32(line)
	case len(x.entries) < maxEntries:
		x.entries = append(x.entries, entry{key, uint32(line), uint32(line)})
		bit := key >> 32 & uint64(64*len(x.filter)-1)
		x.filter[bit/64] |= 1 << (bit % 64)
		x.slots[slot] = uint32(len(x.entries))
	}
}
