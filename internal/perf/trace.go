package perf

import (
	"encoding/hex"
	"sync"
	"sync/atomic"
	"time"
)

// TraceID identifies a trace (W3C Trace Context, section 3.2.2.3). Zero is none.
type TraceID [16]byte

// String gives it in lower-case hexadecimal digits.
func (id TraceID) String() string { return hex.EncodeToString(id[:]) }

// SpanID identifies a span of a trace. Zero is none.
type SpanID [8]byte

// String gives it in lower-case hexadecimal digits.
func (id SpanID) String() string { return hex.EncodeToString(id[:]) }

// Trace is a request's place in a distributed trace.
type Trace struct {
	ID      TraceID
	Parent  SpanID // the client's
	Span    SpanID // the gateway's own; zero where spans are not recorded
	Call    SpanID // that of the call to the upstream, which the upstream sees as its parent
	Sampled bool
}

// Tracer decides which requests get spans. It is called on the way of every
// request, by any number of goroutines. parent is what the client sent; its ID is
// zero where that was nothing. The trace that it returns has spans, or is parent
// as it came.
type Tracer interface {
	Begin(parent Trace) Trace
}

// classic are the upper bounds, in seconds, of the buckets that Prometheus gets
// besides the native ones: half decades from 10 µs, since what is measured
// reaches from a hand-off inside the process to a reply of some minutes.
var classic = [...]float64{
	10e-6, 25e-6, 50e-6, 100e-6, 250e-6, 500e-6,
	1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 100e-3, 250e-3, 500e-3,
	1, 2.5, 5, 10, 25, 50, 100, 250, 500,
}

// renewed is how old an exemplar becomes before another takes its place.
const renewed = time.Second

// exemplars are traces of values, one for each classic bucket.
type exemplars struct {
	due  [len(classic) + 1]atomic.Int64 // Unix nanoseconds from which on a new one is taken
	mu   sync.Mutex
	kept [len(classic) + 1]Exemplar
}

// Exemplar is a value and the trace in which it was seen (OpenMetrics 1.0,
// section 4.6.1).
type Exemplar struct {
	Value float64
	Trace TraceID
	At    time.Time
}

// keep makes a value the example of its bucket, if the one there is not new.
func (e *exemplars) keep(v float64, id TraceID, at time.Time) {
	i := 0
	for i < len(classic) && v > classic[i] {
		i++
	}
	now, due := at.UnixNano(), e.due[i].Load()
	// The one there may be of a clock that was set back since.
	if (now < due && due-now <= int64(renewed)) || !e.due[i].CompareAndSwap(due, now+int64(renewed)) {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.kept[i] = Exemplar{v, id, at}
}

// Exemplars returns the kept ones, the least value first.
func (h *Histogram) Exemplars() (list []Exemplar) {
	e := h.exemplars.Load()
	if e == nil {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for i := range e.kept {
		if e.kept[i].Trace != (TraceID{}) {
			list = append(list, e.kept[i])
		}
	}
	return list
}
