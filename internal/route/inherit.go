package route

import (
	"reflect"

	"sluice/internal/monotonic"
)

// newClock gives the clock of the Router before, so that its times hold.
func newClock(before *Router) monotonic.Clock {
	if before != nil {
		return before.clock
	}
	return monotonic.New()
}

// inherit takes over what the Router before knew of the same upstream, so that
// a new configuration neither forgets that one is down nor has requests wait
// for lists that are known.
func (up *upstream) inherit(before *Router) {
	if before == nil {
		return
	}
	old := before.byName[up.Name]
	if old == nil || !same(old.Handler, up.Handler) {
		return
	}
	before.mu.Lock()
	if !up.static && !old.static {
		up.known, up.models, up.readAt, up.listErr = old.known, old.models, old.readAt, old.listErr
	}
	before.mu.Unlock()
	up.load = old.load // requests under way stay counted
	up.breaker.inherit(&old.breaker)
	up.cooling.inherit(&old.cooling)
	up.circuits.inherit(up, &old.circuits)
	up.fault.Store(old.fault.Load())
	for o := range outcomes {
		up.results[o].Store(old.results[o].Load())
	}
}

func same(a, b any) bool {
	return reflect.ValueOf(a).Comparable() && reflect.ValueOf(b).Comparable() && a == b
}

func (b *breaker) inherit(old *breaker) {
	old.mu.Lock()
	defer old.mu.Unlock()
	b.failures.Store(old.failures.Load())
	b.isOpen.Store(old.isOpen.Load())
	b.ejected.Store(old.ejected.Load())
	b.until, b.wait, b.wellSince = old.until, min(old.wait, b.cfg.OpenFor), old.wellSince
}

func (cs *circuits) inherit(up *upstream, old *circuits) {
	next := make(map[string]*circuit)
	for model, c := range old.all() {
		next[model] = newCircuit(up, model)
		next[model].inherit(c)
	}
	cs.kept.Store(&next)
}

func (c *cooling) inherit(old *cooling) {
	old.mu.Lock()
	defer old.mu.Unlock()
	for model, until := range old.until {
		if left := until - old.clock.Now(); left > 0 {
			c.start(model, left)
		}
	}
}
