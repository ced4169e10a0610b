package gather

import "time"

// doubt is what speaks against calls with several items in one lane. A pace is of all
// lanes of a course, since an upstream is as fast for one key as for another; this is
// not, or one key could have the items of all others go alone.
type doubt struct {
	refusals int           // of calls with several items, in a row, for which no item was to blame
	unsure   bool          // that items go alone may be one item's fault
	rest     time.Duration // until then items go alone
	rests    int           // how often that was so in a row
}

const (
	// refused is how many calls with several items have to be refused in a row for
	// items to go alone, and minRest and maxRest for how long.
	refused          = 3
	minRest, maxRest = time.Minute, 16 * time.Minute
)

// refuse learns that a call with several items was refused as a whole. Where that
// goes on, or where for certain it was not understood, items go alone for a while.
func (d *doubt) refuse(now time.Duration, certain bool) {
	d.refusals++
	if (d.refusals < refused && !certain) || now < d.rest {
		return
	}
	d.refusals, d.unsure = 0, !certain
	d.rest = now + min(minRest<<min(d.rests, 8), maxRest)
	d.rests++
}

// blame learns that an item is refused by itself as well: it was its fault, and calls
// with several are taken. Whoever sends such items does not change that for others.
func (d *doubt) blame() {
	d.refusals = 0
	if d.unsure {
		d.rest, d.rests, d.unsure = 0, 0, false
	}
}

// clear learns that a call with several items was answered.
func (d *doubt) clear() { d.refusals, d.rests = 0, 0 }

// recall gives a lane the doubts that it was given up with. b.mu is held.
func (b *Batcher[I, R]) recall(l *lane[I, R]) {
	l.doubt = b.doubts[l.key]
	delete(b.doubts, l.key)
}

// remember keeps the doubts of a lane that is given up, where there are any: of as
// many as are remembered. b.mu is held.
func (b *Batcher[I, R]) remember(l *lane[I, R]) {
	d, now := l.doubt, b.clock.Now()
	if d.refusals == 0 && d.rests == 0 && d.rest <= now {
		return
	}
	if len(b.doubts) >= maxDoubts {
		var one string
		for key, other := range b.doubts { // any: it is learnt again
			if one = key; other.rest <= now { // better one that rests no more
				break
			}
		}
		delete(b.doubts, one)
	}
	b.doubts[l.key] = d
}
