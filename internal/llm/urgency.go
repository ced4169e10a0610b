package llm

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Priority is how important a request is, from 0 to 9; higher goes first.
type Priority uint8

// The priorities that have names.
const (
	PriorityLow    Priority = 2
	PriorityNormal Priority = 5
	PriorityHigh   Priority = 8
)

// Urgency is how much a request's turn matters to those who wait for the reply.
type Urgency struct {
	Priority Priority

	// Deadline is when the client will have given up, zero where it does not say.
	// It is advice: what can no longer be answered by then is not begun, and
	// nothing under way is cut by it.
	Deadline time.Time

	// Turn is the call's own, which others may come to share; nil where nobody can.
	// Whoever queues the request goes by Now and not by what is above.
	Turn *Turn
}

// Turn is what those who share a call have to say to whoever queues it: the more
// urgent of them lends it his urgency. Where nobody does it costs nothing but the
// memory it stands in. The zero value is ready.
type Turn struct {
	lent atomic.Pointer[loan] // nil while nobody has lent
	sent atomic.Bool

	mu     sync.Mutex
	late   bool    // nobody can lend any more
	places []Place // that it waits in; several where it is sent in parts
}

// loan is the urgency that a call has, with all that was lent.
type loan struct {
	priority Priority
	deadline time.Time
}

// Place is where a call waits.
type Place interface {
	// Lend is told that the call has become more urgent, and how much so it is now.
	// It is false where the call is not to be sent, which this comes too late for.
	// It is called from any goroutine, and may be so just after the call has left.
	Lend(p Priority, deadline time.Time) bool
}

// Reset makes the Turn one for another call. Nobody shares the last one any more.
func (t *Turn) Reset() {
	t.lent.Store(nil)
	t.sent.Store(false)
	t.late = false
	clear(t.places)
	t.places = t.places[:0]
}

// Now is the highest priority, and the latest deadline, zero for none, of all who want
// the reply. Who has left still counts.
func (u *Urgency) Now() (p Priority, deadline time.Time) {
	if u.Turn != nil {
		if l := u.Turn.lent.Load(); l != nil {
			return l.priority, l.deadline
		}
	}
	return u.Priority, u.Deadline
}

// Lend has a call be as urgent as is another one that comes to share it. It is false
// where the call is not sent because all who wanted it before were late.
func (u *Urgency) Lend(p Priority, deadline time.Time) bool {
	t := u.Turn
	if t == nil {
		return true
	}
	t.mu.Lock()
	old, until := u.Now()
	p, deadline = max(p, old), later(deadline, until)
	if t.late || p == old && deadline.Equal(until) {
		defer t.mu.Unlock()
		return !t.late
	}
	t.lent.Store(&loan{p, deadline})
	places := slices.Clone(t.places)
	t.mu.Unlock()
	taken := true
	for _, place := range places {
		taken = place.Lend(p, deadline) && taken
	}
	return taken
}

// later gives the later of two deadlines.
func later(a, b time.Time) time.Time {
	if a.IsZero() || b.IsZero() {
		return time.Time{}
	}
	if a.After(b) {
		return a
	}
	return b
}

// Late reports whether all who want the reply will have given up by then. Whoever asks
// does not send the call where that is so: nobody shares it any more.
func (u *Urgency) Late(by time.Time) bool {
	if _, d := u.Now(); d.IsZero() || by.Before(d) {
		return false
	}
	t := u.Turn
	if t == nil {
		return true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	_, d := u.Now()
	t.late = t.late || !d.IsZero() && !by.Before(d)
	return t.late
}

// Wait notes where the call waits. What was lent before, Now has; what is lent from
// then on, the place is told.
func (u *Urgency) Wait(place Place) {
	if t := u.Turn; t != nil {
		t.mu.Lock()
		t.places = append(t.places, place)
		t.mu.Unlock()
	}
}

// Join has the call wait for another one that it becomes a part of, or that is a part of
// it, which is lent its urgency.
func (u *Urgency) Join(other *Urgency) {
	u.Wait(other)
	other.Lend(u.Now())
}

// Leave notes that the call does not wait there any more. It may be told again.
func (u *Urgency) Leave(place Place) {
	if t := u.Turn; t != nil {
		t.mu.Lock()
		if i := slices.Index(t.places, place); i >= 0 {
			t.places = slices.Delete(t.places, i, i+1)
		}
		t.mu.Unlock()
	}
}

// Send notes that the call is being sent.
func (u *Urgency) Send() {
	if u.Turn != nil {
		u.Turn.sent.Store(true)
	}
}

// Sent reports whether something of the call was sent, be it by another one that it is
// a part of.
func (u *Urgency) Sent() bool {
	t := u.Turn
	if t == nil || t.sent.Load() {
		return true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.ContainsFunc(t.places, func(p Place) bool {
		whole, ok := p.(*Urgency)
		return ok && whole.Sent()
	})
}

// Late is the error of a request that is not sent, since its client will have given
// up before it could be answered.
func Late() *Error {
	e := Errorf(504, "deadline_exceeded", "The request could not be answered within the time that the client gives it (X-Request-Timeout), so it was not sent to a model service.")
	e.Fault, e.Unprocessed = TooLate, true
	return e
}
