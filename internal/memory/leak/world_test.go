package leak

import (
	"math"
	"math/rand/v2"
	"time"
)

// world is a gateway whose load and readings are invented. It is coarse, and noisier
// than a real one: requests last for exponential times of four lengths, each of its own
// size; clients and pools keep connections longer than they need them; the runtime, look-ups
// and samples come and go; the collector runs when as much garbage was made as is live.
type world struct {
	*rand.Rand
	now  float64
	rate func(w *world) float64 // requests a second
	step func(w *world)         // what else happens; nil for nothing

	requests float64
	flying   [4]float64 // requests under way, by how long they last
	bytes    [4]float64 // that these hold
	clients  float64
	pool     float64 // connections to upstreams
	stored   float64
	filling  float64 // bytes a request that a cache stores
	full     float64 // bytes of a full cache
	kept     float64 // bytes in pools of buffers, above or below what is usual
	base     float64 // bytes of the heap that are always there
	extra    float64 // goroutines of chains that were replaced
	garbage  float64
	live     float64     // as of the last collection
	fresh    collections // of the last ten seconds
	forced   float64     // when the last collection was

	leaks Reading // for each leaked request
	part  float64 // of the requests that leak
	from  float64 // seconds
	all   Reading // leaked up to now
}

func newWorld(seed uint64, rate func(*world) float64) *world {
	return &world{Rand: rand.New(rand.NewPCG(seed, 1)), rate: rate, base: 12 << 20, clients: 5}
}

func steadily(rate float64) func(*world) float64 { return func(*world) float64 { return rate } }

// daily is a load that is a tenth at night of what it is at noon.
func daily(most float64) func(*world) float64 {
	return func(w *world) float64 {
		return most * (0.55 - 0.45*math.Cos(2*math.Pi*w.now/(24*3600)))
	}
}

// bursty is one that is three to twenty times as high for ten seconds to twenty minutes,
// now and then.
func bursty(usual float64) func(*world) float64 {
	until, next, factor := 0.0, 600.0, 1.0
	return func(w *world) float64 {
		switch {
		case w.now > next:
			factor = 3 + 17*w.Float64()
			until = w.now + 10*math.Pow(120, w.Float64())
			next = until + w.ExpFloat64()*3600
		case w.now > until:
			factor = 1
		}
		return usual * factor
	}
}

func (w *world) poisson(mean float64) float64 {
	if mean > 30 {
		return math.Max(0, math.Round(mean+math.Sqrt(mean)*w.NormFloat64()))
	}
	n, p, limit := 0.0, 1.0, math.Exp(-mean)
	for p *= w.Float64(); p > limit; p *= w.Float64() {
		n++
	}
	return n
}

// some is how many of n are left where each stays with a probability.
func (w *world) some(n, stays float64) float64 {
	mean := n * stays
	return math.Min(math.Max(math.Round(mean+math.Sqrt(mean*(1-stays))*w.NormFloat64()), 0), n)
}

const tick = 10.0

// The parts of the requests that last for so long on average, in seconds, and the bytes
// of the heap that one takes, half more or less being usual.
var (
	shares  = [4]float64{0.75, 0.22, 0.029, 0.001}
	lasting = [4]float64{0.5, 5, 30, 300}
	holding = [4]float64{60 << 10, 90 << 10, 40 << 10, 25 << 10}
)

// read is the next reading, ten seconds after the last.
func (w *world) read() Reading {
	w.now += tick
	if w.step != nil {
		w.step(w)
	}
	rate := w.rate(w)
	came := w.poisson(rate * tick)
	w.requests += came
	inFlight, bytes := 0.0, 0.0
	for i := range w.flying {
		stay := math.Exp(-tick / lasting[i])
		left := w.some(w.flying[i], stay)
		if w.flying[i] > 0 {
			w.bytes[i] *= left / w.flying[i]
		}
		fresh := w.poisson(came * shares[i] * lasting[i] / tick * (1 - stay))
		w.flying[i] = left + fresh
		w.bytes[i] = math.Max(w.bytes[i]+fresh*holding[i]+math.Sqrt(fresh)*holding[i]/2*w.NormFloat64(), 0)
		inFlight += w.flying[i]
		bytes += w.bytes[i]
	}
	// Clients keep connections for minutes; new ones come with more requests.
	w.clients = math.Max(w.some(w.clients, 0.95)+w.poisson(0.05*(1.5*inFlight+rate*0.5+3)), inFlight)
	// A pool keeps as many as it needed in the last minutes.
	w.pool = math.Max(w.some(w.pool, 0.9), inFlight)
	if w.filling > 0 {
		w.stored = math.Min(w.stored+came*w.filling*2*w.Float64(), w.full-w.Float64()*200e3)
	}
	w.kept = w.kept*math.Exp(-tick/120) + 20e3*math.Sqrt(min(rate, 400)/10)*w.NormFloat64()
	if w.part > 0 && w.now >= w.from {
		n := w.poisson(came * w.part)
		w.all.Goroutines += int64(n) * w.leaks.Goroutines
		w.all.Heap += int64(n) * w.leaks.Heap
		w.all.Files += int64(n) * w.leaks.Files
		w.all.Clients += int64(n) * w.leaks.Clients
		w.all.Upstreams += int64(n) * w.leaks.Upstreams
		w.all.Objects += int64(n) * w.leaks.Objects
	}
	real := w.base + bytes + w.clients*9e3 + w.pool*12e3 + w.stored*1.15 + w.kept + 2<<20 + float64(w.all.Heap)
	collected := false
	w.garbage += came*60e3*(0.5+w.Float64()) + 200e3 // figures are collected every few seconds
	if w.garbage > math.Max(w.live, 4<<20) || w.now-w.forced > 120 {
		w.live, w.garbage, w.forced = real+400e3*math.Sqrt(min(rate, 400)/100)*w.NormFloat64()+40e3*w.NormFloat64(), 0, w.now
		collected = true
	}
	routines := 35 + 2*inFlight + w.clients + w.pool*0.5 + w.poisson(0.5+rate/50) + w.extra
	files := 14 + w.clients + w.pool + w.poisson(0.3) + w.poisson(rate/500)
	r := Reading{
		Requests: uint64(w.requests), InFlight: int64(inFlight), Stored: int64(w.stored),
		Goroutines: int64(routines) + w.all.Goroutines, Files: int64(files) + w.all.Files + w.all.Clients + w.all.Upstreams,
		Heap: int64(w.live), Clients: int64(w.clients) + w.all.Clients, Upstreams: int64(w.pool) + w.all.Upstreams,
		Objects: int64(w.flying[3]/4) + w.all.Objects, ObjectBytes: int64(w.bytes[3]),
	}
	w.fresh = collections{}
	if collected {
		w.fresh.add(&r)
	}
	return r
}

// alarms counts how often each quantity was found to leak, in some time.
func (w *world) alarms(d *detector, long time.Duration) (n [Quantities]int) {
	var before [Quantities]bool
	for w.now < long.Seconds() {
		r := w.read()
		d.observe(time.Duration(w.now*1e9), &r, &w.fresh)
		for q := range Quantities {
			leak := d.growth[q].Verdict == Leak
			if leak && !before[q] {
				n[q]++
			}
			before[q] = leak
		}
	}
	return n
}
