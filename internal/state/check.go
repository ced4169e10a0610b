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
