package front

import (
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"sluice/internal/front/engine"
	"sluice/internal/llm"
	"sluice/internal/memory"
)

// body reads a request's body under its limits of size and time.
type body struct {
	e        engine.Exchange // nil until it may be read
	src      io.Reader       // nil for no body
	timeout  time.Duration
	limit, n int64
	began    time.Time
	live     bool // it comes as slowly as its messages are made
	large    bool // much memory is reserved for it: it is one of uploads
	pace     pace // of a large one
	memory   *memory.Governor
	whole    atomic.Bool               // it was read to its end
	over     atomic.Bool               // nobody reads it any more: what was interrupted is no fault
	err      atomic.Pointer[llm.Error] // why it could not be read to its end
}

// leastRate is how fast a body has to arrive on average, in bytes a second.
const leastRate = 1 << 10

func (b *body) open(g *given) {
	b.memory = g.s.memory
	b.e, b.src, b.began, b.timeout = g.e, g.q.Body, g.begun, g.st.cfg.BodyTimeout
}

// Read implements io.Reader. Its errors are io.EOF and those meant for a client.
func (b *body) Read(p []byte) (int, error) {
	if err := b.failed(); err != nil {
		return 0, err
	}
	if b.src == nil {
		b.whole.Store(true)
		return 0, io.EOF
	}
	// A deadline could end the engine's watch for the client's leaving as well, which
	// begins with the body's end, so it is taken back then.
	due := b.began.Add(b.timeout + time.Duration(b.n)*time.Second/leastRate)
	if b.n > 0 || b.live { // else that is the sooner one
		if most := time.Now().Add(b.timeout); most.Before(due) || b.live {
			due = most
		}
	}
	n, err := b.take(p, due)
	b.n += int64(n)
	switch {
	case b.over.Load() && err != nil && err != io.EOF: //nolint:errorlint // an engine returns it unwrapped
		return n, errBodyOver
	case b.n > b.limit:
		return 0, b.fail(errTooLarge(b.limit))
	case err == nil:
		return n, nil
	}
	// After a fault the deadline stays: an engine reads what is left of a body
	// before it writes the reply, and would wait for it.
	if err == io.EOF { //nolint:errorlint // the same
		b.whole.Store(true)
		b.e.SetReadDeadline(time.Time{})
		return n, io.EOF
	}
	e := llm.Errorf(400, "incomplete_body", "The request's body ended before its announced end.")
	if errors.Is(err, os.ErrDeadlineExceeded) {
		e = llm.Errorf(408, "request_timeout", "The request's body came too slowly.")
	}
	e.Err = err
	return n, b.fail(e)
}

// take reads once, until due at the latest.
func (b *body) take(p []byte, due time.Time) (int, error) {
	if b.large {
		b.pace.begin(b, due)
		defer b.pace.end()
	} else {
		b.e.SetReadDeadline(due)
	}
	if b.over.Load() { // and the deadline that was to interrupt this may have been replaced
		return 0, errBodyOver
	}
	return b.src.Read(p)
}

// fail says why the body cannot be read to its end, and failed whether that was said.
// A transport may be reading while the reply is ended.
func (b *body) fail(e *llm.Error) error {
	b.err.Store(e)
	return e
}

func (b *body) failed() error {
	if e := b.err.Load(); e != nil {
		return e
	}
	return nil
}

var errBodyOver = errors.New("the request was answered")

// lent is a body as handlers get it. A transport that sends while it receives may
// have a Read under way when they return, or begin one then: what it reads with is
// used again for other requests, so a Read of theirs is waited for, and none begins
// later. It is never used again itself.
type lent struct {
	mu  sync.Mutex // of a Read
	src io.Reader  // nil once it is over
}

// Read implements io.Reader.
func (l *lent) Read(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.src == nil {
		return 0, errBodyOver
	}
	return l.src.Read(p)
}

// takeBack ends what they read.
func (in *request) takeBack() {
	l := in.lent
	if l == nil {
		return
	}
	in.lent = nil
	if !l.mu.TryLock() {
		in.body.over.Store(true)
		in.e.SetReadDeadline(time.Unix(1, 0))
		l.mu.Lock()
		boundUnread(in.e, in.st.cfg.BodyTimeout)
	}
	l.src = nil
	l.mu.Unlock()
}

// boundUnread bounds the wait for a body that nobody has begun to read, and may
// never: an engine reads what there is of it before it writes the reply. Without
// that a client with no key could hold a connection for as long as it likes.
func boundUnread(e engine.Exchange, timeout time.Duration) {
	if e.Request().Length != 0 {
		e.SetReadDeadline(time.Now().Add(timeout))
	}
}
