package bench

import (
	"fmt"
	"math"
)

// reason says in a sentence why the row's verdict is what it is, from the row's own
// figures.
func (row Row) reason() string {
	if row.Skipped != "" {
		return row.Skipped
	}
	if row.ID == leakRow {
		_, why := row.leaks()
		return why
	}
	if len(row.Figures) == 0 {
		return ""
	}
	f := row.Figures[0]
	off, on := f.medians()
	text := row.told(f, off, on)
	switch {
	case row.verdict() != Unclear:
	case math.IsNaN(f.gain().Median):
		text += " In no round was there anything before that could become less or more."
	case f.lost():
		text += " In some rounds there was nothing of it before, and something now, which no ratio tells: more rounds, or longer ones, would."
	case f.gain().Coverage == 0:
		text += " One round with a ratio does not tell by how much the next would differ."
	default:
		text += " The rounds differ by so much that the interval reaches over what is claimed: more of them, or a quieter machine, would tell."
	}
	return text
}

// told is what the figures of a row with a number say.
func (row Row) told(f Figure, off, on float64) string {
	short := row.verdict() == FallsShort
	switch row.ID {
	case hitRow:
		return fmt.Sprintf("A hit took %s where the upstream took %s. 90 %% are saved wherever an answer takes longer than %s.", f.Unit.format(on), f.Unit.format(off), Seconds.format(on/(1-row.Claim.Low)))
	case connectRow:
		return fmt.Sprintf("%s a call became %s. Of a burst 20 connections were kept before and 50 are now; what is beyond needs new ones on both sides.", f.Unit.format(off), f.Unit.format(on))
	case batchRow:
		if short {
			return fmt.Sprintf("%s became %s: the callers did not fill the batches, or this machine, and not the model, was what they waited for.", PerSecond.format(off), PerSecond.format(on))
		}
		return fmt.Sprintf("%s became %s: calls of ten share the model's cost of a call.", PerSecond.format(off), PerSecond.format(on))
	case cpuRow:
		return "By kind: " + row.parts(1, len(row.Figures)) + "." + because(short, " What Sluice does besides passing on (the cache keeps each reply, figures, limits, the access log) costs more than what it saves in decoding, encoding and writes, on this machine and with this mix.")
	case pausesRow:
		return fmt.Sprintf("The collector ran %s times for 1,000 requests before and runs %s times now; the longest pause of a round was %s and is %s.", row.at(2, 0), row.at(2, 1), row.at(1, 0), row.at(1, 1)) +
			because(short, " Go's collector stops a program for microseconds at a time, before as now: there is little to save, and less than was claimed.")
	case throughputRow:
		return "Beside the mix: " + row.parts(1, 2) + ", of which the pool, 200 connections for 100, explains +100 %." + because(short, " More would take more that is asked again, or a machine that is not at its end: gateway, simulator and clients share it here.")
	case memoryRow:
		return fmt.Sprintf("Before the load %s and %s are resident, most of it the program's file; the load adds %s and %s.", row.at(1, 0), row.at(1, 1), Bytes.format(off-row.value(1, 0)), Bytes.format(on-row.value(1, 1))) + row.older() +
			because(short, " What is resident of the program's own file is the same on both sides and takes part in the ratio.")
	case faultsRow:
		text := "Failed before and now: "
		for i, s := range scenarios() {
			if i > 0 {
				text += "; "
			}
			text += fmt.Sprintf("%s %s and %s", s.name, row.at(1+2*i, 0), row.at(1+2*i, 1))
		}
		return text + "."
	}
	return ""
}

// older tells of the streams of footprint when they have come further.
func (row Row) older() string {
	if len(row.Figures) < 3 || len(row.Figures[2].Pairs) == 0 {
		return "" // too short a run
	}
	return fmt.Sprintf(" All of that is of streams that have just begun: with %d events more each it is %s and %s, since Sluice keeps what a stream has said for others that ask the same.", moreEvents, row.at(2, 0), row.at(2, 1))
}

func because(short bool, why string) string {
	if short {
		return why
	}
	return ""
}

// parts tells of some of the row's figures.
func (row Row) parts(from, to int) (text string) {
	for i := from; i < min(to, len(row.Figures)); i++ {
		if len(row.Figures[i].Pairs) == 0 {
			continue // too few rounds
		}
		if text != "" {
			text += ", "
		}
		f := row.Figures[i]
		text += fmt.Sprintf("%s %s (%s, %s)", f.Name, f.change(f.gain().Median), row.at(i, 0), row.at(i, 1))
	}
	return text
}

// value is the median of a side of one of the row's figures, NaN where there is none.
func (row Row) value(figure, side int) float64 {
	if figure >= len(row.Figures) {
		return math.NaN()
	}
	off, on := row.Figures[figure].medians()
	if side == 0 {
		return off
	}
	return on
}

// at is the same for people.
func (row Row) at(figure, side int) string {
	if figure >= len(row.Figures) {
		return "–"
	}
	return row.Figures[figure].Unit.format(row.value(figure, side))
}

// medians are those of both sides.
func (f Figure) medians() (off, on float64) {
	a, b := f.values()
	return median(a), median(b)
}

// What a row on leaks may grow by for 1,000 requests and still be at rest: what the
// gateway's own watch takes for material (internal/memory/leak), 0.2 % of the requests
// and 5 bytes for each; in all besides more than what comes and goes.
const (
	leakedThings, someThings = 2.0, 8.0
	leakedBytes, someBytes   = 5000.0, 1 << 20
	// What the heap grows by for 1,000 requests, from each look to the next, where it leaks
	// for certain: a kilobyte for each.
	lostBytes, enoughRests = 1e6, 6
)

// growth is by how much something grows for 1,000 requests: the median of the slopes
// between each two rests but the first, after which caches and pools were still filling.
func (row Row) growth(of func(Rest) float64) float64 {
	var x, y []float64
	for _, r := range row.Rests[min(1, len(row.Rests)):] {
		x, y = append(x, r.Requests/1000), append(y, of(r))
	}
	return slope(x, y)
}

// steadily reports whether the heap grew by more than so many bytes for 1,000 requests from
// each of enough rests to the next, but for the first.
func (row Row) steadily(bytes float64) bool {
	for i := 2; i < len(row.Rests); i++ {
		a, b := row.Rests[i-1], row.Rests[i]
		if b.Heap-a.Heap <= bytes*(b.Requests-a.Requests)/1000 {
			return false
		}
	}
	return len(row.Rests) >= enoughRests
}

// leaks is the verdict on leaks, and why.
func (row Row) leaks() (Verdict, string) {
	if len(row.Rests) == 0 {
		return Skipped, ""
	}
	goroutines := row.growth(func(r Rest) float64 { return r.Goroutines })
	files := row.growth(func(r Rest) float64 { return r.Files })
	heap := row.growth(func(r Rest) float64 { return r.Heap })
	if math.IsNaN(goroutines) {
		return Unclear, "Growth takes three rounds to be seen."
	}
	requests := row.Rests[len(row.Rests)-1].Requests - row.Rests[min(1, len(row.Rests)-1)].Requests
	text := fmt.Sprintf("For 1,000 requests: %+.2f goroutines, %+.2f files, %+.1f KiB of heap, over %.0f requests. The gateway's own watch says: %s. "+
		"It leaves out the first two minutes and takes six more to judge, so it is silent in a shorter run; this run shows leaks of what each of some hundred requests or fewer takes, and none that needs hours or another kind of request.",
		goroutines, files, heap/1024, requests, row.Watch)
	switch {
	case row.Watch != "healthy", goroutines > leakedThings && goroutines*requests/1000 > someThings, files > leakedThings && files*requests/1000 > someThings:
		return FallsShort, text
	case row.steadily(lostBytes):
		return FallsShort, text
	case heap > leakedBytes && heap*requests/1000 > someBytes: // what a short run finds of the heap swings by more
		return Unclear, text
	}
	return Holds, text
}

// format writes a value in a unit that suits it.
func (u Unit) format(v float64) string {
	if math.IsNaN(v) {
		return "–"
	}
	a := math.Abs(v)
	switch u {
	case Seconds:
		switch {
		case a == 0:
			return "0 s"
		case a < 1e-3:
			return fmt.Sprintf("%.3g µs", v*1e6)
		case a < 1:
			return fmt.Sprintf("%.3g ms", v*1e3)
		}
		return fmt.Sprintf("%.3g s", v)
	case Bytes:
		switch {
		case a < 1<<10:
			return fmt.Sprintf("%.0f B", v)
		case a < 1<<20:
			return fmt.Sprintf("%.1f KiB", v/(1<<10))
		}
		if a < 1<<30 {
			return fmt.Sprintf("%.1f MiB", v/(1<<20))
		}
		return fmt.Sprintf("%.1f GiB", v/(1<<30))
	case Share:
		return fmt.Sprintf("%.1f %%", v*100)
	}
	unit := ""
	if u == PerSecond {
		unit = "/s"
	}
	if a >= 100 {
		return fmt.Sprintf("%.0f", v) + unit
	}
	return fmt.Sprintf("%.3g", v) + unit
}
