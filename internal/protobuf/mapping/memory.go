package mapping

import (
	"unsafe"

	"sluice/internal/protobuf"
)

// meter keeps account of the bytes that a request or a reply takes here.
type meter struct {
	reserve func(n int) error // has n bytes more reserved, or gives -n back; nil is without bound

	held  int   // bytes
	asked int   // of them, that are reserved
	lack  error // why there are no more
}

// unasked is how many bytes are held at most that are not reserved.
const unasked = 16 << 10

// take is asked before n bytes more are held.
func (m *meter) take(n int) bool {
	if more := m.held + n - m.asked; m.reserve != nil && more > unasked {
		if err := m.reserve(more); err != nil {
			m.lack = err
			return false
		}
		m.asked += more
	}
	m.held += n
	return true
}

func (m *meter) give(n int) {
	m.held -= n
	if over := m.asked - m.held; over > unasked {
		_ = m.reserve(-over) // giving back does not fail
		m.asked = m.held
	}
}

// end gives all back.
func (m *meter) end() {
	if m.asked > 0 {
		_ = m.reserve(-m.asked)
	}
	m.held, m.asked, m.lack = 0, 0, nil
}

// grower is the protobuf.Memory of one output.
type grower struct {
	*meter

	paid int // bytes of the output
}

// Grow implements protobuf.Memory. Until the new output is filled both are reserved.
func (g *grower) Grow(out []byte, n int) ([]byte, error) {
	size := len(out) + n
	if !g.take(size) {
		return out, g.lack
	}
	larger := make([]byte, len(out), size)
	copy(larger, out)
	g.give(g.paid)
	g.paid = size
	return larger, nil
}

// Scratch implements protobuf.Memory.
func (g *grower) Scratch(n int) error {
	if n <= 0 {
		g.give(-n)
	} else if !g.take(n) {
		return g.lack
	}
	return nil
}

// limits are those of what is written into the output.
func (g *grower) limits() protobuf.Limits {
	if g.reserve == nil {
		return protobuf.Limits{}
	}
	return protobuf.Limits{Memory: g}
}

// hold counts what the output took without asking.
func (g *grower) hold(out []byte) bool {
	more := cap(out) - g.paid
	g.paid += more
	return g.take(more)
}

// extended is s with room for one element more. What it was stays reserved until the end.
func extended[T any](m *meter, s []T) ([]T, bool) {
	if len(s) < cap(s) {
		return s, true
	}
	size := max(2*cap(s), 4)
	if !m.take(size * bytesOf(s)) {
		return s, false
	}
	larger := make([]T, len(s), size)
	copy(larger, s)
	return larger, true
}

// bytesOf is how many an element of s takes.
func bytesOf[T any](s []T) int {
	var one T
	return int(unsafe.Sizeof(one))
}

// trimmed empties s for the next use, or drops it where it has grown large.
func trimmed[T any](s []T) []T {
	if cap(s)*bytesOf(s) > maxKept {
		return nil
	}
	clear(s)
	return s[:0]
}
