package gather

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sluice/internal/llm"
	"sluice/internal/testkit"
)

// crowds has n callers of each of some keys ask again and again for some time, and gives
// how many items of each were answered in a second of the second half of it. at gives the
// upstream of each.
func crowds(t *testing.T, b *batcher, keys []string, at func(key int) *service, n int, d time.Duration) (rates []float64, sum float64) {
	t.Helper()
	var all sync.WaitGroup
	var mu sync.Mutex
	rates = make([]float64, len(keys))
	begun := time.Now()
	for k, key := range keys {
		for i := range n {
			all.Go(func() {
				for time.Since(begun) < d {
					item := fmt.Sprintf("%d %d", k, i)
					if wrong := ask(t.Context(), b, at(k), key, Want{}, item).check([]string{item}); wrong != "" {
						t.Error(wrong)
					}
					if took := time.Since(begun); took >= d/2 && took < d {
						mu.Lock()
						rates[k] += 1 / (d / 2).Seconds()
						mu.Unlock()
					}
				}
			})
		}
	}
	all.Wait()
	for _, rate := range rates {
		sum += rate
	}
	return rates, sum
}

// TestManyLanes: where items of several models, or of several keys, cannot be joined but
// meet at one upstream, the calls there are as large as they can be, and none stands back.
// Lanes of other upstreams are not in each other's way, nor are those of an upstream that
// works at any number of calls at once.
func TestManyLanes(t *testing.T) {
	testkit.Simulation(t)
	const each, lanes = 200 * time.Microsecond, 8
	for _, test := range []struct {
		name      string
		takes     time.Duration
		slots     int
		upstreams int  // that have so many slots each
		balanced  bool // among all of them
		models    bool // lanes are of so many models, and not of so many keys
		clients   int  // of each
		least     float64
	}{
		{"models, one at a time", 10 * time.Millisecond, 1, 1, false, true, 8, 0.9},
		{"models, four at a time", 10 * time.Millisecond, 4, 1, false, true, 8, 0.9},
		{"models, all at a time", 10 * time.Millisecond, 0, 1, false, true, 8, 0.98},
		{"models, two upstreams", 10 * time.Millisecond, 1, 2, true, true, 8, 0.85},
		{"models, upstreams of their own", 10 * time.Millisecond, 1, lanes, false, true, 8, 0.5},
		{"keys, one at a time", 10 * time.Millisecond, 1, 1, false, false, 8, 0.9},
		{"keys, four at a time", 10 * time.Millisecond, 4, 1, false, false, 8, 0.9},
		{"keys, all at a time", 10 * time.Millisecond, 0, 1, false, false, 8, 0.98},
		{"keys of one client", 10 * time.Millisecond, 1, 1, false, false, 1, 0.98},
		{"models of one client", 10 * time.Millisecond, 1, 1, false, true, 1, 0.98},
		// The window ends before the other lanes have had their turns.
		{"models, slow, one at a time", 30 * time.Millisecond, 1, 1, false, true, 8, 0.4},
		{"models, slow, four at a time", 30 * time.Millisecond, 4, 1, false, true, 8, 0.85},
		{"keys, slow, four at a time", 30 * time.Millisecond, 4, 1, false, false, 8, 0.9},
		{"models, slow, all at a time", 100 * time.Millisecond, 0, 1, false, true, 8, 0.98},
		{"models, more calls than are told apart", 100 * time.Millisecond, 0, 1, false, true, 20, 0.98},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ups := make([]*service, test.upstreams)
				for i := range ups {
					ups[i] = newService(test.takes, each, test.slots)
					ups[i].names = []string{fmt.Sprint("up", i)}
					if test.balanced { // whichever is free
						ups[i].turn(test.slots * test.upstreams)
						ups[i].slots = ups[0].slots
					}
				}
				keys := make([]string, lanes)
				for i := range keys {
					keys[i] = fmt.Sprint("m", i)
					if test.models {
						keys[i] = fmt.Sprint(i, "m")
					}
				}
				var turn atomic.Int64
				at := func(key int) *service {
					if test.balanced {
						key = int(turn.Add(1))
					}
					return ups[key%len(ups)]
				}
				o := defaults(nil)
				o.Send = func(ctx context.Context, u llm.Urgency, items []string) ([]Result[string], Trip, error) {
					var key int
					_, _ = fmt.Sscan(items[0], &key)
					return at(key).share(ctx, u, items)
				}
				b := New(o)
				d := time.Minute
				if test.slots == 0 {
					d = 6 * time.Second
				}
				rates, sum := crowds(t, b, keys, at, test.clients, d)
				full := (test.takes + time.Duration(test.clients)*each).Seconds()
				best := float64(test.slots*test.upstreams*test.clients) / full
				if test.slots == 0 {
					best = float64(lanes*test.clients) / (test.takes + each).Seconds()
				}
				t.Logf("%.0f of %.0f a second: %.0f", sum, best, rates)
				if sum < test.least*best {
					t.Errorf("%.0f items a second, of %.0f", sum, best)
				}
				for i, rate := range rates {
					if rate < 0.7*sum/lanes {
						t.Errorf("lane %d gets %.0f a second of %.0f", i, rate, sum)
					}
				}
				if n := len(b.sites); test.models && test.balanced && n != 1 || test.upstreams == lanes && n != lanes || n > lanes {
					t.Errorf("%d sites", n)
				}
				empty(t, b)
			})
		})
	}
}

// standIn is a lane with one item, or with one after the other.
type standIn struct {
	site  *site
	rank  time.Duration
	again time.Duration // by how much later the next item goes; 0 for none
	at    int
	asked *int // how often any was, for its first
	left  *[]time.Duration
}

func (l *standIn) index() *int { return &l.at }

func (l *standIn) first() time.Duration {
	*l.asked++
	return l.rank
}

func (l *standIn) next(time.Duration) {
	l.site.inFlight++
	if l.left != nil {
		*l.left = append(*l.left, l.rank)
	}
	if l.rank += l.again; l.again > 0 {
		l.site.moved(l)
	} else {
		l.site.remove(l)
	}
}

// lanesOf makes a site with lanes whose first items go in a random order.
func lanesOf(n int, again time.Duration, asked *int, left *[]time.Duration) *site {
	s := &site{courses: 1}
	for _, rank := range rand.New(rand.NewPCG(1, 2)).Perm(n) {
		s.add(&standIn{site: s, rank: time.Duration(rank), again: again, asked: asked, left: left})
	}
	return s
}

// However many lanes wait, a call looks at few of them, and those that go first do.
func TestFillLooksAtFew(t *testing.T) {
	const n = maxStandIns
	for _, again := range []time.Duration{0, n} {
		asked, left := 0, make([]time.Duration, 0, n)
		s := lanesOf(n, again, &asked, &left)
		for range n {
			s.inFlight = s.limit() - 1
			s.fill(0)
		}
		if len(left) != n || !slices.IsSorted(left) || again == 0 && len(s.waiting) != 0 || again > 0 && len(s.waiting) != n {
			t.Errorf("again %d: %d left, %d wait", again, len(left), len(s.waiting))
		}
		// Two for each comparison, two comparisons for each of 14 levels, and as many to come.
		if most := n * 2 * 2 * 14 * 2; asked > most {
			t.Errorf("again %d: %d lanes are looked at for %d calls, at most %d", again, asked, n, most)
		}
	}
}

const maxStandIns = 16384

// BenchmarkFill has what it takes to find whose call is next.
func BenchmarkFill(b *testing.B) {
	for _, n := range []int{1, 64, maxStandIns} {
		b.Run(fmt.Sprintf("%d lanes", n), func(b *testing.B) {
			asked := 0
			s := lanesOf(n, time.Duration(n), &asked, nil)
			b.ReportAllocs()
			for b.Loop() {
				s.inFlight = s.limit() - 1
				s.fill(0)
			}
		})
	}
}

// The site knows whose item goes first in all lanes, whatever becomes of those that wait:
// they come, leave, are lent priority, are late, or their course comes to be of another
// site.
func TestLanesInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(20*time.Millisecond, 0, 1)
		s.names = []string{"a", "a", "a", "b"}
		b := New(defaults(s))
		rnd := rand.New(rand.NewPCG(5, 6))
		var all sync.WaitGroup
		for range 600 {
			key := fmt.Sprint(rnd.IntN(2), "k", rnd.IntN(12))
			w := Want{Urgency: llm.Urgency{Priority: llm.Priority(rnd.IntN(10)), Turn: new(llm.Turn)}}
			start, patience := time.Duration(rnd.IntN(1e9)), time.Hour
			if rnd.IntN(4) == 0 {
				patience = time.Duration(rnd.IntN(1e8))
			}
			if rnd.IntN(4) == 0 {
				w.Deadline = time.Now().Add(start + time.Duration(rnd.IntN(1e8)))
			}
			lends, lent := start+time.Duration(rnd.IntN(1e8)), llm.Priority(rnd.IntN(10))
			all.Go(func() {
				time.Sleep(lends)
				w.Lend(lent, w.Deadline)
			})
			all.Go(func() {
				time.Sleep(start)
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				ask(ctx, b, s, key, w, "x")
			})
		}
		most := 0
		for range 1200 {
			time.Sleep(time.Millisecond)
			synctest.Wait()
			b.mu.Lock()
			waiting := map[*site]int{}
			for _, l := range b.lanes {
				if at := l.pace.site; len(l.queue) > 0 {
					if waiting[at]++; at.waiting[l.at] != l {
						t.Errorf("lane %s is not where it waits", l.key)
					}
					if at.waiting[0].first() > l.first() {
						t.Errorf("lane %s would go before the first", l.key)
					}
				}
			}
			for at, n := range waiting {
				if most = max(most, n); len(at.waiting) != n {
					t.Errorf("%d lanes wait, the site knows %d", n, len(at.waiting))
				}
			}
			b.mu.Unlock()
		}
		if most < 8 {
			t.Errorf("only %d lanes ever waited", most)
		}
		all.Wait()
		empty(t, b)
	})
}

// Callers that could not share a call with anybody wait for nobody where the upstream
// works at any number of calls at once, however many there are and whatever they take.
func TestLoneCallersWaitForNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fast, slow := newService(10*time.Millisecond, 0, 0), newService(300*time.Millisecond, 0, 0)
		fast.names, slow.names = []string{"up"}, []string{"up"}
		b := New(defaults(fast))
		var all sync.WaitGroup
		var mu sync.Mutex
		gathered := map[time.Duration]int{}
		for i := range 200 {
			all.Go(func() {
				s, rnd := fast, rand.New(rand.NewPCG(3, uint64(i)))
				if i%3 == 1 {
					s = slow
				}
				for range 50 {
					time.Sleep(time.Duration(rnd.ExpFloat64() * 2e8))
					a := ask(t.Context(), b, s, string(rune('a'+i%20))+fmt.Sprint(i), Want{}, "x")
					mu.Lock()
					if wrong := a.check([]string{"x"}); wrong != "" {
						t.Error(wrong)
					}
					gathered[a.out.Queued]++
					mu.Unlock()
				}
			})
		}
		all.Wait()
		if len(gathered) != 1 || gathered[0] != 200*50 {
			t.Errorf("they gathered for %v", gathered)
		}
		empty(t, b)
	})
}

// A crowd of many lanes gets as much done within seconds whatever was known of the
// upstream before: of a few calls at once, or of another way of working.
func TestManyLanesTurn(t *testing.T) {
	testkit.Simulation(t)
	const takes, each, lanes, clients, d = 10 * time.Millisecond, 200 * time.Microsecond, 8, 4, time.Minute
	synctest.Test(t, func(t *testing.T) {
		s := newService(takes, each, 0)
		s.names = []string{"up"}
		b := New(defaults(s))
		at := func(int) *service { return s }
		if _, sum := crowds(t, b, []string{"0m"}, at, 1, 20*time.Second); sum < 97 {
			t.Errorf("one client gets %.0f a second", sum)
		}
		keys := make([]string, lanes)
		for i := range keys {
			keys[i] = fmt.Sprint(i, "m")
		}
		any, one := lanes*clients/(takes+each).Seconds(), clients/(takes+clients*each).Seconds()
		for i, turn := range []struct {
			slots int
			best  float64
			d     time.Duration // of which the second half counts
		}{{0, any, 6 * time.Second}, {1, one, d}, {0, any, d}, {1, one, d}} {
			s.turn(turn.slots)
			_, sum := crowds(t, b, keys, at, clients, turn.d)
			t.Logf("%d at once: %.0f of %.0f a second", turn.slots, sum, turn.best)
			if sum < 0.85*turn.best {
				t.Errorf("turn %d: %.0f items a second, of %.0f", i, sum, turn.best)
			}
		}
		empty(t, b)
	})
}

// Models of one upstream that take differently long teach it the same.
func TestUnlikeModels(t *testing.T) {
	testkit.Simulation(t)
	synctest.Test(t, func(t *testing.T) {
		const lanes, clients = 6, 8
		slots := make(chan struct{}, 1)
		ups, keys, round := make([]*service, lanes), make([]string, lanes), time.Duration(0)
		for i := range ups {
			ups[i] = newService(time.Duration(1+3*i)*time.Millisecond, time.Duration(1+i)*50*time.Microsecond, 0)
			ups[i].names, ups[i].slots = []string{"up"}, slots
			keys[i] = fmt.Sprint(i, "m")
			round += ups[i].fixed + clients*ups[i].item
		}
		o := defaults(nil)
		o.Send = func(ctx context.Context, u llm.Urgency, items []string) ([]Result[string], Trip, error) {
			var key int
			_, _ = fmt.Sscan(items[0], &key)
			return ups[key].share(ctx, u, items)
		}
		b := New(o)
		rates, sum := crowds(t, b, keys, func(key int) *service { return ups[key] }, clients, time.Minute)
		best := lanes * clients / round.Seconds()
		t.Logf("%.0f of %.0f a second: %.0f", sum, best, rates)
		if sum < 0.85*best {
			t.Errorf("%.0f items a second of %.0f", sum, best)
		}
		empty(t, b)
	})
}

// What is known of how calls slow each other down is not confused by which models' calls
// it was measured with.
func TestCoursesCompare(t *testing.T) {
	for name, test := range map[string]struct {
		slower time.Duration // that a call gets by each that is under way with it, as a multiple
		gain   float64
	}{"all at a time": {0, 1}, "one at a time": {1, 0}} {
		s := &site{courses: 2}
		short, long := &pace{site: s, most: 10}, &pace{site: s, most: 10}
		call := func(p *pace, d time.Duration, n int, now int) {
			p.took(time.Duration(now)*time.Millisecond, float64(n), 1, false, d*(1+test.slower*time.Duration(n-1)), 0, false)
		}
		for i := range 4 {
			call(short, time.Millisecond, 1, i)
			call(long, 100*time.Millisecond, 1, i)
			call(short, time.Millisecond, 2, i)
			call(long, 100*time.Millisecond, 2, i)
		}
		for i := range recent { // from now on each is met in other company
			call(short, time.Millisecond, 1, 10+i)
			call(long, 100*time.Millisecond, 2, 10+i)
		}
		if gain, known := s.gain(0, 1); !known || gain < test.gain-0.05 || gain > test.gain+0.05 {
			t.Errorf("%s: the second call adds %.2f, want %.2f", name, gain, test.gain)
		}
	}
}

// Items that gather while their course comes to be of another site leave from there.
func TestSiteChangesWhileItemsGather(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(10*time.Millisecond, 0, 0)
		s.names = []string{"a"}
		b := New(defaults(s))
		ask(t.Context(), b, s, "m2", Want{}, "x")
		ask(t.Context(), b, s, "n", Want{}, "x")
		s.names = []string{"b"}
		var all sync.WaitGroup
		for i, key := range []string{"m1", "m2", "m2", "n"} {
			all.Go(func() {
				time.Sleep(time.Duration(i) * time.Millisecond)
				if wrong := ask(t.Context(), b, s, key, Want{}, "x").check([]string{"x"}); wrong != "" {
					t.Error(wrong)
				}
			})
		}
		time.Sleep(10*time.Millisecond + 1)
		b.mu.Lock()
		old, now := b.sites["a\n"], b.sites["a\nb\n"]
		if old == nil || now == nil || len(old.waiting) != 0 || old.items != 0 || len(now.waiting) != 0 || now.items != 0 || now.inFlight != 1 || old.inFlight != 2 {
			t.Errorf("%+v, %+v", old, now)
		}
		b.mu.Unlock()
		all.Wait()
		empty(t, b)
	})
}

// A course goes with the upstreams that answered it in the last minute. What was learnt
// goes with it, and calls under way are counted where they began.
func TestSites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, c := newService(10*time.Millisecond, 0, 1), newService(10*time.Millisecond, 0, 1)
		a.names, c.names = []string{"a"}, []string{"c"}
		b := New(defaults(a))
		names := func() (all []string) {
			b.mu.Lock()
			defer b.mu.Unlock()
			for name, s := range b.sites {
				all = append(all, fmt.Sprintf("%s %d", strings.Join(strings.Fields(name), ""), s.courses))
			}
			slices.Sort(all)
			return all
		}
		for i, step := range []struct {
			key   string
			s     *service
			later time.Duration
			want  string
		}{
			{"1m", a, 0, "[a 1]"},
			{"2m", a, 0, "[a 2]"},
			{"3m", c, 0, "[a 2 c 1]"},
			{"2m", c, 0, "[a 1 ac 1 c 1]"},
			{"1m", c, 0, "[ac 2 c 1]"},
			{"1m", a, 59 * time.Second, "[ac 2 c 1]"},
			{"1m", a, 2 * time.Second, "[a 1 ac 1 c 1]"},
			{"2m", c, 0, "[a 1 c 2]"},
			{"3m", newService(0, 0, 0), 0, "[a 1 c 2]"},
		} {
			time.Sleep(step.later)
			ask(t.Context(), b, step.s, step.key, Want{}, "x")
			if got := fmt.Sprint(names()); got != step.want {
				t.Errorf("step %d: sites %s, want %s", i, got, step.want)
			}
		}
		empty(t, b)
		for i := range maxPaces + 10 { // those that are learnt again take nothing with them
			var turn Turn[string, string]
			if !b.Enter(&turn, fmt.Appendf(nil, "%03d", i), 3, 1, 1) {
				t.Fatal("the lane is not idle")
			}
			time.Sleep(time.Millisecond)
			b.End(&turn, true, Trip{0, "a"})
		}
		empty(t, b)
	})
}
