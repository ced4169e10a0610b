package gather

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sluice/internal/testkit"
)

// watched is what a lane did over time.
type watched struct {
	moves, turns int // of the limit, and of these those that take back the one before
	backlog      int // items under way or waiting, at most
	limit        int // at the end
}

// watch looks at a batcher every few milliseconds until stop is closed.
func watch(b *batcher, s *service, stop chan struct{}) *watched {
	w := &watched{}
	before, last := 0, 0
	go func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
			b.mu.Lock()
			waiting := b.items
			for _, l := range b.lanes {
				waiting += l.inFlight
			}
			w.backlog = max(w.backlog, waiting)
			if p := b.paces["k"]; p != nil && p.rung != before {
				by := p.rung - before
				before = p.rung
				w.moves++
				if by*last < 0 {
					w.turns++
				}
				last, w.limit = by, p.limit()
			}
			b.mu.Unlock()
		}
	}()
	return w
}

// TestArrivals replays when requests came to a service, so fast that without gathering
// its upstream would fall behind in bursts. With it the queue drains, nobody gathers
// for more than the longest window, and the limit does not swing.
func TestArrivals(t *testing.T) {
	testkit.Simulation(t)
	testkit.Each(t, func(t *testing.T, in testkit.Inputs) {
		arrivals := in.Arrivals(t)
		for _, slots := range []int{1, 4} {
			for _, load := range []float64{0.5, 2, 6} { // of what the upstream does without gathering
				t.Run(fmt.Sprintf("%d at a time, load %v", slots, load), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { replay(t, arrivals, slots, load) })
				})
			}
		}
	})
}

func replay(t *testing.T, arrivals []time.Duration, slots int, load float64) {
	s := newService(10*time.Millisecond, 100*time.Microsecond, slots)
	b := New(defaults(s))
	took := func() time.Duration { return arrivals[len(arrivals)-1] }()
	rate := float64(len(arrivals)) / took.Seconds()
	faster := load * float64(slots) / 0.0101 / rate
	stop := make(chan struct{})
	w := watch(b, s, stop)
	var all sync.WaitGroup
	var mu sync.Mutex
	var longest, gathered time.Duration
	for i, at := range arrivals {
		all.Go(func() {
			time.Sleep(time.Duration(float64(at) / faster))
			begun := time.Now()
			item := fmt.Sprint(i)
			a := ask(t.Context(), b, s, "k", Want{}, item)
			mu.Lock()
			defer mu.Unlock()
			longest, gathered = max(longest, time.Since(begun)), max(gathered, a.out.Queued)
			if wrong := a.check([]string{item}); wrong != "" {
				t.Error(wrong)
			}
		})
	}
	begun := time.Now()
	all.Wait()
	late := time.Since(begun) - time.Duration(float64(took)/faster)
	close(stop)
	synctest.Wait()
	span := time.Since(begun)
	t.Logf("%d in %v: calls of %.1f, %d waited at most, longest %v, gathered %v, the last %v late; %d moves, %d turns, limit %d",
		len(arrivals), span.Round(time.Millisecond), mean(s.calls()), w.backlog, longest, gathered, late, w.moves, w.turns, w.limit)
	if gathered > 100*time.Millisecond {
		t.Errorf("an item gathered for %v", gathered)
	}
	// What came last is answered as soon as that takes, or as what a full call for each
	// ten of the largest backlog takes.
	if drain := 200*time.Millisecond + time.Duration(w.backlog/10/slots+1)*11*time.Millisecond; late > drain {
		t.Errorf("the last was answered %v after it came, of %v", late, drain)
	}
	if most := 2 + int(span/(2*time.Second)); w.turns > most {
		t.Errorf("the limit swings: %d turns in %v, more than %d", w.turns, span, most)
	}
	empty(t, b)
}

// TestSteady: under a load that stays the sizes of calls do.
func TestSteady(t *testing.T) {
	testkit.Simulation(t)
	for _, slots := range []int{1, 4, 0} {
		steady := 0
		for seed := range uint64(3) {
			synctest.Test(t, func(t *testing.T) {
				least, most, turns := load(t, slots, seed)
				if most <= 2*least && turns <= 10 {
					steady++
				}
			})
		}
		if steady < 2 { // what is tried depends on who happens to wait
			t.Errorf("%d slots: %d of 3 runs were steady", slots, steady)
		}
	}
}

// load has items come at random at a rate that stays, and gives the least and the most
// that calls had in a second, once that has settled, and how often the limit turned.
func load(t *testing.T, slots int, seed uint64) (least, most float64, turns int) {
	rnd := rand.New(rand.NewPCG(seed, uint64(slots)))
	s := newService(10*time.Millisecond, 100*time.Microsecond, slots)
	b := New(defaults(s))
	stop := make(chan struct{})
	w := watch(b, s, stop)
	var all sync.WaitGroup
	perSecond := 4 * float64(max(slots, 1)) / 0.0101
	var sizes []float64
	end := time.Now().Add(30 * time.Second)
	for second := time.Now().Add(time.Second); time.Now().Before(end); {
		time.Sleep(time.Duration(rnd.ExpFloat64() / perSecond * 1e9))
		all.Go(func() {
			if wrong := ask(t.Context(), b, s, "k", Want{}, "x").check([]string{"x"}); wrong != "" {
				t.Error(wrong)
			}
		})
		if time.Now().After(second) {
			second = second.Add(time.Second)
			sizes = append(sizes, mean(s.calls()))
		}
	}
	all.Wait()
	close(stop)
	synctest.Wait()
	least, most = slices.Min(sizes[5:]), slices.Max(sizes[5:])
	t.Logf("%d slots: calls of %.1f to %.1f, %d moves, %d turns, limit %d", slots, least, most, w.moves, w.turns, w.limit)
	empty(t, b)
	return least, most, w.turns
}
