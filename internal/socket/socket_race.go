//go:build linux && race

package socket

import "syscall"

// Read is that of package syscall, which the race detector knows as it does net's.
func Read(fd uintptr, p []byte) (n int, err error) {
	n, err = syscall.Read(int(fd), p[:min(len(p), most)])
	return max(n, 0), err
}

// Write is the same.
func Write(fd uintptr, p []byte) (n int, err error) {
	n, err = syscall.Write(int(fd), p[:min(len(p), most)])
	return max(n, 0), err
}
