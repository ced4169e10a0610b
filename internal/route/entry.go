package route

import (
	"log/slog"
	"time"

	"sluice/internal/llm"
)

// entry is one request at one target, past its breakers. It has to be settled.
type entry struct {
	up      *upstream
	model   string
	circuit *circuit // of the model, nil while that has not failed

	// Whether the request decides if the breaker closes: that of the upstream's
	// connections, and that of the model.
	probe, modelProbe bool

	// Of a model that several upstreams serve.
	replica *replica
	first   *estimate
	sent    time.Duration // on the clock
	others  int64         // that were in flight then
	waiting bool          // for the reply to begin
	entered bool
}

// enter asks both breakers to send a request.
func (t *target) enter() (e entry, ok bool) {
	e = entry{up: t.up, model: t.model}
	if e.probe, ok = t.up.breaker.enter(); !ok {
		return e, false
	}
	if e.circuit = t.up.circuits.find(t.model); e.circuit != nil {
		if e.modelProbe, ok = e.circuit.breaker.enter(); !ok {
			t.up.breaker.leave(e.probe)
			return e, false
		}
	}
	e.entered = true
	t.up.load.inFlight.Add(1)
	return e, true
}

// counts has the request's time to first event taken in, and counts it for as long
// as it is in flight.
func (e *entry) counts(r *replica, kind int) {
	if r == nil {
		return
	}
	e.replica, e.first, e.sent = r, &r.first[kind], e.up.router.clock.Now()
	e.others, e.waiting = r.inFlight.Add(1)-1, true
	e.first.waiting.Add(1)
}

// answers ends the wait for the reply's beginning. For a part of it the request was
// queued for its turn, which says nothing of the upstream.
func (e *entry) answers(o outcome, queued time.Duration) {
	if !e.waiting {
		return
	}
	e.waiting = false
	e.first.waiting.Add(-1)
	others := e.others
	if queued > 0 {
		others = untold // some of them were queued too
	}
	now := e.up.router.clock.Now()
	switch waited := max(now-e.sent-queued, 0); o {
	case succeeded:
		e.first.observe(now, waited, others)
	case timedOut, cancelled:
		e.first.missed(now, waited, others)
	}
}

// ended is told when nothing is left of the request there.
func (e *entry) ended() {
	if !e.entered {
		return
	}
	e.entered = false
	e.up.load.inFlight.Add(-1)
	if e.replica != nil {
		e.answers(internal, 0)
		e.replica.inFlight.Add(-1)
	}
}

// begun is told that the reply has begun.
func (e *entry) begun(queued time.Duration) {
	e.answers(succeeded, queued)
	if e.probe {
		e.up.works(true)
	}
	if e.modelProbe {
		e.circuit.works(true)
	}
	e.probe, e.modelProbe = false, false
}

// settle keeps what the request shows about the upstream and its model. failure is
// not nil where the outcome is a failure.
func (e *entry) settle(o outcome, failure *llm.Error, queued time.Duration) {
	e.up.results[o].Add(1)
	e.answers(o, queued)
	if e.circuit == nil {
		e.circuit = e.up.circuits.find(e.model) // another request may have made one
	}
	works, known := o.healthy()
	switch {
	case !known:
		e.up.breaker.leave(e.probe)
		e.leave()
	case works:
		e.up.works(e.probe)
		if e.circuit != nil {
			e.circuit.works(e.modelProbe)
		}
	case o == unreachable || failure.Unprocessed && failure.Fault != llm.Answered: // a connection was not made in time
		e.up.fails(o, failure, e.probe)
		e.leave()
	default:
		e.up.works(e.probe)                         // it could be reached
		if e.circuit == nil && e.model != noModel { // one route that fails says nothing of the others
			e.circuit = e.up.circuits.make(e.up, e.model)
		}
		if e.circuit != nil {
			e.circuit.fails(o, failure, e.modelProbe)
		}
	}
	e.probe, e.modelProbe = false, false
}

// leave ends a probe of the model that told nothing.
func (e *entry) leave() {
	if e.circuit != nil {
		e.circuit.breaker.leave(e.modelProbe)
	}
}

// works counts a request that reached the upstream.
func (up *upstream) works(probe bool) {
	if up.breaker.succeed(probe) {
		up.load.back.Store(int64(up.router.clock.Now()))
		up.router.log.Info("upstream is back", slog.String("upstream", up.Name))
	}
}

// fails counts one that did not.
func (up *upstream) fails(o outcome, failure *llm.Error, probe bool) {
	up.fault.Store(faultOf(failure))
	if up.breaker.fail(probe) {
		up.router.log.Warn("upstream fails and is left alone", slog.String("upstream", up.Name),
			slog.String("cause", o.String()), slog.Duration("for", up.breaker.left()))
	}
}
