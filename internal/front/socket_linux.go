package front

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// maxUnsent bounds what the kernel holds for one client beyond what is on its
// way, in bytes. Without it that is megabytes of memory for a slow client, and a
// write that waits is not told of progress before a third of them has gone.
const maxUnsent = 128 << 10

// boundUnsent sets that up on the listening socket; connections inherit it.
func boundUnsent(_, _ string, c syscall.RawConn) error {
	var err error
	if cerr := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, maxUnsent)
	}); cerr != nil {
		return cerr
	}
	return err
}
