//go:build linux

package lean

import (
	"os"
	"syscall"

	"sluice/internal/socket"
)

// outbox is what is written to a socket.
type outbox struct {
	raw  syscall.RawConn
	give func(fd uintptr) bool
	left []byte // to be written by give
	err  error  // of give
}

// open makes it one for a socket.
func (o *outbox) open(raw syscall.RawConn) { o.raw, o.give = raw, o.giveTo }

// send writes b and waits where the socket takes nothing. n bytes have left, all of them
// without an error.
func (o *outbox) send(b []byte) (n int, err error) {
	o.left, o.err = b, nil
	if err = o.raw.Write(o.give); err == nil {
		err = o.err
	}
	n = len(b) - len(o.left)
	o.left = nil
	return n, err
}

// giveTo writes as much as a socket takes. It returns false to be called again when it takes
// more.
func (o *outbox) giveTo(fd uintptr) bool {
	var err error
	if o.left, err = socket.Push(fd, o.left); err != nil {
		o.err = os.NewSyscallError("write", err)
		return true
	}
	return len(o.left) == 0
}
