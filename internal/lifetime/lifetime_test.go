package lifetime

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

var errCause = errors.New("the cause")

func TestContext(t *testing.T) {
	c := new(Context)
	if c.Err() != nil || context.Cause(c) != nil {
		t.Fatal("ended at its beginning")
	}
	done := c.Done()
	select {
	case <-done:
		t.Fatal("done at its beginning")
	default:
	}
	c.End(errCause)
	c.End(errors.New("another"))
	<-done
	<-c.Done()
	if err := c.Err(); !errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, errCause) {
		t.Error(err)
	}
	if err := context.Cause(c); !errors.Is(err, errCause) {
		t.Error(err)
	}

	plain := new(Context)
	plain.End(nil)
	<-plain.Done() // asked for when it was over
	if plain.Err() != context.Canceled || context.Cause(plain) != context.Canceled {
		t.Error(plain.Err())
	}
}

// counter is an Ender.
type counter struct{ n atomic.Int64 }

func (c *counter) ContextEnded() { c.n.Add(1) }

func TestWatch(t *testing.T) {
	std := func() (context.Context, func()) { return context.WithCancel(context.Background()) }
	own := func() (context.Context, func()) { c := new(Context); return c, func() { c.End(nil) } }
	for name, begin := range map[string]func() (context.Context, func()){"own": own, "of package context": std} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var told [4]counter
				var w [4]Watch
				if w[0].Stop() {
					t.Error("stopped without a watch")
				}
				ctx, end := begin()
				for i := range 3 {
					w[i].Begin(ctx, &told[i])
				}
				if !w[1].Stop() || w[1].Stop() {
					t.Error("a watch is stopped once")
				}
				end()
				synctest.Wait()
				if w[0].Stop() || w[2].Stop() {
					t.Error("stopped when it was too late")
				}
				w[3].Begin(ctx, &told[3])
				synctest.Wait()
				if w[3].Stop() {
					t.Error("stopped after the end")
				}
				for i, want := range []int64{1, 0, 1, 1} {
					if n := told[i].n.Load(); n != want {
						t.Errorf("watch %d: told %d times, not %d", i, n, want)
					}
				}
				// Each can be used again.
				ctx, end = begin()
				for i := range w {
					w[i].Begin(ctx, &told[i])
				}
				for i := range w {
					if !w[i].Stop() {
						t.Errorf("watch %d, again", i)
					}
				}
				end()
				synctest.Wait()
				if n := told[1].n.Load(); n != 0 {
					t.Errorf("told %d times after Stop", n)
				}
			})
		})
	}
}

// What is made of it ends with it, and needs no goroutine for that.
func TestContextsOfIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := new(Context)
		child, cancel := context.WithTimeout(c, time.Hour)
		defer cancel()
		ran := false
		context.AfterFunc(c, func() { ran = true })
		stop := context.AfterFunc(c, func() { t.Error("ran after stop") })
		if !stop() {
			t.Error("not stopped")
		}
		c.End(errCause)
		synctest.Wait()
		if !errors.Is(child.Err(), context.Canceled) || !errors.Is(context.Cause(child), errCause) || !ran {
			t.Errorf("%v, %v, %v", child.Err(), context.Cause(child), ran)
		}
	})
}

// Either the watch is stopped or its Ender told, whoever is first.
func TestStopAgainstEnd(t *testing.T) {
	var told counter
	stopped := int64(0)
	var w Watch
	const rounds = 2000
	for range rounds {
		c := new(Context)
		w.Begin(c, &told)
		var ended sync.WaitGroup
		ended.Go(func() { c.End(nil) })
		if w.Stop() {
			stopped++
		}
		ended.Wait()
	}
	for told.n.Load()+stopped < rounds {
		time.Sleep(time.Millisecond)
	}
	if n := told.n.Load() + stopped; n != rounds {
		t.Errorf("%d of %d", n, rounds)
	}
}

func TestAllocations(t *testing.T) {
	var told counter
	var w Watch
	if n := testing.AllocsPerRun(100, func() {
		c := new(Context)
		w.Begin(c, &told)
		w.Stop()
		c.End(nil)
	}); n > 1 {
		t.Errorf("%v allocations for a context with a watch", n)
	}
}
