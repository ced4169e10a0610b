//go:build !race

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
	dangling := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink("/nowhere", dangling); err != nil {
		t.Fatal(err)
	}
	root := os.Geteuid() == 0 // may write everywhere
	for path, want := range map[string]struct{ wrong, unwritable bool }{
		dir:                              {},
		filepath.Join(dir, "new", "one"): {},
		file:                             {wrong: true},
		filepath.Join(file, "below"):     {wrong: true},
		closed:                           {wrong: !root, unwritable: !root},
		filepath.Join(dangling, "new"):   {wrong: true},
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

func TestCanMake(t *testing.T) {
	dir := t.TempDir()
	file, link := filepath.Join(dir, "file"), filepath.Join(dir, "link")
	if err := errors.Join(os.WriteFile(file, nil, FileMode), os.Symlink("/nowhere", link)); err != nil {
		t.Fatal(err)
	}
	for path, can := range map[string]bool{
		dir: true, filepath.Join(dir, "new", "one"): true,
		file: false, filepath.Join(file, "below"): false, link: false, filepath.Join(link, "below"): false,
		"/proc/nope": false, // not even for root
	} {
		if err := CanMake(path); (err == nil) != can {
			t.Errorf("%s: %v", path, err)
		}
	}
	if list, err := os.ReadDir(dir); err != nil || len(list) != 2 {
		t.Errorf("%v, %v", list, err)
	}
}
