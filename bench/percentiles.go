package main

import (
	"flag"
	"fmt"
	"io"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// percentiles prints what counting a duration costs in different histograms, and
// how far their percentiles are from the exact ones, as a table in Markdown.
func percentiles(w io.Writer, args []string) error {
	flags := flag.NewFlagSet("percentiles", flag.ExitOnError)
	data := flags.String("traces", "../../shared/data", "folder that has traces-azure")
	var e effort
	flags.IntVar(&e.rounds, "rounds", 5, "rounds; the median is printed")
	flags.DurationVar(&e.load, "d", 200*time.Millisecond, "CPU time of one loop")
	flags.Parse(args)
	if e.rounds < 1 || e.load <= 0 {
		return fmt.Errorf("%d rounds of %v measure nothing", e.rounds, e.load)
	}
	samples, err := distributions(*data)
	if err != nil {
		return err
	}
	all := histograms()
	alone, together := e.observations(all, samples[0].values)
	names, line := []string{"", "ns, 1 goroutine", fmt.Sprintf("ns, %d at once", runtime.GOMAXPROCS(0)), "allocations", "bytes"}, "| ---"
	for _, s := range samples {
		names = append(names, s.name)
	}
	fmt.Fprintf(w, "| %s |\n%s |\n", strings.Join(names, " | "), line+strings.Repeat(" | ---:", len(names)-1))
	for i, h := range all {
		fmt.Fprintf(w, "| %s | %.1f | %.1f | %.0f | %d |", h.name, alone[i], together[i], allocations(h, samples[0].values), footprintOf(h, samples[0].values))
		for _, s := range samples {
			fmt.Fprintf(w, " %.2f %% |", 100*worst(h.new(), s.values))
		}
		fmt.Fprintln(w)
	}
	_, err = fmt.Fprintf(w, "\nAt once means that %.1f CPUs were at work on average: other load makes that less, and the second column too good.\n", atWork(atOnce(all[0].new(), samples[0].values)))
	return err
}

// observations measures the CPU time of one observation, in ns: by one goroutine,
// and by as many as there are CPUs on one histogram. What is spent on waiting for
// each other counts where it is spent spinning or in the kernel.
func (e *effort) observations(all []histogram, values []float64) (alone, together []float64) {
	work := make([]func(), 0, 2*len(all))
	for _, h := range all {
		one := h.new()
		work = append(work, func() { feed(one, values) }, atOnce(h.new(), values))
	}
	costs := e.alternate(work)
	for i := 0; i < len(costs); i += 2 {
		n := float64(len(values)) / 1e3 // µs to ns
		alone = append(alone, median(costs[i])/n)
		together = append(together, median(costs[i+1])/n/float64(long*runtime.GOMAXPROCS(0)))
	}
	return alone, together
}

// long is how often a goroutine counts all values, so that those of one loop run
// at the same time for most of it.
const long = 50

// atOnce has as many goroutines as there are CPUs count values.
func atOnce(r recorder, values []float64) func() {
	return func() {
		var done sync.WaitGroup
		for range runtime.GOMAXPROCS(0) {
			done.Go(func() {
				for range long {
					feed(r, values)
				}
			})
		}
		done.Wait()
	}
}

// atWork is how many CPUs worked while something was done, on average.
func atWork(do func()) float64 {
	begin := time.Now()
	took := loop(do, 10)
	return took.Seconds() / time.Since(begin).Seconds()
}

func feed(r recorder, values []float64) {
	for _, v := range values {
		r.observe(v)
	}
}

// allocations is how many there are for an observation once a histogram has seen
// the values.
func allocations(h histogram, values []float64) float64 {
	r := h.new()
	feed(r, values)
	return testing.AllocsPerRun(100, func() { r.observe(values[0]) })
}

// footprintOf is how many bytes of the heap a histogram takes that has seen the
// values.
func footprintOf(h histogram, values []float64) int {
	const many = 100
	kept := make([]recorder, many)
	before := liveHeap()
	for i := range kept {
		kept[i] = h.new()
		feed(kept[i], values)
	}
	after := liveHeap()
	runtime.KeepAlive(kept)
	return int(after-before) / many
}

func liveHeap() int64 {
	runtime.GC()
	runtime.GC() // what pools held
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// worst is the greatest error of P50, P51 … P99, relative to the exact ones.
func worst(r recorder, values []float64) (e float64) {
	feed(r, values)
	exact := slices.Sorted(slices.Values(values))
	quantile := r.quantiles()
	for p := 50; p <= 99; p++ {
		q := float64(p) / 100
		want := exact[int(math.Ceil(q*float64(len(exact))))-1]
		e = max(e, math.Abs(quantile(q)-want)/want)
	}
	return e
}
