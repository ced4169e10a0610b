package bench

import (
	"math"
	"slices"
	"testing"
)

func TestJudge(t *testing.T) {
	for _, c := range []struct {
		low, high, claimed float64
		want               Verdict
	}{
		{0.5, 0.7, 0.5, Holds}, {0.4, 0.6, 0.5, Unclear}, {0.1, 0.49, 0.5, FallsShort}, {-0.2, -0.1, 0.5, FallsShort}, {6, 9, 2, Holds},
	} {
		if got := judge(Interval{Median: (c.low + c.high) / 2, Low: c.low, High: c.high, Coverage: 0.5}, c.claimed); got != c.want {
			t.Errorf("%v to %v of %v: %s, want %s", c.low, c.high, c.claimed, got, c.want)
		}
	}
	if got := judge(summarise(nil), 0.5); got != Unclear {
		t.Errorf("nothing measured: %s", got)
	}
	if got := judge(summarise([]float64{0.9}), 0.5); got != Unclear {
		t.Errorf("one round: %s", got)
	}
}

// figure makes one of rounds with these values, off and on.
func figure(more bool, values ...float64) Figure {
	f := Figure{Name: "x", Unit: Seconds, More: more}
	for i := 0; i < len(values); i += 2 {
		f.Pairs = append(f.Pairs, Pair{Side{Amount: values[i], Per: 1}, Side{Amount: values[i+1], Per: 1}})
	}
	return f
}

func TestGain(t *testing.T) {
	less := figure(false, 100, 10, 100, 20, 100, 30)
	if g := less.gain(); math.Abs(g.Median-0.8) > 1e-9 || math.Abs(g.Low-0.7) > 1e-9 || math.Abs(g.High-0.9) > 1e-9 || less.change(g.Median) != "−80 %" {
		t.Errorf("%+v, %s", g, less.change(g.Median))
	}
	more := figure(true, 100, 300, 100, 400, 100, 500)
	if g := more.gain(); g.Median != 3 || more.change(g.Median) != "+300 %" {
		t.Errorf("%+v", g)
	}
	// Each round's own ratio counts: a machine that slows down in the middle changes nothing.
	if g := figure(false, 1, 0.5, 100, 50, 3, 1.5).gain(); g != (Interval{0.5, 0.5, 0.5, 0.75}) {
		t.Errorf("%+v", g)
	}
	// A round in which there was nothing to gain from says nothing.
	if g := figure(false, 0, 0, 4, 1).gain(); g.Median != 0.75 || g.Coverage != 0 {
		t.Errorf("%+v", g)
	}
	if g := figure(false, 0, 1).gain(); !math.IsNaN(g.Median) {
		t.Errorf("%+v", g)
	}
}

func TestSide(t *testing.T) {
	if v := (Side{Samples: []float64{4, 1, 3}}).Value(); v != 3 {
		t.Errorf("%v", v)
	}
	if v := (Side{Amount: 6, Per: 3}).Value(); v != 2 {
		t.Errorf("%v", v)
	}
	if v := (Side{}).Value(); !math.IsNaN(v) {
		t.Errorf("%v", v)
	}
}

func TestFormat(t *testing.T) {
	for _, c := range []struct {
		unit Unit
		v    float64
		want string
	}{
		{Seconds, 0.000123456, "123 µs"}, {Seconds, 0.0514, "51.4 ms"}, {Seconds, 2.5, "2.5 s"}, {Seconds, 0, "0 s"}, {Seconds, math.NaN(), "–"},
		{Bytes, 512, "512 B"}, {Bytes, 2048, "2.0 KiB"}, {Bytes, 30 << 20, "30.0 MiB"}, {Share, 0.123, "12.3 %"}, {Bytes, 24 << 30, "24.0 GiB"}, {PerSecond, 1234.5, "1234/s"}, {Number, 3.14159, "3.14"},
	} {
		if got := c.unit.format(c.v); got != c.want {
			t.Errorf("%v %s: %q, want %q", c.v, c.unit, got, c.want)
		}
	}
	for v, want := range map[float64]string{0.997: "+100 %", -0.9712: "−97.1 %", -0.99731: "−99.73 %", 0.8: "+80 %", 8.12: "+812 %", -0.05: "−5.0 %", 0: "0 %"} {
		if got := percent(v); got != want {
			t.Errorf("%v: %q, want %q", v, got, want)
		}
	}
}

func TestFallsShort(t *testing.T) {
	r := &Report{Rows: []Row{{Title: "a", Verdict: Holds}, {Title: "b", Verdict: FallsShort}, {Title: "c", Verdict: Unclear}, {Title: "d", Verdict: Skipped}, {Title: "e", Verdict: FallsShort}}}
	if got := r.FallsShort(); !slices.Equal(got, []string{"b", "e"}) {
		t.Errorf("%v", got)
	}
}
