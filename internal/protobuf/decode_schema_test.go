package protobuf

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"reflect"
	"slices"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/bufbuild/protocompile"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

// buildFiles compiles .proto files, with what they import, the way that a
// schema comes to the gateway: as descriptors that protodesc made.
func buildFiles(dir fs.FS, names ...string) (*protoregistry.Files, error) {
	c := protocompile.Compiler{Resolver: protocompile.WithStandardImports(&protocompile.SourceResolver{
		Accessor: func(path string) (io.ReadCloser, error) { return dir.Open(path) },
	})}
	built, err := c.Compile(context.Background(), names...)
	if err != nil {
		return nil, err
	}
	var set descriptorpb.FileDescriptorSet
	var add func(fd protoreflect.FileDescriptor)
	seen := map[string]bool{}
	add = func(fd protoreflect.FileDescriptor) {
		if seen[fd.Path()] {
			return
		}
		seen[fd.Path()] = true
		for i := range fd.Imports().Len() {
			add(fd.Imports().Get(i).FileDescriptor)
		}
		set.File = append(set.File, protodesc.ToFileDescriptorProto(fd))
	}
	for _, fd := range built {
		add(fd)
	}
	return protodesc.NewFiles(&set)
}

// testFiles are the schemas in testdata.
var testFiles = sync.OnceValues(func() (*protoregistry.Files, error) {
	dir := layered{os.DirFS("testdata"), os.DirFS("testdata/decode"), os.DirFS("testdata/encode"), wideFile()}
	return buildFiles(dir, "shapes.proto", "odd.proto", "wide.proto", "two.proto", "three.proto", "edition.proto")
})

// wideFile has a message with more fields than a bitmap has bits.
func wideFile() fs.FS {
	text := `edition = "2023"; package wide; message Wide { extensions 1000 to max; `
	for n := 1; n <= seenBits+20; n++ {
		kind := [...]string{"int32", "repeated string", "Wide", "string", "map<int32, Wide>", "repeated sint64"}[n%6]
		text += fmt.Sprintf("%s f%d = %d;\n", kind, n, 2*n)
	}
	text += `oneof kind { int32 a = 900; Wide b = 901 [features.message_encoding = DELIMITED]; string c = 902; } }
		extend Wide { int32 x_int = 1000; repeated Wide x_wide = 1001; string x_text = 1002; }`
	return fstest.MapFS{"wide.proto": {Data: []byte(text)}}
}

// layered looks for a file in one folder after the other.
type layered []fs.FS

func (l layered) Open(name string) (f fs.File, err error) {
	for _, dir := range l {
		if f, err = dir.Open(name); err == nil {
			return f, nil
		}
	}
	return nil, err
}

// testPlan compiles a message of the schemas in testdata.
func testPlan(t testing.TB, name protoreflect.FullName) (*Plan, protoreflect.MessageDescriptor, Types) {
	t.Helper()
	files, err := testFiles()
	if err != nil {
		t.Fatal(err)
	}
	return planOf(t, files, name)
}

func planOf(t testing.TB, files *protoregistry.Files, name protoreflect.FullName) (*Plan, protoreflect.MessageDescriptor, Types) {
	t.Helper()
	d, err := files.FindDescriptorByName(name)
	if err != nil {
		t.Fatal(err)
	}
	md, types := d.(protoreflect.MessageDescriptor), dynamicpb.NewTypes(files)
	p, err := Compile(md, types)
	if err != nil {
		t.Fatal(err)
	}
	return p, md, types
}

// errPanic says that there is no verdict: protobuf-go panics for the entry of a
// map whose key comes again with a wrong wire type.
var errPanic = errors.New("protobuf-go panics")

// oracle is what AppendJSON is measured by.
func oracle(md protoreflect.MessageDescriptor, types Types, wire []byte, o Options) (b []byte, err error) {
	defer func() {
		if recover() != nil {
			err = errPanic
		}
	}()
	m := dynamicpb.NewMessage(md)
	if err := (proto.UnmarshalOptions{Resolver: types}).Unmarshal(wire, m); err != nil {
		return nil, err
	}
	return protojson.MarshalOptions{
		UseProtoNames:   o.UseProtoNames,
		UseEnumNumbers:  o.UseEnumNumbers,
		EmitUnpopulated: o.EmitUnpopulated,
		Resolver:        types,
	}.Marshal(m)
}

// agree decodes wire both ways and compares verdicts and meaning.
func agree(t *testing.T, p *Plan, md protoreflect.MessageDescriptor, types Types, wire []byte, o Options) []byte {
	t.Helper()
	want, wantErr := oracle(md, types, wire, o)
	got, err := p.AppendJSON([]byte("kept"), wire, o, Limits{MaxDepth: 10000})
	if wantErr == errPanic {
		return nil
	}
	if (err == nil) != (wantErr == nil) {
		t.Fatalf("%s %x %+v:\nerror %v, protojson says %v\n%s\n%s", md.FullName(), wire, o, err, wantErr, got, want)
	}
	if err != nil {
		if string(got) != "kept" {
			t.Fatalf("%s %x: an error left %q in the output", md.FullName(), wire, got)
		}
		return nil
	}
	got, ok := bytes.CutPrefix(got, []byte("kept"))
	if !ok || !sameJSON(got, want) {
		t.Fatalf("%s %x %+v:\n%s\nprotojson has\n%s", md.FullName(), wire, o, got, want)
	}
	return got
}

// sameJSON compares two documents by meaning, numbers by their text. Members
// that come twice would hide from Unmarshal, so tokens are counted too.
func sameJSON(a, b []byte) bool {
	x, n := parse(a)
	y, m := parse(b)
	return n == m && n > 0 && reflect.DeepEqual(x, y)
}

func parse(b []byte) (v any, tokens int) {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	if dec.Decode(&v) != nil || dec.More() {
		return nil, 0
	}
	for dec = json.NewDecoder(bytes.NewReader(b)); ; tokens++ {
		if _, err := dec.Token(); err != nil {
			return v, tokens
		}
	}
}

// allTypes are the messages that random wires are made for.
func allTypes(t testing.TB) []protoreflect.FullName {
	files, err := testFiles()
	if err != nil {
		t.Fatal(err)
	}
	var names []protoreflect.FullName
	files.RangeFiles(func(fd protoreflect.FileDescriptor) bool {
		for i := range fd.Messages().Len() {
			names = append(names, fd.Messages().Get(i).FullName())
		}
		return true
	})
	slices.Sort(names)
	return names
}
