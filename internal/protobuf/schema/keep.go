package schema

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"

	"sluice/internal/state"
)

// A kept upload is a file that has the name of its schema:
//
//	"sls" version | SHA-256 of all after | FileDescriptorSet
const (
	keptMagic  = "sls\x01"
	keptSuffix = ".schema"
)

var errDamaged = errors.New("the file is damaged")

// persist brings the directory to hold what it has to when a name's schema
// changes: uploads and nothing else. r.mu is held.
func (r *Registry) persist(name string, old, s *Schema) error {
	switch {
	case r.opt.Dir == "":
		return nil
	case s != nil && s.Upload:
		if err := os.MkdirAll(r.opt.Dir, state.FolderMode); err != nil {
			return err
		}
		return writeKept(filepath.Join(r.opt.Dir, name+keptSuffix), s.set)
	case old != nil && old.Upload:
		return state.Remove(filepath.Join(r.opt.Dir, name+keptSuffix))
	}
	return nil
}

// writeKept replaces a file, whole or not at all.
func writeKept(path string, set []byte) error {
	sum := sha256.Sum256(set)
	return state.Replace(path, func(w io.Writer) error {
		_, err := w.Write(bytes.Join([][]byte{[]byte(keptMagic), sum[:], set}, nil))
		return err
	})
}

// Tidy makes the directory and removes what a crash left half written, and uploads
// whose names belong to loaded schemas now. Up to then Prepare leaves files alone.
func (r *Registry) Tidy() error {
	if r.opt.Dir == "" {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := os.MkdirAll(r.opt.Dir, state.FolderMode); err != nil {
		return err
	}
	r.tidy = true
	entries, err := os.ReadDir(r.opt.Dir)
	for _, e := range entries {
		name, _ := strings.CutSuffix(e.Name(), keptSuffix)
		s := r.now.Load().byName[name]
		if strings.HasSuffix(e.Name(), keptSuffix+state.NewSuffix) || name != e.Name() && s != nil && !s.Upload {
			err = errors.Join(err, os.Remove(filepath.Join(r.opt.Dir, e.Name())))
		}
	}
	return err
}

// restore reads the uploads that the directory holds.
func (r *Registry) restore() error {
	entries, err := os.ReadDir(r.opt.Dir) // sorted
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return err
	}
	for _, e := range entries {
		path := filepath.Join(r.opt.Dir, e.Name())
		name, ok := strings.CutSuffix(e.Name(), keptSuffix)
		if !ok {
			continue
		}
		if err := r.restoreOne(name, path); err != nil {
			r.log.Warn("a kept schema is skipped", "schema", name, "file", path, "error", err)
		}
	}
	return nil
}

// restoreOne takes up one upload. It is within the limits of today or skipped.
func (r *Registry) restoreOne(name, path string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	l := r.opt.Limits.withDefaults()
	b, err := readLimited(os.Open, path, l.maxSet()+len(keptMagic)+sha256.Size)
	if err != nil {
		return err
	}
	b, ok := bytes.CutPrefix(b, []byte(keptMagic))
	if !ok || len(b) < sha256.Size {
		return errDamaged
	}
	set := b[sha256.Size:]
	if sum := sha256.Sum256(set); string(sum[:]) != string(b[:sha256.Size]) {
		return errDamaged
	}
	d := decoder{limits: l}
	d.limits.MaxBytes = l.maxSet()
	files, err := d.set(set)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(context.Background(), l.Timeout, errTimeout)
	defer cancel()
	s, err := build(ctx, name, files, l)
	if err != nil {
		return cause(ctx, err)
	}
	s.Upload = true
	after := r.now.Load().with(name, s)
	if err := r.room(after); err != nil {
		return err
	}
	r.now.Store(after)
	return nil
}
