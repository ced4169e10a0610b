package state

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestCheck(t *testing.T) {
	dir := t.TempDir()
	file, closed := filepath.Join(dir, "file"), filepath.Join(dir, "closed")
	if err := errors.Join(os.WriteFile(file, nil, FileMode), os.Mkdir(closed, 0o500)); err != nil {
		t.Fatal(err)
	}
	root := os.Geteuid() == 0 // may write everywhere
	for path, want := range map[string]struct{ wrong, unwritable bool }{
		dir:                              {},
		filepath.Join(dir, "new", "one"): {},
		file:                             {wrong: true},
		filepath.Join(file, "below"):     {wrong: true},
		closed:                           {wrong: !root, unwritable: !root},
		filepath.Join(closed, "new"):     {wrong: !root, unwritable: !root},
	} {
		err := Check(path)
		if (err != nil) != want.wrong || errors.Is(err, ErrUnwritable) != want.unwritable {
			t.Errorf("%s: %v", path, err)
		}
	}
	if list, err := os.ReadDir(dir); err != nil || len(list) != 2 {
		t.Errorf("%v, %v", list, err)
	}
}
