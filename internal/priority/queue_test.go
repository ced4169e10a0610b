//go:build !race

package priority

import (
	"math/rand/v2"
	"testing"

	"sluice/internal/llm"
)

func TestOrder(t *testing.T) {
	var q Queue[int]
	for i, p := range []llm.Priority{5, 2, 8, 5, 99, 2} {
		q.Push(&Item[int]{Value: i}, p)
	}
	if q.Len() != 6 || q.At(5) != 2 || q.At(9) != 1 || q.Ahead(5) != 4 || q.Ahead(0) != 6 {
		t.Errorf("%d in the queue, %d of 5, %d before another of 5", q.Len(), q.At(5), q.Ahead(5))
	}
	if l := q.Least(5); l == nil || l.Value != 5 || q.Least(2) != nil {
		t.Errorf("least is %v", l)
	}
	for i, want := range []int{4, 2, 0, 3, 1, 5} {
		if it := q.Pop(); it == nil || it.Value != want || it.Queued() {
			t.Errorf("turn %d: %v, want %d", i, it, want)
		}
	}
	if q.Pop() != nil || q.Len() != 0 {
		t.Error("the queue is not empty")
	}
}

// TestNobodyStarves has more of high priority come than go.
func TestNobodyStarves(t *testing.T) {
	var q Queue[int]
	const low = 20
	for i := range low {
		q.Push(&Item[int]{Value: i}, 0)
	}
	left, highs := low, 0
	for turn := 1; left > 0; turn++ {
		if turn > turnOf*low {
			t.Fatalf("%d of %d still wait after %d turns", left, low, turn)
		}
		q.Push(&Item[int]{Value: -1}, 9)
		q.Push(&Item[int]{Value: -1}, 9)
		switch it := q.Pop(); {
		case it.Value < 0:
			highs++
		case it.Value != low-left:
			t.Fatalf("%d goes before %d", it.Value, low-left)
		default:
			left--
		}
	}
	if highs < (turnOf-1)*(low-1) {
		t.Errorf("only %d of high priority went meanwhile", highs)
	}
}

// TestPatienceOfTurns: where those of high priority come as fast as they go, and none
// waits for long, one of low priority goes as soon as Ahead says.
func TestPatienceOfTurns(t *testing.T) {
	for begun := range turnOf {
		var q Queue[int]
		push := func(p llm.Priority) { q.Push(&Item[int]{Value: int(p)}, p) }
		for range begun {
			push(9)
			q.Pop()
		}
		for range 3 {
			push(9)
		}
		most := q.Ahead(0)
		push(0)
		turns := 0
		for q.Pop().Value != 0 {
			turns++
			push(9)
		}
		if turns > turnOf || most > turns {
			t.Errorf("after %d turns: it goes after %d, %d at first", begun, turns, most)
		}
	}
}

// A raised item goes after those that had the priority before, before all lower ones,
// and keeps its age.
func TestRaise(t *testing.T) {
	var q Queue[int]
	var items [6]Item[int]
	for i, p := range []llm.Priority{2, 5, 8, 5, 2, 8} {
		items[i].Value = i
		q.Push(&items[i], p)
	}
	q.Raise(&items[4], 8)
	q.Raise(&items[2], 5) // it is higher
	q.Raise(&items[1], 99)
	q.Raise(&items[1], 8)
	if q.Len() != 6 || q.At(8) != 3 || q.At(9) != 1 || q.At(5) != 1 || q.At(2) != 1 {
		t.Errorf("%d in the queue, %d of 8, %d of 9", q.Len(), q.At(8), q.At(9))
	}
	for i, want := range []int{1, 2, 5, 4, 3, 0} {
		if it := q.Pop(); it == nil || it.Value != want {
			t.Errorf("turn %d: %v, want %d", i, it, want)
		}
	}
	q.Raise(&items[0], 9)
	if items[0].Queued() || q.Len() != 0 {
		t.Error("an item that had its turn is back")
	}

	// Its age counts from when it came.
	q = Queue[int]{turns: turnOf - 1}
	for i := range items {
		q.Push(&items[i], 5)
	}
	q.Raise(&items[0], 6)
	q.Push(&Item[int]{Value: 9}, 9)
	if it := q.Pop(); it != &items[0] {
		t.Errorf("it is the turn of %d, which has not waited longest", it.Value)
	}
}

// TestRandom compares the queue with a list that is searched.
func TestRandom(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var q Queue[int]
	type entry struct {
		it    *Item[int]
		p     llm.Priority
		since int // when it came to have that
	}
	var all []entry // in the order in which they came
	take := func(it *Item[int]) {
		for i := range all {
			if all[i].it == it {
				all = append(all[:i], all[i+1:]...)
				return
			}
		}
		t.Fatalf("%v was not in the queue", it)
	}
	pops := 0
	for i := range 20_000 {
		switch n := r.IntN(12); {
		case n < 5:
			e := entry{&Item[int]{Value: i}, llm.Priority(r.IntN(Levels)), i}
			q.Push(e.it, e.p)
			all = append(all, e)
		case n < 9:
			it := q.Pop()
			if it == nil {
				if len(all) > 0 {
					t.Fatal("nobody's turn, and some wait")
				}
				continue
			}
			pops++
			best, lowest := all[0], all[0]
			for _, e := range all {
				if e.p > best.p || e.p == best.p && e.since < best.since {
					best = e
				}
				if e.p < lowest.p || e.p == lowest.p && e.since < lowest.since {
					lowest = e
				}
			}
			want := best.it
			switch {
			case pops%turnOf != 0:
			case all[0].it != best.it:
				want = all[0].it
			default:
				want = lowest.it
			}
			if it != want {
				t.Fatalf("it is the turn of %d, want %d", it.Value, want.Value)
			}
			take(it)
		case n > 9 && len(all) > 0:
			e, p := &all[r.IntN(len(all))], llm.Priority(r.IntN(Levels))
			q.Raise(e.it, p)
			if p > e.p {
				e.p, e.since = p, i
			}
		case len(all) > 0:
			it := all[r.IntN(len(all))].it
			if !q.Remove(it) || q.Remove(it) {
				t.Fatal("an item was not removed once")
			}
			take(it)
		}
		if q.Len() != len(all) {
			t.Fatalf("%d in the queue, want %d", q.Len(), len(all))
		}
	}
}
