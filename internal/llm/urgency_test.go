package llm

import (
	"sync"
	"testing"
	"time"
)

// place takes note of what a call that waits there is lent.
type place struct {
	p       Priority
	until   time.Time
	n       int
	refuses bool
}

func (l *place) Lend(p Priority, until time.Time) bool {
	l.p, l.until = p, until
	l.n++
	return !l.refuses
}

func TestUrgency(t *testing.T) {
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	u := Urgency{Priority: 5, Deadline: at(10), Turn: new(Turn)}
	now := func(p Priority, until time.Time) {
		t.Helper()
		if gotP, got := u.Now(); gotP != p || !got.Equal(until) {
			t.Errorf("as urgent as %d until %v, want %d until %v", gotP, got, p, until)
		}
	}
	now(5, at(10))
	if u.Sent() || u.Late(at(9)) {
		t.Error("sent, or late")
	}
	var first, second place
	u.Wait(&first)
	if !u.Lend(4, at(9)) || first.n > 0 {
		t.Error("one who is less urgent has lent something")
	}
	now(5, at(10))
	u.Lend(8, at(9))
	now(8, at(10))
	if first != (place{8, at(10), 1, false}) {
		t.Errorf("its place knows %v", first)
	}
	u.Leave(&first)
	u.Leave(&first)
	u.Wait(&second)
	u.Lend(2, at(20))
	now(8, at(20))
	if first.n != 1 || second != (place{8, at(20), 1, false}) {
		t.Errorf("its places know %v, %v", first, second)
	}
	if u.Late(at(19)) || !u.Late(at(20)) {
		t.Error("it is late when the last one is")
	}
	if u.Lend(9, time.Time{}) || second.n != 1 {
		t.Error("lent to a call that is not sent")
	}
	u.Turn.Reset()
	if now(5, at(10)); !u.Lend(9, time.Time{}) || second.n != 1 || u.Late(at(1e9)) {
		t.Error("the last call's turn is still there")
	}
	now(9, time.Time{})
	second.refuses = true
	u.Turn.Reset()
	u.Wait(&second)
	if u.Lend(9, at(20)) {
		t.Error("lent where it was refused")
	}

	// A request that nobody can share.
	u = Urgency{Deadline: at(10)}
	u.Wait(&first)
	u.Leave(&first)
	u.Send()
	if !u.Lend(9, at(20)) || u.Late(at(9)) || !u.Late(at(10)) || !u.Sent() || first.n != 1 {
		t.Error("it is not as urgent as it says")
	}
	now(0, at(10))
}

// What is part of another call is as urgent as that at least, and sent with it.
func TestJoin(t *testing.T) {
	until := time.Unix(10, 0)
	parts := [2]Urgency{{Priority: 3, Deadline: until, Turn: new(Turn)}, {Priority: 5, Turn: new(Turn)}}
	whole := Urgency{Priority: 3, Deadline: until, Turn: new(Turn)}
	parts[0].Lend(4, until)
	for i := range parts {
		parts[i].Join(&whole)
	}
	if p, d := whole.Now(); p != 5 || !d.IsZero() {
		t.Errorf("%d until %v", p, d)
	}
	parts[0].Lend(7, until)
	if p, _ := whole.Now(); p != 7 || parts[0].Sent() {
		t.Errorf("%d", p)
	}
	whole.Send()
	if !parts[0].Sent() || !parts[1].Sent() {
		t.Error("not sent with the other")
	}
	parts[0].Leave(&whole)
	if parts[0].Sent() {
		t.Error("sent with one that it left")
	}
}

// Many lend while the call goes from one place to the next: the highest is known to the
// last one, whoever was first.
func TestNoLoanIsLost(t *testing.T) {
	for range 500 {
		u := Urgency{Turn: new(Turn)}
		var mu sync.Mutex
		var queued Priority // what the place goes by
		var all sync.WaitGroup
		for p := range Priority(4) {
			all.Go(func() { u.Lend(p+1, time.Time{}) })
		}
		l := lender(func(p Priority) {
			mu.Lock()
			queued = max(queued, p)
			mu.Unlock()
		})
		mu.Lock()
		u.Wait(&l)
		queued, _ = u.Now()
		mu.Unlock()
		all.Wait()
		if queued != 4 {
			t.Fatalf("its place goes by %d", queued)
		}
	}
}

type lender func(p Priority)

func (l *lender) Lend(p Priority, _ time.Time) bool { (*l)(p); return true }

func TestUrgencyAllocations(t *testing.T) {
	u := Urgency{Deadline: time.Now().Add(time.Hour), Turn: new(Turn)}
	now := time.Now()
	if n := testing.AllocsPerRun(100, func() {
		u.Now()
		u.Late(now)
		u.Send()
		u.Lend(0, now)
		u.Turn.Reset()
	}); n > 0 {
		t.Errorf("a call that nobody makes more urgent costs %v allocations", n)
	}
}
