package schema

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// several are schemas that differ, as one resolver. What is declared by two of
// them is ambiguous; what a schema imports of the standard files is not its own.
type several []*Schema

// union gives a schema without files that resolves well-known types and what a
// list of schemas declares. Where all are one it is that.
func union(list []*Schema) *Schema {
	var differ several
	for _, s := range list {
		if !slices.ContainsFunc(differ, func(o *Schema) bool { return o.Digest == s.Digest }) {
			differ = append(differ, s)
		}
	}
	if len(differ) == 1 {
		return differ[0]
	}
	sum := sha256.New()
	sum.Write([]byte("several"))
	for _, s := range differ {
		sum.Write(s.Digest[:])
	}
	return &Schema{Digest: [32]byte(sum.Sum(nil)), types: differ}
}

// FindMessageByName finds a message that one of them declares, or gives
// protoregistry.NotFound. The error is ErrAmbiguous where several do.
func (l several) FindMessageByName(name protoreflect.FullName) (protoreflect.MessageType, error) {
	var found *Schema
	for _, s := range l {
		switch {
		case s.byName[name] == nil:
		case found != nil:
			return nil, fmt.Errorf("message %q is %w: name one of the schemas that have it: %s, %s", name, ErrAmbiguous, found.Name, s.Name)
		default:
			found = s
		}
	}
	if found == nil {
		return nil, protoregistry.NotFound
	}
	return found.types.FindMessageByName(name)
}

// FindMessageByURL implements protoregistry.MessageTypeResolver. Schema finds by
// name.
func (l several) FindMessageByURL(string) (protoreflect.MessageType, error) {
	return nil, protoregistry.NotFound
}

// FindExtensionByName finds the first extension of that name.
func (l several) FindExtensionByName(name protoreflect.FullName) (protoreflect.ExtensionType, error) {
	return first(l, func(s *Schema) (protoreflect.ExtensionType, error) { return s.FindExtensionByName(name) })
}

// FindExtensionByNumber finds the first extension of that number.
func (l several) FindExtensionByNumber(message protoreflect.FullName, number protoreflect.FieldNumber) (protoreflect.ExtensionType, error) {
	return first(l, func(s *Schema) (protoreflect.ExtensionType, error) { return s.FindExtensionByNumber(message, number) })
}

func first(l several, find func(*Schema) (protoreflect.ExtensionType, error)) (protoreflect.ExtensionType, error) {
	for _, s := range l {
		if xt, err := find(s); !errors.Is(err, protoregistry.NotFound) {
			return xt, err
		}
	}
	return nil, protoregistry.NotFound
}
