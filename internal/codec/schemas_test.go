package codec

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sluice/internal/llm"
	"sluice/internal/protobuf/catalog"
)

func list(c *Codec) string {
	return send(c, &llm.Request{Op: llm.Passthrough, Method: "GET", Path: prefix + "schemas"})
}

func TestSchemas(t *testing.T) {
	c := codecOf(t, newCatalog(t, catalog.Config{MaxSchemas: 2, MaxSchemaBytes: 1 << 10}, ""), nil)
	digest := func(s string) string {
		_, s, _ = strings.Cut(s, `"sha256:`)
		return s[:64]
	}
	got := list(c)
	want := `application/json {"object":"list","data":[{"name":"notes","digest":"sha256:` + digest(got) + `","uploaded":true,"files":["notes.proto"],"messages":["test.Note"],` +
		`"services":[{"name":"test.Notes","methods":[{"name":"Follow","input":"test.Note","output":"test.Note","client_streaming":false,"server_streaming":true}]}]}]}`
	if got != want {
		t.Errorf("list:\ngot  %s\nwant %s", got, want)
	}
	const empty = `syntax = "proto3"; message A {}`
	for _, test := range []struct {
		name, contentType, body string
		want                    string
	}{
		{"notes", "text/plain", notes, `{"name":"notes"`},
		{"a", "Text/Plain; charset", empty, `{"name":"a","digest":"sha256:`},
		{"b", "text/plain", empty, "413 limit_exceeded : There is no room for the schema: "},
		{"a/b", "text/plain", empty, "400 invalid_schema : The schema is not valid: "},
		{"a", "text/html", empty, "415 unsupported_content_type : The schema cannot be read: "},
		{"a", "text/plain", "x", "400 invalid_schema : The schema is not valid: "},
		{"a", "application/x-protobuf", "x", "400 invalid_schema : The schema is not valid: "},
		{"a", "text/plain", empty + strings.Repeat(" ", 1<<10), "413 limit_exceeded : The schema is too large: "},
	} {
		b, err := c.PutSchema(test.name, test.contentType, []byte(test.body))
		got := string(b)
		if err != nil {
			got = told(err)
		}
		if !strings.HasPrefix(got, test.want) {
			t.Errorf("put %s as %s: %s", test.name, test.contentType, got)
		}
	}
	for _, want := range []string{`{"name":"a","deleted":true}`, `404 unknown_schema name: There is nothing of this name: unknown schema "a"`} {
		b, err := c.DeleteSchema("a")
		got := string(b)
		if err != nil {
			got = told(err)
		}
		if !strings.HasPrefix(got, want) {
			t.Errorf("delete: %s", got)
		}
	}
}

// Two schemas may declare a type each of its own.
func TestAmbiguousType(t *testing.T) {
	c := newCodec(t, nil)
	if _, err := c.PutSchema("old", "text/plain", []byte(strings.Replace(notes, "text = 1", "words = 1", 1))); err != nil {
		t.Fatal(err)
	}
	for query, want := range map[string]string{
		"":              `400 ambiguous_type schema: The message "test.Note" is ambiguous: name one of the schemas that have it: notes, old.`,
		"&schema=old":   `application/json {"words":"hi"}`,
		"&schema=notes": `application/json {"text":"hi"}`,
	} {
		if got := send(c, post("decode?type=test.Note"+query, string(note("hi")), asWire)); got != want {
			t.Errorf("%q: %s", query, got)
		}
	}
}

// What the configuration names is loaded and is not for uploads to change. What
// was uploaded is there after a restart.
func TestConfiguredAndKept(t *testing.T) {
	dir, state := t.TempDir(), t.TempDir()
	path := filepath.Join(dir, "my notes.v1.proto")
	if err := os.WriteFile(path, []byte(notes), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := catalog.Default()
	cfg.Schemas = []string{path, "other=" + path}
	for restart := range 2 {
		c, err := New(Default(), Options{Schemas: newCatalog(t, cfg, state)})
		if err != nil {
			t.Fatal(err)
		}
		if got := list(c); strings.Count(got, `"uploaded":false`) != 2 || strings.Count(got, `"uploaded":true`) != restart ||
			!strings.Contains(got, `"name":"my-notes.v1"`) || !strings.Contains(got, `"name":"other"`) {
			t.Errorf("start %d: %s", restart, got)
		}
		if _, err := c.PutSchema("other", "text/plain", []byte(notes)); err == nil || !strings.HasPrefix(told(err), "409 schema_configured ") {
			t.Error(err)
		}
		if _, err := c.DeleteSchema("other"); err == nil || !strings.HasPrefix(told(err), "409 schema_configured ") {
			t.Error(err)
		}
		if _, err := c.PutSchema("mine", "text/plain", []byte(notes)); err != nil {
			t.Error(err)
		}
		c.Close()
	}
}

// What changed in the files, and what a catalog took over, is what the codec knows.
func TestReload(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a.proto")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(`syntax = "proto3"; message A { string x = 1; }`)
	cfg := catalog.Default()
	cfg.Schemas = []string{file}
	schemas := newCatalog(t, cfg, "")
	c := codecOf(t, schemas, nil)
	reload := func() error {
		commit, err := schemas.Prepare(t.Context(), cfg)
		if err == nil {
			commit()
		}
		return err
	}
	encode := func(c *Codec, json string) string { return send(c, post("encode?type=A", json, asJSON)) }
	if got := encode(c, `{"x":"1"}`); !strings.HasSuffix(got, "\n\x011") {
		t.Errorf("at first: %q", got)
	}
	write(`syntax = "proto3"; message A { string y = 1; }`)
	if err := reload(); err != nil {
		t.Fatal(err)
	}
	if got := encode(c, `{"y":"1"}`); !strings.HasSuffix(got, "\n\x011") {
		t.Errorf("changed: %q", got)
	}
	write(`syntax = "proto3"; message A {`)
	if err := reload(); err == nil || !strings.Contains(err.Error(), "a.proto") {
		t.Errorf("broken: %v", err)
	}
	if got := encode(c, `{"y":"1"}`); !strings.HasSuffix(got, "\n\x011") {
		t.Errorf("after a broken one: %q", got)
	}

	write(notes)
	cfg.Schemas = []string{"a=" + file}
	after := newCatalog(t, cfg, "")
	after.TakeOver(schemas)
	next, err := New(Default(), Options{Schemas: after})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(next.Close)
	if got := list(next); !strings.Contains(got, `"name":"notes"`) || strings.Contains(got, `["A"]`) {
		t.Errorf("taken over: %s", got)
	}
}
