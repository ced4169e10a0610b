package timeline

import (
	"encoding/binary"
	"math"

	"sluice/internal/perf"
)

// packed is a perf.Distribution in 2 or 3 bytes for each bucket: the sum, the
// values counted as zero, then for each bucket its distance from the one before
// and its count. "" is that of nothing.
type packed string

func pack(d perf.Distribution, buf []byte) (packed, []byte) {
	p, buf, _ := packSince(d, perf.Distribution{}, buf)
	return p, buf
}

// packSince packs what came after before. ok is false where now has less of
// anything: then it is of another histogram.
func packSince(now, before perf.Distribution, buf []byte) (p packed, rest []byte, ok bool) {
	if now.Count < before.Count || now.Zero < before.Zero {
		return "", buf, false
	}
	buf = binary.LittleEndian.AppendUint64(buf[:0], math.Float64bits(now.Sum-before.Sum))
	buf = binary.AppendUvarint(buf, now.Zero-before.Zero)
	last, old := int16(-bias), before.Buckets
	for _, b := range now.Buckets {
		if len(old) > 0 && old[0].Index <= b.Index {
			if old[0].Index < b.Index || old[0].Count > b.Count {
				return "", buf, false
			}
			b.Count -= old[0].Count
			old = old[1:]
		}
		if b.Count > 0 {
			buf = binary.AppendUvarint(buf, uint64(b.Index-last))
			buf = binary.AppendUvarint(buf, b.Count)
			last = b.Index
		}
	}
	if len(old) > 0 {
		return "", buf, false
	}
	if now.Count > before.Count {
		p = packed(buf)
	}
	return p, buf, true
}

// bias is added to a bucket's index to make it one of an array. Indices are
// within ±20 octaves of 32 buckets.
const bias = 1024

// merger adds up distributions. It is empty when made, and after take.
type merger struct {
	counts   [2 * bias]uint64
	from, to int // those that are not 0 are in [from, to); to is 0 for none
	sum      float64
	zero     uint64
}

// add adds what pack has packed.
func (m *merger) add(p packed) {
	if p == "" {
		return
	}
	var bits uint64
	for i := range 8 {
		bits |= uint64(p[i]) << (8 * i)
	}
	m.sum += math.Float64frombits(bits)
	p = p[8:]
	n, p := uvarint(p)
	m.zero += n
	i, lowest := 0, -1
	for p != "" {
		var distance uint64
		distance, p = uvarint(p)
		n, p = uvarint(p)
		i += int(distance)
		m.counts[i] += n
		if lowest < 0 {
			lowest = i
		}
	}
	if lowest < 0 {
		return // all were zero
	}
	if m.to == 0 || lowest < m.from {
		m.from = lowest
	}
	m.to = max(m.to, i+1)
}

// uvarint takes a number off p, which holds one.
func uvarint(p packed) (n uint64, rest packed) {
	for i := range len(p) {
		n |= uint64(p[i]&0x7f) << (7 * i)
		if p[i] < 0x80 {
			return n, p[i+1:]
		}
	}
	return n, ""
}

// drain gives the whole and empties m.
func (m *merger) drain() perf.Distribution {
	d := perf.Distribution{Sum: m.sum, Zero: m.zero, Count: m.zero}
	used := 0
	for i := m.from; i < m.to; i++ {
		if m.counts[i] > 0 {
			used++
		}
	}
	if used > 0 {
		d.Buckets = make([]perf.Bucket, 0, used)
	}
	for i := m.from; i < m.to; i++ {
		if n := m.counts[i]; n > 0 {
			d.Buckets = append(d.Buckets, perf.Bucket{Index: int16(i - bias), Count: n})
			d.Count += n
			m.counts[i] = 0
		}
	}
	m.from, m.to, m.sum, m.zero = 0, 0, 0, 0
	return d
}
