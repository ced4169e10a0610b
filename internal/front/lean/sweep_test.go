//go:build linux

package lean

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// interrupted is what a deadline interrupts.
type interrupted struct{ is atomic.Bool }

func (i *interrupted) deadline(s *sweeper) *deadline {
	return &deadline{sweeper: s, of: i}
}

func (i *interrupted) interrupt() error { i.is.Store(true); return nil }
func (i *interrupted) restore() error   { i.is.Store(false); return nil }

// TestDeadlineOfWhatIsOver: whatever the sweeper sees of a deadline that is over, and
// when, it does not interrupt what is begun under the next one.
func TestDeadlineOfWhatIsOver(t *testing.T) {
	var s sweeper
	s.init()
	var what interrupted
	d := what.deadline(&s)
	stop := make(chan struct{})
	var all sync.WaitGroup
	for range 2 { // as one would look, were it late
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					d.pass(10)
					runtime.Gosched() // where there is one processor
				}
			}
		})
	}
	for i := range 20_000 {
		d.set(1) // due at once
		for i%100 == 0 && !what.is.Load() {
			runtime.Gosched()
		}
		d.set(100) // not for long
		if what.is.Load() {
			t.Fatal("interrupted for a deadline that is over")
		}
		d.set(0)
		if what.is.Load() {
			t.Fatal("interrupted without a deadline")
		}
	}
	close(stop)
	all.Wait()
}

// TestSweeper: it looks when the first deadline is due, also where that is set while
// it waits for a later one, and not without any.
func TestSweeper(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		now := func() time.Duration { return time.Since(begun) }
		var s sweeper
		s.init()
		var first, second interrupted
		a, b := first.deadline(&s), second.deadline(&s)
		var looks atomic.Int32
		go s.run(func() time.Duration {
			looks.Add(1)
			return min(a.pass(now()), b.pass(now()))
		}, now)
		defer s.close()
		time.Sleep(time.Hour)
		if looks.Load() != 1 {
			t.Errorf("%d looks without a deadline", looks.Load())
		}
		a.set(now() + time.Minute)
		time.Sleep(time.Second)
		b.set(now() + time.Second)
		time.Sleep(time.Second + sweepPause)
		if !second.is.Load() || first.is.Load() {
			t.Errorf("interrupted: %v and %v", first.is.Load(), second.is.Load())
		}
		for range 1000 { // later and later
			a.set(now() + time.Minute)
			time.Sleep(time.Second)
		}
		if first.is.Load() {
			t.Error("interrupted before it was due")
		}
		if looks.Load() > 40 {
			t.Errorf("%d looks", looks.Load())
		}
		time.Sleep(time.Minute)
		if !first.is.Load() {
			t.Error("not interrupted")
		}
	})
}
