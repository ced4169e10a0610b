package state

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// ErrUnwritable is that a folder is there and no file can be put into it.
var ErrUnwritable = errors.New("cannot be written to")

// CanMake says why a folder is not there and cannot be made. It leaves nothing
// behind, and is surer than Check: it makes a folder where the first one is missing,
// and takes it away.
func CanMake(dir string) error {
	at := dir
	for {
		switch info, err := os.Stat(at); {
		case err == nil && !info.IsDir():
			return fmt.Errorf("%s is no folder", at)
		case err == nil && at == dir:
			return nil
		case err == nil:
			trial, err := os.MkdirTemp(at, ".trial-*")
			if err != nil {
				return fmt.Errorf("%s cannot be made: %w", dir, errors.Unwrap(err))
			}
			return os.Remove(trial)
		case !errors.Is(err, fs.ErrNotExist) || filepath.Dir(at) == at:
			return err
		}
		if _, err := os.Lstat(at); err == nil {
			return fmt.Errorf("%s is a link to nothing", at)
		}
		at = filepath.Dir(at)
	}
}

// Check says why files cannot be written below a folder, which is made when it is
// not there: an error that is ErrUnwritable, or that it can be no folder. It changes
// nothing.
func Check(dir string) error {
	at := dir
	for {
		info, err := os.Stat(at)
		up := filepath.Dir(at)
		switch {
		case errors.Is(err, fs.ErrNotExist) && up != at:
			if _, err := os.Lstat(at); err == nil {
				return fmt.Errorf("%s is a link to nothing", at)
			}
			at = up
			continue
		case err != nil:
			return err
		case !info.IsDir():
			return fmt.Errorf("%s is no folder", at)
		}
		if err := writable(at); err != nil {
			return fmt.Errorf("%s %w: %w", at, ErrUnwritable, err)
		}
		return nil
	}
}
