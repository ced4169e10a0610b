package perf

import (
	"sort"
	"time"
)

// State is how a component does, from the best to the worst.
type State uint8

const (
	Healthy   State = iota
	Degraded        // it works, worse than it should
	Unhealthy       // it does not work
)

// String gives the state as it stands in replies.
func (s State) String() string { return [...]string{"healthy", "degraded", "unhealthy"}[s] }

// Condition is how one component does at the moment.
type Condition struct {
	Component string // such as "upstream/openai"
	State     State
	Error     string // what was wrong last, "" for nothing
	Advice    string // what a person can do; "" where nothing is to be done

	// Vital is the group of components of which one has to work for requests to
	// be answered, "" where the component is not needed for that.
	Vital string
}

// Examined is a source of figures that also knows how it does. Examine is called
// from any goroutine and does not block.
type Examined interface {
	Examine(report func(Condition))
}

// Finding is a component's condition with its history.
type Finding struct {
	Condition
	Since   time.Time // it has been in its state; as of the first check it was seen in
	ErrorAt time.Time // when Error was seen first; zero where there is none
}

// Health is how all components do. State is unhealthy where a whole vital group
// is, degraded where any component is not healthy.
type Health struct {
	State    State
	Findings []Finding // sorted by component
}

// Examine asks all sources that are Examined. What is wrong with a component
// stays as its Error after it is well again.
func (r *Registry) Examine() Health {
	var now []Condition
	r.Each(func(_ string, s Source) {
		if e, ok := s.(Examined); ok {
			e.Examine(func(c Condition) { now = append(now, c) })
		}
	})
	r.examined.Lock()
	defer r.examined.Unlock()
	known := make(map[string]Finding, len(now))
	h := Health{Findings: make([]Finding, 0, len(now))}
	vital := make(map[string]State) // the best of each group
	at := time.Now()
	for _, c := range now {
		f := follow(r.findings[c.Component], c, at)
		known[c.Component] = f
		h.Findings = append(h.Findings, f)
		if c.State != Healthy {
			h.State = Degraded
		}
		if c.Vital != "" {
			if best, ok := vital[c.Vital]; !ok || c.State < best {
				vital[c.Vital] = c.State
			}
		}
	}
	for _, best := range vital {
		h.State = max(h.State, best)
	}
	r.findings = known
	sort.Slice(h.Findings, func(i, j int) bool { return h.Findings[i].Component < h.Findings[j].Component })
	return h
}

// follow adds to a condition what was known of the component before.
func follow(before Finding, c Condition, at time.Time) Finding {
	f := Finding{Condition: c, Since: before.Since, ErrorAt: before.ErrorAt}
	if before.Component == "" || before.State != c.State {
		f.Since = at
	}
	switch {
	case c.Error == "":
		f.Error = before.Error
	case c.Error != before.Error:
		f.ErrorAt = at
	}
	return f
}
