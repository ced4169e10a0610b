package schema

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
)

const hello = `syntax = "proto3";
package hello;
import "google/protobuf/struct.proto";
message Hello {
  string name = 1;
  google.protobuf.Struct more = 2;
}
`

func TestParse(t *testing.T) {
	s := parseOK(t, "my-api.v1", hello)
	if !s.Upload || s.Name != "my-api.v1" || s.Files()[0].Path() != "my-api.v1.proto" {
		t.Errorf("%q, %v", s.Name, s.Files()[0].Path())
	}
	if s := parseOK(t, "x.proto", hello); s.Files()[0].Path() != "x.proto" {
		t.Errorf("%v", s.Files()[0].Path())
	}
	for _, kind := range []string{"application/x-protobuf", "application/protobuf", "application/octet-stream"} {
		again, err := Parse("other", kind, s.Descriptors(), Limits{})
		if err != nil || again.Digest != s.Digest {
			t.Errorf("%s: %v", kind, err)
		}
	}
	for _, kind := range []string{"", "application/x-www-form-urlencoded", "text/html", "text/plain/x"} {
		_, err := Parse("s", kind, []byte(hello), Limits{})
		refused(t, err, ErrContentType, "text/plain for a .proto file")
	}
}

func TestNames(t *testing.T) {
	for _, name := range []string{"a", "A-Z_0.9", strings.Repeat("x", 64), "-"} {
		if err := CheckName(name); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{"", ".", "..", ".x", "a/b", `a\b`, "a b", "ä", "a\x00", "a\n", strings.Repeat("x", 65)} {
		_, err := Parse(name, textType, []byte(hello), Limits{})
		refused(t, err, nil, "must be 1 to 64")
	}
}

// Each fault tells its line and column, and several are told at once.
func TestParseFaults(t *testing.T) {
	for _, c := range []struct {
		text  string
		words []string
	}{
		{"syntax = \"proto3\";\nmessage A {\n  strin name = 1;\n  int32 = 2;\n}", []string{"s.proto:4:9: syntax error"}},
		{"syntax = \"proto3\";\nmessage A {\n  B b = 1;\n  C c = 2;\n}", []string{"s.proto:3:3: ", "s.proto:4:3: ", "unknown type B", "unknown type C"}},
		{"syntax = \"proto3\";\nmessage A {}\nenum A { X = 0; }", []string{"s.proto:3:6: ", "already defined at s.proto:2:9"}},
		{"syntax = \"proto3\";\nimport \"other.proto\";", []string{"s.proto:2:8: ", "standard files google/protobuf/*.proto only"}},
		{"syntax = \"proto3\";\nimport \"/etc/passwd\";", []string{"s.proto:2:8: ", "standard files"}},
		{"syntax = \"proto3\";\nimport \"../s.proto\";", []string{"s.proto:2:8: ", "standard files"}},
		{"syntax = \"proto3\";\nimport \"s.proto\";", []string{"s.proto:2:8: ", "cycle found in imports"}},
		{"syntax = \"proto4\";", []string{"s.proto:1:10: "}},
		{"edition = \"2099\";", []string{"s.proto:1:11: "}},
		{"syntax = \"proto3\"; // ä\nmessage A { // \xff", []string{"s.proto:2:16: the text is not UTF-8"}},
		{"syntax = \"proto3\";\nmessage A { int32 x = 1; int32 y = 1; }", []string{"s.proto:2:36: "}},
	} {
		_, err := Parse("s", textType, []byte(c.text), Limits{})
		refused(t, err, nil, append(c.words, `parse schema "s": `)...)
	}
	_, err := Parse("s", textType, []byte("syntax=\"proto3\"; message A {"+strings.Repeat("B b=1; ", 1000)+"}"), Limits{})
	refused(t, err, nil)
	if n := strings.Count(err.Error(), "\n") + 1; n != maxFaults {
		t.Errorf("%d faults are told", n)
	}
	_, err = Parse("s", textType, []byte("import \"no.proto\";"), Limits{})
	refused(t, err, fs.ErrNotExist)
}

// in makes a file with a path, a package and imports.
func in(path, pkg string, imports ...string) *descriptorpb.FileDescriptorProto {
	return &descriptorpb.FileDescriptorProto{Name: &path, Package: &pkg, Dependency: imports}
}

func message(name string) *descriptorpb.DescriptorProto {
	return &descriptorpb.DescriptorProto{Name: &name}
}

func TestParseSetFaults(t *testing.T) {
	twice := in("b.proto", "p")
	twice.MessageType = append(twice.MessageType, message("M"))
	once := proto.Clone(twice).(*descriptorpb.FileDescriptorProto)
	once.Name = proto.String("a.proto")
	other := in("a.proto", "q")
	for _, c := range []struct {
		body []byte
		want string
	}{
		{nil, "no file in it"},
		{[]byte("<html>"), "not a valid FileDescriptorSet"},
		{set(in("google/protobuf/any.proto", "evil")), "no file in it"},
		{set(in("a.proto", "p", "x.proto")), `a.proto: imports "x.proto", which is missing`},
		{set(in("a.proto", "p", "b.proto"), in("b.proto", "p", "a.proto")), "imports go round in a circle"},
		{set(in("a.proto", "p", "a.proto")), "imports go round in a circle"},
		{set(once, twice), "name conflict over p.M"},
		{set(once, other), "two files of this name"},
		{set(in("", "p")), "path must be populated"},
		{set(in("a.proto", "not valid")), "invalid package"},
	} {
		_, err := Parse("s", setType, c.body, Limits{})
		refused(t, err, nil, c.want)
	}
	if s, err := Parse("s", setType, set(once, once), Limits{}); err != nil || len(s.Files()) != 1 {
		t.Errorf("a copy: %v", err)
	}
}

// A copy of a standard file that says something else has no effect.
func TestStandardFilesAreOurs(t *testing.T) {
	evil := in("google/protobuf/empty.proto", "google.protobuf")
	evil.MessageType = append(evil.MessageType, message("Evil"), message("Empty"))
	s, err := Parse("s", setType, set(evil, in("a.proto", "p", "google/protobuf/empty.proto")), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.FindMessage("google.protobuf.Evil"); !errors.Is(err, ErrUnknown) {
		t.Errorf("%v", err)
	}
	if _, err := s.FindMessage("google.protobuf.Empty"); err != nil {
		t.Error(err)
	}
	dir := write(t, map[string]string{
		"google/protobuf/empty.proto": "not even a proto",
		"a.proto":                     `syntax = "proto3"; import "google/protobuf/empty.proto"; message A { google.protobuf.Empty e = 1; }`,
	})
	if s := load(t, dir); len(s.Files()) != 1 {
		t.Error("the copy is taken")
	}
}

// Each limit holds for texts and for descriptors.
func TestLimits(t *testing.T) {
	chain := func(n int) (list []*descriptorpb.FileDescriptorProto) {
		for i := range n {
			list = append(list, in(fmt.Sprint(i, ".proto"), "", fmt.Sprint(i+1, ".proto")))
		}
		list[n-1].Dependency = nil
		return list
	}
	const fields = `syntax="proto3"; message A { int32 a=1; int32 b=2; int32 c=3; } enum E { X=0; Y=1; }`
	short := parseOK(t, "s", fields)
	for _, c := range []struct {
		kind string
		body []byte
		l    Limits
		want string
	}{
		{textType, []byte(fields), Limits{MaxBytes: 50}, "over a limit of 50"},
		{textType, []byte(fields), Limits{MaxFields: 4}, "fields, enum values and methods: over a limit of 4"},
		{textType, []byte(fields), Limits{MaxMessages: 1}, "s.proto:1:72: messages, enums and services: over a limit of 1"},
		{setType, short.Descriptors(), Limits{MaxBytes: 50}, "over a limit of 50"},
		{setType, short.Descriptors(), Limits{MaxFields: 4}, "fields, enum values and methods: over a limit of 4"},
		{setType, short.Descriptors(), Limits{MaxMessages: 1}, "messages, enums and services: over a limit of 1"},
		{setType, set(chain(5)...), Limits{MaxFiles: 4}, "files: over a limit of 4"},
		{setType, set(chain(5)...), Limits{MaxImportDepth: 4}, "depth of imports: over a limit of 4"},
	} {
		_, err := Parse("s", c.kind, c.body, c.l)
		refused(t, err, ErrLimit, c.want)
	}
	for _, l := range []Limits{{MaxFields: 6}, {MaxMessages: 2}} { // the syntax's "=" counts too
		if _, err := Parse("s", textType, []byte(fields), l); err != nil {
			t.Error(err)
		}
	}
	reversed := chain(5) // 4.proto is linked first, then each that imports it
	for i, f := range reversed {
		f.Name = proto.String(fmt.Sprint(9-i, ".proto"))
		if i < 4 {
			f.Dependency = []string{fmt.Sprint(8-i, ".proto")}
		}
	}
	for depth, ok := range map[int]bool{4: false, 5: true} {
		if _, err := Parse("s", setType, set(reversed...), Limits{MaxImportDepth: depth}); (err == nil) != ok {
			t.Errorf("depth %d: %v", depth, err)
		}
	}
}
