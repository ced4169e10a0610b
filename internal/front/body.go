package front

import (
	"errors"
	"io"
	"os"
	"sync/atomic"
	"time"

	"sluice/internal/front/engine"
	"sluice/internal/llm"
)

// body reads a request's body under its limits of size and time.
type body struct {
	e        engine.Exchange // nil until it may be read
	src      io.Reader       // nil for no body
	timeout  time.Duration
	limit, n int64
	began    time.Time
	live     bool        // it comes as slowly as its messages are made
	whole    atomic.Bool // it was read to its end
	err      error       // why it could not be read to its end
}

// leastRate is how fast a body has to arrive on average, in bytes a second.
const leastRate = 1 << 10

func (b *body) open(g *given) {
	b.e, b.src, b.began, b.timeout = g.e, g.q.Body, g.begun, g.st.cfg.BodyTimeout
}

// Read implements io.Reader. Its errors are io.EOF and those meant for a client.
func (b *body) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	if b.src == nil {
		b.whole.Store(true)
		return 0, io.EOF
	}
	// A deadline could end the engine's watch for the client's leaving as well, which
	// begins with the body's end, so it is taken back then.
	due := time.Now().Add(b.timeout)
	if earned := b.began.Add(b.timeout + time.Duration(b.n)*time.Second/leastRate); earned.Before(due) && !b.live {
		due = earned
	}
	b.e.SetReadDeadline(due)
	n, err := b.src.Read(p)
	b.n += int64(n)
	switch {
	case b.n > b.limit:
		b.err = errTooLarge(b.limit)
		return 0, b.err
	case err == nil:
		return n, nil
	}
	// After a fault the deadline stays: an engine reads what is left of a body
	// before it writes the reply, and would wait for it.
	if err == io.EOF {
		b.whole.Store(true)
		b.e.SetReadDeadline(time.Time{})
		return n, io.EOF
	}
	e := llm.Errorf(400, "incomplete_body", "The request's body ended before its announced end.")
	if errors.Is(err, os.ErrDeadlineExceeded) {
		e = llm.Errorf(408, "request_timeout", "The request's body came too slowly.")
	}
	e.Err = err
	b.err = e
	return n, b.err
}

// boundUnread bounds the wait for a body that nobody has begun to read, and may
// never: an engine reads what there is of it before it writes the reply. Without
// that a client with no key could hold a connection for as long as it likes.
func boundUnread(e engine.Exchange, timeout time.Duration) {
	if e.Request().Length != 0 {
		e.SetReadDeadline(time.Now().Add(timeout))
	}
}
