package schema

import (
	"slices"
	"testing"

	v1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"sluice/internal/grpc"
	"sluice/internal/protobuf/fields"
)

// What is asked is what the official messages say.
func TestQuestions(t *testing.T) {
	for _, c := range []struct {
		q    question
		want *v1.ServerReflectionRequest
	}{
		{question{services: true}, &v1.ServerReflectionRequest{MessageRequest: &v1.ServerReflectionRequest_ListServices{ListServices: "*"}}},
		{question{symbol: "a.B"}, &v1.ServerReflectionRequest{MessageRequest: &v1.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: "a.B"}}},
		{question{file: "a.proto"}, &v1.ServerReflectionRequest{MessageRequest: &v1.ServerReflectionRequest_FileByFilename{FileByFilename: "a.proto"}}},
		{question{extensions: "a.M"}, &v1.ServerReflectionRequest{
			MessageRequest: &v1.ServerReflectionRequest_AllExtensionNumbersOfType{AllExtensionNumbersOfType: "a.M"},
		}},
		{question{extended: "a.M", number: 1 << 20}, &v1.ServerReflectionRequest{MessageRequest: &v1.ServerReflectionRequest_FileContainingExtension{
			FileContainingExtension: &v1.ExtensionRequest{ContainingType: "a.M", ExtensionNumber: 1 << 20},
		}}},
	} {
		var got v1.ServerReflectionRequest
		if err := proto.Unmarshal(c.q.encode(), &got); err != nil || !proto.Equal(&got, c.want) || len(got.ProtoReflect().GetUnknown()) > 0 {
			t.Errorf("%+v: %v, %v", c.q, &got, err)
		}
	}
}

// FuzzAnswer: what is understood of an answer is what the official messages
// understand.
func FuzzAnswer(f *testing.F) {
	for _, a := range []*v1.ServerReflectionResponse{
		oneService(), oneFile("a.proto", "b.proto"),
		{MessageResponse: &v1.ServerReflectionResponse_AllExtensionNumbersResponse{
			AllExtensionNumbersResponse: &v1.ExtensionNumberResponse{BaseTypeName: "a.M", ExtensionNumber: []int32{1, 1 << 20}},
		}},
		{MessageResponse: &v1.ServerReflectionResponse_ErrorResponse{ErrorResponse: &v1.ErrorResponse{ErrorCode: 5, ErrorMessage: "no"}}},
	} {
		b, err := proto.Marshal(a)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte("\x2a\x04\x10\x01\x10\x02")) // numbers that are not packed
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := decodeAnswer(b)
		var want v1.ServerReflectionResponse
		if proto.Unmarshal(b, &want) != nil || err != nil {
			return
		}
		n := 0
		_ = fields.Each(b, func(number protowire.Number, _, _ []byte) error {
			if number >= tellFiles && number <= tellError {
				n++
			}
			return nil
		})
		if n != 1 { // of several that exclude each other the last one counts there
			return
		}
		if e := want.GetErrorResponse(); e != nil && (!a.refused || a.code != grpc.Code(uint32(e.GetErrorCode())) || a.message != e.GetErrorMessage()) {
			t.Errorf("%+v, want %v", a, e)
		}
		if numbers := want.GetAllExtensionNumbersResponse().GetExtensionNumber(); !slices.Equal(a.numbers, numbers) {
			t.Errorf("%v, want %v", a.numbers, numbers)
		}
		if files := want.GetFileDescriptorResponse().GetFileDescriptorProto(); len(a.files) != len(files) {
			t.Errorf("%d files, want %d", len(a.files), len(files))
		}
		services := want.GetListServicesResponse().GetService()
		if len(a.services) != len(services) {
			t.Errorf("%v, want %v", a.services, services)
		}
		for i := range min(len(services), len(a.services)) {
			if services[i].GetName() != a.services[i] {
				t.Errorf("%v, want %v", a.services, services)
			}
		}
	})
}
