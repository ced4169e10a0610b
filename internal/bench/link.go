package bench

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// How a link treats connections.
const (
	passes  int32 = iota
	refuses       // nobody listens
	hangs         // takes what is sent, and says nothing
	cuts          // ends after so many bytes towards the client
)

// cutAfter is in the midst of a reply's body, or of a stream.
const cutAfter = 600

// link stands between a gateway and the simulator: it takes time, as a distance does, ends
// TLS where it has a certificate, and fails on request.
type link struct {
	to       string
	oneWay   time.Duration // half of the round trip
	tls      *tls.Config   // nil for none
	listener net.Listener
	addr     string
	mode     atomic.Int32

	cancel context.CancelFunc
	ctx    context.Context
	tasks  sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]bool
}

// connect makes a link to an address.
func connect(to string, roundTrip time.Duration, secure *tls.Config) (*link, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	l := &link{to: to, oneWay: roundTrip / 2, tls: secure, listener: listener, addr: listener.Addr().String(), conns: map[net.Conn]bool{}}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.tasks.Go(l.accept)
	return l, nil
}

func (l *link) close() {
	l.cancel()
	_ = l.listener.Close()
	l.drop()
	l.tasks.Wait()
}

// fail has connections be treated so.
func (l *link) fail(mode int32) {
	l.mode.Store(mode)
	if mode == refuses {
		_ = l.listener.Close()
		l.drop()
	}
}

// drop ends all connections.
func (l *link) drop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.conns {
		_ = c.Close()
	}
}

// hold notes a connection so that drop ends it; without effect after close.
func (l *link) hold(c net.Conn) (release func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns[c] = true
	if l.ctx.Err() != nil {
		_ = c.Close()
	}
	return func() {
		_ = c.Close()
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.conns, c)
	}
}

func (l *link) accept() {
	for {
		c, err := l.listener.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			continue
		}
		l.tasks.Go(func() { l.serve(c) })
	}
}

// serve joins a connection with one to where the link leads.
func (l *link) serve(c net.Conn) {
	release := l.hold(c)
	defer release()
	near := c
	if l.oneWay > 0 {
		distant := &distant{Conn: c, link: l, wait: 3 * l.oneWay} // the handshake of TCP took a round trip
		distant.start()
		near = distant
	}
	if l.tls != nil {
		near = tls.Server(near, l.tls)
	}
	far, err := net.Dial("tcp", l.to)
	if err != nil {
		return
	}
	defer l.hold(far)()
	var ways sync.WaitGroup
	ways.Go(func() { l.carry(far, near, false) })
	ways.Go(func() { l.carry(near, far, true) })
	ways.Wait()
}

// carry copies one way, as long as the link passes.
func (l *link) carry(to, from net.Conn, back bool) {
	defer func() { _ = to.Close() }()
	buf, sent := make([]byte, 32<<10), 0
	for {
		n, err := from.Read(buf)
		switch mode := l.mode.Load(); {
		case mode == hangs: // also in the midst of a reply
			n = 0
		case mode == cuts && back && sent+n > cutAfter:
			return
		}
		if sent += n; n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// distant is a connection whose bytes take a while each way.
type distant struct {
	net.Conn
	link     *link
	wait     time.Duration // of the first bytes that come
	in, out  chan parcel
	rest     []byte
	closing  sync.Once
	finished chan struct{}
}

// parcel is bytes that are on their way until they are due.
type parcel struct {
	due   time.Time
	bytes []byte
}

func (d *distant) start() {
	const underWay = 256
	d.in, d.out, d.finished = make(chan parcel, underWay), make(chan parcel, underWay), make(chan struct{})
	d.link.tasks.Go(func() {
		defer close(d.in)
		wait := d.wait
		for {
			b := make([]byte, 16<<10)
			n, err := d.Conn.Read(b)
			if err != nil {
				return
			}
			select {
			case d.in <- parcel{time.Now().Add(wait), b[:n]}:
			case <-d.finished:
				return
			}
			wait = d.link.oneWay
		}
	})
	d.link.tasks.Go(func() {
		for {
			select {
			case p := <-d.out:
				if !d.until(p.due) {
					return
				}
				if _, err := d.Conn.Write(p.bytes); err != nil {
					return
				}
			case <-d.finished:
				return
			}
		}
	})
}

// until waits for a time; false where the connection is closed before.
func (d *distant) until(due time.Time) bool {
	t := time.NewTimer(time.Until(due))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-d.finished:
		return false
	}
}

func (d *distant) Read(p []byte) (int, error) {
	if len(d.rest) == 0 {
		next, ok := <-d.in
		if !ok || !d.until(next.due) {
			return 0, net.ErrClosed
		}
		d.rest = next.bytes
	}
	n := copy(p, d.rest)
	d.rest = d.rest[n:]
	return n, nil
}

func (d *distant) Write(p []byte) (int, error) {
	select {
	case d.out <- parcel{time.Now().Add(d.link.oneWay), append([]byte(nil), p...)}:
		return len(p), nil
	case <-d.finished:
		return 0, net.ErrClosed
	}
}

func (d *distant) Close() error {
	d.closing.Do(func() { close(d.finished) })
	return d.Conn.Close()
}
