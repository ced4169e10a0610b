package timeline

import "time"

// step is the time between two samples.
const step = 2 * time.Second

// The rings, from the finest: how many slots each has and how many slots of the
// one before make one of its own. A series has the slots of all rings in one
// array, and behind them the open one, which has what came since the last tick.
const (
	fine, mid, coarse                   = 30, 10, 12
	finesInMid                          = 15
	midsInCoarse                        = 10
	midStart, coarseStart               = fine, fine + mid
	open                                = fine + mid + coarse
	slots                               = open + 1
	finesInCoarse                       = finesInMid * midsInCoarse
	fineSpan                            = fine * step
	midSpan                             = mid * finesInMid * step
	longest               time.Duration = coarse * finesInCoarse * step
)

// clock tells which slot is the newest of each ring, and how long each lasted:
// where the process had no CPU for a while a slot is longer than it should be.
type clock struct {
	ticks  uint64 // slots of the fine ring so far
	last   time.Time
	length [slots]time.Duration
}

// advance makes the open slot last until now.
func (c *clock) advance(now time.Time) {
	c.length[open] += now.Sub(c.last)
	c.last = now
}

// tick makes the open slot one of the fine ring, which it gives.
func (c *clock) tick() (slot int) {
	slot = int(c.ticks % fine)
	c.ticks++
	c.length[slot], c.length[open] = c.length[open], 0
	return slot
}

// fold is the making of a slot from slots of a finer ring.
type fold struct {
	into int
	from []int
}

// folds gives what is to be folded after a tick.
func (c *clock) folds() (list []fold) {
	if c.ticks == 0 || c.ticks%finesInMid != 0 {
		return nil
	}
	mids := c.ticks / finesInMid
	list = append(list, fold{midStart + int((mids-1)%mid), newest(nil, 0, fine, c.ticks, finesInMid)})
	if mids%midsInCoarse == 0 {
		list = append(list, fold{coarseStart + int((mids/midsInCoarse-1)%coarse), newest(nil, midStart, mid, mids, midsInCoarse)})
	}
	for _, f := range list {
		c.length[f.into] = 0
		for _, i := range f.from {
			c.length[f.into] += c.length[i]
		}
	}
	return list
}

// newest adds the newest n slots, from the newest on, of a ring of size slots
// that begins at start and has had count of them.
func newest(list []int, start, size int, count, n uint64) []int {
	for i := range min(count, n, uint64(size)) {
		list = append(list, start+int((count-1-i)%uint64(size)))
	}
	return list
}

// stretch is the slots that make up a window, and how long they lasted.
type stretch struct {
	slots  []int
	length time.Duration
}

// back gives the slots that go back as far as a window, or to the beginning, with
// the open one.
func (c *clock) back(window time.Duration) stretch {
	mids := c.ticks / finesInMid
	var list []int
	switch {
	case window <= fineSpan:
		list = newest(list, 0, fine, c.ticks, fine)
	case window <= midSpan:
		list = newest(list, 0, fine, c.ticks, c.ticks%finesInMid)
		list = newest(list, midStart, mid, mids, mid)
	default:
		list = newest(list, 0, fine, c.ticks, c.ticks%finesInMid)
		list = newest(list, midStart, mid, mids, mids%midsInCoarse)
		list = newest(list, coarseStart, coarse, mids/midsInCoarse, coarse)
	}
	s := stretch{slots: list[:0]}
	for _, i := range list {
		if s.length > window-step/2 { // a tick may come a little early
			break
		}
		s.slots = append(s.slots, i)
		s.length += c.length[i]
	}
	if c.length[open] > 0 {
		s.slots = append(s.slots, open)
		s.length += c.length[open]
	}
	return s
}
