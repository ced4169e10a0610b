package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"time"
)

// Report is all that a run has to tell: what was measured, raw, with what it was
// measured on. Every figure of the table and of the page is computed from it.
type Report struct {
	Version  string    `json:"version"` // of Sluice
	Go       string    `json:"go"`
	System   string    `json:"system"` // operating system and architecture
	CPU      string    `json:"cpu"`    // its name, where that is known
	CPUs     int       `json:"cpus"`   // that the processes may use
	Memory   int64     `json:"memory"` // bytes of the machine, 0 where that is not known
	Date     time.Time `json:"date"`
	Seconds  float64   `json:"seconds"` // that the run took
	Command  string    `json:"command"`
	Seed     uint64    `json:"seed"`     // of all that is drawn
	Rounds   int       `json:"rounds"`   // of off and on each
	Slice    float64   `json:"slice"`    // seconds that a side is measured in a round, as a rule
	Upstream string    `json:"upstream"` // "" for the simulator
	Rows     []Row     `json:"rows"`
}

// Row is one claim and what was found of it.
type Row struct {
	ID     string `json:"id"`
	Title  string `json:"title"`
	Claim  Claim  `json:"claim"`
	Method string `json:"method"` // how it was measured
	Off    string `json:"off"`    // what was measured without the optimisation
	On     string `json:"on"`     // and with it

	// Figures were measured off and on, the first being what the claim is held against.
	Figures []Figure `json:"figures,omitempty"`
	// Rests are looks at the gateway at rest, for the verdict on leaks.
	Rests []Rest `json:"rests,omitempty"`
	// Watch is what the gateway itself says about leaks.
	Watch string `json:"watch,omitempty"`
	// Skipped says why the row was not measured; "" where it was.
	Skipped string `json:"skipped,omitempty"`

	// Change, Verdict and Reason were computed from the above, and stand here for
	// readers.
	Change  *Interval `json:"change,omitempty"`
	Verdict Verdict   `json:"verdict"`
	Reason  string    `json:"reason"`
}

// Claim is what the design note says.
type Claim struct {
	Quote string  `json:"quote"` // its words
	Text  string  `json:"text"`  // what they say
	More  bool    `json:"more"`  // more is promised, and not less
	Low   float64 `json:"low"`   // by what part of before at least: 0.5 is half more, or half less
	High  float64 `json:"high"`  // and at most; 0 for no such bound
}

// Figure is something that was measured off and on, in turn.
type Figure struct {
	Name  string `json:"name"`
	Unit  Unit   `json:"unit"`
	More  bool   `json:"more"` // more is better
	Pairs []Pair `json:"pairs"`
}

// Unit is what a value is in: seconds, things a second, bytes, a part from 0 to 1, or a
// plain number.
type Unit string

// The units.
const (
	Seconds   Unit = "s"
	PerSecond Unit = "1/s"
	Bytes     Unit = "B"
	Share     Unit = "share"
	Number    Unit = ""
)

// Pair is one round.
type Pair struct {
	Off Side `json:"off"`
	On  Side `json:"on"`
}

// Side is what one side showed in a round: the median of samples where there are any,
// and else an amount divided by what it is for.
type Side struct {
	Amount  float64   `json:"amount,omitempty"`
	Per     float64   `json:"per,omitempty"`
	Samples []float64 `json:"samples,omitempty"`
}

// Rest is the gateway at rest, after so many requests in all.
type Rest struct {
	Requests   float64 `json:"requests"`
	Goroutines float64 `json:"goroutines"`
	Files      float64 `json:"files"` // open, but for connections
	Heap       float64 `json:"heap"`  // bytes in use after a collection, less those of the cache
}

// Value is NaN where nothing was measured.
func (s Side) Value() float64 {
	if len(s.Samples) > 0 {
		return median(s.Samples)
	}
	if s.Per == 0 {
		return math.NaN()
	}
	return s.Amount / s.Per
}

// values are those of all rounds.
func (f Figure) values() (off, on []float64) {
	for _, p := range f.Pairs {
		off, on = append(off, p.Off.Value()), append(on, p.On.Value())
	}
	return off, on
}

// gains are what each round gained, as a part of off: 0.9 is 90 % less or, where more is
// better, 90 % more; negative is a loss. Rounds in which there was nothing to gain from
// are left out; see lost.
func (f Figure) gains() (all []float64) {
	off, on := f.values()
	for i := range off {
		gain := 1 - on[i]/off[i]
		if f.More {
			gain = -gain
		}
		if !math.IsNaN(gain) && !math.IsInf(gain, 0) {
			all = append(all, gain)
		}
	}
	return all
}

// lost reports whether there was nothing of it before in a round, and something now. No
// ratio tells that, and yet it is a loss.
func (f Figure) lost() bool {
	off, on := f.values()
	for i := range off {
		if !f.More && off[i] == 0 && on[i] > 0 {
			return true
		}
	}
	return false
}

// gain is what was gained, by the rounds' own ratios: both sides of each were measured
// within seconds of each other.
func (f Figure) gain() Interval { return summarise(f.gains()) }

// finish puts what is computed where readers look for it.
func (r *Report) finish() {
	for i := range r.Rows {
		row := &r.Rows[i]
		if len(row.Figures) > 0 {
			if g := row.Figures[0].gain(); !math.IsNaN(g.Median) {
				row.Change = &g
			}
		}
		row.Verdict = row.verdict()
		row.Reason = row.reason()
	}
}

// FallsShort gives the titles of the rows that do.
func (r *Report) FallsShort() (titles []string) {
	for _, row := range r.Rows {
		if row.Verdict == FallsShort {
			titles = append(titles, row.Title)
		}
	}
	return titles
}

// WriteJSON writes the report.
func (r *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	if err := e.Encode(r); err != nil {
		return fmt.Errorf("write report as JSON: %w", err)
	}
	return nil
}
