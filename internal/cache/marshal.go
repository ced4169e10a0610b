package cache

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
	"time"
	"unique"

	"sluice/internal/outline"
)

// An entry outside of memory, in a second level or in the hot set, is
//
//	"slc" version | key | age | life | tokens | header strings | ends | body | CRC-32C of all before
//
// age and life are in milliseconds: how old the reply was when this was
// written, and how long it is fresh in all. Numbers are unsigned varints and
// strings begin with their length.
const (
	magic   = "slc\x02" // the last byte is the version
	crcSize = 4
)

// Envelope is what an entry takes elsewhere besides its reply, in bytes, unless
// its head or its events are uncommonly many.
const Envelope = 16 << 10

// errDamaged is the fault of an entry that is not whole, of another version or
// of another key. It is as good as none.
var errDamaged = errors.New("the stored entry is damaged or foreign")

var castagnoli = crc32.MakeTable(crc32.Castagnoli) //nolint:gochecknoglobals // the one table there is, read only

// marshal writes an entry as it is at now.
func marshal(key Key, e *entry, now time.Duration) []byte {
	h := e.head.Value()
	b := make([]byte, 0, len(magic)+len(key)+len(e.body)+5*len(e.ends)+256)
	b = append(b, magic...)
	b = append(b, key[:]...)
	b = binary.AppendUvarint(b, uint64(max(now-e.born, 0)/time.Millisecond))
	b = binary.AppendUvarint(b, uint64(max(e.until-e.born, 0)/time.Millisecond))
	b = binary.AppendUvarint(b, uint64(e.tokens))
	for _, s := range h.strings() {
		b = binary.AppendUvarint(b, uint64(len(*s)))
		b = append(b, *s...)
	}
	b = binary.AppendUvarint(b, uint64(len(e.ends)))
	last := uint32(0)
	for _, end := range e.ends {
		b = binary.AppendUvarint(b, uint64(end-last))
		last = end
	}
	b = binary.AppendUvarint(b, uint64(len(e.body)))
	b = append(b, e.body...)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func (h *head) strings() [7]*string {
	return [...]*string{&h.contentType, &h.language, &h.version, &h.upstream, &h.model, &h.reported, &h.lossy}
}

// unmarshal reads what marshal wrote for key, at now. The entry owns its bytes.
// The error is errDamaged.
func unmarshal(b []byte, key Key, now time.Duration) (*entry, error) {
	n := len(b) - crcSize
	if n < len(magic)+len(key) || string(b[:len(magic)]) != magic || Key(b[len(magic):][:len(key)]) != key ||
		crc32.Checksum(b[:n], castagnoli) != binary.LittleEndian.Uint32(b[n:]) {
		return nil, errDamaged
	}
	r := parts{b: b[len(magic)+len(key) : n]}
	age, life := r.millis(), r.millis()
	e := &entry{born: now - age, until: now - age + life, tokens: uint32(r.number(math.MaxUint32))}
	var h head
	for _, s := range h.strings() {
		*s = string(r.bytes())
	}
	e.head = unique.Make(h)
	if events := r.number(uint64(len(r.b))); events > 0 {
		e.ends = make([]uint32, events)
		last := uint64(0)
		for i := range e.ends {
			last += r.number(math.MaxUint32)
			e.ends[i] = uint32(last)
		}
		r.bad = r.bad || last > math.MaxUint32
	}
	body := r.bytes()
	if r.bad || len(r.b) > 0 || e.ends != nil && int(e.ends[len(e.ends)-1]) != len(body) {
		return nil, errDamaged
	}
	e.body = append(make([]byte, 0, len(body)), body...)
	if h.reported == "" {
		if e.ends == nil {
			e.said = outline.Read(e.body)
		}
		e.id = replyID(e.body, e.ends, &e.said)
	}
	return e, nil
}

// parts reads an entry part by part. After a fault bad is set and the rest is
// zero.
type parts struct {
	b   []byte
	bad bool
}

// number reads a number of at most limit.
func (r *parts) number(limit uint64) uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || v > limit {
		r.b, r.bad = nil, true
		return 0
	}
	r.b = r.b[n:]
	return v
}

// longest bounds an age and a life. It is far below what overflows.
const longest = 100 * 365 * 24 * time.Hour

func (r *parts) millis() time.Duration {
	return time.Duration(r.number(uint64(longest/time.Millisecond))) * time.Millisecond
}

func (r *parts) bytes() []byte {
	n := r.number(math.MaxUint32)
	if r.bad || n > uint64(len(r.b)) {
		r.b, r.bad = nil, true
		return nil
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}
