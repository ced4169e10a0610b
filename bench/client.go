package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

// client asks on one connection, one request after the other. It reads and writes
// a blocking socket itself and does little besides, so that what it measures is the
// server's.
type client struct {
	socket *os.File
	fd     int
	target target
	buf    []byte
	hits   int // answers that the server says it had stored
}

// patience is how long a client waits for a reply.
const patience = 10 * time.Second

func dial(ctx context.Context, at target) (*client, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", at.addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	socket, err := conn.(*net.TCPConn).File() // its own descriptor
	if err != nil {
		return nil, err
	}
	c := &client{socket: socket, fd: int(socket.Fd()), target: at, buf: make([]byte, 64<<10)} // Fd makes it blocking
	wait := syscall.NsecToTimeval(patience.Nanoseconds())
	if err := syscall.SetsockoptTimeval(c.fd, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &wait); err != nil {
		socket.Close()
		return nil, os.NewSyscallError("setsockopt", err)
	}
	return c, nil
}

func (c *client) close() { c.socket.Close() }

// ask sends a chat request and returns how long it took until the reply was there.
func (c *client) ask(body string) (took time.Duration, err error) {
	_, took, err = c.exchange(body)
	return took, err
}

// exchange sends a chat request and returns how long it took until there was an
// event of a stream, 0 where none came, and until the reply was there.
func (c *client) exchange(body string) (first, took time.Duration, err error) {
	request := chatRequest(c.target, body)
	begin := time.Now()
	for len(request) > 0 {
		n, err := retried(syscall.Write, c.fd, request)
		if err != nil {
			return 0, 0, os.NewSyscallError("write", err)
		}
		request = request[n:]
	}
	head, size, event, err := c.reply()
	took = time.Since(begin)
	if err != nil {
		return 0, 0, err
	}
	if !bytes.HasPrefix(head, []byte("HTTP/1.1 200 ")) {
		return 0, 0, fmt.Errorf("%s with %d bytes", bytes.TrimSpace(head[:bytes.IndexByte(head, '\r')]), size)
	}
	if string(field(head, "x-cache")) == "HIT" {
		c.hits++
	}
	if !event.IsZero() {
		first = event.Sub(begin)
	}
	return first, took, nil
}

// firstEvent is in a reply that has an event.
const firstEvent = "\ndata: "

// reply reads one and gives its head, which is overwritten by the next, the size of
// its body as it is on the wire, and when the first event came of a stream.
func (c *client) reply() (head []byte, size int, event time.Time, err error) {
	for got := 0; ; {
		if got == len(c.buf) {
			return nil, 0, event, errors.New("the reply is too long")
		}
		n, err := retried(syscall.Read, c.fd, c.buf[got:])
		if n == 0 && err == nil {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return nil, 0, event, fmt.Errorf("read: %w", err)
		}
		got += n
		if event.IsZero() && bytes.Contains(c.buf[:got], []byte(firstEvent)) {
			event = time.Now()
		}
		end := bytes.Index(c.buf[:got], []byte("\r\n\r\n"))
		if end < 0 {
			continue
		}
		head = c.buf[:end+2]
		switch size, err = wireSize(head, c.buf[end+4:got]); {
		case err != nil:
			return nil, 0, event, err
		case end+4+size == got:
			return head, size, event, nil
		case end+4+size < got:
			return nil, 0, event, errors.New("more than a reply came")
		}
	}
}

// wireSize is how long a reply's body is on the wire, by its head: more than there is
// of the rest where its end has not come.
func wireSize(head, rest []byte) (int, error) {
	if named(field(head, "transfer-encoding"), "chunked") {
		size, err := chunkedSize(rest)
		if err == nil && size == 0 {
			size = len(rest) + 1
		}
		return size, err
	}
	size := number(field(head, "content-length"), 10)
	if size < 0 {
		return 0, fmt.Errorf("a reply without its length: %s", head)
	}
	return size, nil
}

// field is the value of a field in a head.
func field(head []byte, name string) []byte {
	for line := range bytes.Lines(head) {
		if k, v, ok := bytes.Cut(line, []byte(":")); ok && named(k, name) {
			return bytes.TrimSpace(v)
		}
	}
	return nil
}

func retried(call func(int, []byte) (int, error), fd int, b []byte) (int, error) {
	for {
		if n, err := call(fd, b); !errors.Is(err, syscall.EINTR) {
			return n, err
		}
	}
}
