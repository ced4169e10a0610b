package gather

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sluice/internal/llm"
)

// A caller whose lane is idle sends by itself and waits for nothing; those that come
// meanwhile leave together when it is back.
func TestGroupCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(50*time.Millisecond, 0, 1)
		b := New(defaults(s))
		var all sync.WaitGroup
		begun := time.Now()
		for i := range 9 {
			all.Go(func() {
				time.Sleep(time.Duration(i) * time.Millisecond)
				item := fmt.Sprint(i)
				a := ask(t.Context(), b, s, "k", Want{}, item)
				if wrong := a.check([]string{item}); wrong != "" {
					t.Errorf("caller %d: %s", i, wrong)
				}
				took, want := time.Since(begun), 100*time.Millisecond
				if i == 0 {
					want = 50 * time.Millisecond
				}
				if took != want || a.alone != (i == 0) || !a.alone && (a.out.Size != 8 || a.out.Queued != time.Duration(50-i)*time.Millisecond || a.out.Calls != 0 || a.out.Waited != 0) {
					t.Errorf("caller %d after %v: %+v", i, took, a)
				}
			})
		}
		all.Wait()
		if sizes := s.calls(); !slices.Equal(sizes, []int{1, 8}) {
			t.Errorf("calls of %v", sizes)
		}
		empty(t, b)
	})
}

// Only equal keys share a call.
func TestKeysShareNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(10*time.Millisecond, 0, 0)
		b := New(defaults(s))
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				if a := ask(t.Context(), b, s, fmt.Sprint("k", i), Want{}, "x"); !a.alone || a.err != nil {
					t.Errorf("%+v", a)
				}
			})
		}
		all.Wait()
		empty(t, b)
	})
}

// What each strategy does with a crowd of 25, of which one comes each millisecond.
func TestStrategies(t *testing.T) {
	for strategy, want := range map[Strategy]string{
		Adaptive: "[1 10 10 4]",
		Size:     "[10 10 5]",
		Time:     "[10 10 5]",
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newService(30*time.Millisecond, 0, 1)
			o := defaults(s)
			o.Strategy = strategy
			b := New(o)
			var all sync.WaitGroup
			begun, last := time.Now(), time.Duration(0)
			var first sync.Once
			s.fail = func([]string) error {
				first.Do(func() { last = time.Since(begun) })
				return nil
			}
			for i := range 25 {
				all.Go(func() {
					time.Sleep(time.Duration(i) * time.Millisecond)
					if wrong := ask(t.Context(), b, s, "k", Want{}, fmt.Sprint(i)).check([]string{fmt.Sprint(i)}); wrong != "" {
						t.Error(wrong)
					}
				})
			}
			all.Wait()
			sizes := s.calls()
			if strategy == Time { // they leave at one moment
				slices.Sort(sizes)
				slices.Reverse(sizes)
			}
			if sizes := fmt.Sprint(sizes); sizes != want {
				t.Errorf("%v: calls of %s, want %s", strategy, sizes, want)
			}
			if want := map[Strategy]time.Duration{Adaptive: 30 * time.Millisecond, Size: 39 * time.Millisecond, Time: 130 * time.Millisecond}[strategy]; last != want {
				t.Errorf("%v: the first reply after %v, want %v", strategy, last, want)
			}
			empty(t, b)
		})
	}
}

// An item that gathers behind a call that hangs leaves when its window ends.
func TestWindowEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(0, 0, 0)
		b := New(defaults(s))
		var stuck Turn[string, string]
		if !b.Enter(&stuck, []byte("k"), 1, 1, 1) {
			t.Fatal("the lane is not idle")
		}
		begun := time.Now()
		if a := ask(t.Context(), b, s, "k", Want{}, "x"); !a.alone || a.err != nil || time.Since(begun) != 100*time.Millisecond || a.out.Queued != 100*time.Millisecond {
			t.Errorf("after %v: %+v", time.Since(begun), a)
		}
		b.End(&stuck, false, Trip{})
		empty(t, b)
	})
}

// Beyond what may wait callers send by themselves.
func TestBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(10*time.Millisecond, 0, 0)
		o := defaults(s)
		o.MaxWaiting, o.MaxBytes = 4, 1000
		b := New(o)
		var all sync.WaitGroup
		for i := range 10 {
			all.Go(func() {
				time.Sleep(time.Duration(i) * time.Microsecond)
				w := Want{Bytes: 1}
				if i == 3 {
					w.Bytes = 1001
				}
				a := ask(t.Context(), b, s, "k", w, fmt.Sprint(i))
				if want := i == 0 || i == 3 || i > 5; a.alone != want || a.err != nil {
					t.Errorf("caller %d: %+v", i, a)
				}
			})
		}
		all.Wait()
		if b.counts.full != 5 {
			t.Errorf("%d found it full", b.counts.full)
		}
		empty(t, b)
	})
}

// A call has no more weight than it may, and a caller's items stay together.
func TestWeight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(10*time.Millisecond, 0, 1)
		o := defaults(s)
		o.MaxWeight = 100
		b := New(o)
		var all sync.WaitGroup
		for i, w := range []int{1, 60, 30, 20, 500, 1} {
			all.Go(func() {
				time.Sleep(time.Duration(i) * time.Millisecond)
				items := []string{fmt.Sprint(i, "a"), fmt.Sprint(i, "b")}
				if wrong := ask(t.Context(), b, s, "k", Want{Weight: w}, items...).check(items); wrong != "" {
					t.Error(wrong)
				}
			})
		}
		all.Wait()
		if sizes := s.calls(); !slices.Equal(sizes, []int{2, 4, 2, 2, 2}) {
			t.Errorf("calls of %v", sizes)
		}
		empty(t, b)
	})
}

// spoil has calls with any of some items fail, and gives which items these are.
func (s *service) spoil(bad string, err error) func(item string) bool {
	is := func(item string) bool { return strings.Contains(" "+bad+" ", " "+item+" ") }
	s.fail = func(items []string) error {
		if slices.ContainsFunc(items, is) {
			return err
		}
		return nil
	}
	return is
}

// One bad item fails its caller alone, whichever it is and however many there are.
func TestBadItem(t *testing.T) {
	for _, bad := range []string{"1", "5", "9", "1 2", "3 8 9"} {
		synctest.Test(t, func(t *testing.T) {
			s := newService(10*time.Millisecond, 0, 1)
			isBad := s.spoil(bad, errBad)
			b := New(defaults(s))
			var all sync.WaitGroup
			for i := range 10 {
				all.Go(func() {
					time.Sleep(time.Duration(i) * time.Microsecond)
					item := fmt.Sprint(i)
					a := ask(t.Context(), b, s, "k", Want{}, item)
					if wrong := a.check([]string{item}); isBad(item) != errors.Is(a.err, errBad) || !isBad(item) && wrong != "" {
						t.Errorf("bad %s, caller %d: %s", bad, i, wrong)
					}
					if a.alone && i > 0 && (a.out.Calls == 0 || a.out.Waited < time.Duration(a.out.Calls)*10*time.Millisecond) {
						t.Errorf("bad %s, caller %d: %+v", bad, i, a.out)
					}
					if isBad(item) && !a.alone {
						t.Errorf("bad %s, caller %d did not learn it by itself", bad, i)
					}
				})
			}
			all.Wait()
			calls := len(s.calls())
			if extra := int(b.counts.extra[refusedCall]); extra != calls-2 || extra > 2*len(strings.Fields(bad))*4 {
				t.Errorf("bad %s: %d extra calls of %d", bad, extra, calls)
			}
			empty(t, b)
		})
	}
}

// An item that the upstream fails at fails its caller alone. Where it fails at all, two
// more calls find that out.
func TestBrokenItem(t *testing.T) {
	for _, test := range []struct {
		broken string
		extra  int // at most
	}{
		{"1", 6}, {"5", 6}, {"8", 6}, {"1 8", 2}, {"1 2 3 4 5 6 7 8", 2}, {"9", 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newService(10*time.Millisecond, time.Millisecond, 1) // so that halves end one after the other
			broken := s.spoil(test.broken, errBroken)
			b := New(defaults(s))
			var all sync.WaitGroup
			for i := range 9 {
				all.Go(func() {
					time.Sleep(time.Duration(i) * time.Microsecond)
					begun := time.Now()
					item := fmt.Sprint(i)
					a := ask(t.Context(), b, s, "k", Want{}, item)
					// With broken items in both halves nobody can tell who is to blame.
					blameless := len(test.broken) == 1 && !broken(item)
					if failed := errors.Is(a.err, errBroken); failed && (blameless || i == 0) || !failed && (broken(item) || a.check([]string{item}) != "") {
						t.Errorf("broken %s, caller %d: %+v", test.broken, i, a)
					}
					if a.out.Calls > 0 && a.out.Queued+a.out.Waited > time.Since(begun) {
						t.Errorf("broken %s, caller %d: %+v in %v", test.broken, i, a.out, time.Since(begun))
					}
				})
			}
			all.Wait()
			calls := len(s.calls())
			if extra := int(b.counts.extra[failedCall]); extra != calls-2 || extra > test.extra {
				t.Errorf("broken %s: %d extra calls of %d", test.broken, extra, calls)
			}
			empty(t, b)
		})
	}
}

// A half whose callers all leave says nothing of the upstream: the other one is halved
// again, whichever of them ends first. Those who leave a half that waits for the other
// cancel no call, and nothing is held for them.
func TestHalvesLeft(t *testing.T) {
	const fails, other = 0, 1
	for name, test := range map[string]struct {
		leaves int           // which half is left
		at     time.Duration // after it was sent
		cut    int
		extra  uint64
	}{
		"the other half, while the one that failed waits": {other, 20 * time.Millisecond, 1, 6},
		"the other half, before the one fails":            {other, 5 * time.Millisecond, 1, 6},
		"the half that waits":                             {fails, 20 * time.Millisecond, 0, 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newService(0, 0, 0)
				s.fail = func(items []string) error {
					if slices.Contains(items, "0") {
						return errBroken
					}
					return nil
				}
				o := defaults(s)
				o.Strategy, o.MaxItems = Time, 8
				o.Send = func(ctx context.Context, u llm.Urgency, items []string) ([]Result[string], Trip, error) {
					d := 10 * time.Millisecond
					if len(items) == 4 && !slices.Contains(items, "0") { // the other half
						d = 50 * time.Millisecond
					}
					select {
					case <-time.After(d):
					case <-ctx.Done():
						results, _, err := s.cancelled(ctx)
						return results, Trip{}, err
					}
					return s.share(ctx, u, items)
				}
				b := New(o)
				var all sync.WaitGroup
				var leave [8]context.CancelFunc
				for i := range leave {
					ctx, cancel := context.WithCancel(t.Context())
					leave[i] = cancel
					all.Go(func() {
						item := fmt.Sprint(i)
						a := ask(ctx, b, s, "k", Want{Bytes: 10}, item)
						switch wrong := a.check([]string{item}); {
						case i/4 == test.leaves:
							if !errors.Is(a.err, context.Canceled) {
								t.Errorf("caller %d, who leaves: %+v", i, a)
							}
						case i == 0:
							if !errors.Is(a.err, errBroken) || !a.alone {
								t.Errorf("the culprit: %+v", a)
							}
						case wrong != "":
							t.Errorf("caller %d: %s", i, wrong)
						}
					})
					synctest.Wait()
				}
				time.Sleep(o.MaxWait + 10*time.Millisecond + test.at)
				for _, cancel := range leave[4*test.leaves:][:4] {
					cancel()
				}
				synctest.Wait()
				b.mu.Lock()
				if test.leaves == fails && b.bytes != 4*10 {
					t.Errorf("%d bytes count", b.bytes)
				}
				b.mu.Unlock()
				all.Wait()
				for _, cancel := range leave {
					cancel()
				}
				if s.cut != test.cut || int(b.counts.cancelled) != test.cut || b.counts.extra[failedCall] != test.extra || b.counts.left != [2]uint64{0, 4} {
					t.Errorf("%d, %d were cancelled, %v extra calls, %v left", s.cut, b.counts.cancelled, b.counts.extra, b.counts.left)
				}
				empty(t, b)
			})
		})
	}
}

// Where calls with several items are refused, whatever they are, items go alone after
// a while; where it is an item's fault, however often, they go on sharing calls.
func TestRefusals(t *testing.T) {
	for _, blamed := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s := newService(10*time.Millisecond, 0, 1)
			s.fail = func(items []string) error {
				if blamed && slices.Contains(items, "bad") || !blamed && len(items) > 1 {
					return errBad
				}
				return nil
			}
			b := New(defaults(s))
			for range 8 {
				var all sync.WaitGroup
				for i := range 11 {
					all.Go(func() {
						time.Sleep(time.Duration(i) * time.Microsecond)
						item := fmt.Sprint(i)
						if i == 7 && blamed {
							item = "bad"
						}
						a := ask(t.Context(), b, s, "k", Want{}, item)
						if wrong := a.check([]string{item}); (item == "bad") != errors.Is(a.err, errBad) || item != "bad" && wrong != "" {
							t.Errorf("caller %d: %s", i, wrong)
						}
					})
				}
				all.Wait()
			}
			s.calls()
			if resting := b.clock.Now() < b.doubts["k"].rest; resting == blamed {
				t.Errorf("blamed %v: items go alone: %v", blamed, resting)
			}
			empty(t, b)
		})
	}
}

// What speaks against one key's shared calls has only its own items go alone, also once
// nothing of it is under way any more, and whatever the strategy. As much is remembered
// as has a bound.
func TestDoubtsAreOfOneKey(t *testing.T) {
	for _, strategy := range []Strategy{Adaptive, Size, Time} {
		synctest.Test(t, func(t *testing.T) {
			s := newService(10*time.Millisecond, 0, 1)
			s.fail = func(items []string) error {
				if len(items) > 1 && items[0][0] == 'a' {
					return errBad
				}
				return nil
			}
			o := defaults(s)
			o.Strategy = strategy
			b := New(o)
			round := func(key string) (largest int) {
				var all sync.WaitGroup
				for i := range 11 {
					all.Go(func() {
						time.Sleep(time.Duration(i) * time.Microsecond)
						item := fmt.Sprint(key, i)
						if wrong := ask(t.Context(), b, s, "m"+key, Want{}, item).check([]string{item}); wrong != "" {
							t.Errorf("%s: %s", item, wrong)
						}
					})
				}
				all.Wait()
				return slices.Max(s.calls())
			}
			for range refused {
				if round("alice") < 2 || round("bob") < 2 {
					t.Error("items do not share calls")
				}
			}
			if a, c := round("alice"), round("bob"); a != 1 || c < 2 {
				t.Errorf("strategy %d: calls of %d items of the key whose calls were refused, of %d of the other", strategy, a, c)
			}
			time.Sleep(minRest)
			if round("alice") < 2 {
				t.Error("items go alone for longer than said")
			}
			for i := range maxDoubts + 10 {
				round(fmt.Sprint("a", i))
			}
			if n := len(b.doubts); n != maxDoubts {
				t.Errorf("%d lanes are remembered", n)
			}
			empty(t, b)
		})
	}
}

// A reply that lacks results is not used for those who miss some, and items then go
// alone for a while.
func TestIncomplete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(10*time.Millisecond, 0, 1)
		b := New(defaults(s))
		round := func(gathered int) {
			t.Helper()
			var all sync.WaitGroup
			for i := range 5 {
				all.Go(func() {
					time.Sleep(time.Duration(i) * time.Microsecond)
					item := fmt.Sprint(i)
					a := ask(t.Context(), b, s, "k", Want{}, item)
					if wrong := a.check([]string{item}); wrong != "" {
						t.Errorf("caller %d: %s", i, wrong)
					}
				})
			}
			all.Wait()
			n := 0
			for _, size := range s.calls() {
				if size > 1 {
					n += size
				}
			}
			if n != gathered {
				t.Errorf("%d items shared a call, want %d", n, gathered)
			}
		}
		s.lose = func(item string) bool { return item == "2" || item == "4" }
		round(4)
		if n := b.counts.extra[incomplete]; n != 2 {
			t.Errorf("%d were sent again", n)
		}
		s.lose = nil
		round(0)
		time.Sleep(minRest)
		round(4)
		empty(t, b)
	})
}

// Callers leave before, while and after their items are sent. The call goes on for
// the rest, and is cancelled when the last has left.
func TestLeaving(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(100*time.Millisecond, 0, 1)
		o := defaults(s)
		b := New(o)
		ask := func(ctx context.Context, item string, after time.Duration) chan answer {
			ctx, leave := context.WithCancel(ctx)
			got := make(chan answer, 1)
			go func() { got <- ask(ctx, b, s, "k", Want{}, item) }()
			synctest.Wait()
			if after > 0 {
				time.AfterFunc(after, leave)
			} else {
				t.Cleanup(leave)
			}
			return got
		}
		first := ask(t.Context(), "first", 0)
		before := ask(t.Context(), "before", 50*time.Millisecond)
		during := ask(t.Context(), "during", 150*time.Millisecond)
		stays := ask(t.Context(), "stays", 0)
		for name, want := range map[string]struct {
			got chan answer
			err error
		}{"first": {first, nil}, "before": {before, context.Canceled}, "during": {during, context.Canceled}, "stays": {stays, nil}} {
			if a := <-want.got; !errors.Is(a.err, want.err) {
				t.Errorf("%s: %+v", name, a)
			}
		}
		if s.seen["before"] != 0 || s.seen["during"] != 1 || s.seen["stays"] != 1 || s.cut != 0 {
			t.Errorf("sent: %v, cancelled: %d", s.seen, s.cut)
		}
		first = ask(t.Context(), "first", 0)
		one, other := ask(t.Context(), "one", 150*time.Millisecond), ask(t.Context(), "other", 160*time.Millisecond)
		begun := time.Now()
		if a := <-one; !errors.Is(a.err, context.Canceled) {
			t.Errorf("%+v", a)
		}
		if a := <-other; !errors.Is(a.err, context.Canceled) || time.Since(begun) != 160*time.Millisecond {
			t.Errorf("after %v: %+v", time.Since(begun), a)
		}
		<-first
		synctest.Wait()
		if s.cut != 1 || b.counts.cancelled != 1 || b.counts.left != [2]uint64{1, 3} {
			t.Errorf("%d, %d were cancelled, %v left", s.cut, b.counts.cancelled, b.counts.left)
		}
		empty(t, b)
	})
}

// What is held for callers counts until it is held no more: where they leave before
// their items are sent at once, and else when the call ends, be it cancelled or not.
func TestBytesOfThoseWhoLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(100*time.Millisecond, 0, 0)
		o := defaults(s)
		o.Strategy, o.MaxBytes = Time, 1000
		o.Send = func(ctx context.Context, u llm.Urgency, items []string) ([]Result[string], Trip, error) {
			defer time.Sleep(10 * time.Millisecond) // a cancelled call takes some time to end as well
			return s.share(ctx, u, items)
		}
		b := New(o)
		held := func(step string, want int) {
			t.Helper()
			synctest.Wait()
			b.mu.Lock()
			defer b.mu.Unlock()
			if b.bytes != want {
				t.Errorf("%s: %d bytes count, want %d", step, b.bytes, want)
			}
		}
		var all sync.WaitGroup
		var leave [10]context.CancelFunc
		round := func() {
			for i := range leave {
				ctx, cancel := context.WithCancel(t.Context())
				leave[i] = cancel
				all.Go(func() { ask(ctx, b, s, "k", Want{Bytes: 100}, fmt.Sprint(i)) })
			}
			held("they gather", 1000)
		}
		round()
		leave[0]()
		held("one left before the call", 900)
		time.Sleep(o.MaxWait)
		held("they are sent", 900)
		for _, cancel := range leave[:9] {
			cancel()
		}
		held("all but one left", 900)
		if a := ask(t.Context(), b, s, "k", Want{Bytes: 101}, "more"); !a.alone || a.out.Queued > 0 {
			t.Errorf("there is room for more: %+v", a)
		}
		all.Wait()
		held("the call has ended", 0)
		leave[9]()
		round()
		time.Sleep(o.MaxWait)
		held("they are sent again", 1000)
		for _, cancel := range leave {
			cancel()
		}
		held("all left", 1000)
		time.Sleep(10 * time.Millisecond)
		held("the cancelled call has ended", 0)
		all.Wait()
		empty(t, b)
	})
}

// What cannot be answered in time is not sent, and what can only be if it leaves now
// does.
func TestDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(100*time.Millisecond, 0, 1)
		o := defaults(s)
		b := New(o)
		ask1 := func(w Want, item string) answer { return ask(t.Context(), b, s, "k", w, item) }
		ask1(Want{}, "learn")
		var all sync.WaitGroup
		all.Go(func() { ask1(Want{}, "first") })
		synctest.Wait()
		begun := time.Now()
		at := func(d time.Duration) Want { return Want{Urgency: llm.Urgency{Deadline: begun.Add(d)}} }
		all.Go(func() {
			if a := ask1(at(20*time.Millisecond), "late"); !errors.Is(a.err, ErrLate) || time.Since(begun) > 20*time.Millisecond {
				t.Errorf("after %v: %+v", time.Since(begun), a)
			}
		})
		all.Go(func() {
			if a := ask1(at(150*time.Millisecond), "hurry"); a.err != nil || a.out.Queued != 50*time.Millisecond {
				t.Errorf("%+v", a)
			}
		})
		all.Wait()
		if s.seen["late"] != 0 || b.counts.late != 1 {
			t.Errorf("%d late, sent %d times", b.counts.late, s.seen["late"])
		}
		empty(t, b)
	})
}

// While the call that items are in waits for its turn, for others who have longer, a
// caller is told when its own time is over. Once the call was sent it has the answer.
func TestDeadlineInQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(100*time.Millisecond, 0, 0)
		o := defaults(s)
		o.Strategy = Time
		o.Send = func(ctx context.Context, u llm.Urgency, items []string) ([]Result[string], Trip, error) {
			time.Sleep(100 * time.Millisecond)
			return s.share(ctx, u, items)
		}
		b := New(o)
		var all sync.WaitGroup
		begun := time.Now()
		for _, test := range []struct {
			deadline, took time.Duration // 0 for none
			err            error
		}{
			{150 * time.Millisecond, 150 * time.Millisecond, ErrLate},
			{250 * time.Millisecond, 300 * time.Millisecond, nil},
			{0, 300 * time.Millisecond, nil},
		} {
			all.Go(func() {
				w := Want{Urgency: llm.Urgency{Turn: new(llm.Turn)}}
				if test.deadline > 0 {
					w.Deadline = begun.Add(test.deadline)
				}
				a := ask(t.Context(), b, s, "k", w, "x")
				if took := time.Since(begun); !errors.Is(a.err, test.err) || took != test.took || a.err != nil && a.out.Queued != took {
					t.Errorf("with a deadline after %v: %+v after %v", test.deadline, a, took)
				}
				if lends := w.Lend(9, time.Time{}); lends != (test.err == nil) {
					t.Errorf("with a deadline after %v: lends: %v", test.deadline, lends)
				}
			})
		}
		all.Wait()
		if n := s.calls(); !slices.Equal(n, []int{3}) || b.counts.late != 1 || b.counts.left != [2]uint64{} {
			t.Errorf("calls of %v, %d late, %v left", n, b.counts.late, b.counts.left)
		}
		empty(t, b)
	})
}

// Calls that waited for their turn in the gateway do not have items refused that can be
// answered in time if they need not wait; for that the queue there looks.
func TestDeadlineBehindQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(100*time.Millisecond, 0, 0)
		b := New(defaults(s))
		s.before = 10 * time.Second
		for range 10 {
			var all sync.WaitGroup
			for i := range 3 { // alone and shared
				all.Go(func() {
					time.Sleep(time.Duration(i) * time.Microsecond)
					ask(t.Context(), b, s, "k", Want{}, "learn")
				})
			}
			all.Wait()
		}
		s.before = 0
		var all sync.WaitGroup
		for i := range 6 {
			all.Go(func() {
				time.Sleep(time.Duration(i) * time.Microsecond)
				if a := ask(t.Context(), b, s, "k", Want{Urgency: llm.Urgency{Deadline: time.Now().Add(time.Second)}}, "x"); a.err != nil || a.out.Queued > 100*time.Millisecond {
					t.Errorf("%+v", a)
				}
			})
		}
		all.Wait()
		if b.counts.late != 0 || b.counts.shared == 0 {
			t.Errorf("%d late", b.counts.late)
		}
		empty(t, b)
	})
}

// Higher priorities go first, and nobody waits beyond the window for all that.
func TestPriorities(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(40*time.Millisecond, 0, 1)
		b := New(defaults(s))
		var (
			all   sync.WaitGroup
			mu    sync.Mutex
			order []string
		)
		send := func(name string, p llm.Priority) {
			all.Go(func() {
				a := ask(t.Context(), b, s, "k", Want{Urgency: llm.Urgency{Priority: p}}, name)
				mu.Lock()
				defer mu.Unlock()
				order = append(order, name)
				if a.err != nil || a.out.Queued > 100*time.Millisecond {
					t.Errorf("%s: %+v", name, a)
				}
			})
			synctest.Wait()
		}
		send("first", 5)
		for i := range 10 {
			send(fmt.Sprint("low", i), 0)
		}
		for i := range 10 {
			send(fmt.Sprint("high", i), 9)
		}
		// They come all the time, and the low ones leave all the same.
		for i := range 40 {
			time.Sleep(5 * time.Millisecond)
			send(fmt.Sprint("more", i), 9)
		}
		all.Wait()
		place := func(name string) int { return slices.Index(order, name) }
		for i := range 10 {
			if h, l := place(fmt.Sprint("high", i)), place(fmt.Sprint("low", i)); h > 10 || l < 10 || l > 40 {
				t.Errorf("high %d was answered as number %d, low as %d", i, h, l)
			}
		}
		empty(t, b)
	})
}

// Who is lent a higher priority goes as early as others of that, and who is lent time is
// not dropped; one who comes when all are late cannot lend.
func TestLent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(40*time.Millisecond, 0, 1)
		o := defaults(s)
		o.MaxItems, o.MaxWait = 1, time.Hour
		b := New(o)
		var all sync.WaitGroup
		begun := time.Now()
		send := func(name string, p llm.Priority, wait time.Duration, want error) *Want {
			w := &Want{Urgency: llm.Urgency{Priority: p, Deadline: begun.Add(wait), Turn: new(llm.Turn)}}
			all.Go(func() {
				if a := ask(t.Context(), b, s, "k", *w, name); !errors.Is(a.err, want) {
					t.Errorf("%s: %v", name, a.err)
				}
			})
			synctest.Wait()
			return w
		}
		send("first", 5, time.Hour, nil)
		low := send("low", 0, 50*time.Millisecond, nil)
		late := send("late", 0, 50*time.Millisecond, ErrLate)
		for i := range 3 {
			send(fmt.Sprint("normal", i), 5, time.Hour, nil)
		}
		send("high", 8, time.Hour, nil)
		if !low.Lend(8, time.Time{}) || !low.Lend(2, begun) || low.Sent() {
			t.Error("not lent")
		}
		var order []string
		b.mu.Lock()
		for _, m := range b.lanes["k"].queue {
			order = append(order, m.items...)
		}
		waiting := b.counts.waiting
		b.mu.Unlock()
		if waiting != [classes]int{1, 3, 2} {
			t.Errorf("waiting: %v", waiting)
		}
		if want := strings.Fields("high low normal0 normal1 normal2 late"); !slices.Equal(order, want) {
			t.Errorf("they leave in the order %v", order)
		}
		time.Sleep(50 * time.Millisecond)
		synctest.Wait()
		if late.Lend(9, time.Time{}) {
			t.Error("lent to a call that was dropped")
		}
		all.Wait()
		empty(t, b)
	})
}

// A call is as urgent as the most urgent of its callers, and becomes so while it is
// under way.
func TestSharedUrgency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(40*time.Millisecond, 0, 0)
		o := defaults(s)
		o.Strategy = Time
		b := New(o)
		var all sync.WaitGroup
		begun := time.Now()
		var turns [3]llm.Turn
		wants := make([]Want, 3)
		for i, p := range []llm.Priority{2, 7, 5} {
			wants[i] = Want{Urgency: llm.Urgency{Priority: p, Deadline: begun.Add(time.Duration(i+1) * time.Second), Turn: &turns[i]}}
			all.Go(func() { ask(t.Context(), b, s, "k", wants[i], fmt.Sprint(i)) })
		}
		time.Sleep(101 * time.Millisecond)
		now := func() llm.Urgency {
			s.mu.Lock()
			defer s.mu.Unlock()
			var u llm.Urgency
			u.Priority, u.Deadline = s.last.Now()
			return u
		}
		if u := now(); u.Priority != 7 || !u.Deadline.Equal(begun.Add(3*time.Second)) || !wants[0].Sent() {
			t.Errorf("it is as urgent as %v", u)
		}
		if !wants[0].Lend(9, time.Time{}) {
			t.Error("it takes no loan")
		}
		if u := now(); u.Priority != 9 || !u.Deadline.IsZero() {
			t.Errorf("with what was lent it is as urgent as %v", u)
		}
		all.Wait()
		if len(s.calls()) != 1 {
			t.Error("they shared no call")
		}
		wants[0].Lend(0, time.Time{}) // the call is over
		empty(t, b)
	})
}

// A panic in a call is the error of its callers.
func TestPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(10*time.Millisecond, 0, 0)
		o := defaults(s)
		o.Send = func(context.Context, llm.Urgency, []string) ([]Result[string], Trip, error) { panic("ouch") }
		b := New(o)
		var all sync.WaitGroup
		for i := range 3 {
			all.Go(func() {
				time.Sleep(time.Duration(i) * time.Microsecond)
				if a := ask(t.Context(), b, s, "k", Want{}, "x"); (i == 0) != (a.err == nil) || i > 0 && !strings.Contains(a.err.Error(), "ouch") {
					t.Errorf("%+v", a)
				}
			})
		}
		all.Wait()
		empty(t, b)
	})
}

// Whatever happens, every caller gets exactly one answer, its own results in its own
// order, and no item is sent again but where its call was refused or incomplete, or
// waits longer than a window.
func TestProperties(t *testing.T) {
	for seed := range uint64(60) {
		synctest.Test(t, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 1))
			s := newService(time.Duration(rnd.IntN(60))*time.Millisecond, time.Duration(rnd.IntN(3))*time.Millisecond, rnd.IntN(4))
			o := defaults(s)
			o.Strategy = Strategy(seed % 3)
			o.MaxItems = 1 + rnd.IntN(12)
			o.MaxWaiting = 5 + rnd.IntN(100)
			if rnd.IntN(2) == 0 {
				o.MaxWeight = 30
			}
			if rnd.IntN(2) == 0 {
				o.Target = time.Duration(rnd.IntN(200)) * time.Millisecond
			}
			s.fail = func(items []string) error {
				for _, item := range items {
					switch {
					case strings.HasPrefix(item, "bad"):
						return errBad
					case strings.HasPrefix(item, "down") && len(items)%2 == 1:
						return errors.ErrUnsupported
					}
				}
				return nil
			}
			s.lose = func(item string) bool { return strings.HasPrefix(item, "lost") }
			s.names = []string{"", "a", "a", "b"}[:rnd.IntN(5)]
			kinds := []string{"good", "good", "good", "good", "good", "good", "good", "bad", "down", "lost"}
			b := New(o)
			var all sync.WaitGroup
			var mu sync.Mutex
			total := 0
			for n := range 150 {
				var items []string
				for i := range 1 + rnd.IntN(3) {
					items = append(items, fmt.Sprintf("%s-%d-%d", kinds[rnd.IntN(len(kinds))], n, i))
				}
				w := Want{Urgency: llm.Urgency{Priority: llm.Priority(rnd.IntN(10)), Turn: new(llm.Turn)}, Weight: 1 + rnd.IntN(20)}
				key := fmt.Sprint(rnd.IntN(2), "k", rnd.IntN(2)) // of two courses
				start := time.Duration(rnd.IntN(300)) * time.Millisecond
				patience := time.Hour
				if rnd.IntN(5) == 0 {
					patience = time.Duration(rnd.IntN(200)) * time.Millisecond
				}
				if rnd.IntN(5) == 0 {
					w.Deadline = time.Now().Add(start + time.Duration(rnd.IntN(200))*time.Millisecond)
				}
				lent := llm.Urgency{Priority: llm.Priority(rnd.IntN(10)), Deadline: time.Now().Add(2 * start)}
				lends := start + time.Duration(rnd.IntN(100))*time.Millisecond
				all.Go(func() {
					time.Sleep(lends)
					w.Lend(lent.Priority, lent.Deadline)
				})
				all.Go(func() {
					time.Sleep(start)
					ctx, cancel := context.WithTimeout(context.Background(), patience)
					defer cancel()
					a := ask(ctx, b, s, key, w, items...)
					mu.Lock()
					defer mu.Unlock()
					total++
					if a.out.Queued > o.MaxWait {
						t.Errorf("seed %d: %v gathered for %v", seed, items, a.out.Queued)
					}
					kind := func(k string) bool {
						return slices.ContainsFunc(items, func(i string) bool { return strings.HasPrefix(i, k) })
					}
					switch wrong := a.check(items); {
					case errors.Is(a.err, errBad) && kind("bad"), errors.Is(a.err, errors.ErrUnsupported),
						errors.Is(a.err, ErrLate) && !w.Deadline.IsZero(), a.err != nil && ctx.Err() != nil:
					case wrong != "":
						t.Errorf("seed %d: %v: %s", seed, items, wrong)
					}
				})
			}
			all.Wait()
			synctest.Wait()
			if total != 150 {
				t.Errorf("seed %d: %d answers", seed, total)
			}
			for item, n := range s.seen {
				if n > 6 {
					t.Errorf("seed %d: %s was sent %d times", seed, item, n)
				}
			}
			empty(t, b)
		})
	}
}
