package process

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// MaxFiles is how many file descriptors may be open; ok is false where that is not
// known.
func MaxFiles() (n uint64, ok bool) {
	var limit unix.Rlimit
	err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit)
	return limit.Cur, err == nil
}

// openFiles counts the file descriptors in a folder of /proc. Since Linux 6.2
// the folder's size is their number; before that each is listed.
func openFiles(folder string) (n int, ok bool) {
	var fs unix.Statfs_t
	if unix.Statfs(folder, &fs) != nil {
		return 0, false
	}
	if info, err := os.Stat(folder); err == nil && fs.Type == unix.PROC_SUPER_MAGIC && info.Size() > 0 {
		return int(info.Size()), true
	}
	d, err := os.Open(folder)
	if err != nil {
		return 0, false
	}
	defer func() { _ = d.Close() }()
	names, err := d.Readdirnames(-1)
	return len(names), err == nil
}

// cpuTime is the process's, in its own code and in the kernel's.
func cpuTime() (user, system time.Duration, ok bool) {
	var use unix.Rusage
	err := unix.Getrusage(unix.RUSAGE_SELF, &use)
	return time.Duration(use.Utime.Nano()), time.Duration(use.Stime.Nano()), err == nil
}
