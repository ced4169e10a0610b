package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

const (
	version      = "v1.2.3"
	largestImage = 15_000_000 // bytes, compressed
)

// copyTree makes a folder with what the repository holds, and what is about to.
func copyTree(t *testing.T, to string) {
	t.Helper()
	list := exec.Command("git", "-C", "..", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	for name := range strings.SplitSeq(strings.Trim(string(out), "\x00"), "\x00") {
		content, err := os.ReadFile(filepath.Join("..", name))
		if err != nil {
			continue // it was removed
		}
		path := filepath.Join(to, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// TestRelease makes a release for this machine in two folders, and looks at all that
// it consists of. RELEASE_TARGETS has others made as well.
func TestRelease(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	own := runtime.GOOS + "/" + runtime.GOARCH
	targets := []string{own}
	if more := os.Getenv("RELEASE_TARGETS"); more != "" {
		targets = append(targets, strings.Split(more, ",")...)
	}
	var outs []string
	for _, folder := range []string{"a", "another/folder of a longer name"} {
		root := filepath.Join(t.TempDir(), folder)
		copyTree(t, root)
		commit(t, root, version)
		r := release{root: root, out: filepath.Join(root, "dist"), version: version, module: address, targets: targets, toolchain: "local"} // whatever there is compiled already
		if err := r.make(); err != nil {
			t.Fatal(err)
		}
		outs = append(outs, r.out)
	}
	names := files(t, outs[0])
	if other := files(t, outs[1]); !slices.Equal(names, other) {
		t.Fatalf("%v and %v", names, other)
	}
	if len(names) < 2+2*len(targets) {
		t.Errorf("it consists of %v", names)
	}
	for _, name := range names {
		if a, b := read(t, outs[0], name), read(t, outs[1], name); !bytes.Equal(a, b) {
			t.Errorf("%s is not the same, made in two folders: %d and %d bytes, that differ first at %d", name, len(a), len(b), differ(a, b))
		}
	}
	check := exec.Command("sha256sum", "--check", "--strict", "SHA256SUMS")
	check.Dir = outs[0]
	if out, err := check.CombinedOutput(); err != nil || bytes.Count(out, []byte(": OK")) != len(names)-1 {
		t.Errorf("%v\n%s", err, out)
	}

	name := strings.Join([]string{"sluice", version, runtime.GOOS, runtime.GOARCH}, "_")
	t.Run("archive", func(t *testing.T) { testArchive(t, filepath.Join(outs[0], name+".tar.gz"), name) })
	t.Run("bill", func(t *testing.T) { testBill(t, filepath.Join(outs[0], name+".cdx.json")) })
	t.Run("image", func(t *testing.T) { testImage(t, filepath.Join(outs[0], name+".image.tar")) })
	t.Run("go install", func(t *testing.T) {
		t.Run("by address", func(t *testing.T) { testInstall(t, filepath.Join(outs[0], "goproxy")) })
		// In a checkout, as here, or in an archive of it.
		t.Run("by folder", func(t *testing.T) {
			if got := install(t, filepath.Dir(outs[1]), "./cmd/sluice"); !strings.HasPrefix(got, "sluice devel (go") {
				t.Error(got)
			}
		})
	})
}

func files(t *testing.T, dir string) (names []string) {
	t.Helper()
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names = append(names, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func read(t *testing.T, dir, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func differ(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

// unpack writes what an archive holds, and wants no entry to say whose machine it
// was made on.
func unpack(t *testing.T, r io.Reader, to string) {
	t.Helper()
	archive := tar.NewReader(r)
	for {
		h, err := archive.Next()
		if err == io.EOF {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Uid != 0 || h.Gid != 0 || h.Uname != "" || h.Gname != "" || h.ModTime.Unix() != 1700000000 {
			t.Errorf("%s: %+v", h.Name, h)
		}
		path := filepath.Join(to, h.Name)
		if h.Typeflag == tar.TypeDir {
			if err := os.MkdirAll(path, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, h.FileInfo().Mode()); err != nil {
				t.Fatal(err)
			}
			continue
		}
		content, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, fs.FileMode(h.Mode).Perm()); err != nil {
			t.Fatal(err)
		}
	}
}

func testArchive(t *testing.T, path, name string) {
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	unpack(t, z, dir)
	dir = filepath.Join(dir, name)
	for file, want := range map[string]string{
		"LICENSE":                                     "Apache License",
		"README.md":                                   "# Sluice",
		"sluice.example.yaml":                         "server:",
		"lib/systemd/system/sluice.service":           "[Service]",
		"share/man/man1/sluice.1":                     `.TH SLUICE 1 "2023-11-14" "sluice v1.2.3"`,
		"share/bash-completion/completions/sluice":    "__start_sluice",
		"share/zsh/site-functions/_sluice":            "#compdef sluice",
		"share/fish/vendor_completions.d/sluice.fish": "complete -c sluice",
	} {
		if !strings.Contains(string(read(t, dir, file)), want) {
			t.Errorf("%s does not hold %q", file, want)
		}
	}
	testLinks(t, dir, "README.md")
	testLinks(t, dir, "README.zh-CN.md")
	out, err := exec.Command(filepath.Join(dir, "sluice"), "version").Output()
	if err != nil || !strings.HasPrefix(string(out), "sluice "+version+" (go") {
		t.Errorf("%s, %v", out, err)
	}
	if out, err := exec.Command(filepath.Join(dir, "sluice"), "check", "--config", filepath.Join(dir, "sluice.example.yaml")).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// testLinks wants what a page of an archive links to within the repository to be there.
func testLinks(t *testing.T, dir, page string) {
	t.Helper()
	checked := 0
	for _, m := range regexp.MustCompile(`\]\(([^)#\s]+)(?:#[^)]*)?\)`).FindAllStringSubmatch(string(read(t, dir, page)), -1) {
		if strings.Contains(m[1], "://") {
			continue
		}
		checked++
		if _, err := os.Stat(filepath.Join(dir, m[1])); err != nil {
			t.Errorf("%s links to %s, which is not in the archive", page, m[1])
		}
	}
	if checked < 50 {
		t.Errorf("%s has only %d links", page, checked)
	}
}

func testBill(t *testing.T, path string) {
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var bom cdx.BOM
	if err := cdx.NewBOMDecoder(f, cdx.BOMFileFormatJSON).Decode(&bom); err != nil {
		t.Fatal(err)
	}
	if c := bom.Metadata.Component; c.Name != "sluice" || c.Version != version {
		t.Errorf("%+v", c)
	}
	mods := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}}{{end}}{{end}}", "./cmd/sluice")
	mods.Dir = ".."
	out, err := mods.Output()
	if err != nil {
		t.Fatal(err)
	}
	want := slices.Compact(slices.Sorted(slices.Values(strings.Split(strings.TrimSpace(string(out)), "\n"))))
	want = slices.DeleteFunc(want, func(s string) bool { return s == "" })
	var got []string
	for _, c := range *bom.Components {
		if c.Name != "std" {
			got = append(got, c.Name+" "+c.Version)
		} else if c.Version != runtime.Version() {
			t.Errorf("the standard library of %s", c.Version)
		}
	}
	if slices.Sort(got); !slices.Equal(got, want) {
		t.Errorf("the bill has\n%v\nand the binary\n%v", got, want)
	}
}

// testImage looks at what an image weighs and holds, and runs it.
func testImage(t *testing.T, path string) {
	img, err := tarball.ImageFromPath(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	layers, err := img.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("%d layers, %v", len(layers), err)
	}
	size, err := layers[0].Size()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the image has %d bytes, compressed", size)
	if size > largestImage {
		t.Errorf("the image has %d bytes, compressed, which is more than %d", size, largestImage)
	}
	file, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if c := file.Config; c.User != "65532:65532" || !slices.Equal(c.Entrypoint, []string{"/sluice"}) || !slices.Equal(c.Cmd, []string{"serve"}) || c.Healthcheck == nil ||
		file.Architecture != runtime.GOARCH || file.Created.Unix() != 1700000000 {
		t.Errorf("%+v", file)
	}
	content, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	root := t.TempDir()
	unpack(t, content, root)
	if roots := x509.NewCertPool(); !roots.AppendCertsFromPEM(read(t, root, "etc/ssl/certs/ca-certificates.crt")) {
		t.Error("no certificates")
	}
	run(t, root, file.Config)
}

// run runs the image's command and its check of health in the image's folder, by the
// image's user.
func run(t *testing.T, root string, c v1.Config) {
	if os.Geteuid() != 0 {
		t.Log("not run: only root can")
		return
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	l.Close() // what is free now stays so, most likely
	if err := os.MkdirAll(filepath.Join(root, "etc/sluice"), 0o755); err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf("server:\n  port: %s\n  api_keys: [{name: a, hash: \"sha256:%x\"}]\n", port, sha256.Sum256([]byte("key")))
	if err := os.WriteFile(filepath.Join(root, "etc/sluice/sluice.yaml"), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	for dir := root; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil { // a test's folders are its user's
			t.Fatal(err)
		}
	}
	inside := func(words []string) (*exec.Cmd, *bytes.Buffer) {
		var out bytes.Buffer
		cmd := &exec.Cmd{Path: words[0], Args: words, Env: c.Env, Dir: "/", Stdout: &out, Stderr: &out, SysProcAttr: &syscall.SysProcAttr{
			Chroot: root, Credential: &syscall.Credential{Uid: 65532, Gid: 65532},
		}}
		return cmd, &out
	}
	serve, log := inside(append(slices.Clone(c.Entrypoint), c.Cmd...))
	if err := serve.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = serve.Process.Kill() }()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		health, out := inside(c.Healthcheck.Test[1:])
		err := health.Run()
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%v: %s\n", err, out)
		}
	}
	_ = serve.Process.Signal(syscall.SIGTERM)
	if err := serve.Wait(); err != nil || !strings.Contains(log.String(), "listens on http://[::]:"+port) {
		t.Errorf("%v\n%s", err, log)
	}
}

// TestVersions: what is no version makes no release.
func TestVersions(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "0")
	for version, want := range map[string]bool{"v1.2.3": true, "b4f57df-dirty": true, "v1.2.3-rc.1+x": true, "../v1": false, "a b": false, "-X": false} {
		r := release{root: "..", version: version}
		if err := r.stamp(); (err == nil) != want {
			t.Errorf("%q: %v", version, err)
		}
	}
}

// TestChartVersion: a chart's version is of a kind of its own.
func TestChartVersion(t *testing.T) {
	const chart = "name: sluice\nversion: 0.0.0\nappVersion: \"latest\"\n"
	for version, want := range map[string]string{
		"v1.2.3":  "name: sluice\nversion: 1.2.3\nappVersion: \"v1.2.3\"\n",
		"b4f57df": chart,
	} {
		if got := string((&release{version: version}).chartVersion([]byte(chart))); got != want {
			t.Errorf("%s: %q", version, got)
		}
	}
}
