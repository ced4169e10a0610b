package memory

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// Each task is done once an interval, at a time of its own, for a second at most; and
// what became of it is told.
func TestMaintenance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type event struct {
			at   time.Duration
			what string
		}
		var events []event
		began := time.Now()
		note := func(what string) { events = append(events, event{time.Since(began), what}) }
		tasks := []Task{
			{"quick", func(context.Context) (int, int64) { note("quick"); return 2, 100 }},
			{"slow", func(ctx context.Context) (int, int64) { note("slow"); <-ctx.Done(); return 1, 10 }},
		}
		g := New(Options{Tasks: func() []Task { return tasks }})
		g.userGC = true
		g.cfg.CleanupInterval = 100 * time.Second
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); every(ctx, lookEvery, g.maintain) }()
		time.Sleep(1050*time.Second + time.Millisecond)
		synctest.Wait()
		counts := map[string]int{}
		last := map[string]time.Duration{}
		together := 0
		for _, e := range events {
			counts[e.what]++
			if apart := e.at - last[e.what]; apart < 90*time.Second || apart > 112*time.Second {
				t.Errorf("%s %v after the last time", e.what, apart)
			}
			last[e.what] = e.at
			if e.at == last["quick"] && e.at == last["slow"] {
				together++
			}
		}
		if counts["quick"] < 9 || counts["slow"] < 9 || together > 3 {
			t.Errorf("%v, %d times together", counts, together)
		}
		for name, want := range map[string]upkeep{
			"quick": {things: uint64(2 * counts["quick"]), bytes: int64(100 * counts["quick"])},
			"slow":  {things: uint64(counts["slow"]), bytes: int64(10 * counts["slow"]), cut: uint64(counts["slow"]), took: mostTime * time.Duration(counts["slow"])},
		} {
			if u := g.tasks.all[name]; u.runs != uint64(counts[name]) || u.things != want.things || u.bytes != want.bytes || u.cut != want.cut || u.took != want.took {
				t.Errorf("%s: %+v", name, u)
			}
		}

		// A shorter interval holds at once, and a task that is gone is not done.
		events, tasks = nil, tasks[:1]
		g.mu.Lock()
		g.cfg.CleanupInterval = 10 * time.Second
		g.mu.Unlock()
		time.Sleep(13 * time.Second)
		synctest.Wait()
		if len(events) != 1 || events[0].what != "quick" {
			t.Errorf("%v", events)
		}
		stop()
		<-done
	})
}

// The heap is collected when it was asked for and there is little to do.
func TestHeapIsAskedFor(t *testing.T) {
	g := New(Options{})
	g.userGC = true
	g.gc.quiet, g.gc.freed = quietLooks, 1
	if g.gc.idle(g.collect.Load()) {
		t.Error("collected for nothing")
	}
	g.returned.Store(7)
	for _, want := range []int64{7, 0} {
		if _, bytes := g.askHeap(t.Context()); bytes != want {
			t.Errorf("%d bytes, want %d", bytes, want)
		}
	}
	if !g.collect.Load() || !g.gc.idle(true) {
		t.Error("not collected")
	}
}

var spare []byte // on the heap

// After a burst memory goes back to the system twice, and then no more by itself.
func TestGivesBackAfterABurst(t *testing.T) {
	var c collector
	now := time.Now()
	look := func() {
		now = now.Add(time.Second)
		c.look(now, 0, noLimit, true)
	}
	look()
	for range 2 { // bursts
		spare = make([]byte, 64<<20)
		if look(); c.quiet != 0 {
			t.Fatal("a burst is quiet")
		}
		if c.heap(0, noLimit).quiet {
			t.Error("paced as if there were little to do")
		}
		var at []int
		for range 100 {
			if look(); c.idle(false) {
				at = append(at, c.quiet)
			}
		}
		if !slices.Equal(at, []int{quietLooks, againLooks}) {
			t.Error(at)
		}
		if !c.heap(0, noLimit).quiet {
			t.Error("paced as if there were much to do")
		}
	}
}
