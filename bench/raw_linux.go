package main

import (
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The mock and the client that opens streams are loops over non-blocking sockets:
// what they cost is taken from the CPU that all peers of a proxy share.

// readSocket and writeSocket do not tell Go's scheduler, since they never wait.
func readSocket(fd int32, b []byte) (int, unix.Errno)  { return rawIO(unix.SYS_READ, fd, b) }
func writeSocket(fd int32, b []byte) (int, unix.Errno) { return rawIO(unix.SYS_WRITE, fd, b) }

func rawIO(call uintptr, fd int32, b []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall(call, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	return int(n), errno
}

// socket makes a non-blocking socket.
func socket() (int32, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	return int32(fd), os.NewSyscallError("socket", err)
}

// poller is an epoll instance. An event's Fd is the descriptor and its Pad the
// generation that it was registered with, which tells a descriptor from an earlier
// one of the same number.
type poller struct {
	fd    int32
	ready [256]unix.EpollEvent
}

func newPoller() (*poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	return &poller{fd: int32(fd)}, nil
}

func (p *poller) add(fd, generation int32, events uint32) error {
	return p.control(unix.EPOLL_CTL_ADD, fd, generation, events)
}

func (p *poller) change(fd, generation int32, events uint32) error {
	return p.control(unix.EPOLL_CTL_MOD, fd, generation, events)
}

func (p *poller) control(op int, fd, generation int32, events uint32) error {
	e := unix.EpollEvent{Events: events, Fd: fd, Pad: generation}
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(int(p.fd), op, int(fd), &e))
}

// wait gives what is ready, at the latest after a while: at once when that is 0,
// and without end when it is less. A signal may end it early. It takes Linux 5.11,
// for waits that are exact.
func (p *poller) wait(most time.Duration) ([]unix.EpollEvent, error) {
	var timeout *unix.Timespec
	if most >= 0 {
		t := unix.NsecToTimespec(most.Nanoseconds())
		timeout = &t
	}
	call := unix.Syscall6
	if most == 0 {
		call = unix.RawSyscall6
	}
	n, _, errno := call(unix.SYS_EPOLL_PWAIT2, uintptr(p.fd), uintptr(unsafe.Pointer(&p.ready)), uintptr(len(p.ready)), uintptr(unsafe.Pointer(timeout)), 0, 0)
	switch errno {
	case 0:
		return p.ready[:n], nil
	case unix.EINTR:
		return nil, nil
	}
	return nil, os.NewSyscallError("epoll_pwait2", errno)
}

func (p *poller) close() { unix.Close(int(p.fd)) }
