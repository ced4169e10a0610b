package protobuf

import (
	"encoding/json"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// TestSpans: bytes are where they stand, inside other messages too, and the place is that
// of the whole input.
func TestSpans(t *testing.T) {
	p, err := Compile((&wrapperspb.BytesValue{}).ProtoReflect().Descriptor(), nil)
	if err != nil {
		t.Fatal(err)
	}
	wire := protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), []byte("abc"))
	got, err := p.AppendJSON(nil, wire, Options{Spans: true}, Limits{})
	if start, end, ok := ParseSpan(got); err != nil || !ok || string(wire[start:end]) != "abc" {
		t.Errorf("%s, %v", got, err)
	}
	p, err = Compile((&descriptorpb.UninterpretedOption{}).ProtoReflect().Descriptor(), nil)
	if err != nil {
		t.Fatal(err)
	}
	wire = protowire.AppendBytes(protowire.AppendTag(nil, 7, protowire.BytesType), []byte("xyz"))
	got, err = p.AppendJSON(nil, wire, Options{Spans: true}, Limits{})
	var m struct{ StringValue json.RawMessage }
	if err == nil {
		err = json.Unmarshal(got, &m)
	}
	if start, end, ok := ParseSpan(m.StringValue); err != nil || !ok || string(wire[start:end]) != "xyz" {
		t.Errorf("%s, %v", got, err)
	}
}

func TestParseSpan(t *testing.T) {
	for raw, want := range map[string]bool{`"@1:2"`: true, `"@0:0"`: true, `"@2:1"`: false, `"@-1:1"`: false, `"@1"`: false, `"@a:b"`: false, `"YWI="`: false, `12`: false, ``: false, `""`: false} {
		if _, _, ok := ParseSpan([]byte(raw)); ok != want {
			t.Errorf("%s: %v", raw, ok)
		}
	}
}
