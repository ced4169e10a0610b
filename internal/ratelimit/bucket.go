package ratelimit

import (
	"math"
	"time"
)

// What is limited. Amounts have one of each.
const (
	requests = iota
	tokens
	kinds
)

// amounts are of requests and of tokens.
type amounts [kinds]float64

// debt is how much more than its burst a key can owe, as what its limit gives in that
// time: an upstream that counts nonsense shuts nobody out for ever.
const debt = time.Hour

// slack is what sums of fractions may be off by.
const slack = 1e-6

// bucket is the limit of one key. The zero rate is none.
type bucket struct {
	rate  amounts // a second
	burst amounts
}

func newBucket(requestsPerMinute, tokensPerMinute int64, burst time.Duration) (b bucket) {
	for i, limit := range [kinds]int64{requests: requestsPerMinute, tokens: tokensPerMinute} {
		if limit > 0 {
			b.rate[i] = float64(limit) / 60
			b.burst[i] = max(b.rate[i]*burst.Seconds(), 1)
		}
	}
	return b
}

// most is how full it gets.
func (b *bucket) most(i int) float64 { return b.burst[i] + b.rate[i]*debt.Seconds() }

// drained is what is left of levels after some time. A clock that was set back
// drains nothing.
func (b *bucket) drained(levels amounts, after time.Duration) amounts {
	for i := range levels {
		levels[i] = max(levels[i]-b.rate[i]*max(after, 0).Seconds(), 0)
	}
	return levels
}

// room reports whether there is room for a cost above levels. What costs nothing
// there is room for.
func (b *bucket) room(levels, cost amounts) bool {
	for i := range levels {
		if b.rate[i] > 0 && cost[i] > 0 && levels[i]+cost[i] > b.burst[i]+slack {
			return false
		}
	}
	return true
}

// filled adds a cost, which may be negative, to levels.
func (b *bucket) filled(levels, cost amounts) amounts {
	for i := range levels {
		if b.rate[i] > 0 {
			levels[i] = min(max(levels[i]+cost[i], 0), b.most(i))
		}
	}
	return levels
}

// wait is after what time there is room for a cost of one kind.
func (b *bucket) wait(i int, levels, cost amounts) time.Duration {
	if b.rate[i] == 0 || cost[i] == 0 {
		return 0
	}
	return max(seconds((levels[i]+cost[i]-b.burst[i])/b.rate[i]), 0)
}

// seconds makes a time of a number of seconds, to the next millisecond.
func seconds(s float64) time.Duration {
	return time.Duration(math.Ceil(s*1000-slack)) * time.Millisecond
}
