package protobuf

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// messageSet is a message of the oldest form of extension. No parser makes one
// any more; descriptors that were linked into a program may be one.
type messageSet struct{ protoreflect.MessageDescriptor }

func (messageSet) IsMessageSet() bool { return true }

func TestFallbackMessageSet(t *testing.T) {
	_, md, types := testPlan(t, "test.two.Free")
	set := messageSet{md}
	p, err := Compile(set, types)
	if err != nil {
		t.Fatal(err)
	}
	for _, wire := range []string{"", "\x08\x01", "\x0b\x10\x04\x1a\x03\x0a\x01a\x0c"} {
		agree(t, p, set, types, []byte(wire), Options{})
	}
	// Each is refused, and each refusal is looked at twice.
	if want := []string{"test.two.Free (message set): 6 decoded, 0 encoded"}; !slices.Equal(p.Fallback(), want) {
		t.Errorf("Fallback() = %q, want %q", p.Fallback(), want)
	}
}

// A message that comes in parts at every level would be copied at every level.
func TestFallbackTooMuchToMerge(t *testing.T) {
	p, md, types := testPlan(t, "test.three.All")
	child := md.Fields().ByName("child").Number()
	wire := protowire.AppendTag(nil, md.Fields().ByName("st").Number(), protowire.BytesType)
	wire = protowire.AppendBytes(wire, bytes.Repeat([]byte("x"), maxScratch))
	for level := range 20 {
		parts := protowire.AppendTag(nil, child, protowire.BytesType)
		parts = protowire.AppendBytes(parts, wire)
		parts = protowire.AppendTag(parts, child, protowire.BytesType)
		wire = protowire.AppendBytes(parts, nil)
		agree(t, p, md, types, wire, Options{})
		got := p.Fallback()
		if level < 4 && len(got) != 0 || level == 19 && (len(got) != 1 || !strings.HasPrefix(got[0], "test.three.All (too much to merge): ")) {
			t.Errorf("%d levels: Fallback() = %q", level+1, got)
		}
	}
}
