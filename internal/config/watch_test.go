package config

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// watched starts Watch and returns what it hands on.
func watched(t *testing.T, file string) <-chan *Config {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	got, ended := make(chan *Config, 16), make(chan error, 1)
	before := ContentsOf(file)
	go func() {
		ended <- Watch(ctx, LoadOptions{File: file}, before, func(cfg *Config, err error) {
			if (cfg == nil) == (err == nil) {
				t.Errorf("handed on %v and %v", cfg, err)
			}
			got <- cfg // nil for a fault
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return got
}

// next waits for the port of the next configuration, -1 for a fault.
func next(t *testing.T, got <-chan *Config) int {
	t.Helper()
	select {
	case cfg := <-got:
		if cfg == nil {
			return -1
		}
		return cfg.Server.Port
	case <-time.After(time.Minute):
		t.Fatal("the change was not seen")
		return 0
	}
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func do(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestWatchSeesChanges(t *testing.T) {
	file := filepath.Join(t.TempDir(), "c.yaml")
	write(t, file, "server: {port: 1}")
	got := watched(t, file)

	write(t, file, "server: {port: 2}") // in place
	if p := next(t, got); p != 2 {
		t.Errorf("after a write: port %d", p)
	}
	write(t, file+".new", "server: {port: 3}") // as editors do
	do(t, os.Rename(file+".new", file))
	if p := next(t, got); p != 3 {
		t.Errorf("after a rename: port %d", p)
	}
	write(t, file, "server: {prot: 4}")
	if p := next(t, got); p != -1 {
		t.Errorf("after a fault: port %d", p)
	}
	do(t, os.Remove(file))
	if p := next(t, got); p != -1 {
		t.Errorf("after a removal: port %d", p)
	}
	write(t, file, "server: {port: 5}")
	if p := next(t, got); p != 5 {
		t.Errorf("after it came back: port %d", p)
	}
	// Other files and a touch are no change.
	write(t, file+".other", "x")
	do(t, os.Chtimes(file, time.Now(), time.Now()))
	write(t, file, "server: {port: 6}")
	if p := next(t, got); p != 6 || len(got) > 0 {
		t.Errorf("after a touch: port %d, %d more", p, len(got))
	}
}

// TestWatchFollowsKubernetes swaps the link to the folder, as a ConfigMap does.
func TestWatchFollowsKubernetes(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "..v1", "c.yaml"), "server: {port: 1}")
	do(t, os.Symlink("..v1", filepath.Join(dir, "..data")))
	do(t, os.Symlink(filepath.Join("..data", "c.yaml"), filepath.Join(dir, "c.yaml")))
	got := watched(t, filepath.Join(dir, "c.yaml"))
	for i, version := range []string{"..v2", "..v3"} {
		write(t, filepath.Join(dir, version, "c.yaml"), "server: {port: "+string(rune('2'+i))+"}")
		do(t, os.Symlink(version, filepath.Join(dir, "..new")))
		do(t, os.Rename(filepath.Join(dir, "..new"), filepath.Join(dir, "..data")))
		if p := next(t, got); p != 2+i {
			t.Errorf("%s: port %d", version, p)
		}
	}
}

// TestWatchFollowsLinks writes into the folder that a link leads to.
func TestWatchFollowsLinks(t *testing.T) {
	dir, away := t.TempDir(), t.TempDir()
	write(t, filepath.Join(away, "real.yaml"), "server: {port: 1}")
	do(t, os.Symlink(filepath.Join(away, "real.yaml"), filepath.Join(dir, "c.yaml")))
	got := watched(t, filepath.Join(dir, "c.yaml"))
	write(t, filepath.Join(away, "real.yaml"), "server: {port: 2}")
	if p := next(t, got); p != 2 {
		t.Errorf("port %d", p)
	}
}

func TestWatchNeedsAFolder(t *testing.T) {
	if err := Watch(t.Context(), LoadOptions{File: filepath.Join(t.TempDir(), "none", "c.yaml")}, Contents{}, nil); err == nil {
		t.Error("a folder that is not there is watched")
	}
}

// TestWatchInALoudFolder: a change is seen, and a fault, in a folder where others write all
// the time.
func TestWatchInALoudFolder(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "c.yaml")
	write(t, file, "server: {port: 1}")
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			case <-time.After(settle / 10):
				if err := os.WriteFile(filepath.Join(dir, "log"), []byte("x"), 0o600); err != nil {
					t.Error(err)
					return
				}
			}
		}
	}()
	defer func() {
		close(stop)
		<-stopped
	}()
	got := watched(t, file)
	write(t, file, "server: {port: 2}")
	if p := next(t, got); p != 2 {
		t.Errorf("port %d", p)
	}
	write(t, file, "server: {prot: 2}")
	if p := next(t, got); p != -1 {
		t.Errorf("port %d of a fault", p)
	}
}
