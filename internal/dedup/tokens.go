package dedup

import (
	"maps"
	"math"
	"sync"
	"sync/atomic"

	"sluice/internal/llm"
	"sluice/internal/perf"
)

// bytesPerToken is how many bytes of a repeated text, as it stands in a body, are a token of
// o200k, by what `bench dedup` counts on recorded conversations (3.2 to 4.0 by kind). It is
// where estimates begin.
const bytesPerToken = 3.8

// The bounds of what a service may say of itself: letters that are written \u4e16 are 6 bytes
// and one token, binary in base64 hardly more than one byte.
const leastPerToken, mostPerToken = 1.0, 8.0

const (
	// share is by how much of the difference a reply moves an estimate.
	share = 1.0 / 16

	// leastSample is how many bytes of text a request has to have to be learnt from: of less,
	// what the service adds of its own counts for too much.
	leastSample = 2 << 10

	// mostModels bounds the models that are learnt of. All others together have one estimate,
	// under this name.
	mostModels  = 64
	otherModels = "other"
)

// ratios are how many bytes of text services take for a token, by the client's name of the
// model. It implements llm.TokenRatio. The zero value knows no model.
type ratios struct {
	begin  float64 // what all begin with
	models atomic.Pointer[map[string]*ratio]
	adding sync.Mutex // held by who puts another map there
	others ratio
}

// ratio is one of them, as the bits of a float64; 0 until there was a reply.
type ratio struct{ bits atomic.Uint64 }

// of gives the bytes of a token of a model.
func (r *ratios) of(model string) float64 { return r.read(r.find(perf.Label(model))) }

func (r *ratios) read(one *ratio) float64 {
	if bits := one.bits.Load(); bits != 0 {
		return math.Float64frombits(bits)
	}
	return r.begin
}

// find gives what a model has of its own, else what it shares with others. The model is a label.
func (r *ratios) find(model string) *ratio {
	if known := r.models.Load(); known != nil {
		if one := (*known)[model]; one != nil {
			return one
		}
	}
	return &r.others
}

// Learn implements llm.TokenRatio.
func (r *ratios) Learn(model string, text, tokens int64) {
	if text < leastSample || tokens <= 0 {
		return
	}
	told := min(max(float64(text)/float64(tokens), leastPerToken), mostPerToken)
	model = perf.Label(model)
	one := r.find(model)
	if one == &r.others && model != "" && model != otherModels {
		one = r.add(model)
	}
	for {
		bits := one.bits.Load()
		was := r.begin
		if bits != 0 {
			was = math.Float64frombits(bits)
		}
		if one.bits.CompareAndSwap(bits, math.Float64bits(was+(told-was)*share)) {
			return
		}
	}
}

// add gives a model a ratio of its own, if there is room.
func (r *ratios) add(model string) *ratio {
	r.adding.Lock()
	defer r.adding.Unlock()
	one := r.find(model)
	if one != &r.others {
		return one
	}
	more := make(map[string]*ratio)
	if known := r.models.Load(); known != nil {
		if len(*known) >= mostModels {
			return one
		}
		maps.Copy(more, *known)
	}
	one = new(ratio)
	more[model] = one
	r.models.Store(&more)
	return one
}

// figures reports what was learnt.
func (r *ratios) figures(to perf.Reporter) {
	tell := func(model string, one *ratio) {
		to.Gauge("dedup_bytes_per_token", "Bytes of text that are estimated to be a token, by model: what services count, as their replies to requests say that were made shorter. Models of which nothing is known, and those above 64, are other.", r.read(one), "model", model)
	}
	if known := r.models.Load(); known != nil {
		for model, one := range *known {
			tell(model, one)
		}
	}
	tell(otherModels, &r.others)
}

// learns reports whether a reply tells something of the text that was sent: it is the service's
// own, to this request.
func learns(h *llm.Head) bool {
	switch h.Cache {
	case llm.CacheHit, llm.CacheStale, llm.CacheCoalesced:
		return false
	}
	return h.Upstream != "" && h.Status == 200
}
