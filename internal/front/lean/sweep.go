//go:build linux

package lean

import (
	"math"
	"runtime"
	"sync/atomic"
	"time"
)

// never is when a deadline is due that is not set.
const never = time.Duration(math.MaxInt64)

// sweeper looks at all deadlines at about the time when the first is due, so that to
// set one is to store a number. Deadlines are often set and seldom due.
type sweeper struct {
	planned atomic.Int64  // when it looks next; a deadline before that wakes it
	sooner  chan struct{} // has room for one
	ended   chan struct{}
}

// sweepPause is the least time between two looks, by which a deadline may be late.
const sweepPause = 5 * time.Millisecond

func (s *sweeper) init() {
	s.sooner, s.ended = make(chan struct{}, 1), make(chan struct{})
	s.planned.Store(int64(never))
}

// run looks until the sweeper is closed. look interrupts what is due and returns when
// the next one is.
func (s *sweeper) run(look func() (next time.Duration), now func() time.Duration) {
	timer := time.NewTimer(never)
	defer timer.Stop()
	for {
		s.planned.Store(int64(never)) // whatever is set while it looks wakes it
		next := look()
		s.planned.Store(int64(next))
		wait := never
		if next != never {
			wait = max(next-now(), sweepPause)
		}
		timer.Reset(wait)
		select {
		case <-s.ended:
			return
		case <-timer.C:
		case <-s.sooner:
			select { // not at once again
			case <-s.ended:
				return
			case <-time.After(sweepPause):
			}
		}
	}
}

func (s *sweeper) close() { close(s.ended) }

// deadline is when what goes on is interrupted. Whoever reads or writes sets it, and
// the sweeper looks at it: who changes it last is decided by compare-and-swap, so that
// nothing is interrupted that has begun after the sweeper looked.
type deadline struct {
	at      atomic.Int64 // on the Server's clock; 0 for none; or one of the following
	sweeper *sweeper
	of      interruptible
}

// interruptible is what goes on until a deadline.
type interruptible interface {
	interrupt() error // makes it fail
	restore() error   // takes that back
}

const (
	firing = -1 // the sweeper interrupts
	fired  = -2 // it has
)

// set sets it, 0 for none, in place of what it was.
func (d *deadline) set(at time.Duration) {
	for {
		switch old := d.at.Load(); old {
		case firing:
			runtime.Gosched()
			continue
		case fired:
			_ = d.of.restore()
			fallthrough
		default:
			if !d.at.CompareAndSwap(old, int64(at)) {
				continue
			}
		}
		break
	}
	if at > 0 && int64(at) < d.sweeper.planned.Load() {
		select {
		case d.sweeper.sooner <- struct{}{}:
		default:
		}
	}
}

// pass interrupts what is due, and says when it is due otherwise.
func (d *deadline) pass(now time.Duration) (next time.Duration) {
	at := d.at.Load()
	switch {
	case at <= 0:
		return never
	case time.Duration(at) > now:
		return time.Duration(at)
	}
	d.fire(at)
	return never // what has been set since has woken the sweeper
}

// fire interrupts what goes on, unless its deadline is not that one any more.
func (d *deadline) fire(at int64) bool {
	if !d.at.CompareAndSwap(at, firing) {
		return false
	}
	_ = d.of.interrupt()
	d.at.Store(fired)
	return true
}
