package admit

import (
	"math"
	"strings"
	"time"

	"sluice/internal/dialect/known"
	"sluice/internal/llm"
)

const (
	// window is how many first events a verdict is of, and trialWindow during a trial,
	// where differences are large and each event may be one of few.
	window, trialWindow = 50, 25
	// breachShare of them may be late. The baseline is a 90th percentile, which few go
	// beyond by the tolerance even where what is asked for differs much. Two windows in
	// a row have to be late for the limit to come down, or one of which most are.
	breachShare, mostly = 0.1, 0.5
	// aboveShare of them are beyond the baseline itself at most where there is little to
	// do: a tenth is, on average.
	aboveShare = 0.2
	// deepCut is what a limit comes down to at least where a cut has been seen to help and
	// much is left to do, and raise by how much it goes up, by one at least. After so many
	// as patient raises in a row each is twice the one before.
	cut, deepCut, raise, patient = 0.8, 0.5, 0.05, 4
	// clear is by how many standard errors two windows differ that do not by chance, and
	// gain by how much at least, of the logarithm of lateness.
	clear, gain, part = 4, 0.05, 0.6
	// hardly is how many of the calls are left where a cut has not been felt yet.
	hardly = 0.95
	// goalPart is how much of the tolerance times may take where the limit is down and that
	// was seen to help. enoughFewer is the share of the calls that is left when that is
	// asked again of small steps, and enoughSooner the part of what a queue at the upstream
	// would give that first events have to come sooner by.
	goalPart, enoughFewer, enoughSooner = 0.25, 0.75, 0.5
	// holdFirst is how many late windows nothing is done in after a trial, or steps, that
	// were of no use, twice as many each time up to holdMost.
	holdFirst, holdMost = 16, 1024
	// warm is how many first events of a kind a baseline begins with, of which it is the
	// last of the slowest, and step how far one moves it.
	warm, slowest, step = 50, 5, 0.002
	// fresh is what a first event moves the mean of what they take now by, and spreads
	// how many mean deviations above it most of them are below. few are too few to say.
	fresh, spreads, few = 1.0 / 16, 2, 10
	// stale is how long nothing has to come for what is known of now to be forgotten: an
	// upstream that was slow has to be tried again.
	stale = time.Minute
	// calmShare of the highest number of calls that was well lately is little to do.
	// peakFades is how much of that is forgotten with a window.
	calmShare, peakFades = 0.5, 0.01
	// maxLate bounds what one event counts for, and is what a failure does.
	maxLate, minLate = 20.0, 0.05
	// sizes are how many sizes of requests are told apart, by quadruples from 4 KiB.
	sizes = 4
	// maxModels bounds the models of an upstream that are told apart.
	maxModels = 64
)

// doubtful is what a limit comes down to, one after the other, while none has been seen to
// help.
func doubtful(cuts int) float64 { return [...]float64{cut, 0.7, 0.6}[cuts] }

const maxDoubtful, maxMild = 3, 2 // the latter where only some were late

// model is one of an upstream's.
type model struct {
	baselines
	used uint64 // number of its last good event; 0 for none
}

// baselines are of one model: by operation, size, and whether a stream is asked for.
type baselines [llm.Operations * 2 * sizes]baseline

// baseline is how long first events of a kind take while there is little to do: about
// the 90th percentile, in seconds. Beside it stands how long they take now, whatever
// there is to do, which moves within a few calls.
//
// It begins with the calls that were sent first, and stands when all of those are
// answered: the first that are answered are the quick ones.
type baseline struct {
	seconds     float64 // 0 before it stands
	sent, seen  int     // of those that it begins with
	top         [slowest]float64
	now, spread float64       // what they take now, in seconds: mean, and mean deviation
	taken       int           // few at most
	last        time.Duration // when the last of them was, on the clock
	trial       uint64        // the last that it was seen in
}

// begin takes in one of those that a baseline begins with.
func (b *baseline) begin(took float64) {
	for i := range b.top {
		if took > b.top[i] {
			b.top[i], took = took, b.top[i]
		}
	}
	if b.seen++; b.seen == warm {
		b.seconds = max(b.top[slowest-1], 1e-6)
	}
}

// take takes in how long a first event took that has come now.
func (b *baseline) take(now time.Duration, took float64) {
	if now-b.last > stale {
		b.taken, b.spread = 0, 0
	}
	b.last = now
	if b.taken == 0 {
		b.now = took
	}
	b.taken = min(b.taken+1, few)
	off := took - b.now
	b.now += off * fresh
	b.spread += (math.Abs(off) - b.spread) * fresh
}

// most is within what time most first events come now, in seconds; 0 where too little
// is known.
func (b *baseline) most() float64 {
	if b.taken < few {
		return 0
	}
	return b.now + spreads*b.spread
}

// answered is the same as a Duration, as of now: what they took long ago says nothing.
func (b *baseline) answered(now time.Duration) time.Duration {
	if now-b.last > stale {
		return 0
	}
	return time.Duration(b.most() * float64(time.Second))
}

// kindOf gives the kind of a request; ok is false for one that says nothing of
// overload, as it may be anything.
func kindOf(req *llm.Request) (kind int, ok bool) {
	if !known.Answers(req.Op) {
		return 0, false
	}
	size := 0
	for n := req.BodyLen >> 12; n > 0 && size < sizes-1; n >>= 2 {
		size++
	}
	kind = 2*int(req.Op)*sizes + size
	if req.Stream {
		kind += sizes
	}
	return kind, true
}

// control moves the limit. Its methods are called with the Limiter locked.
//
// A limit that comes down is a trial: it has to be seen that fewer calls at once are
// answered sooner, or fail less often. Where that is not clear after a few cuts the
// limit goes back, and the next trial has to wait, longer each time. An upstream that is
// slow or fails for another reason is so with fewer calls too, and to refuse them
// would only make it worse.
type control struct {
	cfg     *Config
	ceiling int
	floor   int

	limit  int
	before int     // limit before the first cut since all was well; 0 for none
	busy   float64 // highest number of calls under way that was found lately while all was well

	epoch   uint32        // changes so far: what was begun before the last says nothing of it
	changed time.Duration // when the first call after that was sent
	unsent  bool          // none has been

	trial struct {
		number uint64 // of trials so far
		limit  int    // before it; 0 where there is none
		was    tally
		cuts   int
	}
	hold, nextHold int  // late windows in which there is no trial
	heldMost       bool // not even where most are late
	raised         int  // raises in a row

	held  bool // the limit is down, and has been seen to help
	steps struct {
		limit          int // before them; 0 where there are none
		was            tally
		hold, nextHold int // windows over the goal in which there are none
	}

	window  tally
	most    int  // calls under way
	full    bool // some had to wait
	strikes int  // late windows in a row

	models map[string]*model
	rest   model
	good   uint64 // good events so far

	cuts, raises, relearnt uint64
}

// tally is what a window has had.
type tally struct {
	n, breaches, over, above int     // the latter beyond the goal, and beyond the baseline
	sum, squares             float64 // of the logarithms of lateness
	calls                    float64 // under way when they were sent, of all
	most                     int32   // of those
}

func (t *tally) add(lateness float64, inFlight int32) {
	x := math.Log(min(max(lateness, minLate), maxLate))
	t.n++
	t.sum += x
	t.squares += x * x
	t.calls += float64(inFlight)
	t.most = max(t.most, inFlight)
}

func (t *tally) mean() float64 { return t.sum / float64(t.n) }

// doubt is the variance of the mean.
func (t *tally) doubt() float64 {
	return max(t.squares/float64(t.n)-t.mean()*t.mean(), 0) / float64(t.n)
}

// share is how much of it is late or has failed.
func (t *tally) share() float64 { return float64(t.breaches) / float64(t.n) }

// fewer is how many calls were under way, as a share of those that were.
func (t *tally) fewer(was *tally) float64 {
	return t.calls / float64(t.n) / (was.calls / float64(was.n))
}

// better reports whether first events come clearly sooner, or failures and late ones are
// clearly fewer, than they did with more calls.
func (t *tally) better(was *tally) bool {
	sooner := was.mean()-t.mean() > max(clear*math.Sqrt(t.doubt()+was.doubt()), gain, -part*math.Log(t.fewer(was)))
	both := float64(t.breaches+was.breaches) / float64(t.n+was.n)
	return sooner || was.share()-t.share() > clear*math.Sqrt(both*(1-both)*(1/float64(t.n)+1/float64(was.n)))
}

func newControl(cfg *Config, ceiling int) control {
	c := control{cfg: cfg, models: make(map[string]*model), nextHold: holdFirst}
	c.steps.nextHold = holdFirst
	c.configure(ceiling)
	return c
}

// configure takes in a new configuration, or what the pool carries now. A limit that
// has come down stays there.
func (c *control) configure(ceiling int) {
	if c.cfg.MaxConcurrency > 0 {
		ceiling = c.cfg.MaxConcurrency
	}
	if c.limit == c.ceiling {
		c.limit = ceiling
	}
	c.floor = min(c.cfg.MinConcurrency, ceiling)
	within := func(n int) int { return min(max(n, c.floor), ceiling) }
	c.ceiling, c.limit = ceiling, within(c.limit)
	if c.before > 0 {
		c.before = within(c.before)
	}
	if c.trial.limit > 0 {
		c.trial.limit = within(c.trial.limit)
	}
	c.change()
}

// change takes note that the limit is another one.
func (c *control) change() {
	c.epoch++
	c.unsent = true
	c.window, c.most, c.full = tally{}, 0, false
}

// counts reports whether what became of a call, so long after it was sent, tells of the
// limit that is in force. Of those that are sent first the quick ones have ended first,
// which would seem to be the limit's doing: none counts before most have.
func (c *control) counts(s *sample, after time.Duration) bool {
	now := s.sent + after
	return s.epoch == c.epoch && now-c.changed >= s.of.answered(now)
}

// room reports whether one more call may be under way.
func (c *control) room(inFlight int) bool { return inFlight < c.limit }

// bounds reports whether the limit is less than what the pool carries, or wanted: then
// so many wait that would not without it.
func (c *control) bounds() bool { return c.limit < c.ceiling || c.cfg.MaxConcurrency > 0 }

// sent takes note that a call begins now, with so many under way.
func (c *control) sent(s *sample, now time.Duration, inFlight int) {
	c.most = max(c.most, inFlight)
	if c.unsent {
		c.unsent, c.changed = false, now
	}
	s.epoch, s.inFlight, s.sent = c.epoch, int32(inFlight), now
	if s.first = s.of != nil && s.of.sent < warm; s.first {
		s.of.sent++
	}
}

// of gives a model. One that has never had an answer may be no model at all: it makes
// room for the next.
func (c *control) of(name string) *model {
	if m := c.models[name]; m != nil {
		return m
	}
	if len(c.models) >= maxModels {
		least, of := "", &c.rest
		for name, m := range c.models {
			if m.used == 0 {
				least, of = name, m
				break
			}
		}
		if of == &c.rest {
			return of
		}
		delete(c.models, least)
	}
	return c.add(name)
}

func (c *control) add(name string) *model {
	m := new(model)
	c.models[strings.Clone(name)] = m // it may be a piece of a large request
	return m
}

// known takes note that a model has answered. The one that has not for longest makes
// room for it.
func (c *control) known(name string, m *model) {
	c.good++
	m.used = c.good
	if m != &c.rest || c.models[name] != nil {
		return
	}
	least, used := "", uint64(math.MaxUint64)
	for name, m := range c.models {
		if m.used < used {
			least, used = name, m.used
		}
	}
	if len(c.models) >= maxModels {
		delete(c.models, least)
	}
	c.add(name).used = c.good
}

// sample is the first event of a call, or that there was none.
type sample struct {
	model    *model
	of       *baseline // nil for a call that tells nothing
	epoch    uint32
	sent     time.Duration // on the clock
	inFlight int32         // when it was sent
	first    bool          // the baseline begins with it
}

// lost has another call take the place of one that had no first event, among those
// that a baseline begins with.
func (c *control) lost(s sample) {
	if s.first && s.of.seen < warm {
		s.of.sent--
	}
}

// fail takes in that an upstream said that it is overloaded, or took too long to say
// anything, so long after a call was sent.
func (c *control) fail(s sample, after time.Duration) {
	if c.counts(&s, after) {
		c.window.breaches++
		c.window.over++
		c.window.add(maxLate, s.inFlight)
		c.judge()
	}
}

// left takes in that a client left so long after its call was sent. One that waited no
// longer than is usual tells nothing.
func (c *control) left(s sample, after time.Duration) {
	if s.of.seconds > 0 && after.Seconds() > s.of.seconds && after > c.cfg.LatencyTarget {
		c.fail(s, after)
	}
}

// take takes in how long a first event took.
func (c *control) take(s sample, after time.Duration) {
	b, took := s.of, after.Seconds()
	b.take(s.sent+after, took)
	if b.seconds == 0 {
		if s.first {
			b.begin(took)
		}
		return
	}
	b.trial = c.trial.number
	lateness := took / b.seconds
	// What it takes under load is not learnt: a limit would follow a mild overload
	// upwards for as long as that lasts. Until it is known what load is, anything is. Nor is anything
	// learnt during a trial, which would seem to have helped.
	if calm := c.busy == 0 || float64(s.inFlight) <= max(calmShare*c.busy, float64(c.floor)); calm && c.trial.limit == 0 {
		if lateness > 1 {
			b.seconds *= 1 + 9*step
		} else {
			b.seconds *= 1 - step
		}
	}
	if !c.counts(&s, after) {
		return
	}
	c.window.add(lateness, s.inFlight)
	if lateness > 1 {
		c.window.above++
	}
	if after > c.cfg.LatencyTarget {
		if lateness > c.cfg.Tolerance {
			c.window.breaches++
		}
		if lateness > c.goal() {
			c.window.over++
		}
	}
	c.judge()
}

// judge ends a window that is full.
func (c *control) judge() {
	trying := c.trial.limit > 0
	if c.window.n < trialWindow || c.window.n < window && !trying {
		return
	}
	w, most, full := c.window, c.most, c.full
	c.window, c.most, c.full = tally{}, 0, false
	share := w.share()
	switch {
	case share <= breachShare:
		c.strikes = 0
		if trying && !c.held && !c.helped(&w) { // by chance, or something else has passed
			c.giveBack()
			return
		}
		c.held = c.held || trying
		c.before, c.trial.limit = 0, 0
		c.well(&w)
		c.step(&w, full)
	case share < mostly && c.strikes == 0 && !trying:
		c.strikes++
	case c.hold > 0 && (share < mostly || c.heldMost):
		c.hold--
		c.raise(full) // a limit that has not been seen to help is not kept
	default:
		c.strikes = 0
		c.comeDown(&w, most)
	}
}

// helped reports whether the cuts of a trial have been of use.
func (c *control) helped(w *tally) bool {
	if !w.better(&c.trial.was) {
		return false
	}
	c.nextHold = holdFirst
	return true
}

// well takes in a window in which hardly any were late.
func (c *control) well(w *tally) {
	c.nextHold = max(c.nextHold-1, holdFirst)
	if float64(w.above) <= aboveShare*float64(w.n) {
		c.busy = max(float64(w.most), c.busy*(1-peakFades))
	}
}

// goal is how late an event may be where the limit is down and that helps: nearer to what
// is usual than what tells of overload. Had it come down only until few are late, a queue
// would be left at the upstream in which important calls wait with all others.
func (c *control) goal() float64 { return 1 + (c.cfg.Tolerance-1)*goalPart }

// step moves the limit after a window in which hardly any were late: up where some had to
// wait, and down, by little, where it has been seen to help and is not yet at its goal.
// Where first events come no sooner for it the steps are undone, and tried again later.
func (c *control) step(w *tally, full bool) {
	s := &c.steps
	c.held = c.held && c.limit < c.ceiling
	share := float64(w.over) / float64(w.n)
	switch {
	case !c.held || share <= breachShare:
		s.limit, s.nextHold = 0, max(s.nextHold-1, holdFirst)
		c.raise(full)
		return
	case s.hold > 0:
		s.hold--
		c.raise(full)
		return
	case s.limit == 0:
		s.limit, s.was = c.limit, *w
	case w.fewer(&s.was) <= enoughFewer:
		if s.was.mean()-w.mean() < -enoughSooner*math.Log(w.fewer(&s.was)) {
			c.limit, s.limit = s.limit, 0
			s.hold, s.nextHold = s.nextHold, min(2*s.nextHold, holdMost)
			c.change()
			return
		}
		s.limit, s.was = c.limit, *w
	}
	c.raised = 0
	to := 1 - raise
	if share >= mostly {
		to = cut
	}
	if next := max(int(to*float64(min(c.limit, int(w.most)))), c.floor); next < c.limit {
		c.limit = next
		c.change()
	}
}

// raise has the limit go up where that is of use.
func (c *control) raise(full bool) {
	if !full || c.limit >= c.ceiling {
		return
	}
	c.raised++
	by := raise * float64(int(1)<<min(max(c.raised-patient, 0), 4))
	c.limit = min(c.limit+max(int(by*float64(c.limit)), 1), c.ceiling)
	c.change()
	c.raises++
}

// comeDown cuts the limit, unless that has been seen to be of no use.
func (c *control) comeDown(w *tally, most int) {
	t := &c.trial
	c.raised = 0
	to := cut
	switch {
	case t.limit == 0:
		t.number++
		t.limit, t.was, t.cuts = c.limit, *w, 0
	case c.helped(w):
		c.held = true
		// Where calls wait at the upstream they do so in proportion to their number.
		to = min(max(c.goal()/math.Exp(w.mean()), deepCut), cut)
		t.limit, t.was, t.cuts = c.limit, *w, 0
	case w.fewer(&t.was) > hardly && c.limit > c.floor: // they have still become more: what was before says nothing
		t.was = *w
	default:
		if t.cuts++; t.cuts == maxDoubtful || t.cuts == maxMild && t.was.share() < mostly {
			c.usual()
			c.giveBack()
			return
		}
		to = doubtful(t.cuts)
	}
	if c.before == 0 {
		c.before = c.limit
	}
	// Of what was under way, since a limit far above that would have to be cut often.
	if next := max(int(to*float64(min(c.limit, most))), c.floor); next < c.limit {
		c.limit = next
		c.change()
		c.cuts++
	}
}

// usual takes what first events take now for what is usual: to have fewer calls at once
// has not made them sooner.
func (c *control) usual() {
	learn := func(m *model) {
		for i := range m.baselines {
			if b := &m.baselines[i]; b.seconds > 0 && b.trial == c.trial.number {
				b.seconds = max(b.seconds, b.most())
			}
		}
	}
	for _, m := range c.models {
		learn(m)
	}
	learn(&c.rest)
}

// giveBack ends a trial that was of no use. That cuts before it were of use may have
// been chance: they are undone too.
func (c *control) giveBack() {
	c.limit, c.before = max(c.trial.limit, c.before), 0
	c.heldMost = c.trial.was.share() >= mostly
	c.trial.limit = 0
	c.held, c.steps.limit = false, 0
	c.hold, c.nextHold = c.nextHold, min(2*c.nextHold, holdMost)
	c.change()
	c.relearnt++
}
