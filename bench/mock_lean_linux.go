package main

import (
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// leanMock is a mock that costs less than what it is the upstream of: one loop
// over raw sockets, in which a request takes a read, a look for a few names, and a
// write of a reply that was made at the start.
type leanMock struct {
	poll     *poller
	listener int32
	conns    []*mockConn // by descriptor
	buf      []byte
	replies  replies
	served   int      // calls
	replied  int      // the last reply's number
	late     [3]queue // replies and events that are not due yet
	crews    []*crew  // of models that cost what their names say
	models   map[string]*crew
	slower   int // by how many times all of that takes longer
	begun    time.Time
}

// mockConn is a connection. What has its descriptor next has another generation.
type mockConn struct {
	fd, generation int32
	in             []byte // received, not yet taken
	reply          *mockReply
	next, sent     int // the piece of the reply that is next, and what of it is sent
	last, blocked  bool
	crew           *crew     // that is to do the call
	own            mockReply // what is in it is for this call only
}

// newLeanMock listens on an IPv4 address. What models cost takes so many times longer.
func newLeanMock(at netip.AddrPort, slower int) (*leanMock, error) {
	fd, err := listen(at)
	if err != nil {
		return nil, err
	}
	m := &leanMock{listener: fd, buf: make([]byte, 64<<10), replies: newReplies(time.Now()), models: map[string]*crew{}, slower: slower, begun: time.Now()}
	m.late = [...]queue{{delay: soonTime}, {delay: thinkTime}, {delay: slowPause, step: time.Millisecond}}
	if m.poll, err = newPoller(); err != nil {
		unix.Close(int(fd))
		return nil, err
	}
	if err := m.poll.add(fd, 0, unix.EPOLLIN); err != nil {
		m.close()
		return nil, err
	}
	return m, nil
}

func listen(at netip.AddrPort) (int32, error) {
	fd, err := socket()
	if err != nil {
		return 0, err
	}
	unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	err = os.NewSyscallError("bind", unix.Bind(int(fd), &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}))
	if err == nil {
		err = os.NewSyscallError("listen", unix.Listen(int(fd), 4096))
	}
	if err != nil {
		unix.Close(int(fd))
	}
	return fd, err
}

// run serves until the listener fails, which it does once it is shut down.
func (m *leanMock) run() error {
	defer m.close()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0); err != nil { // ns
		return os.NewSyscallError("prctl", err)
	}
	for {
		ready, err := m.poll.wait(m.untilDue())
		if err != nil {
			return err
		}
		for _, e := range ready {
			if e.Fd == m.listener {
				if err := m.accept(); err != nil {
					return err
				}
				continue
			}
			if c := m.conns[e.Fd]; c != nil && c.generation == e.Pad {
				m.handle(c, e.Events)
			}
		}
		m.sendDue()
	}
}

func (m *leanMock) close() {
	for _, c := range m.conns {
		if c != nil && c.fd >= 0 {
			unix.Close(int(c.fd))
		}
	}
	unix.Close(int(m.listener))
	if m.poll != nil {
		m.poll.close()
	}
}

func (m *leanMock) accept() error {
	for {
		fd, _, err := unix.Accept4(int(m.listener), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		switch err {
		case nil:
		case unix.EAGAIN, unix.EINTR:
			return nil
		case unix.ECONNABORTED:
			continue
		default:
			return os.NewSyscallError("accept", err)
		}
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
		for fd >= len(m.conns) {
			m.conns = append(m.conns, nil)
		}
		c := m.conns[fd]
		if c == nil {
			c = new(mockConn)
			m.conns[fd] = c
		}
		c.fd = int32(fd)
		if err := m.poll.add(c.fd, c.generation, unix.EPOLLIN); err != nil {
			return err
		}
	}
}

// drop ends a connection. Its memory is for the next one with the descriptor.
func (m *leanMock) drop(c *mockConn) {
	if c.crew != nil {
		c.crew.leave(c.fd, c.generation, time.Since(m.begun))
	}
	unix.Close(int(c.fd))
	*c = mockConn{fd: -1, generation: c.generation + 1, in: c.in[:0], own: c.own}
}

func (m *leanMock) handle(c *mockConn, events uint32) {
	before := c.generation
	if events&unix.EPOLLOUT != 0 {
		m.resume(c)
	}
	if events&^unix.EPOLLOUT != 0 && c.generation == before {
		m.read(c)
	}
}

// read takes what has come. A client that sends no more is gone, as clients of
// model services are: what it was to get is not sent.
func (m *leanMock) read(c *mockConn) {
	n, errno := readSocket(c.fd, m.buf)
	switch {
	case errno == unix.EAGAIN:
		return
	case errno != 0 || n == 0 || len(c.in)+n > 2*maxMockRequest+maxMockHead:
		m.drop(c)
		return
	}
	got := m.buf[:n]
	if len(c.in) > 0 {
		c.in = append(c.in, got...)
		got = c.in
	}
	m.serve(c, got)
}

// serve answers the requests in b one after the other, and keeps what is left when
// one of them has to wait.
func (m *leanMock) serve(c *mockConn, b []byte) {
	before := c.generation
	for c.reply == nil && len(b) > 0 {
		r, n, err := takeRequest(b)
		if err == nil && n == 0 {
			break
		}
		b = b[n:]
		if err != nil {
			c.last = true
			m.answer(c, m.replies.refusal)
		} else if c.last = r.last; !m.work(c, &r) {
			m.answer(c, m.choose(&r))
		}
		if c.generation != before {
			return
		}
	}
	c.in = append(c.in[:0], b...)
}

func (m *leanMock) choose(r *request) *mockReply {
	switch {
	case string(r.method) == "POST" && string(r.target) == chatPath:
		m.served++
		return m.replies.chat(r.body)
	case string(r.method) == "GET" && string(r.target) == "/v1/models":
		return m.replies.models
	case string(r.method) == "GET" && string(r.target) == servedPath:
		return wholeReply("200 OK", fmt.Append(nil, m.served), m.begun)
	}
	return m.replies.notFound
}

// maxCrews bounds the models whose names say what they cost.
const maxCrews = 64

// work has a call wait for what its model costs. It is false for one that costs
// nothing.
func (m *leanMock) work(c *mockConn, r *request) bool {
	vectors := string(r.target) == embeddingsPath
	if string(r.method) != "POST" || !vectors && string(r.target) != chatPath {
		return false
	}
	model, _ := asked(r.body)
	w := m.models[string(model)]
	if w == nil {
		price, ok := costOf(string(model))
		if !ok {
			return false
		}
		if len(m.crews) == maxCrews {
			m.answer(c, m.replies.notFound)
			return true
		}
		price.call *= time.Duration(m.slower)
		price.item *= time.Duration(m.slower)
		w = &crew{cost: price}
		m.models[string(model)], m.crews = w, append(m.crews, w)
	}
	m.served++
	items := 1
	c.reply, c.next, c.sent, c.crew = m.replies.short, 0, 0, w
	if vectors {
		items = c.own.embeddings(r.body, m.begun)
		c.reply = &c.own
	}
	w.join(c.fd, c.generation, items, time.Since(m.begun))
	return true
}

func (m *leanMock) answer(c *mockConn, r *mockReply) {
	c.reply, c.next, c.sent = r, 0, 0
	if r.delay > 0 {
		m.later(c, r.delay)
		return
	}
	m.send(c)
}

// resume goes on with a reply and, when that is sent, with the requests after it.
func (m *leanMock) resume(c *mockConn) {
	before := c.generation
	m.send(c)
	if c.generation == before && c.reply == nil && len(c.in) > 0 {
		m.serve(c, c.in)
	}
}

// send writes what is due of a reply, each piece by itself.
func (m *leanMock) send(c *mockConn) {
	r := c.reply
	if c.next == 0 && c.sent == 0 {
		m.replied++
		setDigits(r.id, m.replied)
	}
	for c.next < len(r.pieces) {
		piece := r.pieces[c.next]
		n, errno := writeSocket(c.fd, piece[c.sent:])
		switch {
		case errno == unix.EAGAIN:
			m.block(c, true)
			return
		case errno != 0:
			m.drop(c)
			return
		}
		if c.sent += n; c.sent < len(piece) {
			continue
		}
		if c.next, c.sent = c.next+1, 0; r.pause > 0 && c.next < len(r.pieces) {
			m.block(c, false)
			m.later(c, r.pause)
			return
		}
	}
	c.reply = nil
	if c.last {
		m.drop(c)
		return
	}
	m.block(c, false)
}

// block sets whether the connection waits until it can be written to. It is not
// read from meanwhile.
func (m *leanMock) block(c *mockConn, on bool) {
	if c.blocked == on {
		return
	}
	c.blocked = on
	events := uint32(unix.EPOLLIN)
	if on {
		events = unix.EPOLLOUT
	}
	if err := m.poll.change(c.fd, c.generation, events); err != nil {
		m.drop(c)
	}
}
