package memory

import (
	"math"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// normalPercent is Go's default: garbage up to the size of what is live.
	normalPercent = 100
	// leastPercent is what the collector is given at least.
	leastPercent = 10
	// quietPercent is what it is given at most while there is little to do: Go takes a
	// heap for at least 4 MiB at 100, so an idle process would keep as much garbage.
	quietPercent = 25
	// storedPercent is what stored replies add to the room for garbage. They hold no
	// pointers and stay, so collecting more often costs little on their account, while
	// garbage in proportion to them would double their memory.
	storedPercent = 15
	// leastHeap is what Go takes the live heap for at least, in bytes.
	leastHeap = 4 << 20
	// apart is the time that should lie between two collections: their cost is that of
	// the live heap, so that of a small one is nothing but being frequent.
	apart = time.Second
	// mostRoom is how much garbage there may be for the sake of that, in bytes, and
	// roomShare how much of the limit. With 64 MiB a request cost no less that could be
	// measured than with 16, and with 8 the collector up to twice as much.
	mostRoom, roomShare = 16 << 20, 1. / 8
)

// heap is what the collector's pace depends on, in bytes.
type heap struct {
	live   int64 // as of the last collection
	stored int64 // of replies, which hold no pointers
	rate   int64 // allocated a second
	limit  int64 // that the runtime may take; math.MaxInt64 for none
	quiet  bool  // there is little to do
}

// room is how much garbage there may be before it is collected: as much as is live
// without the stored replies, as Go has it, or as much as comes up within apart, where
// that is more and the limit allows for it.
func (h heap) room() int64 {
	rest := max(h.live-h.stored, leastHeap) + h.stored*storedPercent/100
	most := min(mostRoom, int64(float64(h.limit)*roomShare))
	return max(rest, min(int64(float64(h.rate)*apart.Seconds()), most))
}

// percent is GOGC for that. live may be less than stored, which is newer.
func (h heap) percent() int {
	live := max(h.live, leastHeap)
	percent := int(max(h.room()*100/live, leastPercent))
	if h.quiet {
		percent = min(percent, quietPercent)
	}
	return percent
}

// collector paces the garbage collector and gives memory back to the system.
type collector struct {
	percent int // GOGC as it was set last
	samples [5]metrics.Sample

	allocated uint64 // when it was looked at last
	at        time.Time
	rate      int64     // allocated a second, in bytes; what falls does so slowly
	quiet     int       // looks since there was much to do
	freed     int       // times, since it became quiet
	forced    time.Time // when a collection was asked for last
}

// The metrics that are read, by their place in samples.
const (
	heapLive = iota
	heapAllocated
	heapFree
	total
	released
)

func (c *collector) read() {
	for i, name := range [...]string{
		"/gc/heap/live:bytes", "/gc/heap/allocs:bytes", "/memory/classes/heap/free:bytes", "/memory/classes/total:bytes", "/memory/classes/heap/released:bytes",
	} {
		c.samples[i].Name = name
	}
	metrics.Read(c.samples[:])
}

func (c *collector) bytes(metric int) int64 { return int64(c.samples[metric].Value.Uint64()) }

const (
	// quietRate is how much is allocated a second when there is little to do.
	quietRate = 1 << 20
	// quietLooks is how many looks it has to be so before memory goes back to the
	// system, and worth how much there has to be to give back.
	quietLooks = 10
	worth      = 4 << 20
	// againLooks is how many it has to be so until it is done once more: what the first
	// collection found in use, stacks and pieces of spans, is free by then.
	againLooks = 45
	// forcedEvery is the least time between two collections for the sake of a figure.
	forcedEvery = 3 * time.Second
)

// look takes the present values and sets GOGC, unless that is the user's (fixed).
func (c *collector) look(now time.Time, stored, limit int64, fixed bool) {
	c.read()
	allocated := c.samples[heapAllocated].Value.Uint64()
	if d := now.Sub(c.at).Seconds(); !c.at.IsZero() && d > 0 {
		rate := int64(float64(allocated-c.allocated) / d)
		c.rate = max(rate, c.rate*3/4)
		if c.quiet++; rate > quietRate {
			c.quiet, c.freed = 0, 0
		}
	}
	c.allocated, c.at = allocated, now
	if fixed {
		return
	}
	percent := c.heap(stored, limit).percent()
	// A change stops the world for a moment, so small ones are not made.
	if percent*10 < c.percent*9 || percent*9 > c.percent*10 {
		debug.SetGCPercent(percent)
		c.percent = percent
	}
}

// heap is what the pace depends on, as of the last look.
func (c *collector) heap(stored, limit int64) heap {
	return heap{live: c.bytes(heapLive), stored: stored, rate: c.rate, limit: limit, quiet: c.quiet >= quietLooks}
}

// idle reports whether there is little to do, and again or due: a collection then is in
// nobody's way.
func (c *collector) idle(due bool) bool {
	if c.quiet < quietLooks || !due && (c.freed > 1 || c.freed == 1 && c.quiet < againLooks) {
		return false
	}
	c.freed++
	return true
}

// fresh collects so that what is live is known as of now: what was live at the last
// collection may be long gone. It does not do so often.
func (c *collector) fresh(now time.Time) {
	if now.Sub(c.forced) >= forcedEvery {
		runtime.GC()
		c.read()
		c.forced = now
	}
}

// giveBack collects, and gives memory back to the system where that is worth it.
func (c *collector) giveBack() int64 {
	c.read()
	before := c.bytes(total) - c.bytes(released)
	if before-c.bytes(heapLive) < worth {
		return 0
	}
	debug.FreeOSMemory()
	c.read()
	return max(before-(c.bytes(total)-c.bytes(released)), 0)
}

// noLimit is GOMEMLIMIT for none.
const noLimit = math.MaxInt64
