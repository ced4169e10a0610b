package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// compressedSize is how many bytes some files, and those in folders, take as a layer of
// a container image: a tar, gzipped.
func compressedSize(paths []string) (int64, error) {
	var size byteCount
	zip := gzip.NewWriter(&size)
	layer := tar.NewWriter(zip)
	for _, path := range paths {
		path, err := filepath.EvalSymlinks(path) // a folder behind a link is one too
		if err != nil {
			return 0, err
		}
		err = filepath.WalkDir(path, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if d.IsDir() {
				return nil
			}
			return addFile(layer, path)
		})
		if err != nil {
			return 0, err
		}
	}
	if err := layer.Close(); err != nil {
		return 0, err
	}
	err := zip.Close()
	return int64(size), err
}

// addFile adds what a path leads to.
func addFile(layer *tar.Writer, path string) error {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() {
		return err // a link to a folder among the files is none of them
	}
	head, err := tar.FileInfoHeader(info, "")
	if err != nil {
		return err
	}
	head.Name = strings.TrimPrefix(path, "/")
	if err := layer.WriteHeader(head); err != nil {
		return err
	}
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = io.Copy(layer, file)
	return err
}

// byteCount counts what is written to it.
type byteCount int64

func (c *byteCount) Write(b []byte) (int, error) { *c += byteCount(len(b)); return len(b), nil }

// withLibraries are a program and the shared libraries that it is linked with.
func withLibraries(program string) ([]string, error) {
	program, err := filepath.EvalSymlinks(program)
	if err != nil {
		return nil, err
	}
	out, err := exec.Command("ldd", program).CombinedOutput()
	if err != nil {
		if bytes.Contains(out, []byte("not a dynamic executable")) {
			return []string{program}, nil
		}
		return nil, fmt.Errorf("ldd %s: %w\n%s", program, err, out)
	}
	return append([]string{program}, libraries(out)...), nil
}

// libraries are the files that ldd names.
func libraries(out []byte) (all []string) {
	for line := range strings.Lines(string(out)) {
		for _, field := range strings.Fields(line) {
			if strings.HasPrefix(field, "/") {
				all = append(all, field)
				break
			}
		}
	}
	return all
}
