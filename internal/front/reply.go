package front

import (
	"container/list"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// reply is the ResponseWriter of a request that one connection may have many of
// (HTTP/2), or that takes no key. Over HTTP/1.1 conn sees how far a reply has
// come; an HTTP/2 stream can stand still on a connection that lives, and net/http
// would wait for it without end. So a write is done in steps, each has to leave
// within timeout, and nothing is left for net/http to write after the handler,
// where no time is measured and the request counts as ended.
type reply struct {
	http.ResponseWriter
	conn    *conn // nil in tests without one
	many    bool  // HTTP/2
	timeout time.Duration

	mu      sync.Mutex
	timer   *time.Timer
	due     time.Time // of the step under way; zero for none
	stalled atomic.Bool

	crowd *crowd        // that it is in; nil for none
	place *list.Element // there, nil once it was ended for another

	left bool  // what was written has, the head too
	err  error // of a write
}

// slowest is how fast a client that is never given up takes a reply over HTTP/2,
// in bytes a second. Of a write only the end can be seen, so a step is as long
// as such a client takes within the time-out, and no longer than a frame.
const slowest = 256

func stepSize(timeout time.Duration) int {
	return int(min(max(timeout.Seconds()*slowest, 128), 16<<10))
}

// reply makes p the writer of a request's reply.
func (p *reply) open(w http.ResponseWriter, r *http.Request, timeout time.Duration) {
	p.ResponseWriter, p.many, p.timeout = w, r.ProtoMajor > 1, timeout
	p.conn = connOf(r.Context())
}

// reset forgets the request.
func (p *reply) reset() {
	p.ResponseWriter, p.conn = nil, nil
	p.stalled.Store(false)
	p.left, p.err = false, nil
}

// Write sends b now.
func (p *reply) Write(b []byte) (n int, err error) {
	step := len(b)
	if p.many {
		step = stepSize(p.timeout)
	}
	for {
		m, err := p.write(b[:min(len(b), step)])
		n += m
		if b = b[m:]; err != nil || len(b) == 0 {
			p.err = err
			return n, err
		}
	}
}

func (p *reply) write(b []byte) (n int, err error) {
	if err := p.watch(); err != nil {
		return 0, err
	}
	defer p.unwatch()
	if n, err = p.ResponseWriter.Write(b); err != nil || len(b) == 0 {
		return n, err
	}
	err = flush(p.ResponseWriter)
	p.left = err == nil
	if p.left && p.crowd != nil {
		p.crowd.moved(p)
	}
	return n, err
}

// FlushError sends the head, where nothing has been written yet: each write has
// sent what there was.
func (p *reply) FlushError() error {
	if p.left {
		return nil
	}
	if err := p.watch(); err != nil {
		return err
	}
	defer p.unwatch()
	return flush(p.ResponseWriter)
}

// Unwrap is for http.ResponseController.
func (p *reply) Unwrap() http.ResponseWriter { return p.ResponseWriter }

// SetReadDeadline bounds the reading of the request's body.
func (p *reply) SetReadDeadline(t time.Time) error {
	if c, ok := p.ResponseWriter.(interface{ SetReadDeadline(time.Time) error }); ok {
		return c.SetReadDeadline(t)
	}
	return http.ErrNotSupported
}

// watch begins a step, unless the client has been given up.
func (p *reply) watch() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stalled.Load() {
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

func (p *reply) unwatch() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.due.IsZero() {
		p.due = time.Time{}
		p.timer.Stop()
	}
}

// expire gives the client up. Where not even the reset leaves, because the
// connection takes a byte now and then, the connection ends.
func (p *reply) expire() {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.due.IsZero() || time.Now().Before(p.due): // it was of an earlier step
	case p.stalled.Load():
		p.conn.cut(cutStalled)
	default:
		p.giveUp()
		p.due = time.Now().Add(p.timeout)
		p.timer.Reset(p.timeout)
	}
}

// giveUp ends a reply. p is locked, and its handler has not returned: net/http's
// writer must not be used any more then.
func (p *reply) giveUp() {
	p.stalled.Store(true)
	_ = http.NewResponseController(p.ResponseWriter).SetWriteDeadline(time.Unix(1, 0))
}

// flush sends what net/http holds back.
func flush(w http.ResponseWriter) error {
	if f, ok := w.(interface{ FlushError() error }); ok {
		return f.FlushError()
	}
	return http.ErrNotSupported
}

// crowd bounds how many replies are on their way at once, so that those who need
// no key to ask cannot hold memory without bound by taking nothing. One more ends
// the one that has gone longest without progress.
type crowd struct {
	mu   sync.Mutex
	list list.List // of *reply, by their last progress
}

func (c *crowd) enter(p *reply, most int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if first := c.list.Front(); first != nil && c.list.Len() >= most {
		slow, _ := c.list.Remove(first).(*reply)
		slow.place = nil
		// It cannot leave while c is locked, so its handler is still there.
		slow.mu.Lock()
		slow.giveUp()
		slow.mu.Unlock()
	}
	p.crowd, p.place = c, c.list.PushBack(p)
}

// moved takes note of progress.
func (c *crowd) moved(p *reply) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p.place != nil {
		c.list.MoveToBack(p.place)
	}
}

func (c *crowd) leave(p *reply) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p.place != nil {
		c.list.Remove(p.place)
	}
	p.crowd, p.place = nil, nil
}
