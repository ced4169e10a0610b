//go:build linux && !race

package socket

import (
	"syscall"
	"unsafe"
)

// Read reads what has come, up to 64 KiB: syscall.EAGAIN where that is nothing, 0 at the end.
// An error is a syscall.Errno.
func Read(fd uintptr, p []byte) (n int, err error) {
	return transfer(syscall.SYS_RECVFROM, fd, p, 0)
}

// Write writes up to 64 KiB, as much as there is room for: syscall.EAGAIN where that is none.
// An error is a syscall.Errno.
func Write(fd uintptr, p []byte) (n int, err error) {
	return transfer(syscall.SYS_SENDTO, fd, p, syscall.MSG_NOSIGNAL)
}

func transfer(call, fd uintptr, p []byte, flags uintptr) (int, error) {
	p = p[:min(len(p), most)]
	n, _, errno := syscall.RawSyscall6(call, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), flags, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
