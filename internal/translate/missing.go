package translate

import (
	"sync/atomic"
	"time"

	"sluice/internal/llm"
)

// forget is how long a route is taken for missing: services are brought up to date.
const forget = 10 * time.Minute

// route is what is known of a service's route: nothing at first.
type route struct {
	state atomic.Int64 // answered, or until when it is missing, in nanoseconds since 1970
}

const answered = -1

// missing reports whether the service lacks it.
func (r *route) missing(now time.Time) bool { return now.UnixNano() < r.state.Load() }

func (r *route) miss(now time.Time) { r.state.Store(now.Add(forget).UnixNano()) }

// answers reports whether the service has answered on it, and not lacked it since.
func (r *route) answers() bool { return r.state.Load() == answered }

func (r *route) answer() {
	if !r.answers() { // which is seldom: the state is read by every request
		r.state.Store(answered)
	}
}

// noRoute reports whether an error may mean that a service has no such route. With the same
// status services say that they do not know a model.
func noRoute(err error) bool {
	if err == nil {
		return false
	}
	e := llm.AsError(err)
	return e.Fault == llm.Answered && (e.Status == 404 || e.Status == 405 || e.Status == 501)
}
