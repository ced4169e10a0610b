package access

import (
	"bytes"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxPending bounds what waits to be written, in bytes.
	maxPending = 1 << 20
	// gather is how long a line waits for others to be written with, while there
	// are no more than enough bytes.
	gather = 50 * time.Millisecond
	enough = 64 << 10
	// lastWrite bounds the wait for the last write at the end.
	lastWrite = time.Second
)

// writer hands on what is written to it from a goroutine of its own.
type writer struct {
	out     io.Writer
	wake    chan struct{} // something waits
	full    chan struct{} // enough does
	stop    chan struct{}
	done    chan struct{}
	dropped atomic.Uint64 // writes, each of a line

	mu      sync.Mutex
	closed  bool
	pending []byte
}

func newWriter(out io.Writer) *writer {
	w := &writer{out: out, wake: make(chan struct{}, 1), full: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{})}
	go w.run()
	return w
}

// Write implements io.Writer. It neither blocks nor fails; what does not fit is
// dropped.
func (w *writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || len(w.pending)+len(p) > maxPending {
		w.dropped.Add(1)
		return len(p), nil
	}
	before := len(w.pending)
	w.pending = append(w.pending, p...)
	if before == 0 {
		sign(w.wake)
	}
	if before < enough && len(w.pending) >= enough {
		sign(w.full)
	}
	return len(p), nil
}

func sign(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (w *writer) run() {
	defer close(w.done)
	var spare []byte
	pause := time.NewTimer(gather)
	defer pause.Stop()
	for ended := false; !ended; {
		select {
		case <-w.wake:
			pause.Reset(gather)
			select {
			case <-pause.C:
			case <-w.full:
			case <-w.stop:
			}
		case <-w.stop:
			ended = true
		}
		w.mu.Lock()
		out := w.pending
		w.pending = spare[:0]
		w.mu.Unlock()
		if len(out) > 0 {
			if n, err := w.out.Write(out); err != nil { // as to a full disk; there is nobody to tell
				w.dropped.Add(uint64(bytes.Count(out[n:], []byte{'\n'})))
			}
		}
		spare = out
	}
}

// close writes what is left. It leaves the goroutine behind where the log takes
// nothing.
func (w *writer) close() {
	w.mu.Lock()
	first := !w.closed
	w.closed = true
	w.mu.Unlock()
	if first {
		close(w.stop)
	}
	select {
	case <-w.done:
	case <-time.After(lastWrite):
	}
}
