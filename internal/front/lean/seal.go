//go:build linux

package lean

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// seal is TLS on a connection. It is also the net.Conn that package tls has beneath,
// which is given no byte behind the record that it is about and, after the handshake,
// no record before all of it has come. So package tls never waits for the peer, and
// nothing is kept where nobody can see it.
type seal struct {
	c    *conn
	tls  *tls.Conn
	in   inbox // sealed
	left int   // bytes of a record that are still to be given
	more bool  // there may be more in what was opened

	shaking bool   // the handshake goes on: what is missing is waited for
	hello   []byte // what was given, as long as the connection may be another engine's
	over    bool   // it is: the client speaks HTTP/2

	last    atomic.Bool // what is written leaves at once or not at all
	lookout deadline    // when it is begun to listen for what comes during an exchange
	looking sync.Mutex
}

func newSeal(c *conn) *seal {
	s := &seal{c: c, shaking: true, hello: make([]byte, 0, 512)}
	s.in.open(c.server, c.raw)
	s.tls = tls.Server(s, c.server.tls)
	s.lookout = deadline{sweeper: &c.server.sweeper, of: s}
	return s
}

// errOver ends a handshake that is another engine's.
var errOver = errors.New("the client speaks HTTP/2")

// sealing makes the configuration of connections that are not handed over.
func sealing(o *tls.Config) *tls.Config {
	cfg := o.Clone()
	cfg.NextProtos = []string{"http/1.1"}
	cfg.DynamicRecordSizingDisabled = true // a small reply is one record, and one write
	cfg.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		s, ok := hello.Conn.(*seal)
		if !ok {
			return nil, nil
		}
		if s.over = slices.Contains(hello.SupportedProtos, "h2"); s.over {
			return nil, errOver
		}
		s.hello = nil
		return nil, nil
	}
	return cfg
}

// notTLS is what a client is told that speaks HTTP where TLS is spoken.
const notTLS = "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n" +
	`{"error":{"message":"HTTP was spoken on a port for HTTPS.","type":"invalid_request_error","param":null,"code":"https_required"}}` + "\n"

// shakeHands agrees on keys, and reports whether the connection can be used. Else it
// is closed, or another engine's.
func (c *conn) shakeHands() bool {
	s := c.seal
	err := s.tls.HandshakeContext(context.Background())
	s.shaking = false
	if err == nil {
		s.hello = nil
		c.reading.set(c.server.clock.Now() + c.server.o.ReadHeaderTimeout)
		return true
	}
	if s.over {
		c.handOver()
		return false
	}
	c.server.o.Log.Debug("TLS handshake failed", "client", c.remote, "error", err)
	if h, ok := errors.AsType[tls.RecordHeaderError](err); ok && h.Conn != nil && isHTTP(h.RecordHeader) {
		_, _ = c.writeOne(c.server.clock.Now(), []byte(notTLS))
	}
	if !c.server.closing.Load() {
		c.cut = true // nothing was sealed that could be
		c.linger()
	}
	c.close()
	return false
}

// isHTTP reports whether a connection begins with a request in cleartext.
func isHTTP(begin [recordHead]byte) bool {
	switch string(begin[:]) {
	case "GET /", "HEAD ", "POST ", "PUT /", "PATCH", "DELET", "OPTIO":
		return true
	}
	return false
}

// taken gives what has come of a handshake that is another engine's.
func (s *seal) taken() []byte {
	b := append(s.hello, s.in.unread()...)
	s.hello = nil
	s.in.clear()
	return b
}

// recordHead is what a record begins with, in bytes, and recordBody the most that
// follows.
const (
	recordHead = 5
	recordBody = 16<<10 + 2<<10
)

// recordLen is how many bytes of a record have to be there before it is given: all of
// it, where it is one.
func recordLen(b []byte) int {
	if len(b) < recordHead {
		return recordHead
	}
	n := int(b[3])<<8 | int(b[4])
	if n > recordBody {
		n = 0 // which is refused
	}
	return recordHead + n
}

// nothing is the error where no whole record is there. Package tls can be asked again
// after a net.Error that is temporary.
type nothing struct{}

var _ net.Error = nothing{}

func (nothing) Error() string   { return "nothing has come" }
func (nothing) Timeout() bool   { return true }
func (nothing) Temporary() bool { return true }

// Read implements net.Conn, for package tls.
func (s *seal) Read(p []byte) (int, error) {
	for {
		b := s.in.unread()
		if n := recordLen(b); s.left == 0 && len(b) >= recordHead && (s.shaking || len(b) >= n) {
			s.left = n
		}
		if s.left > 0 && len(b) > 0 {
			n := copy(p, b[:min(len(b), s.left)])
			if s.hello != nil {
				s.hello = append(s.hello, b[:n]...)
			}
			s.left -= n
			s.in.consume(n)
			return n, nil
		}
		if !s.shaking {
			return 0, nothing{}
		}
		s.in.shrink()
		if _, err := s.in.receive(nil); err != nil {
			return 0, err
		}
	}
}

// read waits for a record and opens it, into p or, where that is nil, behind what the
// connection has unread.
func (s *seal) read(p []byte) (int, error) {
	for {
		n, err := s.open(p)
		if !errors.Is(err, nothing{}) {
			return n, err
		}
		s.in.shrink()
		if err := s.in.room(len(s.in.unread()) + 1); err != nil {
			return 0, err
		}
		if _, err := s.in.receive(nil); err != nil {
			return 0, err
		}
	}
}

// open opens what has come. It does not wait: without a whole record the error is
// nothing.
func (s *seal) open(p []byte) (n int, err error) {
	if b := s.in.unread(); !s.more && len(b) < recordLen(b) {
		return 0, nothing{}
	}
	into := p
	if p == nil {
		into = s.c.spare()
	}
	n, err = s.tls.Read(into)
	s.more = n == len(into)
	if p == nil {
		s.c.took(n)
	}
	if n > 0 {
		err = nil // it comes again
	}
	return n, err
}

// openNow opens what comes without waiting, and gives how much that was.
func (s *seal) openNow() (n int) {
	if _, err := s.in.now(); err == nil {
		n, _ = s.open(nil)
	}
	return n
}

// Write implements net.Conn, for package tls, which writes nothing more after a write
// that took too long: so one goes on here as long as the client takes something. A
// socket tells of that only when there is room for more than a record.
func (s *seal) Write(b []byte) (n int, err error) {
	switch {
	case s.over:
		return len(b), nil // an alert, of a handshake that goes on elsewhere
	case s.last.Load():
		return s.writeNow(b)
	}
	for {
		m, err := s.c.writeOne(s.c.server.clock.Now(), b[n:])
		if n += m; !errors.Is(err, os.ErrDeadlineExceeded) {
			return n, err
		}
		s.c.writing.set(s.c.server.clock.Now() + s.c.timeout) // as there is none for what does not wait
		if s.c.givenUp.Load() {
			return n, err
		}
		m, _ = s.writeNow(b[n:])
		if n += m; m == 0 {
			return n, err
		}
	}
}

// writeNow writes what the socket takes.
func (s *seal) writeNow(b []byte) (n int, err error) {
	failed := s.c.raw.Write(func(fd uintptr) bool {
		n, err = syscall.Write(int(fd), b)
		return true
	})
	if failed != nil {
		return 0, failed
	}
	return max(n, 0), err
}

// write seals parts and sends them, and counts what has left.
func (s *seal) write(parts [][]byte) (n int, err error) {
	for _, p := range parts {
		m, err := s.tls.Write(p)
		if n += m; err != nil {
			return n, err
		}
	}
	return n, nil
}

// closeWrite says that nothing more comes, unless there is no room for that.
func (s *seal) closeWrite() error {
	s.last.Store(true)
	return s.tls.CloseWrite()
}

// close closes the connection, and says before that what was sent is all.
func (s *seal) close(whole bool) error {
	if !whole {
		return s.Close()
	}
	s.last.Store(true)
	return s.tls.Close()
}

// listenAfter is how long an exchange goes on before it is listened for what comes
// meanwhile. A client can say that it sends no more without closing its direction
// (close_notify), of which a socket tells as of any other bytes. Most replies are over
// before that, and cost nothing for it.
const listenAfter = 50 * time.Millisecond

// lookOut has what comes looked at from now on, until lookAway.
func (s *seal) lookOut() { s.lookout.set(s.c.server.clock.Now() + listenAfter) }

// lookAway waits until nobody looks, after the exchange was said to be over.
func (s *seal) lookAway() {
	s.lookout.set(0)
	s.looking.Lock()
	defer s.looking.Unlock()
}

// interrupt implements interruptible, of what goes on without listening.
func (s *seal) interrupt() error {
	go s.look() // at what was read together with the request
	return s.c.server.watcher.listen(s.c.raw, s.c.number, true)
}

func (s *seal) restore() error {
	return s.c.server.watcher.listen(s.c.raw, s.c.number, false)
}

// look reads what has come during an exchange whose request was read, and ends it where
// no more comes. Behind another request it does not look. A client can have package
// tls write something, so that the watcher does not wait for it.
func (s *seal) look() {
	s.looking.Lock()
	defer s.looking.Unlock()
	c := s.c
	for {
		c.mu.Lock()
		due := c.isLeft()
		c.mu.Unlock()
		if !due || c.buf != nil {
			return
		}
		_, err := s.open(nil)
		if errors.Is(err, nothing{}) {
			if err = s.in.room(len(s.in.unread()) + 1); err == nil {
				_, err = s.in.now()
			}
			if errors.Is(err, nothing{}) {
				return
			}
		}
		if err != nil {
			c.cancel(nil)
			return
		}
	}
}

// Close implements net.Conn, for package tls.
func (s *seal) Close() error { return s.c.outer.Close() }

// LocalAddr implements net.Conn.
func (s *seal) LocalAddr() net.Addr { return s.c.nc.LocalAddr() }

// RemoteAddr implements net.Conn.
func (s *seal) RemoteAddr() net.Addr { return s.c.nc.RemoteAddr() }

// SetDeadline does nothing, as all of these: the connection has deadlines of its own.
func (s *seal) SetDeadline(time.Time) error { return nil }

// SetReadDeadline implements net.Conn.
func (s *seal) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline implements net.Conn.
func (s *seal) SetWriteDeadline(time.Time) error { return nil }
