package mapping

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// TestSkeleton: the beginning of a mapping loads, whatever methods it is for, and names
// every field.
func TestSkeleton(t *testing.T) {
	for _, file := range []string{"xai.proto", "invented.proto"} {
		s := schemaOf(t, file)
		for _, service := range s.Services() {
			var all []protoreflect.MethodDescriptor
			for i := range service.Methods().Len() {
				all = append(all, service.Methods().Get(i))
				text := string(Skeleton(all[i:]))
				if _, err := load(t, s, text); err != nil {
					t.Errorf("%s: %v\n%s", all[i].FullName(), err, text)
				}
				fields := all[i].Input().Fields()
				for k := range fields.Len() {
					if !strings.Contains(text, " "+string(fields.Get(k).Name())+": ") {
						t.Errorf("%s: no %s in\n%s", all[i].FullName(), fields.Get(k).Name(), text)
					}
				}
			}
			if text := string(Skeleton(all)); len(all) > 1 {
				if _, err := load(t, s, text); err != nil {
					t.Errorf("%s: %v\n%s", service.FullName(), err, text)
				}
			}
		}
	}
	text := string(Skeleton([]protoreflect.MethodDescriptor{xai(t).Stream.Method, xai(t).Embed.Method}))
	for _, want := range []string{"\n    model: =upstream_model # string\n", "\n    # messages: # repeated xai_api.Message\n    #   $each: x in …\n", "temperature: =req.?temperature # float\n", "  embed:\n    request:"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}
