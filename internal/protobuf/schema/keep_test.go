package schema

import (
	"bytes"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"sluice/internal/state"
)

// Uploads are there after a restart, for this user alone; configured schemas
// are not, and what was removed or replaced by one neither.
func TestUploadsAreKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "when needed")
	r := newRegistry(t, Options{Dir: dir})
	up, other := parseOK(t, "up", hello), parseOK(t, "other", text("p", "M"))
	put(t, r, "up", other)
	put(t, r, "up", up)
	put(t, r, "gone", other)
	put(t, r, "replaced", other)
	if err := r.Remove("gone"); err != nil {
		t.Error(err)
	}
	put(t, r, "replaced", load(t, "testdata/protos"))
	put(t, r, "loaded", load(t, "testdata/protos"))

	info, err := os.Stat(filepath.Join(dir, "up"+keptSuffix))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	again := newRegistry(t, Options{Dir: dir})
	if got := names(again); !slices.Equal(got, []string{"up"}) {
		t.Fatalf("it holds %q", got)
	}
	s, md, err := again.Find("", "hello.Hello")
	if err != nil || s.Digest != up.Digest || !s.Upload || md.Fields().Len() != 2 {
		t.Errorf("%+v, %v", s, err)
	}
}

// A large schema whose descriptors are larger than its text is kept too.
func TestKeptSchemaMayBeLargerThanItsText(t *testing.T) {
	body := "syntax='proto3';package " + strings.Repeat("p", 20) + ";message M{message N{}"
	for i := range 60 {
		body += "M.N x" + string(rune('A'+i/26)) + string(rune('A'+i%26)) + "=" + string(rune('1'+i/10)) + string(rune('0'+i%10)) + ";"
	}
	limits := Limits{MaxBytes: len(body) + 1}
	s, err := Parse("s", textType, []byte(body+"}"), limits)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Descriptors()) <= limits.MaxBytes {
		t.Fatalf("%d bytes are no more than %d", len(s.Descriptors()), limits.MaxBytes)
	}
	dir := t.TempDir()
	put(t, newRegistry(t, Options{Dir: dir}), "s", s)
	if _, err := newRegistry(t, Options{Dir: dir, Limits: limits}).Get("s"); err != nil {
		t.Error(err)
	}
}

// What is damaged in any way is skipped, and a warning says so.
func TestDamagedFilesAreSkipped(t *testing.T) {
	dir := t.TempDir()
	r := newRegistry(t, Options{Dir: dir})
	good := parseOK(t, "good", hello)
	put(t, r, "good", good)
	file := filepath.Join(dir, "good"+keptSuffix)
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(whole)
	flipped[len(flipped)-3] ^= 1
	bad := map[string][]byte{
		"empty": nil, "short": whole[:20], "cut": whole[:len(whole)-1], "flipped": flipped,
		"other": append([]byte("xxx"), whole...), "bad name": whole, ".dot": whole,
	}
	for name, b := range bad {
		if err := os.WriteFile(filepath.Join(dir, name+keptSuffix), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "folder"+keptSuffix), 0o700); err != nil {
		t.Fatal(err)
	}
	half := file + state.NewSuffix
	if err := os.WriteFile(half, whole[:9], 0o600); err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	again := newRegistry(t, Options{Dir: dir, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if got := names(again); !slices.Equal(got, []string{"good"}) {
		t.Errorf("it holds %q", got)
	}
	if n := strings.Count(log.String(), "level=WARN"); n != len(bad)+1 {
		t.Errorf("%d warnings:\n%s", n, log.String())
	}
	if _, err := os.Stat(half); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what a crash left is there: %v", err)
	}
	for _, o := range []Options{{MaxBytes: 10}, {Limits: Limits{MaxFields: 1}}} {
		o.Dir = dir
		if got := names(newRegistry(t, o)); len(got) > 0 {
			t.Errorf("over the limits it holds %q", got)
		}
	}
}

// Where the disk is full nothing changes, in memory or on disk.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	r := newRegistry(t, Options{Dir: dir})
	old := parseOK(t, "s", hello)
	put(t, r, "s", old)
	full := filepath.Join(dir, "s"+keptSuffix+state.NewSuffix)
	if err := os.Symlink("/dev/full", full); err != nil {
		t.Fatal(err)
	}
	_, err := r.Put("s", parseOK(t, "s", text("p", "M")))
	refused(t, err, syscall.ENOSPC, `put schema "s"`)
	for _, r := range []*Registry{r, newRegistry(t, Options{Dir: dir})} {
		if s, err := r.Get("s"); err != nil || s.Digest != old.Digest {
			t.Errorf("%v", err)
		}
	}
	put(t, r, "s", parseOK(t, "s", text("p", "M"))) // there is room again
}

func TestDirCannotBeMade(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := NewRegistry(Options{Dir: filepath.Join(file, "dir")})
	refused(t, err, syscall.ENOTDIR, "read kept schemas")
}
