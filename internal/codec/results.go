package codec

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"math"
	"sync/atomic"

	"github.com/maypok86/otter/v2"

	"sluice/internal/memory"
	"sluice/internal/protobuf"
)

const (
	// leastResult is the shortest input in bytes whose result is kept: a shorter
	// one is transcoded as fast as it is found.
	leastResult = 512
	// resultOverhead is what an entry takes beside its bytes, about.
	resultOverhead = 256
	// doorSlots is how many inputs the doorkeeper remembers, a power of two.
	doorSlots = 8192
)

// question is what a result is the answer to.
type question struct {
	direction Direction
	options   protobuf.Options
	digest    [32]byte // of the schema
	typeName  string
	input     []byte
}

func (q *question) equal(o *question) bool {
	return q.direction == o.direction && q.options == o.options && q.digest == o.digest &&
		q.typeName == o.typeName && bytes.Equal(q.input, o.input)
}

type result struct {
	question
	output []byte
}

// results keeps what messages became. The key is a hash; a hit counts only when
// the whole question is the same. A result is kept from the second time that its
// question comes, so that inputs that come once cost no copy. nil keeps none.
type results struct {
	entries *otter.Cache[place, *result]
	seed    maphash.Seed
	most    int   // bytes of one entry
	all     int64 // bytes of all, where nothing else bounds them
	account *memory.Account
	bound   atomic.Int64 // bytes of all
	door    [doorSlots]atomic.Uint64

	bytes                  atomic.Int64
	hits, misses, rejected atomic.Uint64
}

// place is a key in the table. It is as wide as those of replies are (cache.Key), so
// that both tables are the same code: one of 64 bits would have all of it in the binary
// again, 0.1 MB.
type place [32]byte

func placeOf(key uint64) (p place) {
	binary.LittleEndian.PutUint64(p[:], key)
	return p
}

// newResults makes one whose bytes are reserved in an account, which may be nil.
func newResults(cfg Config, account *memory.Account) (*results, error) {
	if cfg.ResultCacheBytes == 0 {
		return nil, nil
	}
	r := &results{seed: maphash.MakeSeed(), most: int(min(cfg.ResultCacheBytes/8, math.MaxInt32)), all: cfg.ResultCacheBytes, account: account}
	r.bound.Store(r.all)
	entries, err := otter.New(&otter.Options[place, *result]{
		MaximumWeight: uint64(cfg.ResultCacheBytes),
		Weigher:       func(_ place, e *result) uint32 { return uint32(e.size()) },
		// In a goroutine of its own, which has to be woken, the upkeep costs more than
		// a hit saves.
		Executor:         func(upkeep func()) { upkeep() },
		ExpiryCalculator: otter.ExpiryWriting[place, *result](cfg.ResultTTL),
		OnAtomicDeletion: func(d otter.DeletionEvent[place, *result]) { r.count(-int64(d.Value.size())) },
	})
	if err != nil {
		return nil, fmt.Errorf("make result cache: %w", err)
	}
	r.entries = entries
	return r, nil
}

// count notes that there are n bytes more.
func (r *results) count(n int64) {
	r.bytes.Add(n)
	if n > 0 {
		r.account.Hold(n)
	} else {
		r.account.Give(-n)
	}
}

// limit bounds what is kept to so many bytes. What is above goes at once.
func (r *results) limit(bytes int64) {
	if r == nil {
		return
	}
	bytes = min(r.all, bytes)
	if r.bound.Swap(bytes) != bytes {
		r.entries.SetMaximum(uint64(bytes))
	}
}

func (e *result) size() int {
	return len(e.input) + len(e.output) + len(e.typeName) + resultOverhead
}

// get gives the answer to q, which is not to be written to, and the key for put.
// The key is 0 where the answer is not worth keeping.
func (r *results) get(q *question) (output []byte, key uint64, ok bool) {
	if r == nil || len(q.input) < leastResult {
		return nil, 0, false
	}
	key = r.key(q)
	if e, ok := r.entries.GetIfPresent(placeOf(key)); ok && e.equal(q) {
		r.hits.Add(1)
		return e.output, key, true
	}
	r.misses.Add(1)
	if slot := &r.door[key%doorSlots]; slot.Load() != key {
		slot.Store(key)
		r.rejected.Add(1)
		key = 0
	}
	return nil, key, false
}

// put keeps a copy of the answer to q under a key from get.
func (r *results) put(key uint64, q *question, output []byte) {
	if key == 0 {
		return
	}
	e := &result{question: *q}
	if most := min(int64(r.most), r.bound.Load()); int64(len(q.input)+len(output)) > most-int64(len(q.typeName))-resultOverhead {
		r.rejected.Add(1)
		return
	}
	both := make([]byte, len(q.input)+len(output))
	n := copy(both, q.input)
	copy(both[n:], output)
	e.input, e.output = both[:n:n], both[n:]
	r.count(int64(e.size()))
	r.entries.Set(placeOf(key), e)
}

// key is never 0. It need not be strong: a digest and a name hardly ever meet, and
// when they do the whole question is compared.
func (r *results) key(q *question) uint64 {
	how := uint64(q.direction)
	for _, on := range [...]bool{q.options.UseProtoNames, q.options.EmitUnpopulated, q.options.UseEnumNumbers, q.options.DiscardUnknown} {
		if how <<= 1; on {
			how |= 1
		}
	}
	key := maphash.Bytes(r.seed, q.input) ^ maphash.String(r.seed, q.typeName) ^ how<<56
	for i := 0; i < len(q.digest); i += 8 {
		key ^= binary.LittleEndian.Uint64(q.digest[i:])
	}
	return max(key, 1)
}

// forget drops the results of a schema.
func (r *results) forget(digest [32]byte) {
	if r == nil {
		return
	}
	for key, e := range r.entries.All() {
		if e.digest == digest {
			r.entries.Invalidate(key)
		}
	}
}

// tidy drops what has expired, and tells how much.
func (r *results) tidy() (things int, bytes int64) {
	if r == nil {
		return 0, 0
	}
	things, bytes = r.entries.EstimatedSize(), r.bytes.Load()
	r.entries.CleanUp()
	return max(things-r.entries.EstimatedSize(), 0), max(bytes-r.bytes.Load(), 0)
}

func (r *results) close() {
	if r != nil {
		r.entries.InvalidateAll()
		r.entries.StopAllGoroutines()
	}
}
