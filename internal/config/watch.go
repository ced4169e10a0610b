package config

import (
	"context"
	"crypto/sha256"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"
)

// settle is how long a file has to have the same contents before they are used: an
// editor or a deploy tool makes several changes in a row.
const settle = 200 * time.Millisecond

// Contents tells contents of a configuration file apart. The zero value is that of
// one that cannot be read.
type Contents [sha256.Size]byte

// Watch loads the configuration again whenever its file has other contents
// than before, at first than last, and hands it, or the reason why it cannot be used, to changed.
// It returns when ctx is done, or at once with an error when the file cannot
// be watched.
//
// The folders of the file and of what it links to are watched, not the file:
// most programs replace a file and do not write into it, and Kubernetes swaps
// a link to the folder. A file that is mounted alone into a container cannot
// be watched so. What a secret's "file:" names is not watched either.
func Watch(ctx context.Context, o LoadOptions, last Contents, changed func(*Config, error)) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch configuration: %w", err)
	}
	defer func() { _ = w.Close() }()
	if err := follow(w, o.File); err != nil {
		return fmt.Errorf("watch configuration: %w", err)
	}
	timer := time.NewTimer(settle) // at once, as the file may have changed before it was watched
	defer timer.Stop()
	look := func() { timer.Reset(settle) }
	looking, seen := true, last
	for {
		select {
		case <-ctx.Done():
			return nil
		case _, ok := <-w.Events:
			if !ok {
				return nil
			}
			// Another file's, maybe, such as a log in which there is never a pause: what
			// has to settle is what the file holds.
			if !looking {
				looking = true
				look()
			}
		case <-w.Errors: //nolint:errcheck // which it was makes no difference
			// An overflow: events were lost, so look.
			looking = true
			look()
		case <-timer.C:
			looking = false
			switch now := ContentsOf(o.File); {
			case now != seen && now != last:
				looking = true
				look()
				seen = now
			case now != last:
				last = now
				changed(Load(o))
			default:
				seen = now
			}
			// A link may lead to another folder now; one that cannot be watched
			// leaves the others.
			_ = follow(w, o.File)
		}
	}
}

// follow watches the folders of the file and of what it links to.
func follow(w *fsnotify.Watcher, file string) error {
	dirs := []string{filepath.Dir(file)}
	if real, err := filepath.EvalSymlinks(file); err == nil && filepath.Dir(real) != dirs[0] {
		dirs = append(dirs, filepath.Dir(real))
	}
	for _, old := range w.WatchList() {
		if !slices.Contains(dirs, old) {
			_ = w.Remove(old)
		}
	}
	for _, dir := range dirs {
		if err := w.Add(dir); err != nil {
			return err
		}
	}
	return nil
}

// ContentsOf gives what a file has now. What is no regular file, as a pipe from another
// program, can be read once and is left alone.
func ContentsOf(file string) (c Contents) {
	b, err := readRegular(file, maxFile+1)
	if err != nil {
		return c
	}
	return sha256.Sum256(b)
}
