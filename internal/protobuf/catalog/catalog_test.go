package catalog

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sluice/internal/protobuf/schema"
)

const textType = "text/plain"

func newCatalog(t *testing.T, cfg Config, dir string) *Catalog {
	t.Helper()
	c, err := New(t.Context(), cfg, Options{StateDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// file writes a schema with one message.
func file(t *testing.T, path, message string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(`syntax = "proto3"; message `+message+` {}`), 0o600); err != nil {
		t.Fatal(err)
	}
}

func upload(t *testing.T, c *Catalog, name, message string) {
	t.Helper()
	if _, err := c.Upload(name, textType, []byte(`syntax = "proto3"; message `+message+` {}`)); err != nil {
		t.Fatal(err)
	}
}

// known lists "name message" of all schemas, with a star after an upload.
func known(c *Catalog) string {
	var list []string
	for _, s := range c.List() {
		text := s.Name + " " + string(s.Messages()[0].FullName())
		if s.Upload {
			text += "*"
		}
		list = append(list, text)
	}
	return strings.Join(list, ", ")
}

func files(t *testing.T, dir string) (list []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

// What is prepared has no effect, in memory or on disk, until it is committed.
func TestPrepare(t *testing.T) {
	dir, state := t.TempDir(), filepath.Join(t.TempDir(), "schemas")
	path := filepath.Join(dir, "a.proto")
	file(t, path, "A")
	cfg := Default()
	cfg.Schemas = []string{path}
	c := newCatalog(t, cfg, state)
	if list := files(t, filepath.Dir(state)); len(list) > 0 {
		t.Errorf("a catalog that has not begun wrote %q", list)
	}
	c.Begin()
	upload(t, c, "up", "Up")
	upload(t, c, "kept", "Kept")
	var gone [][32]byte
	stop := c.Follow(func(digest [32]byte) { gone = append(gone, digest) })
	defer stop()
	old, _ := c.Find("", "A")

	file(t, path, "B")
	cfg.Schemas = []string{path, "up=" + path}
	commit, err := c.Prepare(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	check := func(what, want string, kept ...string) {
		t.Helper()
		if got := known(c); got != want {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
		if list := files(t, state); !slices.Equal(list, kept) {
			t.Errorf("%s: files %q, want %q", what, list, kept)
		}
	}
	check("prepared", "a A, kept Kept*, up Up*", "kept.schema", "up.schema")
	upload(t, c, "late", "Late")
	commit()
	check("committed", "a B, kept Kept*, late Late*, up B", "kept.schema", "late.schema")
	if len(gone) != 2 || gone[0] != old.Digest {
		t.Errorf("%d schemas are gone: %x, want that of A %x and of Up", len(gone), gone, old.Digest)
	}
	if found, err := c.Find("up", "B"); err != nil || found.Plan == nil || found.Name != "B" {
		t.Errorf("%+v, %v", found, err)
	}

	// What is refused, is whole.
	for why, bad := range map[string]func(*Config){
		"broken":         func(c *Config) { file(t, path, "{") },
		"no room":        func(c *Config) { c.MaxSchemas = 3 },
		"two of a name":  func(c *Config) { c.Schemas = []string{path, path} },
		"nothing there":  func(c *Config) { c.Schemas = []string{filepath.Join(dir, "none.proto")} },
		"another scheme": func(c *Config) { c.Schemas = []string{"ftp://x"} },
	} {
		file(t, path, "C")
		other := cfg
		bad(&other)
		if _, err := c.Prepare(t.Context(), other); err == nil {
			t.Errorf("%s: no error", why)
		}
		check(why, "a B, kept Kept*, late Late*, up B", "kept.schema", "late.schema")
	}

	// What the configuration names no more is gone.
	cfg.Schemas = nil
	if commit, err = c.Prepare(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	commit()
	check("none", "kept Kept*, late Late*", "kept.schema", "late.schema")
	again := newCatalog(t, cfg, state)
	if got := known(again); got != known(c) {
		t.Errorf("after a restart: %s", got)
	}
	file(t, path, "C")
	cfg.Schemas = []string{"kept=" + path}
	again = newCatalog(t, cfg, state)
	check("made", "kept Kept*, late Late*", "kept.schema", "late.schema")
	if again.Begin(); known(again) != "kept C, late Late*" {
		t.Errorf("begun: %s", known(again))
	}
	check("begun", "kept Kept*, late Late*", "late.schema")
}

// A catalog takes over what was uploaded to another one, where it has the room and
// the name is free.
func TestTakeOver(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.proto")
	file(t, path, "A")
	before := newCatalog(t, Default(), "")
	for _, name := range []string{"a", "b", "c"} {
		upload(t, before, name, "Up")
	}
	after := newCatalog(t, Config{Schemas: []string{path}, MaxSchemaBytes: 1 << 10, MaxSchemas: 2}, "")
	after.TakeOver(before)
	if got := known(after); got != "a A, b Up*" {
		t.Error(got)
	}
}

// The limit of an upload is that of the configuration in use.
func TestUploadLimit(t *testing.T) {
	cfg := Default()
	c := newCatalog(t, cfg, "")
	cfg.MaxSchemaBytes = 1 << 10
	commit, err := c.Prepare(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	body := []byte(`syntax = "proto3"; message A {}` + strings.Repeat(" ", 1<<10))
	if _, err := c.Upload("a", textType, body); err != nil {
		t.Errorf("prepared: %v", err)
	}
	commit()
	_, err = c.Upload("b", textType, body)
	if _, ok := errors.AsType[*InvalidError](err); !ok || !errors.Is(err, schema.ErrLimit) {
		t.Errorf("committed: %v", err)
	}
}

func TestFollow(t *testing.T) {
	c := newCatalog(t, Default(), "")
	n := 0
	stop := c.Follow(func([32]byte) { n++ })
	upload(t, c, "a", "A")
	if err := c.Remove("a"); err != nil || n != 1 {
		t.Errorf("%d, %v", n, err)
	}
	stop()
	upload(t, c, "a", "A")
	if err := c.Remove("a"); err != nil || n != 1 {
		t.Errorf("after stop: %d, %v", n, err)
	}
}

// All schemas that cannot be used are told of, and no server is asked.
func TestCheckFiles(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	asked := make(chan bool, 1)
	go func() {
		_, err := l.Accept()
		asked <- err == nil
	}()
	dir := t.TempDir()
	good, bad, none := filepath.Join(dir, "good.proto"), filepath.Join(dir, "bad.proto"), filepath.Join(dir, "none.proto")
	file(t, good, "A")
	if err := os.WriteFile(bad, []byte(`syntax = "proto3"; message A { B b = 1; C c = 2; }`), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := Default()
	cfg.Schemas, cfg.MaxSchemas = []string{good, bad, "grpc://" + l.Addr().String(), none, "good=" + good, "ftp://x"}, 5
	unasked, err := cfg.CheckFiles(t.Context())
	_ = l.Close()
	if <-asked {
		t.Error("the server was asked")
	}
	if len(unasked) != 1 || !strings.HasPrefix(unasked[0], "schemas[2]: "+cfg.Schemas[2]) {
		t.Errorf("not asked: %q", unasked)
	}
	if err == nil {
		t.Fatal("no fault")
	}
	got, want := strings.Split(err.Error(), "\n"), []string{"schemas[1]: ", "schemas[3]: ", "schemas[4]: ", "schemas[5]: ", "schemas: there are 6"}
	if !slices.EqualFunc(got, want, strings.HasPrefix) || !strings.Contains(got[0], "unknown type C") {
		t.Errorf("%q, want %q", got, want)
	}
	cfg.Schemas = []string{good}
	if unasked, err := cfg.CheckFiles(t.Context()); len(unasked) > 0 || err != nil {
		t.Errorf("%q, %v", unasked, err)
	}
}

func TestNameOf(t *testing.T) {
	for entry, want := range map[string][2]string{
		"a/b/chat.proto":       {"chat", "a/b/chat.proto"},
		"protos":               {"protos", "protos"},
		"grpc://a.example:443": {"a.example-443", "grpc://a.example:443"},
		"x=a/b.proto":          {"x", "a/b.proto"},
		"a b=c.proto":          {"a-b-c", "a b=c.proto"},
	} {
		if name, location := nameOf(entry); name != want[0] || location != want[1] {
			t.Errorf("%s: %q at %q", entry, name, location)
		}
	}
}

func TestValidate(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Errorf("the default: %v", err)
	}
	err := Config{MaxSchemaBytes: 1 << 40, Schemas: []string{""}}.Validate()
	if err == nil {
		t.Fatal("no fault")
	}
	for _, key := range []string{"max_schema_bytes", "max_schemas", "schemas[0]"} {
		if n := strings.Count("\n"+err.Error(), "\n"+key+": "); n != 1 {
			t.Errorf("%s is named %d times in\n%v", key, n, err)
		}
	}
}
