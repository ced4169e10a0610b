package presets

import (
	"fmt"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// TestNames: all that the schemas of gemini, vertex and yandex declare is what the
// services' owners publish: names, numbers, types, streams.
func TestNames(t *testing.T) {
	for _, name := range []string{"gemini", "vertex", "yandex"} {
		_, s, err := Load(name)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, ours := range s.Services() {
			theirs, ok := theirs(t, ours)
			if !ok {
				t.Errorf("%s: %s is not published", name, ours.FullName())
				continue
			}
			for i := 0; i < ours.Methods().Len(); i, n = i+1, n+1 {
				a := ours.Methods().Get(i)
				b := theirs.Methods().ByName(a.Name())
				if b == nil || signature(a) != signature(b) {
					t.Errorf("%s: %v, published is %v", name, a, b)
				}
			}
		}
		for _, ours := range s.Messages() {
			theirs, ok := theirs(t, ours)
			if !ok {
				t.Errorf("%s: %s is not published", name, ours.FullName())
				continue
			}
			for i := 0; i < ours.Fields().Len(); i, n = i+1, n+1 {
				a := ours.Fields().Get(i)
				b := theirs.Fields().ByName(a.Name())
				if b == nil || field(a) != field(b) {
					t.Errorf("%s: %v, published is %v", name, a, b)
					continue
				}
				if e := a.Enum(); e != nil {
					for j := range e.Values().Len() {
						v := e.Values().Get(j)
						if w := b.Enum().Values().ByName(v.Name()); w == nil || w.Number() != v.Number() {
							t.Errorf("%s: %v, published is %v", name, v, w)
						}
					}
				}
			}
		}
		if n < 40 {
			t.Errorf("%s: only %d things were compared", name, n)
		}
	}
}

// theirs is what the owner of a service publishes under our descriptor's name.
func theirs[D protoreflect.Descriptor](t *testing.T, ours D) (theirs D, ok bool) {
	t.Helper()
	files, err := published()
	if err != nil {
		t.Fatal(err)
	}
	if d, err := files.FindDescriptorByName(ours.FullName()); err == nil {
		theirs, ok = d.(D)
	}
	return theirs, ok
}

func signature(m protoreflect.MethodDescriptor) string {
	return fmt.Sprint(m.Input().FullName(), m.Output().FullName(), m.IsStreamingClient(), m.IsStreamingServer())
}

func field(f protoreflect.FieldDescriptor) string {
	s := fmt.Sprint(f.Number(), f.Kind(), f.Cardinality(), f.HasPresence(), f.IsPacked())
	if f.Message() != nil {
		s += string(f.Message().FullName())
	}
	if f.Enum() != nil {
		s += string(f.Enum().FullName())
	}
	if o := f.ContainingOneof(); o != nil && !o.IsSynthetic() {
		s += string(o.Name())
	}
	return s
}
