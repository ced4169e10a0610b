package cache

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"sluice/internal/perf"
	"sluice/internal/state"
)

// The hot set is the file that a restart begins with:
//
//	"slh" version | time | aside | CRC-32C of all before | entry…
//
// time is Unix time in milliseconds, and aside and each entry begin with their
// length; an entry is as marshal writes it. Numbers are unsigned varints.
const (
	hotMagic = "slh\x01"
	hotName  = "hot-set"
	lockName = "lock"
)

// hotSet keeps the hot set in a directory. One process writes there, the one
// that came first and holds the lock; others only read.
type hotSet struct {
	dir   string
	limit int64 // bytes
	aside func() []byte

	mu       sync.Mutex // one writes or discards
	lock     *state.Lock
	closed   bool
	restored []byte           // what was aside
	ids      map[Key]struct{} // of the entries in the file, and of some that are not

	fault           atomic.Pointer[string] // of the last writing; nil for none
	written, failed atomic.Uint64
	size            atomic.Int64
}

func newHotSet(dir string, limit int64, aside func() []byte) *hotSet {
	return &hotSet{dir: dir, limit: limit, aside: aside, lock: state.NewLock(dir, lockName)}
}

// own takes the lock, if no other process has it. h.mu is held.
func (h *hotSet) own() (bool, error) {
	if h.closed {
		return false, errRetired
	}
	return h.lock.Take()
}

// errRetired says that another cache has taken over. It is no failure.
var errRetired = errors.New("another cache keeps the hot set")

var errOtherProcess = errors.New("another process keeps its hot set there")

// write replaces the file by what is in memory at now, whole or not at all.
// entries is called when nothing can be discarded before the file is there.
func (h *hotSet) write(entries func() []named, now time.Duration) (err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch mine, err := h.own(); {
	case err != nil:
		return err
	case !mine:
		return errOtherProcess
	}
	all := entries()
	ids := make(map[Key]struct{}, len(all))
	for _, e := range all {
		if e.id != (Key{}) {
			ids[e.id] = struct{}{}
		}
	}
	err = state.Replace(filepath.Join(h.dir, hotName), func(w io.Writer) error { return h.encode(w, all, now) })
	if err == nil {
		h.ids = ids // else the file is the one before
	}
	return err
}

func (h *hotSet) encode(f io.Writer, entries []named, now time.Duration) error {
	w := bufio.NewWriterSize(f, 64<<10)
	head := append([]byte(nil), hotMagic...)
	head = binary.AppendUvarint(head, uint64(time.Now().UnixMilli()))
	var aside []byte
	if h.aside != nil {
		aside = h.aside()
	}
	head = binary.AppendUvarint(head, uint64(len(aside)))
	head = append(head, aside...)
	head = binary.LittleEndian.AppendUint32(head, crc32.Checksum(head, castagnoli))
	_, _ = w.Write(head) // w keeps its first error; Flush returns it
	size := int64(len(head))
	for _, e := range entries {
		if e.until <= now {
			continue
		}
		b := marshal(e.key, e.entry, now)
		if size += int64(len(b)) + binary.MaxVarintLen32; size > h.limit {
			break
		}
		_, _ = w.Write(binary.AppendUvarint(nil, uint64(len(b))))
		if _, err := w.Write(b); err != nil {
			return err
		}
	}
	h.size.Store(size)
	return w.Flush()
}

// discard removes the file, so that a restart does not bring back what is to
// be forgotten, where when is nil or says so of the ids in it.
func (h *hotSet) discard(when func(ids map[Key]struct{}) bool) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if when != nil && !when(h.ids) {
		return nil
	}
	if mine, err := h.own(); !mine {
		if errors.Is(err, errRetired) {
			err = nil
		}
		return err
	}
	if err := state.Remove(filepath.Join(h.dir, hotName)); err != nil {
		return err
	}
	h.ids = nil
	return nil
}

// read gives what the file holds, with the time since it was written added to
// the age of each entry. Up to damage it holds. A file that was written in the
// future tells of a clock that was set back: how old it is nobody knows, so it
// holds nothing.
func (h *hotSet) read(now time.Duration) (entries []named, err error) {
	f, err := os.Open(filepath.Join(h.dir, hotName))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, max(h.limit, 1<<20)+1<<20))
	if err != nil {
		return nil, err
	}
	written, aside, records, err := parseHotSet(b)
	if err != nil {
		return nil, err
	}
	h.restored = bytes.Clone(aside)
	h.ids = make(map[Key]struct{})
	since := time.Since(time.UnixMilli(written).Round(0))
	if since < 0 {
		return nil, nil
	}
	for len(records) > 0 {
		var key Key
		r := parts{b: records}
		record := r.bytes()
		if r.bad || len(record) < len(magic)+len(key) {
			return entries, errDamaged
		}
		copy(key[:], record[len(magic):])
		e, err := unmarshal(record, key, now)
		if err != nil {
			return entries, err
		}
		records = r.b
		if e.id != (Key{}) {
			h.ids[e.id] = struct{}{}
		}
		e.born, e.until = e.born-since, e.until-since
		if e.until > now {
			e.origin = restored
			entries = append(entries, named{key, e})
		}
	}
	return entries, nil
}

// parseHotSet takes the head of a hot set from its entries.
func parseHotSet(b []byte) (written int64, aside, records []byte, err error) {
	r := parts{b: b}
	if len(b) < len(hotMagic) || string(b[:len(hotMagic)]) != hotMagic {
		return 0, nil, nil, errDamaged
	}
	r.b = b[len(hotMagic):]
	written = int64(r.millis() / time.Millisecond)
	aside = r.bytes()
	n := len(b) - len(r.b)
	if r.bad || len(r.b) < crcSize || crc32.Checksum(b[:n], castagnoli) != binary.LittleEndian.Uint32(b[n:]) {
		return 0, nil, nil, errDamaged
	}
	return written, aside, r.b[crcSize:], nil
}

// examine says whether a restart would begin warm.
func (h *hotSet) examine(report func(perf.Condition)) {
	c := perf.Condition{Component: "state_dir"}
	if fault := h.fault.Load(); fault != nil {
		c.State, c.Error = perf.Degraded, *fault
		c.Advice = "Check that " + h.dir + " can be written, has room and belongs to one process alone. Requests do not depend on it; a restart would begin cold."
	}
	report(c)
}

// close gives the lock back, for good.
func (h *hotSet) close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	return h.lock.Close()
}

func (h *hotSet) report(r perf.Reporter) {
	r.Counter("cache_hot_set_writes_total", "Times the hot set was written.", float64(h.written.Load()))
	r.Counter("cache_hot_set_failures_total", "Times the hot set could not be written.", float64(h.failed.Load()))
	r.Gauge("cache_hot_set_bytes", "Bytes of the hot set as last written.", float64(h.size.Load()))
}

// Restored gives what was kept with the hot set, nil where there is none.
func (c *Cache) Restored() []byte {
	if c.hot == nil {
		return nil
	}
	return c.hot.restored
}

// restore puts the hot set into memory, the hottest last.
func (c *Cache) restore() {
	entries, err := c.hot.read(c.clock.Now())
	if err != nil {
		c.log.Warn("the hot set cannot be read whole; the cache starts colder", "dir", c.hot.dir, "error", err)
	}
	gen := c.store.generation()
	for i := len(entries) - 1; i >= 0; i-- {
		if e := entries[i]; e.size() <= c.cfg.MaxEntryBytes+overhead {
			c.store.put(e.key, e.entry, gen, nil)
			c.figures.loaded[restored].Add(1)
		}
	}
}

// save writes the hot set. A failure is logged where it is not the one before.
func (c *Cache) save(last error) error {
	err := c.hot.write(c.store.hottest, c.clock.Now())
	switch {
	case err == nil:
		c.hot.written.Add(1)
		c.hot.fault.Store(nil)
		return nil
	case errors.Is(err, errRetired):
		return nil
	}
	c.hot.failed.Add(1)
	text := err.Error()
	c.hot.fault.Store(&text)
	if last == nil || last.Error() != err.Error() {
		c.log.Warn("the hot set cannot be written; a restart will start colder", "dir", c.hot.dir, "error", fmt.Sprint(err))
	}
	return err
}
