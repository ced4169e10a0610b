// Command release makes what a version of Sluice is handed out as: for each
// target an archive, an image and a bill of materials, the chart, on request what
// go install finds at an address, and a file with the sums of all. Whoever runs it on the
// same commit gets the same bytes, in whichever folder: no time but the commit's, no owner
// and no path of the machine goes into them.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

func main() {
	log.SetFlags(0)
	var r release
	flag.StringVar(&r.root, "root", "..", "`folder` with the sources")
	flag.StringVar(&r.out, "out", "../dist", "`folder` to write to; it is made")
	flag.StringVar(&r.version, "version", "", "`version`; what git describe says where it is left out")
	targets := flag.String("targets", "linux/amd64,linux/arm64,darwin/amd64,darwin/arm64", "`list` of GOOS/GOARCH")
	flag.StringVar(&r.module, "module", "", "`address` that go install is to find the release by; none where it is left out")
	flag.StringVar(&r.toolchain, "toolchain", "", "`version` of Go; that of release/toolchain where it is left out")
	flag.Parse()
	r.targets = strings.Split(*targets, ",")
	if err := r.make(); err != nil {
		log.Fatal("release: ", err)
	}
}

// release is what is to be made. All of it is of one version and one time.
type release struct {
	root, out string
	version   string
	module    string // the address of the module, "" for none
	toolchain string // as GOTOOLCHAIN has it
	targets   []string
	time      time.Time // of the commit, or SOURCE_DATE_EPOCH

	work  string // for files that are parts of others
	share []file // what every archive has
	made  []string
}

func (r *release) make() error {
	if err := r.stamp(); err != nil {
		return err
	}
	var err error
	if r.work, err = os.MkdirTemp("", "release-"); err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(r.work) }()
	if err := os.MkdirAll(r.out, 0o755); err != nil {
		return err
	}
	if err := r.shared(); err != nil {
		return err
	}
	for _, target := range r.targets {
		if err := r.makeTarget(target); err != nil {
			return fmt.Errorf("%s: %w", target, err)
		}
	}
	if err := r.chart(); err != nil {
		return fmt.Errorf("chart: %w", err)
	}
	if r.module != "" {
		if err := r.proxy(); err != nil {
			return fmt.Errorf("module: %w", err)
		}
	}
	return r.sums()
}

// stamp finds the version, the time and the Go to build with, where they are not given.
func (r *release) stamp() error {
	if r.version == "" {
		described, err := r.git("describe", "--tags", "--always", "--dirty", "--match", "v[0-9]*")
		if err != nil {
			return fmt.Errorf("no version: give -version, or use a checkout: %w", err)
		}
		r.version = strings.TrimSpace(string(described))
	}
	if !regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.+-]*$`).MatchString(r.version) {
		return fmt.Errorf("%q cannot be a version", r.version)
	}
	if r.module != "" {
		if err := r.checkModule(); err != nil {
			return err
		}
	}
	epoch := os.Getenv("SOURCE_DATE_EPOCH")
	if epoch == "" {
		committed, err := r.git("log", "-1", "--format=%ct")
		if err != nil {
			return fmt.Errorf("no time: set SOURCE_DATE_EPOCH, or use a checkout: %w", err)
		}
		epoch = strings.TrimSpace(string(committed))
	}
	seconds, err := strconv.ParseInt(epoch, 10, 64)
	if err != nil {
		return fmt.Errorf("SOURCE_DATE_EPOCH: %w", err)
	}
	r.time = time.Unix(seconds, 0).UTC()
	if r.toolchain == "" {
		named, err := os.ReadFile(filepath.Join(r.root, "release", "toolchain"))
		if err != nil {
			return err
		}
		r.toolchain = strings.TrimSpace(string(named))
	}
	return nil
}

// build makes the binary for a target, once. What the environment says of builds does
// not count, nor what version control says of the folder.
func (r *release) build(goos, goarch string) (path string, err error) {
	path = filepath.Join(r.work, "sluice_"+goos+"_"+goarch)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -X main.release="+r.version, "-o", path, "./cmd/sluice")
	cmd.Dir, cmd.Stderr = r.root, os.Stderr
	cmd.Env = append(os.Environ(), "GOTOOLCHAIN="+r.toolchain, "CGO_ENABLED=0", "GOFLAGS=", "GOEXPERIMENT=", "GOAMD64=v1", "GOARM64=v8.0", "GOFIPS140=off", "GOWORK=off", "GOOS="+goos, "GOARCH="+goarch)
	return path, cmd.Run()
}

func (r *release) makeTarget(target string) error {
	goos, goarch, ok := strings.Cut(target, "/")
	if !ok {
		return errors.New("a target is GOOS/GOARCH")
	}
	binary, err := r.build(goos, goarch)
	if err != nil {
		return err
	}
	name := strings.Join([]string{"sluice", r.version, goos, goarch}, "_")
	exe := file{name: "sluice", from: binary, mode: 0o755}
	if err := r.archive(name, append([]file{exe}, r.share...)); err != nil {
		return err
	}
	if err := r.bill(name, binary); err != nil {
		return err
	}
	if goos == "linux" {
		return r.image(name, goarch, binary)
	}
	return nil
}

// documents are the files of the repository that archives have at the same place: what the
// README links to.
func documents() []string {
	return []string{
		"LICENSE", "README.md", "README.zh-CN.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "sluice.example.yaml",
		"docs/*.md", "docs/decisions/*.md",
	}
}

// shared collects what archives have beside the binary: files of the repository,
// the man page with date and version in it, and completions, which a binary for
// this machine writes.
func (r *release) shared() error {
	var kept []string // what the checkout has of version control, where it is one
	list := exec.Command("git", "ls-files", "-z")
	list.Dir = r.root
	if out, err := list.Output(); err == nil {
		kept = strings.Split(string(out), "\x00")
	}
	for _, pattern := range documents() {
		names, err := fs.Glob(os.DirFS(r.root), pattern)
		if kept != nil { // not what else lies there
			names = slices.DeleteFunc(names, func(name string) bool { return !slices.Contains(kept, name) })
		}
		if err != nil || len(names) == 0 {
			return errors.Join(fmt.Errorf("there is no %s", pattern), err)
		}
		for _, name := range names {
			r.share = append(r.share, file{name: name, from: filepath.Join(r.root, filepath.FromSlash(name)), mode: 0o644})
		}
	}
	r.share = append(r.share, file{name: "lib/systemd/system/sluice.service", from: filepath.Join(r.root, "deploy/sluice.service"), mode: 0o644})
	page, err := os.ReadFile(filepath.Join(r.root, "docs/sluice.1"))
	if err != nil {
		return err
	}
	const head = `.TH SLUICE 1 "" "sluice"`
	dated := strings.Replace(string(page), head, fmt.Sprintf(".TH SLUICE 1 %q %q", r.time.Format(time.DateOnly), "sluice "+r.version), 1)
	if dated == string(page) {
		return fmt.Errorf("docs/sluice.1 has no line %s", head)
	}
	if err := r.part("share/man/man1/sluice.1", []byte(dated)); err != nil {
		return err
	}
	own, err := r.build(runtime.GOOS, runtime.GOARCH)
	if err != nil {
		return err
	}
	for shell, name := range map[string]string{
		"bash": "share/bash-completion/completions/sluice",
		"zsh":  "share/zsh/site-functions/_sluice",
		"fish": "share/fish/vendor_completions.d/sluice.fish",
	} {
		script, err := exec.Command(own, "completion", shell).Output()
		if err != nil {
			return fmt.Errorf("completion for %s: %w", shell, err)
		}
		if err := r.part(name, script); err != nil {
			return err
		}
	}
	return nil
}

// part adds a file that is made here to every archive.
func (r *release) part(name string, content []byte) error {
	from := filepath.Join(r.work, filepath.Base(name))
	r.share = append(r.share, file{name: name, from: from, mode: 0o644})
	return os.WriteFile(from, content, 0o600)
}
