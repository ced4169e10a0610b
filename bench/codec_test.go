package main

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"sluice/bench/shapes"
)

// The shortest run there is prints a row for each shape and direction.
func TestTranscoding(t *testing.T) {
	var out bytes.Buffer
	e := effort{rounds: 1, load: time.Nanosecond}
	if err := e.transcoding(&out); err != nil {
		t.Fatal(err)
	}
	for _, s := range messageShapes() {
		if n := strings.Count(out.String(), "| "+s.name+" |"); n != 2 {
			t.Errorf("%d rows of %s", n, s.name)
		}
	}
}

// A transcoder that does less than the others is not measured.
func TestAgrees(t *testing.T) {
	m := chat(1)
	wire, text, err := forms(m)
	if err != nil {
		t.Fatal(err)
	}
	other, otherText, err := forms(&shapes.Chat{Model: "other"})
	if err != nil {
		t.Fatal(err)
	}
	gives := func(b []byte) func(dst, _ []byte) ([]byte, error) {
		return func(dst, _ []byte) ([]byte, error) { return append(dst, b...), nil }
	}
	right := transcoder{name: "right", decode: gives(text), encode: gives(wire)}
	if err := right.agrees(m, wire, text); err != nil {
		t.Error(err)
	}
	for _, wrong := range []transcoder{
		{"decode", gives(otherText), gives(wire)}, {"no JSON", gives(text[1:]), gives(wire)},
		{"encode", gives(text), gives(other)}, {"no message", gives(text), gives(wire[1:])},
	} {
		if wrong.agrees(m, wire, text) == nil {
			t.Errorf("%s: nothing was wrong", wrong.name)
		}
	}
}

func TestGeometricMean(t *testing.T) {
	if got := geometricMean([]float64{2, 8, 4}); math.Abs(got-4) > 1e-9 {
		t.Errorf("got %v", got)
	}
}

// Rounds that were slow on both sides do not move the ratio.
func TestRatio(t *testing.T) {
	if got := ratio([]float64{20, 400, 10}, []float64{10, 200, 5}); got != 2 {
		t.Errorf("got %v", got)
	}
}

func TestMicros(t *testing.T) {
	for us, want := range map[float64]string{0.1234: "0.123", 1.234: "1.23", 12.34: "12.3", 123.4: "123", 1234.5: "1234"} {
		if got := micros(us); got != want {
			t.Errorf("%v: %s, not %s", us, got, want)
		}
	}
}

// Each piece of work is run as often as it takes to fill its time. That is found by one look,
// which a machine that is busy may disturb, though not each time.
func TestAlternate(t *testing.T) {
	var wrong string
	for range 10 {
		e := effort{rounds: 3, load: 5 * time.Millisecond}
		runs := 0
		spin := func() {
			for begin := ownCPU(); ownCPU()-begin < 100*time.Microsecond; {
			}
			runs++
		}
		costs := e.alternate([]func(){spin, func() {}})
		if len(costs) != 2 || len(costs[0]) != 3 || median(costs[0]) < 100 {
			t.Fatalf("costs %v", costs)
		}
		if runs >= 3*10 && median(costs[1]) < median(costs[0]) {
			return
		}
		wrong = fmt.Sprintf("%d runs, costs %v", runs, costs)
	}
	t.Error(wrong)
}
