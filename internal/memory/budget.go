package memory

import (
	"container/list"
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"sluice/internal/llm"
	"sluice/internal/perf"
)

// Budget is how many bytes all that is held may come to: bodies, what waits for slow
// clients, the cache. Each part reserves from it, in an Account, before it holds.
// The zero value is without bound; its methods are safe for concurrent use.
//
// Three kinds of work share it, and each may fill it to its own mark, so that none
// keeps those after it from going on: what is large and has not begun (Account.Wait,
// to largeShare), what is small (Account.Take, to the whole), and what goes on with
// work that has begun (Account.More, to spareShare more than the whole). Without
// these marks a few clients with large bodies would have everybody else refused.
type Budget struct {
	size atomic.Int64 // 0: no bound
	used atomic.Int64

	refused, waited atomic.Uint64

	// reclaim is asked to have n bytes given back by what can be had again, such as
	// the cache. It may be called by several goroutines; nil for none.
	reclaim    func(n int64)
	reclaiming sync.Mutex

	// Hurry is called again and again while somebody waits for room, for those who hold
	// much and are slow; nil for none. It is set before the Budget is used.
	Hurry func()

	mu       sync.Mutex
	queue    list.List // of *waiter, by their coming
	waiting  atomic.Int32
	accounts []*Account
}

// The marks, in parts of the budget.
const (
	largeShare    = 0.6
	middlingShare = 0.75
	spareShare    = 0.1
)

// Account is what one part holds of a Budget. A nil one has no bound.
type Account struct {
	budget *Budget
	name   string
	most   float64 // of the budget that the part may have; 0: as much as there is
	held   atomic.Int64
}

// Account makes the account of a part, once for each.
func (b *Budget) Account(name string) *Account {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, a := range b.accounts {
		if a.name == name {
			return a
		}
	}
	a := &Account{budget: b, name: name}
	b.accounts = append(b.accounts, a)
	return a
}

// AtMost bounds the part to a share of the budget. It is called before the Account is used.
func (a *Account) AtMost(share float64) { a.most = share }

// Resize sets the budget, in bytes; 0 is without bound. What is reserved stays so.
func (b *Budget) Resize(n int64) {
	b.size.Store(n)
	b.wake()
}

// Size is the budget, in bytes; 0 is without bound. Used is what is reserved of it.
func (b *Budget) Size() int64 { return b.size.Load() }
func (b *Budget) Used() int64 { return b.used.Load() }

// String lists what is reserved, by account.
func (b *Budget) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var list []string
	for _, a := range b.accounts {
		list = append(list, fmt.Sprintf("%s %d", a.name, a.Held()))
	}
	return strings.Join(list, ", ")
}

// Waiting reports whether somebody waits for room.
func (b *Budget) Waiting() bool { return b.waiting.Load() > 0 }

// most is the mark of what is to have a share of the budget.
func (b *Budget) most(share float64) int64 {
	size := b.size.Load()
	if size == 0 {
		return 1<<63 - 1
	}
	return int64(float64(size) * share)
}

// take reserves n bytes where no more than most are then. It looks before it adds:
// what asks for too much must not be in the way of others even for a moment.
func (b *Budget) take(n, most int64) bool {
	for {
		used := b.used.Load()
		if n > most-used {
			return false
		}
		if b.used.CompareAndSwap(used, used+n) {
			return true
		}
	}
}

// Take reserves n bytes for work that begins. Where there is no room it asks for what
// can be had again; false says that there is none all the same.
func (a *Account) Take(n int64) bool { return a.reserve(n, 1) }

// Least is Take for what the part needs to begin at all, whatever share of the budget it may
// have.
func (a *Account) Least(n int64) bool { return a == nil || a.grow(n, 1) }

// More reserves n bytes for work that has begun.
func (a *Account) More(n int64) bool { return a.reserve(n, 1+spareShare) }

// Middling reserves n bytes for work of some size: at once up to a mark that leaves room
// for what is small, and else as Wait does.
func (a *Account) Middling(ctx context.Context, n, had int64) error {
	if a == nil || a.reserve(n, middlingShare) {
		return nil
	}
	return a.Wait(ctx, n, had)
}

// Begin is Take with the answer, an *llm.Error, to whom there is no room for.
func (a *Account) Begin(n int64) error {
	if a.Take(n) {
		return nil
	}
	return lacking(n)
}

// Continue is More with the answer, an *llm.Error, to whom there is no room for.
func (a *Account) Continue(n int64) error {
	if a.More(n) {
		return nil
	}
	return lacking(n)
}

// Fits reports whether there is room for n bytes when nobody else has any.
func (a *Account) Fits(n int64) bool {
	return a == nil || n <= a.budget.most(1) && (a.most == 0 || n <= a.budget.most(a.most))
}

func (a *Account) reserve(n int64, share float64) bool {
	if a == nil {
		return true
	}
	b := a.budget
	if a.most > 0 && a.held.Load()+n > b.most(a.most) {
		b.refused.Add(1)
		return false
	}
	return a.grow(n, share)
}

// grow is reserve for what counts for no share of the part's own.
func (a *Account) grow(n int64, share float64) bool {
	b := a.budget
	if b.take(n, b.most(share)) || b.makeRoom(n, share) {
		a.held.Add(n)
		return true
	}
	b.refused.Add(1)
	return false
}

// makeRoom asks for what can be had again, and then reserves.
func (b *Budget) makeRoom(n int64, share float64) bool {
	most := b.most(share)
	if b.reclaim == nil || n > most {
		return false
	}
	b.reclaiming.Lock()
	defer b.reclaiming.Unlock()
	if b.take(n, most) { // another one asked meanwhile
		return true
	}
	b.reclaim(n + b.used.Load() - most)
	return b.take(n, most)
}

// Hold reserves n bytes that are held already, whether there is room or not.
func (a *Account) Hold(n int64) {
	if a != nil {
		a.budget.used.Add(n)
		a.held.Add(n)
	}
}

// Give gives n bytes back.
func (a *Account) Give(n int64) {
	if a == nil || n == 0 {
		return
	}
	a.held.Add(-n)
	b := a.budget
	b.used.Add(-n)
	if b.waiting.Load() > 0 {
		b.wake()
	}
}

// Share is what part of the budget the part has reserved; 0 where there is none.
func (a *Account) Share() float64 {
	if a == nil || a.budget.Size() == 0 {
		return 0
	}
	return float64(a.Held()) / float64(a.budget.Size())
}

// Held is what the part has reserved, in bytes.
func (a *Account) Held() int64 {
	if a == nil {
		return 0
	}
	return a.held.Load()
}

// waiter is somebody who waits for room.
type waiter struct {
	account *Account
	n       int64
	granted chan struct{}
}

// Patience is how long Wait waits at most.
const Patience = 5 * time.Second

// nearly is which part of what there could be is never free: 1/nearly.
const nearly = 64

// Wait reserves n bytes for large work that begins and holds had bytes already, in turn
// with others of its kind, and waits for room until ctx is done, at most for Patience.
// The error, an *llm.Error, says why there is none: with status 413 there never will be.
func (a *Account) Wait(ctx context.Context, n, had int64) error {
	if a == nil {
		return nil
	}
	b := a.budget
	most := b.most(largeShare)
	if n > most-had {
		b.refused.Add(1)
		return tooLarge(n+had, most)
	}
	if b.waiting.Load() == 0 && (b.take(n, most) || b.makeRoom(n, largeShare)) {
		a.held.Add(n)
		return nil
	}
	if n > most-had-most/nearly { // what little others hold is never all given back
		b.refused.Add(1)
		return tooLarge(n+had, most)
	}
	w := &waiter{a, n, make(chan struct{})}
	b.mu.Lock()
	at := b.queue.PushBack(w)
	b.waiting.Add(1)
	b.mu.Unlock()
	b.waited.Add(1)
	b.wake() // what was given back between the first look and this
	if b.await(ctx, w) {
		return nil
	}
	b.mu.Lock()
	select {
	case <-w.granted: // meanwhile
		b.mu.Unlock()
		return nil
	default:
	}
	b.queue.Remove(at)
	b.waiting.Add(-1)
	b.mu.Unlock()
	b.wake() // a smaller one may stand behind it
	if err := context.Cause(ctx); err != nil {
		return llm.AsError(err)
	}
	b.refused.Add(1)
	return lacking(n)
}

// hurryEvery is the time between two calls of Hurry by one who waits.
const hurryEvery = Patience / 20

// await waits until w is granted, ctx is done, or patience is over.
func (b *Budget) await(ctx context.Context, w *waiter) (granted bool) {
	timer, tick := time.NewTimer(Patience), time.NewTicker(hurryEvery)
	defer timer.Stop()
	defer tick.Stop()
	for {
		select {
		case <-w.granted:
			return true
		case <-ctx.Done():
			return false
		case <-timer.C:
			return false
		case <-tick.C:
			if b.Hurry != nil && b.first() == w { // one for all
				b.Hurry()
			}
		}
	}
}

// first is who has waited for longest, nil for nobody.
func (b *Budget) first() *waiter {
	b.mu.Lock()
	defer b.mu.Unlock()
	if e := b.queue.Front(); e != nil {
		w, _ := e.Value.(*waiter)
		return w
	}
	return nil
}

// relieve asks for what the one in front lacks.
func (b *Budget) relieve() {
	if b.waiting.Load() == 0 || b.reclaim == nil {
		return
	}
	var n int64
	if w := b.first(); w != nil {
		n = w.n
	}
	if lack := n + b.used.Load() - b.most(largeShare); n > 0 && lack > 0 {
		b.reclaim(lack)
	}
	b.wake()
}

// wake grants what there is room for, in turn. The one in front is waited for even
// when those behind it would find room, or large ones would never get any.
func (b *Budget) wake() {
	b.mu.Lock()
	defer b.mu.Unlock()
	most := b.most(largeShare)
	for first := b.queue.Front(); first != nil; first = b.queue.Front() {
		w, _ := first.Value.(*waiter)
		if !b.take(w.n, most) {
			return
		}
		w.account.held.Add(w.n)
		b.queue.Remove(first)
		b.waiting.Add(-1)
		close(w.granted)
	}
}

// lacking is the answer where there is no memory for n bytes now.
func lacking(n int64) *llm.Error {
	e := llm.Errorf(503, "gateway_overloaded", "The gateway has no memory for this now. Try again shortly.")
	e.Fault, e.RetryAfter, e.Err = llm.Lacking, time.Second, fmt.Errorf("%d bytes of memory were refused", n)
	return e
}

// scarce is the answer to a call that is not begun while memory is scarce.
func scarce() *llm.Error {
	e := llm.Errorf(503, "gateway_overloaded", "The gateway is short of memory and begins nothing more now. Try again shortly.")
	e.Fault, e.RetryAfter = llm.Lacking, 2*time.Second
	return e
}

// tooLarge is the answer where there never is.
func tooLarge(n, most int64) *llm.Error {
	e := llm.Errorf(413, "request_too_large", "The request is larger than the memory of this gateway allows for (%d MiB).", most>>20)
	e.Err = fmt.Errorf("%d bytes do not fit into the memory budget; see memory.limit_bytes", n)
	return e
}

// Figures implements perf.Source.
func (b *Budget) Figures(r perf.Reporter) {
	if size := b.Size(); size > 0 {
		r.Gauge("memory_budget_bytes", "Bytes that all that is held for requests may come to; the cache is part of it.", float64(size))
	}
	b.mu.Lock()
	accounts := b.accounts[:len(b.accounts):len(b.accounts)]
	b.mu.Unlock()
	for _, a := range accounts {
		r.Gauge("memory_reserved_bytes", "Bytes that are reserved of it, by what for.", float64(a.Held()), "part", a.name)
	}
	r.Gauge("memory_waiting", "Requests that wait for memory before their body is read.", float64(b.waiting.Load()))
	r.Counter("memory_waits_total", "Requests that had to wait for memory before their body was read.", float64(b.waited.Load()))
	r.Counter("memory_refused_total", "Reservations of memory that were refused.", float64(b.refused.Load()))
}
