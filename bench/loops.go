package main

import (
	"strconv"
	"syscall"
	"time"
)

// alternate runs each piece of work for a while, in turn, and gives what one run
// cost in each round, in µs of this process's CPU time. What the garbage
// collector does meanwhile counts.
func (e *effort) alternate(work []func()) (costs [][]float64) {
	times := make([]int, len(work))
	for i, do := range work {
		times[i] = repeats(do, e.load)
	}
	costs = make([][]float64, len(work))
	for range e.rounds {
		for i, do := range work {
			costs[i] = append(costs[i], micro(loop(do, times[i]))/float64(times[i]))
		}
	}
	return costs
}

// repeats is how often work is to be done so that it takes about so long.
func repeats(do func(), load time.Duration) int {
	for n := 1; ; n *= 2 {
		if took := loop(do, n); took > load/10 || n >= 1<<30 {
			return max(int(float64(n)*float64(load)/float64(max(took, 1))), 1)
		}
	}
}

func loop(do func(), times int) time.Duration {
	begin := ownCPU()
	for range times {
		do()
	}
	return ownCPU() - begin
}

// ownCPU is the user and system time of this process.
func ownCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err) // only a wrong argument fails
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// ratio is the median of the rounds' ratios. Both sides of one were measured at
// the same time.
func ratio(a, b []float64) float64 {
	r := make([]float64, len(a))
	for i := range a {
		r[i] = a[i] / b[i]
	}
	return median(r)
}

func micro(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// micros prints three digits.
func micros(us float64) string {
	digits := 0
	for limit := 100.0; us < limit && digits < 3; limit /= 10 {
		digits++
	}
	return strconv.FormatFloat(us, 'f', digits, 64)
}
