package leak

import (
	"math"
	"slices"
	"sort"
)

const (
	// loads is how many kinds of load a quantity may go with.
	loads = 4
	// most and least points are tested at once. Below the least even points of which each
	// is above the one before happen by chance: one order in 9! is 3 in a million.
	most, least = 48, 10
	// chance is the probability of a growth that a test takes for none. A month has
	// 260,000 tests of each quantity that share most of their points with those before.
	chance = 3e-7
	// normal is the quantile of the normal distribution that belongs to it.
	normal = 4.99
	// correlated is the quantile beyond which a correlation counts.
	correlated = 1.96
)

// point is a quantity at a time, with the load then.
type point struct {
	at    float64 // seconds since some time
	work  float64 // requests done since some time
	value float64
	load  [loads]float64
}

// trend is how a quantity went during some points.
type trend struct {
	grows    bool    // for sure, by more than is material, all the time
	slope    float64 // a second, in the middle of what is likely
	sure     float64 // a second, at least
	rise     float64 // from the first third to the last, on average
	seconds  float64 // from the first point to the last
	requests float64 // done meanwhile
}

// tester tests points. It has room for what it computes, so that a test costs no
// garbage. It is for one goroutine.
type tester struct {
	critical [most + 1]float64 // values of Kendall's S, by the number of points
	quantile [most + 1]float64 // of Student's distribution
	y        [most]float64     // the values without what goes with the load
	rank     [most]float64
	slopes   []float64
	order    []int
}

func newTester() *tester {
	t := &tester{slopes: make([]float64, 0, most*(most-1)/2), order: make([]int, 0, most)}
	for n := least; n <= most; n++ {
		t.critical[n] = criticalS(n)
		t.quantile[n] = student(float64(n - 2))
	}
	return t
}

// student is the quantile of Student's distribution for chance, by its expansion
// about the normal one (Abramowitz and Stegun, 26.7.5).
func student(degrees float64) float64 {
	const z = normal
	const z3, z5, z7 = z * z * z, z * z * z * z * z, z * z * z * z * z * z * z
	return z + (z3+z)/(4*degrees) + (5*z5+16*z3+3*z)/(96*degrees*degrees) + (3*z7+19*z5+17*z3-15*z)/(384*degrees*degrees*degrees)
}

// criticalS is the least S = concordant less discordant pairs of n values in random
// order that is reached or exceeded with a probability of chance at most. The
// distribution is exact: by how many orders of n values have k inversions
// (Kendall, A new measure of rank correlation, Biometrika 30, 1938).
func criticalS(n int) float64 {
	pairs := n * (n - 1) / 2
	p := make([]float64, pairs+1) // of k inversions
	next := make([]float64, pairs+1)
	p[0] = 1
	for i := 2; i <= n; i++ {
		clear(next)
		sum := 0.0
		for k := 0; k <= i*(i-1)/2; k++ {
			sum += p[k]
			if k >= i {
				sum -= p[k-i]
			}
			next[k] = max(sum, 0) / float64(i)
		}
		p, next = next, p
	}
	total := 0.0
	for k, each := range p {
		if total += each; total > chance {
			return float64(pairs - 2*(k-1))
		}
	}
	return float64(pairs)
}

// test says how the values of some points went that do not go with the load. limit has
// for each kind of load how much of the value a unit of it takes at most. material is the
// growth from the first point to the last below which there is nothing to tell of.
func (t *tester) test(points []point, limit *[loads]float64, material float64) (r trend) {
	n := len(points)
	if n < least || n > most {
		return r
	}
	r.seconds = points[n-1].at - points[0].at
	r.requests = points[n-1].work - points[0].work
	if !slices.ContainsFunc(points, func(p point) bool { return p.value != points[0].value }) {
		return r
	}
	apart := t.unload(points, limit)
	if r.rise = t.rise(n); r.rise < material/2 {
		return r
	}
	s := t.findSlopes(points)
	r.slope = t.slopes[len(t.slopes)/2]
	if s < t.critical[n] {
		return r
	}
	r.sure = r.slope - t.quantile[n]*t.deviation(points, r.slope)*math.Sqrt(apart*t.inflation(points, r.slope))
	r.grows = r.sure*r.seconds >= material && t.steady(points, r.slope)
	return r
}

// rise is by how much the last third of the values lies above the first.
func (t *tester) rise(n int) float64 {
	first, last := 0.0, 0.0
	for i := range n / 3 {
		first += t.y[i]
		last += t.y[n-1-i]
	}
	return (last - first) / float64(n/3)
}

// sweeps is how often at most each kind of load is fitted again beside the others.
const sweeps = 20

// unload takes off each value what goes with the load: by least squares beside a growth
// with time, with no less than nothing and no more than the limit for a unit. apart is by
// how much the variance of that growth is greater because the load went with time too, so
// that one cannot be told from the other: 1 where it did not.
func (t *tester) unload(points []point, limit *[loads]float64) (apart float64) {
	n := float64(len(points))
	const all = loads + 1 // time is the last
	var mean, off, b, toValue [all]float64
	var among [all][all]float64
	value := 0.0
	for i := range points {
		p := &points[i]
		value += p.value / n
		for j, load := range p.load {
			mean[j] += load / n
		}
		mean[loads] += p.at / n
	}
	for i := range points {
		p := &points[i]
		for j, load := range p.load {
			off[j] = load - mean[j]
		}
		off[loads] = p.at - mean[loads]
		for j, x := range off {
			toValue[j] += x * (p.value - value)
			for k := range j + 1 {
				among[j][k] += x * off[k]
			}
		}
	}
	for j := range all {
		for k := range j {
			among[k][j] = among[j][k]
		}
	}
	for range sweeps {
		before := b
		for j := range all {
			if among[j][j] <= 0 {
				continue
			}
			rest := toValue[j]
			for k := range all {
				if k != j {
					rest -= b[k] * among[j][k]
				}
			}
			switch b[j] = rest / among[j][j]; {
			case j == loads:
			case b[j] < 0:
				b[j] = 0
			case b[j] > limit[j]:
				b[j] = limit[j]
			}
		}
		if b == before { // and so it would be each time
			break
		}
	}
	for i := range points {
		y := points[i].value
		for j := range loads {
			y -= b[j] * points[i].load[j]
		}
		t.y[i] = y
	}
	return inflated(among, limit)
}

// inflated is the variance inflation factor of time, the last regressor, beside those
// that have a limit. among is the products of all.
func inflated(among [loads + 1][loads + 1]float64, limit *[loads]float64) float64 {
	// Each load is swept out of the others; what is left of time is its own.
	before := among[loads][loads]
	for j := range loads {
		own := among[j][j]
		if limit[j] <= 0 || own <= 0 {
			continue
		}
		for k := j + 1; k <= loads; k++ {
			part := among[j][k] / own
			for m := j + 1; m <= loads; m++ {
				among[k][m] -= part * among[j][m]
			}
		}
	}
	return before / max(among[loads][loads], before*1e-9)
}

// findSlopes makes the list of the slopes between each two values, the least first, and
// gives Kendall's S.
func (t *tester) findSlopes(points []point) (s float64) {
	t.slopes = t.slopes[:0]
	for i := range points {
		for j := range i {
			slope := (t.y[i] - t.y[j]) / (points[i].at - points[j].at)
			switch {
			case slope > 0:
				s++
			case slope < 0:
				s--
			}
			t.slopes = append(t.slopes, slope)
		}
	}
	slices.Sort(t.slopes)
	return s
}

// deviation is the standard deviation of a slope, if values were independent.
func (t *tester) deviation(points []point, slope float64) float64 {
	n := float64(len(points))
	at, y := 0.0, 0.0
	for i := range points {
		at += points[i].at / n
		y += t.y[i] / n
	}
	squares, apart := 0.0, 0.0
	for i := range points {
		x := points[i].at - at
		e := t.y[i] - y - slope*x
		squares += e * e
		apart += x * x
	}
	return math.Sqrt(squares / (n - 2) / apart)
}

// inflation is by how much the variance of S is greater because values resemble those
// shortly before: of the ranks without the trend, by Hamed and Rao.
func (t *tester) inflation(points []point, slope float64) float64 {
	n := len(points)
	rest := func(i int) float64 { return t.y[i] - slope*points[i].at }
	t.order = t.order[:0]
	for i := range n {
		t.order = append(t.order, i)
	}
	sort.Slice(t.order, func(i, j int) bool {
		a, b := t.order[i], t.order[j]
		x, y := rest(a), rest(b)
		return x < y || x == y && a < b
	})
	middle := float64(n-1) / 2
	for r, i := range t.order {
		t.rank[i] = float64(r) - middle
	}
	variance := 0.0
	for _, r := range t.rank[:n] {
		variance += r * r
	}
	sum := 0.0
	for lag := 1; lag <= n/3; lag++ {
		c := 0.0
		for i := lag; i < n; i++ {
			c += t.rank[i] * t.rank[i-lag]
		}
		if c /= variance; math.Abs(c) > correlated/math.Sqrt(float64(n)) {
			k := n - lag
			sum += float64(k*(k-1)*(k-2)) * c
		}
	}
	return max(1+2*sum/float64(n*(n-1)*(n-2)), 1)
}

// parts is in how many parts of the time a leak grows in each.
const parts = 4

// steady reports whether the values grew from each part of the time to the next, by half
// of what the slope says at least. A step grows once, what fills grows less and less.
func (t *tester) steady(points []point, slope float64) bool {
	n := len(points)
	var level, at [parts]float64
	for p := range parts {
		from, to := p*n/parts, (p+1)*n/parts
		part := append(t.slopes[:0], t.y[from:to]...) // the list of slopes is used up
		slices.Sort(part)
		level[p] = part[len(part)/2]
		at[p] = (points[from].at + points[to-1].at) / 2
	}
	for p := 1; p < parts; p++ {
		if level[p]-level[p-1] < slope*(at[p]-at[p-1])/2 {
			return false
		}
	}
	return true
}
