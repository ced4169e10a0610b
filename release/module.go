package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/format"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
	"golang.org/x/mod/semver"
	"golang.org/x/mod/zip"
)

// checkModule says whether Go can install the version from the module's address. Go takes
// semantic versions alone, and what is called one has to be the commit that was tagged so:
// a version of a module is for good.
func (r *release) checkModule() error {
	if semver.Canonical(r.version) != r.version {
		return fmt.Errorf("-module: %q is not a version that Go installs: tag the commit as vMAJOR.MINOR.PATCH", r.version)
	}
	if err := module.Check(r.module, r.version); err != nil {
		return fmt.Errorf("-module: %w", err)
	}
	tag, err := r.git("tag", "--points-at", "HEAD", "--list", r.version)
	if err != nil {
		return fmt.Errorf("-module: no checkout: %w", err)
	}
	if strings.TrimSpace(string(tag)) != r.version {
		return fmt.Errorf("-module: %s is not a tag of this commit", r.version)
	}
	return nil
}

// proxy writes what a server of Go modules has to answer with for go install to work from
// the module's address, as files that any web server can hand out
// (https://go.dev/ref/mod#goproxy-protocol). The module is the commit's source, called by
// its address; modules within it are not part of it.
func (r *release) proxy() error {
	files, err := r.source()
	if err != nil {
		return err
	}
	mod := slices.IndexFunc(files, func(f zip.File) bool { return f.Path() == "go.mod" })
	if mod < 0 {
		return errors.New("the commit has no go.mod")
	}
	info, err := json.Marshal(struct {
		Version string
		Time    time.Time
	}{r.version, r.time})
	if err != nil {
		return err
	}
	path, err := module.EscapePath(r.module)
	if err != nil {
		return err
	}
	version, err := module.EscapeVersion(r.version)
	if err != nil {
		return err
	}
	var archive bytes.Buffer
	if err := zip.Create(&archive, module.Version{Path: r.module, Version: r.version}, files); err != nil {
		return err
	}
	for name, content := range map[string][]byte{
		"@latest":                 info,
		"@v/list":                 []byte(r.version + "\n"),
		"@v/" + version + ".info": info,
		"@v/" + version + ".mod":  files[mod].(sourceFile).content,
		"@v/" + version + ".zip":  archive.Bytes(),
	} {
		if err := r.write("goproxy/"+path+"/"+name, func(w io.Writer) error {
			_, err := w.Write(content)
			return err
		}); err != nil {
			return err
		}
	}
	return nil
}

// sourceFile is one of the module.
type sourceFile struct {
	fs.FileInfo
	path    string
	content []byte
}

func (f sourceFile) Path() string                { return f.path }
func (f sourceFile) Size() int64                 { return int64(len(f.content)) }
func (f sourceFile) Lstat() (fs.FileInfo, error) { return f, nil }
func (f sourceFile) Open() (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(f.content)), nil
}

// source gives the commit's files, with the module called by its address in go.mod and
// wherever a package of it is imported. Ends of lines are those of the repository.
func (r *release) source() ([]zip.File, error) {
	all, err := r.git("-c", "core.autocrlf=input", "-c", "core.eol=lf", "archive", "--format=tar", "HEAD")
	if err != nil {
		return nil, err
	}
	text, err := r.git("show", "HEAD:./go.mod")
	if err != nil {
		return nil, err
	}
	mod, err := modfile.Parse("go.mod", text, nil)
	if err != nil {
		return nil, err
	}
	was := mod.Module.Mod.Path
	if err := mod.AddModuleStmt(r.module); err != nil {
		return nil, err
	}
	var files []zip.File
	for archive := tar.NewReader(bytes.NewReader(all)); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			return nil, err
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		f := sourceFile{FileInfo: h.FileInfo(), path: h.Name}
		if f.content, err = io.ReadAll(archive); err != nil {
			return nil, err
		}
		switch {
		case f.path == "go.mod":
			f.content, err = mod.Format()
		case strings.HasSuffix(f.path, ".go"):
			f.content, err = renamed(f.content, was, r.module)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.path, err)
		}
		files = append(files, f)
	}
}

// renamed gives a Go file that imports packages of the module by another path. Nothing
// else in it changes but the order of imports, which goes by their paths.
func renamed(text []byte, was, is string) ([]byte, error) {
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, "", text, parser.ImportsOnly)
	if err != nil {
		return nil, err
	}
	changed := false
	for _, spec := range slices.Backward(f.Imports) {
		path, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return nil, err
		}
		below, ok := strings.CutPrefix(path, was)
		if !ok || below != "" && below[0] != '/' {
			continue
		}
		at := fset.PositionFor(spec.Path.Pos(), false).Offset
		text = slices.Replace(text, at, at+len(spec.Path.Value), []byte(strconv.Quote(is+below))...)
		changed = true
	}
	if !changed {
		return text, nil
	}
	return format.Source(text)
}

// git gives what a command of Git prints about the sources.
func (r *release) git(args ...string) ([]byte, error) {
	cmd := exec.Command("git", append([]string{"-C", r.root}, args...)...)
	cmd.Stderr = os.Stderr
	return cmd.Output()
}
