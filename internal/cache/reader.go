package cache

import (
	"context"
	"errors"
	"slices"
	"time"

	"sluice/internal/llm"
)

// reader is one who reads a flight's log.
type reader struct {
	flight   *flight
	pos      int // number of the next event
	begun    bool
	deadline time.Time // it is not kept after that while the call has not been sent; zero for none
}

// read hands the flight's reply on until it is complete, or ctx is done.
func (r *reader) read(ctx context.Context, out llm.Sink) error {
	f := r.flight
	defer r.leave()
	var late <-chan time.Time // while it is not known to be sent
	for {
		f.mu.Lock()
		if f.started && !r.begun {
			h := f.head
			h.Cache, r.begun = llm.CacheCoalesced, true
			h.Attempts, h.Waited, h.Queued = 0, -1, 0 // it joined at some time or other
			f.mu.Unlock()
			late = nil
			if err := out.Start(&h); err != nil {
				return err
			}
			continue
		}
		if n := r.pos - f.base; n < len(f.log) {
			events := f.log[n:]
			f.mu.Unlock()
			if err := out.Send(events); err != nil {
				return err
			}
			if f.head.Kind == llm.Unary {
				return nil // that was all of it, and the first caller may still be writing
			}
			r.advance(len(events))
			continue
		}
		if f.done {
			f.mu.Unlock()
			return f.err
		}
		if f.changed == nil {
			f.changed = make(chan struct{})
		}
		changed := f.changed
		if late == nil && !f.started && !r.deadline.IsZero() {
			timer := time.NewTimer(time.Until(r.deadline))
			defer timer.Stop()
			late = timer.C
		}
		f.mu.Unlock()
		select {
		case <-changed:
		case <-late:
			if !f.sent() {
				return llm.Late()
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// mayAsk reports whether a request may be answered all the same after the call that it
// joined ended in an error: the call of another API key, which has used what it may.
func (r *reader) mayAsk(req *llm.Request, err error) bool {
	e, ok := errors.AsType[*llm.Error](err)
	return ok && e.Fault == llm.Limited && !r.begun && r.flight.tenant != req.Tenant
}

// sent reports whether a flight's call has been sent, or needs not be any more.
func (f *flight) sent() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.started || f.done || f.urgency.Sent()
}

func (r *reader) advance(n int) {
	r.flight.mu.Lock()
	r.pos += n
	r.flight.wake()
	r.flight.mu.Unlock()
}

// leave ends a reader's interest.
func (r *reader) leave() {
	f := r.flight
	f.mu.Lock()
	defer f.mu.Unlock()
	f.readers = slices.DeleteFunc(f.readers, func(other *reader) bool { return other == r })
	f.resign()
	f.wake()
}

// wake tells the call that a reader has read or left. f.mu is held.
func (f *flight) wake() {
	if f.drained != nil {
		close(f.drained)
		f.drained = nil
	}
}
