package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// openingAtOnce is how many streams are being opened at any time: the next one
// follows when one has its first event.
const openingAtOnce = 64

// openWithin is how long it may take until all are open.
const openWithin = 2 * time.Minute

// openStreams are streams of a slow model that are open, read by one loop over raw
// sockets, which costs less than a proxy does for the same.
type openStreams struct {
	poll   *poller
	target target
	server unix.Sockaddr
	all    []*openStream // by descriptor
	left   int           // to be opened
	first  []time.Duration
	buf    []byte
}

// openStream is one of them.
type openStream struct {
	fd    int32
	begun time.Time
	ask   []byte // what is left of the request
	seen  []byte // of the reply, before the first event was
	open  bool   // it was
}

// openMany opens n streams. How long each took from connecting to its first event
// is in first then.
func openMany(ctx context.Context, t target, n int) (*openStreams, error) {
	at, err := netip.ParseAddrPort(t.addr)
	if err != nil {
		return nil, err
	}
	poll, err := newPoller()
	if err != nil {
		return nil, err
	}
	s := &openStreams{poll: poll, target: t, server: &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}, left: n, buf: make([]byte, 64<<10)}
	for range min(openingAtOnce, n) {
		if err := s.begin(); err != nil {
			s.close()
			return nil, err
		}
	}
	begun := time.Now()
	for len(s.first) < n {
		err := s.turn(time.Second)
		if err == nil && time.Since(begun) > openWithin {
			err = fmt.Errorf("%d of %d streams are open after %v", len(s.first), n, openWithin)
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			s.close()
			return nil, err
		}
	}
	return s, nil
}

// read takes what comes on the streams for a while. They must not end.
func (s *openStreams) read(ctx context.Context, during time.Duration) error {
	for end := time.Now().Add(during); time.Now().Before(end); {
		if err := s.turn(min(time.Until(end), time.Second)); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

// close resets the connections, so that no port of theirs has to wait.
func (s *openStreams) close() {
	for _, o := range s.all {
		if o != nil {
			unix.SetsockoptLinger(int(o.fd), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
			unix.Close(int(o.fd))
		}
	}
	s.poll.close()
}

// begin connects for one more stream.
func (s *openStreams) begin() error {
	s.left--
	o := &openStream{begun: time.Now(), ask: chatRequest(s.target, freshBody(modelSlow, true, firstSeed+s.left))} // none like another
	fd, err := socket()
	if err != nil {
		return err
	}
	o.fd = fd
	for int(fd) >= len(s.all) {
		s.all = append(s.all, nil)
	}
	s.all[fd] = o
	if err := unix.Connect(int(fd), s.server); err != nil && !errors.Is(err, unix.EINPROGRESS) {
		return os.NewSyscallError("connect", err)
	}
	return s.poll.add(fd, 0, unix.EPOLLOUT)
}

// turn waits for what is next, and handles it.
func (s *openStreams) turn(most time.Duration) error {
	ready, err := s.poll.wait(most)
	if err != nil {
		return err
	}
	for _, e := range ready {
		o := s.all[e.Fd]
		if len(o.ask) > 0 {
			err = s.send(o)
		} else {
			err = s.receive(o)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *openStreams) send(o *openStream) error {
	n, errno := writeSocket(o.fd, o.ask)
	switch {
	case errno == unix.EAGAIN:
		return nil
	case errno != 0:
		return os.NewSyscallError("send a request for a stream", errno)
	}
	if o.ask = o.ask[n:]; len(o.ask) > 0 {
		return nil
	}
	return s.poll.change(o.fd, 0, unix.EPOLLIN)
}

func (s *openStreams) receive(o *openStream) error {
	n, errno := readSocket(o.fd, s.buf)
	switch {
	case errno == unix.EAGAIN:
		return nil
	case errno != 0:
		return os.NewSyscallError("read a stream", errno)
	case n == 0 || bytes.Contains(s.buf[:n], []byte("[DONE]")):
		return fmt.Errorf("a stream ended after %v, with %d open: %q", time.Since(o.begun).Round(time.Millisecond), len(s.first), o.seen)
	case o.open:
		return nil
	}
	o.seen = append(o.seen, s.buf[:n]...)
	switch {
	case !bytes.HasPrefix(o.seen, []byte("HTTP/1.1 200 ")[:min(len(o.seen), 13)]) || len(o.seen) > len(s.buf):
		return fmt.Errorf("open a stream: %q", o.seen[:min(len(o.seen), 400)])
	case !bytes.Contains(o.seen, []byte(firstEvent)):
		return nil
	}
	s.first = append(s.first, time.Since(o.begun))
	if o.open, o.seen = true, nil; s.left > 0 {
		return s.begin()
	}
	return nil
}

// raiseFiles raises the limit of open files, for this process and what it starts,
// as far as that is allowed, and gives it.
func raiseFiles() (uint64, error) {
	const enough = 65_536
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, os.NewSyscallError("getrlimit", err)
	}
	most := max(limit.Max, enough)
	if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: most, Max: most}) == nil {
		return most, nil
	}
	limit.Cur = limit.Max
	return limit.Cur, os.NewSyscallError("setrlimit", syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit))
}
