package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// callers make calls over raw sockets, all in one loop: what they take is little beside
// what a proxy does, and nobody waits for a thread. A call's time runs from when it was
// to begin, so that what is late here is seen.
type callers struct {
	poll    *poller
	sources []source
	servers []unix.Sockaddr
	next    []time.Duration // when the next call of a source with a rate is due
	idle    [][]*callConn   // connections by source
	waits   []queue         // who leaves when, by source
	conns   []*callConn     // by descriptor
	open    int             // calls under way
	number  *int            // of the last call
	rand    *rand.Rand
	begun   time.Time
	end     time.Duration // no call begins from then on
	calls   []call
	buf     []byte
}

// callConn is a connection, and the call on it.
type callConn struct {
	fd, generation int32 // another generation for each call
	call           call
	number         int
	busy, writing  bool
	ask, rest      []byte // the request, and what is left of it to write
	in             []byte
}

// drive makes the calls of some sources for a while and waits for the last ones. number
// is that of the last call before, and counts on: no two calls are alike.
// At moments, which are in order, it holds on and does what is to be done then.
func drive(ctx context.Context, sources []source, number *int, seed uint64, during time.Duration, moments ...moment) ([]call, error) {
	d := &callers{
		sources: sources, next: make([]time.Duration, len(sources)), idle: make([][]*callConn, len(sources)), waits: make([]queue, len(sources)),
		number: number, rand: rand.New(rand.NewPCG(seed, seed)), begun: time.Now(), end: during, buf: make([]byte, 64<<10),
	}
	var err error
	if d.poll, err = newPoller(); err != nil {
		return nil, err
	}
	defer d.close()
	for i, s := range sources {
		at, err := netip.ParseAddrPort(s.addr)
		if err != nil {
			return nil, err
		}
		d.servers = append(d.servers, &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()})
		d.waits[i].delay = cmp.Or(s.patience, time.Minute)
		if s.rate > 0 {
			d.arrive(i)
		}
		for range s.callers {
			if err := d.begin(i, d.now()); err != nil {
				return nil, err
			}
		}
	}
	for {
		now := d.now()
		for len(moments) > 0 && moments[0].at <= now {
			if err := moments[0].do(); err != nil {
				return nil, err
			}
			moments = moments[1:]
		}
		if now >= d.end && d.open == 0 && !d.owed() && len(moments) == 0 {
			return d.calls, nil
		}
		most := d.untilDue(now)
		if len(moments) > 0 {
			most = min(most, max(moments[0].at-now, 0))
		}
		ready, err := d.poll.wait(most)
		if err == nil {
			err = ctx.Err()
		}
		for _, e := range ready {
			if err == nil {
				err = d.handle(d.conns[e.Fd], e.Events)
			}
		}
		if err == nil {
			err = d.due()
		}
		if err != nil {
			return nil, err
		}
	}
}

func (d *callers) now() time.Duration { return time.Since(d.begun) }

// arrive sets when the next call of a source comes: never, once its time is over.
func (d *callers) arrive(source int) {
	s, gaps := &d.sources[source], 1.0
	if !s.steady {
		gaps = d.rand.ExpFloat64()
	}
	d.next[source] += time.Duration(gaps / s.rate * float64(time.Second))
}

// owed is whether calls have yet to begin that were to come by now, or will be.
func (d *callers) owed() bool {
	for i := range d.sources {
		if d.sources[i].rate > 0 && d.next[i] < d.end {
			return true
		}
	}
	return false
}

// untilDue is how long nothing is due.
func (d *callers) untilDue(now time.Duration) time.Duration {
	least := time.Second
	if now < d.end {
		least = min(least, d.end-now)
	}
	for i := range d.sources {
		if d.sources[i].rate > 0 && d.next[i] < d.end {
			least = min(least, d.next[i]-now)
		}
		if w, ok := d.waits[i].first(); ok {
			least = min(least, w.due-now)
		}
	}
	return max(least, 0)
}

// due begins the calls that are due, and has those leave who have waited long enough.
func (d *callers) due() error {
	for i := range d.sources {
		for d.sources[i].rate > 0 && d.next[i] < min(d.end, d.now()) {
			if err := d.begin(i, d.next[i]); err != nil {
				return err
			}
			d.arrive(i)
		}
		for w, ok := d.waits[i].first(); ok && w.due <= d.now(); w, ok = d.waits[i].first() {
			d.waits[i].take()
			if c := d.conns[w.fd]; c.busy && c.generation == w.generation {
				if err := d.finish(c, left, -1); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// begin makes a call, on a connection that has none or on a new one.
func (d *callers) begin(source int, at time.Duration) error {
	var c *callConn
	if free := d.idle[source]; len(free) > 0 {
		c, d.idle[source] = free[len(free)-1], free[:len(free)-1]
	} else {
		var err error
		if c, err = d.connect(source); err != nil {
			return err
		}
	}
	*d.number++
	s := &d.sources[source]
	c.number = *d.number
	c.ask = append(c.ask[:0], s.request...)
	setDigits(c.ask[s.at:s.at+numberSize], c.number)
	c.rest, c.in, c.busy = c.ask, c.in[:0], true
	c.generation++
	c.call = call{source: source, begun: at}
	d.open++
	d.waits[source].add(c.fd, c.generation, at)
	if c.writing { // once it is connected
		return nil
	}
	return d.write(c)
}

func (d *callers) connect(source int) (*callConn, error) {
	fd, err := socket()
	if err != nil {
		return nil, err
	}
	for int(fd) >= len(d.conns) {
		d.conns = append(d.conns, nil)
	}
	c := d.conns[fd]
	if c == nil {
		c = new(callConn)
		d.conns[fd] = c
	}
	c.fd, c.writing = fd, true
	if err := unix.Connect(int(fd), d.servers[source]); err != nil && !errors.Is(err, unix.EINPROGRESS) {
		return nil, os.NewSyscallError("connect", err)
	}
	return c, d.poll.add(fd, 0, unix.EPOLLOUT)
}

func (d *callers) handle(c *callConn, events uint32) error {
	switch {
	case c.fd < 0: // it ended earlier in this turn
		return nil
	case c.writing && events&unix.EPOLLOUT != 0:
		return d.write(c)
	default:
		return d.read(c)
	}
}

// write writes what is left of a request.
func (d *callers) write(c *callConn) error {
	n, errno := writeSocket(c.fd, c.rest)
	if errno != 0 && errno != unix.EAGAIN {
		return d.finish(c, broken, -1)
	}
	c.rest = c.rest[max(n, 0):]
	if waits := len(c.rest) > 0; waits != c.writing {
		c.writing = waits
		events := uint32(unix.EPOLLIN)
		if waits {
			events = unix.EPOLLOUT
		}
		return d.poll.change(c.fd, 0, events)
	}
	return nil
}

// read takes what has come of a reply.
func (d *callers) read(c *callConn) error {
	n, errno := readSocket(c.fd, d.buf)
	switch {
	case errno == unix.EAGAIN:
		return nil
	case errno != 0 || n == 0:
		return d.finish(c, broken, -1)
	case !c.busy:
		return fmt.Errorf("%q came unasked", d.buf[:min(n, 200)])
	}
	c.in = append(c.in, d.buf[:n]...)
	end := bytes.Index(c.in, []byte("\r\n\r\n"))
	if end < 0 {
		return nil
	}
	head, body := c.in[:end+2], c.in[end+4:]
	size, err := wireSize(head, body)
	switch {
	case err != nil:
		return err
	case len(body) < size:
		return nil
	case len(body) > size:
		return errors.New("more than a reply came")
	}
	status := number(bytes.TrimPrefix(head, []byte("HTTP/1.1 "))[:3], 10)
	if d.sources[c.call.source].vector && status == 200 && !bytes.Contains(body, fmt.Appendf(nil, `"embedding":"%0*d`, numberSize, c.number)) {
		return fmt.Errorf("call %d has another's vector: %s", c.number, body[:min(len(body), 200)])
	}
	return d.finish(c, status, number(field(head, "retry-after"), 10))
}

// finish ends a call. Where there was no reply the connection ends too.
func (d *callers) finish(c *callConn, status, retryAfter int) error {
	source, called := c.call.source, c.busy
	if status > 0 {
		d.idle[source] = append(d.idle[source], c)
	} else {
		d.hangUp(c, source)
	}
	if !called {
		return nil
	}
	c.busy = false
	d.open--
	c.call.took, c.call.status, c.call.retryAfter = d.now()-c.call.begun, status, retryAfter
	d.calls = append(d.calls, c.call)
	switch s := &d.sources[source]; {
	case s.rate > 0 || d.now() >= d.end:
		return nil
	case status == broken:
		return fmt.Errorf("%s ended a connection in the midst of a call", s.addr)
	default:
		return d.begin(source, d.now())
	}
}

func (d *callers) hangUp(c *callConn, source int) {
	if i := slices.Index(d.idle[source], c); i >= 0 {
		d.idle[source] = slices.Delete(d.idle[source], i, i+1)
	}
	unix.Close(int(c.fd))
	c.fd, c.writing = -1, false
}

func (d *callers) close() {
	for _, c := range d.conns {
		if c != nil && c.fd >= 0 {
			unix.Close(int(c.fd))
		}
	}
	d.poll.close()
}
