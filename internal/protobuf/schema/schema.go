package schema

import (
	"errors"
	"fmt"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// Schema is a set of linked files. It never changes, so it is safe for
// concurrent use. It resolves types for Any and extensions, as dynamicpb
// messages: it is a protoregistry.MessageTypeResolver and
// ExtensionTypeResolver.
type Schema struct {
	Name   string
	Digest [32]byte // SHA-256 of Descriptors
	Upload bool     // came by Parse

	set      []byte
	types    resolver
	files    []protoreflect.FileDescriptor
	messages []protoreflect.MessageDescriptor
	services []protoreflect.ServiceDescriptor
	byName   map[protoreflect.FullName]protoreflect.MessageDescriptor
}

// resolver is what resolves types: *dynamicpb.Types, or several schemas.
type resolver interface {
	protoregistry.MessageTypeResolver
	protoregistry.ExtensionTypeResolver
}

// Descriptors is the schema as a FileDescriptorSet: sorted by path, without
// source positions, comments and standard files. It must not be changed.
func (s *Schema) Descriptors() []byte { return s.set }

// Files are those of the schema itself, sorted by path, without standard ones.
// The list must not be changed.
func (s *Schema) Files() []protoreflect.FileDescriptor { return s.files }

// Messages are those that Files declare, nested ones too but no map entries,
// in the order of files and declarations. The list must not be changed.
func (s *Schema) Messages() []protoreflect.MessageDescriptor { return s.messages }

// Services are those that Files declare. The list must not be changed.
func (s *Schema) Services() []protoreflect.ServiceDescriptor { return s.services }

// FindMessage finds a message by its full name. Well-known types are found
// whether the schema imports them or not. The error for an unknown name is
// ErrUnknown and names the one that was probably meant.
func (s *Schema) FindMessage(name protoreflect.FullName) (protoreflect.MessageDescriptor, error) {
	if md, ok := s.byName[name]; ok {
		return md, nil
	}
	if mt, err := s.FindMessageByName(name); err == nil && !mt.Descriptor().IsMapEntry() {
		return mt.Descriptor(), nil
	}
	return nil, unknown("message", string(name), fmt.Sprintf("in schema %q", s.Name), func(yield func(string) bool) {
		for _, md := range s.messages {
			if !yield(string(md.FullName())) {
				return
			}
		}
	})
}

// FindMessageByName is FindMessage for resolvers: the error for an unknown name
// is protoregistry.NotFound.
func (s *Schema) FindMessageByName(name protoreflect.FullName) (protoreflect.MessageType, error) {
	mt, err := s.types.FindMessageByName(name)
	if errors.Is(err, protoregistry.NotFound) {
		return standardMessage(name)
	}
	return mt, err
}

// FindMessageByURL finds what the type URL of an Any names.
func (s *Schema) FindMessageByURL(url string) (protoreflect.MessageType, error) {
	return s.FindMessageByName(protoreflect.FullName(url[strings.LastIndexByte(url, '/')+1:]))
}

// FindExtensionByName finds an extension by its full name, or gives
// protoregistry.NotFound.
func (s *Schema) FindExtensionByName(name protoreflect.FullName) (protoreflect.ExtensionType, error) {
	return s.types.FindExtensionByName(name)
}

// FindExtensionByNumber finds a message's extension by its field number, or
// gives protoregistry.NotFound.
func (s *Schema) FindExtensionByNumber(message protoreflect.FullName, number protoreflect.FieldNumber) (protoreflect.ExtensionType, error) {
	return s.types.FindExtensionByNumber(message, number)
}

// list fills in what the files declare.
func (s *Schema) list() {
	s.byName = map[protoreflect.FullName]protoreflect.MessageDescriptor{}
	for _, fd := range s.files {
		s.listMessages(fd.Messages())
		for i := range fd.Services().Len() {
			s.services = append(s.services, fd.Services().Get(i))
		}
	}
}

func (s *Schema) listMessages(list protoreflect.MessageDescriptors) {
	for i := range list.Len() {
		md := list.Get(i)
		if md.IsMapEntry() {
			continue
		}
		s.messages = append(s.messages, md)
		s.byName[md.FullName()] = md
		s.listMessages(md.Messages())
	}
}
