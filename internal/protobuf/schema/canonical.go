package schema

import (
	"cmp"
	"fmt"
	"slices"
	"sort"

	"github.com/bufbuild/protocompile/options"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	"sluice/internal/protobuf/fields"
)

// canonical gives the one form of files that mean the same: sorted by path,
// nothing in it that only tools for source need, nothing that is said where it
// goes without saying. Standard files are left out, and so are copies of a file
// that is there already.
func canonical(files []*descriptorpb.FileDescriptorProto) (*descriptorpb.FileDescriptorSet, error) {
	set := &descriptorpb.FileDescriptorSet{}
	for _, f := range files {
		if _, ok := standard(f.GetName()); ok {
			continue
		}
		c, err := canonicalFile(f)
		if err != nil {
			return nil, fmt.Errorf("%.200s: %w", f.GetName(), err)
		}
		set.File = append(set.File, c)
	}
	slices.SortStableFunc(set.File, func(a, b *descriptorpb.FileDescriptorProto) int {
		return cmp.Compare(a.GetName(), b.GetName())
	})
	var clash error
	set.File = slices.CompactFunc(set.File, func(a, b *descriptorpb.FileDescriptorProto) bool {
		same := a.GetName() == b.GetName()
		if same && !proto.Equal(a, b) {
			clash = fmt.Errorf("%.200s: there are two files of this name, and they differ", a.GetName())
		}
		return same
	})
	return set, clash
}

func canonicalFile(f *descriptorpb.FileDescriptorProto) (*descriptorpb.FileDescriptorProto, error) {
	// Custom options are bytes or fields, as whoever made the descriptor knew
	// them or not. Without a resolver they are bytes.
	b, err := proto.MarshalOptions{AllowPartial: true, Deterministic: true}.Marshal(f)
	if err != nil {
		return nil, err
	}
	c := &descriptorpb.FileDescriptorProto{}
	if err := (proto.UnmarshalOptions{AllowPartial: true, Resolver: new(protoregistry.Types)}).Unmarshal(b, c); err != nil {
		return nil, err
	}
	if c, err = options.StripSourceRetentionOptionsFromFile(c); err != nil {
		return nil, err
	}
	c.SourceCodeInfo = nil
	if c.GetSyntax() == "proto2" {
		c.Syntax = nil
	}
	each(c.ProtoReflect(), tidy)
	return c, nil
}

// tidy leaves out the JSON names that go without saying: some servers of
// reflection leave them out.
func tidy(m protoreflect.Message) {
	if f, ok := m.Interface().(*descriptorpb.FieldDescriptorProto); ok && f.GetJsonName() == jsonName(f.GetName()) {
		f.JsonName = nil
	}
}

// each calls f for a message and all messages in it.
func each(m protoreflect.Message, f func(protoreflect.Message)) {
	f(m)
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case fd.Message() == nil:
		case fd.IsList():
			for i := range v.List().Len() {
				each(v.List().Get(i).Message(), f)
			}
		default:
			each(v.Message(), f)
		}
		return true
	})
}

// sortOptions sorts the fields of custom options, which compilers write in any
// order. It takes the types of the options to know which are messages.
func sortOptions(set *descriptorpb.FileDescriptorSet, types protoregistry.ExtensionTypeResolver) {
	each(set.ProtoReflect(), func(m protoreflect.Message) {
		if u := m.GetUnknown(); len(u) > 0 {
			m.SetUnknown(sortFields(u, m.Descriptor(), types, 0))
		}
	})
}

// sortFields sorts the fields of a message, and of those in it, by number. It
// keeps the order of those that have the same. It makes no messages of them: the
// bytes may be hostile.
func sortFields(b []byte, md protoreflect.MessageDescriptor, types protoregistry.ExtensionTypeResolver, depth int) []byte {
	type field struct {
		number protowire.Number
		bytes  []byte
	}
	var list []field
	err := fields.Each(b, func(number protowire.Number, whole, content []byte) error {
		if inner := messageOf(md, number, types); inner != nil && content != nil && depth < maxNesting {
			whole = protowire.AppendTag(nil, number, protowire.BytesType)
			whole = protowire.AppendBytes(whole, sortFields(content, inner, types, depth+1))
		}
		list = append(list, field{number, whole})
		return nil
	})
	if err != nil {
		return b // no message of that type
	}
	sort.SliceStable(list, func(i, j int) bool { return list[i].number < list[j].number })
	sorted := make([]byte, 0, len(b))
	for _, f := range list {
		sorted = append(sorted, f.bytes...)
	}
	return sorted
}

// messageOf gives the type of a field or extension that is a message.
func messageOf(md protoreflect.MessageDescriptor, number protowire.Number, types protoregistry.ExtensionTypeResolver) protoreflect.MessageDescriptor {
	if fd := md.Fields().ByNumber(number); fd != nil {
		return fd.Message()
	}
	if xt, err := types.FindExtensionByNumber(md.FullName(), number); err == nil {
		return xt.TypeDescriptor().Message()
	}
	return nil
}

// jsonName is the JSON name that a field has unless it says another.
func jsonName(name string) string {
	b := make([]byte, 0, len(name))
	upper := false
	for i := range len(name) {
		c := name[i]
		switch {
		case c == '_':
			upper = true
			continue
		case upper && 'a' <= c && c <= 'z':
			c -= 'a' - 'A'
		}
		upper = false
		b = append(b, c)
	}
	return string(b)
}
