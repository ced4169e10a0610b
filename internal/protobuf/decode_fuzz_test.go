package protobuf

import (
	"sync"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// fuzzed are the messages that FuzzDecode chooses from. The order is part of
// the corpus: add at the end.
var fuzzed = []protoreflect.FullName{
	"test.three.All", "test.two.Old", "test.two.Free", "test.edition.New", "odd.Grouped", "wide.Wide",
	"shapes.Flat", "shapes.Chat", "shapes.Tree", "shapes.Vector",
	"google.protobuf.Any", "google.protobuf.Timestamp", "google.protobuf.Duration", "google.protobuf.FieldMask",
	"google.protobuf.Struct", "google.protobuf.Value", "google.protobuf.ListValue", "google.protobuf.Empty",
	"google.protobuf.BoolValue", "google.protobuf.FloatValue", "google.protobuf.StringValue", "google.protobuf.BytesValue",
}

// FuzzDecode holds AppendJSON against protojson: the verdict and the meaning.
func FuzzDecode(f *testing.F) {
	type target struct {
		plan  *Plan
		desc  protoreflect.MessageDescriptor
		types Types
	}
	targets := make([]target, len(fuzzed))
	for i, name := range fuzzed {
		tg := &targets[i]
		tg.plan, tg.desc, tg.types = testPlan(f, name)
		for n := range 8 {
			w := newWireMaker(f, uint64(n), tg.types)
			w.tidy, w.budget = n%2 == 0, 20
			f.Add(w.message(nil, tg.desc, 2), uint8(i), uint8(n))
		}
	}
	f.Fuzz(func(t *testing.T, wire []byte, pick, options uint8) {
		tg := targets[int(pick)%len(targets)]
		agree(t, tg.plan, tg.desc, tg.types, wire, optionsOf(options))
	})
}

// A plan learns extensions and the types of Any while it is used.
func TestDecodeConcurrently(t *testing.T) {
	p, md, types := testPlan(t, "test.two.Old")
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for n := range 40 {
				w := newWireMaker(t, uint64(n+g), types)
				w.budget = 20
				agree(t, p, md, types, w.message(nil, md, 0), Options{})
			}
		})
	}
	wg.Wait()
}
