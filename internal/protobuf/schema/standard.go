package schema

import (
	"errors"

	"github.com/bufbuild/protocompile"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// standard finds a file that comes with protoc, as google/protobuf/any.proto.
func standard(path string) (protoreflect.FileDescriptor, bool) {
	r, err := protocompile.WithStandardImports(nothing{}).FindFileByPath(path)
	return r.Desc, err == nil
}

// nothing is where no file is.
type nothing struct{}

var errNoFile = errors.New("no such file")

func (nothing) FindFileByPath(string) (protocompile.SearchResult, error) {
	return protocompile.SearchResult{}, errNoFile
}

// standardMessage finds a well-known type, as google.protobuf.Struct. An Any
// may hold one that its schema does not import. Other generated types that the
// program happens to hold stay out.
func standardMessage(name protoreflect.FullName) (protoreflect.MessageType, error) {
	mt, err := protoregistry.GlobalTypes.FindMessageByName(name)
	if err != nil {
		return nil, protoregistry.NotFound
	}
	if _, ok := standard(mt.Descriptor().ParentFile().Path()); !ok {
		return nil, protoregistry.NotFound
	}
	return mt, nil
}
