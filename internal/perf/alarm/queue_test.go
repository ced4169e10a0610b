package alarm

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestQueue checks that what waits is bounded, and the last of each alarm.
func TestQueue(t *testing.T) {
	r := newReceiver(t, func(n int, w http.ResponseWriter) {
		if n == 1 {
			w.WriteHeader(503)
		}
	})
	bubble(t, func(t *testing.T) {
		h := newHooked(r.URL, nil)
		for i := range queued + 3 {
			h.put(sample(fmt.Sprintf("alarm%d", i), "raised"))
		}
		h.put(sample("alarm9", "cleared"))
		stop := h.running(t)
		time.Sleep(100 * time.Millisecond) // the first message was refused
		synctest.Wait()
		h.put(sample("alarm20", "cleared"))
		h.put(sample("late", "raised"))
		time.Sleep(time.Minute)
		stop()
		if want := [4]uint64{queued, 0, 4, 2}; h.counts() != want {
			t.Errorf("counts %v, want %v", h.counts(), want)
		}
		if r.count() != 2 {
			t.Fatalf("%d messages", r.count())
		}
		last := r.bodies[1]
		for part, n := range map[string]int{`"event":`: queued, `"event":"cleared"`: 2, `"name":"alarm3"`: 0, `"name":"alarm4"`: 1, `"name":"late"`: 1} {
			if got := strings.Count(last, part); got != n {
				t.Errorf("%s is there %d times, want %d", part, got, n)
			}
		}
	})
}

func TestMinInterval(t *testing.T) {
	r := newReceiver(t, func(int, http.ResponseWriter) {})
	bubble(t, func(t *testing.T) {
		h := newHooked(r.URL, func(w *Webhook) { w.MinInterval = 20 * time.Second })
		stop := h.running(t)
		for i := range 60 { // an alarm that comes and goes every second
			h.put(sample("slow", map[bool]string{true: "raised", false: "cleared"}[i%2 == 0]))
			time.Sleep(time.Second)
		}
		stop()
		if n := r.count(); n != 3 {
			t.Errorf("%d messages", n)
		}
		if c := h.counts(); c[0] != 3 || c[0]+c[2]+c[3] != 60 {
			t.Errorf("counts %v", c)
		}
	})
}

// TestGiveUp keeps what came after the last try.
func TestGiveUp(t *testing.T) {
	h := newHooked("http://server.example", nil)
	h.put(sample("tried", "raised"))
	h.restore(h.drain())
	h.put(sample("new", "raised"))
	if names := h.giveUp(); len(names) != 1 || names[0] != "tried" || h.counts() != [4]uint64{0, 1} {
		t.Errorf("gave up %v, counts %v", names, h.counts())
	}
	if left := h.drain(); len(left) != 1 || left[0].key != "new" {
		t.Errorf("left is %v", left)
	}
}
