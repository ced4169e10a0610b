package codec

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
)

// errFull says that no more work may wait for the workers, errClosed that there
// are none any more.
var (
	errFull   = errors.New("too much work waits")
	errClosed = errors.New("the workers have ended")
)

// pool is a fixed number of workers and the pieces of work that wait for one.
type pool struct {
	queue   chan piece
	room    atomic.Int64 // pieces that may still be queued
	busy    atomic.Int64 // workers that work
	refused atomic.Uint64
	quit    chan struct{}
	workers sync.WaitGroup
}

func newPool(workers, queue int) *pool {
	p := &pool{queue: make(chan piece, queue), quit: make(chan struct{})}
	p.room.Store(int64(queue))
	for range workers {
		p.workers.Go(p.work)
	}
	return p
}

// close ends the workers once they have done what they are at.
func (p *pool) close() {
	close(p.quit)
	p.workers.Wait()
}

// run has do(0) to do(n-1) called by the workers and returns when all have been.
// Either all pieces find room in the queue or none is done (errFull). When ctx or
// the pool ends first, pieces that have not begun never do, and it returns once
// those that have are through: nothing uses the caller's memory afterwards.
func (p *pool) run(ctx context.Context, n int, do func(i int)) error {
	if n == 0 {
		return nil
	}
	if !p.reserve(int64(n)) {
		p.refused.Add(1)
		return errFull
	}
	w := newWork(do)
	for range n {
		p.push(w)
	}
	return p.wait(ctx, w)
}

// add has the next piece of some work done, and reports whether there is room for
// it. Where the piece is needed, having none is a refusal that counts.
func (p *pool) add(w *work, needed bool) bool {
	if !p.reserve(1) {
		if needed {
			p.refused.Add(1)
		}
		return false
	}
	p.push(w)
	return true
}

// push queues the next piece, unless nothing is left to do. It does not block: the
// room is reserved.
func (p *pool) push(w *work) {
	w.mu.Lock()
	if w.spent {
		w.mu.Unlock()
		p.room.Add(1)
		return
	}
	i := w.n
	w.n++
	w.left++
	w.mu.Unlock()
	p.queue <- piece{w, i}
}

// wait returns when all pieces of some work are done, of which no more come, as
// run does.
func (p *pool) wait(ctx context.Context, w *work) error {
	w.mu.Lock()
	w.whole = true
	if w.left == 0 {
		close(w.done)
	}
	w.mu.Unlock()
	var err error
	select {
	case <-w.done:
		return nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-p.quit:
		err = errClosed
	}
	w.drop()
	return err
}

func (p *pool) reserve(n int64) bool {
	for {
		room := p.room.Load()
		if room < n {
			return false
		}
		if p.room.CompareAndSwap(room, room-n) {
			return true
		}
	}
}

func (p *pool) work() {
	for {
		select {
		case <-p.quit:
			return
		case next := <-p.queue:
			p.room.Add(1)
			if !next.work.begin() {
				continue
			}
			p.busy.Add(1)
			next.work.do(next.i)
			p.busy.Add(-1)
			next.work.end()
		}
	}
}

// piece is the ith part of some work.
type piece struct {
	work *work
	i    int
}

// work is what is wanted done, in pieces.
type work struct {
	do func(i int)

	mu      sync.Mutex
	n       int  // pieces so far
	whole   bool // no more come
	left    int  // pieces that are not through
	running int  // of these, the ones that have begun
	dropped bool // no more pieces begin
	spent   bool // nor do they, since there is nothing left to do
	done    chan struct{}
	idle    chan struct{} // closed when the work was dropped and no piece runs
}

func newWork(do func(i int)) *work {
	return &work{do: do, done: make(chan struct{}), idle: make(chan struct{})}
}

func (w *work) begin() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.dropped || w.spent {
		return false
	}
	w.running++
	return true
}

// spend says that nothing is left to do but what the pieces do that have begun.
// Others, which may stand far back in the queue, are not waited for.
func (w *work) spend() {
	w.mu.Lock()
	w.spent, w.left = true, w.running
	w.mu.Unlock()
}

func (w *work) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.running--
	w.left--
	if w.left == 0 && w.whole {
		close(w.done)
	}
	if w.dropped && w.running == 0 {
		close(w.idle)
	}
}

// drop keeps further pieces from beginning and waits for those that run. Once more
// does nothing.
func (w *work) drop() {
	w.mu.Lock()
	before := w.dropped
	w.dropped = true
	if w.running == 0 && !before {
		close(w.idle)
	}
	w.mu.Unlock()
	<-w.idle
}
