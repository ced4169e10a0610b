//go:build !race

package state

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
)

func text(s string) func(io.Writer) error {
	return func(w io.Writer) error { _, err := io.WriteString(w, s); return err }
}

func TestReplace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	check := func(want string) {
		t.Helper()
		b, err := os.ReadFile(path)
		if err != nil || string(b) != want {
			t.Errorf("the file is %q, %v", b, err)
		}
		if list, _ := os.ReadDir(filepath.Dir(path)); len(list) != 1 {
			t.Errorf("the folder holds %v", list)
		}
	}
	for _, s := range []string{"one", "2"} {
		if err := Replace(path, text(s)); err != nil {
			t.Fatal(err)
		}
		check(s)
	}
	if i, err := os.Stat(path); err != nil || i.Mode().Perm() != FileMode {
		t.Errorf("%v, %v", i.Mode(), err)
	}
	// What a crash left is no hindrance.
	if err := os.WriteFile(path+NewSuffix, []byte("longer than what comes"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Replace(path, text("3")); err != nil {
		t.Fatal(err)
	}
	check("3")
	full := errors.New("no space left on device")
	err := Replace(path, func(w io.Writer) error { _ = text("half")(w); return full })
	if !errors.Is(err, full) {
		t.Errorf("a full disk gives %v", err)
	}
	check("3")
	if err := Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := Remove(path); err != nil {
		t.Errorf("removing what is not there: %v", err)
	}
	if err := Replace(filepath.Join(path, "x"), text("")); err == nil {
		t.Error("a folder that is not there is no error")
	}
}
