package schema

import (
	"context"
	"testing"

	"google.golang.org/grpc/codes"
	v1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
)

// moved are the files of a program that has b.proto by another path than the one by which
// a.proto imports it.
func moved(t *testing.T) map[string][]byte {
	t.Helper()
	files := make(map[string][]byte)
	for _, text := range []string{`
		name: "a.proto" package: "a" syntax: "proto3" dependency: ["far/options.proto", "c.proto", "far/b.proto"] public_dependency: [1]
		message_type { name: "M" field { name: "n" number: 1 label: LABEL_OPTIONAL type: TYPE_MESSAGE type_name: ".b.N" }
			nested_type { name: "In" field { name: "e" number: 1 label: LABEL_OPTIONAL type: TYPE_ENUM type_name: ".b.N.E" } } }
		service { name: "B" method { name: "Do" input_type: ".a.M" output_type: ".c.O" } }`, `
		name: "b.proto" package: "b" syntax: "proto3"
		message_type { name: "N" enum_type { name: "E" value { name: "ZERO" number: 0 } } }`, `
		name: "c.proto" package: "c" syntax: "proto3" message_type { name: "O" }`,
	} {
		var f descriptorpb.FileDescriptorProto
		if err := prototext.Unmarshal([]byte(text), &f); err != nil {
			t.Fatal(err)
		}
		b, err := proto.Marshal(&f)
		if err != nil {
			t.Fatal(err)
		}
		files[f.GetName()] = b
	}
	return files
}

// A file that the server has by another path than the one by which it is imported is
// found by its types; one that lacks a type is an error.
func TestReflectionOfMovedFiles(t *testing.T) {
	files := moved(t)
	symbols := map[string]string{"a.B": "a.proto", "b.N": "b.proto", "b.N.E": "b.proto"}
	src := answering(t, func(q *v1.ServerReflectionRequest) (*v1.ServerReflectionResponse, error) {
		if q.GetListServices() != "" {
			return oneService(), nil
		}
		b, ok := files[q.GetFileByFilename()+symbols[q.GetFileContainingSymbol()]]
		if !ok {
			e := &v1.ErrorResponse{ErrorCode: int32(codes.NotFound), ErrorMessage: "unheard of"}
			return &v1.ServerReflectionResponse{MessageResponse: &v1.ServerReflectionResponse_ErrorResponse{ErrorResponse: e}}, nil
		}
		found := &v1.FileDescriptorResponse{FileDescriptorProto: [][]byte{b}}
		return &v1.ServerReflectionResponse{MessageResponse: &v1.ServerReflectionResponse_FileDescriptorResponse{FileDescriptorResponse: found}}, nil
	})
	s, err := Load(context.Background(), src, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	var set descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(s.Descriptors(), &set); err != nil {
		t.Fatal(err)
	}
	for _, f := range set.GetFile() {
		if f.GetName() == "a.proto" && (len(f.GetDependency()) != 2 || f.GetDependency()[0] != "c.proto" || f.GetDependency()[1] != "b.proto" || len(f.GetPublicDependency()) != 1 || f.GetPublicDependency()[0] != 0) {
			t.Errorf("a.proto imports %q, publicly %d", f.GetDependency(), f.GetPublicDependency())
		}
	}
	if len(set.GetFile()) != 3 || len(s.Services()) != 1 {
		t.Errorf("%d files, %d services", len(set.GetFile()), len(s.Services()))
	}

	delete(files, "b.proto")
	_, err = Load(context.Background(), src, Limits{})
	refused(t, err, nil, `a.proto: the server does not describe "b.N"`, "unheard of")
	files["b.proto"] = files["c.proto"] // a lie
	_, err = Load(context.Background(), src, Limits{})
	refused(t, err, nil, `another file for "b.N"`)
}
