package redis

import (
	"slices"
	"sync"
	"time"

	"sluice/internal/cache"
)

// Bounds of what waits to be stored, and of what is stored in one go. A value
// counts with its bytes alone: places are small.
const (
	maxQueued      = 1024
	maxQueuedBytes = 16 << 20
	maxBatch       = 64
	maxBatchBytes  = 1 << 20
)

// put is a reply to be stored until end.
type put struct {
	place cache.Place
	value []byte
	end   time.Time
}

// batch is what a writer stores in one go; done is closed when it has.
type batch struct {
	puts []put
	done chan struct{}
}

// queue holds what is to be stored, in order.
type queue struct {
	wake chan struct{} // has room for one: something waits

	mu    sync.Mutex
	puts  []put
	bytes int
	under []*batch // being stored
}

// add takes p if there is room.
func (q *queue) add(p put) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.puts) >= maxQueued || q.bytes+len(p.value) > maxQueuedBytes {
		return false
	}
	q.puts = append(q.puts, p)
	q.bytes += len(p.value)
	q.signal()
	return true
}

func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// await waits for something to store; nil when ended is closed. A batch has to be
// finished.
func (q *queue) await(ended <-chan struct{}) *batch {
	for {
		select {
		case <-q.wake:
			if b := q.next(); b != nil {
				return b
			}
		case <-ended:
			return nil
		}
	}
}

func (q *queue) next() *batch {
	q.mu.Lock()
	defer q.mu.Unlock()
	n, size := 0, 0
	for n < len(q.puts) && n < maxBatch && (n == 0 || size+len(q.puts[n].value) <= maxBatchBytes) {
		size += len(q.puts[n].value)
		n++
	}
	if n == 0 {
		return nil
	}
	b := &batch{puts: slices.Clone(q.puts[:n]), done: make(chan struct{})}
	q.puts = slices.Delete(q.puts, 0, n)
	q.bytes -= size
	q.under = append(q.under, b)
	if len(q.puts) > 0 {
		q.signal()
	}
	return b
}

func (q *queue) finish(b *batch) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.under = slices.DeleteFunc(q.under, func(o *batch) bool { return o == b })
	close(b.done)
}

// forget drops what p is about and returns what is being stored already, to be
// waited for.
func (q *queue) forget(p cache.Purge) []*batch {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.puts = slices.DeleteFunc(q.puts, func(o put) bool {
		gone := concerns(p, o.place)
		if gone {
			q.bytes -= len(o.value)
		}
		return gone
	})
	return slices.Clone(q.under)
}

// concerns reports whether p is about the reply in a place.
func concerns(p cache.Purge, at cache.Place) bool {
	if p.ID != (cache.Key{}) { // of what waits only its pointer is known by it
		return at == cache.Place{Key: p.ID}
	}
	return (p.Model == "" || p.Model == at.Model) && (p.Key == (cache.Key{}) || p.Key == at.Key)
}
