package schema

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
)

// Small texts that ask much of a compiler are refused before it sees them.
func TestHostileTexts(t *testing.T) {
	deep := func(open string, n int) string { return "syntax=\"proto3\";" + strings.Repeat(open+"\n", n) }
	long := strings.Repeat("a", 400)
	const nesting, name = "nested braces", "bytes of a name"
	for _, c := range []struct{ text, want string }{
		{deep("message a{", 300_000), nesting},
		{deep("optional group A=1{", 200_000), nesting},
		{deep("option (a)={a:{", 200_000), nesting},
		{deep("option (a)={a:[", 200_000), nesting},
		{deep("option (a)={a<", 200_000), nesting},
		{deep("/* } */ message /**/ a // }\n {", 100_000), nesting},
		{deep(`option (a)={a:"}\"}" a:{`, 100_000), nesting},
		{deep(`option (a)={a:'}`, 100_000), nesting}, // the string ends with its line
		{"package a" + strings.Repeat(".a\n", 1_000_000) + ";", name},
		{"package a" + strings.Repeat(" . /**/\n a", 300_000) + ";", name},
		{"message A{" + strings.Repeat("a.\n", 1_000_000), name},
		{"package " + long + ";" + strings.Repeat("message "+long+"{\n", 30), "bytes of a full name"},
		{"package " + strings.Repeat(long+".", 3) + "a;message A{\n" + strings.Repeat("a b=1;\n", 40_000) + "}", "bytes of full names in all"},
		{"enum A{" + strings.Repeat("a=1;\n", 60_000) + "}", "fields, enum values and methods"},
		{strings.Repeat("enum A{}\n", 60_000), "messages, enums and services"},
		{strings.Repeat("import \"x\";\n", 1001), "imports"},
		{strings.Repeat(";\n", 250_001), "tokens"},
		{"option (a)={" + strings.Repeat("a:1\n", 250_000), "tokens"},
		{"message M{reserved 'a'" + strings.Repeat(",'b'", 4000) + ";}", "bytes of a line"},
	} {
		_, err := Parse("s", textType, []byte(c.text), Limits{})
		refused(t, err, ErrLimit, "s.proto:", c.want+": over a limit")
		if err != nil && len(err.Error()) > 300 {
			t.Errorf("%.300v", err)
		}
	}
}

// What is in comments, strings and options is no declaration.
func TestScanCountsDeclarationsOnly(t *testing.T) {
	text := `syntax = "proto2";
import "google/protobuf/descriptor.proto";
package p; // { = {
/* { = { */
message M {
  optional string a = 1 [default = "{ = \" {", (x) = { n: { n: { n: { s: '{=' } } } }];
  map<string, M> m = 2;
  extensions 100 to 200;
  option (o) = { n { n < n <> > } };
  oneof one { int32 b = 3; }
}
extend google.protobuf.FieldOptions { optional N x = 50000; }
extend google.protobuf.MessageOptions { optional N o = 50000; }
message N { optional N n = 1; optional string s = 2; }
`
	if _, err := Parse("s", textType, []byte(text), Limits{MaxMessages: 3, MaxFields: 10}); err != nil {
		t.Error(err)
	}
	var got tally
	got.limits = Limits{}.withDefaults()
	if err := scan("s.proto", []byte(text), &got); err != nil || got.messages != 2 || got.fields != 8 {
		t.Errorf("%d messages, %d fields, %v", got.messages, got.fields, err)
	}
}

// nested makes a message that has another in it, n deep.
func nested(n int) *descriptorpb.DescriptorProto {
	m := message("M")
	for range n - 1 {
		m = &descriptorpb.DescriptorProto{Name: proto.String("M"), NestedType: []*descriptorpb.DescriptorProto{m}}
	}
	return m
}

func TestHostileSets(t *testing.T) {
	with := func(m ...*descriptorpb.DescriptorProto) *descriptorpb.FileDescriptorProto {
		f := in("a.proto", "")
		f.MessageType = m
		return f
	}
	if _, err := Parse("s", setType, set(with(nested(32))), Limits{}); err != nil {
		t.Error(err) // as deep as protoc has them
	}
	empty := func(number protowire.Number) []byte { // 2 bytes ask for a message
		b := protowire.AppendTag(nil, number, protowire.BytesType)
		return append(b, 0)
	}
	var many []byte
	for range 1_000_000 {
		many = append(many, empty(4)...)
	}
	ways := lattice(40)
	for name, body := range map[string][]byte{
		"nested":       set(with(nested(maxNesting + 1))),
		"deep":         set(with(nested(3000))),
		"long package": set(in("a.proto", "a"+strings.Repeat(".a", 1_000_000))),
		"long name":    set(with(message(strings.Repeat("a", maxFullName+1)))),
		"public":       set(ways...),
		"empty files":  []byte(strings.Repeat(string(empty(fileField)), 1_000_000)),
		"empty types":  protowire.AppendBytes(protowire.AppendTag(nil, fileField, protowire.BytesType), many),
	} {
		_, err := Parse("s", setType, body, Limits{})
		refused(t, err, ErrLimit)
		if err != nil && len(err.Error()) > 500 {
			t.Errorf("%s: %.300v", name, err)
		}
	}
}

// lattice makes n layers of two files that import both of the layer below
// publicly: 2^n ways lead down.
func lattice(n int) (files []*descriptorpb.FileDescriptorProto) {
	for i := range n {
		for _, side := range "ab" {
			f := in(fmt.Sprintf("%02d%c.proto", i, side), "")
			if i > 0 {
				f.Dependency = []string{fmt.Sprintf("%02da.proto", i-1), fmt.Sprintf("%02db.proto", i-1)}
				f.PublicDependency = []int32{0, 1}
			}
			files = append(files, f)
		}
	}
	return files
}

// A public import of a public import is seen through, as protobuf says.
func TestPublicImports(t *testing.T) {
	low := in("0.proto", "")
	low.MessageType = append(low.MessageType, message("M"))
	mid := in("1.proto", "", "0.proto")
	mid.PublicDependency = []int32{0}
	top := in("2.proto", "", "1.proto")
	top.MessageType = append(top.MessageType, &descriptorpb.DescriptorProto{
		Name: proto.String("T"), Field: []*descriptorpb.FieldDescriptorProto{{
			Name: proto.String("m"), Number: proto.Int32(1), TypeName: proto.String(".M"),
			Type: descriptorpb.FieldDescriptorProto_TYPE_MESSAGE.Enum(), Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(),
		}},
	})
	if _, err := Parse("s", setType, set(top, mid, low), Limits{}); err != nil {
		t.Error(err)
	}
	if _, err := Parse("s", setType, set(lattice(8)...), Limits{}); err != nil {
		t.Error(err)
	}
}

// Folders are bounded as uploads are.
func TestHostileFolders(t *testing.T) {
	files := map[string]string{}
	for i := range 30 {
		files[fmt.Sprintf("f%02d.proto", i)] = fmt.Sprintf("syntax = \"proto3\"; import \"f%02d.proto\";", i+1)
	}
	files["f30.proto"] = `syntax = "proto3";`
	files["x/circle.proto"] = `syntax = "proto3"; import "two.proto";`
	files["x/two.proto"] = `syntax = "proto3"; import "circle.proto";`
	dir := write(t, files)
	for _, c := range []struct {
		location string
		l        Limits
		kind     error
		want     string
	}{
		{"f00.proto", Limits{MaxFiles: 10}, ErrLimit, "files: over a limit of 10"},
		{"", Limits{MaxFiles: 10}, ErrLimit, "files: over a limit of 10"},
		{"f00.proto", Limits{MaxBytes: 500}, ErrLimit, "bytes: over a limit of"},
		{"f00.proto", Limits{MaxImportDepth: 30}, ErrLimit, "depth of imports: over a limit of 30"},
		{"x", Limits{}, nil, "cycle found in imports"},
	} {
		_, err := Load(context.Background(), Source{Name: "s", Locations: []string{filepath.Join(dir, c.location)}}, c.l)
		refused(t, err, c.kind, c.want)
	}
}

// FuzzParse: whatever is uploaded, it ends in a schema or an error. A schema
// stays itself when it goes through its descriptors.
func FuzzParse(f *testing.F) {
	f.Add(true, []byte(hello))
	f.Add(true, []byte(`edition = "2023"; message A { reserved a; int32 b = 1 [features.field_presence = LEGACY_REQUIRED]; }`))
	f.Add(true, []byte(`syntax="proto3"; option (a) = { [b.c/d.e]: < > }; service S { rpc A (stream B) returns (C) {} }`))
	for _, path := range []string{"shop/v1/item.proto", "shop/v1/options.proto", "edition/book.proto"} {
		b, err := os.ReadFile("testdata/protos/" + path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(true, b)
	}
	b, err := os.ReadFile("testdata/protoc-3.21.binpb")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(false, b)
	f.Add(false, set(lattice(3)...))
	f.Add(false, load(f, "testdata/protos").Descriptors())
	f.Fuzz(func(t *testing.T, isText bool, body []byte) {
		kind := setType
		if isText {
			kind = textType
		}
		s, err := Parse("s", kind, body, Limits{MaxBytes: 64 << 10})
		if err != nil {
			if errors.Is(err, errTimeout) || strings.Contains(err.Error(), "panicked") {
				t.Error(err)
			}
			return
		}
		again, err := Parse("s", setType, s.Descriptors(), Limits{MaxBytes: 256 << 10})
		if err != nil {
			t.Fatalf("its descriptors: %v", err)
		}
		if again.Digest != s.Digest {
			t.Errorf("digests differ:\n%s\n%s", format(t, s), format(t, again))
		}
		for _, md := range s.Messages() {
			if _, err := again.FindMessage(md.FullName()); err != nil {
				t.Error(err)
			}
		}
	})
}
