package nethttp

import (
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"sluice/internal/front/engine"
)

// steps writes the reply of a request that one connection may have many of
// (HTTP/2), or whose progress is followed. Over HTTP/1.1 conn sees how far a reply
// has come; an HTTP/2 stream can stand still on a connection that lives, and net/http
// would wait for it without end. So a write is done in steps, each has to leave
// within timeout, and nothing is left for net/http to write after the handler,
// where no time is measured and the request counts as ended.
type steps struct {
	out     http.ResponseWriter
	conn    *conn // nil in tests without one, and where nothing is done in steps
	many    bool  // HTTP/2
	through bool  // the reply is written so
	timeout time.Duration

	mu      sync.Mutex
	timer   *time.Timer
	due     time.Time // of the step under way; zero for none
	givenUp atomic.Bool

	follower engine.Follower // nil for none
	left     bool            // what was written has, the head too
}

// slowest is how fast a client that is never given up takes a reply over HTTP/2,
// in bytes a second. Of a write only the end can be seen, so a step is as long
// as such a client takes within the time-out, and no longer than a frame.
const slowest = 256

func stepSize(timeout time.Duration) int {
	return int(min(max(timeout.Seconds()*slowest, 128), 16<<10))
}

// A write of more than maxLast bytes over HTTP/2 ends with a step of lastStep.
// net/http says of a frame that fits into the buffer of its connection, of 4 KiB,
// that it is written before it leaves, and of a larger one after: a client that has
// everything and resets the stream may be heard before that, and the write fails as
// if something were missing.
const (
	maxLast  = 2 << 10
	lastStep = 128
)

// step is the length of the next step of a write of n bytes.
func (p *steps) step(n int) int {
	if !p.many {
		return n
	}
	most := stepSize(p.timeout)
	switch {
	case n > most:
		return most
	case n > maxLast:
		return n - lastStep
	default:
		return n
	}
}

func (p *steps) open(w http.ResponseWriter, r *http.Request, many bool, timeout func() time.Duration) {
	p.out, p.many, p.through = w, many, many
	if many {
		p.timeout, p.conn = timeout(), connOf(r.Context())
	}
}

// reset forgets the request.
func (p *steps) reset() {
	p.out, p.conn, p.follower = nil, nil, nil
	p.givenUp.Store(false)
	p.left = false
}

// Follow implements engine.Exchange.
func (p *steps) Follow(f engine.Follower) { p.follower, p.through = f, true }

// write sends b now.
func (p *steps) write(b []byte) (n int, err error) {
	for {
		m, err := p.writeStep(b[:p.step(len(b))])
		n += m
		if b = b[m:]; err != nil || len(b) == 0 {
			return n, err
		}
	}
}

func (p *steps) writeStep(b []byte) (n int, err error) {
	if err := p.watch(); err != nil {
		return 0, err
	}
	defer p.unwatch()
	if n, err = p.out.Write(b); err != nil || len(b) == 0 {
		return n, err
	}
	err = flush(p.out)
	p.left = err == nil
	if p.left && p.follower != nil {
		p.follower.Moved()
	}
	return n, err
}

// flush sends the head, where nothing has been written yet: each write has sent
// what there was.
func (p *steps) flush() error {
	if p.left {
		return nil
	}
	if err := p.watch(); err != nil {
		return err
	}
	defer p.unwatch()
	return flush(p.out)
}

// watch begins a step, unless the client has been given up.
func (p *steps) watch() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.givenUp.Load() {
		return os.ErrDeadlineExceeded
	}
	if !p.many {
		return nil // conn watches
	}
	p.due = time.Now().Add(p.timeout)
	if p.timer == nil {
		p.timer = time.AfterFunc(p.timeout, p.expire)
	} else {
		p.timer.Reset(p.timeout)
	}
	return nil
}

func (p *steps) unwatch() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.due.IsZero() {
		p.due = time.Time{}
		p.timer.Stop()
	}
}

// expire gives the client up. Where not even the reset leaves, because the
// connection takes a byte now and then, the connection ends.
func (p *steps) expire() {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.due.IsZero() || time.Now().Before(p.due): // it was of an earlier step
	case p.givenUp.Load():
		p.conn.cut(cutStalled)
	default:
		p.giveUp()
		p.due = time.Now().Add(p.timeout)
		p.timer.Reset(p.timeout)
	}
}

// giveUp ends a reply. p is locked, and its handler has not returned: net/http's
// writer must not be used any more then.
func (p *steps) giveUp() {
	p.givenUp.Store(true)
	_ = http.NewResponseController(p.out).SetWriteDeadline(time.Unix(1, 0))
}

// GiveUp implements engine.Exchange.
func (p *steps) GiveUp() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.giveUp()
}

// GivenUp implements engine.Exchange.
func (p *steps) GivenUp() bool { return p.givenUp.Load() }

// flush sends what net/http holds back.
func flush(w http.ResponseWriter) error {
	if f, ok := w.(interface{ FlushError() error }); ok {
		return f.FlushError()
	}
	return http.ErrNotSupported
}
