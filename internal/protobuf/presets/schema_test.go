package presets

import (
	"fmt"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	_ "cloud.google.com/go/ai/generativelanguage/apiv1beta/generativelanguagepb"           // the judge of gemini
	_ "cloud.google.com/go/aiplatform/apiv1/aiplatformpb"                                  // the judge of vertex
	_ "github.com/yandex-cloud/go-genproto/yandex/cloud/ai/foundation_models/v1/embedding" // the judge of yandex
	_ "github.com/yandex-cloud/go-genproto/yandex/cloud/ai/foundation_models/v1/text_generation"
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
			theirs, ok := published(t, ours).(protoreflect.ServiceDescriptor)
			for i := 0; ok && i < ours.Methods().Len(); i, n = i+1, n+1 {
				a := ours.Methods().Get(i)
				b := theirs.Methods().ByName(a.Name())
				if b == nil || signature(a) != signature(b) {
					t.Errorf("%s: %v, published is %v", name, a, b)
				}
			}
		}
		for _, ours := range s.Messages() {
			theirs, ok := published(t, ours).(protoreflect.MessageDescriptor)
			for i := 0; ok && i < ours.Fields().Len(); i, n = i+1, n+1 {
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

func published(t *testing.T, d protoreflect.Descriptor) protoreflect.Descriptor {
	t.Helper()
	p, err := protoregistry.GlobalFiles.FindDescriptorByName(d.FullName())
	if err != nil {
		t.Errorf("%s: %v", d.FullName(), err)
		return nil
	}
	return p
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
