package monotonic

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New()
		if now := c.Now(); now != 0 {
			t.Errorf("begins at %v", now)
		}
		same := c
		time.Sleep(time.Minute)
		later := New()
		time.Sleep(time.Second)
		if a, b, l := c.Now(), same.Now(), later.Now(); a != time.Minute+time.Second || b != a || l != time.Second {
			t.Errorf("%v, its copy %v, a later one %v", a, b, l)
		}
		if n := testing.AllocsPerRun(100, func() { c.Now() }); n > 0 {
			t.Errorf("%v allocations", n)
		}
	})
}
