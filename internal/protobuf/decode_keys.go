package protobuf

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
)

// mapKey is the key of a map entry: a text b[at:at+size], or a number.
type mapKey struct {
	bits     uint64
	at, size int
	hash     uint64
	record   int // for the caller's use
}

// seed makes it hard to find keys that share slots.
var seed = maphash.MakeSeed() //nolint:gochecknoglobals // chosen once a process, never written

func (k *mapKey) sum(b []byte) {
	if k.size > 0 {
		k.hash = maphash.Bytes(seed, b[k.at:k.at+k.size])
		return
	}
	var n [8]byte
	binary.LittleEndian.PutUint64(n[:], k.bits)
	k.hash = maphash.Bytes(seed, n[:])
}

func (k *mapKey) equal(o *mapKey, b []byte) bool {
	return k.hash == o.hash && k.bits == o.bits && k.size == o.size &&
		bytes.Equal(b[k.at:k.at+k.size], b[o.at:o.at+o.size])
}

// keys are the keys of the maps that are being written, as a stack: a map that
// is inside another ends before the outer one gets its next key.
type keys struct {
	all   []mapKey
	slots []int32 // indexes in all, plus one; 0 is free
}

// keyRun is the part of keys that belongs to one map.
type keyRun struct {
	first int // in keys.all
	slots int // in keys.slots
}

// fewKeys is how many keys are compared one by one.
const fewKeys = 8

func (s *keys) start() keyRun { return keyRun{first: len(s.all), slots: len(s.slots)} }

func (s *keys) end(r keyRun) { s.all, s.slots = s.all[:r.first], s.slots[:r.slots] }

// add adds a key of the map r, whose texts are in b, or returns the key that is
// there and equal.
func (s *keys) add(r *keyRun, b []byte, k *mapKey) *mapKey {
	n := len(s.all) - r.first
	if n < fewKeys {
		for i := r.first; i < len(s.all); i++ {
			if s.all[i].equal(k, b) {
				return &s.all[i]
			}
		}
		s.all = append(s.all, *k)
		return nil
	}
	if 2*n >= len(s.slots)-r.slots {
		s.grow(r, 4*n)
	}
	slot := s.slot(r, b, k)
	if at := *slot; at != 0 {
		return &s.all[at-1]
	}
	s.all = append(s.all, *k)
	*slot = int32(len(s.all))
	return nil
}

// slot finds where the index of k stands, or may stand.
func (s *keys) slot(r *keyRun, b []byte, k *mapKey) *int32 {
	slots := s.slots[r.slots:]
	for i := k.hash; ; i++ {
		slot := &slots[i&uint64(len(slots)-1)]
		if *slot == 0 || s.all[*slot-1].equal(k, b) {
			return slot
		}
	}
}

// grow makes room for n slots, a power of two times fewKeys.
func (s *keys) grow(r *keyRun, n int) {
	size := 4 * fewKeys
	for size < n {
		size *= 2
	}
	s.slots = s.slots[:r.slots]
	for range size {
		s.slots = append(s.slots, 0)
	}
	for i := r.first; i < len(s.all); i++ {
		for h := s.all[i].hash; ; h++ {
			if slot := &s.slots[r.slots+int(h&uint64(size-1))]; *slot == 0 {
				*slot = int32(i + 1)
				break
			}
		}
	}
}
