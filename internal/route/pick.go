package route

import (
	"math"
	"sync/atomic"
	"time"
)

const (
	// tolerance is how much slower a replica may be expected to be than another and
	// count as quick as it, and jitter the seconds besides: below, the load decides.
	tolerance, jitter = 2.0, 0.001
	// farOff is how much slower the replica that knows a prefix has to be expected to
	// be than a sibling for another one to be asked. Conversations differ in length,
	// so their replicas do too.
	farOff = 10.0
	// bound is how much more than its share of the requests in flight a replica may
	// have for the sake of prefixes.
	bound = 1.5
	// leastShare is the part of its weight with which a replica starts that comes back.
	leastShare = 0.1
)

// pick is one choice among several candidates. It is used again for later ones.
type pick struct {
	router *Router
	list   []candidate
}

// release makes it one for other requests.
func (p *pick) release() {
	r := p.router
	clear(p.list)
	p.router, p.list = nil, p.list[:0]
	r.picks.Put(p)
}

// choose gives the candidate to take for a conversation, nil for none, and why.
func (p *pick) choose(pre *prefix) (int, cause) {
	if pre == nil {
		return p.twoChoices(), byTwoChoices
	}
	i, why := p.known(pre)
	if i < 0 {
		i = p.hashed(pre.key)
	}
	return i, why
}

// known gives the candidate that has had most of the conversation and is neither too
// loaded nor too slow; -1 where there is none.
func (p *pick) known(pre *prefix) (at int, why cause) {
	why = byTwoChoices
	for m := pre.n - 1; m >= 0; m-- {
		if !pre.counts(m) {
			break
		}
		had := p.router.prefixes.had(pre.marks[m].hash)
		if had == 0 {
			continue
		}
		at = -1
		for i := range p.list {
			if had&p.list[i].up.load.bit != 0 && (at < 0 || p.better(at, i) == i) {
				at = i
			}
		}
		switch {
		case at < 0:
		case p.list[at].inFlight+1 > p.share(&p.list[at]):
			why = bounded
		case p.farOff(at):
			why = outlying
		case why == byTwoChoices:
			return at, byPrefix
		default:
			return at, why
		}
	}
	return -1, why
}

// farOff reports whether a sibling of a candidate is expected to be quicker by far.
func (p *pick) farOff(at int) bool {
	for i := range p.list {
		if p.list[at].slower(&p.list[i], farOff) {
			return true
		}
	}
	return false
}

// hashed gives the better one of the two that a conversation's hash falls to, so
// that it comes to the same ones when it is forgotten, and from other gateways:
// rendezvous hashing, by weight.
func (p *pick) hashed(key uint64) int {
	first, second := -1, -1
	var most, next float64
	for i := range p.list {
		c := &p.list[i]
		// Exponential with the weight as its rate: the least of them is one's with
		// the probability of its share.
		u := (float64(mix(key, c.up.load.hash)>>11) + 0.5) / (1 << 53)
		score := -math.Log(u) / float64(c.weight)
		switch {
		case first < 0 || score < most:
			second, next = first, most
			first, most = i, score
		case second < 0 || score < next:
			second, next = i, score
		}
	}
	if second < 0 {
		return first
	}
	return p.better(first, second)
}

// twoChoices gives the better one of two that are drawn by weight.
func (p *pick) twoChoices() int {
	a := p.draw(-1)
	if len(p.list) == 1 {
		return a
	}
	return p.better(a, p.draw(a))
}

// draw draws one by weight, but not the one that was.
func (p *pick) draw(was int) int {
	var total float64
	for i := range p.list {
		if i != was {
			total += p.list[i].weight
		}
	}
	at, last := p.router.rand()*total, -1
	for i := range p.list {
		if i == was {
			continue
		}
		last = i
		if at -= p.list[i].weight; at < 0 {
			break
		}
	}
	return last
}

// better gives the one of two that will answer sooner, and where that is much the
// same the one that has less to do for its weight; the first where that is too.
func (p *pick) better(first, second int) int {
	a, b := &p.list[first], &p.list[second]
	switch {
	case a.slower(b, tolerance):
		return second
	case b.slower(a, tolerance):
		return first
	case a.inFlight/a.weight >= (b.inFlight+1)/b.weight:
		return second
	default:
		return first
	}
}

// slower reports whether one is expected to be slower than another by more than a
// factor. A higher weight is worth a longer wait. One of which nothing is known is
// slower once some requests wait for it.
func (a *candidate) slower(b *candidate, factor float64) bool {
	switch {
	case b.expected == unknown:
		return false
	case a.expected == unknown:
		return a.waiting >= coldRequests
	default:
		return a.expected > b.expected*factor*max(1, a.weight/b.weight)+jitter
	}
}

// started is the part of its weight that one has that came back at a time.
func started(back *atomic.Int64, now, slowStart time.Duration) float64 {
	at := time.Duration(back.Load())
	if at == 0 || now-at >= slowStart {
		return 1
	}
	return max(leastShare, float64(now-at)/float64(slowStart))
}

// share is how many requests in flight a candidate may have, this one included,
// for the sake of prefixes: its part of all, and a little more.
func (p *pick) share(c *candidate) float64 {
	var inFlight, weight float64
	for i := range p.list {
		inFlight, weight = inFlight+p.list[i].inFlight, weight+p.list[i].weight
	}
	return math.Ceil(bound * (inFlight + 1) * c.weight / weight)
}
