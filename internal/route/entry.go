package route

import (
	"log/slog"

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
	return e, true
}

// begun is told that the reply has begun.
func (e *entry) begun() {
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
func (e *entry) settle(o outcome, failure *llm.Error) {
	e.up.results[o].Add(1)
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
		up.router.log.Info("upstream is back", slog.String("upstream", up.Name))
	}
}

// fails counts one that did not.
func (up *upstream) fails(o outcome, failure *llm.Error, probe bool) {
	up.fault.Store(faultOf(failure))
	if up.breaker.fail(probe) {
		up.router.log.Warn("upstream fails and is left alone", slog.String("upstream", up.Name),
			slog.String("cause", o.String()), slog.Duration("for", up.router.cfg.Breaker.OpenFor))
	}
}
