package gateway

import "golang.org/x/sys/unix"

// maxFiles is how many file descriptors may be open.
func maxFiles() (n uint64, ok bool) {
	var limit unix.Rlimit
	err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit)
	return limit.Cur, err == nil
}
