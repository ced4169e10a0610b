package alarm

import (
	"math"
	"testing"
)

func TestQuantity(t *testing.T) {
	for _, c := range []struct {
		text string
		want float64
		unit unit
	}{
		{"0.5", 0.5, number}, {"-3", -3, number}, {"250ms", 0.25, inSeconds}, {"1m30s", 90, inSeconds},
		{"7%", 0.07, share}, {"99.5 %", 0.995, share}, {"1GiB", 1 << 30, inBytes}, {"1.5 KiB", 1536, inBytes}, {"2TiB", 1 << 41, inBytes},
	} {
		q, err := ParseQuantity(c.text)
		if err != nil || q.value != c.want || q.unit != c.unit || q.String() != c.text {
			t.Errorf("%q: %v of unit %v, %v", c.text, q.value, q.unit, err)
		}
	}
	for _, text := range []string{" ", "%", "KiB", "many", "NaN", "inf", "-Inf%", "1e400", "1e300TiB", "5 apples", "1GB"} {
		if q, err := ParseQuantity(text); err == nil {
			t.Errorf("%q is taken as %v", text, q.value)
		}
	}
}

func TestFormat(t *testing.T) {
	for _, c := range []struct {
		unit  unit
		value float64
		want  string
	}{
		{inSeconds, 2.3149, "2.31 s"}, {inSeconds, 0.25, "250 ms"}, {inSeconds, 0.0000123, "12.3 µs"}, {inSeconds, 0, "0 s"}, {inSeconds, 3600, "3600 s"},
		{share, 0.05, "5 %"}, {share, 0.12345, "12.3 %"}, {share, 1, "100 %"},
		{inBytes, 1 << 30, "1 GiB"}, {inBytes, 1536, "1.5 KiB"}, {inBytes, 3 << 20, "3 MiB"}, {inBytes, 12, "12 B"},
		{number, 123456, "123456"}, {number, 0.5, "0.5"}, {number, -2, "-2"},
	} {
		if got := c.unit.format(c.value); got != c.want {
			t.Errorf("%v of %v: %q, want %q", c.value, c.unit, got, c.want)
		}
	}
}

func FuzzQuantity(f *testing.F) {
	for _, s := range []string{"", "5%", "250ms", "1GiB", "0x1p-2", "1_0", "-"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		q, err := ParseQuantity(s)
		if err != nil {
			return
		}
		if math.IsNaN(q.value) || math.IsInf(q.value, 0) {
			t.Fatalf("%q is %v", s, q.value)
		}
		again, err := ParseQuantity(q.String())
		if err != nil || again != q {
			t.Fatalf("%q is read back as %v, %v", s, again, err)
		}
	})
}
