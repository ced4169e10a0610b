// Package state writes files of the state directory, where a restart finds what
// the process before it knew, and says which process does.
package state

import (
	"errors"
	"io"
	"os"
	"path/filepath"
)

const (
	// FileMode and FolderMode let nobody else look: what is kept may be of tenants.
	FileMode, FolderMode = 0o600, 0o700
	// NewSuffix ends the name of a file that is being written. What a crash left of
	// one is replaced by the next writing.
	NewSuffix = ".new"
)

// Replace writes a file whole or not at all: whoever opens it finds what was
// there before, or all that write wrote, also after a crash.
func Replace(path string, write func(io.Writer) error) (err error) {
	f, err := os.OpenFile(path+NewSuffix, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, FileMode)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close() // it may be closed
			err = errors.Join(err, ignoreMissing(os.Remove(f.Name())))
		}
	}()
	if err := write(f); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return SyncFolder(filepath.Dir(path))
}

// Remove removes a file for good. One that is not there is no error.
func Remove(path string) error {
	if err := os.Remove(path); err != nil {
		return ignoreMissing(err)
	}
	return SyncFolder(filepath.Dir(path))
}

// SyncFolder makes a renaming or removal in a folder last.
func SyncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func ignoreMissing(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}
