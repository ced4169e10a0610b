package schema

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

// build links files to a schema. Whatever they come from, they are linked from
// their canonical form, so that what has one digest behaves in one way.
func build(ctx context.Context, name string, files []*descriptorpb.FileDescriptorProto, l Limits) (s *Schema, err error) {
	defer func() { // what protobuf-go does not foresee must not end the process
		if p := recover(); p != nil {
			s, err = nil, fmt.Errorf("linking panicked: %v", p)
		}
	}()
	if err := measure(files, l); err != nil {
		return nil, err
	}
	set, err := canonical(files)
	if err != nil {
		return nil, err
	}
	if len(set.File) == 0 {
		return nil, errors.New("there is no file in it")
	}
	s = &Schema{Name: name}
	b, err := proto.MarshalOptions{AllowPartial: true}.Marshal(set)
	if err != nil {
		return nil, err
	}
	// Features of Go are an extension, and must be a field for protodesc.
	known := &descriptorpb.FileDescriptorSet{}
	if err := (proto.UnmarshalOptions{AllowPartial: true}).Unmarshal(b, known); err != nil {
		return nil, err
	}
	k := linkage{files: map[string]*file{}, limits: l}
	for _, f := range known.File {
		k.files[f.GetName()] = &file{proto: f}
	}
	for _, f := range known.File {
		fd, err := k.link(ctx, f.GetName())
		if err != nil {
			return nil, err
		}
		s.files = append(s.files, fd)
	}
	s.types = dynamicpb.NewTypes(&k.linked)
	s.list()
	sortOptions(set, s.types)
	if s.set, err = (proto.MarshalOptions{AllowPartial: true, Deterministic: true}).Marshal(set); err != nil {
		return nil, err
	}
	if len(s.set) > l.maxSet() {
		return nil, over("bytes of descriptors", l.maxSet())
	}
	s.Digest = sha256.Sum256(s.set)
	return s, nil
}

// linkage links files in the order of their imports.
type linkage struct {
	files  map[string]*file // by path
	linked protoregistry.Files
	limits Limits
	chain  []string // of imports that led to the file at hand
	ways   int      // that protobuf-go goes along public imports
}

// file is one of a schema's or a standard one.
type file struct {
	proto  *descriptorpb.FileDescriptorProto
	fd     protoreflect.FileDescriptor
	begun  bool
	depth  int // files in the longest chain of imports from here
	public int // ways that public imports lead from here
}

// link links the file at path after all that it imports.
func (k *linkage) link(ctx context.Context, path string) (protoreflect.FileDescriptor, error) {
	f := k.files[path]
	switch {
	case f.fd != nil:
		return f.fd, nil
	case f.begun:
		return nil, fmt.Errorf("%.200s: imports go round in a circle by way of %.200q", path, k.chain[len(k.chain)-1])
	case len(k.chain) >= k.limits.MaxImportDepth:
		return nil, fmt.Errorf("%.200s: %w", path, over("depth of imports", k.limits.MaxImportDepth))
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	}
	f.begun = true
	k.chain = append(k.chain, path)
	defer func() { k.chain = k.chain[:len(k.chain)-1] }()
	f.depth = 1
	if err := k.imports(ctx, f); err != nil {
		return nil, err
	}
	fd, err := protodesc.NewFile(f.proto, &k.linked)
	if err == nil {
		err = k.linked.RegisterFile(fd)
	}
	if err != nil {
		return nil, fmt.Errorf("%.200s: %w", path, err)
	}
	f.fd = fd
	return fd, nil
}

// imports links what a file imports.
func (k *linkage) imports(ctx context.Context, f *file) error {
	public := map[int32]bool{}
	for _, i := range f.proto.GetPublicDependency() {
		public[i] = true
	}
	for i, path := range f.proto.GetDependency() {
		if k.files[path] == nil {
			fd, ok := standard(path)
			if !ok {
				return fmt.Errorf("%.200s: imports %.200q, which is missing: descriptor sets are made with all imports "+
					"by protoc --include_imports and by buf build", f.proto.GetName(), path)
			}
			if err := k.useStandard(fd); err != nil {
				return fmt.Errorf("%.200s: %w", f.proto.GetName(), err)
			}
			continue
		}
		if _, err := k.link(ctx, path); err != nil {
			return err
		}
		dep := k.files[path]
		if f.depth = max(f.depth, 1+dep.depth); f.depth > k.limits.MaxImportDepth {
			return fmt.Errorf("%.200s: %w", f.proto.GetName(), over("depth of imports", k.limits.MaxImportDepth))
		}
		if public[int32(i)] {
			f.public += 1 + dep.public
		}
		if k.ways += dep.public; k.ways > maxPublicPaths || f.public > maxPublicPaths {
			return fmt.Errorf("%.200s: %w", f.proto.GetName(), over("ways of public imports", maxPublicPaths))
		}
	}
	return nil
}

// useStandard makes a standard file known to the schema that imports it.
func (k *linkage) useStandard(fd protoreflect.FileDescriptor) error {
	if _, err := k.linked.FindFileByPath(fd.Path()); err == nil {
		return nil
	}
	for i := range fd.Imports().Len() {
		if err := k.useStandard(fd.Imports().Get(i).FileDescriptor); err != nil {
			return err
		}
	}
	return k.linked.RegisterFile(fd)
}
