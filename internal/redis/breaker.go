package redis

import (
	"context"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// Failures is how many failures in a row bring a Client down.
const Failures = 3

// breaker knows whether the server can be asked. It begins down: the first
// probe connects, so that no call has to.
type breaker struct {
	up     atomic.Bool
	failed atomic.Int32  // in a row
	down   chan struct{} // wakes the prober
}

func (b *breaker) succeed() { b.failed.Store(0) }

// fail counts a failure and reports whether it brought the client down.
func (b *breaker) fail() bool {
	if b.failed.Add(1) < Failures || !b.up.CompareAndSwap(true, false) {
		return false
	}
	b.down <- struct{}{} // has room: the prober has taken the one before
	return true
}

func (b *breaker) rise() {
	b.failed.Store(0)
	b.up.Store(true)
}

// backoff is the time between attempts: it doubles from first to longest, and
// the half of it is random, so that the machines do not all come at once.
type backoff struct {
	first, longest time.Duration
	attempts       int
}

// wait waits, and reports false when ctx ended.
func (b *backoff) wait(ctx context.Context) bool {
	d := b.longest
	if b.attempts < 16 {
		d = min(b.first<<b.attempts, d)
	}
	b.attempts++
	t := time.NewTimer(d/2 + rand.N(d/2+1))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
