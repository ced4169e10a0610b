package schema

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/protoutil"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

// The folder holds proto2, proto3 and edition 2023, which import each other.
func TestLoadFolder(t *testing.T) {
	s := load(t, "testdata/protos")
	var names []string
	for _, fd := range s.Files() {
		names = append(names, fd.Path())
	}
	for _, md := range s.Messages() {
		names = append(names, string(md.FullName()))
	}
	for _, sd := range s.Services() {
		names = append(names, string(sd.FullName()))
	}
	want := []string{
		"edition/book.proto", "shop/v1/extension.proto", "shop/v1/item.proto", "shop/v1/options.proto", "shop/v1/service.proto",
		"edition.Book", "edition.Book.Chapter", "shop.v1.Item", "shop.v1.Item.Detail", "shop.v1.Item.Detail.Deep",
		"shop.v1.Range", "shop.v1.Range.Old", "shop.v1.GetItemRequest", "shop.v1.Shop",
	}
	if !slices.Equal(names, want) {
		t.Errorf("it holds %q", names)
	}
	md, err := s.FindMessage("edition.Book")
	if err != nil {
		t.Fatal(err)
	}
	field := md.Fields().ByName
	if field("title").HasPresence() || field("pages").IsPacked() || field("chapter").Kind() != protoreflect.GroupKind {
		t.Error("the features of edition 2023 are not those of the text")
	}
}

// What is in an Any and what is an extension is found, in JSON and on the wire.
func TestResolves(t *testing.T) {
	s := load(t, "testdata/protos")
	md, err := s.FindMessage("shop.v1.Item")
	if err != nil {
		t.Fatal(err)
	}
	for _, any := range []string{
		`{"@type":"type.googleapis.com/edition.Book","title":"t"}`,
		`{"@type":"type.googleapis.com/google.protobuf.Struct","value":{"a":1}}`, // imported nowhere
	} {
		text := `{"itemId":"i","extra":` + any + `,"[shop.v1.colour]":"red"}`
		m := dynamicpb.NewMessage(md)
		if err := (protojson.UnmarshalOptions{Resolver: s}).Unmarshal([]byte(text), m); err != nil {
			t.Fatal(err)
		}
		b, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		again := dynamicpb.NewMessage(md)
		if err := (proto.UnmarshalOptions{Resolver: s}).Unmarshal(b, again); err != nil {
			t.Fatal(err)
		}
		if len(again.GetUnknown()) > 0 || !proto.Equal(m, again) {
			t.Errorf("%s came back as %s", text, prototext.Format(again))
		}
	}
	// The test links the reflection service, and no schema has it.
	if _, err := s.FindMessage("grpc.reflection.v1.ErrorResponse"); err == nil {
		t.Error("a message of the program itself is found")
	}
	if _, err := s.FindMessage("shop.v1.Item.DetailsEntry"); err == nil {
		t.Error("a map entry is found")
	}
}

func TestUnknownMessage(t *testing.T) {
	s := load(t, "testdata/protos")
	for asked, meant := range map[protoreflect.FullName]string{
		"shop.v1.Itme":          `"shop.v1.Item"`,
		"shop.v1.GetItemReqest": `"shop.v1.GetItemRequest"`,
		"other.v2.book":         `"edition.Book"`,
	} {
		_, err := s.FindMessage(asked)
		refused(t, err, ErrUnknown, string(asked), meant)
	}
	_, err := s.FindMessage("nothing.like.this")
	refused(t, err, ErrUnknown, `unknown message "nothing.like.this" in schema "s"`)
}

// The digest is the same wherever the schema comes from, and in any order.
// protoc made its set in testdata/protos, by
//
//	protoc -I. --include_imports -o ../protoc-3.21.binpb shop/v1/*.proto
func TestDigest(t *testing.T) {
	const protos = "testdata/protos/shop"
	src := Source{Name: "s", Locations: []string{protos}, ImportPaths: []string{"testdata/protos"}}
	want, err := Load(context.Background(), src, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	check := func(from string, s *Schema) {
		t.Helper()
		if s.Digest != want.Digest {
			t.Errorf("%s has another digest:\n%s\n%s", from, format(t, s), format(t, want))
		}
	}
	check("protoc", load(t, "testdata/protoc-3.21.binpb"))
	src.Locations = []string{protos + "/v1/options.proto", "testdata/protoc-3.21.binpb"}
	both, err := Load(context.Background(), src, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	check("text and protoc", both)

	c := protocompile.Compiler{
		Resolver:       protocompile.WithStandardImports(&protocompile.SourceResolver{ImportPaths: []string{"testdata/protos"}}),
		SourceInfoMode: protocompile.SourceInfoStandard,
	}
	fds, err := c.Compile(context.Background(), "shop/v1/service.proto", "shop/v1/item.proto", "shop/v1/options.proto", "shop/v1/extension.proto")
	if err != nil {
		t.Fatal(err)
	}
	var files []*descriptorpb.FileDescriptorProto
	for _, fd := range fds {
		files = append(files, protoutil.ProtoFromFileDescriptor(fd))
	}
	up, err := Parse("s", setType, set(files...), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	check("protocompile with source positions", up)
	slices.Reverse(files)
	for _, f := range files {
		f.SourceCodeInfo = nil
		clearJSONNames(f.MessageType)
	}
	if up, err = Parse("s", setType, set(files...), Limits{}); err != nil {
		t.Fatal(err)
	}
	check("a set without JSON names, in another order", up)

	other := proto.Clone(files[0]).(*descriptorpb.FileDescriptorProto)
	other.Package = proto.String("other")
	for _, f := range [][]byte{set(files[1:]...), set(other), nil} {
		if up, err = Parse("s", setType, f, Limits{}); err == nil && up.Digest == want.Digest {
			t.Error("another schema has the same digest")
		}
	}
}

func clearJSONNames(list []*descriptorpb.DescriptorProto) {
	for _, m := range list {
		for _, f := range m.Field {
			if f.GetJsonName() != "sort" {
				f.JsonName = nil
			}
		}
		clearJSONNames(m.NestedType)
	}
}

func format(t *testing.T, s *Schema) string {
	var fds descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(s.Descriptors(), &fds); err != nil {
		t.Fatal(err)
	}
	return prototext.Format(&fds)
}

// Files have the paths that they have from their root.
func TestRoots(t *testing.T) {
	dir := write(t, map[string]string{
		"one/a.proto":         `syntax = "proto3"; import "b.proto"; import "c/c.proto"; message A { B b = 1; C c = 2; }`,
		"two/b.proto":         `syntax = "proto3"; message B {}`,
		"two/.hidden/x.proto": `no proto`,
		"two/readme.txt":      `no proto`,
		"lib/c/c.proto":       `syntax = "proto3"; message C {}`,
		"lib/unused.proto":    `no proto, but nobody imports it`,
		"copy/b.proto":        `syntax = "proto3"; message B {}`,
		"other/b.proto":       `syntax = "proto3"; message B { int32 x = 1; }`,
	})
	in := func(name string) string { return filepath.Join(dir, name) }
	try := func(paths []string, locations ...string) (*Schema, error) {
		return Load(context.Background(), Source{Name: "s", Locations: locations, ImportPaths: paths}, Limits{})
	}
	if s, err := try([]string{in("lib")}, in("one"), in("two"), in("copy")); err != nil || len(s.Files()) != 3 {
		t.Errorf("%v", err)
	}
	if s, err := try([]string{in("two"), in("lib")}, in("one/a.proto")); err != nil || s.Files()[2].Path() != "c/c.proto" {
		t.Errorf("%v", err)
	}
	_, err := try([]string{in("lib")}, in("one"), in("two"), in("other"))
	refused(t, err, nil, "other/b.proto is hidden by another b.proto")
	_, err = try(nil, in("one"), in("two"))
	refused(t, err, fs.ErrNotExist, "a.proto:1:45:", `"c/c.proto" is not in`)
	_, err = try(nil, t.TempDir())
	refused(t, err, nil, "holds no .proto file")
	_, err = try(nil, in("absent.proto"))
	refused(t, err, fs.ErrNotExist)
	_, err = try(nil, "ftp://host/x")
	refused(t, err, nil, `unknown scheme "ftp"`)
	_, err = try(nil)
	refused(t, err, nil, "no location")
}

// Nothing outside of a root is read, by ".." or by a link.
func TestNoWayOutOfRoot(t *testing.T) {
	dir := write(t, map[string]string{
		"secret.proto": `syntax = "proto3"; message Secret {}`,
		"root/a.proto": `syntax = "proto3"; import "../secret.proto";`,
		"link/a.proto": `syntax = "proto3"; import "way.proto";`,
	})
	if err := os.Symlink(filepath.Join(dir, "secret.proto"), filepath.Join(dir, "link/way.proto")); err != nil {
		t.Fatal(err)
	}
	for folder, why := range map[string]string{"root": "no path from a root", "link": "escapes"} {
		_, err := Load(context.Background(), Source{Name: "s", Locations: []string{filepath.Join(dir, folder, "a.proto")}}, Limits{})
		refused(t, err, nil, why)
	}
}

func TestLoadEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := Load(ctx, Source{Name: "s", Locations: []string{"testdata/protos"}}, Limits{})
	refused(t, err, context.Canceled)
	_, err = Load(context.Background(), Source{Name: "s", Locations: []string{"testdata/protoc-3.21.binpb"}}, Limits{Timeout: 1})
	refused(t, err, errTimeout)
	_, err = Load(context.Background(), Source{Name: "s", Locations: []string{"testdata/protoc-3.21.binpb"}}, Limits{MaxBytes: 1000})
	refused(t, err, ErrLimit, "bytes")
}
