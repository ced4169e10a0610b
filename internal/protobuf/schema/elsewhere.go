package schema

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/types/descriptorpb"
)

// elsewhere finds the files that a file imports by paths that the server does not know.
// A program in which a file was compiled by another path than the one by which others
// import it, as etcd is, tells where its types are, if asked for these, but not that
// file. Imports of which no type is used are left out.
func (r *reflected) elsewhere(f *descriptorpb.FileDescriptorProto, unknown map[string]bool) error {
	var wanted []string // paths
	for _, name := range slices.Sorted(maps.Keys(references(f))) {
		path, ok := r.declares(name)
		if !ok {
			if err := r.ask(question{symbol: name}); err != nil {
				return fmt.Errorf("%.200s: %w", f.GetName(), err)
			}
			if path, ok = r.declares(name); !ok {
				return fmt.Errorf("the server sent another file for %.200q", name)
			}
		}
		if path != f.GetName() && !slices.Contains(f.GetDependency(), path) && !slices.Contains(wanted, path) {
			wanted = append(wanted, path)
		}
	}
	// Which imports are public is told by their numbers.
	public := make(map[string]bool)
	for _, i := range f.GetPublicDependency() {
		if int(i) < len(f.GetDependency()) {
			public[f.GetDependency()[i]] = true
		}
	}
	kept := slices.DeleteFunc(f.GetDependency(), func(path string) bool { return unknown[path] })
	f.Dependency, f.PublicDependency, f.WeakDependency = append(kept, wanted...), nil, nil
	for i, path := range f.GetDependency() {
		if public[path] {
			f.PublicDependency = append(f.PublicDependency, int32(i))
		}
	}
	return nil
}

// declares finds the path of the file that declares a type, among those that came.
func (r *reflected) declares(name string) (string, bool) {
	if r.types == nil {
		r.types = make(map[string]string)
	}
	for ; r.listed < len(r.files); r.listed++ {
		f := r.files[r.listed]
		for name := range declared(f) {
			r.types[name] = f.GetName()
		}
	}
	path, ok := r.types[name]
	return path, ok
}

// declared are the full names of a file's types.
func declared(f *descriptorpb.FileDescriptorProto) map[string]bool {
	names := make(map[string]bool)
	enums := func(in string, list []*descriptorpb.EnumDescriptorProto) {
		for _, e := range list {
			names[fullName(in, e.GetName())] = true
		}
	}
	eachMessage(f, func(name string, m *descriptorpb.DescriptorProto) {
		names[name] = true
		enums(name, m.GetEnumType())
	})
	enums(f.GetPackage(), f.GetEnumType())
	return names
}

// references are the full names of the types that a file uses, but for those that come
// with protoc.
func references(f *descriptorpb.FileDescriptorProto) map[string]bool {
	names := make(map[string]bool)
	use := func(list ...string) {
		for _, name := range list {
			if full, ok := strings.CutPrefix(name, "."); ok && !strings.HasPrefix(full, "google.protobuf.") {
				names[full] = true
			}
		}
	}
	fields := func(list []*descriptorpb.FieldDescriptorProto) {
		for _, field := range list {
			use(field.GetTypeName(), field.GetExtendee())
		}
	}
	eachMessage(f, func(_ string, m *descriptorpb.DescriptorProto) {
		fields(m.GetField())
		fields(m.GetExtension())
	})
	fields(f.GetExtension())
	for _, s := range f.GetService() {
		for _, m := range s.GetMethod() {
			use(m.GetInputType(), m.GetOutputType())
		}
	}
	return names
}

// eachMessage calls visit for the messages of a file, nested ones included, with their full
// names.
func eachMessage(f *descriptorpb.FileDescriptorProto, visit func(name string, m *descriptorpb.DescriptorProto)) {
	var walk func(in string, list []*descriptorpb.DescriptorProto)
	walk = func(in string, list []*descriptorpb.DescriptorProto) {
		for _, m := range list {
			name := fullName(in, m.GetName())
			visit(name, m)
			walk(name, m.GetNestedType())
		}
	}
	walk(f.GetPackage(), f.GetMessageType())
}

// fullName is the full name of what is declared in a package or a message.
func fullName(in, name string) string { return strings.TrimPrefix(in+"."+name, ".") }
