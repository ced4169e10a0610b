package shapes

import (
	"testing"

	"github.com/bufbuild/protocompile"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
)

// The generated code is that of the schema. If not: go run generate.go.
func TestGenerated(t *testing.T) {
	c := protocompile.Compiler{Resolver: &protocompile.SourceResolver{ImportPaths: []string{"../../internal/protobuf/testdata"}}}
	files, err := c.Compile(t.Context(), "shapes.proto")
	if err != nil {
		t.Fatal(err)
	}
	want, got := protodesc.ToFileDescriptorProto(files[0]), protodesc.ToFileDescriptorProto(File_shapes_proto)
	if !proto.Equal(got, want) {
		t.Errorf("shapes.proto has changed since shapes.pb.go was made:\n got %v\nwant %v", got, want)
	}
}
