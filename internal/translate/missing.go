package translate

import (
	"sync/atomic"
	"time"

	"sluice/internal/llm"
)

// forget is how long a route is taken for missing: services are brought up to date.
const forget = 10 * time.Minute

// missing is whether a service lacks a route.
type missing struct {
	until atomic.Int64 // in nanoseconds since 1970
}

func (m *missing) is(now time.Time) bool { return now.UnixNano() < m.until.Load() }

func (m *missing) note(now time.Time) { m.until.Store(now.Add(forget).UnixNano()) }

// noRoute reports whether an error may mean that a service has no such route. With the same
// status services say that they do not know a model.
func noRoute(err error) bool {
	if err == nil {
		return false
	}
	e := llm.AsError(err)
	return e.Fault == llm.Answered && (e.Status == 404 || e.Status == 405 || e.Status == 501)
}
