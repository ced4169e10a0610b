package gather

import (
	"cmp"
	"container/heap"
	"slices"
	"strings"
	"time"
)

// site is what was learnt of some upstreams, and of those that work on the calls of the
// same courses: how many calls may be under way there at once. They slow each other down
// whatever their course and lane, so they are counted together, though items are joined
// in one lane only.
//
// It is a model and not a search for a latency: for each rung, a number of calls at once,
// it is measured how long calls take. More are let go where a rung does more work than the
// one below it, and fewer where it does not. So nothing saws: with no news it stays where
// it is, but for a probe of a neighbouring rung now and then.
type site struct {
	name    string // of its upstreams; "" before a call was answered
	courses int    // whose calls go there

	inFlight int
	area     float64       // integral of inFlight over time, in seconds
	since    time.Duration // that area is of
	waiting  ranked        // lanes in which items gather
	items    int           // that do

	rung   int  // of rungs: how many calls may be under way
	probe  int  // how far from rung the one is that is looked at; 0 for none
	left   int  // calls of that
	quiet  int  // calls in a row for whose end nothing waited
	missed bool // the last one was above, and is not known for all that
	stay   int  // calls before it may come back from the rung that it climbed to
	levels [len(rungs)]level
}

// waiting is a lane in which items gather.
type waiting interface {
	first() time.Duration // the rank of who goes first
	next(now time.Duration)
	index() *int // in its site's ranked, which keeps it there
}

// ranked is a heap of lanes: the one whose first item goes first is at its head. Callers
// make as many lanes as they have keys, so what a call takes may not grow with them.
type ranked []waiting

// Len implements heap.Interface.
func (r ranked) Len() int { return len(r) }

// Less implements heap.Interface.
func (r ranked) Less(i, j int) bool { return r[i].first() < r[j].first() }

// Swap implements heap.Interface.
func (r ranked) Swap(i, j int) {
	r[i], r[j] = r[j], r[i]
	*r[i].index(), *r[j].index() = i, j
}

// Push implements heap.Interface.
func (r *ranked) Push(x any) {
	w := x.(waiting)
	*w.index() = len(*r)
	*r = append(*r, w)
}

// Pop implements heap.Interface.
func (r *ranked) Pop() any {
	last := len(*r) - 1
	w := (*r)[last]
	(*r)[last] = nil
	*r = (*r)[:last]
	return w
}

// level is how calls went while so many were under way.
type level struct {
	mean, one float64 // seconds that one took, and one of a single item would have
	size      float64 // items of one
	calls     float64 // that were under way
	n         int
	at        time.Duration // of the last one
	left      time.Duration // when the site came back from here; 0 for never
}

// rungs are the numbers of calls that are told apart. They grow in proportion: the
// noise of a measurement is one too, and would hide what one call more does of forty.
var rungs = [...]int{1, 2, 3, 5, 8, 12, 18, 27, 40, 64}

// upstream is one that answered calls of a course.
type upstream struct {
	name string
	at   time.Duration // the last one
}

// forgotten is after what time without an answer an upstream is no more one of a course's.
const forgotten = time.Minute

// answered learns which upstream answered a call of a course. Courses that the same
// upstreams answer are of one site. b.mu is held.
func (b *Batcher[I, R]) answered(p *pace, by string, now time.Duration) {
	if by == "" || p.evicted {
		return
	}
	known := len(p.by)
	at, found := slices.BinarySearchFunc(p.by, by, func(u upstream, name string) int { return cmp.Compare(u.name, name) })
	if found {
		p.by[at].at = now
	} else {
		p.by = slices.Insert(p.by, at, upstream{by, now})
	}
	p.by = slices.DeleteFunc(p.by, func(u upstream) bool { return now-u.at > forgotten })
	if found && len(p.by) == known {
		return
	}
	var name strings.Builder
	for _, u := range p.by {
		name.WriteString(u.name + "\n")
	}
	b.settle(p, name.String(), now)
}

// settle has a course be of the site of some upstreams. b.mu is held.
func (b *Batcher[I, R]) settle(p *pace, name string, now time.Duration) {
	old, s := p.site, b.sites[name]
	switch {
	case s == old:
		return
	case s != nil:
		p.base, p.n = 0, 0 // its levels are in what other calls take
	case old.courses == 1: // it is that of other upstreams from now on
		delete(b.sites, old.name)
		old.name, b.sites[name] = name, old
		return
	default: // it begins with what is known
		s = &site{name: name, rung: old.rung, levels: old.levels, since: now}
		b.sites[name] = s
	}
	b.depart(p)
	p.site = s
	s.courses++
	for _, l := range b.lanes {
		if l.pace == p && len(l.queue) > 0 {
			old.remove(l)
			s.add(l)
			old.items, s.items = old.items-l.items, s.items+l.items
		}
	}
}

// depart notes that a course is of its site no more. b.mu is held.
func (b *Batcher[I, R]) depart(p *pace) {
	s := p.site
	if s.courses--; s.courses == 0 {
		delete(b.sites, s.name)
	}
}

// add takes in a lane in which items have begun to gather.
func (s *site) add(w waiting) { heap.Push(&s.waiting, w) }

// moved notes that another item than before may be a lane's first.
func (s *site) moved(w waiting) { heap.Fix(&s.waiting, *w.index()) }

// remove takes a lane out in which nothing gathers any more.
func (s *site) remove(w waiting) { heap.Remove(&s.waiting, *w.index()) }

// nearest is how long calls take at a rung, or at the nearest one that something is known
// of; 0 for none.
func (s *site) nearest(rung int) float64 {
	for i := range rungs {
		for _, at := range [...]int{rung - i, rung + i} {
			if at >= 0 && at < len(rungs) && s.levels[at].one > 0 {
				return s.levels[at].one
			}
		}
	}
	return 0
}

// tick brings area up to date.
func (s *site) tick(now time.Duration) {
	s.area += float64(s.inFlight) * (now - s.since).Seconds()
	s.since = now
}

// full reports whether it is known that more calls at once than may be under way would
// add next to nothing.
func (s *site) full(now time.Duration) bool {
	from := -1
	for i := s.rung; i < len(rungs); i++ {
		if !s.known(now, i) {
			continue
		}
		if from >= 0 {
			if gain, known := s.gain(from, i); known {
				return gain < better
			}
		}
		from = i
	}
	return false
}

// fill has calls made while more may be under way, of those that go first in all lanes:
// each in its turn, so that no lane stands back.
func (s *site) fill(now time.Duration) {
	for s.inFlight < s.limit() && len(s.waiting) > 0 {
		s.waiting[0].next(now)
	}
}

// learn takes in how a call went that took d, and would have taken one with a single
// item, in seconds; or in what calls of its course take, where there are several. n
// calls were under way on average; wanted says that items waited for it to end.
func (s *site) learn(now time.Duration, n, items, d, one float64, wanted bool) {
	at := rungOf(n)
	l := &s.levels[at]
	if l.n > 0 && now-l.at > known {
		l.n = 0
	}
	l.n++
	l.at = now
	weight := 1 / float64(min(l.n, recent))
	l.mean += (d - l.mean) * weight
	l.one += (one - l.one) * weight
	l.size += (items - l.size) * weight
	l.calls += (n - l.calls) * weight
	s.decide(now, at, wanted)
}

// decide climbs, comes back, or looks at a neighbour. at is the rung of the last call.
func (s *site) decide(now time.Duration, at int, wanted bool) {
	s.stay = max(s.stay-1, 0)
	s.quiet++
	if wanted {
		s.quiet = 0
	}
	quiet, from := s.quiet > 4*enough, s.rung
	if quiet && at < from && !s.known(now, from) {
		from = at // fewer come than might be under way
	}
	here, above := s.known(now, from), s.above(now)
	switch {
	case here && from > 0 && s.stay == 0 && s.known(now, from-1) && s.tooMany(from):
		s.levels[s.rung].left = now
		s.move(from - 1)
	case here && wanted && (above == s.rung+1 || above > 0 && len(s.waiting) > 1) && s.worthIt(now, above):
		s.move(above)
	case !here && wanted && at > s.rung && s.known(now, at) && !s.full(now):
		s.move(at) // windows that end have as many under way as it is
	case s.probe != 0:
		known := s.known(now, s.rung+s.probe)
		settled := s.probe > 0 || len(s.waiting) < 2 // calls of several lanes take their time to become larger
		if s.left--; s.left <= 0 || known && settled {
			s.missed = s.probe > 0 && !known
			s.probe = 0
		}
	case here:
		s.explore(now, from, wanted, quiet)
	}
}

// explore has a neighbour of a rung looked at of which nothing is known: the one above
// where items wait, and else the one below. That is done where nobody waits, too, as
// long as that is so all the time: nothing else tells of an upstream that has come to
// work at fewer calls at once. There may be too few callers for the one above ever to
// be known, so that the one below is looked at next.
func (s *site) explore(now time.Duration, from int, wanted, quiet bool) {
	above := wanted && from+1 < len(rungs) && !s.known(now, from+1)
	below := (wanted || quiet) && from > 0 && !s.known(now, from-1)
	switch {
	case above && !(below && s.missed):
		s.probe, s.left = from+1-s.rung, 4*enough
	case below: // first those end that began before
		s.probe, s.left = from-1-s.rung, 4*enough+rungs[from]
	}
}

// move goes to a rung. One that it climbs to is not judged by what made it climb, nor by
// calls that began before.
func (s *site) move(to int) {
	s.stay = 0
	if to > s.rung {
		s.stay = rungs[to] + 4*enough
	}
	s.rung, s.probe = to, 0
}

// known reports whether a rung has a figure that is good.
func (s *site) known(now time.Duration, rung int) bool {
	l := &s.levels[rung]
	return l.n >= enough && now-l.at <= known
}

// above is the next rung above that something is known of, 0 for none.
func (s *site) above(now time.Duration) int {
	for i := s.rung + 1; i < len(rungs); i++ {
		if s.known(now, i) {
			return i
		}
	}
	return 0
}

// gain is what a rung above another one adds to what is done in a time, as a part
// of what it would add if calls did not slow each other down: at most 1. Where as many
// were under way at both nobody can tell.
func (s *site) gain(from, to int) (gain float64, known bool) {
	here, above := &s.levels[from], &s.levels[to]
	ratio := above.calls / max(here.calls, 1)
	if ratio < 1.1 || above.one <= 0 {
		return 1, false
	}
	return (ratio*here.one/above.one - 1) / (ratio - 1), true
}

// tooMany reports whether a rung does no more than the one below it.
func (s *site) tooMany(rung int) bool {
	gain, _ := s.gain(rung-1, rung)
	return gain < worse || s.rate(rung) < less*s.rate(rung-1)
}

// worthIt reports whether a rung does clearly more than the present one, or may be
// tried because its calls are not slowed down.
func (s *site) worthIt(now time.Duration, rung int) bool {
	gain, known := s.gain(s.rung, rung)
	if left := s.levels[rung].left; known && gain >= free && (left == 0 || now-left > lately) {
		return true
	}
	return gain >= better && s.rate(rung) >= same*s.rate(s.rung)
}

// rate is how many items are answered in a second at a rung.
func (s *site) rate(rung int) float64 {
	l := &s.levels[rung]
	return l.calls * l.size / max(l.mean, 1e-9)
}

// rungOf is the rung next to a number of calls, in proportion.
func rungOf(n float64) int {
	at := 0
	for at+1 < len(rungs) && n*n > float64(rungs[at]*rungs[at+1]) {
		at++
	}
	return at
}

// limit is how many calls may be under way before items gather.
func (s *site) limit() int { return rungs[s.rung+s.probe] }
