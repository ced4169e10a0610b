// Package monotonic counts time from a fixed moment on, whatever is done to the
// wall clock. Such a time is a number, which an atomic can hold.
package monotonic

import "time"

// Clock counts from the moment when it was made. Copies of it count alike; the
// times of two clocks have nothing to do with one another.
type Clock struct{ start time.Time }

// New returns a clock that begins at 0.
func New() Clock { return Clock{time.Now()} }

// Now is the time on the clock.
func (c Clock) Now() time.Duration { return time.Since(c.start) }

// At is what the clock shows at t.
func (c Clock) At(t time.Time) time.Duration { return t.Sub(c.start) }
