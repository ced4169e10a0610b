package bench

import (
	"fmt"
	"math"
)

// Verdict is what a row says of its claim.
type Verdict string

// The verdicts.
const (
	Holds      Verdict = "holds"
	FallsShort Verdict = "falls short"
	Unclear    Verdict = "unclear" // the interval reaches over the claim
	Skipped    Verdict = "not measured"
)

// judge holds an interval against the least that was claimed. It takes the whole of
// the interval: what reaches over the claim is neither, and so is a single round, which
// has no interval.
func judge(gain Interval, claimed float64) Verdict {
	switch {
	case math.IsNaN(gain.Median), gain.Coverage == 0:
		return Unclear
	case gain.Low >= claimed:
		return Holds
	case gain.High < claimed:
		return FallsShort
	}
	return Unclear
}

// verdict is the row's.
func (row Row) verdict() Verdict {
	switch {
	case row.Skipped != "":
		return Skipped
	case row.ID == leakRow:
		v, _ := row.leaks()
		return v
	case len(row.Figures) == 0:
		return Skipped
	}
	claimed := row.Claim.Low
	if row.ID == faultsRow { // the note claims no number: any fewer, for certain
		claimed = math.SmallestNonzeroFloat64
	}
	v := judge(row.Figures[0].gain(), claimed)
	if v == Holds && row.Figures[0].lost() {
		v = Unclear
	}
	return v
}

// promised is the claim as a number: "−50 to −80 %", "at least +200 %".
func (c Claim) promised() string {
	if c.Low == 0 {
		return "no number"
	}
	sign := "−"
	if c.More {
		sign = "+"
	}
	if c.High == 0 {
		return fmt.Sprintf("%s%.0f %% or more", sign, c.Low*100)
	}
	return fmt.Sprintf("%s%.0f to %s%.0f %%", sign, c.Low*100, sign, c.High*100)
}
