package spool

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// openUnnamed opens a file in dir that never has a name. Some file systems cannot make
// such, and kernels that know of none take the flag for another (open(2), O_TMPFILE).
func openUnnamed(dir string) (*os.File, error) {
	f, err := os.OpenFile(dir, unix.O_TMPFILE|os.O_RDWR|os.O_EXCL, 0o600)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EISDIR) || errors.Is(err, unix.EINVAL) {
		return openRemoved(dir)
	}
	return f, err
}

// inMemory reports whether the files of a directory are memory (statfs(2)).
func inMemory(dir string) bool {
	var fs unix.Statfs_t
	if unix.Statfs(dir, &fs) != nil {
		return false // to open a file there says more
	}
	return fs.Type == unix.TMPFS_MAGIC || uint32(fs.Type) == unix.RAMFS_MAGIC
}
