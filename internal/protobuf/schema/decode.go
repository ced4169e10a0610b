package schema

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	"sluice/internal/protobuf/fields"
)

// Fields of descriptor.proto.
const (
	fileField       = 1 // of FileDescriptorSet
	sourceInfoField = 9 // of FileDescriptorProto
)

// decoder decodes descriptors. Before it makes messages of their bytes it
// counts them: two bytes can ask for a message of hundreds.
type decoder struct {
	limits                Limits
	files, bytes, records int
}

// set decodes a FileDescriptorSet.
func (d *decoder) set(b []byte) ([]*descriptorpb.FileDescriptorProto, error) {
	var files []*descriptorpb.FileDescriptorProto
	err := fields.Each(b, func(number protowire.Number, field, content []byte) error {
		if number != fileField || content == nil {
			return nil
		}
		f, err := d.file(content)
		files = append(files, f)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("not a valid FileDescriptorSet: %w", err)
	}
	return files, nil
}

// file decodes a FileDescriptorProto without its source positions, which are
// half of it and of no use here.
func (d *decoder) file(b []byte) (*descriptorpb.FileDescriptorProto, error) {
	if d.files++; d.files > d.limits.MaxFiles {
		return nil, over("files", d.limits.MaxFiles)
	}
	if d.bytes += len(b); d.bytes > d.limits.MaxBytes {
		return nil, over("bytes", d.limits.MaxBytes)
	}
	kept := make([]byte, 0, len(b))
	err := fields.Each(b, func(number protowire.Number, field, _ []byte) error {
		if number != sourceInfoField {
			kept = append(kept, field...)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	f := &descriptorpb.FileDescriptorProto{}
	if err := d.count(kept, f.ProtoReflect().Descriptor(), 0); err != nil {
		return nil, err
	}
	o := proto.UnmarshalOptions{AllowPartial: true, RecursionLimit: 2 * maxNesting, Resolver: new(protoregistry.Types)}
	return f, o.Unmarshal(kept, f)
}

// count counts the messages in a message of type md.
func (d *decoder) count(b []byte, md protoreflect.MessageDescriptor, depth int) error {
	if depth > 2*maxNesting {
		return over("nested messages", maxNesting)
	}
	// A field is a message, and so are its options.
	if most := 4 * (d.limits.MaxMessages + d.limits.MaxFields); d.records > most {
		return over("records of a descriptor set", most)
	}
	d.records++
	return fields.Each(b, func(number protowire.Number, _, content []byte) error {
		fd := md.Fields().ByNumber(number)
		if fd == nil || fd.Message() == nil || content == nil {
			return nil
		}
		return d.count(content, fd.Message(), depth+1)
	})
}
