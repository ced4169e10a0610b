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
	heads   []uint32 // by fingerprint, the entry that was made last: one more than its place; 0 for none
	entries []entry
	chain   []uint32 // for each entry, the one before it that shares its head, in the same way
	filter  []uint64 // a bit for each fingerprint, by its upper half: small enough to be at hand
}

// entry is a fingerprint with the first and the last place that it was noted at.
type entry struct {
	key         uint64
	first, last uint32 // lines
}

// planSize is what is reserved for a body of n bytes, in bytes: what its lines, of which crowd
// allows one for eight bytes, the index, and pieces and finds of min_block bytes or more take at
// most, with a quarter more of what append makes longer: 0.95 of the body with the default, 1.09
// where blocks may have 256 bytes. Not counted are some 100 bytes of each message and text, which
// maxMessages and maxTexts bound, 16 lines more of each text, and what references take, which
// is less than the blocks that they replace: a plan is there only while a processor works on it,
// so that there are few at a time.
func planSize(n, minBlock int) int {
	const line, link = 4, 4
	entries := min(n/stride+1, maxEntries)
	heads := headsFor(entries)
	index := entries*(int(unsafe.Sizeof(entry{}))+link) + heads*link + filterFor(heads)*8
	grown := n/8*line + n/minBlock*int(unsafe.Sizeof(piece{})+unsafe.Sizeof(find{}))
	return index + grown*5/4
}

// headsFor is how many heads there are: more than entries. filterFor gives each of them eight
// bits, in words.
func headsFor(entries int) int { return 1 << bits.Len(uint(entries)) }
func filterFor(heads int) int  { return max(heads/8, 1) }

// reset empties the index and makes room for n bytes of text.
func (x *index) reset(n int) {
	if x.seed == 0 {
		x.seed = rand.Uint64() | 1 // nobody is to know which fingerprints share a head
	}
	most := min(n/stride+1, maxEntries)
	heads := headsFor(most)
	x.heads = zeroed(x.heads, heads)
	x.filter = zeroed(x.filter, filterFor(heads))
	x.entries, x.chain = slices.Grow(x.entries[:0], most), slices.Grow(x.chain[:0], most)
}

// zeroed gives n zeros, where s is if there is room.
func zeroed[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	s = s[:n]
	clear(s)
	return s
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

// find gives the entry of a fingerprint, nil for none. Heads and entries are far away in memory:
// it is for what may be there.
func (x *index) find(key uint64) *entry {
	for n := x.heads[key&uint64(len(x.heads)-1)]; n != 0; n = x.chain[n-1] {
		if e := &x.entries[n-1]; e.key == key {
			return e
		}
	}
	return nil
}

// note notes a line under a fingerprint, for which find gave e.
func (x *index) note(key uint64, e *entry, line int) {
	switch {
	case e != nil:
		e.last = uint32(line)
	case len(x.entries) < maxEntries:
		head := &x.heads[key&uint64(len(x.heads)-1)]
		x.entries, x.chain = append(x.entries, entry{key, uint32(line), uint32(line)}), append(x.chain, *head)
		*head = uint32(len(x.entries))
		bit := key >> 32 & uint64(64*len(x.filter)-1)
		x.filter[bit/64] |= 1 << (bit % 64)
	}
}
