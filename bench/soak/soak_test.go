package soak

import (
	"math"
	"testing"
	"time"
)

func TestSoakTraffic(t *testing.T) {
	sum := 0
	for _, k := range kindsOfTraffic() {
		sum += k.share
		if k.name == "" || k.path == "" || k.body(1) == "" {
			t.Errorf("%+v", k)
		}
	}
	if sum != 100 {
		t.Errorf("the shares are %d percent", sum)
	}
}

// A few odd samples do not move the slope.
func TestSlopeOf(t *testing.T) {
	var flows []flow
	for i := range 60 {
		f := flow{at: time.Duration(i) * sampled, resident: 40 + float64(i)*0.1}
		if i%10 == 5 {
			f.resident += 20
		}
		flows = append(flows, f)
	}
	if got, want := slopeOf(flows), 0.6*1024; math.Abs(got-want) > 1 {
		t.Errorf("%.1f KiB a minute, want %.1f", got, want)
	}
	if slopeOf(flows[:1]) != 0 {
		t.Error("one sample has a slope")
	}
}
