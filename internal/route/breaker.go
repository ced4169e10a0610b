package route

import (
	"sync"
	"sync/atomic"
	"time"

	"sluice/internal/monotonic"
)

// The states of a breaker, as they stand in the figures.
const (
	closed = iota
	halfOpen
	open
)

// sooner is by what the first time for which a breaker is open is shorter than the
// longest. Each attempt that fails doubles it: an upstream that starts anew in a second is
// not missed for ten, which is an outage where there is no other, and one that is down is
// tried as seldom as it may be after four more attempts. So is one that answers an attempt
// and then fails under its load: only where it has been well for the longest time does it
// begin anew.
const sooner = 16

// breaker leaves an upstream alone that failed several times in a row, and
// then lets one request at a time try it. While it is closed it costs two
// atomic loads a request.
type breaker struct {
	clock monotonic.Clock
	cfg   BreakerConfig

	failures atomic.Int32 // in a row
	isOpen   atomic.Bool
	// ejected says that it is open only because siblings do better. Requests that no
	// sibling can take pass.
	ejected atomic.Bool

	mu sync.Mutex
	// wait is for how long it was opened the last time, and wellSince when it was closed
	// after that.
	wait, wellSince time.Duration
	// until is when the next probe may go: at first when the breaker has been
	// open long enough, then when the probe under way is given up. So one that
	// never comes back does not keep the breaker open for ever.
	until   time.Duration
	probing bool
}

// left is how long the breaker refuses requests; 0 when it takes one.
func (b *breaker) left() time.Duration {
	if !b.isOpen.Load() {
		return 0
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return max(b.until-b.clock.Now(), 0)
}

// enter asks to send a request. A probe is one that decides whether the
// breaker closes; it has to be followed by succeed, fail or leave.
func (b *breaker) enter() (probe, ok bool) {
	if !b.isOpen.Load() {
		return false, true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.clock.Now()
	if now < b.until {
		return false, b.ejected.Load()
	}
	b.probing, b.until = true, now+b.cfg.OpenFor
	return true, true
}

// succeed counts a success and reports whether it closed the breaker. Only a
// probe closes it: other requests may have begun long ago.
func (b *breaker) succeed(probe bool) (changed bool) {
	if !b.isOpen.Load() {
		if b.failures.Load() != 0 {
			b.failures.Store(0)
		}
		return false
	}
	if !probe {
		if b.ejected.Load() {
			b.failures.Store(0)
		}
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failures.Store(0)
	b.probing, b.wellSince = false, b.clock.Now()
	if b.ejected.Swap(false) {
		b.wait = 0 // it had not failed all that it got
	}
	return b.isOpen.Swap(false)
}

// eject opens the breaker of one that siblings do better than and reports whether
// it was closed.
func (b *breaker) eject() (changed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.isOpen.Load() {
		return false
	}
	b.ejected.Store(true)
	b.wait = b.cfg.OpenFor
	b.probing, b.until = false, b.clock.Now()+b.wait
	return !b.isOpen.Swap(true)
}

// fail counts a failure and reports whether it opened the breaker.
func (b *breaker) fail(probe bool) (changed bool) {
	if n := b.failures.Add(1); !probe && int(n) < b.cfg.Failures {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.isOpen.Load() && !probe && !b.ejected.Load() {
		return false
	}
	if n := int(b.failures.Load()); n >= b.cfg.Failures {
		b.ejected.Store(false) // it fails all it gets
	}
	now := b.clock.Now()
	if b.wait == 0 || !b.isOpen.Load() && now-b.wellSince >= b.cfg.OpenFor {
		b.wait = max(b.cfg.OpenFor/sooner, 1)
	} else {
		b.wait = min(2*b.wait, b.cfg.OpenFor)
	}
	b.probing, b.until = false, now+b.wait
	return !b.isOpen.Swap(true)
}

// leave ends a probe that told nothing, so that the next request is one.
func (b *breaker) leave(probe bool) {
	if !probe {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.probing {
		b.probing, b.until = false, b.clock.Now()
	}
}

func (b *breaker) state() int {
	switch {
	case !b.isOpen.Load():
		return closed
	case b.left() == 0:
		return halfOpen
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.probing {
		return halfOpen
	}
	return open
}
