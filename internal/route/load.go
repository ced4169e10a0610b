package route

import (
	"cmp"
	"iter"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cespare/xxhash/v2"

	"sluice/internal/llm"
)

const (
	// maxReplicas bounds the models of one upstream that others serve too and whose
	// load is told apart: their names may come from clients.
	maxReplicas = 1024
	// peakDecay is the time constant with which a high time to first event is
	// forgotten for the lower ones that follow, in seconds. Where none follow it holds
	// for idleFor: then one request finds out whether it still does. Were it to fade,
	// more and more of them would find out that it does.
	peakDecay = 10.0
	idleFor   = 30 * time.Second
	// firstFor is the same for the first time alone, which may be that of connecting.
	firstFor = time.Second
	// spare is how many requests in flight make no difference to one another.
	spare = 8.0
	// coldRequests is how many requests may wait for a replica that has not answered
	// any yet, while another has.
	coldRequests = 4
)

// load is what an upstream has to do now and how it was chosen. It is shared with
// the Router that takes this one's place.
type load struct {
	hash      uint64        // of the upstream's name
	bit       uint64        // the upstream's in a set of them
	inFlight  atomic.Int64  // requests, streams for as long as they run
	back      atomic.Int64  // when it came back, on the clock; 0 where it was never away
	ejections atomic.Uint64 // how often one of its models was left alone for its siblings
	picks     [causes]atomic.Uint64
	replicas  replicas
}

// newLoad makes the load of an upstream, with a bit that none of used is, while there
// are any.
func newLoad(name string, used uint64) *load {
	l := &load{hash: xxhash.Sum64String(name)}
	if l.bit = ^used & (used + 1); l.bit == 0 {
		l.bit = 1 << (l.hash % 64) // what is known of two upstreams is then known of one
	}
	return l
}

// replica is an upstream as one of several that serve a model. It is safe for
// concurrent use.
type replica struct {
	model    string // "" for several
	inFlight atomic.Int64
	back     atomic.Int64 // when it came back, as in load
	first    [2 * sizes]estimate
}

// estimate is a peak-EWMA of the time to the first event: it follows a higher one at
// once and forgets it over time, however many requests there are. What it reads is
// of one moment, but perhaps not all of the same.
type estimate struct {
	mu    sync.Mutex    // of those who change it
	value atomic.Uint64 // seconds, a float64
	load  atomic.Uint64 // how many requests were in flight beside, a peak too: a float64
	at    atomic.Int64  // when it was last changed, on the clock; 0 for never
	again atomic.Bool   // it holds: it was found out again, after the first time

	waiting atomic.Int64 // requests whose reply has not begun
}

// untold is for a request of which it is not known how many others were in flight.
const untold = -1

// observe takes in how long a request waited that found others in flight.
func (e *estimate) observe(now, waited time.Duration, others int64) {
	sample, beside := waited.Seconds(), float64(max(others, 0))
	e.mu.Lock()
	defer e.mu.Unlock()
	if at := time.Duration(e.at.Load()); at > 0 {
		value, load := math.Float64frombits(e.value.Load()), math.Float64frombits(e.load.Load())
		keep := math.Exp(-max(now-at, 0).Seconds() / peakDecay)
		if now-waited >= at && !e.again.Swap(true) {
			keep = 0 // those sent with the first may have had to connect too
		}
		if sample > value {
			sample = min(sample, 2*value) // one long prompt among short ones is no peak yet
		} else {
			sample += (value - sample) * keep
		}
		if others == untold {
			beside = load
		}
		beside = max(beside, beside+(load-beside)*keep)
	}
	e.value.Store(math.Float64bits(sample))
	e.load.Store(math.Float64bits(beside))
	e.at.Store(max(int64(now), 1))
}

// missed takes in that a request has waited for so long in vain.
func (e *estimate) missed(now, waited time.Duration, others int64) {
	if waited.Seconds() > math.Float64frombits(e.value.Load()) {
		e.observe(now, waited, others)
	}
}

// unknown is the time that is expected of a replica that has not answered yet.
const unknown = -1

// seconds gives the time to first event, unknown where there was none.
func (e *estimate) seconds(now time.Duration) float64 {
	at := time.Duration(e.at.Load())
	if at == 0 {
		return unknown
	}
	hold := firstFor
	if e.again.Load() {
		hold = idleFor
	}
	if now-at >= hold && e.waiting.Load() == 0 {
		return 0
	}
	return math.Float64frombits(e.value.Load())
}

// expected is how long the next request will wait for its first event, in seconds:
// as long as others did, and longer as far as there are more in flight now than they
// found. A replica whose times do not rise with its load may so have all of it.
func (r *replica) expected(now time.Duration, kind int) float64 {
	e := &r.first[kind]
	s := e.seconds(now)
	if s == unknown {
		return unknown
	}
	return s * (float64(r.inFlight.Load()) + spare) / (math.Float64frombits(e.load.Load()) + spare)
}

// sizes are how many sizes of requests are told apart.
const sizes = 4

// kindOf gives the kind of a request: whether its reply is a stream, which begins
// sooner than one that is held whole, and how large it is, as long prompts take
// longer. Only times of the same kind are compared.
func kindOf(req *llm.Request) int {
	kind := 0
	for n := req.BodyLen >> 12; n > 0 && kind < sizes-1; n >>= 2 {
		kind++
	}
	if req.Stream {
		kind += sizes
	}
	return kind
}

// replicas are those of one upstream by model.
type replicas struct {
	perModel[replica]
	rest replica // of the models that there is no room for
}

// make gives the model's replica, in place of another one's where there are too
// many, or that of the rest where all of those are busy.
func (rs *replicas) make(model string) *replica {
	if r := rs.find(model); r != nil {
		return r
	}
	r := rs.perModel.make(model, dropOldest, func(model string) *replica { return &replica{model: model} })
	if r == nil {
		return &rs.rest
	}
	return r
}

// dropOldest drops, where there are too many, the replica that answered longest ago of
// those that have nothing to do; a name that nobody answers for is the first to go. It
// reports whether there is room.
func dropOldest(all map[string]*replica) bool {
	if len(all) < maxReplicas {
		return true
	}
	var oldest *replica
	for _, r := range all {
		if r.inFlight.Load() == 0 && (oldest == nil || r.answered() < oldest.answered()) {
			oldest = r
		}
	}
	if oldest == nil {
		return false
	}
	delete(all, oldest.model)
	return true
}

// latest gives the estimates of the kinds that were answered last, by what those
// replies are.
func (r *replica) latest() iter.Seq2[string, *estimate] {
	return func(yield func(string, *estimate) bool) {
		for i, reply := range [...]string{"whole", "stream"} {
			var last *estimate
			for kind := i * sizes; kind < (i+1)*sizes; kind++ {
				if e := &r.first[kind]; last == nil || e.at.Load() > last.at.Load() {
					last = e
				}
			}
			if last.at.Load() > 0 && !yield(reply, last) {
				return
			}
		}
	}
}

// answered is when the replica last answered, on the clock.
func (r *replica) answered() (at time.Duration) {
	for _, e := range r.latest() {
		at = max(at, time.Duration(e.at.Load()))
	}
	return at
}

// known lists the replicas that answered in the last minutes, those first that did
// last and no more than there are circuits.
func (rs *replicas) known(now time.Duration) (list []*replica) {
	for _, r := range rs.all() {
		if at := r.answered(); at > 0 && now-at < recent {
			list = append(list, r)
		}
	}
	slices.SortFunc(list, func(a, b *replica) int {
		return cmp.Or(cmp.Compare(b.answered(), a.answered()), strings.Compare(a.model, b.model))
	})
	return list[:min(len(list), maxCircuits)]
}

// cameBack has a model of the upstream start slowly where others serve it too.
func (l *load) cameBack(model string, now time.Duration) {
	if r := l.replicas.find(model); r != nil {
		r.back.Store(int64(now))
	}
}
