package protobuf

import (
	"bytes"
	"unsafe"
)

// Memory is asked before more of it is held than a little, so that a small input which
// becomes large, or is costly to take apart, can be refused while that is still cheap.
// It is used by one goroutine at a time; what it refuses ends the call with its error.
type Memory interface {
	// Grow gives what out holds with room for at least n bytes more. Out is not used
	// any more then.
	Grow(out []byte, n int) ([]byte, error)

	// Scratch reserves n bytes that are not part of the output. They are given back, as
	// -n bytes, when the call ends.
	Scratch(n int) error
}

const (
	// unasked is how long an output, or how large a scratch, may be without anybody
	// being asked, in bytes.
	unasked = 32 << 10
	// slack is what is free at least, in bytes, when the output is looked at, once for
	// each field. What may be longer asks by itself.
	slack = 2 << 10
)

// asker asks a Memory for one call.
type asker struct {
	memory  Memory // nil is without bound
	scratch int    // bytes that are reserved
	lack    error  // why there was no more
}

// mark is the length of an output from which on it has to be looked at: at its end is
// more than its limit, or too little room is left.
func (a *asker) mark(out []byte, end int) int {
	if a.memory == nil {
		return end
	}
	return min(end, max(unasked, cap(out)-slack))
}

// expect tells how much more there will be of an output of n bytes, to judge by the
// share of the input that it was made of. That an input may change its ways is bounded:
// the buffer grows fourfold at most, and by a quarter at least.
func expect(n, at, size, most int) int {
	more := n
	if at > 0 {
		more = int(float64(n) * float64(size-at) / float64(at))
	}
	more += more/16 + 2*slack
	return max(min(more, 3*n, most-n), n/4) + 2*slack
}

func (a *asker) grow(out []byte, n int) ([]byte, bool) {
	larger, err := a.memory.Grow(out, n)
	if err != nil {
		a.lack = err
		return out, false
	}
	return larger, true
}

// short reports whether an output has to be grown for n bytes at once.
func (a *asker) short(out []byte, n int) bool {
	return n > slack/2 && a.memory != nil && len(out)+n > unasked && n > cap(out)-len(out)-slack
}

// reserve reserves n bytes of scratch.
func (a *asker) reserve(n int) bool {
	if a.memory == nil || n <= unasked {
		return true
	}
	if err := a.memory.Scratch(n); err != nil {
		a.lack = err
		return false
	}
	a.scratch += n
	return true
}

func (a *asker) giveBack() {
	if a.scratch > 0 {
		_ = a.memory.Scratch(-a.scratch) // giving back does not fail
		a.scratch = 0
	}
}

// extended is s with room for n elements more. beside is what else is kept for each, in
// bytes. It asks for twice the room, and what was there stays reserved as it is garbage.
func extended[T any](a *asker, s []T, n, beside int) ([]T, bool) {
	if len(s)+n <= cap(s) {
		return s, true
	}
	room := max(2*cap(s), len(s)+n, 16)
	var one T
	if !a.reserve(room * (int(unsafe.Sizeof(one)) + beside)) {
		return s, false
	}
	larger := make([]T, len(s), room)
	copy(larger, s)
	return larger, true
}

// textRoom is how many bytes s takes at most as a JSON string.
func textRoom(s []byte) int {
	n := len(s) + 32
	for _, c := range s {
		if c < ' ' {
			n += 5
		}
	}
	return n + bytes.Count(s, []byte{'"'}) + bytes.Count(s, []byte{'\\'})
}

// modelled is what a byte of an input costs at most as protobuf-go holds it, about: an
// empty message is two bytes there.
const modelled = 64
