package mapping

import (
	"os"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"sluice/internal/protobuf/schema"
)

func read(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func schemaOf(t testing.TB, name string) *schema.Schema {
	t.Helper()
	s, err := schema.Load(t.Context(), schema.Source{Name: "test", Locations: []string{"testdata/" + name}}, schema.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// load loads mappings of one schema.
func load(t testing.TB, s Schema, text string) ([]*Mapping, error) {
	t.Helper()
	return Load("m.yaml", []byte(text), func(string) (Schema, error) { return s, nil })
}

func xai(t testing.TB) *Mapping {
	t.Helper()
	list, err := load(t, schemaOf(t, "xai.proto"), string(read(t, "xai.yaml")))
	if err != nil {
		t.Fatal(err)
	}
	return list[0]
}

// message makes a message's wire form of protojson, as another implementation has it.
func message(t testing.TB, md protoreflect.MessageDescriptor, json string) []byte {
	t.Helper()
	m := dynamicpb.NewMessage(md)
	if err := protojson.Unmarshal([]byte(json), m); err != nil {
		t.Fatal(err)
	}
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// sameMessage compares wire bytes with a message in JSON.
func sameMessage(t testing.TB, md protoreflect.MessageDescriptor, wire []byte, json string) {
	t.Helper()
	got, want := dynamicpb.NewMessage(md), dynamicpb.NewMessage(md)
	if err := proto.Unmarshal(wire, got); err != nil {
		t.Fatal(err)
	}
	if err := protojson.Unmarshal([]byte(json), want); err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}
