package alarm

import (
	"fmt"
	"time"
)

// Status is one alarm as it stands in replies and messages: of a rule with Each,
// one for each value of the label.
type Status struct {
	Name     string            `json:"name"`
	Kind     string            `json:"kind"`  // threshold or anomaly
	State    string            `json:"state"` // inactive, pending, firing or clearing
	Severity string            `json:"severity"`
	Figure   string            `json:"figure"`
	Stat     string            `json:"stat"`
	Labels   map[string]string `json:"labels"` // not to be modified
	Window   string            `json:"window"`
	Unit     string            `json:"unit,omitempty"` // of the values: seconds, bytes, ratio; "" for a number

	Value     *float64 `json:"value,omitempty"` // nil where it is not known
	Samples   uint64   `json:"samples,omitempty"`
	Direction string   `json:"direction"`           // of Threshold that raises: above or below
	Threshold *float64 `json:"threshold,omitempty"` // nil of an anomaly that has too short a past
	Clear     *float64 `json:"clear,omitempty"`
	Usual     *float64 `json:"usual,omitempty"` // of an anomaly: the median of the past

	Since    time.Time  `json:"since"`               // it has been in State
	RaisedAt *time.Time `json:"raised_at,omitempty"` // while firing or clearing
	Message  string     `json:"message,omitempty"`   // what is wrong; "" while inactive
	Note     string     `json:"note,omitempty"`      // why the value is not known
	Advice   string     `json:"advice,omitempty"`
}

// The values of Kind and State.
const (
	kindThreshold = "threshold"
	kindAnomaly   = "anomaly"

	inactive = "inactive"
	pending  = "pending"  // crossed, not yet for long enough
	firing   = "firing"   // raised
	clearing = "clearing" // raised, and inside Clear, not yet for long enough
)

// status is what is told of an alarm.
func (a *alarm) status() Status {
	w := a.watch
	s := Status{
		Name: w.name, Kind: w.kind, State: a.state, Severity: w.severity, Figure: w.figure, Stat: w.stat, Labels: a.labels,
		Window: windowText(w.window), Unit: w.unit.String(), Direction: w.direction, Since: a.since.UTC(), Note: a.note, Advice: w.advice,
	}
	if a.known {
		s.Value, s.Samples = new(a.value), a.samples
	}
	if a.judged {
		s.Threshold, s.Clear = new(a.threshold), new(a.clear)
	}
	if a.judged && w.kind == kindAnomaly {
		s.Usual = new(a.usual)
	}
	if a.raised() {
		s.RaisedAt = new(a.raisedAt.UTC())
	}
	if a.state != inactive {
		s.Message = a.message()
	}
	return s
}

// windowText writes a window as the configuration does.
func windowText(d time.Duration) string {
	if d%time.Hour == 0 {
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return fmt.Sprintf("%dm", d/time.Minute)
}
