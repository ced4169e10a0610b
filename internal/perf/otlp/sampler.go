package otlp

import (
	"encoding/binary"
	"math/rand/v2"

	"sluice/internal/perf"
)

// always is the bound that samples every trace.
const always = 1 << 63

// Sampler decides which traces are recorded. The zero Sampler records none.
type Sampler struct {
	// ParentBased leaves the decision to the client, where it sent one.
	ParentBased bool
	// bound is compared with 63 bits of the trace's id, which are random: the same
	// ones that OpenTelemetry's SDKs for Go and Java take, so that all of a trace's
	// services with the same ratio decide alike.
	bound uint64
}

func (s Sampler) samples(id perf.TraceID) bool {
	return binary.BigEndian.Uint64(id[8:])>>1 < s.bound
}

// Begin implements perf.Tracer.
func (e *Exporter) Begin(parent perf.Trace) perf.Trace {
	if e.spans == nil {
		return parent
	}
	t := parent
	s := &e.cfg.Sampler
	switch root := parent.ID == (perf.TraceID{}); {
	case root:
		for t.ID == (perf.TraceID{}) {
			binary.NativeEndian.PutUint64(t.ID[:8], rand.Uint64())
			binary.NativeEndian.PutUint64(t.ID[8:], rand.Uint64())
		}
		t.Sampled = s.samples(t.ID)
	case !s.ParentBased:
		t.Sampled = s.samples(t.ID)
	}
	if !t.Sampled {
		return parent
	}
	t.Span, t.Call = spanID(), spanID()
	return t
}

// spanID makes an id. The runtime's generator is ChaCha8 with a random seed for
// each thread: it takes no lock and no memory.
func spanID() (id perf.SpanID) {
	for id == (perf.SpanID{}) {
		binary.NativeEndian.PutUint64(id[:], rand.Uint64())
	}
	return id
}
