package gateway

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// headroomEvery is the time between two looks at the heap.
	headroomEvery = time.Second
	// normalPercent is Go's default: garbage up to the size of what is live.
	normalPercent = 100
	// storedPercent is what stored replies add to that. They hold no pointers and
	// stay, so collecting more often costs little on their account, while
	// garbage in proportion to them would double their memory.
	storedPercent = 15
	// leastHeap is what Go takes the live heap for at least, in bytes.
	leastHeap = 4 << 20
)

// headroom keeps the collector's headroom to what the heap without the stored
// replies needs, until ctx is done. Where GOGC is set it leaves that alone.
func headroom(ctx context.Context, stored func() int64) {
	if os.Getenv("GOGC") != "" {
		return
	}
	defer debug.SetGCPercent(normalPercent)
	tick := time.NewTicker(headroomEvery)
	defer tick.Stop()
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	last := normalPercent
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		metrics.Read(live)
		percent := gcPercent(int64(live[0].Value.Uint64()), stored())
		// A change stops the world for a moment, so small ones are not made.
		if percent*10 < last*9 || percent*9 > last*10 {
			debug.SetGCPercent(percent)
			last = percent
		}
	}
}

// gcPercent is the GOGC value for a heap of live bytes of which stored are
// replies. live is as of the last collection, so it may be less than stored.
func gcPercent(live, stored int64) int {
	rest := max(live-stored, leastHeap)
	room := rest + stored*storedPercent/100
	return int(min(room*normalPercent/max(live, leastHeap), normalPercent))
}
