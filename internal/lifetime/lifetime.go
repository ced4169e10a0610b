// Package lifetime has contexts for calls that come by the thousand: one costs no
// more than the memory it stands in, and to be told of its end costs nothing. One of
// package context takes seven allocations for both.
package lifetime

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// Context is a context.Context that ends with End. It has no parent, deadline or
// values. The zero value has begun. Those who were given one may keep it, so it is
// not used again.
//
// Err is an error that is context.Canceled to errors.Is and wraps the cause, if there
// is one, so that context.Cause leads to that as well.
type Context struct {
	ended atomic.Bool // err is there, for good

	mu    sync.Mutex
	err   error
	done  chan struct{} // nil until somebody asks for it
	first *Watch
}

var _ context.Context = (*Context)(nil)

// End ends the context, for the cause given, which may be nil. Only the first call
// counts.
func (c *Context) End(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended.Load() {
		return
	}
	c.err = context.Canceled
	if cause != nil {
		c.err = ended{cause}
	}
	c.ended.Store(true)
	if c.done != nil {
		close(c.done)
	}
	for w := c.first; w != nil; w = w.next {
		go w.who.ContextEnded()
	}
	c.first = nil
}

// ended is what Err gives where there is a cause.
type ended struct{ cause error }

func (e ended) Error() string        { return "context canceled: " + e.cause.Error() }
func (e ended) Unwrap() error        { return e.cause }
func (e ended) Is(target error) bool { return target == context.Canceled }

// Err implements context.Context.
func (c *Context) Err() error {
	if !c.ended.Load() {
		return nil
	}
	return c.err
}

// Done implements context.Context.
func (c *Context) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done == nil {
		c.done = make(chan struct{})
		if c.ended.Load() {
			close(c.done)
		}
	}
	return c.done
}

// Deadline implements context.Context: there is none.
func (c *Context) Deadline() (time.Time, bool) { return time.Time{}, false }

// Value implements context.Context: there are none.
func (c *Context) Value(any) any { return nil }

// AfterFunc is what package context asks for, so that contexts made of this one need
// no goroutine.
func (c *Context) AfterFunc(f func()) (stop func() bool) {
	w := new(Watch)
	w.Begin(c, function(f))
	return w.Stop
}

type function func()

func (f function) ContextEnded() { f() }

// Ender is who is to be told, on a goroutine of its own.
type Ender interface{ ContextEnded() }

// Watch is what somebody hangs on a context to be told of its end, a part of what he
// has anyway. The zero value is ready. It is used by one goroutine at a time, and
// for one context after the other.
type Watch struct {
	who   Ender
	on    *Context
	next  *Watch
	other func() bool // where the context is of another kind
}

// Begin has who be told of ctx's end, at once where that is past.
func (w *Watch) Begin(ctx context.Context, who Ender) {
	c, ok := ctx.(*Context)
	if !ok {
		w.other = context.AfterFunc(ctx, who.ContextEnded)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	w.who, w.on = who, c
	if c.ended.Load() {
		go who.ContextEnded()
		return
	}
	w.next, c.first = c.first, w
}

// Stop ends the watch, and reports whether nobody was told and will be. Without a
// watch it is false.
func (w *Watch) Stop() bool {
	if stop := w.other; stop != nil {
		w.other = nil
		return stop()
	}
	c := w.on
	if c == nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if w.who, w.on = nil, nil; c.ended.Load() {
		w.next = nil
		return false
	}
	for at := &c.first; *at != nil; at = &(*at).next {
		if *at == w {
			*at, w.next = w.next, nil
			break
		}
	}
	return true
}
