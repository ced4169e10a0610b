package main

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// file is one of an archive, or a folder where from is empty.
type file struct {
	name string // within it
	from string
	mode fs.FileMode
	text []byte // in place of from
}

// archive writes NAME.tar.gz, in which all files are below a folder of that name.
func (r *release) archive(name string, files []file) error {
	files = slices.Clone(files)
	for i := range files {
		files[i].name = name + "/" + files[i].name
	}
	return r.write(name+".tar.gz", func(w io.Writer) error {
		z, err := gzip.NewWriterLevel(w, gzip.BestCompression)
		if err != nil {
			return err
		}
		if err := r.tar(z, files); err != nil {
			return err
		}
		return z.Close()
	})
}

// tar writes files by their names, all of one time and of one owner.
func (r *release) tar(w io.Writer, files []file) error {
	slices.SortFunc(files, func(a, b file) int { return strings.Compare(a.name, b.name) })
	t := tar.NewWriter(w)
	for _, f := range files {
		h := &tar.Header{Name: f.name, Mode: int64(f.mode), ModTime: r.time, Format: tar.FormatUSTAR, Typeflag: tar.TypeReg}
		if f.mode.IsDir() {
			h.Typeflag, h.Mode = tar.TypeDir, tarMode(f.mode)
			if err := t.WriteHeader(h); err != nil {
				return err
			}
			continue
		}
		content := f.text
		if f.from != "" {
			var err error
			if content, err = os.ReadFile(f.from); err != nil {
				return err
			}
		}
		h.Size = int64(len(content))
		if err := t.WriteHeader(h); err != nil {
			return err
		}
		if _, err := t.Write(content); err != nil {
			return err
		}
	}
	return t.Close()
}

// tarMode has the sticky bit where tar has it.
func tarMode(m fs.FileMode) int64 {
	mode := int64(m.Perm())
	if m&fs.ModeSticky != 0 {
		mode |= 0o1000
	}
	return mode
}

// write makes a file of the release and notes its name.
func (r *release) write(name string, content func(io.Writer) error) error {
	path := filepath.Join(r.out, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	err = content(w)
	if err == nil {
		err = w.Flush()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	r.made = append(r.made, name)
	return nil
}

// chart writes the chart, with the release's version where that is one of the kind
// that Helm takes, as the archive that Helm installs.
func (r *release) chart() error {
	root := filepath.Join(r.root, "deploy/helm/sluice")
	var files []file
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		f := file{name: "sluice/" + filepath.ToSlash(name), from: path, mode: 0o644}
		if name == "Chart.yaml" {
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			f.from, f.text = "", r.chartVersion(text)
		}
		files = append(files, f)
		return nil
	})
	if err != nil {
		return err
	}
	return r.write("sluice-chart_"+r.version+".tgz", func(w io.Writer) error {
		z := gzip.NewWriter(w)
		if err := r.tar(z, files); err != nil {
			return err
		}
		return z.Close()
	})
}

func (r *release) chartVersion(chart []byte) []byte {
	semantic, ok := strings.CutPrefix(r.version, "v")
	if !ok || !regexp.MustCompile(`^\d+\.\d+\.\d+`).MatchString(semantic) {
		return chart
	}
	chart = regexp.MustCompile(`(?m)^version: .*$`).ReplaceAll(chart, []byte("version: "+semantic))
	return regexp.MustCompile(`(?m)^appVersion: .*$`).ReplaceAll(chart, []byte(fmt.Sprintf("appVersion: %q", r.version)))
}

// sums writes SHA256SUMS, as sha256sum -c reads it.
func (r *release) sums() error {
	made := slices.Sorted(slices.Values(r.made))
	return r.write("SHA256SUMS", func(w io.Writer) error {
		for _, name := range made {
			content, err := os.ReadFile(filepath.Join(r.out, name))
			if err != nil {
				return err
			}
			if _, err := fmt.Fprintf(w, "%x  %s\n", sha256.Sum256(content), name); err != nil {
				return err
			}
		}
		return nil
	})
}
