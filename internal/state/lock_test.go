//go:build !race

package state

import (
	"os"
	"path/filepath"
	"testing"
)

// One has the lock until he closes it, and the file is for this user alone.
func TestLock(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "when needed")
	a, b, other := NewLock(dir, "lock"), NewLock(dir, "lock"), NewLock(dir, "other")
	take := func(l *Lock, want bool) {
		t.Helper()
		if mine, err := l.Take(); err != nil || mine != want || l.Held() != want {
			t.Errorf("taken: %v, held: %v, %v", mine, l.Held(), err)
		}
	}
	if _, err := os.Stat(dir); a.Held() || err == nil {
		t.Error("it is there before it is taken")
	}
	take(a, true)
	take(a, true)
	take(b, false)
	take(other, true)
	if i, err := os.Stat(filepath.Join(dir, "lock")); err != nil || i.Mode().Perm() != FileMode {
		t.Errorf("%v, %v", i, err)
	}
	for range 2 {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	}
	take(b, true)
	take(a, false)
	for _, l := range []*Lock{b, other} {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := NewLock(filepath.Join(dir, "lock", "x"), "lock").Take(); err == nil {
		t.Error("a directory that cannot be made is no error")
	}
}
