//go:build linux

// Package socket reads and writes sockets of Linux that do not block, by system calls of which
// Go's scheduler knows nothing. In one that it knows of it takes the processor from a goroutine
// for which the system has no time just then, wakes another thread for it, and looks for more
// such every 20 µs from then on: on a machine that has much to do that is dear, and for calls
// that never wait it is of no use.
//
// How much they are asked for is bounded, since nothing else runs on the processor meanwhile.
package socket

import "syscall"

// most is how much is asked for at once, in bytes: what takes some 10 µs.
const most = 64 << 10

// Push writes as much of p as there is room for, and gives what is left: without an error it has
// to be called again when there is room. An error is a syscall.Errno.
func Push(fd uintptr, p []byte) (left []byte, err error) {
	for len(p) > 0 {
		n, err := Write(fd, p)
		p = p[n:]
		switch err {
		case nil, syscall.EINTR: //nolint:errorlint // it is one of package syscall's
		case syscall.EAGAIN:
			return p, nil
		default:
			return p, err
		}
	}
	return nil, nil
}
