package schema

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"google.golang.org/protobuf/types/descriptorpb"
)

// folders are the roots in which files are found by their paths, first come
// first served. What lies outside of a root cannot be reached by way of it, be
// it by ".." or by a symbolic link.
type folders struct {
	names []string
	roots []*os.Root
}

// compileFolders compiles .proto files and all of those in folders.
func compileFolders(ctx context.Context, locations, importPaths []string, l Limits) ([]*descriptorpb.FileDescriptorProto, error) {
	var f folders
	defer f.close()
	for _, name := range importPaths {
		if err := f.add(name); err != nil {
			return nil, err
		}
	}
	var paths []string
	for _, location := range locations {
		more, err := f.list(location, l)
		if err != nil {
			return nil, err
		}
		paths = append(paths, more...)
	}
	slices.Sort(paths)
	return newTexts(l, f.read).compile(ctx, slices.Compact(paths))
}

func (f *folders) add(name string) error {
	abs, err := filepath.Abs(name)
	if err != nil || slices.Contains(f.names, abs) {
		return err
	}
	root, err := os.OpenRoot(abs)
	if err != nil {
		return err
	}
	f.names, f.roots = append(f.names, abs), append(f.roots, root)
	return nil
}

func (f *folders) close() {
	for _, r := range f.roots {
		_ = r.Close()
	}
}

// read reads the file at a path of an import.
func (f *folders) read(path string, limit int) ([]byte, error) {
	if !fs.ValidPath(path) {
		return nil, fmt.Errorf("import %.200q is no path from a root", path)
	}
	for _, r := range f.roots {
		b, err := readLimited(r.Open, filepath.FromSlash(path), limit)
		if !errors.Is(err, fs.ErrNotExist) {
			return b, err
		}
	}
	return nil, fmt.Errorf("%.200q is not in %s: %w", path, strings.Join(f.names, ", "), fs.ErrNotExist)
}

// list gives the paths of a .proto file, or of all in a folder and below.
// Folders whose names begin with a dot are passed by.
func (f *folders) list(location string, l Limits) ([]string, error) {
	abs, err := filepath.Abs(location)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(abs)
	if err != nil {
		return nil, err
	}
	root := abs
	if !info.IsDir() {
		root = filepath.Dir(abs)
	}
	if !slices.ContainsFunc(f.names, func(name string) bool { _, ok := below(name, abs); return ok }) {
		if err := f.add(root); err != nil {
			return nil, err
		}
	}
	var paths []string
	err = filepath.WalkDir(abs, func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && name != abs && strings.HasPrefix(d.Name(), "."):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(name, ".proto"):
			return nil
		case len(paths) == l.MaxFiles:
			return over("files", l.MaxFiles)
		}
		path, err := f.path(name, l.MaxBytes)
		if _, ok := standard(path); !ok && err == nil {
			paths = append(paths, path)
		}
		return err
	})
	if err == nil && len(paths) == 0 {
		err = fmt.Errorf("%s holds no .proto file", location)
	}
	return paths, err
}

// path gives the path of a file from the first root that is above it. Another
// root that comes first may have a file of that path; it must be a copy.
func (f *folders) path(name string, limit int) (string, error) {
	i := slices.IndexFunc(f.names, func(root string) bool { _, ok := below(root, name); return ok })
	path, _ := below(f.names[i], name)
	if i == 0 {
		return path, nil
	}
	mine, err := readLimited(os.Open, name, limit)
	if err != nil {
		return "", err
	}
	found, err := f.read(path, limit)
	if err == nil && !bytes.Equal(mine, found) {
		err = fmt.Errorf("%s is hidden by another %s in a root that comes first", name, path)
	}
	return path, err
}

// below gives the path from a root to a file, if that is in it.
func below(root, name string) (string, bool) {
	rel, err := filepath.Rel(root, name)
	return filepath.ToSlash(rel), err == nil && filepath.IsLocal(rel)
}
