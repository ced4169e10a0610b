package front

import (
	"sync/atomic"
	"time"
)

// endings counts the exchanges whose client may have all of its reply while
// observers have not been told of them yet. What tells of exchanges waits for
// these, so that nobody who has seen an end gets a report without it.
//
// They are counted in two places, by turns. Whoever waits lets new ones go to the
// other place until one is empty, and then the other: under load the sum of both
// may never be zero.
type endings struct {
	turn  atomic.Uint32
	count [2]atomic.Int64

	begun   atomic.Uint64 // rounds of waiting
	waiting chan struct{} // has room for one who waits

	// patience bounds the waiting: a client that takes its last bytes slowly, or an
	// upstream that leaves a stream open after its last event, delays a report by so
	// much and no more.
	patience time.Duration
}

func newEndings() endings {
	return endings{waiting: make(chan struct{}, 1), patience: 250 * time.Millisecond}
}

// wait returns when observers know of every exchange whose reply had been written
// before, or after e's patience. Those who wait at the same time share a round.
func (e *endings) wait() {
	if e.count[0].Load()+e.count[1].Load() == 0 {
		return // as a rule
	}
	asked := e.begun.Load()
	late := time.NewTimer(e.patience)
	defer late.Stop()
	select {
	case e.waiting <- struct{}{}:
		defer func() { <-e.waiting }()
	case <-late.C:
		return
	}
	if e.begun.Load() != asked {
		return
	}
	e.begun.Add(1)
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	for range e.count {
		place := &e.count[(e.turn.Add(1)-1)%2]
		for place.Load() > 0 {
			select {
			case <-look.C:
			case <-late.C:
				return
			}
		}
	}
}

// mayEnd is called before bytes are written after which the client need not wait
// for more. Replies that the engine holds until the handler has returned need no
// such call: their observers come first.
func (rec *record) mayEnd() {
	if rec.ending == 0 && rec.in.own == nil && len(rec.s.observers) > 0 {
		place := rec.s.endings.turn.Load() % 2
		rec.s.endings.count[place].Add(1)
		rec.ending = uint8(place) + 1
	}
}

// ended is called when observers have been told.
func (rec *record) ended() {
	if rec.ending > 0 {
		rec.s.endings.count[rec.ending-1].Add(-1)
		rec.ending = 0
	}
}
