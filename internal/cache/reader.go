package cache

import (
	"context"
	"slices"

	"sluice/internal/llm"
)

// reader is one who reads a flight's log.
type reader struct {
	flight *flight
	pos    int // number of the next event
	begun  bool
}

// read hands the flight's reply on until it is complete, or ctx is done.
func (r *reader) read(ctx context.Context, out llm.Sink) error {
	f := r.flight
	defer r.leave()
	for {
		f.mu.Lock()
		if f.started && !r.begun {
			h := f.head
			h.Cache, r.begun = llm.CacheCoalesced, true
			h.Attempts, h.Waited = 0, -1 // it joined at some time or other
			f.mu.Unlock()
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
		f.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
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
