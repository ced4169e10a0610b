package schema

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const textType, setType = "text/plain; charset=utf-8", "application/x-protobuf"

// load loads locations, which has to go well.
func load(t testing.TB, locations ...string) *Schema {
	t.Helper()
	s, err := Load(context.Background(), Source{Name: "s", Locations: locations}, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// parseOK makes a schema of a text.
func parseOK(t testing.TB, name, text string) *Schema {
	t.Helper()
	s, err := Parse(name, textType, []byte(text), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// refused checks that an error is there, is one of that kind (nil is any) and
// says all of those words.
func refused(t testing.TB, err, kind error, words ...string) {
	t.Helper()
	if err == nil {
		t.Error("no error")
		return
	}
	if kind != nil && !errors.Is(err, kind) {
		t.Errorf("%v: not %v", err, kind)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%v: does not say %q", err, w)
		}
	}
}

// write writes files, by path, into a new folder.
func write(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for path, text := range files {
		name := filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// set makes a FileDescriptorSet of files.
func set(files ...*descriptorpb.FileDescriptorProto) []byte {
	b, err := proto.Marshal(&descriptorpb.FileDescriptorSet{File: files})
	if err != nil {
		panic(err)
	}
	return b
}
