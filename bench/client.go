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

	"sluice/bench/process"
)

// client asks on one connection, one request after the other. It reads and writes
// a blocking socket itself and does little besides, so that what it measures is the
// server's.
type client struct {
	socket *os.File
	fd     int
	host   string
	buf    []byte
	hits   int // answers that the server says it had stored
}

// patience is how long a client waits for a reply.
const patience = 10 * time.Second

func dial(ctx context.Context, addr string) (*client, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	socket, err := conn.(*net.TCPConn).File() // its own descriptor
	if err != nil {
		return nil, err
	}
	c := &client{socket: socket, fd: int(socket.Fd()), host: addr, buf: make([]byte, 64<<10)} // Fd makes it blocking
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
	request := chatRequest(c.host, body)
	begin := time.Now()
	for len(request) > 0 {
		n, err := retried(syscall.Write, c.fd, request)
		if err != nil {
			return 0, os.NewSyscallError("write", err)
		}
		request = request[n:]
	}
	head, size, err := c.reply()
	took = time.Since(begin)
	if err != nil {
		return 0, err
	}
	if !bytes.HasPrefix(head, []byte("HTTP/1.1 200 ")) {
		return 0, fmt.Errorf("%s with %d bytes", bytes.TrimSpace(head[:bytes.IndexByte(head, '\r')]), size)
	}
	if string(field(head, "x-cache")) == "HIT" {
		c.hits++
	}
	return took, nil
}

// reply reads one and gives its head, which is overwritten by the next, and the
// size of its body.
func (c *client) reply() (head []byte, size int, err error) {
	for got, whole := 0, -1; got != whole; {
		if got == len(c.buf) {
			return nil, 0, errors.New("the reply is too long")
		}
		n, err := retried(syscall.Read, c.fd, c.buf[got:])
		if n == 0 && err == nil {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return nil, 0, fmt.Errorf("read: %w", err)
		}
		got += n
		if whole < 0 {
			end := bytes.Index(c.buf[:got], []byte("\r\n\r\n"))
			if end < 0 {
				continue
			}
			head = c.buf[:end+2]
			if size = number(field(head, "content-length"), 10); size < 0 {
				return nil, 0, fmt.Errorf("a reply without its length: %s", head)
			}
			whole = end + 4 + size
		}
		if got > whole {
			return nil, 0, errors.New("more than a reply came")
		}
	}
	return head, size, nil
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

// chatRequest is a chat request as it is written.
func chatRequest(host, body string) []byte {
	return fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s", chatPath, host, process.APIKey, len(body), body)
}
