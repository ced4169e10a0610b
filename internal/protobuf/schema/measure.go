package schema

import (
	"fmt"

	"google.golang.org/protobuf/types/descriptorpb"
)

// tally is what a schema has declared so far, to compare with its limits.
type tally struct {
	limits                  Limits
	messages, fields, names int
}

// declare counts one name, of size bytes when it is full.
func (t *tally) declare(count *int, n, size int) error {
	*count += n
	t.names += n * size
	switch {
	case t.messages > t.limits.MaxMessages:
		return over("messages, enums and services", t.limits.MaxMessages)
	case t.fields > t.limits.MaxFields:
		return over("fields, enum values and methods", t.limits.MaxFields)
	case size > maxFullName:
		return over("bytes of a full name", maxFullName)
	case t.names > maxNames:
		return over("bytes of full names in all", maxNames)
	}
	return nil
}

// file counts what a file declares.
func (t *tally) file(f *descriptorpb.FileDescriptorProto) error {
	in := len(f.GetPackage()) + 1
	if err := t.declare(&t.messages, 0, in); err != nil {
		return err
	}
	if err := t.enums(f.GetEnumType(), in); err != nil {
		return err
	}
	if err := t.fieldsIn(f.GetExtension(), in); err != nil {
		return err
	}
	for _, s := range f.GetService() {
		size := in + len(s.GetName())
		if err := t.declare(&t.messages, 1, size); err != nil {
			return err
		}
		for _, m := range s.GetMethod() {
			if err := t.declare(&t.fields, 1, size+1+len(m.GetName())); err != nil {
				return err
			}
		}
	}
	return t.messagesIn(f.GetMessageType(), in, 1)
}

func (t *tally) messagesIn(list []*descriptorpb.DescriptorProto, in, depth int) error {
	if depth > maxNesting && len(list) > 0 {
		return over("nested messages", maxNesting)
	}
	for _, m := range list {
		in := in + len(m.GetName()) + 1
		if err := t.declare(&t.messages, 1, in); err != nil {
			return err
		}
		if err := t.fieldsIn(m.GetField(), in); err != nil {
			return err
		}
		if err := t.fieldsIn(m.GetExtension(), in); err != nil {
			return err
		}
		for _, o := range m.GetOneofDecl() {
			if err := t.declare(&t.fields, 1, in+len(o.GetName())); err != nil {
				return err
			}
		}
		if err := t.enums(m.GetEnumType(), in); err != nil {
			return err
		}
		if err := t.messagesIn(m.GetNestedType(), in, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (t *tally) fieldsIn(list []*descriptorpb.FieldDescriptorProto, in int) error {
	for _, f := range list {
		if err := t.declare(&t.fields, 1, in+len(f.GetName())); err != nil {
			return err
		}
	}
	return nil
}

func (t *tally) enums(list []*descriptorpb.EnumDescriptorProto, in int) error {
	for _, e := range list {
		if err := t.declare(&t.messages, 1, in+len(e.GetName())); err != nil {
			return err
		}
		for _, v := range e.GetValue() {
			if err := t.declare(&t.fields, 1, in+len(v.GetName())); err != nil {
				return err
			}
		}
	}
	return nil
}

// measure checks files against the limits.
func measure(files []*descriptorpb.FileDescriptorProto, l Limits) error {
	if len(files) > l.MaxFiles {
		return over("files", l.MaxFiles)
	}
	t := tally{limits: l}
	for _, f := range files {
		if err := t.file(f); err != nil {
			return fmt.Errorf("%.200s: %w", f.GetName(), err)
		}
	}
	return nil
}
