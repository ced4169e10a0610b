package state

import (
	"os"
	"path/filepath"

	"github.com/gofrs/flock"
)

// Lock says which process writes something of a state directory: the one that came
// first. It is a file that stays there, and the system gives the lock back when the
// process ends. It is used by one goroutine at a time.
type Lock struct {
	dir  string
	file *flock.Flock
}

// NewLock makes a Lock that is a file of that name. Nobody has it yet.
func NewLock(dir, name string) *Lock {
	return &Lock{dir: dir, file: flock.New(filepath.Join(dir, name), flock.SetPermissions(FileMode))}
}

// Take takes the lock if nobody else has it, with the directory made where there
// is none. mine reports whether it is this one's now or was before.
func (l *Lock) Take() (mine bool, err error) {
	if l.Held() {
		return true, nil
	}
	if err := os.MkdirAll(l.dir, FolderMode); err != nil {
		return false, err
	}
	return l.file.TryLock()
}

// Held reports whether it was taken.
func (l *Lock) Held() bool { return l.file.Locked() }

// Close gives it back. It may be taken again.
func (l *Lock) Close() error { return l.file.Close() }
