package gather

import (
	"math"
	"time"
)

// pace is what was learnt of how long calls of a course take, and what follows from
// that: how long items may gather, and how many leave together. A call of size b takes
// f + i·b, times what calls at the same time slow each other down; of that its site
// knows.
type pace struct {
	*site
	most   int           // items of a call
	wait   time.Duration // that items may gather at most
	target time.Duration // for gathering and the call together; 0 for none

	// Weighted sums over the last calls, of sizes and seconds.
	w, b, s, bb, bs float64
	queued          float64 // of the seconds, those that calls waited for their turn
	shared          float64 // calls that callers shared
	fixed, item     float64 // seconds that a call takes, and each of its items besides; 0 before they are known

	base    float64 // how many times as long its calls take as what the site's levels are in
	n       int     // calls that this is known by
	by      []upstream
	evicted bool // others are known instead
}

const (
	// memory is how many calls the estimates of a call's parts remember, recent how
	// many a rung's does, and lasting how many the one does that courses are compared
	// by, about.
	memory, recent, lasting = 64, 32, 1024
	// enough is how many calls a rung is judged by.
	enough = 6
	// known is how long a rung's figure is good for without news.
	known = 10 * time.Second
	// better and worse are the parts of what more calls at once could add at most
	// that make a lane climb, and come back. Between them it stays.
	better, worse = 0.3, 0.1
	// less and same are the parts of the items that a rung below answers with which
	// it comes back, or does not climb: more calls may do less if they are smaller.
	less, same = 0.8, 0.9
	// free is the gain from which on calls count as not slowing each other down. A rung
	// is then tried whatever the items of the few calls that it is known by, which
	// depend on who happened to wait; but not if that was done lately.
	free, lately = 0.9, 5 * time.Second
	// windows is how many times a call's time items may gather at most.
	windows = 2
	// company is the part of a course's calls that callers share from which on its items
	// are taken to find company when they wait.
	company = 0.25
	// minWindow bounds how short that gets.
	minWindow = time.Millisecond
)

// took learns that a call of so many items took d, while n calls were under way on
// average. shared says that callers shared it, wanted that items waited for it to end,
// queued how much of d the call waited for its turn at the upstream. That is a part of d
// for all that: a call that waits there is one that its items might better have gathered
// in place of, and without it a queue before the upstream would make any number of calls
// look as good as few.
func (p *pace) took(now time.Duration, n float64, items int, shared bool, d, queued time.Duration, wanted bool) {
	b, s := float64(items), d.Seconds()
	const keep = 1 - 1.0/memory
	p.w, p.b, p.s, p.bb, p.bs = p.w*keep+1, p.b*keep+b, p.s*keep+s, p.bb*keep+b*b, p.bs*keep+b*s
	p.queued = p.queued*keep + min(queued, d).Seconds()
	if p.shared *= keep; shared {
		p.shared++
	}
	p.fit()
	one := s * p.alone(b)
	p.compare(rungOf(n), one)
	p.learn(now, n, b, s/p.base, one/p.base, wanted)
}

// compare learns from a call at a rung how a course's calls compare to those of others.
// Of a course that is alone it is no matter.
func (p *pace) compare(rung int, one float64) {
	others := p.nearest(rung)
	switch {
	case others == 0 && p.n == 0:
		p.base, p.n = 1, 1
	case others > 0 && (p.courses > 1 || p.n == 0):
		p.n++
		p.base += (one/others - p.base) / float64(min(p.n, lasting))
	}
}

// room reports whether one more call may be made from a lane that has so many under way.
// One that has none waits for those of others, which its items can never be joined with,
// only where that serves a purpose: it was seen that more calls at once add nothing, and
// items of this course do find company when they wait. At the highest rung nothing is
// known of how many are too many, and each lane may have so many.
func (p *pace) room(now time.Duration, own int) bool {
	limit := p.limit()
	switch {
	case p.inFlight < limit, own < limit && p.rung == len(rungs)-1:
		return true
	default:
		return own == 0 && (p.shared < company*p.w || !p.full(now))
	}
}

// fit finds what a call and what an item takes, by least squares. Sizes that are all
// alike tell nothing of items: what was known of them then stays.
func (p *pace) fit() {
	mean, size := p.s/p.w, p.b/p.w
	if spread := p.bb/p.w - size*size; spread > 0.25 {
		p.item = min(max((p.bs/p.w-mean*size)/spread, 0), mean/size)
	} else {
		p.item = min(p.item, mean/size)
	}
	p.fixed = mean - p.item*size
}

// alone is the part of the time of a call of size b that one of size 1 takes.
func (p *pace) alone(b float64) float64 {
	whole := p.fixed + p.item*b
	if whole <= 0 {
		return 1
	}
	return (p.fixed + p.item) / whole
}

// expect is how long a call takes, 0 where that is not known.
func (p *pace) expect(items int) time.Duration {
	return time.Duration((p.fixed + p.item*float64(items)) * 1e9)
}

// soonest is how long one item takes at least. Whether it has to wait for its turn at the
// upstream is for others to say: it may be more urgent than those that did.
func (p *pace) soonest() time.Duration {
	if p.w == 0 {
		return 0
	}
	return max(p.expect(1)-time.Duration(p.queued/p.w*1e9), 0) / 2
}

// size is how many items may leave together, of some that wait for so many calls that
// may be made.
func (p *pace) size(waiting, calls int) int {
	if p.item <= 0 {
		return p.most
	}
	most := float64(p.most)
	if p.target > 0 {
		most = min(most, math.Floor((p.target.Seconds()-p.fixed)/p.item))
	}
	if calls > 1 {
		most = min(most, math.Ceil(float64(waiting)/float64(calls)))
	}
	// But never fewer than make a call's own part half of it. Under overload
	// everything takes longer, and smaller calls would make that worse.
	return int(min(max(most, math.Ceil(p.fixed/p.item), 1), float64(p.most)))
}

// window is how long an item may gather while calls are under way.
func (p *pace) window() time.Duration {
	d := p.expect(p.most)
	if d <= 0 {
		return p.wait
	}
	w := windows * d
	if p.target > 0 {
		if left := p.target - d; left > 0 { // else it cannot be kept anyway
			w = min(w, left)
		}
	}
	return min(max(w, minWindow), p.wait)
}
