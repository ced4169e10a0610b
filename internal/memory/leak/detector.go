package leak

import (
	"math"
	"time"
)

// Quantity is one that grows where something leaks.
type Quantity uint8

const (
	Goroutines  Quantity = iota
	Heap                 // bytes that a collection found in use
	Files                // file descriptors that are no connection's
	Clients              // connections of clients
	Upstreams            // connections to upstreams
	Objects              // that are registered
	ObjectBytes          // of those
	Quantities
)

// String gives the name that stands in figures.
func (q Quantity) String() string {
	return [...]string{"goroutines", "heap_bytes", "files", "client_connections", "upstream_connections", "objects", "object_bytes"}[q]
}

// Reading is all quantities, and what explains them, at one time.
type Reading struct {
	Requests uint64 // done since the start

	InFlight int64 // requests under way
	Stored   int64 // bytes of the heap that caches hold on purpose

	Goroutines, Files int64 // Files is -1 where it is not known
	Heap              int64 // bytes that the last collection found in use
	Clients           int64 // connections that are open
	Upstreams         int64
	Objects           int64 // that are registered, such as large bodies
	ObjectBytes       int64
}

// load is what explains quantities in a reading.
func (r *Reading) load() [loads]float64 {
	return [loads]float64{float64(r.InFlight), float64(r.Clients), float64(r.Upstreams), float64(r.Stored)}
}

// collections are the readings that were taken right after collections.
type collections struct {
	n    float64
	heap float64 // the sum of all
	load [loads]float64
}

func (c *collections) add(r *Reading) {
	c.n++
	c.heap += float64(r.Heap)
	for i, x := range r.load() {
		c.load[i] += x
	}
}

// mean is the point that stands for all.
func (c *collections) mean() (p point) {
	p.value = c.heap / c.n
	for i, x := range c.load {
		p.load[i] = x / c.n
	}
	return p
}

// Verdict is what is thought of a quantity, or of all.
type Verdict uint8

const (
	None      Verdict = iota
	Suspected         // it grew for sure the last time it was tested
	Leak              // and in each test for half a minute
)

// String gives the verdict as it stands in replies.
func (v Verdict) String() string { return [...]string{"none", "suspected", "leak"}[v] }

// Growth is how a quantity grows.
type Growth struct {
	Verdict     Verdict
	PerMinute   float64
	PerThousand float64       // requests; 0 where there were few
	Over        time.Duration // the time that was looked at
	Since       time.Duration // when it was suspected, on the clock of observe

	grew time.Duration // in the last test that said so
}

const (
	// Period is the time between two readings.
	Period = 10 * time.Second
	// settling is how long after the start nothing is noted: pools and tables fill then.
	settling = 2 * time.Minute
	// confirmed is in how many tests one after the other a leak grows.
	confirmed = 3
	// scales is how many lengths of time are looked at.
	scales = 4
)

const (
	// higher is how much more than it fell of late a quantity has to grow, and kept what
	// is left of a fall after each test: half of it after 4300, which is 12 hours.
	higher, kept = 2, 0.99984
	// scatter is by how much the number of n things that come and go by themselves may
	// grow by chance, in roots of n.
	scatter = 5
)

// scale is a length of time that is looked at.
type scale struct {
	factor   int     // of the span, and the number of readings that one point stands for
	material float64 // what is material, in units of that on the finest scale
}

// scaled are all, the finest first.
func scaled() [scales]scale { return [scales]scale{{1, 1}, {2, 1.2}, {6, 2}, {36, 4}} }

// span and soonest are how long the time is that is looked at, and how much of it there
// is at least, on the finest scale.
const (
	span    = 6 * time.Minute
	soonest = 5 * time.Minute
)

// kind is what is known of a quantity beforehand.
type kind struct {
	// limit is how much of the quantity a unit of load takes at most.
	limit [loads]float64
	// material is the growth in a span on the finest scale that is of interest; each is
	// that for each request.
	material, each float64
	// settles says that it goes with the load of the last minutes and not only with
	// the present one: it is tested where there was as much load before.
	settles bool
	one     float64 // of those that settle: what one thing is
}

// The kinds of load of a kind's limit.
const (
	perRequest  = iota // under way
	perClient          // connection
	perUpstream        // connection
	perOther           // stored bytes, or requests a second
)

// kinds are those of all quantities. What a unit of load may take is generous: a request
// under way has a goroutine or three, a buffer or a few.
func kinds() [Quantities]kind {
	return [Quantities]kind{
		Goroutines: {[loads]float64{8, 4, 4, 0}, 40, 0.002, false, 0},
		// 2 KiB of each 400th request.
		Heap: {[loads]float64{256 << 10, 64 << 10, 64 << 10, 2}, 256 << 10, 5, false, 0},
		// The simulator has the other ends of the connections to it.
		Files: {[loads]float64{2, 0, 1, 0}, 32, 0.002, false, 0},
		// Connections that are kept open between requests are as many as their users
		// like. Each request a second may have one that then idles for two minutes.
		Clients:     {[loads]float64{2, 0, 0, 120}, 64, 0.005, true, 1},
		Upstreams:   {[loads]float64{2, 0, 0, 120}, 64, 0.005, true, 1},
		Objects:     {[loads]float64{8, 0, 0, 0}, 32, 0.002, true, 1},
		ObjectBytes: {[loads]float64{64 << 20, 0, 0, 2}, 8 << 20, 100, true, 1 << 20},
	}
}

// detector finds leaks in readings. It is for one goroutine.
type detector struct {
	kinds  [Quantities]kind
	scales [scales]scale
	series [Quantities][scales]series
	growth [Quantities]Growth
	done   [scales]history
	tester *tester

	last   Reading
	lastAt float64
	rate   float64 // requests a second, of the last minute or so
	begun  bool
}

// series are the points of a quantity on one scale.
type series struct {
	points  []point
	within  []point // of the block that is not full: the one of least value
	block   int     // of that
	counted int     // tests one after the other in which it grew
	fall    float64 // the greatest fall of the last hours
}

// history is how many requests were done when.
type history []point

// before is how long the load is known before what is tested, on the finest scale.
const before = 10 * time.Minute

func (h *history) add(p point, factor float64) {
	list := *h
	if n := len(list); n > 0 && p.at-list[n-1].at < factor*Period.Seconds()*0.99 {
		return
	}
	old := 0
	for old < len(list) && p.at-list[old].at > (before+span).Seconds()*factor+1 {
		old++
	}
	*h = append(list[:copy(list, list[old:])], p)
}

// familiar reports whether there was about as much load before some points as during
// them.
func (h history) familiar(points []point, factor float64) bool {
	first, last := points[0], points[len(points)-1]
	from := first.at - before.Seconds()*factor
	if len(h) == 0 || h[0].at > from+1 {
		return false
	}
	i := 0
	for h[i].at < from-1 {
		i++
	}
	const more, few = 1.2, 0.2
	return (last.work-first.work)/(last.at-first.at) <= more*(first.work-h[i].work)/(first.at-h[i].at)+few
}

func newDetector() *detector { return &detector{kinds: kinds(), scales: scaled(), tester: newTester()} }

// observe takes a reading, at a time since the start, and those of the collections since
// the last one.
func (d *detector) observe(now time.Duration, r *Reading, c *collections) {
	at := now.Seconds()
	if d.begun && at > d.lastAt {
		const minute = 60
		rate := float64(r.Requests-d.last.Requests) / (at - d.lastAt)
		d.rate += (rate - d.rate) * min((at-d.lastAt)/minute, 1)
	}
	d.last, d.lastAt, d.begun = *r, at, true
	work := float64(r.Requests)
	for i, s := range d.scales {
		d.done[i].add(point{at: at, work: work}, float64(s.factor))
	}
	if now < settling {
		return
	}
	byAll := r.load()
	byRate := [loads]float64{byAll[perRequest], 0, 0, d.rate}
	d.note(now, Goroutines, point{at, work, float64(r.Goroutines), byAll})
	if c.n > 0 {
		p := c.mean()
		p.at, p.work = at, work
		d.note(now, Heap, p)
	}
	if r.Files >= 0 {
		d.note(now, Files, point{at, work, float64(r.Files - r.Clients - r.Upstreams), byAll})
	}
	d.note(now, Clients, point{at, work, float64(r.Clients), byRate})
	d.note(now, Upstreams, point{at, work, float64(r.Upstreams), byRate})
	d.note(now, Objects, point{at, work, float64(r.Objects), byAll})
	d.note(now, ObjectBytes, point{at, work, float64(r.ObjectBytes), byAll})
}

// note takes a quantity's value on all scales.
func (d *detector) note(now time.Duration, q Quantity, p point) {
	grows, tested := false, false
	var found trend
	for i := range scales {
		s, factor := &d.series[q][i], float64(d.scales[i].factor)
		if s.add(p, factor) {
			r := s.test(d.tester, &d.kinds[q], factor, d.scales[i].material)
			if d.kinds[q].settles && r.grows {
				r.grows = d.done[i].familiar(s.points, factor)
			}
			tested = true
			if r.grows {
				s.counted++
			} else {
				s.counted = 0
			}
			if r.grows && !grows {
				grows, found = true, r
			}
		} else if s.counted > 0 { // as it was last time
			grows = true
		}
	}
	if tested {
		d.judge(now, q, grows, &found)
	}
}

// judge takes note of tests.
func (d *detector) judge(now time.Duration, q Quantity, grows bool, found *trend) {
	g := &d.growth[q]
	if !grows {
		// A leak that pauses for a test or two is one still.
		if g.Verdict != Leak || now-g.grew > span {
			*g = Growth{}
		}
		return
	}
	if g.Verdict == None {
		*g = Growth{Verdict: Suspected, Since: now}
	}
	g.grew = now
	if found.seconds > 0 {
		g.PerMinute = found.slope * 60
		g.PerThousand = 0
		if found.requests >= 1000 {
			g.PerThousand = found.slope * found.seconds / found.requests * 1000
		}
		g.Over = time.Duration(found.seconds * float64(time.Second))
	}
	for i := range d.series[q] {
		if d.series[q][i].counted >= confirmed {
			g.Verdict = Leak
		}
	}
}

// add takes a point and reports whether there is one more to test: of each block of
// factor periods the one of least value, since what leaks never goes.
func (s *series) add(p point, factor float64) bool {
	if factor > 1 {
		block := int(p.at / (factor * Period.Seconds()))
		if len(s.within) > 0 && s.block == block {
			if p.value < s.within[0].value {
				s.within[0] = p
			}
			return false
		}
		next := p
		if len(s.within) == 0 {
			s.within, s.block = append(s.within, next), block
			return false
		}
		p, s.within[0], s.block = s.within[0], next, block
	}
	old := 0
	for old < len(s.points) && (p.at-s.points[old].at > span.Seconds()*factor || len(s.points)-old >= most) {
		old++
	}
	s.points = append(s.points[:copy(s.points, s.points[old:])], p)
	return true
}

func (s *series) test(t *tester, k *kind, factor, material float64) (r trend) {
	n := len(s.points)
	if n < least || s.points[n-1].at-s.points[0].at < soonest.Seconds()*factor {
		return r
	}
	material = max(k.material*material, k.each*(s.points[n-1].work-s.points[0].work))
	if k.settles {
		material = max(material, k.one*scatter*math.Sqrt(s.points[0].value/k.one))
	}
	r = t.test(s.points, &k.limit, material)
	// What rises and falls by itself does so alike. A leak never falls.
	s.fall = max(s.fall*kept, -r.rise)
	r.grows = r.grows && r.rise > higher*s.fall
	return r
}
